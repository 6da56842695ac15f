"""`bench data fetch`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._options import AsJson, Data, say

if TYPE_CHECKING:
    from bench.data.cards.card import Card
    from bench.data.fetching.fetch import Fetched

_REFRESH_S = 0.1


def fetch(
    edition: Annotated[str, typer.Argument(help="A data set such as bgl, or an edition such as bgl@full.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Download a public data set into the data folder; goes on where an interrupted download ended.

    Where a card tells by which steps its files are made of published ones, these are followed.
    """
    from bench.data.cards.catalogue import catalogue
    from bench.data.fetching.fetch import downloadable, is_intact
    from bench.data.fetching.fetch import fetch as fetch_edition

    known = catalogue(data)
    card = downloadable(known, edition)
    if known.data_dir is not None and not is_intact(card, known):
        # On stderr with --json, so that standard output is JSON alone.
        say(_terms(card), err=as_json)
    with _Bar() as bar:
        fetched = fetch_edition(card, known, report=bar.report)
    if as_json:
        say(json.dumps(_as_json(fetched), indent=1))
        return
    say(f"{card.key} is {'already there and intact' if fetched.was_there else 'fetched'} in {known.data_dir}")
    for file in fetched.files:
        say(f"  {file['name']}  {file['bytes']:,} bytes  SHA-256 {file['sha256']}")


def _terms(card: Card) -> str:
    licence = "; ".join([*_origin_licences(card), card.licence])
    places = "\n          ".join(_addresses(card))
    return f"{card.title}\nfrom      {places}\nlicence   {licence}\ncitation  {card.citation}"


def _addresses(card: Card) -> list[str]:
    """What is downloaded, each once."""
    if card.download is not None:
        return [card.download.url]
    return list(dict.fromkeys(file.origin.address for file in card.files if file.origin is not None))


def _origin_licences(card: Card) -> list[str]:
    """What the repositories state, each once."""
    if card.download is not None:
        return []
    origins = [file.origin for file in card.files if file.origin is not None]
    return list(dict.fromkeys(f"{origin.licence} ({origin.repository})" for origin in origins))


def _as_json(fetched: Fetched) -> dict[str, Any]:
    card = fetched.card
    return {
        "edition": card.key,
        "status": "already there" if fetched.was_there else "fetched",
        "url": ", ".join(_addresses(card)),
        "archive": card.download.checksum if card.download else "",
        "licence": "; ".join([*_origin_licences(card), card.licence]),
        "citation": card.citation,
        "files": list(fetched.files),
    }


class _Bar:
    """Progress on stderr; quiet when not a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            Speed(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._what: str | None = None
        self._task = self._progress.add_task("", total=None, visible=False)
        self._last_draw = 0.0

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._progress.stop()

    def report(self, what: str, done: int, total: int) -> None:
        """Show `what` with `done` of `total` bytes (0: unknown)."""
        now = time.monotonic()
        if what != self._what:
            self._what = what
            self._progress.reset(self._task, description=what, visible=True, total=total or None, completed=done)
        elif now - self._last_draw >= _REFRESH_S or done == total:
            self._last_draw = now
            self._progress.update(self._task, completed=done, total=total or None)
