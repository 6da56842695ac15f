"""Cards: what is known of a data-set edition, declared in TOML; which editions are available here, and which wins.

`datasets/<name>/_system.toml` holds what all editions of a system share (format, masks, licence, citation), and
`datasets/<name>/<edition>.toml` one edition. The folder given by `BENCH_DATA` or `--data` may hold further cards in the
same layout: that is how logs of one's own are brought in.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from bench.data.downloads import Download, check_download, check_member, note_path, require_intact
from bench.errors import BenchError

Kind = Literal["lines", "id-stream", "id-sessions", "simulated"]
Tier = Literal["evaluation", "development", "smoke"]
Role = Literal["log", "labels", "events", "sessions", "templates"]
LabelPlace = Literal["first-token", "label-file", "none"]

_SYSTEM_FILE: Final = "_system.toml"
_KEY: Final = re.compile(r"(?P<name>[a-z][a-z0-9_-]*?)(?:@(?P<edition>[a-z0-9._-]+))?")
_SHA256: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class DataFile:
    """One file of an edition, found by its name relative to the data folder and by its SHA-256.

    Of a file that is fetched only the archive's checksum is published: it has `member` and `max_bytes` instead.
    """

    name: str
    sha256: str = ""
    role: Role = "log"
    member: str = ""
    """Its name inside the archive of `[download]`."""
    max_bytes: int = 0
    """How large the member may be at most, in bytes."""
    archive: str = ""
    """Checksum of the archive, such as `md5:...`; taken from `[download]`, never written in `[[files]]`."""

    @property
    def digest(self) -> str:
        """Its identity in a run: its SHA-256, or the archive's checksum and its name in there."""
        return f"{self.archive}/{self.member}" if self.archive else self.sha256


@dataclass(frozen=True)
class Format:
    """How a raw line is read. No field of it ever sees the label."""

    label: LabelPlace = "none"
    header: str = "^(?P<message>.*)$"
    """Regular expression on the line without its label; named groups `time` and `message`."""
    time: str = ""
    """`epoch`, a strptime pattern, or empty for none."""
    session: str = ""
    """Regular expression of the session id inside a message; empty: fixed or sliding windows."""
    normal: str = "-"
    """The label value that means normal; every other value means abnormal."""
    label_key: str = ""
    label_value: str = ""
    """Columns of the label file."""


@dataclass(frozen=True)
class ParserSettings:
    """Masks and Drain's parameters; part of every run's identity."""

    masks: tuple[str, ...] = ()
    """Regular expressions without look-around; what matches becomes `<*>`."""
    depth: int = 4
    similarity: float = 0.4
    max_children: int = 100


