"""One file over HTTP: resumed after cuts, bounded in waiting, in size and in redirects, and verified before it is used.

While it comes in, the file is called `<name>.part`; `<name>.part.json` beside it keeps what the server said of the
version (ETag, date, length), so that bytes of two versions are never joined.
"""

from __future__ import annotations

import email.message
import errno
import hashlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, NoReturn
from urllib.parse import urljoin, urlsplit

from bench._files import put_text
from bench.data.cards.fetched import Download
from bench.errors import BenchError

Report = Callable[[str, int, int], None]
"""What is being done, bytes done, bytes in all (0: unknown)."""

CHUNK_BYTES: Final = 1 << 18
MAX_REDIRECTS: Final = 5
_PROGRESS_BYTES: Final = 1 << 20
"""An attempt that brought this much does not count as failed: a long download may be cut often."""
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORTH_A_RETRY: Final = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for; all times in seconds."""

    stall_s: float = 30.0
    """Without a byte for this long, the connection is given up."""
    attempts: int = 5
    """Failed attempts in a row."""
    pause_s: float = 1.0
    """Before the second attempt; doubled before each further one."""
    longest_pause_s: float = 30.0


@dataclass(frozen=True)
class _Version:
    """Which version of the file a server sends; `total` in bytes, 0 when it does not say."""

    url: str
    etag: str = ""
    modified: str = ""
    total: int = 0

    @property
    def validator(self) -> str:
        """What If-Range may hold: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def is_other_than(self, other: _Version) -> bool:
        """Whether the two cannot be one version."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.total, other.total))
        return any(a and b and a != b for a, b in pairs)


class _TransientError(Exception):
    """A failure after which another attempt may succeed."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS
    max_repeats = 1

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        target = urljoin(req.full_url, newurl)
        before, after = urlsplit(req.full_url).scheme, urlsplit(target).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise BenchError(f"'{req.full_url}' redirects to '{target}': refused, only http and https are followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    source: Download, target: Path, *, limit: int, patience: Patience | None = None, report: Report | None = None
) -> Path:
    """Load `source` to `target`, going on from what an earlier call left; at most `limit` bytes are accepted."""
    _Transfer(source, target, limit, patience or Patience(), report or (lambda what, done, total: None)).run()
    return target


def has_checksum(path: Path, source: Download) -> bool:
    """Whether the file is the archive that the card describes."""
    algorithm, _, expected = source.checksum.partition(":")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    return found == expected


def no_room(path: Path, error: OSError) -> BenchError:
    """The sentence for a file that cannot be written."""
    if error.errno in _NO_ROOM:
        return BenchError(
            f"no room for '{path.name}' in {path.parent} ({error.strerror}): free some and run the same command again"
        )
    return BenchError(f"'{path}' cannot be written ({error.strerror or error}): give another folder with --data")


