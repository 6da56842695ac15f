"""Further editions of a known system from files or standard input: `bench data prepare app@june --from june.log`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from bench._files import replace_text, replacing
from bench.data.cards.catalogue import catalogue
from bench.data.cards.checksums import file_sha256
from bench.data.own.heads import require_utf8
from bench.data.own.toml import toml_string
from bench.errors import BenchError

STANDARD_INPUT: Final = Path("-")
_KEY: Final = re.compile("(?P<name>[a-z][a-z0-9_-]*)@(?P<edition>[a-z0-9._-]+)")
_BLOCK: Final = 1 << 20


def new_edition(key: str, sources: Sequence[Path], *, labels: Path | None = None, data_dir: Path | None = None) -> str:
    """Write the card of an edition made of these files in their order, and return its key.

    Files below the data folder stay where they are; others and standard input are copied into it. The system's format
    says how they are read.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise BenchError(f"'{key}' names no new edition: write the system and a new name, such as bgl@june")
    known = catalogue(data_dir)
    if known.data_dir is None:
        raise BenchError("a new edition needs a data folder: set BENCH_DATA or give --data DIR")
    first = known.editions(match["name"])[0]
    name = first.name
    if first.format.label == "incidents":
        raise BenchError(
            f"labels of '{name}' are time ranges, which belong into the edition's card: use "
            f"`bench data new {name} FILE --incidents FILE`"
        )
    card = known.data_dir / name / f"{match['edition']}.toml"
    if card.exists() or any(c.edition == match["edition"] for c in known.editions(name)):
        raise BenchError(f"the edition '{name}@{match['edition']}' exists: choose another name, or remove its card")
    if list(sources).count(STANDARD_INPUT) > 1:
        raise BenchError("standard input was given twice with --from: it can be read once")
    given = [(source, "log", f"{match['edition']}-{i}") for i, source in enumerate(sources, 1)]
    given += [(labels, "labels", f"{match['edition']}-labels")] if labels is not None else []
    for source, role, _ in given:
        _require_readable(source, role)
    with contextlib.ExitStack() as undo:
        files = [(_placed(source, known.data_dir, name, stem, undo), role) for source, role, stem in given]
        replace_text(card, _card_text(name, files), way_out="make room, or use another data folder")
        undo.pop_all()
    return f"{name}@{match['edition']}"


def _require_readable(source: Path, role: str) -> None:
    if source == STANDARD_INPUT and role == "log":
        return
    what, more = ("log", ", or - for standard input") if role == "log" else ("label file", "")
    if not source.is_file():
        raise BenchError(f"the {what} '{source}' does not exist or is no file: give files{more}")
    if not os.access(source, os.R_OK):
        raise BenchError(f"the {what} '{source}' cannot be read: change its permissions")
    if role == "log":
        require_utf8(source)


def _placed(source: Path, folder: Path, name: str, stem: str, undo: contextlib.ExitStack) -> tuple[str, str]:
    """The file's name below the data folder, and its SHA-256; undo: what takes a copy away again."""
    if source == STANDARD_INPUT:
        if sys.stdin is None:
            raise BenchError("standard input is closed: pipe a log into the command, or give files with --from")
        return _copied(sys.stdin.buffer, "standard input", folder, f"{name}/{stem}.log", undo)
    root = folder.absolute()
    if source.absolute().is_relative_to(root) and ".." not in source.parts:
        found = file_sha256(source)
        return source.absolute().relative_to(root).as_posix(), found
    with source.open("rb") as stream:
        return _copied(stream, str(source), folder, f"{name}/{stem}{''.join(source.suffixes[-2:]) or '.log'}", undo)


def _copied(stream: IO[bytes], called: str, folder: Path, relative: str, undo: contextlib.ExitStack) -> tuple[str, str]:
    path = folder / relative
    if path.exists():
        raise BenchError(f"{path} exists and belongs to no edition of this name: rename it, or choose another name")
    digest = hashlib.sha256()
    with replacing(path) as target:
        for block in _blocks_of(stream, called):
            digest.update(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    undo.callback(path.unlink)
    return relative, digest.hexdigest()


def _blocks_of(stream: IO[bytes], called: str) -> Iterator[bytes]:
    try:
        while block := stream.read(_BLOCK):
            yield block
    except OSError as error:
        raise BenchError(f"{called} cannot be read ({error.strerror}): give a log file") from None


def _card_text(name: str, files: list[tuple[tuple[str, str], str]]) -> str:
    text = f"""title = {toml_string(f"{name}: {files[0][0][0]}")}
tier = "development"
rank = 10
kind = "lines"
notes = "Made by `bench data prepare --from`."
"""
    for (relative, digest), role in files:
        text += f'\n[[files]]\nname = {toml_string(relative)}\nsha256 = "{digest}"\nrole = "{role}"\n'
    return text
