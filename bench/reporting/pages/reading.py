"""Sentences of pages: what holds, what does not, what nobody can say, as the records have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Final

from bench.evaluation.agreement import kendall_tau
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.reporting.markdown import plain
from bench.reporting.pages.gather import Results, methods_of, standing_of
from bench.reporting.pages.matrix import NOTHING
from bench.reporting.tables.matrix import column, usual_seeds
from bench.reporting.tables.notes import FAR, FEW_ABNORMAL, promised_fpr
from bench.reporting.tables.ranking import RANKED_BY, Reference, best_of, controls_of, references_of, short, value_of
from bench.reporting.tables.rows import Row, Table, shown_rule

_RANKS_WELL, _FLAGS_LITTLE = 0.95, 0.1
NOT_COMPARED: Final = "not compared"


def against_controls(results: Results, tables: Sequence[Table]) -> str:
    """For each table what beats its best control, by the paired test; then over all evaluation editions."""
    lines = [line for table in tables for held in references_of(table) if (line := _of_table(results, table, held))]
    return "\n".join([*lines, *_over_editions(results, tables)]) if lines else f"({NOTHING})"


def conclusions(results: Results, tables: Sequence[Table]) -> str:
    """What `against_controls` says over all editions, alone."""
    return "\n".join(_over_editions(results, tables)) if tables else f"({NOTHING})"


def _of_table(results: Results, table: Table, held: Reference) -> str:
    control = held.control
    if control is None:
        return ""
    groups = _by_verdict(results, table, held.methods, control)
    parts = [f"{words}: {_names(groups[verdict])}" for verdict, words in _WORDS.items() if groups[verdict]]
    value = short(value_of(control, RANKED_BY))
    text = "; ".join(parts) or "no method was run by its defaults"
    return f"- `{column(table)}`, {table.key.split}, against `{control.method}` (AP {value}): {text}."


_WORDS: Final = {
    "better": "better by the paired test",
    "not separable": "not separable",
    "worse": "worse",
    NOT_COMPARED: "not compared, higher in the mean",
    "below": "not compared, not higher",
}


def _by_verdict(results: Results, table: Table, methods: Sequence[Row], control: Row) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    own = value_of(control, RANKED_BY)
    for row in methods_of(table):
        value = value_of(row, RANKED_BY)
        if row not in methods or value is None or own is None:
            continue
        verdict = results.verdicts.of_rows(table, row, control)
        groups[verdict or (NOT_COMPARED if value > own else "below")].append(row)
    return groups


def _over_editions(results: Results, tables: Sequence[Table]) -> list[str]:
    """The three sentences that a reader takes along."""
    evaluation = [table for table in tables if standing_of(table) == "evaluation"]
    verdicts: dict[str, list[str]] = defaultdict(list)
    for table in evaluation:
        for row in methods_of(table):
            control = best_of(controls_of(table, row))
            if row.finished and control is not None:
                verdicts[row.method].append(results.verdicts.of_rows(table, row, control) or NOT_COMPARED)
    pairs = [verdict for found in verdicts.values() for verdict in found]
    if not pairs:
        return ["- No evaluation edition is among these: nothing here says how good a method is."]
    everywhere = [name for name, found in verdicts.items() if found.count("better") == len(found)]
    whole = [name for name in everywhere if len(verdicts[name]) == len(evaluation)]
    worse = [name for name, found in verdicts.items() if "worse" in found]
    count = pairs.count
    return [
        f"- **What holds.** Better than the best control: {count('better')} of {len(pairs)} pairs of a method and an "
        f"evaluation edition. On every one of these {len(evaluation)} editions: {_plain_names(whole) or 'no method'}.",
        f"- **What does not.** Worse than a control, which learns next to nothing: {count('worse')} pairs"
        + (f" ({_plain_names(worse)})." if worse else "."),
        f"- **What nobody can say.** Not separable with these seeds and test parts: {count('not separable')} pairs; "
        f"not compared by the paired test: {count(NOT_COMPARED)}{_weak(evaluation)}.",
        _thresholds(evaluation),
    ]


def _thresholds(tables: Sequence[Table]) -> str:
    """Whether the rule of the tables keeps its promise, and whether a good ranking becomes good flags."""
    rows = [row for table in tables for row in methods_of(table) if shown_rule(row, DEFAULT_RULE) == DEFAULT_RULE]
    rates = [rate for row in rows if (rate := value_of(row, "fpr")) is not None]
    broken = sum(rate > FAR * (promised_fpr(DEFAULT_RULE) or 0.0) for rate in rates)
    pairs = [(value_of(row, "f1"), value_of(row, "auroc")) for row in rows]
    known = [(f1, auroc) for f1, auroc in pairs if f1 is not None and auroc is not None]
    lost = sum(auroc >= _RANKS_WELL and f1 < _FLAGS_LITTLE for f1, auroc in known)
    return (
        f"- **Thresholds.** `{DEFAULT_RULE}` flags more than {FAR} times the false alarms it promises in {broken} of "
        f"{len(rates)} rows; {lost} rows have an AUROC of {_RANKS_WELL} or more and an F1 below {_FLAGS_LITTLE}."
    )


def _weak(tables: Sequence[Table]) -> str:
    """Editions whose test part or seeds carry little, as the end of a sentence."""
    few = [t.key.scenario for t in tables if t.records[0]["counts"]["n_test_abnormal"] < FEW_ABNORMAL]
    single = [t.key.scenario for t in tables if usual_seeds(t) == 1]
    parts = [f"fewer than {FEW_ABNORMAL} abnormal test sequences: {', '.join(few)}"] if few else []
    parts += [f"one seed, so the spread between seeds is unseen: {', '.join(single)}"] if single else []
    return "".join(f"; {part}" for part in parts)


def _names(rows: Sequence[Row]) -> str:
    return _plain_names([row.method for row in rows])


def _plain_names(names: Sequence[str]) -> str:
    return ", ".join(plain(name) for name in sorted(names))


def protocols_agree(results: Results) -> str:
    """Whether the published protocol and the cut in time rank methods alike, edition by edition."""
    paper = {(t.key.scenario, t.key.data): t for t in results.of("paper")}
    lines = []
    for table in results.of("within"):
        other = paper.get((table.key.scenario, table.key.data))
        if table.key.split == "chronological" and other is not None:
            lines += _agreement(table, other)
    return "\n".join(lines) or f"({NOTHING})"


def _agreement(table: Table, other: Table) -> list[str]:
    ours = {row.method: row for row in methods_of(table)}
    theirs = {row.method: row for row in methods_of(other)}
    both = [name for name in ours if name in theirs]
    values = [(value_of(ours[name], "auroc"), value_of(theirs[name], "auroc")) for name in both]
    known = [(one, two) for one, two in values if one is not None and two is not None]
    tau = kendall_tau([one for one, _ in known], [two for _, two in known]) if len(known) > 2 else None
    if tau is None:
        return []
    fallen = sum(one < two for one, two in known)
    middle, published = (median(values) for values in zip(*known, strict=True))
    return [
        f"- `{column(table)}`: Kendall's tau of the two rankings by AUROC is {tau:+.2f} ({len(known)} methods); the "
        f"median AUROC is {short(middle)} in time and {short(published)} under the published protocol; "
        f"{fallen} of the methods are lower in time."
    ]
