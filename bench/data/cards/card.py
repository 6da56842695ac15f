"""Cards: what is known of a data-set edition, declared in TOML.

`datasets/<name>/_system.toml` holds what all editions of a system share (format, masks, licence, citation), and
`datasets/<name>/<edition>.toml` one edition.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from bench.data.cards.checks import check_numbers, check_patterns
from bench.data.cards.events import MAX_TEMPLATES, WHOLE_MESSAGE
from bench.data.cards.fetched import Download, check_download, check_member, check_name
from bench.data.cards.incidents import incident
from bench.data.cards.origin import NO_LICENCE, Origin, check_origin, origin_of
from bench.errors import BenchError, choose_one

Kind = Literal["lines", "id-stream", "id-sessions", "id-splits", "simulated"]
Tier = Literal["evaluation", "development", "smoke"]
Role = Literal[
    "log", "labels", "events", "sessions", "templates", "train", "validation", "test-normal", "test-abnormal"
]
LabelPlace = Literal["first-token", "label-file", "session-list", "incidents", "none"]
SessionPlace = Literal["message", "file"]
CutPlace = Literal["edition", "file"]

_NEW: Final = {"identity": "where used"}
_LISTS: Final = ("fields", "event")
_SYSTEM_FILE: Final = "_system.toml"
_SHARED_TABLES: Final = ("format", "parser")
_KEY: Final = re.compile(r"(?P<name>[a-z][a-z0-9_-]*?)(?:@(?P<edition>[a-z0-9._-]+))?")
_UNPUBLISHED: Final = "unpublished"
_NEEDED: Final[dict[Kind, tuple[Role, ...]]] = {
    "lines": ("log",),
    "id-stream": ("events",),
    "id-sessions": ("sessions",),
    "id-splits": ("train", "test-normal", "test-abnormal"),
}
_SHA256: Final = re.compile("[0-9a-f]{64}")
_TYPES: Final[dict[Any, tuple[Any, str]]] = {
    str: (str, "a text in quotes"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
}


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
    inside: str = ""
    """Which file of a zip is meant, where it holds several; with `*` all that match, in the order of their names."""
    is_unpublished: bool = False
    """No checksum was published (`sha256 = "unpublished"`): that of the file found here is taken."""
    archive: str = ""
    """Checksum of the archive, such as `md5:...`; taken from `[download]`, never written in `[[files]]`."""
    content: str = ""
    """SHA-256 of what is packed in it (`content_sha256`), by which the same file in another packing is known."""
    origin: Origin | None = None

    @property
    def digest(self) -> str:
        """Its identity in a run: its SHA-256, or the archive's checksum and its name in there."""
        if self.archive:
            return f"{self.archive}/{self.member}"
        return f"{self.sha256}/{self.inside}" if self.inside and self.sha256 else self.sha256


