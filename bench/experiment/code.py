"""Which code made a number: digests of a method and of the engine, read from the sources without importing them.

The method's digest covers its module and, on and on, what that imports from its own distribution and from `methods`;
for a local file, the Python files beside it. The engine's covers the rooms that this kind of cell uses and that can
change a number. What already stands in the spec (cards, configs, profiles) is not repeated here; packages of others are
the environment's business. Not seen: modules imported by a computed name, and data files of a method.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from bench._files import replace_text
from bench._sealed import recall, seal
from bench.errors import BenchError
from bench.experiment.syntax import Import, Source, read_source
from bench.records.record import ran_elsewhere
from bench.records.store import Record, Store
from bench.registry import DetectorRef, file_below, module_file

if TYPE_CHECKING:  # reading tables needs digests, but no data
    from bench.experiment.spec import Cell

ENGINE: Final = (
    "bench.types",
    "bench.detector",
    "bench.data.reading",
    "bench.data.sequences",
    "bench.evaluation",
    "bench.contract",
    "bench.isolation.host",
    "bench.isolation.shared",
    "bench.experiment.told",
    "bench.experiment.grades",
    "bench.experiment.incidents",
    "bench.experiment.scoring",
    "bench.experiment.measure",
    "bench.experiment.cell",
)
"""Modules and rooms that can change a number of every cell."""

ENGINE_OF_READERS: Final = frozenset(
    f"bench.evaluation.{name}" for name in ("measures", "paired", "paired_scorings", "ranks")
)
"""Modules of those rooms that only read records."""

SIMULATION: Final = "bench.data.simulation"
ON_REQUEST: Final = ("bench.data.embedding", "bench.llm")
"""Rooms that count only where the method's own code imports them (or the spec names an encoder, or it asks a model)."""

_DIGITS: Final = 16
_CACHE_VERSION: Final = 2


@dataclass(frozen=True)
class Standing:
    """How the code that made a record relates to the code that is installed now."""

    state: Literal["current", "stale", "gone", "unknown", "elsewhere"]
    why: str = ""
    """For `stale` and `gone`: what differs."""

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against the record; made elsewhere, or before records named code, it is not stale."""
        return self.state not in ("stale", "gone")


@dataclass(frozen=True)
class Outdated:
    """A stored record that does not stand for the code of its cell any more."""

    method: str
    why: str
    started_at: str
    """Of the record that is meant: a later one of the same run is another."""


class InstalledCode:
    """Digests of the code of this machine; one object reads each file once, so make a new one to see a change."""

    def __init__(self, cache: Path | None = None) -> None:
        """cache: folder in which digests are kept by the content of a file, and where a local file was last seen."""
        self._sources = _Sources(None if cache is None else cache / "code.json")
        self._places = None if cache is None else cache / "local-files.json"
        self._methods: dict[tuple[str, str], tuple[str, frozenset[str]]] = {}
        self._engines: dict[frozenset[str], str] = {}
        self._files: dict[tuple[Path | None, str], Path | None] = {}

    def of_cell(self, cell: Cell) -> dict[str, str]:
        """`{"method": 16 hex digits, "engine": 16 hex digits}` of the code that would run this cell now.

        Empty where the method has no code: that is a failure of its own row.
        """
        simulated = any(card.kind == "simulated" for card in cell.scenario.cards)
        ref, texts, asks = cell.method.ref, cell.method.uses_texts, cell.method.asks_a_model
        try:
            return self._both(ref.target, ref.distribution, simulated=simulated, texts=texts, asks=asks)
        except BenchError:
            return {}

    def of_record(self, record: Record) -> dict[str, str]:
        """The same of the code that would run a record's cell now; a BenchError where that is not here any more."""
        target = self.target(record)
        distribution = record["detector"].get("distribution") or ""
        texts, asks = "encoder" in record["spec"], record["detector"].get("teacher", False)
        return self._both(target, distribution, simulated=bool(record["simulated"]), texts=texts, asks=asks)

    def standing(self, record: Record) -> Standing:
        """Whether the code that made a record is the code installed."""
        if ran_elsewhere(record):
            return Standing("elsewhere")
        if not known_codes(record):
            return Standing("unknown")
        try:
            why = changed(record, self.of_record(record))
        except BenchError as error:
            return Standing("gone", str(error))
        return Standing("stale", why) if why else Standing("current")

    def remember(self, refs: Iterable[DetectorRef]) -> None:
        """Keep where local files are, by content: a record names its file without the folder."""
        local = {_local_key(ref.version, ref.target): str(_path(ref.target).resolve()) for ref in refs if ref.is_local}
        known = _load(self._places)
        if local and self._places is not None and not local.items() <= known.items():
            replace_text(self._places, json.dumps(known | local, indent=1, sort_keys=True))

    def _both(self, target: str, distribution: str, *, simulated: bool, texts: bool, asks: bool) -> dict[str, str]:
        key = (target, distribution)
        if key not in self._methods:
            self._methods[key] = self._method(target, distribution)
        digest, asked = self._methods[key]
        rooms = {*ENGINE, *asked}
        rooms |= {SIMULATION} if simulated else set()
        rooms |= {ON_REQUEST[0]} if texts else set()
        rooms |= {ON_REQUEST[1]} if asks else set()
        engine = self._engine(frozenset(rooms))
        self._sources.save()
        return {"method": digest, "engine": engine}

    def target(self, record: Record) -> str:
        """Where a record's class is: `module:Class`, or `path.py:Class` with the folder where it was last run."""
        target = str(record["spec"]["detector"]["class"])
        if not target.partition(":")[0].endswith(".py"):
            return target
        version = record["spec"]["detector"]["source_sha256"]
        seen = _load(self._places).get(_local_key(version, target))
        path = Path(seen) if seen else _path(target)
        return f"{path}:{target.rpartition(':')[2]}"

    def _method(self, target: str, distribution: str) -> tuple[str, frozenset[str]]:
        """Digest of a method, and the rooms of `ON_REQUEST` that its code imports."""
        found, asked = {}, set()
        finder = _Finder(target, distribution)
        waiting = [finder.start]
        while waiting:
            module = waiting.pop()
            if module in found:
                continue
            key = (finder.folder, module)
            path = self._files[key] if key in self._files else self._files.setdefault(key, finder.find(module))
            if path is None:
                continue
            found[module] = source = self._sources.read(path)
            for name in _imported(module, is_package=path.name == "__init__.py", imports=source.imports):
                asked |= {room for room in ON_REQUEST if f"{name}.".startswith(f"{room}.")}
                waiting += _with_parents(name) if finder.owns(name) else []
        if finder.start not in found:
            raise BenchError(f"the code of '{finder.shown}' is not here any more: install it or put the file back")
        return _combined((name, source.digest) for name, source in found.items()), frozenset(asked)

    def _engine(self, rooms: frozenset[str]) -> str:
        if rooms not in self._engines:
            files = {name: path for room in rooms for name, path in _files_of(room)}
            self._engines[rooms] = _combined((name, self._sources.read(path).digest) for name, path in files.items())
        return self._engines[rooms]


