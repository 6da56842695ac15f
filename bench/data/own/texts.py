"""The text of a small file that a user gives beside a log: labels, incidents."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.data.reading import streams
from bench.data.reading.tables import decoded
from bench.errors import BenchError

_SHEETS: Final = (".xlsx", ".xls", ".ods", ".parquet", ".feather", ".numbers")


def require_file(path: Path, what: str) -> None:
    """Refuse a file that is not there, or holds no text."""
    if not path.is_file():
        raise BenchError(f"the {what} '{path}' does not exist or is no file: correct its name")
    if path.suffix.lower() in _SHEETS:
        raise BenchError(f"the {what} '{path}' is no text: save it as CSV")


def text_of(path: Path) -> str:
    """The text of a table; JSON is refused."""
    text = decoded(streams.content(path)).text
    start = text.lstrip()[:2]
    if start.startswith("{") or start in ("[{", '["', "[[") or (start.startswith("[") and start[1:].isspace()):
        raise BenchError(f"'{path}' is JSON: write a table with one row for each entry, such as CSV")
    return text
