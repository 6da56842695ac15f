"""Who does which cell: a claim for each run, so that commands and machines on one results folder share the work.

A claim is the file `claims/<run_id>.json`. It names its holder, appears whole, by a hard link that only one can make,
and is never written again; beats and progress stand beside it in a file of their own. So a holder that was thought
dead and wakes up overwrites nobody's claim.

Whoever removes a claim, its holder or one that takes it over from a dead holder, first makes a file named by the
claim's token, the *right* to remove it, which only one can make either. Then it looks again whether that claim still
stands. Two that see the same dead holder therefore never both get the run, nor does one that looked long ago remove a
newer claim. The right of a process that died with it in its hands is passed on by a further file, `1` after `0`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, NamedTuple, Self

from bench._files import remove_leftovers, unwritable
from bench.errors import BenchError
from bench.records.holders import Holder, Observer, new_holder, parse_holder
from bench.records.pulse import TICK_S, Pulse

STALE_S: Final = 60.0
"""A holder whose process cannot be seen is dead when its beats stand still so long, by the observer's clock."""
BEAT_S: Final = 5.0
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_TRIES: Final = 5
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without hard links answer."""
_GONE: Final = (errno.ENOENT, errno.ESTALE)


class Found(NamedTuple):
    """A claim as it stands."""

    token: str
    holder: Holder | None
    """None where the file is damaged."""


class Slot:
    """The place of one run's claim, and the files beside it."""

    def __init__(self, folder: Path, run_id: str, observer: Observer) -> None:
        self._folder = folder
        self._run_id = run_id
        self._observer = observer
        self._head = folder / f"{run_id}.json"

    def read(self) -> Found | None:
        """The claim that stands, or None."""
        return read_claim(self._head)

    def beside(self, token: str, kind: str) -> Path:
        """A file that belongs to the claim with this token."""
        return self._folder / f"{self._run_id}.{token}.{kind}"

    def is_dead(self, path: Path, found: Found) -> bool:
        """Whether nobody holds it any more; where its process cannot be seen, after some time of looking."""
        gone = found.holder.is_gone() if found.holder is not None else None
        if gone is not None:
            return gone
        try:
            beat = self.beside(found.token, "beat").read_bytes()
        except OSError:
            beat = b""
        return self._observer.stands_still(path.name, found.token.encode() + beat)

    def is_free(self) -> bool:
        """Whether nobody holds it; writes nothing."""
        found = self.read()
        return found is None or self.is_dead(self._head, found)

    def enter(self, holder: Holder) -> bool:
        """Make this holder's claim, exclusively; False where another one holds the run."""
        new = self.beside(holder.token, "new")
        try:
            new.write_bytes(holder.to_bytes())
            for _ in range(_TRIES):
                found = self.read()
                if found is None:
                    if link(new, self._head):
                        return True
                elif not self.is_dead(self._head, found):
                    return False
                elif self._take_over(found.token, new):
                    return True
            return False
        finally:
            new.unlink(missing_ok=True)

    def leave(self, token: str) -> None:
        """Remove the claim with this token, if it still stands and nobody is taking it over."""
        right = self.beside(token, "right-0")
        if self._is_claim(token) and link(self._head, right) and self._is_claim(token):
            self._head.unlink()
        self.tidy(token)

    def tidy(self, token: str) -> None:
        """Delete what lies beside a claim that stands no more: it can never stand again."""
        if not self._is_claim(token):
            for path in self._folder.glob(f"{self._run_id}.{token}.*"):
                path.unlink(missing_ok=True)

    def _is_claim(self, token: str) -> bool:
        found = self.read()
        return found is not None and found.token == token

    def _take_over(self, token: str, new: Path) -> bool:
        """Put `new` in the place of the dead claim with this token; False where another one did or does."""
        right = self._get_right(token, new)
        if right is None:
            return False
        try:
            if not self._is_claim(token):
                return False
            new.replace(self._head)
            return True
        except FileNotFoundError:  # another command has cleaned up
            return False
        finally:
            right.unlink(missing_ok=True)
            self.tidy(token)

    def _get_right(self, token: str, new: Path) -> Path | None:
        """The right to remove the claim with this token; only one living process ever has it."""
        for depth in itertools.count():
            right = self.beside(token, f"right-{depth}")
            if link(new, right):
                return right
            found = read_claim(right)
            if found is None or not self.is_dead(right, found):
                return None
        raise AssertionError


class Claim:
    """A run that this process does, until `release`; also a context that releases it."""

    def __init__(self, slot: Slot, run_id: str, holder: Holder, beat_s: float) -> None:
        self.run_id = run_id
        self.is_lost = False
        """Whether another process took it over, or its file was deleted, as far as the last renewal saw."""
        self._slot = slot
        self._holder = holder
        self._pulse = Pulse(slot.beside(holder.token, "beat"), beat_s)
        self._lock = threading.Lock()
        self._is_released = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def is_held(self) -> bool:
        """Whether the claim is still this one's, looked up now: to be asked before a record is kept."""
        try:
            found = self._slot.read()
        except OSError:
            return not self.is_lost
        self.is_lost = found is None or found.token != self._holder.token
        return not self.is_lost

    def update(self, progress: Mapping[str, Any]) -> None:
        """Say how far the run is, as `{"step": "training", "done": 3, "total": 30, "loss": 0.2}`; costs no writing."""
        self._pulse.tell({"progress": dict(progress)})

    def release(self) -> None:
        """Let others have the run; what the disk refuses leaves the claim to whoever takes it over."""
        if self._holder.pid != os.getpid():
            return  # a fork of the holder ends: the holder goes on
        with self._lock, contextlib.suppress(OSError):
            self._is_released = True
            self._slot.leave(self._holder.token)

    def renew(self) -> bool:
        """Let the claim be seen to live; False where there is nothing more to renew."""
        with self._lock:
            if self._is_released or not self.is_held():
                return False
            self._pulse.write_if_due()
            return True


