"""What comparisons say of two rows of a table: who ranks better, by the paired test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bench.reporting.comparisons.differences import VERSION
from bench.reporting.tables.ranking import RANKED_BY
from bench.reporting.tables.rows import Row, Table, TableKey

_INVERSE: Final = {"better": "worse", "worse": "better"}


class Paired(NamedTuple):
    """What the paired test says of one row against another."""

    verdict: str
    """`better`, `worse` or `not separable`."""
    p: float
    difference: float | None = None
    """Of the one less the other, in AP, with its 95 % interval; None of comparisons without."""
    low: float | None = None
    high: float | None = None

    @property
    def inverse(self) -> Paired:
        """Of the other against the one."""
        verdict = _INVERSE.get(self.verdict, self.verdict)
        return Paired(verdict, self.p, _minus(self.difference), _minus(self.high), _minus(self.low))


def _minus(value: float | None) -> float | None:
    return None if value is None else 0.0 - value  # never -0.0, which prints as -0.000


@dataclass(frozen=True)
class Verdicts:
    """What comparisons say of two rows of a table."""

    _by_key: dict[tuple[TableKey, str, str], Paired] = field(default_factory=dict)

    @classmethod
    def of(cls, comparisons: Iterable[dict[str, Any]]) -> Verdicts:
        """Those of the ranking metric, in both directions; what another version of the program kept says nothing."""
        found: dict[tuple[TableKey, str, str], Paired] = {}
        for comparison in comparisons:
            if comparison.get("version") != VERSION or not comparison.keys() >= set(TableKey._fields):
                continue
            fields = {name: comparison[name] for name in TableKey._fields}
            key = TableKey(**fields | {"data": tuple(comparison["data"])})
            for row in comparison["rows"]:
                values = (row["metrics"] or {}).get(RANKED_BY)
                if values:
                    one, other = comparison["method"], row["method"]
                    known = (values.get(name) for name in ("difference", "low", "high"))
                    paired = Paired(values["verdict"], values["p"], *known)
                    found[key, one, other] = paired
                    found.setdefault((key, other, one), paired.inverse)
        return cls(found)

    def __or__(self, other: Verdicts) -> Verdicts:
        """Both; of two on the same rows those of the other."""
        return Verdicts(self._by_key | other._by_key)

    def paired(self, table: Table, one: Row, other: Row) -> Paired | None:
        """What the test says of the one against the other, or None where they were not compared."""
        return self._by_key.get((table.key, one.method, other.method))

    def of_rows(self, table: Table, one: Row, other: Row | None) -> str | None:
        """`better`, `worse`, `not separable`, or None where they were not compared."""
        found = None if other is None else self.paired(table, one, other)
        return None if found is None else found.verdict
