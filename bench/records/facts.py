"""What many records share, kept once: editions, environments and counts by the hash of their content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench._files import replace_text
from bench.errors import BenchError
from bench.records.record import content_digest, parse_object

NAME: Final = "facts.jsonl"
_START: Final = '{"id":"'
_ID_DIGITS: Final = 16
WAY_OUT: Final = "restore the file from git, or from where it came"


class Facts:
    """`facts.jsonl` of an archive. Nothing is ever removed from it, so that two of them merge as a union of lines."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lines = dict(self._stored())
        self._values: dict[str, Any] = {}
        self._is_changed = False

    def keep(self, kind: str, value: dict[str, Any]) -> str:
        """The id under which a value is found again; it is on disk after `save`."""
        identity = content_digest(value)[:_ID_DIGITS]
        if identity not in self._lines:
            content = {"id": identity, "kind": kind, "value": value}
            self._lines[identity] = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            self._is_changed = True
        return identity

    def get(self, identity: str, where: str) -> Any:
        """The value, the same object for all who ask: not to be changed. An unknown id is a BenchError.

        where: who asks, for the error
        """
        if identity not in self._values:
            if identity not in self._lines:
                raise BenchError(f"{where} refers to '{identity}', which {self.path} does not hold: {WAY_OUT}")
            content = self._content(identity)
            if "value" not in content:
                raise BenchError(f"{self.path}, '{identity}' is damaged (no value): {WAY_OUT}")
            self._values[identity] = content["value"]
        return self._values[identity]

    def save(self) -> None:
        """Write what is new, sorted by kind and id."""
        if self._is_changed:
            kinds = {identity: str(self._content(identity).get("kind")) for identity in self._lines}
            order = sorted(self._lines, key=lambda identity: (kinds[identity], identity))
            replace_text(self.path, "".join(self._lines[identity] + "\n" for identity in order))
            self._is_changed = False

    def problems(self) -> Iterator[str]:
        """What is wrong with each line."""
        for identity in self._lines:
            try:
                value = self.get(identity, str(self.path))
            except BenchError as error:
                yield str(error)
            else:
                if content_digest(value)[:_ID_DIGITS] != identity:
                    yield f"{self.path}, '{identity}': its content was changed by hand: {WAY_OUT}"

    def _content(self, identity: str) -> dict[str, Any]:
        return parse_object(self._lines[identity], f"{self.path}, '{identity}'", WAY_OUT)

    def _stored(self) -> Iterator[tuple[str, str]]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except (IsADirectoryError, NotADirectoryError):
            raise BenchError(f"{self.path} is no file in a folder: move what is in its place away") from None
        except UnicodeDecodeError as error:
            raise BenchError(f"{self.path} is damaged ({error}): {WAY_OUT}") from None
        for number, line in enumerate(text.split("\n"), 1):
            if not line:
                continue
            identity = line[len(_START) : len(_START) + _ID_DIGITS]
            if not line.startswith(_START) or len(identity) < _ID_DIGITS:
                raise BenchError(f"{self.path}, line {number} is damaged (no id): {WAY_OUT}")
            yield identity, line
