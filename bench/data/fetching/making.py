"""Files that a card's recipe makes of published ones: loaded, compared, made step by step, compared again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bench.data.cards.card import Card, DataFile
from bench.data.cards.catalogue import Catalogue
from bench.data.cards.checksums import content_sha256
from bench.data.cards.fetched import Download
from bench.data.cards.origin import Origin
from bench.data.fetching.http import Patience, Report, download, has_checksum, no_room
from bench.data.fetching.recipe import follow
from bench.errors import BenchError


def make_files(card: Card, catalogue: Catalogue, *, patience: Patience | None, report: Report) -> None:
    """Make what is missing of an edition; a file that is another than the card's is never written over."""
    assert catalogue.data_dir is not None
    for file in card.files:
        path = catalogue.data_dir / file.name
        if path.exists():
            _require_right(path, file, catalogue)
            continue
        assert file.origin is not None
        source = path.with_name(f"{path.name}.source")
        _load(file.origin, source, card, patience=patience, report=report)
        report(f"make {file.name}", 0, 0)
        _write(follow(source.read_bytes(), file.origin.steps, file.name), path, file)
        source.unlink()


def _require_right(path: Path, file: DataFile, catalogue: Catalogue) -> None:
    try:
        catalogue.path(file)
    except BenchError:
        raise BenchError(
            f"'{path}' is another file than the card means: move it away and run the same command again"
        ) from None


def _load(origin: Origin, target: Path, card: Card, *, patience: Patience | None, report: Report) -> None:
    """The published file, verified; one that was put there by hand is used without any connection."""
    source = Download(origin.address, sha256=origin.sha256, bytes=origin.bytes)
    if target.is_file():
        if has_checksum(target, source):
            return
        raise BenchError(
            f"'{target}' has the wrong checksum (expected {source.checksum}): delete it and run the same command again"
        )
    if os.environ.get("BENCH_OFFLINE", "0") not in ("", "0"):
        raise BenchError(
            f"'{card.key}' is not downloaded because BENCH_OFFLINE is set: unset it, or put {source.url} there as "
            f"{target}"
        )
    try:
        download(source, target, limit=origin.bytes, patience=patience, report=report)
    except BenchError as error:
        raise _changed(error, source, card) from None


def _changed(error: BenchError, source: Download, card: Card) -> BenchError:
    """The sentence for a published file that is no longer the one of the recipe."""
    text = str(error)
    if not any(mark in text for mark in ("wrong checksum", "announces", "were expected")):
        return error
    return BenchError(
        f"'{source.url}' is no longer the file that the recipe of '{card.key}' starts from ({source.bytes:,} bytes, "
        f"SHA-256 {source.sha256[:12]}...), so nothing was made of it: get that version, or correct the card"
    )


def _write(content: bytes, path: Path, file: DataFile) -> None:
    """Put it there whole; it must be what the card means, its packing apart where the card knows the content."""
    temporary = path.with_name(f"{path.name}.making")
    try:
        temporary.write_bytes(content)
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256 and not (file.content and content_sha256(temporary) == file.content):
            raise BenchError(
                f"the recipe of '{file.name}' makes another file (SHA-256 {found[:12]}..., the card says "
                f"{file.sha256[:12]}...): correct the steps of its card"
            )
        temporary.replace(path)
    except OSError as error:
        raise no_room(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
