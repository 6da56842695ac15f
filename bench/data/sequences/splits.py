"""The split protocols: which sequences train, validate and test, and which lines the parser may learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.grouping import Groups
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL

Protocol = Literal["chronological", "paper", "given"]
PROTOCOLS: Final[tuple[str, ...]] = get_args(Protocol)
DRAWN: Final = frozenset({"paper"})
"""Protocols under which the seed draws sequences; under the others all seeds have the same data."""
CUTS: Final = (0.6, 0.8)
"""Training ends at 60 % of the lines, validation at 80 %."""
VALIDATION_SHARE: Final = 0.2
"""`paper`: share of the normals left after the test draw that validate."""

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Positions of sequences, int64, ascending; `parser_lines`: line numbers the parser learns from, ascending."""

    train: Index
    validation: Index
    test: Index
    parser_lines: Index
    facts: dict[str, Any]
    """What a table must name: the cut lines, or the number m of the balanced draw."""


def split(
    groups: Groups,
    n_lines: int,
    protocol: str,
    *,
    seed: int,
    overlapping: bool = False,
    file_starts: Index | None = None,
) -> Split:
    """Split one system's sequences; unlabelled ones take no part.

    `chronological`: cuts at 60 % and 80 % of the lines; a sequence counts where it ends, so that training uses nothing
    from after the cut and no sequence is dropped. `paper` (MLAD section 5.2): test = m abnormal and m random normal
    sequences, m = min(abnormal, floor(normal / 2)); 20 % of the remaining normals validate (they are exchangeable with
    the test normals), the others train. The seed drives the draw. `given`: as the files say.

    file_starts: (n_files,) first line of each file, where `chronological` cuts each of them, as logs of one time
    """
    if not (groups.labels != -1).any():
        raise BenchError("the data has no label at all, so nothing can be evaluated: give labels as its card describes")
    if protocol == "given":
        return _given(groups, n_lines)
    if protocol == "chronological":
        if groups.parts is not None:
            raise BenchError("its sequences stand in no order of time: use --split given, or --split paper")
        return _chronological(groups, n_lines, np.zeros(1, np.int64) if file_starts is None else file_starts)
    if protocol == "paper":
        if overlapping:
            raise BenchError(
                "overlapping windows under the split 'paper' put the same lines into training and test: "
                "use --window-step equal to --window-size, or --split chronological"
            )
        return _paper(groups, n_lines, seed)
    raise BenchError(f"unknown split '{protocol}': choose one of {', '.join(PROTOCOLS)}")


def _chronological(groups: Groups, n_lines: int, starts: Index) -> Split:
    sizes = np.diff(np.append(starts, n_lines))
    first, second = (starts + (cut * sizes).astype(np.int64) for cut in CUTS)
    last = groups.last_lines
    file = np.searchsorted(starts, last, side="right") - 1
    labelled = groups.labels != -1
    return Split(
        train=np.flatnonzero(labelled & (last < first[file])),
        validation=np.flatnonzero(labelled & (last >= first[file]) & (last < second[file])),
        test=np.flatnonzero(labelled & (last >= second[file])),
        parser_lines=np.concatenate([np.arange(start, end) for start, end in zip(starts, first, strict=True)]),
        facts={"cut": list(CUTS), "cut_lines": _cut_lines(first, second)},
    )


def _cut_lines(first: Index, second: Index) -> list[Any]:
    """The two cut lines, or those of each file."""
    pairs: list[Any] = np.stack([first, second], axis=1).tolist()
    return list(pairs[0]) if len(pairs) == 1 else pairs


def _paper(groups: Groups, n_lines: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    abnormal = rng.permutation(np.flatnonzero(groups.labels == ABNORMAL))
    normal = rng.permutation(np.flatnonzero(groups.labels == NORMAL))
    m = min(len(abnormal), len(normal) // 2)
    rest = normal[m:]
    n_validation = int(VALIDATION_SHARE * len(rest))
    train = np.sort(rest[n_validation:])
    return Split(
        train=train,
        validation=np.sort(rest[:n_validation]),
        test=np.sort(np.concatenate([abnormal[:m], normal[:m]])),
        parser_lines=_lines_of(groups, n_lines, train),
        facts={"m": m},
    )


def _given(groups: Groups, n_lines: int) -> Split:
    if groups.parts is None:
        raise BenchError("its files do not say what trains and what tests: use --split chronological or paper")
    train, validation, test = (np.flatnonzero(groups.parts == part) for part in range(3))
    return Split(train, validation, test, _lines_of(groups, n_lines, train), facts={"given": len(train)})


def _lines_of(groups: Groups, n_lines: int, which: Index) -> Index:
    """Line numbers that belong to any of these sequences, ascending."""
    chosen = np.zeros(len(groups), bool)
    chosen[which] = True
    present = np.zeros(n_lines, bool)
    present[groups.lines[np.repeat(chosen, np.diff(groups.offsets))]] = True
    return np.flatnonzero(present)
