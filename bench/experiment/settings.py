"""What stands behind --set, --seeds and --threshold: text becomes values here, and nowhere else."""

from __future__ import annotations

import decimal
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from bench.errors import BenchError, choose_one
from bench.registry import Description, DetectorRef, FieldInfo

if TYPE_CHECKING:  # it imports numpy, and every command reads this file
    from bench.evaluation.thresholds import ThresholdRule

MAX_RANGE: Final = 1000
"""Values of one swept setting, or seeds, at most: more is a slip of the pen."""
MAX_SEED: Final = 2**32 - 1
"""The largest that numpy and torch both take."""


def parse_settings(settings: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """`mlad.alpha=1.0:1.6:0.1` -> {"mlad": {"alpha": ["1.0", ..., "1.6"]}}; commas and ranges give several values."""
    parsed: dict[str, dict[str, list[str]]] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        method, dot, key = path.rpartition(".")
        if not (equals and dot and method and key):
            raise BenchError(f"--set {setting} cannot be read: write it as method.key=value, e.g. mlad.alpha=1.3")
        parsed.setdefault(method, {})[key] = _values(text, setting)
    return parsed


def parse_seeds(text: str) -> list[int]:
    """`3` -> [0, 1, 2];  `3,7` -> [3, 7];  `7,` -> [7]."""
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        seeds = []
    if "," not in text and seeds and seeds[0] > MAX_RANGE:
        raise BenchError(f"--seeds {_short(text)} are more than {MAX_RANGE} runs of each method: give fewer")
    if seeds and max(seeds) > MAX_SEED:
        raise BenchError(f"--seeds {_short(text)}: a seed is a number from 0 to {MAX_SEED}")
    if "," not in text and seeds and seeds[0] > 0:
        return list(range(seeds[0]))
    if "," not in text or not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise BenchError(f"--seeds {text} cannot be read: write 5 for seeds 0 to 4, or 3,7 for those two")
    return seeds


def read_rule(text: str) -> ThresholdRule:
    """A threshold rule as a user writes it; a kind that there is not is told with the nearest."""
    from bench.evaluation.thresholds import Kind, Population, parse_rule

    body, at, population = text.strip().partition("@")
    kind = body.partition(":")[0]
    if kind not in get_args(Kind):
        meant = choose_one(kind, get_args(Kind), more=", as in conformal:0.01")
        raise BenchError(f"threshold rule '{text}' is not known: {meant}")
    if at and population not in get_args(Population):
        raise BenchError(
            f"threshold rule '{text}': '@{population}' is not known: {choose_one(population, get_args(Population))}"
        )
    return parse_rule(text)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _values(text: str, setting: str) -> list[str]:
    if text.startswith(("[", "{", '"')):
        return [text]
    parts = text.split(":")
    if len(parts) != 3:
        return text.split(",")
    try:
        start, stop, step = (decimal.Decimal(part) for part in parts)
    except decimal.InvalidOperation:
        return [text]
    finite = start.is_finite() and stop.is_finite() and step.is_finite()
    if not finite or step <= 0 or stop < start:
        raise BenchError(
            f"--set {setting} is an empty range: write start:stop:step with a positive step, stop included"
        )
    if (stop - start) / step >= MAX_RANGE:
        raise BenchError(f"--set {setting} has more than {MAX_RANGE} values: choose a larger step")
    return [str(start + step * i) for i in range(int((stop - start) / step) + 1)]


def convert(ref: DetectorRef, key: str, text: str, description: Description) -> Any:
    """The value of `--set`'s text for one field of a Config; what does not fit is a BenchError."""
    info = description.fields.get(key)
    if info is None:
        known = description.fields
        has = choose_one(key, known) if known else "it has none, so leave it out"
        raise BenchError(f"'{ref.name}' has no setting '{key}': {has}")
    if info.optional and text.lower() in ("none", "null"):
        return None
    try:
        value = _by_kind(info, text)
    except ValueError:
        raise BenchError(f"--set {ref.name}.{key}={text}: '{text}' is no {_kind_name(info)}") from None
    if info.choices and value not in info.choices:
        raise BenchError(f"--set {ref.name}.{key}={text}: {choose_one(text, map(str, info.choices))}")
    return value


def _by_kind(info: FieldInfo, text: str) -> Any:
    if info.kind == "bool":
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    if info.kind == "int":
        return int(text)
    if info.kind == "float":
        return _finite(text)
    if info.kind == "any":
        return _json_or_text(text)
    if info.kind == "json":
        return json.loads(text)
    return unquoted(text) if info.kind == "str" else text


def quoted(text: str) -> str:
    """A text as `--set` takes it for one value: in quotation marks where it would be several values, or lose some."""
    is_several = "," in text or text.count(":") == 2
    return json.dumps(text) if is_several or text.startswith('"') else text


def unquoted(text: str) -> str:
    """A text that stands in quotation marks, as JSON has it; any other as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False}.get(text, text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _kind_name(info: FieldInfo) -> str:
    names = {"int": "whole number", "float": "finite number", "bool": "true or false", "json": "JSON value"}
    return names.get(info.kind, "text")
