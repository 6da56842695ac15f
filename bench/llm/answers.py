"""Recorded answers of chat models: one JSON line per call, found by the hash of the request."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.errors import BenchError


def request_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of all that is sent but the address and the key: 64 hex digits."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def call_key(body: Mapping[str, Any], sample: int = 0) -> str:
    """The key of a call: the hash of its request, and which answer it is where the request has no seed to say so."""
    return request_hash({**body, "sample": sample} if sample and "seed" not in body else body)


class CallStore:
    """The calls to one model, as `<folder>/<model>.jsonl`.

    A line is appended at once when its answer has come, so that a kill loses no more than what was in flight; a line
    that a kill cut off is dropped when the file is next opened for writing. Lines hold what was sent, so a store made
    from real logs holds log lines. shipped: a folder of the same form that is only read, for what this one lacks.
    """

    def __init__(self, folder: Path, model: str, *, shipped: Path | None = None) -> None:
        name = re.sub(r"[^\w.-]+", "_", model).strip("._") or "model"
        if name != model:
            name = f"{name}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
        self.path = folder / f"{name}.jsonl"
        self._shipped = shipped / f"{name}.jsonl" if shipped is not None else self.path
        self._known: dict[str, dict[str, Any]] | None = None
        self._is_open = False

    def __len__(self) -> int:
        return len(self._calls())

    def exists(self) -> bool:
        """Whether anything was recorded for this model."""
        return _holds_calls(self.path) or _holds_calls(self._shipped)

    def get(self, key: str) -> dict[str, Any] | None:
        """The recorded call of that request hash, without its prompt."""
        return self._calls().get(key)

    def first(self) -> dict[str, Any] | None:
        """The oldest recorded call."""
        return next(iter(self._calls().values()), None)

    def append(self, call: dict[str, Any]) -> None:
        """Keep a call; `hash` is its key."""
        known = self._calls()
        line = json.dumps(call, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        try:
            with _lock_of(self.path):
                self._open_for_writing()
                with self.path.open("ab", buffering=0) as file:
                    file.write(line)
        except OSError as error:
            raise BenchError(
                f"the answer store '{self.path}' cannot be written ({error.strerror or error}): give another folder"
            ) from None
        known[call["hash"]] = _without_prompt(call)

    def _open_for_writing(self) -> None:
        """Once: drop a line that a kill cut off, so that nothing is written behind half a line."""
        if self._is_open:
            return
        self._is_open = True
        if not _holds_calls(self.path):
            return
        content = self.path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def _calls(self) -> dict[str, dict[str, Any]]:
        if self._known is None:
            paths = dict.fromkeys((self.path, self._shipped))
            # Of a call that stands in both the own one counts; and own ones stand first.
            found = [{call["hash"]: _without_prompt(call) for call in _read(path)} for path in paths]
            self._known = {**found[0], **found[-1], **found[0]}
        return self._known


@functools.lru_cache(32)
def _lock_of(path: Path) -> FileLock:
    """Made once, and not kept in the store: a lock cannot be copied as a detector is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{path}.lock")


def _holds_calls(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _read(path: Path) -> Iterator[dict[str, Any]]:
    if not _holds_calls(path):
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                call = json.loads(line)
                call["hash"]
            except (ValueError, TypeError, KeyError, RecursionError):
                raise BenchError(
                    f"line {number} of the answer store '{path}' cannot be read: delete that line"
                ) from None
            yield call


def _without_prompt(call: Mapping[str, Any]) -> dict[str, Any]:
    """Prompts are most of a store and are not needed to answer from it."""
    return {key: value for key, value in call.items() if key != "request"}
