"""Finding detectors: entry points and `path.py:Class`, loaded only when they are run.

What the command line must know of a detector (its tags, the fields of its Config) is remembered on disk by the hash of
its source, so that listing methods and resuming a run import neither torch nor the method.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import json
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import chdir, suppress
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from bench._classes import which_class
from bench._files import cache_dir, unwritable
from bench._local import beside, load_file
from bench._sealed import recall, seal
from bench.errors import BenchError, CellTimeoutError, choose_one, did_you_mean, harmless

if TYPE_CHECKING:
    from bench.detector import Detector

DETECTOR_GROUP: Final = "bench.detectors"
CONTROL_GROUP: Final = "bench.controls"
ADAPTED: Final = ("sklearn", "pyod")
"""Libraries whose estimators can be named: `sklearn:IsolationForest`."""

WHERE_USED: Final = "where used"
"""What a field of a Config that came later says of `identity`."""


@dataclass(frozen=True)
class DetectorRef:
    """Where a detector is to be found; nothing of it is imported yet."""

    name: str
    target: str
    """`module:Class`, or `path.py:Class`."""
    is_control: bool = False
    distribution: str = ""
    version: str = ""
    """Version of the distribution, or for a local file the SHA-256 of its source."""

    @property
    def is_local(self) -> bool:
        """Whether it comes from a file rather than an installed package."""
        return self.target.partition(":")[0].endswith(".py")


@dataclass(frozen=True)
class FieldInfo:
    """One hyper-parameter."""

    kind: Literal["int", "float", "bool", "str", "json", "any"]
    """`any`: JSON where the text is that, else the text itself."""
    default: Any
    optional: bool = False
    choices: tuple[Any, ...] = ()
    identity: bool = True
    where_used: bool = False
    """Part of the identity only where it is not the default: a later field, so that old runs stay found."""


@dataclass(frozen=True)
class Description:
    """What is known of a detector without importing it again."""

    told: Mapping[str, str]
    """What it is told, by role."""
    uses: tuple[str, ...]
    deterministic: bool
    fields: Mapping[str, FieldInfo]
    summary: str = ""
    profiles: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Config values by profile, where they differ from the defaults."""
    sources: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    """Where these values stand, by profile and field."""
    told_with: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    """What it is told besides, by the setting that must be on."""
    incidents: bool = False
    unit: str = "sequence"
    teacher: bool = False
    seeded: bool = True
    """Whether its fit or its scores depend on the seed."""
    files: tuple[Mapping[str, Any], ...] = ()
    """Files that it needs besides the log, as the fields of `ExternalFile`."""
    error: str = ""
    """Why it could not be imported, if so."""


Describer = Callable[[DetectorRef], Description]
"""Finds out tags and config fields of a detector."""


def available() -> dict[str, DetectorRef]:
    """All installed detectors and controls by name; two different targets for one name are a BenchError.

    What is installed is read once per process: `forget_installed` makes the next call read it again.
    """
    return dict(_installed())


def forget_installed() -> None:
    """Read what is installed anew at the next call, as after an installation in this process."""
    _installed.cache_clear()


@functools.cache
def _installed() -> dict[str, DetectorRef]:
    found: dict[str, DetectorRef] = {}
    for group in (DETECTOR_GROUP, CONTROL_GROUP):
        for point in entry_points(group=group):
            ref = _from_entry_point(point, is_control=group == CONTROL_GROUP)
            other = found.setdefault(ref.name, ref)
            if other.target != ref.target:
                raise BenchError(
                    f"two detectors are called '{ref.name}': {other.target} ({other.distribution}) and "
                    f"{ref.target} ({ref.distribution}); uninstall or rename one"
                )
    return dict(sorted(found.items()))


def controls() -> list[DetectorRef]:
    """The trivial detectors that stand in every table."""
    return [ref for ref in available().values() if ref.is_control]


def find(name: str) -> DetectorRef:
    """The detector of that name, or of `path.py:Class`."""
    if ".py:" in name:
        return _from_file(name)
    if name.endswith(".py"):
        raise BenchError(which_class(name))
    known = available()
    found = known.get(name) or _adapted(name)
    if found is None:
        meant = choose_one(name, known, listing="bench list methods", more=", or give path.py:Class")
        raise BenchError(f"unknown method '{name}': {meant}")
    return found


