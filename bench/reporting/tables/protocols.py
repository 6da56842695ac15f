"""Which protocol's tables are shown where a folder holds records of several: numbers of two are never set together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.errors import BenchError
from bench.records.record import Record
from bench.reporting.tables.rows import Table


class Shown(NamedTuple):
    """The tables of one protocol."""

    tables: list[Table]
    note: str
    """That there are others, and how to see them; nothing where there are none, or where one was asked for."""


def of_one_protocol(tables: Sequence[Table], asked: int | None = None) -> Shown:
    """The tables of the protocol asked for, else of the newest; BenchError where none is of it."""
    versions = sorted({table.key.protocol_version for table in tables}, reverse=True)
    if not versions:
        return Shown([], "")
    if asked is not None and asked not in versions:
        known = " and ".join(map(str, sorted(versions)))
        raise BenchError(f"no table that fits is of protocol {asked}: those here are of protocol {known}")
    chosen = versions[0] if asked is None else asked
    older = " or ".join(f"--protocol {version}" for version in versions[1:])
    note = f"shown is protocol {chosen}; older tables are here too: see them with {older}" if older else ""
    return Shown([t for t in tables if t.key.protocol_version == chosen], "" if asked is not None else note)


def newest_protocol(records: Iterable[Record]) -> list[Record]:
    """The records of the newest protocol among these."""
    found = list(records)
    newest = max((record["spec"]["protocol_version"] for record in found), default=0)
    return [record for record in found if record["spec"]["protocol_version"] == newest]
