"""Tables of a grammar: values are taken with a check of their type, and none may be left over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from bench.errors import BenchError

_T = TypeVar("_T")


class Table:
    """One table of the grammar; every mistake is a BenchError that names the table, the value and the way out."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, Mapping):
            raise BenchError(f"[{where}] is {raw!r}: make it a table of key = value pairs")
        self.where, self.left, self._known = where, dict(raw), list[str]()

    def take(self, key: str, kind: type[_T], default: _T | None = None) -> _T:
        """Return the value of a key, or the default; without a default the key must be there."""
        self._known.append(key)
        value = self.left.pop(key, default)
        if value is None:
            raise BenchError(f"[{self.where}] has no '{key}': add it (a {kind.__name__})")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BenchError(f"[{self.where}] {key} = {value!r} has the wrong type: make it a {kind.__name__}")
        return value

    def count(self, key: str, default: int | None = None, *, least: int = 1, most: int = 2**31) -> int:
        """Return a whole number from `least` to `most`."""
        if not least <= (value := self.take(key, int, default)) <= most:
            raise BenchError(f"[{self.where}] {key} = {value} is out of range: write {least} to {most}")
        return value

    def share(self, key: str, default: float) -> int:
        """Return a share from 0 to 1, in parts per million."""
        value = self.take(key, float, default)
        if not 0 <= value <= 1:
            raise BenchError(f"[{self.where}] {key} = {value} is no share: write 0.0 to 1.0")
        return round(value * 1_000_000)

    def table(self, key: str, default: Mapping[str, object] | None = None) -> Table:
        """Return the table under a key."""
        return Table(self.take(key, dict, None if default is None else dict(default)), f"{self.where}.{key}")

    def tables(self, key: str) -> Iterator[Table]:
        """Yield the tables of a list; a lone message name stands for { of = name }."""
        for i, raw in enumerate(self.take(key, list)):
            yield Table({"of": raw} if isinstance(raw, str) else raw, f"{self.where}.{key}[{i}]")

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of one string or more; a lone string stands for a list of one."""
        if isinstance(self.left.get(key), str):
            self.left[key] = [self.left[key]]
        values = self.take(key, list)
        if not values or not all(isinstance(value, str) for value in values):
            raise BenchError(f"[{self.where}] {key} = {values!r} is no list of strings: write one string or more")
        return tuple(values)

    def positions(self, key: str, n: int) -> tuple[int, ...]:
        """Return places of steps, written from 1 to n, as indices from 0."""
        places = self.take(key, list)
        if not places or not all(type(p) is int and 1 <= p <= n for p in places) or len(set(places)) < len(places):
            raise BenchError(
                f"[{self.where}] {key} = {places!r} is no list of steps: write numbers from 1 to {n}, once"
            )
        return tuple(place - 1 for place in places)

    def choice(self, key: str, options: Sequence[str], default: str | None = None) -> str:
        """Return one of the options."""
        if (value := self.take(key, str, default)) not in options:
            raise BenchError(f"[{self.where}] {key} = {value!r} is unknown: use one of {', '.join(options)}")
        return value

    def span(self, key: str, default: list[float] | None = None, *, scale: int = 1) -> tuple[int, int]:
        """Return a pair 0 <= low <= high in whole units, scale of which make one unit of the grammar."""
        pair = self.take(key, list, default)
        if len(pair) != 2 or not all(type(end) in (int, float) for end in pair) or not 0 <= pair[0] <= pair[1]:
            raise BenchError(f"[{self.where}] {key} = {pair!r} is no range: write [low, high] with 0 <= low <= high")
        return round(pair[0] * scale), round(pair[1] * scale)

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for key in self.left:
            raise BenchError(f"[{self.where}] has the unknown key '{key}': use only {', '.join(self._known)}")
