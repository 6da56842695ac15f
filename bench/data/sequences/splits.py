"""The split protocols: which sequences train, validate and test, and which lines the parser may learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.sequences.grouping import Groups
from bench.data.sequences.protocols import RETROSPECTIVE, Block, block_of, canonical, cuts_of
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL, UNLABELLED

VALIDATION_SHARE: Final = 0.2
"""`paper`: share of the normals left after the test draw that validate."""
BLIND: Final = (60, 80)
"""`blind`: percent of the drawn order that trains, and that trains or validates."""
SOURCE: Final = (80, 100)
"""`transfer`: percent of a source that trains, and that trains or validates."""
TARGET: Final = (40, 50)
"""`transfer`: percent of a target that is its pool for training, and its pool; the rest tests."""
FIRST_BLOCK: Final = 60
"""`prequential`: percent of the lines that lie before the first block."""
EVERY: Final = 5
"""`prequential`: of the sequences before a block every fifth validates."""

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
    is_target: bool = False,
    file_starts: Index | None = None,
) -> Split:
    """Split one system's sequences; unlabelled ones take no part.

    protocol: a split as `canonical` writes it;  is_target: whether it is only tested, which matters to `transfer`
    file_starts: (n_files,) first line of each file, where cuts are made in each of them, as in logs of one time

    `chronological`: cuts at 60 % and 80 % of the lines, or at those it names; a sequence counts where it ends, so that
    training uses nothing from after the cut and no sequence is dropped. `paper` (MLAD section 4.1): test = m abnormal
    and m random normal sequences, m = min(abnormal, floor(normal / 2)); 20 % of the remaining normals validate (they
    are exchangeable with the test normals), the others train. The seed drives the draw. `given`: as the files say.
    `blind`: the seed draws 60 % to train, 20 % to validate and 20 % to test, labels unseen. `transfer`: a source trains
    with 80 % of its lines and validates with the rest; of a target the first half is its pool, of which the last fifth
    validates, and the second half tests; drawn by the seed where the sequences stand in no order of time.
    `prequential:K,k`: the k-th of K blocks of lines behind 60 % tests; before it every fifth sequence validates and
    the others train. `retrospective`: all sequences train and all test, so that none is left to validate.
    """
    if not (groups.labels != UNLABELLED).any():
        raise BenchError("the data has no label at all, so nothing can be evaluated: give labels as its card describes")
    protocol = canonical(protocol)
    if protocol == "given":
        return _given(groups, n_lines)
    starts = np.zeros(1, np.int64) if file_starts is None else file_starts
    if protocol == "transfer":
        cuts = TARGET if is_target else SOURCE
        if groups.parts is None:
            return _cut(groups, n_lines, cuts, starts)
        _require_apart("transfer", overlapping=overlapping)
        return _drawn(groups, n_lines, seed, cuts)
    if protocol in ("paper", "blind"):
        _require_apart(protocol, overlapping=overlapping)
        return (_paper if protocol == "paper" else _blind)(groups, n_lines, seed)
    if groups.parts is not None:
        raise BenchError("its sequences stand in no order of time: use --split given, or --split paper")
    if protocol == RETROSPECTIVE:
        return _all(groups, n_lines)
    block = block_of(protocol)
    if block is not None:
        _require_apart(protocol, overlapping=overlapping)
        if len(starts) > 1:
            raise BenchError("its files are logs of one time, cut one by one: use --split chronological, or transfer")
        return _prequential(groups, n_lines, block)
    return _cut(groups, n_lines, cuts_of(protocol), starts)


def _require_apart(protocol: str, *, overlapping: bool) -> None:
    if overlapping:
        raise BenchError(
            f"overlapping windows under the split '{protocol}' put the same lines into training and test: "
            "use --window-step equal to --window-size, or --split chronological"
        )


def _cut(groups: Groups, n_lines: int, cuts: tuple[int, int], starts: Index) -> Split:
    """Parts by the percent of the lines, of each file that starts there, at which a sequence ends."""
    sizes = np.diff(np.append(starts, n_lines))
    first, second = (starts + sizes * cut // 100 for cut in cuts)
    last = groups.last_lines
    file = np.searchsorted(starts, last, side="right") - 1
    labelled = groups.labels != UNLABELLED
    learned = [np.arange(start, end) for start, end in zip(starts, first, strict=True)]
    return Split(
        train=np.flatnonzero(labelled & (last < first[file])),
        validation=np.flatnonzero(labelled & (last >= first[file]) & (last < second[file])),
        test=np.flatnonzero(labelled & (last >= second[file])),
        parser_lines=np.concatenate(learned),
        facts={"cut": [cut / 100 for cut in cuts], "cut_lines": _cut_lines(first, second)},
    )


def _cut_lines(first: Index, second: Index) -> list[Any]:
    """The two cut lines, or those of each file."""
    pairs: list[Any] = np.stack([first, second], axis=1).tolist()
    return list(pairs[0]) if len(pairs) == 1 else pairs


def _blind(groups: Groups, n_lines: int, seed: int) -> Split:
    return _drawn(groups, n_lines, seed, BLIND)


def _drawn(groups: Groups, n_lines: int, seed: int, cuts: tuple[int, int]) -> Split:
    """Parts by the place in an order that the seed draws; which labels are known is asked after it."""
    order = np.random.default_rng(seed).permutation(len(groups))
    first, second = (len(order) * cut // 100 for cut in cuts)
    parts = (np.sort(part) for part in (order[:first], order[first:second], order[second:]))
    train, validation, test = (part[groups.labels[part] != UNLABELLED] for part in parts)
    return Split(train, validation, test, _lines_of(groups, n_lines, train), facts={"drawn": list(cuts)})


def _prequential(groups: Groups, n_lines: int, block: Block) -> Split:
    whole, behind = 100 * block.total, 100 - FIRST_BLOCK
    start, stop = (
        n_lines * (FIRST_BLOCK * block.total + behind * k) // whole for k in (block.number - 1, block.number)
    )
    if start == stop:
        raise BenchError(
            f"block {block.number} of {block.total} holds no line: use fewer than {n_lines * behind // 100 + 1} blocks"
        )
    last = groups.last_lines
    labelled = groups.labels != UNLABELLED
    before = np.flatnonzero(last < start)
    place = np.zeros(len(groups), np.int64)
    place[before[np.argsort(last[before], kind="stable")]] = np.arange(len(before))
    validates = place % EVERY == EVERY - 1
    train = np.flatnonzero(labelled & (last < start) & ~validates)
    return Split(
        train=train,
        validation=np.flatnonzero(labelled & (last < start) & validates),
        test=np.flatnonzero(labelled & (last >= start) & (last < stop)),
        parser_lines=_lines_of(groups, n_lines, train),
        facts={"block": [block.number, block.total], "cut_lines": [start, stop]},
    )


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


def _all(groups: Groups, n_lines: int) -> Split:
    every = np.flatnonzero(groups.labels != UNLABELLED)
    return Split(every, every[:0], every, np.arange(n_lines), facts={"all": len(every)})


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
