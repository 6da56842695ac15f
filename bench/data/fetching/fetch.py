"""Fetch an edition: download its archive, verify it, unpack what its card names, and note what came out.

Or follow the recipes of its files, where the card says of which published ones they are made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench._sealed import State
from bench.data.cards.card import Card, DataFile
from bench.data.cards.catalogue import Catalogue
from bench.data.cards.checksums import file_sha256
from bench.data.cards.fetched import Download, Note, note_path, read_note, require_intact, write_note
from bench.data.fetching.archives import Unpacked, Wanted, unpack
from bench.data.fetching.http import Patience, Report, download, has_checksum, no_room
from bench.data.fetching.making import make_files
from bench.errors import BenchError

_SLACK_BYTES: Final = 1 << 20
"""What an archive may be larger than the files in it are allowed to be."""


@dataclass(frozen=True)
class Fetched:
    """What a fetch left in the data folder; each file by its name, with SHA-256 and size in bytes."""

    card: Card
    was_there: bool
    files: tuple[dict[str, Any], ...]


def downloadable(catalogue: Catalogue, key: str) -> Card:
    """The edition of this key that can be fetched; for a bare name the one of the highest rank."""
    name, at, _ = key.partition("@")
    offered = [card for card in catalogue.editions(name) if _can_be_fetched(card)]
    if at:
        card = catalogue.find(key)
        if not _can_be_fetched(card):
            others = (
                f"these can be: {', '.join(card.key for card in offered)}" if offered else _by_hand(catalogue, card)
            )
            raise BenchError(f"'{card.key}' cannot be downloaded, {_why_not(card)}: {others}")
        return card
    if not offered:
        by_hand = _by_hand(catalogue, catalogue.editions(name)[0])
        raise BenchError(f"no edition of '{name}' can be downloaded: {by_hand}")
    return offered[0]


def _can_be_fetched(card: Card) -> bool:
    return card.download is not None or card.has_recipe


def _why_not(card: Card) -> str:
    told = [file for file in card.files if file.origin is not None and not file.origin.has_steps]
    if not told:
        return "its card has no [download] and no steps"
    return f"'{told[0].name}' takes more than declared steps (`bench audit data {card.key}` tells how it is made)"


def _by_hand(catalogue: Catalogue, card: Card) -> str:
    return "its files are here" if catalogue.is_available(card) else catalogue.how_to_get(card)


def fetch(
    card: Card, catalogue: Catalogue, *, patience: Patience | None = None, report: Report | None = None
) -> Fetched:
    """Make the files of an edition be there and intact; what is there already is not loaded again."""
    source, report = card.download, report or (lambda what, done, total: None)
    if not _can_be_fetched(card):
        raise BenchError(f"'{card.key}' cannot be downloaded: {_why_not(card)}")
    if catalogue.data_dir is None:
        raise BenchError(f"'{card.key}' needs a folder to be put into: set BENCH_DATA or give --data DIR")
    members = [file for file in card.files if file.archive or source is None]
    first = catalogue.data_dir / members[0].name
    try:
        for file in members:
            (catalogue.data_dir / file.name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_room(first, error) from None
    with _alone(first.parent, card):
        if is_intact(card, catalogue):
            return Fetched(card, True, _describe(members, catalogue))
        if source is None:
            make_files(card, catalogue, patience=patience, report=report)
            return Fetched(card, False, _describe(members, catalogue))
        archive = first.parent / source.file_name
        if archive in [catalogue.data_dir / file.name for file in card.files]:
            raise BenchError(f"the card '{card.key}' unpacks '{source.file_name}' over itself: rename its file")
        _load(source, archive, card, patience, report)
        _unpack(archive, members, catalogue.data_dir, report)
        archive.unlink()
    return Fetched(card, False, _describe(members, catalogue))


def is_intact(card: Card, catalogue: Catalogue) -> bool:
    """Whether all fetched files of an edition are here as they were unpacked."""
    folder = catalogue.data_dir
    if folder is None or not catalogue.is_available(card):
        return False
    try:
        for file in card.files:
            if file.archive:
                require_intact(folder / file.name, file.name, file.archive, file.member)
            elif card.download is None:
                catalogue.path(file)
    except BenchError:
        return False
    return True


def _load(source: Download, archive: Path, card: Card, patience: Patience | None, report: Report) -> None:
    """The verified archive: what an earlier run or the user put there is used, without any connection."""
    if archive.is_file():
        report("verify", 0, 0)
        if has_checksum(archive, source):
            return
        # Not deleted: who put it there by hand may want to look at it.
        raise BenchError(
            f"'{archive}' has the wrong checksum (expected {source.checksum}): delete it and run the same command again"
        )
    if os.environ.get("BENCH_OFFLINE", "0") not in ("", "0"):
        raise BenchError(
            f"'{card.key}' is not downloaded because BENCH_OFFLINE is set: unset it, or put {source.file_name} into "
            f"{archive.parent}"
        )
    limit = sum(file.max_bytes for file in card.files) + _SLACK_BYTES
    download(source, archive, limit=limit, patience=patience, report=report)


def _unpack(archive: Path, members: list[DataFile], folder: Path, report: Report) -> None:
    wanted = {file.member: Wanted(folder / file.name, file.max_bytes) for file in members}
    unpacked = unpack(archive, wanted, report)
    for file in members:
        try:
            _put(unpacked[file.member], folder / file.name, file)
        except OSError as error:
            raise no_room(folder / file.name, error) from None


def _put(made: Unpacked, path: Path, file: DataFile) -> None:
    # The old note goes first: a file is never found beside the note of another.
    note_path(path).unlink(missing_ok=True)
    made.temporary.replace(path)
    write_note(path, Note(made.sha256, made.size, file.archive, file.member, State.of(path).facts))


def _describe(members: list[DataFile], catalogue: Catalogue) -> tuple[dict[str, Any], ...]:
    facts = [(file, _facts(file, catalogue)) for file in members]
    return tuple(
        {"name": file.name, "role": file.role, "sha256": found[0], "bytes": found[1]}
        for file, found in facts
        if found is not None
    )


def _facts(file: DataFile, catalogue: Catalogue) -> tuple[str, int] | None:
    """SHA-256 and size in bytes of a fetched file."""
    assert catalogue.data_dir is not None
    path = catalogue.data_dir / file.name
    if not file.archive:
        return file_sha256(path), path.stat().st_size
    note = read_note(path)
    return None if note is None else (note.sha256, note.size)


@contextlib.contextmanager
def _alone(folder: Path, card: Card) -> Iterator[None]:
    """Keep a second fetch into the same folder out; the lock ends with the process, whatever ends it."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(f"'{card.key}': another process fetches into {folder}: wait until it has ended") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)
