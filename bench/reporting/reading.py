"""What a table says, in a few lines for a reader who knows none of its columns: generated from records and comparisons.

First who ranks better than the best control, by the paired test; then whether thresholds kept their promise, also where
the ranking is good; then how far the test part is from training, and how much room the best control leaves;
then certificates, if there are any.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from bench.evaluation.paired import holm
from bench.evaluation.thresholds import parse_rule
from bench.experiment.groups import is_control
from bench.records.store import Store
from bench.reporting.certificates import certificate_line, certificates
from bench.reporting.comparisons.kept import holding
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.tables.headroom import headroom_of
from bench.reporting.tables.notes import FAR, FEW_ABNORMAL, promised_fpr
from bench.reporting.tables.ranking import (
    RANKED_BY,
    Reference,
    best_controls,
    best_of,
    controls_of,
    references_of,
    short,
    value_of,
)
from bench.reporting.tables.rows import Row, Table, shown_rule
from bench.reporting.tables.words import capital, listed, percent

_RANKS_WELL: Final = {"ap": 0.8, "auroc": 0.9}
"""From one of these on, a ranking is good."""
_LOST: Final = 0.5
"""A threshold fails where it gives at most this share of the F1 that the ranking allows; that is at least as much."""
_LITTLE_ROOM: Final = 0.05
_LOW_CEILING: Final = 0.95
_UNTESTED: Final = "untested"


def kept_verdicts(store: Store, table: Table) -> Verdicts:
    """What the kept comparisons that still hold say of a table."""
    return Verdicts.of(holding(store, table))


def reading(table: Table, rule: str, verdicts: Verdicts) -> tuple[str, ...]:
    """The sentences below a table, a string for each line.

    rule: the threshold rule of the table;  verdicts: of its methods against its best control, as far as they are known
    """
    rule = str(parse_rule(rule))
    methods = [row for row in table.rows if not is_control(row.group) and value_of(row, RANKED_BY) is not None]
    certified = certificate_line(certificates(table, verdicts))
    lines = (_ranking(table, methods, verdicts), _thresholds(methods, rule), _data(table, rule), certified)
    return tuple(" ".join(sentences) for sentences in lines if sentences)


# ------------------------------------------------------------------------------------------------- who ranks better


def _ranking(table: Table, methods: Sequence[Row], verdicts: Verdicts) -> list[str]:
    if not _has_both_kinds(table):
        return ["The test part holds one kind of sequence alone, so nothing can be ranked."]
    found = [held for held in references_of(table) if held.control is not None]
    if not found:
        return ["No control finished, so nothing here says what a method adds to doing next to nothing."]
    if not methods:
        ran = any(not is_control(row.group) for row in table.rows)
        best = best_of(controls_of(table))
        return [
            f"{'No method finished' if ran else 'Only controls were run'}; the best control is {_with_value(best)}."
        ]
    held = [Reference(each.control, tuple(row for row in each.methods if row in methods)) for each in found]
    held = [each for each in held if each.methods]
    if len(held) == 1:
        return _against(table, held[0], verdicts)
    sentences = []
    for each in held:
        first, *others = _against(table, each, verdicts)
        sentences += [f"Told {each.told}: {first[:1].lower()}{first[1:]}", *others]
    return sentences


def _against(table: Table, held: Reference, verdicts: Verdicts) -> list[str]:
    """What is said of methods that are held against one control."""
    control, methods = held.control, held.methods
    assert control is not None
    named = _with_value(control)
    groups = _by_verdict(table, methods, control, verdicts)
    if len(groups[_UNTESTED]) == len(methods):
        return _untested(table, methods, control, named)
    better = f"Better than the best control, {named}: {_names(groups['better'])}."
    sentences = [better if groups["better"] else f"No method is shown to be better than the best control, {named}."]
    sentences += _more_words(groups)
    return [*sentences, *_by_chance(table, groups["better"], methods, control, verdicts)]


def _with_value(control: Row | None) -> str:
    return "none" if control is None else f"{control.label} (AP {short(value_of(control, RANKED_BY))})"


def _has_both_kinds(table: Table) -> bool:
    return any(0 < r["counts"]["n_test_abnormal"] < r["counts"]["n_test"] for r in table.records)


def _by_verdict(table: Table, methods: Sequence[Row], control: Row, verdicts: Verdicts) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in methods:
        groups[verdicts.of_rows(table, row, control) or _UNTESTED].append(row)
    return groups


def _more_words(groups: dict[str, list[Row]]) -> list[str]:
    words = {"not separable": "Cannot be told apart from it", "worse": "Worse than it", _UNTESTED: "Not tested yet"}
    return [f"{text}: {_names(groups[verdict])}." for verdict, text in words.items() if groups[verdict]]


def _untested(table: Table, methods: Sequence[Row], control: Row, named: str) -> list[str]:
    """Where no comparison is known: how one is made, and what the means suggest."""
    if table.key.sample:
        return [f"The best control is {named}; on samples no paired test says whether a method is better."]
    command = f"bench compare {control.label} --against all --scenario {table.key.scenario} --split {table.key.split}"
    own = value_of(control, RANKED_BY) or 0.0
    above = [row for row in methods if (value_of(row, RANKED_BY) or 0.0) > own]
    mean = f"In the mean these are above it: {_names(above)}." if above else "In the mean none is above it."
    return [f"Not tested yet whether a method beats the best control, {named}: `{command}` does. {mean}"]


def _by_chance(
    table: Table, better: Sequence[Row], methods: Sequence[Row], control: Row, verdicts: Verdicts
) -> list[str]:
    """How many of those that are better remain when all tests of the table count together, if not all."""
    tests = {row.method: verdicts.paired(table, row, control) for row in methods}
    known = {name: test.p for name, test in tests.items() if test is not None}
    left = dict(zip(known, holm(list(known.values())), strict=True))
    n = sum(left[row.method] for row in better)
    if n == len(better):
        return []
    still = f"{n} of {len(better)} still {'is' if n == 1 else 'are'} better when all count together"
    return [f"Among so many tests some are better by chance: {still}."]


# ------------------------------------------------------------------------------------------------------- thresholds


def _thresholds(methods: Sequence[Row], rule: str) -> list[str]:
    """Good rankings whose threshold fails, and whether false alarms are as many as promised."""
    rows = [row for row in methods if shown_rule(row, rule) == rule]
    failed = [text for row in _by_value(rows) if (text := _failed(row, rule))]
    sentences = [f"Ranked well, but the threshold fails: {listed(failed)}."] if failed else []
    return [*sentences, *_promise(rows, rule)]


def _failed(row: Row, rule: str) -> str:
    """Method, F1 and what F1 its ranking allows, where the threshold and not the ranking is to blame; else nothing."""
    ranks_well = any((value_of(row, key) or 0.0) >= least for key, least in _RANKS_WELL.items())
    f1, possible = value_of(row, "f1", rule), value_of(row, "oracle_f1") or 0.0
    if f1 is None or not ranks_well or possible < _LOST or f1 > _LOST * possible:
        return ""
    recall, fpr = value_of(row, "recall", rule) or 0.0, value_of(row, "fpr", rule) or 0.0
    why = f"misses {percent(1 - recall)} of the abnormal" if recall < _LOST else f"flags {percent(fpr)} of the normal"
    return f"{row.label} (F1 {short(f1)} where {short(possible)} is possible: {why})"


def _promise(rows: Sequence[Row], rule: str) -> list[str]:
    """Whether the false alarms are those that the rule promises."""
    promised = promised_fpr(rule)
    rates = [rate for row in rows if (rate := value_of(row, "fpr", rule)) is not None]
    if promised is None or not rates:
        return []
    many = [rate for rate in rates if rate > FAR * promised]
    if not many:
        least = f"none gives more than {percent(FAR * promised)} false alarms"
        return [f"Thresholds hold: {least} ({percent(promised)} promised)."]
    least, most = percent(min(many)), percent(max(many))
    shown = most if least == most else f"up to {most}"
    return [
        f"{percent(promised)} false alarms are promised, and {_of(len(many), len(rates))} far more ({shown}): normal "
        "sequences of the test are unlike those that the threshold was set on."
    ]


def _of(number: int, total: int) -> str:
    if number == total:
        return {1: "the only method gives", 2: "both methods give"}.get(total, f"all {total} methods give")
    return f"{number} of {total} methods give{'s' if number == 1 else ''}"


# ------------------------------------------------------------------------------------------------------- data


def _data(table: Table, rule: str) -> list[str]:
    """How far the test is from training, and what it leaves to be shown."""
    known, seen = (_mean_count(table, name) for name in ("known_keys_share", "seen_in_training_share"))
    kinds = f"{capital(percent(1 - known))} of the test's messages are of a kind that training had not"
    if known == 0:
        kinds = "Every message of the test is of a kind that training had not, so kinds alone tell nothing apart"
    if known == 1:
        kinds = "Every message of the test is of a kind known from training"
    sentences = [f"{kinds}; {percent(seen)} of its sequences occurred there exactly so."]
    return [*sentences, *_room(table, rule), *_few(table)]


def _room(table: Table, rule: str) -> list[str]:
    bound, controls = headroom_of(table, rule), best_controls(table)
    parts = []
    if len(controls) == 1:
        left = 1 - (value_of(controls[0], RANKED_BY) or 0.0)
        little = ", too little to tell good methods apart" if left < _LITTLE_ROOM else ""
        parts.append(f"the best control leaves {short(left)} of AP to gain{little}")
    elif controls:
        left_by = [f"{short(1 - (value_of(row, RANKED_BY) or 0.0))} ({row.label})" for row in controls]
        parts.append(f"the best controls leave {' and '.join(left_by)} of AP to gain")
    if bound is not None and bound.ceiling < _LOW_CEILING:
        parts.append(f"no method that sees the order of events alone can exceed F1 {short(bound.ceiling)}")
    text = "; ".join(parts)
    return [f"{capital(text)}."] if text else []


def _few(table: Table) -> list[str]:
    n = max(record["counts"]["n_test_abnormal"] for record in table.records)
    if not 0 < n < FEW_ABNORMAL:
        return []
    return [f"Only {n} abnormal {'sequence is' if n == 1 else 'sequences are'} tested, so differences mean little."]


def _mean_count(table: Table, name: str) -> float:
    return statistics.fmean(record["counts"][name] for record in table.records)


# ------------------------------------------------------------------------------------------------------- words


def _by_value(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-(value_of(row, RANKED_BY) or 0.0), row.method))


def _names(rows: Sequence[Row]) -> str:
    """The best first."""
    return listed([row.label for row in _by_value(rows)])
