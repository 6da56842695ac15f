"""Blocks on a system without labels: pair by pair what a method gains over controls that are told as much."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bench.experiment.measure import ALL
from bench.reporting import markdown
from bench.reporting.pages.gather import Results, settings_of, standing_of
from bench.reporting.pages.matrix import NOTHING
from bench.reporting.tables.answers import CHANCE, general_share
from bench.reporting.tables.matrix import column
from bench.reporting.tables.ranking import RANKED_BY, short, value_of
from bench.reporting.tables.rows import Row, Table, aggregate, base_of

CONTROLS: Final = ("mean-difference", "knn-labelled")
"""What is told the source's labels and trains nothing."""
LEAST_PAIRS: Final = 3
"""On which a method ran, to have a column of its own."""
_FEW: Final = "knn-few"
"""Beside methods that are told a few labels of the target."""
_SIGNS: Final = {"better": "+", "worse": "-", "not separable": "="}
_UNKNOWN: Final = "?"
_STAND_IN: Final = "teacher=embedding"
"""Offline nobody can be asked: this setting is what a method is here, and no change to it."""


def gains(results: Results) -> str:
    """AP of the methods that are told a source's labels, on each pair, with verdicts; then what each gains in all."""
    tables = _pairs(results)
    if not tables:
        return f"({NOTHING})"
    return "\n\n".join([_grid(results, tables), _LEGEND, "\n".join(_sums(results, tables))])


def parts(results: Results) -> str:
    """Methods of the track beside themselves with one part changed, over the seeds that both have."""
    found = []
    for base in _bases(_pairs(results)):
        lines, names = _part_lines(results, base)
        if names:
            found.append(markdown.table(lines, [f"{base}, AP", "whole", *map(markdown.plain, names)]))
    return "\n\n".join(found) or f"({NOTHING})"


def router(results: Results) -> str:
    """How much of each target a router calls general, by method."""
    tables = _pairs(results)
    names = sorted({row.method for table in tables for row in table.rows if general_share(row) is not None})
    lines = []
    for table in tables:
        rows = {row.method: row for row in table.rows}
        shares = [general_share(rows[name]) if name in rows else None for name in names]
        if any(share is not None for share in shares):
            lines.append([column(table), *("" if share is None else f"{share:.3f}" for share in shares)])
    words = "Share of the target's pool that is general, so left to the small model; the rest is the teacher's."
    headers = ["pair", *map(markdown.plain, names)]
    return f"{markdown.table(lines, headers)}\n\n{words}" if lines else f"({NOTHING})"


_LEGEND: Final = (
    "AP, means over the seeds. Behind it the paired test against `mean-difference` and `knn-labelled` (of methods told "
    "a few labels of the target also `knn-few`): `+` better, `-` worse, `=` not separable, `?` not compared. `~`: the "
    f"95 % interval of its AUROC does not lie above {CHANCE}, so it is not shown to be better than chance. AP of "
    f"`all-positive` is the share of abnormal sequences. What ran on fewer than {LEAST_PAIRS} pairs stands below alone."
)


def _pairs(results: Results) -> list[Table]:
    """Transfers on which a method is told a source's labels and sequences of the target without any."""
    tables = [table for table in results.of("transfers") if table.key.split == "transfer"]
    return [t for t in tables if any(_told(row).get("target") == "unlabelled" for row in _of_track(t).values())]


def _told(row: Row) -> Mapping[str, str]:
    return row.records[0]["detector"].get("told") or {}


def _of_track(table: Table) -> dict[str, Row]:
    """Finished methods that are told a source's labels and at most a few of the target, as they come, by name."""
    return {
        base_of(row): row
        for row in table.rows
        if row.finished
        and not row.records[0]["detector"]["is_control"]
        and _told(row).get("source") == "labels"
        and (_told(row).get("target", "") in ("", "unlabelled") or _is_told_few(row))
        and not _changes(row)
    }


def _is_told_few(row: Row) -> bool:
    return _told(row).get("target", "").startswith("few:")


def _changes(row: Row) -> tuple[str, ...]:
    return tuple(text for text in settings_of(row) if text != _STAND_IN)


def _bases(tables: Iterable[Table]) -> list[str]:
    return sorted({name for table in tables for name in _of_track(table)})


