"""All cards known here: which editions are available, which of them wins, and where their files are.

The folder given by `BENCH_DATA` or `--data` is searched for the files of known cards and for further cards, in the
layout of `datasets/`. There a folder named as a shipped system needs no `_system.toml`: its cards are further editions
of that system.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench._files import anchored
from bench.data.cards.card import Card, DataFile, load_folder
from bench.data.cards.checksums import content_sha256, file_sha256
from bench.data.cards.fetched import note_path, require_intact
from bench.errors import BenchError, choose_one

_KEY: Final = re.compile(r"(?P<name>[a-z][a-z0-9_-]*?)(?:@(?P<edition>[a-z0-9._-]+))?")
_SLICE: Final = re.compile(r"(?P<edition>.+)\.(?P<unit>lines|sessions)-(?P<start>[0-9]{1,18})-(?P<stop>[0-9]{1,18})")
_MAX_NAMED: Final = 5


@dataclass(frozen=True)
class Catalogue:
    """All cards known here, and the folder their files are looked for."""

    cards: tuple[Card, ...]
    data_dir: Path | None

    @property
    def names(self) -> list[str]:
        """Known data-set names and aliases."""
        return sorted({card.name for card in self.cards} | {alias for card in self.cards for alias in card.aliases})

    def editions(self, name: str) -> list[Card]:
        """The editions of a data set, highest rank first; an unknown name is a BenchError."""
        found = [card for card in self.cards if name == card.name or name in card.aliases]
        if not found:
            raise BenchError(f"unknown data set '{name}': {choose_one(name, self.names)}")
        return sorted(found, key=lambda card: (-card.rank, card.edition))

    def is_available(self, card: Card) -> bool:
        """Whether all files of the edition are here (by name; the checksum is tested when they are read)."""
        if card.kind == "simulated":
            return True
        return self.data_dir is not None and all(_is_here(self.data_dir / file.name, file) for file in card.files)

    def resolve(self, key: str) -> Card:
        """The card of `bgl@raw12k`, or for a bare `bgl` the available edition of the highest rank."""
        name, edition = _split_key(key)
        if edition is None:
            return self._pinned(self._best_available(name, self.editions(name)))
        card = self.find(key)
        self._require_available(card)
        return self._pinned(card)

    def chosen(self, name: str) -> Card:
        """The edition that a bare name takes, or where none is here the one of the highest rank."""
        editions = self.editions(name)
        here = [card for card in editions if self.is_available(card)]
        return self._pinned(here[0]) if here else editions[0]

    def find(self, key: str) -> Card:
        """The card of `bgl@raw12k`, whether its files are here or not; `bgl@raw12k.lines-0-5000` is a slice of it."""
        name, edition = _split_key(key)
        editions = {card.edition: card for card in self.editions(name)}
        if edition in editions:
            return editions[edition]
        part = _SLICE.fullmatch(edition or "")
        if part and part["edition"] in editions:
            return slice_of(editions[part["edition"]], int(part["start"]), int(part["stop"]), part["unit"])
        meant = choose_one(key, [card.key for card in editions.values()])
        raise BenchError(f"unknown edition '{key}': {meant}")

    def path(self, file: DataFile, *, thorough: bool = False) -> Path:
        """Where a file is, after its checksum was verified.

        What it looks like decides whether it is hashed again; thorough: it is hashed whatever it looks like.
        """
        if self.data_dir is None:
            raise BenchError(f"'{file.name}' needs a data folder: set BENCH_DATA or give --data DIR")
        path = self.data_dir / file.name
        if not path.is_file():
            raise BenchError(f"'{file.name}' is not in {self.data_dir}: put it there, or set BENCH_DATA to its folder")
        if file.archive:
            require_intact(path, file.name, file.archive, file.member, thorough=thorough)
            return path
        found = file_sha256(path, again=thorough)
        if found != file.sha256 and not self._is_packed_anew(path, file, thorough=thorough):
            raise BenchError(
                f"'{file.name}' has the wrong checksum (SHA-256 {found[:12]}..., the card says "
                f"{file.sha256[:12]}...): put back the file that the card means, or, where the file is "
                "your own and was changed on purpose, run `bench data new NAME FILE --force`"
            )
        return path

    def _is_packed_anew(self, path: Path, file: DataFile, *, thorough: bool) -> bool:
        """Whether it holds what the card means, in another packing: its identity stays the card's."""
        return bool(file.content) and content_sha256(path, again=thorough) == file.content

    def _pinned(self, card: Card) -> Card:
        """The card with the checksums of its files where nobody published any: they are the identity of its runs."""
        if all(file.digest for file in card.files):
            return card
        files = [file if file.digest else dataclasses.replace(file, sha256=self._found(file)) for file in card.files]
        return dataclasses.replace(card, files=tuple(files))

    def _found(self, file: DataFile) -> str:
        assert self.data_dir is not None
        return file_sha256(self.data_dir / file.name)

    def _best_available(self, name: str, editions: list[Card]) -> Card:
        for card in editions:
            if self.is_available(card):
                return card
        ways = "; or ".join(f"for '{card.key}' {self.how_to_get(card)}" for card in editions)
        raise BenchError(f"no edition of '{name}' is available: {ways}")

    def _require_available(self, card: Card) -> None:
        if self.is_available(card):
            return
        where = "no data folder is set" if self.data_dir is None else f"not all of them are in {self.data_dir}"
        files = ", ".join(_shortened([file.name for file in card.files]))
        raise BenchError(f"edition '{card.key}' needs {files}, and {where}: {self.how_to_get(card)}")

    def how_to_get(self, card: Card) -> str:
        """What to do so that the edition's missing files are here: a command, or what to put where."""
        if card.download is not None or card.has_recipe:
            fetch = f"fetch it with `bench data fetch {card.key}`"
            return fetch if self.data_dir else f"{fetch}, and set BENCH_DATA or give --data DIR"
        missing = [f.name for f in card.files if self.data_dir is None or not (self.data_dir / f.name).is_file()]
        where = self.data_dir or "a folder, and set BENCH_DATA or give --data DIR"
        what = ", ".join(_shortened(list(dict.fromkeys(missing))))
        return f"put {what}{_from_where(card)} into {where}"


