"""Certificates: is a method here what other code for it is, by the paired difference of AP on the same sequences.

Third-party code is run on exported sequences and its scores are imported (`bench results import --certifies`). Those
records and the comparison that is kept of the two rows are the certificate; nothing else is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from bench.reporting.comparisons.verdicts import Paired, Verdicts
from bench.reporting.tables.certified import Pair, certified_pairs
from bench.reporting.tables.rows import Table

MARGIN: Final = 0.05
"""Two rows are the same where the 95 % interval of their difference in AP lies within this of 0."""

Verdict = Literal["the same", "better", "worse", "undecided", "not compared"]


class Certificate(NamedTuple):
    """What is known of one pair."""

    pair: Pair
    paired: Paired | None
    """Ours less theirs; None where they were not compared."""

    @property
    def verdict(self) -> Verdict:
        """`better` and `worse` say how ours is; `undecided`: the test part is too small to say."""
        if self.paired is None or self.paired.low is None or self.paired.high is None:
            return "not compared"
        if self.paired.low >= -MARGIN and self.paired.high <= MARGIN:
            return "the same"
        if self.paired.verdict == "better":
            return "better"
        return "worse" if self.paired.verdict == "worse" else "undecided"


def certificates(table: Table, verdicts: Verdicts) -> list[Certificate]:
    """One for each pair of a table."""
    return [Certificate(pair, verdicts.paired(table, *pair)) for pair in certified_pairs(table)]


def certified_names(found: Sequence[Certificate]) -> frozenset[str]:
    """The rows that tables mark: shown to be what other code for them is."""
    return frozenset(each.pair.ours.method for each in found if each.verdict == "the same")


def certificate_line(found: Sequence[Certificate]) -> list[str]:
    """A sentence for each certificate, on one line; nothing where there is none."""
    return [" ".join(map(_sentence, found))] if found else []


def _sentence(found: Certificate) -> str:
    ours, theirs = found.pair
    beside = f"{ours.label} beside other code for it, {found.pair.code} (row {theirs.label})"
    if found.paired is None or found.verdict == "not compared":
        return f"{beside}: not compared, `bench compare {ours.method} --against {theirs.method}` does."
    apart = f"AP {_signed(found.paired.difference)} ({_signed(found.paired.low)} to {_signed(found.paired.high)})"
    words = {
        "the same": f"certified, the same within {_short(MARGIN)}",
        "better": "not the same, ours ranks better",
        "worse": "not the same, ours ranks worse",
        "undecided": "undecided, too few sequences",
    }[found.verdict]
    return f"{beside}: {words}, {apart}."


def _signed(value: float | None) -> str:
    return "n/e" if value is None else f"{value:+.3f}".replace("0.", ".", 1)


def _short(value: float) -> str:
    return f"{value:g}".replace("0.", ".", 1)