@dataclass(frozen=True)
class Card:
    """Everything declared about one edition."""

    name: str
    edition: str
    title: str
    tier: Tier
    rank: int
    kind: Kind
    licence: str
    citation: str
    homepage: str = ""
    notes: str = ""
    aliases: tuple[str, ...] = ()
    files: tuple[DataFile, ...] = ()
    download: Download | None = None
    format: Format = field(default_factory=Format)
    parser: ParserSettings = field(default_factory=ParserSettings)
    counts: Mapping[str, int] = field(default_factory=dict)
    drop_events: int = 0
    """Unlabelled events at the start of an id stream."""
    template_column: str = "template"
    seed: int = 0
    simulate: Mapping[str, Any] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of what the generator of a simulated edition produces."""

    @property
    def key(self) -> str:
        """`bgl@raw12k`."""
        return f"{self.name}@{self.edition}"

    @property
    def has_sessions(self) -> bool:
        """Whether sequences are sessions rather than windows."""
        return self.kind == "id-sessions" or bool(self.format.session)

    def files_of(self, role: Role) -> list[DataFile]:
        """The files that play this part, in order."""
        return [file for file in self.files if file.role == role]

    def digests(self) -> dict[str, str]:
        """Digests of everything the edition is made of: its identity in a run."""
        return dict(self.sha256) if self.kind == "simulated" else {file.name: file.digest for file in self.files}


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
            raise BenchError(f"unknown data set '{name}': choose one of {', '.join(self.names)}")
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
            return self._best_available(name, self.editions(name))
        card = self.find(key)
        self._require_available(card)
        return card

    def find(self, key: str) -> Card:
        """The card of `bgl@raw12k`, whether its files are here or not."""
        name, edition = _split_key(key)
        editions = self.editions(name)
        for card in editions:
            if card.edition == edition:
                return card
        known = ", ".join(card.key for card in editions)
        raise BenchError(f"unknown edition '{key}': choose one of {known}")

    def path(self, file: DataFile, *, thorough: bool = False) -> Path:
        """Where a file is, after its checksum was verified.

        A fetched file is hashed in full only when `thorough`: else its size and modification time are compared.
        """
        if self.data_dir is None:
            raise BenchError(f"'{file.name}' needs a data folder: set BENCH_DATA or give --data DIR")
        path = self.data_dir / file.name
        if not path.is_file():
            raise BenchError(f"'{file.name}' is not in {self.data_dir}: put it there, or set BENCH_DATA to its folder")
        if file.archive:
            require_intact(path, file.name, file.archive, file.member, thorough=thorough)
            return path
        stat = path.stat()
        found = file_sha256(path, stat.st_size, stat.st_mtime_ns)
        if found != file.sha256:
            raise BenchError(
                f"'{file.name}' has the wrong checksum (SHA-256 {found[:12]}..., the card says {file.sha256[:12]}...): "
                "it is damaged or another version; fetch it again"
            )
        return path

    def _best_available(self, name: str, editions: list[Card]) -> Card:
        for card in editions:
            if self.is_available(card):
                return card
        files = ", ".join(file.name for file in editions[0].files)
        raise BenchError(f"no edition of '{name}' is available: set BENCH_DATA to a folder that holds {files}")

    def _require_available(self, card: Card) -> None:
        if self.is_available(card):
            return
        where = "no data folder is set" if self.data_dir is None else f"not all of them are in {self.data_dir}"
        files = ", ".join(file.name for file in card.files)
        way_out = "set BENCH_DATA or give --data DIR"
        if card.download is not None:
            way_out = f"fetch it with `bench data fetch {card.key}`" + (f", or {way_out}" if self.data_dir else "")
            way_out += "" if self.data_dir else " and --data DIR"
        raise BenchError(f"edition '{card.key}' needs {files}, and {where}: {way_out}")


def catalogue(data_dir: Path | None = None) -> Catalogue:
    """All shipped cards and those of the data folder (`data_dir`, else `BENCH_DATA`)."""
    folder = data_dir or (Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None)
    if folder is not None and not folder.is_dir():
        raise BenchError(f"the data folder '{folder}' does not exist: set BENCH_DATA or --data to an existing folder")
    cards = {card.key: card for card in _load_folder(_shipped_folder())}
    for card in _load_folder(folder) if folder is not None else []:
        if card.key in cards:
            raise BenchError(f"the card '{card.key}' in {folder} has the key of a shipped one: rename its file")
        cards[card.key] = card
    return Catalogue(tuple(cards.values()), folder)


def shipped_names() -> set[str]:
    """Names and aliases of the systems whose cards come with the program; no other card may take them."""
    shipped = _load_folder(_shipped_folder())
    return {card.name for card in shipped} | {alias for card in shipped for alias in card.aliases}


@functools.lru_cache(maxsize=256)
def file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file; size and modification time make the memory of it valid."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _split_key(key: str) -> tuple[str, str | None]:
    match = _KEY.fullmatch(key)
    if match is None:
        raise BenchError(f"'{key}' is no data set: write a name such as bgl, or an edition such as bgl@simulated")
    return match["name"], match["edition"]


def _is_here(path: Path, file: DataFile) -> bool:
    return path.is_file() and (not file.archive or note_path(path).is_file())


def _shipped_folder() -> Path:
    package = Path(__file__).resolve().parent.parent
    installed = package / "_cards"
    return installed if installed.is_dir() else package.parent / "datasets"


def _load_folder(folder: Path) -> list[Card]:
    cards = []
    for system_file in sorted(folder.glob(f"*/{_SYSTEM_FILE}")):
        system = _read_toml(system_file)
        for path in sorted(system_file.parent.glob("*.toml")):
            if path.name != _SYSTEM_FILE:
                cards.append(_build(path, {**system, **_read_toml(path)}))
    return cards


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise BenchError(f"the card {path} cannot be read ({error}): correct its TOML") from None


def _build(path: Path, values: dict[str, Any]) -> Card:
    known = {field.name for field in dataclasses.fields(Card)} - {"name", "edition"}
    if unknown := sorted(set(values) - known):
        raise BenchError(f"the card {path} has the unknown key '{unknown[0]}': known are {', '.join(sorted(known))}")
    try:
        download = Download(**values["download"]) if "download" in values else None
        card = Card(
            **values
            | {
                "name": path.parent.name,
                "edition": path.stem,
                "aliases": _strings(path, "aliases", values.get("aliases", [])),
                "files": tuple(_data_file(file, download) for file in values.get("files", ())),
                "download": download,
                "format": Format(**values.get("format", {})),
                "parser": _parser_settings(path, values.get("parser", {})),
            }
        )
    except TypeError as error:
        raise BenchError(
            f"the card {path} is incomplete or has a wrong key ({error}): see datasets/README.md"
        ) from None
    _check(path, card)
    return card


def _data_file(values: Mapping[str, Any], download: Download | None) -> DataFile:
    if "archive" in values:
        raise TypeError("unexpected key 'archive' in [[files]]")
    archive = download.checksum if download is not None and "member" in values else ""
    return DataFile(**values, archive=archive)


def _parser_settings(path: Path, values: Mapping[str, Any]) -> ParserSettings:
    return ParserSettings(**{**values, "masks": _strings(path, "masks", values.get("masks", []))})


def _strings(path: Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BenchError(f"the card {path} has {key} = {value!r}: write a list of strings, such as ['...']")
    return tuple(value)


def _check(path: Path, card: Card) -> None:
    """Refuse what would otherwise be misread in silence: a mistyped `label` would leave the label in the message."""
    if _KEY.fullmatch(card.key) is None:
        raise BenchError(f"the card {path} makes the name '{card.key}': use lower-case letters, digits and hyphens")
    if not isinstance(card.rank, int):
        raise BenchError(f"the card {path} has rank = {card.rank!r}: write a whole number")
    choices: list[tuple[str, str, tuple[str, ...]]] = [
        ("kind", card.kind, get_args(Kind)),
        ("tier", card.tier, get_args(Tier)),
        ("label", card.format.label, get_args(LabelPlace)),
        *(("role", file.role, get_args(Role)) for file in card.files),
    ]
    for key, value, allowed in choices:
        if value not in allowed:
            raise BenchError(f"the card {path} has {key} = '{value}': choose one of {', '.join(allowed)}")
    _check_patterns(path, card)
    _check_files(path, card)


def _check_patterns(path: Path, card: Card) -> None:
    for pattern in (card.format.header, card.format.session, *card.parser.masks):
        try:
            re.compile(pattern)
        except re.error as error:
            raise BenchError(
                f"the card {path} has the bad regular expression '{pattern}' ({error}): correct it"
            ) from None
    if "message" not in re.compile(card.format.header).groupindex:
        raise BenchError(
            f"the card {path} has a header without a message: add the group (?P<message>.*) to '{card.format.header}'"
        )
    form = card.format
    if (
        card.kind == "lines"
        and form.label == "label-file"
        and not (form.session and form.label_key and form.label_value)
    ):
        raise BenchError(f"the card {path} has label = 'label-file': give session, label_key and label_value with it")


def _check_files(path: Path, card: Card) -> None:
    if card.kind == "simulated":
        return
    if card.download is not None:
        check_download(path, card.download)
        members = [file.member for file in card.files if file.member]
        if not members or len(set(members)) < len(members):
            raise BenchError(f"the card {path} has a [download]: give each of its [[files]] a member of its own")
    if not card.files:
        raise BenchError(f"the card {path} names no file: add [[files]] with name and sha256")
    for file in card.files:
        if card.download is not None and not file.sha256:
            check_member(path, file.name, file.member, file.max_bytes)
        elif file.member:
            wrong = "no [download]" if card.download is None else "both a member and a sha256"
            raise BenchError(f"the card {path} has {wrong} for '{file.name}': see datasets/README.md")
        elif _SHA256.fullmatch(file.sha256) is None:
            raise BenchError(f"the card {path} has sha256 = '{file.sha256}': write 64 hex digits in lower case")
    needed: dict[Kind, Role] = {"lines": "log", "id-stream": "events", "id-sessions": "sessions"}
    if not card.files_of(needed[card.kind]):
        raise BenchError(
            f"the card {path} is of kind {card.kind}: give one of its [[files]] role = '{needed[card.kind]}'"
        )