def load(ref: DetectorRef, known: Description | None = None) -> type[Detector]:
    """Import the detector's class; what its import raises passes through, but an exit becomes an ImportError.

    known: what the row says of it; a class that says otherwise is a BenchError
    """
    from bench.contract import fault_of
    from bench.detector import ContractError, Detector

    module_name, _, attribute = ref.target.partition(":")
    try:
        with chdir("."), beside(_folder_of(ref)):  # back here, wherever its import goes
            module = load_file(Path(module_name)) if ref.is_local else importlib.import_module(module_name)
    except (Exception, KeyboardInterrupt, CellTimeoutError):
        raise
    except BaseException as error:  # one plugin does not end the program, nor choose its exit code
        raise ImportError(f"its import ends the program ({type(error).__name__}: {error})") from error
    found = getattr(module, attribute, None)
    if found is None:
        meant = did_you_mean(attribute, [name for name, value in vars(module).items() if isinstance(value, type)])
        raise BenchError(f"'{ref.target}' has no class '{attribute}': {meant}correct the name behind the colon")
    if not (isinstance(found, type) and issubclass(found, Detector)):
        raise BenchError(f"'{ref.target}' is not a subclass of bench.detector.Detector: derive it from that class")
    if fault := fault_of(found):
        raise ContractError(f"'{ref.target}' cannot be used: {fault}")
    if known is not None and not known.error and _as_kept(_describe_class(found)) != _as_kept(known):
        raise BenchError(
            f"the facts that are kept of '{ref.name}' are not those of its class: delete the folder "
            "'detectors' of the cache (in `OUT/cache` and in BENCH_CACHE) and run it again"
        )
    return found


def describe(ref: DetectorRef, cache: Path | None = None, by: Describer | None = None) -> Description:
    """Tags and config fields; asks `by` only when the detector's source changed since the last time.

    by: imports the detector, in this process if nothing else is said
    """
    file = None
    try:
        if cache is not None:
            file = cache / "detectors" / f"{_source_digest(ref)}.json"
            kept = recall(file, f"what is known of '{ref.name}'") or _recall_of_all(ref, file)
            if kept is not None:
                return description_from_json(kept["description"])
    except BenchError:
        raise
    except Exception as error:
        return undescribed(f"{type(error).__name__}: {error}")
    description = (by or describe_now)(ref)
    if file is not None and not description.error:
        facts = {"description": dataclasses.asdict(description)}
        try:
            seal(file, facts)
        except OSError as error:
            raise unwritable(file, error) from None
        if not ref.is_local:
            with suppress(OSError):  # only a help for other results folders
                seal(_for_all(file), facts)
    return description


def _recall_of_all(ref: DetectorRef, file: Path) -> dict[str, Any] | None:
    """The facts of an installed detector that a command with another results folder has kept, kept here from now on."""
    with suppress(OSError):
        kept = None if ref.is_local else recall(_for_all(file), f"what is known of '{ref.name}'")
        if kept is not None:
            seal(file, {"description": kept["description"]})
            return kept
    return None


def _for_all(file: Path) -> Path:
    """The same file in the user's cache, which all results folders share."""
    return cache_dir() / "detectors" / file.name


def describe_now(ref: DetectorRef) -> Description:
    """Import the detector and read its tags and config fields; one that cannot be imported has an error for them."""
    try:
        with beside(_folder_of(ref)):
            return _describe_class(load(ref))
    except BenchError:
        raise
    except Exception as error:
        from bench.detector import ContractError

        return undescribed(str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}")


def undescribed(reason: str) -> Description:
    """What is known of a detector that cannot be imported."""
    text = harmless(" ".join(reason.encode("utf-8", "backslashreplace").decode("utf-8").split()))
    return Description({}, (), True, {}, error=text)


def summarise(ref: DetectorRef) -> str:
    """First line of the class's docstring, else of its module's, read from the source without importing it."""
    module_name, _, attribute = ref.target.partition(":")
    path = Path(module_name) if ref.is_local else module_file(module_name)
    if path is None:
        raise ModuleNotFoundError(f"no module {module_name}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if _is_outdated(tree):
        return f"written for contract 0.1, and cannot run: `bench check {ref.name}` says what to write instead"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute]
    text = (ast.get_docstring(classes[0]) if classes else None) or ast.get_docstring(tree) or ""
    return text.partition("\n")[0]


