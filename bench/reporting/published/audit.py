"""The audit of published values: what their own arithmetic, and a test set of known balance, allow.

All bounds are exact fractions, and rounding is always read in the favour of what was printed.

* F1 of one run is the harmonic mean of its precision and recall. The harmonic mean is concave, so a mean of F1 over
  runs is at most the harmonic mean of the mean precision and the mean recall, and at least P + R - 1.
* With as many normal as abnormal sequences at most all normals are false positives, so P >= R / (1 + R) in a run; a
  mean over runs can come down to R / 2, no further. The false positive rate is R (1 - P) / P.
* Flagging everything has P = 1/2, R = 1 and F1 = 2/3 there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from bench.reporting import markdown
from bench.reporting.published.papers import Paper, Value

CONSISTENT: Final = "consistent"
POSSIBLE: Final = "possible as an average"
IMPOSSIBLE: Final = "impossible"
NOT_JUDGED: Final = "not judged"
VERDICTS: Final = (CONSISTENT, POSSIBLE, IMPOSSIBLE)

ALL_POSITIVE_F1: Final = Fraction(2, 3)


class Span(NamedTuple):
    """What a printed number can have been before it was rounded; a share, so within [0, 1]."""

    low: Fraction
    high: Fraction

    @classmethod
    def of(cls, printed: Decimal) -> Span:
        """0.7696 -> 0.76955 to 0.76965."""
        exponent = printed.as_tuple().exponent
        assert isinstance(exponent, int)
        half = Fraction(1, 2) * Fraction(10) ** exponent
        return cls(max(Fraction(printed) - half, Fraction(0)), min(Fraction(printed) + half, Fraction(1)))


@dataclass(frozen=True)
class Judgement:
    """What the audit says of one published value."""

    value: Value
    verdict: str
    arithmetic: str
    """The comparison behind the verdict, with its numbers."""
    fpr: float | None
    """Share of the normals that must have been flagged, if they were as many as the abnormal."""
    marks: tuple[str, ...]
    """What else cannot be, or says little."""

    def to_json(self) -> dict[str, Any]:
        """For programs; numbers as printed, as texts."""
        value = self.value
        printed = {
            name: None if (v := getattr(value, name)) is None else str(v) for name in ("precision", "recall", "f1")
        }
        return {
            "table": value.table,
            "method": value.method,
            "scenario": value.scenario,
            **printed,
            "verdict": self.verdict,
            "arithmetic": self.arithmetic,
            "fpr_if_balanced": self.fpr,
            "marks": list(self.marks),
        }


def audit(paper: Paper) -> list[Judgement]:
    """One finding for each published value, in the order of the file."""
    return [_finding(paper, value) for value in paper.values]


def judge_value(value: Value) -> tuple[str, str]:
    """Verdict and arithmetic of a value, which may lack what there is to compare."""
    if value.f1 is None:
        return NOT_JUDGED, "no F1 printed"
    if value.precision is None or value.recall is None:
        return NOT_JUDGED, "F1 alone"
    return judge(value.precision, value.recall, value.f1)


def judge(precision: Decimal, recall: Decimal, f1: Decimal) -> tuple[str, str]:
    """Verdict and arithmetic of a printed triple."""
    p, r, f = Span.of(precision), Span.of(recall), Span.of(f1)
    mean = Span(_harmonic(p.low, r.low), _harmonic(p.high, r.high))
    exact = _harmonic(Fraction(precision), Fraction(recall))
    floor = max(p.low + r.low - 1, Fraction(0))
    formula = f"2 P R / (P + R) = {_text(exact)}"
    if mean.low <= f.high and f.low <= mean.high:
        return CONSISTENT, formula
    if f.low > mean.high:
        return IMPOSSIBLE, f"{f1} > {formula}, the most that runs average to"
    if f.high < floor:
        return IMPOSSIBLE, f"{f1} < P + R - 1 = {precision + recall - 1}, the least that runs average to"
    return POSSIBLE, f"P + R - 1 = {max(precision + recall - 1, Decimal(0))} <= {f1} <= {formula}"


def size_notes(paper: Paper) -> list[str]:
    """Whether the printed sizes agree with each other and with a balanced test."""
    notes = []
    for name, sizes in paper.sizes.items():
        total, abnormal, test = sizes["sequences"], sizes["abnormal"], sizes["test"]
        parts = sizes["train"] + test
        adds_up = "=" if parts == total else "!="
        text = f"{name}: train + test = {parts:,} {adds_up} {total:,}; 2 x abnormal = {2 * abnormal:,}"
        if test == 2 * abnormal:
            notes.append(f"{text} = test: balanced")
        else:
            everything = Fraction(2 * abnormal, test + abnormal)
            notes.append(
                f"{text} != test = {test:,}: at these sizes flagging everything has F1 {float(everything):.3f}"
            )
    return notes


def counts(findings: list[Judgement]) -> dict[str, dict[str, int]]:
    """Verdicts of each published table that has any."""
    found: dict[str, Counter[str]] = {}
    for finding in findings:
        if finding.verdict in VERDICTS:
            found.setdefault(finding.value.table, Counter())[finding.verdict] += 1
    return {table: {verdict: counter[verdict] for verdict in VERDICTS} for table, counter in found.items()}


def render_audit(paper: Paper, findings: list[Judgement]) -> str:
    """The audit as markdown."""
    headers = ["table", "method", "scenario", "P", "R", "F1", "verdict", "arithmetic", "FPR at 1:1", "marks"]
    lines = [_line(finding) for finding in findings]
    parts = [f"### {paper.title}", "\n".join(f"- {note}" for note in size_notes(paper))]
    parts.append(markdown.table(lines, headers))
    for table, verdicts in counts(findings).items():
        total = sum(verdicts.values())
        words = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items())
        parts.append(f"Table {table}: of {total} F1 values {words}.")
    return "\n\n".join(parts) + "\n"


def _finding(paper: Paper, value: Value) -> Judgement:
    p, r = value.precision, value.recall
    verdict, arithmetic = judge_value(value)
    balanced = paper.test_is_balanced
    rate = float(Fraction(r) * (1 - Fraction(p)) / Fraction(p)) if balanced and r is not None and p else None
    marks = tuple(_marks(value, paper.sizes)) if balanced else ()
    return Judgement(value, verdict, arithmetic, rate, marks)


def _marks(value: Value, sizes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What a test of one normal for each abnormal sequence says of a value."""
    p, r, f = value.precision, value.recall, value.f1
    best = None if f is None else Span.of(f).high
    if p is not None and r is not None:
        spans = Span.of(p), Span.of(r)
        low = spans[1].low
        if spans[0].high < low / 2:
            yield f"precision impossible at 1:1: even over runs P >= R / 2 = {_text(low / 2)}"
        elif spans[0].high < low / (1 + low):
            yield f"precision impossible at 1:1 in one run: P >= R / (1 + R) = {_text(low / (1 + low))}"
        best = _harmonic(spans[0].high, spans[1].high) if best is None else best
    if best is not None and best < ALL_POSITIVE_F1:
        printed = sizes.get(value.scenario)
        unbalanced = printed and printed["test"] != 2 * printed["abnormal"]
        yield "below all-positive (0.6667)" + (", if 1:1, which the printed sizes deny" if unbalanced else "")


def _line(finding: Judgement) -> list[str]:
    value = finding.value
    printed = ["-" if v is None else str(v) for v in (value.precision, value.recall, value.f1)]
    rate = "-" if finding.fpr is None else f"{finding.fpr:.3f}"
    return [
        value.table,
        value.method,
        value.scenario,
        *printed,
        finding.verdict,
        finding.arithmetic,
        rate,
        "; ".join(finding.marks),
    ]


def _harmonic(p: Fraction, r: Fraction) -> Fraction:
    return 2 * p * r / (p + r) if p + r else Fraction(0)


def _text(share: Fraction) -> str:
    return f"{float(share):.4f}"
