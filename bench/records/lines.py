"""A record as one line of an archive: what many records share is a hash, a repeated number stands once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from bench.errors import BenchError
from bench.records.facts import Facts
from bench.records.record import (
    Record,
    parse_object,
    record_digest,
    require_shape,
    require_version,
    split_curves,
)

WAY_OUT: Final = "restore the file from git, or delete the line and run it again"
ROLES: Final = ("train", "test")
_SHARED: Final = {"counts": "counts", "environment": "environment"}
_NUMBERS: Final = (float, int)
_NO_VECTORS: Final = frozenset({"levels", "n", "rules"})


def to_line(record: Record, facts: Facts) -> str:
    """The line of a plain record without its curves; it is read back first, so that nothing can be lost."""
    slim, _ = split_curves(record)
    for name, kind in _SHARED.items():
        if isinstance(slim.get(name), dict):
            slim[name] = facts.keep(kind, slim[name])
    spec = dict(slim["spec"])
    for role in ROLES:
        spec[role] = [facts.keep("edition", part) for part in spec[role]]
    slim["spec"] = spec
    if "metrics" in slim:
        slim["metrics"] = {name: _folded(block) for name, block in slim["metrics"].items()}
    run_id = slim.pop("run_id")
    rest = json.dumps(slim, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    line = f'{{"run_id":{json.dumps(run_id)},{rest[1:]}'
    if record_digest(to_record(line, facts, run_id)) != record["digest"]:
        raise BenchError(f"the record {run_id} would not be read back from the archive as it is: leave it in the inbox")
    return line


def to_record(line: str, facts: Facts, where: str) -> Record:
    """The record of a line, without its curves; parts that records share are the same objects.

    where: how an error calls the line
    """
    return from_content(parse_object(line, where, WAY_OUT), facts, where)


def from_content(content: dict[str, Any], facts: Facts, where: str) -> Record:
    """As `to_record`, of a line that is parsed already; it becomes the record."""
    record = require_version(content, where)
    try:
        unfolded = _unfolded(record, facts, where)
    except (KeyError, TypeError, AttributeError):
        raise BenchError(f"{where} is damaged (no record of a run): {WAY_OUT}") from None
    return require_shape(unfolded, where, WAY_OUT)


def _unfolded(record: Record, facts: Facts, where: str) -> Record:
    fields: dict[str, Any] = record  # type: ignore[assignment]  # by names that are no literals
    for name in _SHARED:
        if isinstance(fields.get(name), str):
            fields[name] = facts.get(fields[name], where)
    for role in ROLES:
        record["spec"][role] = [facts.get(identity, where) for identity in record["spec"][role]]
    for block in record.get("metrics", {}).values():
        _unfold(block)
    return record


def _folded(block: dict[str, Any]) -> dict[str, Any]:
    """A metric block whose quantile vectors are one number each where all of it is that number."""
    spread = block.get("bootstrap")
    if not isinstance(spread, dict) or not isinstance(spread.get("levels"), list):
        return block
    size = len(spread["levels"])
    found = _mapped(spread, lambda values: _one_number(values, size))
    return {**block, "bootstrap": found}


def _mapped(spread: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    changed = {name: v if name in _NO_VECTORS else change(v) for name, v in spread.items()}
    if isinstance(spread.get("rules"), dict):
        changed["rules"] = {rule: _each(values, change) for rule, values in spread["rules"].items()}
    return changed


def _each(values: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: change(value) for name, value in values.items()}


def _one_number(values: Any, size: int) -> Any:
    # By their text: 0.0 and -0.0, 1 and 1.0 are equal, and would not be read back as they were.
    is_vector = isinstance(values, list) and len(values) == size and size > 0
    if is_vector and isinstance(values[0], int | float) and len(set(map(repr, values))) == 1:
        return values[0]
    return values


def _unfold(block: dict[str, Any]) -> None:
    spread = block.get("bootstrap")
    if not isinstance(spread, dict) or not isinstance(spread.get("levels"), list):
        return
    size = len(spread["levels"])
    for values in (spread, *spread.get("rules", {}).values()):
        for name, value in values.items():
            if type(value) in _NUMBERS and name not in _NO_VECTORS:
                values[name] = [value] * size