def catalogue(data_dir: Path | None = None) -> Catalogue:
    """All shipped cards and those of the data folder (`data_dir`, else `BENCH_DATA`)."""
    folder = data_dir or (Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None)
    if folder is not None and not folder.is_dir():
        raise BenchError(f"the data folder '{folder}' does not exist: set BENCH_DATA or --data to an existing folder")
    folder = None if folder is None else anchored(folder)
    cards = {card.key: card for card in load_folder(_shipped_folder())}
    for card in load_folder(folder, shipped=_shipped_folder()) if folder is not None else []:
        if card.key in cards:
            raise BenchError(f"the card '{card.key}' in {folder} has the key of a shipped one: rename its file")
        cards[card.key] = card
    return Catalogue(tuple(cards.values()), folder)


def unit_of(card: Card) -> str:
    """What the edition is cut by."""
    return "sessions" if card.kind == "id-sessions" else "lines"


def slice_of(card: Card, start: int, stop: int, unit: str) -> Card:
    """The edition `<edition>.<unit>-<start>-<stop>`: lines or sessions start to stop - 1 of this one, from 0."""
    if not 0 <= start < stop:
        raise BenchError(f"{unit} {start} to {stop} of '{card.key}' hold nothing: the first must be below the second")
    if card.lines is not None:
        raise BenchError(f"'{card.key}' is a slice already: cut the whole edition")
    if card.kind == "id-splits":
        raise BenchError(f"'{card.key}' has files for training and test: it cannot be cut, choose the whole edition")
    if unit != unit_of(card):
        named = f"{card.key}.{unit_of(card)}-{start}-{stop}"
        raise BenchError(f"'{card.key}' is cut by {unit_of(card)}, not by {unit}: write '{named}'")
    edition = f"{card.edition}.{unit}-{start}-{stop}"
    return dataclasses.replace(card, edition=edition, lines=(start, stop), counts={}, title=f"{card.title} (a slice)")


def shipped_names() -> set[str]:
    """Names and aliases of the systems whose cards come with the program; no other card may take them."""
    shipped = load_folder(_shipped_folder())
    return {card.name for card in shipped} | {alias for card in shipped for alias in card.aliases}


def _split_key(key: str) -> tuple[str, str | None]:
    match = _KEY.fullmatch(key)
    if match is None:
        raise BenchError(f"'{key}' is no data set: write a name such as bgl, or an edition such as bgl@simulated")
    return match["name"], match["edition"]


def _is_here(path: Path, file: DataFile) -> bool:
    return path.is_file() and (not file.archive or note_path(path).is_file())


def _from_where(card: Card) -> str:
    """In brackets, where what is put there by hand comes from; empty where the card does not say."""
    places = dict.fromkeys(file.origin.repository for file in card.files if file.origin is not None)
    if places:
        return f" (made of {', '.join(places)}, see `bench audit data {card.key}`)"
    return f" ({card.origin})" if card.origin else ""


def _shortened(names: list[str]) -> list[str]:
    return names if len(names) <= _MAX_NAMED else [*names[:_MAX_NAMED], f"{len(names) - _MAX_NAMED} more"]


def _shipped_folder() -> Path:
    package = Path(__file__).resolve().parents[2]
    installed = package / "_cards"
    return installed if installed.is_dir() else package.parent / "datasets"
