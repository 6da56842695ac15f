"""What the source of a method says of its settings, read without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from bench.registry import DetectorRef, module_file


class _Class(NamedTuple):
    """A class where it is defined."""

    module: str
    node: ast.ClassDef


def setting_words(ref: DetectorRef) -> dict[str, str]:
    """What stands below each field of a detector's Config, inherited ones included; empty where nothing is found."""
    module, _, name = ref.target.partition(":")
    detector = _find(module, name)
    config = None if detector is None else _config_of(detector)
    words: dict[str, str] = {}
    for found in reversed(list(_with_bases(config))):
        words |= _words_below(found.node)
    return words


def profile_words(ref: DetectorRef) -> str:
    """What stands below `profiles` of a detector, where the nearest class has them; nothing if it says nothing."""
    module, _, name = ref.target.partition(":")
    said = (_words_below(found.node) for found in _with_bases(_find(module, name)))
    return next((words["profiles"] for words in said if "profiles" in words), "").removeprefix("`original`: ")


def module_words(ref: DetectorRef) -> str:
    """The docstring of a method's module."""
    return ast.get_docstring(_tree(ref.target.partition(":")[0])) or ""


def _config_of(detector: _Class) -> _Class | None:
    """The class behind `Config: ClassVar[type] = ...`, of the detector or the nearest base that says it."""
    for found in _with_bases(detector):
        for node in found.node.body:
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                return _Class(found.module, node)
            if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Name):
                targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
                if any(isinstance(target, ast.Name) and target.id == "Config" for target in targets):
                    return _find(found.module, node.value.id)
    return None


def _with_bases(found: _Class | None) -> Iterator[_Class]:
    """A class and its bases, nearest first, as far as they can be found."""
    if found is None:
        return
    yield found
    for base in found.node.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(plain, ast.Name):
            yield from _with_bases(_find(found.module, plain.id))


def _find(module: str, name: str) -> _Class | None:
    """The class of that name in a module, or where the module has it from."""
    tree = _tree(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _Class(module, node)
        if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
            return _find(node.module, name)
    return None


def _words_below(node: ast.ClassDef) -> dict[str, str]:
    """The text below each field, on one line."""
    words = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            constant = text.value if isinstance(text, ast.Expr) else None
            said = constant.value if isinstance(constant, ast.Constant) else None
            words[field.target.id] = " ".join(said.split()) if isinstance(said, str) else ""
    return words


@cache
def _tree(module: str) -> ast.Module:
    path = module_file(module)
    return ast.parse(path.read_text(encoding="utf-8")) if path is not None else ast.Module([], [])
