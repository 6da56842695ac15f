"""Files that appear whole or not at all, and where things are kept that can be made again."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

from bench._processes import HAS_ENDED, has_ended, place, started
from bench.errors import BenchError

WAY_OUT: Final = "choose another folder or make room"
_TEMPORARY: Final = re.compile(r"\.([0-9a-f]{8})-([0-9]+)-(-?[0-9.]+)-[0-9a-f]{8}\.tmp$")
"""Ends of names that `temporary_beside` makes: place, pid, start and token."""


def cache_dir() -> Path:
    """Return `BENCH_CACHE`, else the user's cache folder; it may be deleted at any time.

    An empty XDG_CACHE_HOME or HOME counts as not set, as the specification of the first says.
    """
    if given := os.environ.get("BENCH_CACHE"):
        found = anchored(Path(given))
        # For whatever asks later, also another process: a plugin may change the folder of this one.
        os.environ["BENCH_CACHE"] = str(found)
        return found
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "mlad-bench"


def _home() -> Path:
    """The user's folder; with an empty HOME, `Path.home` is the root."""
    if os.environ.get("HOME") == "":
        with contextlib.suppress(ImportError, KeyError):  # no such thing on Windows; no entry for this user
            import pwd

            return Path(pwd.getpwuid(os.getuid()).pw_dir)
    return Path.home()


def tell(line: str) -> None:
    """Say one line on stderr: what a user should know that is no error; libraries print nothing else."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


_typed: dict[str, str] = {}


def anchored(path: Path) -> Path:
    """The absolute path, so that it stays where it is when a plugin changes the folder of this process.

    Messages show it as it was typed, by `as_typed`.
    """
    found = path.absolute()
    if found != path:
        _typed[str(found)] = str(path)
    return found


def as_typed(text: str) -> str:
    """A text in which anchored paths stand as whoever gave them wrote them."""
    for found, given in sorted(_typed.items(), key=lambda pair: -len(pair[0])):
        pattern = rf"(?<![\w/]){re.escape(found)}(?![\w.-])"
        text = re.sub(pattern, given.replace("\\", "\\\\"), text)
    return text


def put(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, sync it, and rename it; an OSError passes through.

    write: called with the temporary path, which it creates
    """
    temporary = temporary_beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(temporary)
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def put_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file that appears whole or not at all; an OSError passes through."""
    put(path, lambda temporary: temporary.write_bytes(text.encode()))


def replace_file(path: Path, write: Callable[[Path], object], *, way_out: str = WAY_OUT) -> None:
    """As `put`; what the disk refuses is a BenchError."""
    try:
        put(path, write)
    except OSError as error:
        raise unwritable(path, error, way_out) from None


def replace_text(path: Path, text: str, *, way_out: str = WAY_OUT) -> None:
    """Write a UTF-8 text file that appears whole or not at all; what the disk refuses is a BenchError."""
    replace_file(path, lambda temporary: temporary.write_bytes(text.encode()), way_out=way_out)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream that takes the place of a file of a data folder once it is whole; no folder above it is made."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as stream:
            temporary = Path(stream.name)
            yield stream
        temporary.chmod(0o644)
        sync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise BenchError(
            f"{path} cannot be written ({error.strerror}): make room, or use another data folder"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Let the disk hold what was written, so that after a power cut a renamed file is not empty."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def unwritable(path: Path, error: OSError, way_out: str = WAY_OUT) -> BenchError:
    """What to tell a user whose disk is full or closed."""
    return BenchError(f"'{path}' cannot be written ({error.strerror or error}): {way_out}")


def temporary_beside(path: Path) -> Path:
    """A name beside a file that nobody else uses: no other thread, process or machine on a shared folder.

    It says who uses it, so that what a killed process left is known as such.
    """
    pid = os.getpid()
    since = started(pid)
    who = f"{place()}-{pid}-{HAS_ENDED if since is None else since:.2f}-{secrets.token_hex(4)}"
    return path.with_name(f"{path.name}.{who}.tmp")


def remove_leftovers(*folders: Path) -> None:
    """Delete temporary files of processes of this machine that were killed while writing and are gone.

    What other machines left is not judged: nobody sees from here whether they still write.
    """
    for folder in folders:
        for path in folder.glob("*.tmp"):
            if _is_left(path):
                with contextlib.suppress(OSError):  # it does no harm, and the folder may be read-only
                    path.unlink()


def _is_left(path: Path) -> bool:
    found = _TEMPORARY.search(path.name)
    return found is not None and found[1] == place() and has_ended(int(found[2]), float(found[3])) is True
