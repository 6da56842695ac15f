"""What several cuts, or the blocks of one split, say together: a few sentences below the table over them.

First who is above the best control in how many of them; then whether the cut or the method decides more; then whether
thresholds kept their promise. AP says who is above a control, as everywhere; between test parts AUROC is compared,
since AP moves with the share of abnormal sequences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final

from bench.evaluation.thresholds import parse_rule
from bench.experiment.groups import is_control
from bench.reporting.tables.notes import FAR, FEW_ABNORMAL, promised_fpr
from bench.reporting.tables.ranking import RANKED_BY, best_of, controls_of, short, value_of
from bench.reporting.tables.rows import Row, Table, shown_rule
from bench.reporting.tables.series import Series, SeriesMethod, series_methods
from bench.reporting.tables.words import listed, percent

_AMONG: Final = "auroc"
"""What is compared between test parts."""


def series_reading(series: Series, rule: str) -> tuple[str, ...]:
    """The sentences below a series, a string for each line; rule: the threshold rule of its tables."""
    usable = [place for place, table in enumerate(series.tables) if _has_both_kinds(table)]
    if not usable:
        return (f"No {series.unit[:-1]} tests both kinds of sequence, so nothing can be ranked.",)
    methods = [method for method in series_methods(series) if not is_control(method.group)]
    lines = (
        _above_controls(series, methods, usable),
        _what_decides(series, methods, usable),
        [*_promise(series, methods, str(parse_rule(rule))), *_few(series, usable)],
    )
    return tuple(" ".join(sentences) for sentences in lines if sentences)


def _above_controls(series: Series, methods: Sequence[SeriesMethod], usable: Sequence[int]) -> list[str]:
    """In how many of its tables a method is above the best control that is told no more than it."""
    found: dict[str, tuple[int, int]] = {}
    for method in methods:
        pairs = [_with_control(series.tables[place], method.rows[place]) for place in usable]
        known = [(own, best) for own, best in pairs if own is not None and best is not None]
        if known:
            found[method.first.label] = (sum(own > best for own, best in known), len(known))
    if not found:
        return ["No method stands beside a control here, so nothing says what one adds."]
    order = sorted(found, key=lambda name: (-found[name][0] / found[name][1], name))
    always = [name for name in order if found[name][0] == found[name][1]]
    some = [f"{name} ({found[name][0]} of {found[name][1]})" for name in order if 0 < found[name][0] < found[name][1]]
    never = [name for name in order if found[name][0] == 0]
    kinds = {"in every one": always, "in some": some, "in none": never}
    parts = [f"{words}: {listed(names)}" for words, names in kinds.items() if names]
    return [
        f"Above the best control, by mean AP and without a test, of {len(usable)} {series.unit} {'; '.join(parts)}."
    ]


def _with_control(table: Table, row: Row | None) -> tuple[float | None, float | None]:
    if row is None:
        return None, None
    control = best_of(controls_of(table, row))
    return value_of(row, RANKED_BY), None if control is None else value_of(control, RANKED_BY)


def _what_decides(series: Series, methods: Sequence[SeriesMethod], usable: Sequence[int]) -> list[str]:
    """Whether values move more between the tables, or between methods; only what ran in all of them counts."""
    values, unit = _complete(methods, usable), series.unit[:-1]
    if len(usable) < 2 or not values:
        return []
    between = median(max(own) - min(own) for own in values)
    moves = f"Between {series.unit} AUROC of the middle method moves by {short(between)}"
    if len(values) == 1:
        return [f"{moves}.", *_first_places(series, methods, usable)]
    apart = median(max(column) - min(column) for column in zip(*values, strict=True))
    more, less = (f"the {unit}", "the method") if between > apart else ("the method", f"the {unit}")
    how = f"at one {unit} methods lie {short(apart)} apart: {more} decides more than {less}"
    return [f"{moves}, {how}.", *_first_places(series, methods, usable)]


def _complete(methods: Sequence[SeriesMethod], usable: Sequence[int]) -> list[list[float]]:
    """Values of each method that has one in all of these tables."""
    found = [[_value(method.rows[place]) for place in usable] for method in methods]
    known = [[value for value in values if value is not None] for values in found]
    return [values for values in known if len(values) == len(usable)]


def _value(row: Row | None) -> float | None:
    return None if row is None else value_of(row, _AMONG)


def _first_places(series: Series, methods: Sequence[SeriesMethod], usable: Sequence[int]) -> list[str]:
    """Who is first by AP, of those that are told the same."""
    groups = list(dict.fromkeys(method.group for method in methods))
    sentences = []
    for group in groups:
        same = [method for method in methods if method.group == group]
        rows = [best_of([row for method in same if (row := method.rows[place]) is not None]) for place in usable]
        names = Counter(row.label for row in rows if row is not None)
        if len(same) < 2 or not names:
            continue
        told = f" of those told {group}" if len(groups) > 1 else ""
        shown = [f"{name} in {times}" for name, times in names.most_common()]
        every = f"{next(iter(names))} in every {series.unit[:-1]}"
        sentences.append(f"First by AP{told}: {every if len(names) == 1 else listed(shown)}.")
    return sentences


def _promise(series: Series, methods: Sequence[SeriesMethod], rule: str) -> list[str]:
    """Whether false alarms are as many as promised, by the middle method of each table."""
    promised = promised_fpr(rule)
    rates = [_middle_rate([method.rows[place] for method in methods], rule) for place in range(len(series.tables))]
    known = [rate for rate in rates if rate is not None]
    if promised is None or not known:
        return []
    many = [rate for rate in known if rate > FAR * promised]
    if not many:
        return [
            f"Thresholds hold in every {series.unit[:-1]}: the middle method gives at most {percent(max(known))} false "
            f"alarms ({percent(promised)} promised)."
        ]
    return [
        f"{percent(promised)} false alarms are promised; in {len(many)} of {len(known)} {series.unit} the middle "
        f"method gives far more (up to {percent(max(many))})."
    ]


def _middle_rate(rows: Sequence[Row | None], rule: str) -> float | None:
    shown = [row for row in rows if row is not None and shown_rule(row, rule) == rule]
    rates = [rate for row in shown if (rate := value_of(row, "fpr", rule)) is not None]
    return median(rates) if rates else None


def _few(series: Series, usable: Sequence[int]) -> list[str]:
    """Tables that rank nothing, or little."""
    sentences = []
    if alone := len(series.tables) - len(usable):
        sentences.append(f"{alone} of {len(series.tables)} {series.unit} hold one kind of sequence alone.")
    few = [place for place in usable if _n_abnormal(series.tables[place]) < FEW_ABNORMAL]
    if few:
        sentences.append(
            f"In {len(few)} of {len(usable)} fewer than {FEW_ABNORMAL} abnormal sequences are tested, so their values "
            "mean little."
        )
    return sentences


def _n_abnormal(table: Table) -> int:
    return int(max(record["counts"]["n_test_abnormal"] for record in table.records))


def _has_both_kinds(table: Table) -> bool:
    return any(0 < r["counts"]["n_test_abnormal"] < r["counts"]["n_test"] for r in table.records)