def module_file(module: str) -> Path | None:
    """The file of an installed module, or None where it is none (a class of it, or a namespace); imports nothing."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if not rest or not places:
        origin = Path(spec.origin) if spec.origin else None
        return origin if not rest and origin is not None and origin.is_file() else None
    return next((path for place in places if (path := file_below(place, tuple(rest)))), None)


def file_below(place: Path, parts: tuple[str, ...]) -> Path | None:
    """The file of the module with these names below a folder, or None."""
    path = place.joinpath(*parts)
    for found in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if found.is_file():
            return found
    compiled = [path.with_name(f"{path.name}{ending}") for ending in EXTENSION_SUFFIXES]
    return next((found for found in compiled if found.is_file()), None)


def _is_outdated(tree: ast.AST) -> bool:
    """Whether a source uses names of contract 0.1."""
    old = {"TimeRange", "Supervision"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "bench.detector":
            found = any(alias.name in old for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "DetectorTags":
            found = bool(node.args) or any(word.arg in ("supervision", "target_normals") for word in node.keywords)
        else:
            found = False
        if found:
            return True
    return False


def _from_entry_point(point: EntryPoint, *, is_control: bool) -> DetectorRef:
    dist = point.dist
    return DetectorRef(point.name, point.value, is_control, dist.name if dist else "", dist.version if dist else "")


def _adapted(name: str) -> DetectorRef | None:
    """`sklearn:IsolationForest`, an estimator that an adapter makes a detector of; None where no adapter is named."""
    library, colon, path = name.partition(":")
    if not colon or library not in ADAPTED:
        return None
    from bench.adapters import distribution_of

    return DetectorRef(name, f"bench.adapters:{library}.{path}", False, *distribution_of(library, path))


def _from_file(name: str) -> DetectorRef:
    path = Path(name.partition(":")[0])
    if not path.is_file():
        raise BenchError(f"the file '{path}' of method '{name}' does not exist: correct the path")
    return DetectorRef(name, name, version=hashlib.sha256(path.read_bytes()).hexdigest())


def _folder_of(ref: DetectorRef) -> Path | None:
    """Of a local file the folder, whose modules it may import."""
    return Path(ref.target.partition(":")[0]).resolve().parent if ref.is_local else None


def _source_digest(ref: DetectorRef) -> str:
    """Hash of the detector's target, of all Python files beside and below its module, and of the contract."""
    digest = hashlib.sha256(f"{ref.target} {ref.version}".encode())
    module_name = ref.target.partition(":")[0]
    files = [Path(__file__), Path(__file__).with_name("detector.py")]
    if ref.is_local:
        files += [Path(module_name), *sorted(Path(module_name).resolve().parent.glob("*.py"))]
    else:
        origin = module_file(module_name)
        if origin is not None:
            files += sorted(origin.parent.rglob("*.py"))
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _describe_class(detector: type[Detector]) -> Description:
    tags = detector.tags
    hints = typing.get_type_hints(detector.Config)
    fields = {field.name: _field_info(field, hints[field.name]) for field in dataclasses.fields(detector.Config)}
    module = sys.modules.get(detector.__module__)
    text = detector.__doc__ or (module.__doc__ if module else "") or ""
    return Description(
        told=dict(tags.told.items()),
        uses=tuple(sorted(tags.uses)),
        deterministic=tags.deterministic,
        fields=fields,
        summary=text.strip().splitlines()[0] if text.strip() else "",
        profiles=json.loads(json.dumps({name: dict(values) for name, values in detector.profiles.items()})),
        sources={name: dict(stands) for name, stands in detector.sources.items()},
        told_with={name: dict(told.items()) for name, told in tags.told_with.items()},
        incidents=tags.incidents,
        unit=tags.unit,
        teacher=tags.teacher,
        seeded=tags.seeded,
        files=tuple(dataclasses.asdict(file) for file in tags.files),
    )


def _field_info(field: dataclasses.Field[Any], hint: Any) -> FieldInfo:
    default = field.default if field.default is not dataclasses.MISSING else None
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    default = json.loads(json.dumps(default))  # as it comes back from the cache: a tuple is a list
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    optional = type(None) in typing.get_args(hint)
    base = parts[0] if optional and len(parts) == 1 else hint
    declared = field.metadata.get("identity", True)
    identity, where_used = bool(declared), declared == WHERE_USED
    if typing.get_origin(base) is Literal:
        choices = typing.get_args(base)
        return FieldInfo(_kind(type(choices[0])), default, optional, choices, identity, where_used)
    return FieldInfo(_kind(base), default, optional, (), identity, where_used)


def _kind(hint: Any) -> Literal["int", "float", "bool", "str", "json", "any"]:
    kinds = {int: "int", float: "float", bool: "bool", str: "str", object: "any"}
    return kinds.get(hint, "json")  # type: ignore[return-value]


def _as_kept(description: Description) -> str:
    return json.dumps(dataclasses.asdict(description), sort_keys=True)


def description_from_json(values: dict[str, Any]) -> Description:
    """The description whose fields came back from JSON."""
    fields = {
        name: FieldInfo(**{**info, "choices": tuple(info["choices"])}) for name, info in values.pop("fields").items()
    }
    return Description(**{**values, "uses": tuple(values["uses"]), "files": tuple(values["files"]), "fields": fields})
