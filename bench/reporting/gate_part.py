"""Which rows a gate is asked about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from bench.errors import BenchError, choose_one

_SETTINGS: Final = re.compile(r"\[| #")
"""Where the plain name of a row ends: `mlad[alpha=1.3]`, `mine.py:Mine #3497`."""


class Part(NamedTuple):
    """Rows by their names, `scenario | split | window | protocol 1 | method`; None: all."""

    scenarios: frozenset[str] | None = None
    methods: frozenset[str] | None = None
    """As rows are called; a plain name stands for its rows with settings too."""

    def holds(self, name: str) -> bool:
        """Whether this row is meant."""
        if self.scenarios is not None and name.partition(" | ")[0] not in self.scenarios:
            return False
        if self.methods is None:
            return True
        method = method_of(name)
        return method in self.methods or _SETTINGS.split(method)[0] in self.methods

    def require_known(self, names: Iterable[str]) -> None:
        """Raise BenchError for a method that none of these rows is of: it would be gated by nothing, and pass."""
        rows = list(names)
        known = dict.fromkeys(_SETTINGS.split(method_of(name))[0] for name in rows)
        for method in sorted(self.methods or ()):
            if not any(Part(methods=frozenset({method})).holds(name) for name in rows):
                raise BenchError(
                    f"no row of the baseline or the records is of the method '{method}': {choose_one(method, known)}"
                )


WHOLE: Final = Part()


def method_of(name: str) -> str:
    """The method of a row, by the row's name."""
    return name.rpartition(" | ")[2]