@dataclass(frozen=True)
class Format:
    """How a raw line is read. No field of it ever sees the label."""

    label: LabelPlace = "none"
    header: str = "^(?P<message>.*)$"
    """Regular expression on the line without its label; named groups `time` and `message`."""
    time: str = ""
    """`epoch` (or `epoch-ms`, `epoch-us`, `epoch-ns`), a strptime pattern, or empty for none; `%Z` is read too."""
    session: str = ""
    """Regular expression of the session id inside a message: its group `session`, else all that matches. Empty: fixed
    or sliding windows."""
    normal: str = "-"
    """The label value that means normal; every other value means abnormal."""
    label_key: str = ""
    label_value: str = ""
    """Columns of the label file."""
    section: str = field(default="", metadata=_NEW)
    """`session-list`: regular expression of a heading; its first group labels the sessions below. Empty: the file lists
    the abnormal sessions only."""
    listed: str = field(default="", metadata=_NEW)
    """`session-list`: how a session id stands in the list, where `session` does not find it there."""
    session_from: SessionPlace = field(default="message", metadata=_NEW)
    """Whether `session` is searched in each message or in the name of the file."""
    year: int = field(default=0, metadata=_NEW)
    """The year of the first line, where the times have none; each jump back by over half a year begins the next."""

    mark: str = field(default="", metadata=_NEW)
    """Regular expression of what tells the label in a line though labels come from elsewhere; cut off before anything
    else looks at the line."""
    zone: str = field(default="", metadata=_NEW)
    """Of times that say none: `+05:30`, or a name such as Europe/Berlin. Empty: UTC."""

    skip: str = field(default="", metadata=_NEW)
    """Regular expression of lines that are no events, such as blank ones."""
    begins: str = field(default="", metadata=_NEW)
    """Regular expression of an event's first line, whose text it has; other lines continue the event before."""
    fields: tuple[str, ...] = field(default=(), metadata=_NEW)
    """Where fields of `event` stand besides the groups of `header`: `json`, `logfmt`, or patterns with named groups."""
    event: tuple[str, ...] = field(default=WHOLE_MESSAGE, metadata=_NEW)
    """An event's text: fields, each one word that no template merges with another, and the message last; see
    `bench/data/cards/events.py`."""

    def __post_init__(self) -> None:
        for name in _LISTS:  # JSON knows no tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def identity(self) -> dict[str, Any]:
        """What of it belongs to a run's identity; a later field only where it is used, so that old runs stay found."""
        values = dataclasses.asdict(self)
        later = {f.name: f.default for f in dataclasses.fields(self) if f.metadata == _NEW}
        return {name: value for name, value in values.items() if name not in later or value != later[name]}


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
    origin: str = ""
    """Where the files come from, for whoever puts them into the data folder by hand; ends a sentence."""
    notes: str = ""
    bound: str = ""
    """What no score on its labels can exceed, where that is known, in words; stands below each table with it."""
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
    incidents: tuple[tuple[float, float], ...] = ()
    """Time ranges of known failures, Unix seconds, both ends included; the labels where the format says `incidents`."""
    tolerance: float = 0.01
    """Share of defective lines from which the edition is held to be misread."""
    max_templates: int = MAX_TEMPLATES
    """Templates above which parsing stops: it takes their square, and lines that share no templates teach nothing."""
    cut: CutPlace = "edition"
    """Where `chronological` cuts: the whole edition, or each of its files, where they are logs of one time."""
    lines: tuple[int, int] | None = None
    """For a slice of an edition: its first line (of id-sessions: session) and the one behind its last."""

    @property
    def key(self) -> str:
        """`bgl@raw12k`."""
        return f"{self.name}@{self.edition}"

    @property
    def standing(self) -> str:
        """What numbers from it are good for: `simulated`, or its tier."""
        return "simulated" if self.kind == "simulated" else self.tier

    @property
    def has_sessions(self) -> bool:
        """Whether sequences are sessions rather than windows."""
        return self.kind in ("id-sessions", "id-splits") or bool(self.format.session)

    @property
    def has_recipe(self) -> bool:
        """Whether declared steps make each of its files of a published one."""
        return bool(self.files) and all(file.origin is not None and file.origin.has_steps for file in self.files)

    @property
    def licence_of_files(self) -> str:
        """Under which licence its files stand, each once; `none stated` where their owner states none."""
        stated = [file.origin.licence if file.origin else self.licence for file in self.files] or [self.licence]
        return "; ".join(dict.fromkeys(text or NO_LICENCE for text in stated))

    def files_of(self, role: Role) -> list[DataFile]:
        """The files that play this part, in order."""
        return [file for file in self.files if file.role == role]

    def digests(self) -> dict[str, str]:
        """Digests of everything the edition is made of: its identity in a run."""
        if self.kind == "simulated":
            return dict(self.sha256)
        return {"/".join(filter(None, (file.name, file.inside))): file.digest for file in self.files}


def load_folder(folder: Path, shipped: Path | None = None) -> list[Card]:
    """The cards below a folder; an edition without a `_system.toml` beside it takes that of the shipped system."""
    cards = []
    for path in sorted(folder.glob("*/*.toml")):
        own = path.with_name(_SYSTEM_FILE)
        system = own if own.is_file() or shipped is None else shipped / path.parent.name / _SYSTEM_FILE
        if path.name != _SYSTEM_FILE and system.is_file():
            cards.append(_build(path, _merged(read_toml(system), read_toml(path))))
    return cards


def parse_card(path: Path, system: str, edition: str) -> Card:
    """The card that these two texts would make at `path`; a BenchError if it would be a wrong one."""
    return _build(path, _merged(_parse_toml(path.with_name(_SYSTEM_FILE), system), _parse_toml(path, edition)))


