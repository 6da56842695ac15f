"""Log instructions of source code as a labelled log: `bench data corpus FOLDER`.

Python is read as a syntax tree, Java, C and Go by patterns. Harmless and severe levels become the labels
of lines, warnings are left out, values become `<*>`. The level itself stands in no message, or it would
be all that can be learned from one.
"""

from __future__ import annotations

import ast
import os
import random
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench._files import replace_text
from bench.errors import BenchError

_HARMLESS: Final = ("trace", "debug", "info", "notice", "fine", "finer", "finest", "verbose")
_SEVERE: Final = ("error", "err", "exception", "critical", "crit", "fatal", "severe", "panic", "alert", "emerg")
LEVELS: Final[Mapping[str, bool]] = dict.fromkeys(_HARMLESS, False) | dict.fromkeys(_SEVERE, True)
"""Whether a level is severe; what is not named, such as a warning, is no part of a corpus."""

_LARGEST: Final = 2_000_000
"""Bytes of a source file; larger ones are made by machines."""
_FEWEST_LETTERS: Final = 3
_NORMAL: Final = "-"

_STRING: Final = r'"((?:[^"\\\n]|\\.)*)"'
_RECEIVER: Final = r"\b\w*log\w*(?:\(\))?"
_NAMES: Final = "|".join(sorted(LEVELS, key=len, reverse=True))
_CALL: Final = re.compile(rf"(?i){_RECEIVER}\s*\.\s*({_NAMES})(?:f|ln|w)?\s*\(\s*{_STRING}")
_C_CALL: Final = re.compile(
    rf"(?i)(?:\b(?:pr|dev|log|\w*_log|zlog)_({_NAMES})\s*\((?:[^\"();]*,)?\s*{_STRING}"
    rf"|\b(?:KERN|LOG)_({_NAMES})\b\s*,?\s*{_STRING})"
)
_VALUE: Final = re.compile(r"%[-+ #0]*[\d*]*(?:\.[\d*]+)?(?:hh|h|ll|l|z|j|t)?[a-zA-Z]|%\(\w+\)[a-z]|\{[^{}]*\}")
_ESCAPES: Final = re.compile(r"\\.")
_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    **dict.fromkeys((".java", ".scala", ".kt", ".go"), _CALL),
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".hpp"), _C_CALL),
}

Instruction = tuple[str, str]
"""Level and message text."""


@dataclass(frozen=True)
class Corpus:
    """What was found and written."""

    log: Path
    n_files: int
    """Source files that were read."""
    n_broken: int
    """Python files that are no Python of this version."""
    levels: Mapping[str, int]
    """Distinct messages of each level."""
    n_both: int
    """Messages that stand under harmless and severe levels, and are left out."""

    @property
    def n_severe(self) -> int:
        """Lines labelled abnormal."""
        return sum(n for level, n in self.levels.items() if LEVELS[level])


def write_corpus(folders: list[Path], log: Path) -> Corpus:
    """Write the distinct log instructions below these folders as a log, in an order that is drawn once and for all."""
    for folder in folders:
        if not folder.is_dir():
            raise BenchError(f"the folder '{folder}' does not exist: give a folder with source code")
    found: dict[Instruction, None] = {}
    counts: Counter[str] = Counter()
    for path in _source_files(folders):
        own = instructions_of(path)
        counts["broken" if own is None else "read"] += 1
        found |= dict.fromkeys(own or ())
    kept, n_both = _of_one_kind(found)
    levels = Counter(level for level, _ in kept)
    if len({LEVELS[level] for level in levels}) < 2:
        raise BenchError(
            f"the {counts['read']} source files below {', '.join(map(str, folders))} hold {len(kept)} log "
            "instructions, and not both harmless and severe ones: give a folder with more Python, Java, C or Go code"
        )
    lines = [f"{level.upper() if LEVELS[level] else _NORMAL} {text}\n" for level, text in kept]
    replace_text(log, "".join(lines), way_out="give another --out")
    return Corpus(log, counts["read"], counts["broken"], dict(sorted(levels.items())), n_both)


def instructions_of(path: Path) -> list[Instruction] | None:
    """Level and text of the logging calls of a source file; None of a Python file that cannot be parsed."""
    source = path.read_bytes().decode("utf-8", errors="replace")
    if path.suffix == ".py":
        tree = _tree_of(source)
        found = None if tree is None else list(_of_tree(tree))
    else:
        found = list(_of_pattern(source, _PATTERNS[path.suffix]))
    if found is None:
        return None
    cleaned = ((level, _cleaned(text)) for level, text in found)
    return [(level, text) for level, text in cleaned if sum(map(str.isalpha, text)) >= _FEWEST_LETTERS]


def _source_files(folders: list[Path]) -> Iterator[Path]:
    """Source files in order of their names; links are not followed."""
    for folder in folders:
        for root, inner, names in os.walk(folder):
            inner.sort()
            for name in sorted(names):
                path = Path(root, name)
                if path.suffix not in (".py", *_PATTERNS) or path.is_symlink() or not os.access(path, os.R_OK):
                    continue
                if path.is_file() and path.stat().st_size <= _LARGEST:
                    yield path


def _of_one_kind(found: Mapping[Instruction, None]) -> tuple[list[Instruction], int]:
    """One instruction for each text whose levels are all harmless or all severe, shuffled; and how many others."""
    kinds: dict[str, set[bool]] = {}
    level_of: dict[str, str] = {}
    for level, text in sorted(found):
        kinds.setdefault(text, set()).add(LEVELS[level])
        level_of.setdefault(text, level)
    kept = [(level, text) for text, level in level_of.items() if len(kinds[text]) == 1]
    random.Random(0).shuffle(kept)  # so that the first share of the lines is a fair sample
    return kept, len(level_of) - len(kept)


def _tree_of(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old escapes in other people's strings
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _of_tree(tree: ast.Module) -> Iterator[Instruction]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        level = node.func.attr.lower()
        if level in LEVELS and "log" in _last_name(node.func.value).lower():
            text = _text_of(node.args[0])
            if text is not None:
                yield level, text


def _last_name(node: ast.expr) -> str:
    """`_log` of `self._log`, `getLogger` of `logging.getLogger(name)`."""
    node = node.func if isinstance(node, ast.Call) else node
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text_of(node: ast.expr) -> str | None:
    """The text of a message with `<*>` for what is put into it; None where no text stands there."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text_of(part) or "<*>" for part in parts)
        case ast.BinOp(left=left, op=ast.Mod()):
            return _text_of(left)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = (_text_of(left), _text_of(right))
            return None if texts == (None, None) else "".join("<*>" if text is None else text for text in texts)
        case ast.Call(func=ast.Attribute(value=value, attr="format")):
            return _text_of(value)
    return None


def _of_pattern(source: str, pattern: re.Pattern[str]) -> Iterator[Instruction]:
    for found in pattern.finditer(source):
        level, text, *others = found.groups()
        if level is None:
            level, text = others
        yield level.lower(), _ESCAPES.sub(" ", text)


def _cleaned(text: str) -> str:
    """On one line, with `<*>` for each value."""
    return " ".join(_VALUE.sub("<*>", text).split())