def _rows_by_name(table: Table) -> dict[str, Row]:
    return {row.method: row for row in table.rows if row.finished}


def _held_against(row: Row) -> tuple[str, ...]:
    return (*CONTROLS, _FEW) if _is_told_few(row) else CONTROLS


def _verdicts(results: Results, table: Table, row: Row) -> list[str | None]:
    """Against each of its controls; None where they were not compared."""
    rows = _rows_by_name(table)
    return [results.verdicts.of_rows(table, row, rows.get(name)) for name in _held_against(row)]


def _is_at_chance(row: Row) -> bool:
    found = aggregate(row, ALL, "auroc", "")
    return found is not None and found.low <= CHANCE


def _grid(results: Results, tables: Sequence[Table]) -> str:
    counts = Counter(name for table in tables for name in _of_track(table))
    names = sorted(name for name, n in counts.items() if n >= min(LEAST_PAIRS, len(tables)))
    beside = (*CONTROLS, _FEW, "all-positive")
    lines = []
    for table in tables:
        of_track, rows = _of_track(table), _rows_by_name(table)
        cells = [_cell(results, table, of_track[name]) if name in of_track else "" for name in names]
        known = [short(value_of(rows[name], RANKED_BY)) if name in rows else "" for name in beside]
        lines.append([column(table), *cells, *known])
    return markdown.table(lines, ["pair", *map(markdown.plain, names), *beside])


def _cell(results: Results, table: Table, row: Row) -> str:
    signs = "".join(_SIGNS.get(verdict or "", _UNKNOWN) for verdict in _verdicts(results, table, row))
    return f"{short(value_of(row, RANKED_BY))} {signs}{' ~' if _is_at_chance(row) else ''}"


def _sums(results: Results, tables: Sequence[Table]) -> list[str]:
    """For each method on how many pairs it gains anything, and on which."""
    return [_sum(results, tables, name) for name in _bases(tables)]


def _sum(results: Results, tables: Sequence[Table], name: str) -> str:
    having = [(table, rows[name]) for table in tables if name in (rows := _of_track(table))]
    verdicts = [(column(table), _verdicts(results, table, row)) for table, row in having]
    better = [pair for pair, found in verdicts if set(found) == {"better"}]
    worse = [pair for pair, found in verdicts if "worse" in found]
    n_evaluation = sum(standing_of(table) == "evaluation" for table, _ in having)
    n_chance = sum(_is_at_chance(row) for _, row in having)
    return (
        f"- **{markdown.plain(name)}**, {len(having)} pairs ({n_evaluation} of evaluation editions): "
        f"better than each of its controls on {_listed(better)}; worse than one of its controls on {_listed(worse)}; "
        f"not shown to be better than chance on {n_chance}."
    )


def _listed(pairs: Sequence[str]) -> str:
    """`2 (hdfs2bgl, bgl2hdfs)`."""
    return f"{len(pairs)} ({', '.join(pairs)})" if pairs else "0"


def _part_lines(results: Results, base: str) -> tuple[list[list[str]], list[str]]:
    """Of each pair the AP of a method and of it with a part changed, of common seeds; and what was changed."""
    found: list[tuple[Table, Row, dict[str, Row]]] = []
    for table in _pairs(results):
        whole = _of_track(table).get(base)
        if whole is None:
            continue
        of_base = [row for row in table.rows if row.finished and base_of(row) == base and _told(row) == _told(whole)]
        changed = {", ".join(_changes(row)): row for row in of_base if _changes(row)}
        if changed:
            found.append((table, whole, changed))
    names = sorted({name for _, _, changed in found for name in changed})
    lines = []
    for table, whole, changed in found:
        seeds = _seeds(whole).intersection(*map(_seeds, changed.values()))
        cells = [_value(changed.get(name), seeds) for name in names]
        lines.append([column(table), _value(whole, seeds), *cells])
    return lines, names


def _seeds(row: Row) -> set[int]:
    return {record["spec"]["seed"] for record in row.finished}


def _value(row: Row | None, seeds: set[int]) -> str:
    if row is None or not seeds:
        return ""
    of_seeds = tuple(record for record in row.finished if record["spec"]["seed"] in seeds)
    return short(value_of(dataclasses.replace(row, records=of_seeds), RANKED_BY))
