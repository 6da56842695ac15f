"""Why checks failed, each cause once: one exception in `fit` fails two dozen checks, and is one thing to mend."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from bench.errors import shown

_FRAME: Final = re.compile(r'^  File "(.+)", line (\d+), in (.+)$', re.MULTILINE)
_NUMBER: Final = re.compile(r"\d+")
_OWN: Final = str(Path(__file__).parents[1])
_LONGEST: Final = 500
"""Characters of a cause."""


class Cause(NamedTuple):
    """What went wrong, and in which checks."""

    text: str
    """The sentence of a check, or an exception with the line of the method's own code that raised it."""
    names: tuple[str, ...]
    """The checks, in their order."""


def causes_of(failures: Iterable[tuple[str, str]]) -> list[Cause]:
    """Names and details of failed checks by what they have in common, in the order of the checks.

    Causes that differ in numbers alone are one: `index 13 is out of bounds` is told by the first of them.
    """
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, detail in failures:
        text = cause_of(detail)
        found[_NUMBER.sub("#", text)].append((name, text))
    return [Cause(same[0][1], tuple(name for name, _ in same)) for same in found.values()]


def cause_of(detail: str) -> str:
    """The cause on one line: of a traceback its exception, and where in the method it was raised or called."""
    if not detail.startswith("Traceback "):
        return shown(detail, _LONGEST)
    last = detail.rpartition("Traceback (most recent call last):\n")[2]
    said = " ".join(line for line in last.split("\n") if not line.startswith("  ")).strip()
    frames = _FRAME.findall(detail)
    foreign = [frame for frame in frames if not frame[0].startswith(_OWN)]
    if not foreign:
        return shown(said, _LONGEST)
    file, line, function = foreign[-1]
    return shown(f"{said} ({Path(file).name}, line {line}, in {function})", _LONGEST)
