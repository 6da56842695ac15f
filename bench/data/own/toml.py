"""Values as TOML, as readable as they can be."""

from __future__ import annotations

import json
from typing import Any


def toml_string(value: Any) -> str:
    """A string as TOML, as it is where that can be."""
    is_literal = isinstance(value, str) and "'" not in value and value.isprintable()
    return f"'{value}'" if is_literal else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
