"""What a Python source says, apart from how it is written: the text of its syntax tree, and what it imports.

`ast.dump` is not used: what it prints differs between Python versions, and a digest must not.
"""

from __future__ import annotations

import ast
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_SKIPPED: Final = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields that say nothing a program could do otherwise; `ctx` follows from the place."""
_PARSER: Final = threading.Lock()
"""CPython's parser counts its depth for all threads together."""


@dataclass(frozen=True)
class Import:
    """One import statement: `from ..a import b, c` has level 2, module a and the names b and c."""

    level: int
    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One file: the digest of what it says, and its imports wherever they stand."""

    digest: str
    imports: tuple[Import, ...]


def read_source(content: bytes) -> Source:
    """Digest and imports of a Python file; of what this Python cannot parse, the digest of the bytes."""
    try:
        with _PARSER:
            tree = ast.parse(content)
        said = tree_text(tree).encode()
    except (SyntaxError, ValueError, RecursionError):
        return Source(hashlib.sha256(content).hexdigest(), ())
    return Source(hashlib.sha256(said).hexdigest(), tuple(dict.fromkeys(_imports(tree))))


def tree_text(tree: ast.AST) -> str:
    """The tree as text, without docstrings, positions and empty fields; equal under Python 3.11 to 3.13.

    A string that stands alone as a statement does nothing wherever it stands, so the docstrings of fields go too.
    """
    if isinstance(tree, ast.Constant):
        return _constant(tree.value)
    fields = [f"{name}={text}" for name, text in _fields(tree) if text]
    return f"{type(tree).__name__}({', '.join(fields)})"


def _fields(node: ast.AST) -> Iterator[tuple[str, str]]:
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED:
            continue
        if isinstance(node, ast.JoinedStr):
            yield name, _list(_joined(value))
        elif isinstance(node, ast.FormattedValue) and name == "format_spec":
            # An empty format, as in f"{x:}", is none.
            yield name, tree_text(value) if value is not None and _joined(value.values) else ""
        else:
            yield name, _value(value)


def _value(value: Any) -> str:
    if isinstance(value, ast.AST):
        return tree_text(value)
    if isinstance(value, list):
        return _list(value)
    return ascii(value) if value else ""


def _list(nodes: list[Any]) -> str:
    texts = [_entry(node) for node in nodes if not _does_nothing(node)]
    return f"[{', '.join(texts)}]" if texts else ""


def _entry(node: Any) -> str:
    # None stands for a key in {**other}, or a keyword-only argument without a default.
    return tree_text(node) if isinstance(node, ast.AST) else ascii(node)


def _does_nothing(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _joined(parts: list[Any]) -> list[Any]:
    """The parts of an f-string; how its plain text is cut into constants is the parser's business."""
    found: list[Any] = []
    for part in parts:
        if not isinstance(part, ast.Constant):
            found.append(part)
        elif found and isinstance(found[-1], ast.Constant):
            found[-1] = ast.Constant("".join(map(str, (found[-1].value, part.value))))
        elif part.value:
            found.append(part)
    return found


def _constant(value: object) -> str:
    """A literal; `ascii`, as which characters `repr` shows depends on the version's Unicode tables."""
    # A very long integer has no decimal text under a limit that users can set.
    text = hex(value) if isinstance(value, int) and not isinstance(value, bool) else ascii(value)
    return f"{type(value).__name__} {text}"


def _imports(tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.level, node.module or "", names)
