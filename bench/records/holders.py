"""Who holds a claim, and whether that process still lives: by its process where it can be seen, else by its beats.

Wall clocks are never compared: they are set back, and those of two machines differ.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple, TypeGuard

from bench._plain import jsonable
from bench._processes import boot, has_ended, started

_TOKEN: Final = re.compile(r"[0-9a-f]{16}")
_SHARE_OF_A_LOOK: Final = 1 / 6
"""How much of the waiting time one look counts at most: an observer that slept, or whose folder hung, saw nothing."""


@dataclass(frozen=True)
class Holder:
    """A process, and what it holds something for."""

    host: str
    boot: str
    """Which boot of the machine, and which of its pid namespaces: where a pid means a process."""
    pid: int
    started: float
    """When the process started, in ticks since the boot; elsewhere than on Linux in seconds."""
    token: str
    """16 hex digits, never the same twice."""
    what: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The content of its file."""
        return json.dumps(asdict(self)).encode()

    def is_gone(self) -> bool | None:
        """Whether its process has ended; None where that cannot be seen from here, as on another machine."""
        if (self.host, self.boot) != (socket.gethostname(), boot()):
            return None
        return has_ended(self.pid, self.started)


def new_holder(what: Mapping[str, Any]) -> Holder:
    """This process, with a token of its own."""
    pid = os.getpid()
    since = started(pid)
    token = secrets.token_hex(8)
    return Holder(socket.gethostname(), boot(), pid, -1.0 if since is None else since, token, jsonable(what))


def parse_object(content: bytes) -> dict[str, Any]:
    """The JSON object of a small file; empty where it is damaged."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def parse_holder(content: bytes) -> Holder | None:
    """The holder that a file names; None where the file is empty or damaged."""
    found = parse_object(content)
    host, boot, token, what = (found.get(key) for key in ("host", "boot", "token", "what"))
    pid, started = found.get("pid"), found.get("started")
    if not (isinstance(host, str) and isinstance(boot, str) and isinstance(what, dict)):
        return None
    if not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        return None
    if not (is_number(pid, above=0) and isinstance(pid, int) and is_number(started, above=-2)):
        return None
    return Holder(host, boot, pid, float(started), token, what)


def is_number(value: Any, *, above: float) -> TypeGuard[float]:
    """Whether a value of JSON is a number, finite and above a bound."""
    return type(value) in (int, float) and above < value < 2**40


class _Look(NamedTuple):
    state: bytes
    at: float
    waited_s: float


class Observer:
    """Notices what does not change any more, by this process's own clock alone."""

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._looks: dict[str, _Look] = {}

    def stands_still(self, name: str, state: bytes) -> bool:
        """Whether `state` has been the same for `stale_s` seconds in which it was looked at again and again.

        It takes seven looks at least, each at most a sixth of `stale_s` after the one before to count in full.
        """
        now = time.monotonic()
        last = self._looks.get(name)
        if last is None or last.state != state:
            self._looks[name] = _Look(state, now, 0.0)
            return False
        waited_s = last.waited_s + min(now - last.at, self._stale_s * _SHARE_OF_A_LOOK)
        self._looks[name] = _Look(state, now, waited_s)
        return waited_s >= self._stale_s * (1 - 1e-9)