def known_codes(record: Record) -> list[dict[str, str]]:
    """The code that made a record, and the code that a later check found to give the same numbers, where known."""
    checked = record.get("verified_with")
    return [code for code in (record.get("code"), checked and checked.get("code")) if code]


def changed(record: Record, now: Mapping[str, str]) -> str:
    """What of the code differs from all that a record is known to stand for; empty where nothing does."""
    reasons = [difference(code, now) for code in known_codes(record)]
    return "" if "" in reasons or not reasons else reasons[-1]


def difference(made_by: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What of the code differs, in words; empty where nothing does."""
    words = {"method": "the method's code", "engine": "the engine's code"}
    other = [text for part, text in words.items() if made_by.get(part) != now.get(part)]
    return f"{' and '.join(other)} changed since" if other else ""


def outdated(cells: Iterable[Cell], store: Store, code: InstalledCode) -> dict[str, Outdated]:
    """By run id, the stored records of these cells that another code made; of a local file also each but the newest.

    A file that is changed back finds its old records; for these to be its row again, they are made anew.
    """
    found, local = {}, {}
    for cell in cells:
        record = store.read(cell.run_id)
        if record is None:
            continue
        if why := changed(record, code.of_cell(cell)):
            found[cell.run_id] = Outdated(record["method"], why, record["started_at"])
        elif cell.method.ref.is_local:
            local[cell.run_id] = record
    if local:
        newest = _newest(store.records())
        for run_id, record in local.items():
            keys = [without_version(record["spec"], with_config=given) for given in (True, False)]
            if max(newest.get(key, "") for key in keys) > record["started_at"]:
                why = "another version of the file ran later"
                found[run_id] = Outdated(record["method"], why, record["started_at"])
    return found


def is_described(record: Record) -> bool:
    """Whether its version of the method could be imported; if not, its config is empty, whatever was asked for."""
    return record["detector"].get("told", "") is not None


def without_version(spec: Mapping[str, Any], *, with_config: bool) -> str:
    """What the records of all versions of a local file share, of the config only where both versions were described."""
    of_version, of_config = {"source_sha256", "files", "encoder"}, {"config", "auxiliary", "incidents"}
    left_out = of_version if with_config else of_version | of_config
    detector = {key: value for key, value in spec["detector"].items() if key not in left_out}
    rest = {key: value for key, value in spec.items() if key not in left_out}
    return json.dumps(rest | {"detector": detector}, sort_keys=True)


def _newest(records: Iterable[Record]) -> dict[str, str]:
    newest: dict[str, str] = {}
    for record in records:
        if record["spec"]["detector"].get("source_sha256"):
            key = without_version(record["spec"], with_config=is_described(record))
            newest[key] = max(newest.get(key, ""), record["started_at"])
    return newest


class _Sources:
    """Digests of files, kept on disk by the hash of their bytes: parsing is what costs."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._kept: dict[str, Any] | None = None
        self._read: dict[Path, Source] = {}
        self._is_new = False

    def read(self, path: Path) -> Source:
        if path not in self._read:
            self._read[path] = self._by_content(path)
        return self._read[path]

    def _by_content(self, path: Path) -> Source:
        content = path.read_bytes()
        if path.suffix != ".py":  # compiled
            return Source(hashlib.sha256(content).hexdigest(), ())
        if self._kept is None:
            kept = recall(self._file, "the digests of code") if self._file is not None else None
            self._kept = kept["sources"] if kept and kept["version"] == _CACHE_VERSION else {}
        key = hashlib.sha256(content).hexdigest()
        with contextlib.suppress(KeyError, TypeError, ValueError):
            digest, imports = self._kept[key]
            return Source(digest, tuple(Import(level, module, tuple(names)) for level, module, names in imports))
        source = read_source(content)
        self._kept[key] = [source.digest, [list(dataclasses.astuple(found)) for found in source.imports]]
        self._is_new = True
        return source

    def save(self) -> None:
        """Keep what is new; a store that cannot be written is read all the same."""
        if self._is_new and self._file is not None and self._kept is not None:
            with contextlib.suppress(OSError):
                seal(self._file, {"version": _CACHE_VERSION, "sources": self._kept})
        self._is_new = False


class _Finder:
    """Files of the modules that belong to one method; nothing is imported to find them."""

    def __init__(self, target: str, distribution: str) -> None:
        name = target.rpartition(":")[0]
        self.is_local = name.endswith(".py")
        self.folder = Path(name).parent if self.is_local else None
        self.start = Path(name).stem if self.is_local else name
        self.shown = f"{Path(name).name if self.is_local else name}:{target.rpartition(':')[2]}"
        tops = {"methods"} if self.is_local else {"methods", name.partition(".")[0], *_top_levels(distribution)}
        self._tops = tops - {"bench"}

    def owns(self, module: str) -> bool:
        """Whether a module belongs to the method's code, if there is one of that name."""
        top = module.partition(".")[0]
        return top in self._tops or (self.folder is not None and top != "bench" and _beside(self.folder, top))

    def find(self, module: str) -> Path | None:
        """The file of a module, or None where it is none (a class of it, or a namespace)."""
        top, *rest = module.split(".")
        if self.folder is not None and _beside(self.folder, top):
            return file_below(self.folder, (top, *rest))
        return module_file(module)


def _beside(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


@functools.cache
def _top_levels(distribution: str) -> frozenset[str]:
    """Names that a distribution installs; empty where it is none."""
    try:
        found = metadata.distribution(distribution) if distribution else None
    except metadata.PackageNotFoundError:
        found = None
    if found is None:
        return frozenset()
    if text := found.read_text("top_level.txt"):
        return frozenset(text.split())
    return frozenset(file.parts[0].removesuffix(".py") for file in found.files or () if file.suffix == ".py")


def _imported(module: str, *, is_package: bool, imports: Iterable[Import]) -> Iterator[str]:
    """Absolute names of all that a module may import: of `from a import b` both a and a.b."""
    parts = module.split(".")
    for found in imports:
        above = parts[: len(parts) - found.level + is_package] if found.level else []
        base = ".".join([*above, *filter(None, [found.module])])
        if base:
            yield base
        yield from (f"{base}.{name}".lstrip(".") for name in found.names if name != "*")


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _files_of(room: str) -> list[tuple[str, Path]]:
    """Names and files of a module or of a room's modules; a BenchError where the engine is not as this file says."""
    root = Path(__file__).resolve().parents[1]
    place = root.joinpath(*room.split(".")[1:])
    if place.is_dir():
        files = [(f"{room}.{path.stem}", path) for path in sorted(place.glob("*.py"))]
        return [(name, path) for name, path in files if name not in ENGINE_OF_READERS]
    path = place.with_name(f"{place.name}.py")
    if not path.is_file():
        raise BenchError(f"the engine has no module '{room}': install this program again")
    return [(room, path)]


def _combined(digests: Iterable[tuple[str, str]]) -> str:
    lines = sorted(f"{name} {digest}\n" for name, digest in digests)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:_DIGITS]


def _path(target: str) -> Path:
    return Path(target.rpartition(":")[0])


def _local_key(version: str, target: str) -> str:
    return f"{version}:{_path(target).name}"


def _load(path: Path | None) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
