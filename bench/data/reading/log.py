"""An edition as it was read: one row per log line, as arrays that may lie in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

WILDCARD: Final = "<*>"
"""What stands in a text for what a mask matched."""

PARTS: Final = ("train", "validation", "test")

DefectKind = Literal["replaced", "headerless", "cut", "nul", "timeless"]
DEFECTS: Final[dict[DefectKind, str]] = {
    "replaced": "lines with bytes that are no UTF-8 (read as U+FFFD)",
    "headerless": "lines without the card's header (kept whole as message)",
    "cut": "lines longer than 1 MiB (cut off there)",
    "nul": "lines with NUL bytes (kept as they are)",
    "timeless": "lines whose time cannot be read",
}
"""What can be wrong with a line. Such lines are kept, counted, and held against a card's `tolerance`."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Lines of an edition that share a defect."""

    kind: str
    count: int
    first_line: int
    """The first of them, from 1, counted through all files of the edition."""

    def __str__(self) -> str:
        return f"{self.count:,} {DEFECTS.get(self.kind, self.kind)}, the first is line {self.first_line:,}"  # type: ignore[call-overload]


class Texts(Sequence[str]):
    """Texts in an Arrow column, which may be memory-mapped: a Python string is made only for what is asked for."""

    def __init__(self, values: pl.Series | Iterable[str]) -> None:
        self._values = values if isinstance(values, pl.Series) else pl.Series(values, dtype=pl.String)

    @property
    def values(self) -> pl.Series:
        """The column itself."""
        return self._values

    def take(self, which: NDArray[np.int64]) -> list[str]:
        """The texts at these positions."""
        taken: list[str] = self._values.gather(which).to_list()
        return taken

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return Texts(self._values[index])
        text: str = self._values[int(index)]
        return text

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values.to_list())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Texts({self._values.head(3).to_list()}, {len(self)} in all)"


def take(texts: Sequence[str], which: NDArray[np.int64]) -> list[str]:
    """The texts at these positions."""
    return texts.take(which) if isinstance(texts, Texts) else [texts[i] for i in which.tolist()]


@dataclass(frozen=True, slots=True)
class Log:
    """An edition as read: one row per log line (or pre-parsed event), in file order.

    message_ids: int32 (n_lines,)      index into messages
    messages: Sequence[str]            distinct masked messages; for id streams the template texts
    labels: int8 (n_lines,)            0 normal, 1 abnormal, -1 unlabelled
    times: float64 (n_lines,)          Unix seconds, or NaN
    file_starts: int64 (n_files,)      first line of each file: windows restart there
    session_lines, session_codes       int64, int32 (n_pairs,): line l belongs to session c; None without sessions
    session_ids: Sequence[str];  session_labels: int8 (n_sessions,)
    session_parts: int8 (n_sessions,)  position in `PARTS` where the files say what trains and what tests; else None
    is_parsed: bool                    messages are templates already, no parser runs
    defects: tuple[Defect, ...]        lines that were not as they should be
    notes: tuple[str, ...]             what else a reader of results should know, such as sessions without a label
    alerts: {label token: n_lines}     the kinds of label that mean abnormal, the most frequent first
    first_lines: int64 (n_lines,)      where some lines are no events: which line, from 1, begins each; else None
    other_lines: int                   lines that are no events of their own
    """

    message_ids: NDArray[np.int32]
    messages: Sequence[str]
    labels: NDArray[np.int8]
    times: NDArray[np.float64]
    file_starts: NDArray[np.int64]
    session_lines: NDArray[np.int64] | None = None
    session_codes: NDArray[np.int32] | None = None
    session_ids: Sequence[str] = ()
    session_labels: NDArray[np.int8] | None = None
    session_parts: NDArray[np.int8] | None = None
    is_parsed: bool = False
    defects: tuple[Defect, ...] = ()
    notes: tuple[str, ...] = ()
    alerts: tuple[tuple[str, int], ...] = ()
    first_lines: NDArray[np.int64] | None = None
    other_lines: int = 0

    def __len__(self) -> int:
        return len(self.message_ids)

    @property
    def n_lines(self) -> int:
        """Lines that were read; without those that continue an event or are skipped there are `len(log)`."""
        return len(self) + self.other_lines

    def numbers_of(self, events: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers, from 1 through all files, of the lines where these events begin."""
        return events + 1 if self.first_lines is None else self.first_lines[events]

    def count_defects(self, kind: DefectKind) -> int:
        """Lines with this defect."""
        return sum(defect.count for defect in self.defects if defect.kind == kind)

    @property
    def n_replaced(self) -> int:
        """Lines with bytes that are no UTF-8, replaced by U+FFFD."""
        return self.count_defects("replaced")

    @property
    def n_headerless(self) -> int:
        """Lines whose header did not match and that were kept whole as message."""
        return self.count_defects("headerless")

    @property
    def defective_share(self) -> float:
        """Share of lines with a defect; one with several counts several times, up to 1."""
        return min(1.0, sum(defect.count for defect in self.defects) / self.n_lines) if len(self) else 0.0
