"""Further editions of a known system from files or standard input: `bench data prepare app@june --from june.log`."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from bench.data.catalogue import catalogue, file_sha256
from bench.data.writing import replacing, toml_string, write_text
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
    rows = [_placed(source, known.data_dir, name, f"{match['edition']}-{i}") for i, source in enumerate(sources, 1)]
    files = [(row, "log") for row in rows]
    if labels is not None:
        files.append((_placed(labels, known.data_dir, name, f"{match['edition']}-labels"), "labels"))
    write_text(card, _card_text(name, files))
    return f"{name}@{match['edition']}"


def _placed(source: Path, folder: Path, name: str, stem: str) -> tuple[str, str]:
    """The file's name below the data folder, and its SHA-256."""
    if source == STANDARD_INPUT:
        return _copied(sys.stdin.buffer, folder, f"{name}/{stem}.log")
    if not source.is_file():
        raise BenchError(f"the log '{source}' does not exist or is no file: give log files, or - for standard input")
    root = folder.absolute()
    if source.absolute().is_relative_to(root) and ".." not in source.parts:
        stat = source.stat()
        found = file_sha256(source.absolute(), stat.st_size, stat.st_mtime_ns)
        return source.absolute().relative_to(root).as_posix(), found
    with source.open("rb") as stream:
        return _copied(stream, folder, f"{name}/{stem}{''.join(source.suffixes[-2:]) or '.log'}")


def _copied(stream: IO[bytes], folder: Path, relative: str) -> tuple[str, str]:
    digest = hashlib.sha256()
    with replacing(folder / relative) as target:
        while block := stream.read(_BLOCK):
            digest.update(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    return relative, digest.hexdigest()


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