class _Transfer:
    """The state of one download."""

    def __init__(self, source: Download, target: Path, limit: int, patience: Patience, report: Report) -> None:
        self._source, self._target, self._patience, self._report = source, target, patience, report
        self._limit = source.bytes or limit
        self._part = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._opener = _opener()

    def run(self) -> None:
        failures = 0
        while True:
            before = self._done()
            try:
                self._attempt(before)
                break
            except _TransientError as error:
                failures = 1 if self._done() - before >= _PROGRESS_BYTES else failures + 1
                if failures >= self._patience.attempts:
                    raise BenchError(
                        f"'{self._source.url}' could not be loaded in {failures} attempts ({error}; "
                        f"{self._done():,} bytes are kept): run the same command again to go on from there"
                    ) from None
                pause_s = max(self._patience.pause_s * 2 ** (failures - 1), error.pause_s)
                time.sleep(min(pause_s, self._patience.longest_pause_s))
        self._finish()

    def _attempt(self, done: int) -> None:
        version = self._read_note() if done else None
        if version is None and done:
            self._discard()
            done = 0
        if version is not None and version.total == done > 0:
            return
        with self._open(done, version) as response:
            if response.status == http.HTTPStatus.PARTIAL_CONTENT:
                total = self._require_range(response.headers, done)
                found = _version(self._source.url, response.headers, total)
                if version is not None and version.is_other_than(found):
                    self._discard()
                    raise _TransientError("the file on the server changed meanwhile")
            else:
                done = 0
                total = _length(response.headers)
                found = _version(self._source.url, response.headers, total)
            self._require_total(total)
            self._receive(response, done, total, found)

    def _open(self, done: int, version: _Version | None) -> Any:
        headers = {"User-Agent": "mlad-bench", "Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
            if version is not None and version.validator:
                headers["If-Range"] = version.validator
        request = urllib.request.Request(self._source.url, headers=headers)
        try:
            return self._opener.open(request, timeout=self._patience.stall_s)
        except urllib.error.HTTPError as error:
            error.close()
            self._refused(error)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise BenchError(
                    f"the certificate of '{self._source.url}' cannot be verified ({error.reason.verify_message}): "
                    "correct the machine's certificates or clock"
                ) from None
            raise _TransientError(_reason(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _TransientError(_reason(error)) from None

    def _refused(self, error: urllib.error.HTTPError) -> NoReturn:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._done():
            self._discard()
            raise _TransientError("the file on the server became shorter")
        if error.code in _WORTH_A_RETRY:
            wait = error.headers.get("Retry-After", "")
            raise _TransientError(f"HTTP {error.code}", float(wait) if wait.isascii() and wait.isdigit() else 0.0)
        if 300 <= error.code < 400:
            raise BenchError(
                f"'{self._source.url}' redirects more than {MAX_REDIRECTS} times or to no address of http or https: "
                "correct the card's url"
            )
        raise BenchError(
            f"'{self._source.url}' answers HTTP {error.code}: look whether it has moved, and correct the card's url"
        )

    def _require_range(self, headers: email.message.Message, done: int) -> int:
        """Total size in bytes, from a Content-Range that continues exactly where the part ends."""
        text = headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", text)
        if match is not None and done and int(match[1]) == done <= int(match[2]):
            length, span = _length(headers), int(match[2]) - done + 1
            total = int(match[3]) if match[3] != "*" else 0
            if length in (0, span) and (not total or int(match[2]) < total):
                return total
        self._discard()
        raise BenchError(
            f"'{self._source.url}' was asked for bytes {done}- and answers with the range '{text}': run the same "
            "command again to load it from the start"
        )

    def _require_total(self, total: int) -> None:
        if self._source.bytes and total not in (0, self._source.bytes):
            self._discard()
            raise BenchError(
                f"'{self._source.url}' announces {total:,} bytes, the card says {self._source.bytes:,}: "
                "it is another version; correct the card"
            )
        if total > self._limit:
            self._too_much(total)

    def _receive(self, response: Any, done: int, total: int, version: _Version) -> None:
        mode = "ab" if done else "wb"
        try:
            with self._part.open(mode) as stream:
                if mode == "wb":
                    # After the part was cut to nothing: no old bytes ever stand beside a new version's note.
                    self._write_note(version)
                while chunk := _read(response):
                    done += len(chunk)
                    if done > (total or self._limit):
                        break
                    stream.write(chunk)
                    self._report("download", done, total)
        except OSError as error:
            raise no_room(self._part, error) from None
        if done > (total or self._limit):
            self._too_much(done)
        expected = total or self._source.bytes
        if expected and done < expected:
            raise _TransientError(f"the connection ended after {done:,} of {expected:,} announced bytes")

    def _too_much(self, found: int) -> NoReturn:
        self._discard()
        raise BenchError(
            f"'{self._source.url}' sends {found:,} bytes or more, at most {self._limit:,} were expected: it is not the "
            "file that the card describes; correct the card"
        )

    def _finish(self) -> None:
        self._report("verify", 0, 0)
        size = self._done()
        if not has_checksum(self._part, self._source):
            self._discard()
            raise BenchError(
                f"'{self._source.url}' sent {size:,} bytes with the wrong checksum (expected {self._source.checksum}), "
                "now deleted: run the same command again; if that fails too, the file or the card has changed"
            )
        try:
            self._part.replace(self._target)
        except OSError as error:
            raise no_room(self._target, error) from None
        self._note.unlink(missing_ok=True)

    def _done(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _write_note(self, version: _Version) -> None:
        put_text(self._note, json.dumps(asdict(version)))

    def _read_note(self) -> _Version | None:
        """The version of the part; None when it is of another address or unknown."""
        try:
            version = _Version(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return version if version.url == self._source.url else None


def _opener() -> urllib.request.OpenerDirector:
    """Only http and https, through the proxies of the environment; no file:, ftp: or data: addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _read(response: Any) -> bytes:
    try:
        # read1 hands over what has come, so that a cut loses nothing that arrived before it.
        chunk: bytes = response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(_reason(error)) from None
    return chunk


def _version(url: str, headers: email.message.Message, total: int) -> _Version:
    return _Version(url, headers.get("ETag", ""), headers.get("Last-Modified", ""), total)


def _length(headers: email.message.Message) -> int:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
