"""The most confident mistakes of the best method of each table, as log lines, which are kept nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.data.cards.catalogue import Catalogue
from bench.errors import BenchError
from bench.experiment.groups import is_control
from bench.records.store import Store
from bench.reporting.errors.find import Depth, Mistake, errors_of
from bench.reporting.report.boards import row_anchor
from bench.reporting.tables.choose import Chosen, scores_of_record
from bench.reporting.tables.ranking import best_of
from bench.reporting.tables.rows import Table
from bench.reporting.tables.words import capital


@dataclass(frozen=True)
class Wrong:
    """What a run got wrong."""

    title: str
    anchor: str
    """Of the runs of its row."""
    mistakes: tuple[Mistake, ...]
    note: str = ""
    """Why there are none to be shown."""


def mistakes_of(tables: Sequence[Table], store: Store, catalogue: Catalogue, rule: str, top: int) -> list[Wrong]:
    """So many of both kinds for each table, or why not."""
    if top < 1:
        return []
    found = []
    for table in tables:
        best = best_of([row for row in table.rows if not is_control(row.group)])
        if best is None:
            continue
        record, anchor = best.finished[0], row_anchor(best)
        title = f"{best.method} on {table.key.scenario}, {table.key.split}, seed {record['spec']['seed']}"
        if not store.has_scores(record["run_id"]):  # the error would name a folder of this machine
            found.append(Wrong(title, anchor, (), "Its scores are not in this folder."))
            continue
        try:
            scores = scores_of_record(record, store)
            errors = errors_of(Chosen(best, record), scores, catalogue, rule=rule, depth=Depth(top))
        except BenchError as error:
            found.append(Wrong(title, anchor, (), f"{capital(str(error))}."))
        else:
            note = "" if errors.mistakes else "It got nothing wrong at this threshold."
            found.append(Wrong(title, anchor, errors.mistakes, note))
    return found