class Claims:
    """The claims of this process in a results folder; use it as a context, which releases them at its end.

    It belongs into a process that stays responsive: beats come from a thread, which code that never lets other
    threads run would stop. A process that was stopped for longer than `stale_s` may lose its claims to other machines.
    A run that is not to be had is to be asked for again every few seconds, since what other machines hold is taken
    over only after it was looked at for `stale_s`; and whoever got a run looks whether its record is there by now.

    root: the folder for what can be made again, of a results folder (`Store.cache`): on the disk that all share
    """

    def __init__(self, root: Path, *, stale_s: float = STALE_S, beat_s: float = BEAT_S) -> None:
        self._folder = root / "claims"
        self._running = root / "running"
        self._beat_s = beat_s
        self._observer = Observer(stale_s)
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, run_id: str, *, what: Mapping[str, Any] = _NOTHING) -> Claim | None:
        """The claim on a run, or None where another one holds it; a folder that cannot be written is a BenchError.

        what: what `bench results status` shows: method, scenario, split, seed, cell, cells (its number and that of all)
        """
        slot = Slot(self._folder, run_id, self._observer)
        holder = new_holder(what)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (slot.is_free() and slot.enter(holder)):
                return None
        except OSError as error:
            raise self._unwritable(error) from None
        claim = Claim(slot, run_id, holder, self._beat_s)
        with self._beating() as mine:
            mine[holder.token] = claim
        return claim

    def holder(self, run_id: str) -> Holder | None:
        """Who holds a run, for messages; None where nobody does, or a damaged file does not say."""
        try:
            found = Slot(self._folder, run_id, self._observer).read()
        except OSError:
            return None
        return None if found is None else found.holder

    def report(self, *, total: int, done: int, failed: int, left_s: float | None = None) -> None:
        """Say how far this command is with all its runs, for `bench results status`.

        done: finished ones, also those that failed; left_s: estimated seconds to the end
        """
        with self._beating():
            numbers = {"total": total, "done": done, "failed": failed, "left_s": left_s}
            self._pulse.tell({**vars(self._me), **numbers})

    def remove_leftovers(self) -> None:
        """Delete what processes left that are surely gone; what other machines left is not judged."""
        try:
            self._remove_leftovers()
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Release all claims, and end the report of this command."""
        if self._pid != os.getpid():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for claim in self._mine.values():
            claim.release()
        with contextlib.suppress(OSError):
            self._pulse.path.unlink(missing_ok=True)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._me = new_holder({})
        self._pulse = Pulse(self._running / f"{self._me.token}.json", self._beat_s)
        self._mine: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def _beating(self) -> Iterator[dict[str, Claim]]:
        """What is renewed from now on; a fork starts with nothing, and with a thread of its own."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            yield self._mine
            if self._thread is None:
                self._stop.clear()
                self._thread = threading.Thread(target=self._beat, name="claims", daemon=True)
                self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(min(TICK_S, self._beat_s)):
            with self._lock:
                claims = list(self._mine.items())
            for token, claim in claims:
                if not _renewed(claim):
                    with self._lock:
                        self._mine.pop(token, None)
            if self._pulse.is_told:
                with contextlib.suppress(OSError):
                    self._running.mkdir(parents=True, exist_ok=True)
                    self._pulse.write_if_due()

    def _remove_leftovers(self) -> None:
        remove_leftovers(self._folder, self._running)
        for path in _files(self._folder):
            run_id, *rest = path.name.split(".")
            slot = Slot(self._folder, run_id, self._observer)
            found = read_claim(path)
            is_gone = found is not None and found.holder is not None and found.holder.is_gone()
            if rest == ["json"]:
                claim = self.take(run_id) if is_gone else None
                if claim is not None:
                    claim.release()
            elif rest[-1] != "new":
                slot.tidy(rest[0])
            elif is_gone or (found is not None and found.holder is None):
                path.unlink(missing_ok=True)  # whoever is just writing it finds it gone, and tries again
        for path in _files(self._running):
            found = read_claim(path)
            if found is not None and found.holder is not None and found.holder.is_gone():
                path.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> BenchError:
        return unwritable(self._folder, error)


def read_claim(path: Path) -> Found | None:
    """The claim or right in a file; None where there is none."""
    try:
        with path.open("rb") as stream:
            content, facts = stream.read(), os.fstat(stream.fileno())
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    holder = parse_holder(content)
    # A damaged file has no token of its own, but must not be mistaken for another one that is damaged later.
    damaged = f"damaged-{facts.st_ino:x}-{facts.st_mtime_ns:x}"
    return Found(damaged if holder is None else holder.token, holder)


def link(source: Path, target: Path) -> bool:
    """Let `target` appear with the content of `source`, whole; False where there is one already.

    A file system without hard links gets a file that is made exclusively and then filled: a kill in between leaves a
    damaged one, which is taken over as that of another machine is.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return _is_same(source, target)  # over a network the answer to a link that was made can get lost
    except OSError as error:
        if error.errno in _GONE:
            return False
        if error.errno not in _NO_LINKS:
            raise
        return _copy(source, target)
    return True


def _copy(source: Path, target: Path) -> bool:
    content = source.read_bytes()
    try:
        stream = target.open("xb")
    except FileExistsError:
        return False
    try:
        with stream:
            stream.write(content)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return True


def _is_same(source: Path, target: Path) -> bool:
    try:
        return source.samefile(target)
    except FileNotFoundError:
        return False


def _renewed(claim: Claim) -> bool:
    try:
        return claim.renew()
    except OSError:
        return True  # the disk is full, or away for a while: the next beat tries again


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
