"""Saved detectors: a folder with `detector.json` and the arrays that it names, nothing in it is ever run.

The JSON names an installed method, so it can choose which of them is made, but no code. A method of a local file is
named by whoever loads it, and must have the SHA-256 it was fitted with. Settings that are not part of a run's identity
(an endpoint, a folder of answers) are neither written nor read: they are the machine's, not the detector's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import registry
from bench._files import cache_dir, put, put_text, remove_leftovers
from bench._plain import jsonable
from bench.data.cards.card import Card, Format, ParserSettings
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.vocabulary import Vocabulary
from bench.deploy.windows import Windows
from bench.detector import Detector
from bench.errors import BenchError, choose_one, shown
from bench.evaluation.thresholds import Threshold
from bench.experiment.spec import resolve_one
from bench.records.record import content_digest
from bench.registry import DetectorRef

VERSION: Final = 3
_FACTS, _OLD_ARRAYS = "detector.json", "detector.safetensors"
_SHA256: Final = re.compile("[0-9a-f]{64}")
_LARGEST: Final = 10**8
"""What a whole number of a config may be at most, unless the arrays are as large: more would fill the memory."""


@dataclass(frozen=True)
class Fitted:
    """A fitted detector with all that scoring new lines needs."""

    detector: Detector
    vocabulary: Vocabulary
    cards: tuple[Card, ...]
    """The editions it was fitted on; new lines are read by the format of one of them."""
    windows: Windows
    """How new lines are grouped, where they name no sessions."""
    rule: str
    threshold: Threshold
    facts: Mapping[str, Any]
    """Provenance: method, config, spec, run_id, counts, environment."""

    def card_of(self, system: str | None) -> tuple[int, Card]:
        """The system whose format new lines have, with its index; it must be named where there are several."""
        names = [card.name for card in self.cards]
        if system is None and len(names) > 1:
            raise BenchError(f"the detector knows {' and '.join(names)}: say with --system whose lines these are")
        if system is not None and system not in names:
            raise BenchError(f"the detector does not know '{system}': {choose_one(system, names)}")
        index = 0 if system is None else names.index(system)
        return index, self.cards[index]


def save(fitted: Fitted, folder: Path) -> None:
    """Write the folder; a detector that defines no `state` is a BenchError.

    Whatever ends it, the folder holds the detector that was there or this one: the arrays get a name of their own, and
    the file that names them takes the place of the old one at once.
    """
    from safetensors.numpy import save as as_bytes

    try:
        # safetensors writes the memory as it lies, whatever the strides.
        arrays = {name: np.array(values, order="C") for name, values in fitted.detector.state().items()}
    except TypeError as error:
        raise BenchError(f"{error}: choose a method that can be saved") from None
    content = as_bytes(arrays)
    facts = {**_as_json(fitted), "arrays_sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps({**facts, "digest": content_digest(facts)}, indent=1) + "\n"
    try:
        _put_both(folder, _arrays_of(folder, facts), content, text)
    except OSError as error:
        raise BenchError(f"the detector cannot be saved in '{folder}' ({error.strerror}): use another folder") from None


def _put_both(folder: Path, arrays: Path, content: bytes, text: str) -> None:
    was_there, before = folder.exists(), _named_before(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    try:
        put(arrays, lambda temporary: temporary.write_bytes(content))
        put_text(folder / _FACTS, text)
    except BaseException:
        if arrays != before:
            arrays.unlink(missing_ok=True)
        if not was_there:
            with contextlib.suppress(OSError):  # another command has saved there meanwhile
                folder.rmdir()
        raise
    if before is not None and before != arrays:
        before.unlink(missing_ok=True)


def _named_before(folder: Path) -> Path | None:
    """The arrays of the detector that is there; None where there is none that can be read."""
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        return _arrays_of(folder, facts) if facts["version"] == VERSION else folder / _OLD_ARRAYS
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _arrays_of(folder: Path, facts: Mapping[str, Any]) -> Path:
    """The file of the arrays, which its content names."""
    digest = facts["arrays_sha256"]
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError(f"{shown(digest)} is no SHA-256")
    return folder / f"detector-{digest[:16]}.safetensors"


def load(folder: Path, *, device: str = "cpu", method: str | None = None, settings: Sequence[str] = ()) -> Fitted:
    """A detector that `save` wrote; anything else is a BenchError.

    method: `path.py:Class` of a detector that was fitted from a local file, whose code is run.
    settings: `method.key=value` for what is not part of the detector's identity, such as an endpoint.
    """
    facts, arrays = _read(folder)
    try:
        ref = _ref(folder, facts, method)
        given = _machine_settings(ref, settings)
        detector_class = _detector_class(ref)
        config = detector_class.Config(**_identity(detector_class, facts["method"]["config"], arrays), **given)
        detector = detector_class(config, seed=_whole(facts["seed"], 0), device=device)
        cards = tuple(_card(values) for values in facts["systems"])
        return Fitted(
            detector.load_state(arrays),
            _vocabulary(facts["vocabulary"], cards[0]),
            cards,
            _windows(facts["grouping"]),
            str(facts["threshold"]["rule"]),
            _stored_threshold(facts["threshold"]),
            dict(facts["provenance"]),
        )
    except BenchError:
        raise
    except Exception as error:  # whatever a file can hold, and what a method makes of arrays that are not its own
        raise _damaged(folder, error) from None


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The two files, of the present format, unchanged and belonging together."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        facts, content = _files(folder)
        if facts.pop("digest", None) != content_digest(facts):
            raise ValueError(f"{_FACTS} was changed after it was saved")
        if facts["arrays_sha256"] != hashlib.sha256(content).hexdigest():
            raise ValueError(f"its arrays are not those that {_FACTS} was saved with")
        return facts, from_bytes(content)
    except OSError as error:
        raise BenchError(f"'{folder}' holds no saved detector ({error.strerror}): make one with `bench fit`") from None
    except (ValueError, KeyError, RecursionError, SafetensorError) as error:
        raise _damaged(folder, error) from None


def _files(folder: Path) -> tuple[dict[str, Any], bytes]:
    """What stands in both files; once more where another command has just replaced them."""
    text = (folder / _FACTS).read_text(encoding="utf-8")
    facts = _parsed(folder, text)
    try:
        return facts, _arrays_of(folder, facts).read_bytes()
    except FileNotFoundError:
        if (folder / _FACTS).read_text(encoding="utf-8") == text:
            raise ValueError(f"the arrays that {_FACTS} names are gone") from None
        return _files(folder)


def _parsed(folder: Path, text: str) -> dict[str, Any]:
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError(f"{_FACTS} holds no object")
    version = facts.get("version")
    if version != VERSION:
        is_newer = isinstance(version, int) and version > VERSION
        way_out = "update bench" if is_newer else "fit it again"
        raise BenchError(f"the detector in '{folder}' has the format {shown(version)}, not {VERSION}: {way_out}")
    return facts


def _ref(folder: Path, facts: Mapping[str, Any], method: str | None) -> DetectorRef:
    """The installed method that the folder names, or the local file that the caller names, if it is the same one."""
    name, known = str(facts["method"]["name"]), registry.available()
    if name in known:
        if method not in (None, name):
            raise BenchError(f"the detector in '{folder}' is '{name}', not '{method}': leave out --method")
        return known[name]
    if ".py:" not in name:
        raise BenchError(f"the detector in '{folder}' needs the method '{shown(name)}': install what provides it")
    if method is None:
        file = shown(name.replace("\\", "/").rpartition("/")[2])
        raise BenchError(
            f"the detector in '{folder}' was fitted with the local file {file}: name that file with --method "
            "path.py:Class, its code is run"
        )
    ref = registry.find(method)
    if not ref.is_local or ref.target.rpartition(":")[2] != name.rpartition(":")[2]:
        raise BenchError(f"--method {method} is not the class that the detector in '{folder}' was fitted with")
    if ref.version != facts["provenance"]["spec"]["detector"]["source_sha256"]:
        raise BenchError(
            f"--method {method} has changed since the detector in '{folder}' was fitted (another SHA-256): fit it again"
        )
    return ref


def _detector_class(ref: DetectorRef) -> type[Detector]:
    try:
        return registry.load(ref)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(f"'{ref.name}' cannot be imported ({type(error).__name__}: {error}): correct it") from None


def _machine_settings(ref: DetectorRef, settings: Sequence[str]) -> dict[str, Any]:
    """Settings as typed, by name; one that belongs to what was fitted is a BenchError."""
    if not settings:
        return {}
    resolved = resolve_one(ref.name, settings, cache_dir())
    for key in resolved.passed:
        if resolved.description.fields[key].identity:
            raise BenchError(f"--set {ref.name}.{key} belongs to what was fitted: leave it out, or fit again")
    return {key: resolved.config[key] for key in resolved.passed}


def _identity(
    detector_class: type[Detector], config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """The stored config without settings that belong to the machine, and with no absurd sizes."""
    outside = {f.name for f in dataclasses.fields(detector_class.Config) if not f.metadata.get("identity", True)}
    kept = {name: value for name, value in config.items() if name not in outside}
    largest = max(_LARGEST, *(values.size for values in arrays.values())) if arrays else _LARGEST
    for name, value in kept.items():
        if isinstance(value, int) and abs(value) > largest and not name.endswith("seed"):
            raise ValueError(f"{shown(name)} is {value}")
    return kept


def _vocabulary(state: dict[str, Any], card: Card) -> Vocabulary:
    if not all(isinstance(text, str) for text in state["texts"]):
        raise ValueError("its vocabulary holds what is no text")
    return Vocabulary.from_state(state, card.parser)


def _stored_threshold(values: Mapping[str, Any]) -> Threshold:
    value = float(values["value"])
    if not math.isfinite(value):
        raise ValueError(f"the threshold is {value}")
    return Threshold(value, str(values["fitted_on"]), _whole(values["n"], 0))


def _windows(values: Mapping[str, Any]) -> Windows:
    seconds = float(values.get("seconds", 0))
    if other := sorted(set(values) - {"window_size", "window_step", "seconds"}):
        raise ValueError(f"its windows have the unknown key {shown(other[0])}")
    if not 0 <= seconds < math.inf:
        raise ValueError(f"its windows are of {seconds} s")
    return Windows(Grouping(_whole(values["window_size"], 1), _whole(values["window_step"], 1)), seconds)


def _seconds(windows: Windows) -> dict[str, float]:
    return {"seconds": windows.seconds} if windows.seconds else {}


def _whole(value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{shown(value)} is no whole number from {least}")
    return value


def _damaged(folder: Path, error: Exception) -> BenchError:
    reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return BenchError(f"the detector in '{folder}' is damaged ({shown(reason)}): fit it again")


def _as_json(fitted: Fitted) -> Any:
    facts = dict(fitted.facts)
    threshold = fitted.threshold
    return jsonable(
        {
            "version": VERSION,
            "method": {"name": facts.pop("method_ref"), "config": facts.pop("config")},
            "seed": facts.pop("seed"),
            "systems": [_system(card) for card in fitted.cards],
            "grouping": {**asdict(fitted.windows.lines), **_seconds(fitted.windows)},
            "threshold": {
                "rule": fitted.rule,
                "value": threshold.value,
                "fitted_on": threshold.fitted_on,
                "n": threshold.n,
            },
            "provenance": facts,
            "vocabulary": fitted.vocabulary.state(),
        }
    )


def _system(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "edition": card.edition,
        "format": asdict(card.format),
        "parser": asdict(card.parser),
    }


def _card(values: Mapping[str, Any]) -> Card:
    parser = ParserSettings(**{**values["parser"], "masks": tuple(values["parser"]["masks"])})
    return Card(
        name=values["name"],
        edition=values["edition"],
        title="",
        tier="development",
        rank=0,
        kind="lines",
        licence="",
        citation="",
        format=Format(**values["format"]),
        parser=parser,
    )
