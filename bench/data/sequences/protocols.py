"""The names of splits: `chronological:50,70`, `rolling:4` and the like, what they may say, and how one is written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from bench.errors import BenchError

RETROSPECTIVE: Final = "retrospective"
"""All of a log trains and all of it tests: what is told is when failures were, and which lines showed them is asked."""
PROTOCOLS: Final = ("chronological", "paper", "given", "blind", "transfer", RETROSPECTIVE)
"""The splits that need no number."""
FORMS: Final = (*PROTOCOLS, "chronological:A,B", "rolling:K", "prequential:K")
DRAWN: Final = frozenset({"paper", "blind"})
"""Splits under which the seed draws sequences; under the others all seeds have the same data."""
CUTS: Final = (0.6, 0.8)
"""`chronological`: training ends at 60 % of the lines, validation at 80 %."""
HELP: Final = (
    "chronological; chronological:50,70: other cuts in percent; rolling:4: so many cuts, training ends at 40 to 70 %; "
    "prequential:5: refitted for each of so many blocks behind 60 %; paper; blind: drawn without labels; "
    "transfer: all of the source trains; given: as the files say; "
    "retrospective: all trains and all tests, for methods that are told failure times"
)

_ORIGINS: Final = (40, 70)
"""`rolling`: training ends at the first with the first origin, at the last with the last, in percent."""
_VALIDATION: Final = 20
"""`rolling`: percent of the lines that validate."""
_MOST_ORIGINS: Final = _ORIGINS[1] - _ORIGINS[0] + 1
_MOST_BLOCKS: Final = 1000
_BETWEEN: Final = re.compile(r",(?!\s*[0-9])")
_WHOLE: Final = re.compile(r"[0-9]{1,6}")


class Block(NamedTuple):
    """One block of `prequential`: the `number`-th of `total`, from 1."""

    total: int
    number: int


def separated(text: str) -> list[str]:
    """The splits of a list with commas; one between numbers belongs to its split."""
    items = (item.strip().rstrip(",").rstrip() for item in _BETWEEN.split(text))
    return [item for item in items if item]


def expanded(texts: Iterable[str]) -> tuple[str, ...]:
    """The splits that have records, each once: `rolling:K` is K cuts, `prequential:K` K blocks."""
    return tuple(dict.fromkeys(name for text in texts for name in _expanded(text)))


def canonical(text: str) -> str:
    """How the split of a record is written; a BenchError where there is none, or where it is several."""
    names = _expanded(text)
    if len(names) > 1:
        raise BenchError(
            f"the split '{text}' stands for {len(names)} splits, and one is needed: choose one, e.g. {names[0]}"
        )
    return names[0]


def is_cut(split: str) -> bool:
    """Whether it is one cut in time, `chronological` or another."""
    return split.partition(":")[0] == "chronological"


def in_time(split: str) -> bool:
    """Whether what tests is all that a stretch of time holds, and not drawn or given by files."""
    return is_cut(split) or split in ("transfer", RETROSPECTIVE) or block_of(split) is not None


def cuts_of(split: str) -> tuple[int, int]:
    """Where training and validation end under a cut in time, in percent of the lines."""
    _, _, numbers = split.partition(":")
    first, second = map(int, numbers.split(",")) if numbers else (round(100 * cut) for cut in CUTS)
    return first, second


def block_of(split: str) -> Block | None:
    """The block of `prequential:K,k`; None under other splits."""
    name, _, numbers = split.partition(":")
    return Block(*map(int, numbers.split(","))) if name == "prequential" else None


def family_of(split: str) -> str:
    """What a user typed for it: the blocks of one `prequential:K` are one family, every other split is its own."""
    block = block_of(split)
    return split if block is None else f"prequential:{block.total}"


def _expanded(text: str) -> list[str]:
    if text in PROTOCOLS:
        return [text]
    name, colon, numbers = text.partition(":")
    found = [int(part) if _WHOLE.fullmatch(part.strip()) else -1 for part in numbers.split(",")]
    if name == "chronological" and colon:
        return [_cut(text, found)]
    if name == "rolling":
        count = _count(text, found, "origins", _MOST_ORIGINS)
        return [_cut_name(end, end + _VALIDATION) for end in _ends(count)]
    if name == "prequential":
        count = _count(text, found[:1], "blocks", _MOST_BLOCKS)
        return [f"{name}:{count},{number}" for number in _numbers(text, count, found[1:])]
    raise BenchError(_unknown(text, name))


def _cut(text: str, found: list[int]) -> str:
    if len(found) == 2 and 100 > found[0] > found[1] > 0:
        raise BenchError(
            f"the split '{text}' would end validation before training: write chronological:{found[1]},{found[0]}"
        )
    if len(found) != 2 or not 0 < found[0] < found[1] < 100:
        raise BenchError(
            f"the split '{text}' needs two whole percentages from 1 to 99, where training and where validation ends: "
            "write e.g. chronological:50,70"
        )
    return _cut_name(*found)


def _cut_name(first: int, second: int) -> str:
    # The cuts of `chronological` are `chronological`, or one run would have two ids.
    is_default = (first, second) == cuts_of("chronological")
    return "chronological" if is_default else f"chronological:{first},{second}"


def _count(text: str, found: list[int], of: str, most: int) -> int:
    if len(found) != 1 or not 2 <= found[0] <= most:
        name = text.partition(":")[0]
        raise BenchError(f"the split '{text}' needs a whole number of {of} from 2 to {most}: write e.g. {name}:4")
    return found[0]


def _ends(count: int) -> list[int]:
    """Where training ends, in percent: evenly from the first to the last, to the nearest whole one."""
    first, last = _ORIGINS
    steps = count - 1
    return [first + (2 * (last - first) * i + steps) // (2 * steps) for i in range(count)]


def _numbers(text: str, count: int, found: list[int]) -> list[int]:
    if not found:
        return list(range(1, count + 1))
    if len(found) > 1 or not 1 <= found[0] <= count:
        raise BenchError(
            f"the split '{text}' names no block from 1 to {count}: write e.g. prequential:{count},1, "
            f"or prequential:{count} for all"
        )
    return found


def _unknown(text: str, name: str) -> str:
    known = list(dict.fromkeys(form.partition(":")[0] for form in FORMS))
    if name in known:
        return f"the split '{name}' takes no number, and '{text}' gives one: write {name}"
    near = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]}? else " if near else ""
    return f"unknown split '{text}': {meant}choose one of {', '.join(FORMS)}"
