"""Files that can be made again, kept with a digest: what is read is what was written.

A seal is a JSON file of facts. It holds the size and the XXH3 digest of each file beside it that it stands for, and a
digest of itself. Files are hashed when a process first opens them; those above `LARGE_BYTES` only where inode, size or
times are not those of the last check, which `<seal>.checked` remembers. What fails is made anew, with a line on stderr.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import xxhash

from bench._files import put_text, remove_leftovers, tell

LARGE_BYTES: Final = 256 << 20
"""A larger file is not hashed again while it looks as at its last check."""
_DIGEST: Final = "xxh3"
_PART: Final = ".part-"
_SETTLED_NS: Final = 100_000_000
"""A file that changed later than this before its check may change again without another time."""


class Damaged(ValueError):
    """A file is not what was written; the text says which, and how that is known."""


class NotSealed(ValueError):
    """A file of an earlier version, which kept no digest."""


@dataclass(frozen=True, slots=True)
class State:
    """What a file looks like without reading it: equal states, equal content."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    is_settled: bool

    @classmethod
    def of(cls, path: Path) -> State:
        """The state of a file now; OSError where there is none."""
        found = path.stat()
        changed_ns = max(found.st_mtime_ns, found.st_ctime_ns)
        is_settled = 0 <= changed_ns <= time.time_ns() - _SETTLED_NS
        times = found.st_mtime_ns, found.st_ctime_ns
        return cls(found.st_dev, found.st_ino, found.st_size, *times, is_settled)

    @property
    def facts(self) -> list[int]:
        """The same for a note; a device may get another number when it is mounted again."""
        return [self.inode, self.size, self.mtime_ns, self.ctime_ns]


_checked: dict[tuple[str, tuple[int, ...]], str] = {}
"""What this process hashed: kind of digest and state of a file, which a new name does not change."""


def digest_of(content: bytes) -> bytes:
    """8 bytes that tell whether a content is the one that was written."""
    return xxhash.xxh3_64_digest(content)


def file_digest(path: Path, kind: Literal["xxh3", "sha256"] = "xxh3", *, again: bool = False) -> str:
    """Hex digest of a file; one process reads a file once, unless its state changed or `again`."""
    state = State.of(path)
    key = (kind, (state.device, *state.facts))
    if again or key not in _checked:
        with path.open("rb") as stream:
            made = xxhash.xxh3_128 if kind == _DIGEST else hashlib.sha256
            found = hashlib.file_digest(stream, made).hexdigest()
        if not state.is_settled or State.of(path).facts != state.facts:
            _checked.pop(key, None)
            return found
        _checked[key] = found
    return _checked[key]


def seal(path: Path, facts: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
    """Write facts, and what the files beside `path` are now; OSError where the disk refuses."""
    known = {file.name: [file.stat().st_size, file_digest(file)] for file in files}
    content = json.loads(json.dumps({**facts, "files": known}))
    put_text(path, json.dumps({**content, _DIGEST: _digest_of(content)}, indent=1))
    remove_leftovers(path.parent)


def unseal(path: Path, *, thorough: bool = False) -> dict[str, Any] | None:
    """The facts, and under `files` the size and digest of each file, after all were compared.

    None where there is no seal; `Damaged` or `NotSealed` where it cannot be used; thorough: read large files too.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError):
        raise Damaged(f"{path.name} cannot be read") from None
    if not isinstance(content, dict):
        raise Damaged(f"{path.name} is no description")
    if _DIGEST not in content:
        raise NotSealed(path.name)
    if content.pop(_DIGEST) != _digest_of(content):
        raise Damaged(f"{path.name} is not what was written")
    _check(path, content["files"], thorough=thorough)
    return content


def recall(path: Path, what: str) -> dict[str, Any] | None:
    """The facts of a seal without files; None where there is none, or where it is damaged, which is said."""
    try:
        return unseal(path)
    except NotSealed:
        return None
    except Damaged as damage:
        say_anew(what, damage)
        with contextlib.suppress(OSError):
            path.unlink()
        return None


def say_anew(what: str, damage: Damaged) -> None:
    """Tell a user that something of the cache was damaged."""
    tell(f"{what}: damaged in the cache ({damage}), so it is made anew")


@contextlib.contextmanager
def filling(path: Path, facts: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """A new folder whose files take their places beside the seal `path`, which is written last.

    All of them appear or none does; OSError where the disk refuses. Only one process may do so at a time.
    """
    for left in path.parent.glob(f"{_PART}{path.stem}-*"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{_PART}{path.stem}-", dir=path.parent))
    try:
        yield temporary
        names = sorted(file.name for file in temporary.iterdir())
        seal(temporary / path.name, facts or {}, [temporary / name for name in names])
        path.unlink(missing_ok=True)
        for name in [*names, path.name]:
            (temporary / name).replace(path.parent / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def damages(folder: Path) -> list[str]:
    """What of a folder is not what was written: every file of every seal is read."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            unseal(path, thorough=True)
        except NotSealed:
            pass  # made anew when it is next wanted
        except Damaged as damage:
            found.append(str(damage))
    return found


def _check(path: Path, files: Mapping[str, tuple[int, str]], *, thorough: bool) -> None:
    note = path.with_name(f"{path.name}.checked")
    try:
        states = {name: State.of(path.with_name(name)) for name in files}
        large = {name: state.facts for name, state in states.items() if state.size > LARGE_BYTES}
        known = recall(note, f"the last check of {path.parent.name}") if large and not thorough else None
        for name, (size, digest) in files.items():
            if states[name].size != size:
                raise Damaged(f"{name} has not the size that was written")
            if known is not None and name in large and known["states"].get(name) == large[name]:
                continue
            if file_digest(path.with_name(name), again=thorough) != digest:
                raise Damaged(f"{name} is not what was written")
    except OSError as error:
        raise Damaged(f"{Path(error.filename or path).name} cannot be read ({error.strerror})") from None
    if large and (known is None or known["states"] != large):
        settled = {name: facts for name, facts in large.items() if states[name].is_settled}
        with contextlib.suppress(OSError):  # a cache that is read-only is hashed each time
            seal(note, {"states": settled})


def _digest_of(content: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