def _merged(system: dict[str, Any], edition: dict[str, Any]) -> dict[str, Any]:
    """A key of the edition wins, also inside `[format]` and `[parser]`, whose other keys stay the system's."""
    values = {**system, **edition}
    for table in _SHARED_TABLES:
        parts = [part[table] for part in (system, edition) if table in part]
        if parts and all(isinstance(part, dict) for part in parts):
            values[table] = {key: value for part in parts for key, value in part.items()}
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file; a BenchError if it is none."""
    try:
        return _parse_toml(path, path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise BenchError(f"the card {path} cannot be read ({error}): correct its TOML") from None


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BenchError(f"the card {path} cannot be read ({error}): correct its TOML") from None


def _build(path: Path, values: dict[str, Any]) -> Card:
    known = {field.name for field in dataclasses.fields(Card)} - {"name", "edition", "lines"}
    if unknown := sorted(set(values) - known):
        raise BenchError(f"the card {path} has the unknown key '{unknown[0]}': {choose_one(unknown[0], sorted(known))}")
    shared = values["origin"] if isinstance(values.get("origin"), dict) else {}
    try:
        download = Download(**values["download"]) if "download" in values else None
        card = Card(
            **values
            | {
                "name": path.parent.name,
                "edition": path.stem,
                "aliases": _strings(path, "aliases", values.get("aliases", [])),
                "files": tuple(_data_file(file, download, shared) for file in values.get("files", ())),
                "origin": "" if shared else values.get("origin", ""),
                "download": download,
                "format": _format(path, values.get("format", {})),
                "parser": _parser_settings(path, values.get("parser", {})),
                "incidents": tuple(incident(path, entry) for entry in values.get("incidents", ())),
            }
        )
    except (TypeError, AttributeError) as error:
        raise BenchError(
            f"the card {path} is incomplete or has a wrong key ({error}): see datasets/README.md"
        ) from None
    _check(path, card)
    return card


def _data_file(values: Mapping[str, Any], download: Download | None, shared: Mapping[str, Any]) -> DataFile:
    values = {**values, "origin": origin_of(values.get("origin"), shared)}
    if internal := {"archive", "is_unpublished"} & values.keys():
        raise TypeError(f"unexpected key '{internal.pop()}' in [[files]]")
    if values.get("sha256") == _UNPUBLISHED:
        return DataFile(**{**values, "sha256": "", "is_unpublished": True})
    archive = download.checksum if download is not None and "member" in values else ""
    return DataFile(**values, archive=archive)


def _format(path: Path, values: Mapping[str, Any]) -> Format:
    return Format(**{**values, **{name: _strings(path, name, values[name]) for name in _LISTS if name in values}})


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
    for owner in (card, card.format, card.parser, *([card.download] if card.download else []), *card.files):
        _check_types(path, owner)
    check_numbers(path, card)
    choices: list[tuple[str, str, tuple[str, ...]]] = [
        ("kind", card.kind, get_args(Kind)),
        ("tier", card.tier, get_args(Tier)),
        ("label", card.format.label, get_args(LabelPlace)),
        ("session_from", card.format.session_from, get_args(SessionPlace)),
        ("cut", card.cut, get_args(CutPlace)),
        *(("role", file.role, get_args(Role)) for file in card.files),
    ]
    for key, value, allowed in choices:
        if value not in allowed:
            raise BenchError(f"the card {path} has {key} = '{value}': {choose_one(str(value), allowed)}")
    check_patterns(path, card)
    _check_files(path, card)


def _check_types(path: Path, owner: Any) -> None:
    """Refuse a value of another type than its field's, such as a number for a text."""
    for name, hint in get_type_hints(type(owner)).items():
        value = getattr(owner, name)
        if get_origin(hint) is Mapping:
            inner, values = get_args(hint)[1], list(value.values()) if isinstance(value, dict) else [None]
        else:
            inner, values = hint, [value]
        kind, word = _TYPES.get(inner, (object, ""))
        if not all(isinstance(item, kind) and (not word or not isinstance(item, bool)) for item in values):
            raise BenchError(f"the card {path} has {name} = {value!r}: write {word or 'a table'}")


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
        check_name(path, file.name)
        if file.origin is not None:
            check_origin(path, file.name, file.origin)
        if card.download is not None and not file.sha256 and not file.is_unpublished:
            check_member(path, file.name, file.member, file.max_bytes)
        elif file.member:
            wrong = "no [download]" if card.download is None else "both a member and a sha256"
            raise BenchError(f"the card {path} has {wrong} for '{file.name}': see datasets/README.md")
        elif file.content and _SHA256.fullmatch(file.content) is None:
            raise BenchError(f"the card {path} has content = '{file.content}': write 64 hex digits in lower case")
        elif not file.is_unpublished and _SHA256.fullmatch(file.sha256) is None:
            raise BenchError(
                f"the card {path} has sha256 = '{file.sha256}': write 64 hex digits in lower case, or 'unpublished'"
            )
    for role in _NEEDED[card.kind]:
        if not card.files_of(role):
            raise BenchError(f"the card {path} is of kind {card.kind}: give one of its [[files]] role = '{role}'")
