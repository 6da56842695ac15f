"""Docstrings of this project for the API page: a line `name: what it is` becomes an item of a list."""

from __future__ import annotations

import re
from typing import Any, Final

import griffe

_ITEM: Final = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*): {1,2}(?=\S)")
_NEXT: Final = re.compile(r"; {2}(?=[a-z_]\w*: )")


class Items(griffe.Extension):
    """Arguments stand on plain lines in the source, and Markdown would run them together."""

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        """Rewrites the docstring of a function before it is rendered."""
        if func.docstring is not None:
            func.docstring.value = as_items(func.docstring.value)


def as_items(docstring: str) -> str:
    """The docstring with its arguments as a list, whose end is where a line is neither item nor indented."""
    lines: list[str] = []
    within = False
    for line in _NEXT.sub("\n", docstring).split("\n"):
        is_item = _ITEM.match(line) is not None
        if is_item != within and not line.startswith(" "):
            lines.append("")
            within = is_item
        lines.append(_ITEM.sub(r"- **\1**: ", line))
    return "\n".join(lines)
