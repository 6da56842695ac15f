"""Files of a data folder that appear whole or not at all, and values as TOML."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bench.errors import BenchError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` only when it is whole; what cannot be written is a BenchError."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as stream:
            temporary = Path(stream.name)
            yield stream
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise BenchError(
            f"{path} cannot be written ({error.strerror}): make room, or use another data folder"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    with replacing(path) as stream:
        stream.write(text.encode())


def toml_string(value: Any) -> str:
    """A string as TOML, as it is where that can be."""
    is_literal = isinstance(value, str) and "'" not in value and value.isprintable()
    return f"'{value}'" if is_literal else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
