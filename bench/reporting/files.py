"""The table files of a results folder: written from its records and kept comparisons, and compared with them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from bench._files import replace_text
from bench.data.sequences.protocols import block_of, family_of, is_cut
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.records.record import Record
from bench.records.store import Store, Wanted, everything
from bench.reporting.reading import kept_verdicts, reading
from bench.reporting.series_reading import series_reading
from bench.reporting.tables.rows import TableKey
from bench.reporting.tables.series import make_series, render_series, series_file
from bench.reporting.tables.table import make_tables, render, table_key


def write_tables(store: Store, keys: Collection[TableKey], rule: str = DEFAULT_RULE) -> list[Path]:
    """Write the tables of these keys and the series they are in, as `tables/*.md`; nothing else is read."""
    asked = {_place(key.scenario, key.split) for key in keys}
    names = {name for key in keys for name in (key.file_name, series_file(key)) if name}
    pages = _pages(store, rule, lambda scenario, split: _place(scenario, split) in asked, names)
    for path, text in pages.items():
        replace_text(path, text)
    return list(pages)


def renew_tables(store: Store, keys: Collection[TableKey], rule: str = DEFAULT_RULE) -> list[Path]:
    """Write those tables anew that are written already: what they say has changed with what is kept of them."""
    return write_tables(store, {key for key in keys if (store.root / "tables" / key.file_name).is_file()}, rule)


def outdated_tables(store: Store, rule: str = DEFAULT_RULE) -> dict[Path, str]:
    """Table files that are not what the records say, and what is wrong with each."""
    fresh = _pages(store, rule)
    old = {path: path.read_bytes().decode(errors="replace") for path in (store.root / "tables").glob("*.md")}
    wrong = dict.fromkeys(fresh.keys() - old.keys(), "is not written: run `bench table --write`")
    wrong |= dict.fromkeys(old.keys() - fresh.keys(), "has no record: delete it")
    differing = (path for path in fresh.keys() & old.keys() if fresh[path] != old[path])
    wrong |= dict.fromkeys(differing, "differs from the records: run `bench table --write`")
    return dict(sorted(wrong.items()))


def _place(scenario: str, split: str) -> tuple[str, str]:
    """What shares a series is read together."""
    return scenario, "cut" if is_cut(split) else family_of(split)


def _pages(
    store: Store, rule: str, wanted: Wanted = everything, names: Collection[str] | None = None
) -> dict[Path, str]:
    """Text of each table file, or of these; where an edition's data changed, the tables before and after share a file.

    Only the records of those files are averaged and laid out: that is most of the work.
    """
    pages: dict[str, list[str]] = defaultdict(list)
    in_order = store.by_table(wanted)
    # The files of a scenario lie beside each other, so no more than its tables are held for its series.
    for _, files in itertools.groupby(in_order, key=lambda found: found[0].name.rpartition("--")[0]):
        tables = [table for _, records in files for table in make_tables(_of_files(records, names))]
        for table in tables:
            if block_of(table.key.split) is None and (names is None or table.key.file_name in names):
                said = reading(table, rule, kept_verdicts(store, table))
                pages[table.key.file_name].append(render(table, rule, said))
        for series in make_series(tables):
            pages[series.key.file_name].append(render_series(series, rule, series_reading(series, rule)))
    return {store.root / "tables" / name: "\n".join(texts) for name, texts in pages.items()}


def _of_files(records: Iterable[Record], names: Collection[str] | None) -> Iterator[Record]:
    """The records that these files show."""
    for record in records:
        key = table_key(record)
        if names is None or key.file_name in names or series_file(key) in names:
            yield record
