"""Plain JSON of what methods and runs say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def jsonable(value: Any) -> Any:
    """Plain JSON of a value: arrays become lists, NaN null, an infinite number its name; else a TypeError."""
    if isinstance(value, Mapping):
        return {_text(str(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, np.generic | np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} cannot be kept in a record")
    return value


def _text(text: str) -> str:
    """A text that UTF-8 can hold: half of a pair of surrogates, as from a file name, is written out."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
