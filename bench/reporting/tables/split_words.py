"""What a split does, in words, as headers of tables and pages say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bench.data.sequences.protocols import RETROSPECTIVE, block_of
from bench.data.sequences.splits import BLIND, EVERY, FIRST_BLOCK, SOURCE, TARGET

GIVEN: Final = "as the files say"
_BLIND: Final = (
    f"drawn by the seed without regard to labels and time: {BLIND[0]} % train, {BLIND[1] - BLIND[0]} % validate, "
    f"{100 - BLIND[1]} % test"
)


def split_words(split: str, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The words behind the name of a split; parts: what records hold of it, by edition."""
    if split == "paper":
        drawn = ", ".join(f"m = {system['m']} of {name}" for name, system in parts.items() if "m" in system)
        return f"balanced draw, {drawn} (as many normal; validation normals are exchangeable with those of the test)"
    if split == "transfer":
        return _transfer(parts)
    if split in ("given", "blind"):
        return GIVEN if split == "given" else _BLIND
    if split == RETROSPECTIVE:
        return "all of the log trains and all of it tests, for methods that are told failure times; nothing validates"
    block = block_of(split)
    if block is not None:
        return block_words(f"block {block.number} of {block.total}")
    cut = next(system["cut"] for system in parts.values() if "cut" in system)
    each = any(isinstance(line, list) for system in parts.values() for line in system.get("cut_lines", ()))
    return f"cut at {100 * cut[0]:.0f} % and {100 * cut[1]:.0f} % of the lines{' of each file' if each else ''}"


def block_words(which: str) -> str:
    """The words for one block of `prequential`, or for several."""
    return (
        f"{which} behind {FIRST_BLOCK} % of the lines, scored by a detector fitted anew on what its method is told of "
        f"all before it, of which every {EVERY}th sequence validates"
    )


def _transfer(parts: Mapping[str, Mapping[str, Any]]) -> str:
    drawn = [name for name, system in parts.items() if "drawn" in system]
    source = f"all sequences of a source learn ({SOURCE[0]} % of its lines train, {100 - SOURCE[0]} % validate)"
    target = (
        f"the first {TARGET[1]} % of a target's lines are its pool ({TARGET[0]} % train, {TARGET[1] - TARGET[0]} % "
        f"validate), the later {100 - TARGET[1]} % test"
    )
    return f"{source}; {target}" + (f"; drawn by the seed, not cut: {', '.join(drawn)}" if drawn else "")
