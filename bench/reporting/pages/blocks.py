"""Generated blocks of a page: what stands between `<!-- made: NAME -->` and `<!-- end -->` is written by a program.

Everything around them is written by hand and kept as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.errors import BenchError

_BLOCK: Final = re.compile(r"^<!-- made: (?P<name>[^\n]+?) -->\n(?P<text>.*?)^<!-- end -->$", re.M | re.S)
_MARK: Final = re.compile(r"^<!-- (?:made: [^\n]+|end) -->$", re.M)


def block(name: str, text: str = "") -> str:
    """A block with its markers, as it stands in a page."""
    body = f"\n{text.strip()}\n\n" if text.strip() else ""
    return f"<!-- made: {name} -->\n{body}<!-- end -->"


def block_names(page: str) -> list[str]:
    """The blocks of a page, in order."""
    return [found["name"] for found in _BLOCK.finditer(page)]


def filled(page: str, texts: Mapping[str, str], path: Path) -> str:
    """The page with these texts in its blocks; a BenchError where marks are torn or a block is not to be had."""
    names = block_names(page)
    if len(_MARK.findall(page)) != 2 * len(names):
        raise BenchError(
            f"{path} has a mark of a block without its other half: write `<!-- made: NAME -->` above, "
            "`<!-- end -->` below it"
        )
    unknown = [name for name in names if name not in texts]
    if unknown:
        raise BenchError(
            f"{path} has the block '{unknown[0]}', which nothing makes: delete it, or use one of {_listed(texts)}"
        )
    missing = [name for name in texts if names.count(name) != 1]
    if missing:
        raise BenchError(f"{path} has the block '{missing[0]}' {names.count(missing[0])} times: write it once")
    return _BLOCK.sub(lambda found: block(found["name"], texts[found["name"]]), page)


def emptied(page: str) -> str:
    """The page with its blocks blank, line by line, so that what is left keeps its place."""
    return _BLOCK.sub(lambda found: "\n" * found[0].count("\n"), page)


def _listed(texts: Mapping[str, str]) -> str:
    return ", ".join(f"'{name}'" for name in texts)
