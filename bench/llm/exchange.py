"""Recorded answers to give away: a folder that is a store itself, and a manifest that says what it holds.

Whoever has a good model packs what it answered; others verify the folder, name it as their store and
replay. That an answer came from the model that it names cannot be verified, only that it answers what
stands beside it and was not changed since it was packed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench._files import replace_text
from bench.errors import BenchError
from bench.llm.answers import call_key
from bench.llm.config import without_secrets

MANIFEST: Final = "answers.json"
FORMAT: Final = 1
_KEPT: Final[tuple[str, ...]] = (
    *("hash", "model", "answer", "finish_reason", "logprobs", "usage"),
    *("request", "sample", "redacted", "latency_s", "time"),
)
"""What of a call is packed."""
_MOST_SAMPLES: Final = 100
"""Calls recorded live do not say which answer of several they are: so many are tried."""


class Packed(NamedTuple):
    """What a file of a pack holds."""

    file: str
    model: str
    """The name that requests have."""
    reported: tuple[str, ...]
    """What the server called itself, the commonest first."""
    answers: int
    redacted: int
    """Answers whose lines were masked before they were sent."""


def pack(store: Path, folder: Path, models: Iterable[str] = ()) -> list[Packed]:
    """Write the recorded answers of some models, else of all, into a new folder; what cannot be verified is refused.

    Files are sorted by request, so that two packs of the same answers are equal.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BenchError(f"'{folder}' is there and not empty: give a new folder")
    files, texts = [], {}
    for path, calls in _chosen(store, list(models)).items():
        for fault in _faults(path.name, calls):
            raise BenchError(f"{fault}: delete that line of '{path}', and pack again")
        kept = [{name: call[name] for name in _KEPT if name in call} for call in calls]
        texts[path.name] = "".join(_line(call) for call in sorted(kept, key=itemgetter("hash")))
        files.append(_packed(path.name, kept))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            replace_text(folder / name, text)
        replace_text(folder / MANIFEST, _manifest(files, texts))
    except OSError as error:
        raise BenchError(f"'{folder}' cannot be written ({error.strerror}): choose another") from None
    return files


def _chosen(store: Path, models: Sequence[str]) -> dict[Path, list[dict[str, Any]]]:
    """The files of these models, or of all there are."""
    read = {path: _calls_of(path) for path in sorted(store.glob("*.jsonl"))}
    known = {_asked(calls): path for path, calls in read.items() if calls}
    missing = [model for model in models if model not in known]
    if missing or not known:
        what = f"of '{missing[0]}' " if missing else ""
        raise BenchError(
            f"no answer {what}is recorded in '{store}' (models there: {', '.join(sorted(known)) or 'none'}): "
            "name the folder of answers with --from"
        )
    return {path: read[path] for model, path in known.items() if not models or model in models}


def verify(folder: Path) -> tuple[list[Packed], list[str]]:
    """What a packed folder holds, and what is wrong with it: nothing where every answer is to the request beside it."""
    said = _read_manifest(folder)
    files, faults = [], []
    for name in sorted(said):
        path = folder / name
        if not path.is_file():
            faults.append(f"{name}: the file is missing")
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() != said[name].get("sha256"):
            faults.append(f"{name}: it is not the file that was packed (SHA-256)")
        found = _calls_of(path)
        faults += _faults(name, found)
        files.append(_packed(name, found))
    others = {path.name for path in folder.glob("*.jsonl")} - said.keys()
    return files, [*faults, *(f"{name}: the manifest does not name it" for name in sorted(others))]


def _faults(name: str, calls: list[dict[str, Any]]) -> Iterator[str]:
    """Why each call that cannot be replayed, or must not be given away, is wrong."""
    times = Counter(call["hash"] for call in calls)
    for number, call in enumerate(calls, 1):
        place = f"{name}, line {number}"
        body = call.get("request")
        if not isinstance(body, dict) or not _is_of(call, body):
            yield f"{place}: its request does not have its hash"
        elif not isinstance(call.get("answer"), str) and not call.get("too_long"):
            yield f"{place}: it has no answer"
        elif body.get("model") != _asked(calls):
            yield f"{place}: it asks another model than the first line"
        elif times[call["hash"]] > 1:
            yield f"{place}: another line has the same request"
        elif _has_secret(_line(call)):
            yield f"{place}: it holds what looks like a key"


def _has_secret(text: str) -> bool:
    return without_secrets(text) != text


def _is_of(call: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    sample = call.get("sample")
    tried = range(_MOST_SAMPLES) if sample is None else (sample,)
    return any(isinstance(i, int) and call_key(body, i) == call["hash"] for i in tried)


def _packed(name: str, calls: list[dict[str, Any]]) -> Packed:
    reported = Counter(str(call["model"]) for call in calls if call.get("model"))
    names = tuple(model for model, _ in sorted(reported.items(), key=lambda item: (-item[1], item[0])))
    redacted = sum(bool(call.get("redacted")) for call in calls)
    return Packed(name, _asked(calls), names, len(calls), redacted)


def _asked(calls: list[dict[str, Any]]) -> str:
    """The model that the first request names."""
    request = calls[0].get("request") if calls else None
    return str(request.get("model", "")) if isinstance(request, dict) else ""


def _line(call: Mapping[str, Any]) -> str:
    return json.dumps(call, ensure_ascii=False, separators=(",", ":")) + "\n"


def _manifest(files: Iterable[Packed], texts: Mapping[str, str]) -> str:
    entries = {
        packed.file: {
            "model": packed.model,
            "reported": list(packed.reported),
            "answers": packed.answers,
            "redacted": packed.redacted,
            "sha256": hashlib.sha256(texts[packed.file].encode()).hexdigest(),
        }
        for packed in files
    }
    return json.dumps({"format": FORMAT, "files": entries}, indent=1, ensure_ascii=False) + "\n"


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise BenchError(f"'{folder}' has no {MANIFEST} that can be read: give a folder of `bench llm pack`") from None
    files = found.get("files") if isinstance(found, dict) else None
    if not isinstance(files, dict) or found.get("format") != FORMAT:
        raise BenchError(f"'{path}' is no manifest of format {FORMAT}: pack again with this version, or update")
    bad = [name for name, entry in files.items() if Path(name).name != name or not isinstance(entry, dict)]
    if bad:
        raise BenchError(f"'{path}' names the file '{bad[0]}', which is none of its folder: pack again")
    return files


def _calls_of(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise BenchError(f"'{path}' cannot be read ({error}): correct the path") from None
    calls = []
    # Lines of a text may hold what else ends a line: only this one ends a call.
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
        try:
            call = json.loads(line)
        except (ValueError, RecursionError):
            call = None
        if not isinstance(call, dict) or not isinstance(call.get("hash"), str):
            raise BenchError(f"line {number} of '{path}' is no recorded answer: delete that line")
        calls.append(call)
    return calls
