"""A real HTTP server on 127.0.0.1 that behaves badly on request, and cards whose archives it serves."""

import contextlib
import hashlib
import http.server
import io
import random
import re
import socket
import threading
import zipfile

import pytest

LOG = "".join(
    f"- {i} {random.Random(i).getrandbits(400):x} step\n" if i % 7 else f"BAD {i} failed\n" for i in range(1500)
).encode()
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


def zipped(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


class Web:
    """`files`: what is served; `script`: how the next requests of a path are answered, one dict each; `always`: all."""

    def __init__(self):
        self.files, self.script, self.always, self.requests = {}, {}, {}, []
        self.closing = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                with contextlib.suppress(OSError):
                    self.answer(handler)

            def log_message(handler, *ignored):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler):
        self.requests.append((handler.path, dict(handler.headers)))
        # As a proxy it is asked for http://host/path.
        path = re.sub("^http://[^/]*", "", handler.path)
        planned = self.script.get(path)
        how = planned.pop(0) if planned else self.always.get(path, {})
        if "status" in how:
            handler.send_response(how["status"])
            for name, value in how.get("headers", {}).items():
                handler.send_header(name, value)
            handler.end_headers()
        else:
            self.serve(handler, self.files[path], **how)

    def serve(  # how a file is sent; every argument is a way to misbehave
        self,
        handler,
        content,
        *,
        etag='"v1"',
        ranges=True,
        obeys_if_range=True,
        content_range=None,
        announce=0,
        cut=None,
        stalls=False,
        has_length=True,
    ):
        start = 0
        asked = re.fullmatch("bytes=([0-9]+)-", handler.headers.get("Range", ""))
        if ranges and asked and (handler.headers.get("If-Range", etag) == etag or not obeys_if_range):
            start = int(asked[1])
        if start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", content_range or f"bytes {start}-{len(content) - 1}/{len(content)}")
        if ranges and etag:
            handler.send_header("ETag", etag)
        if has_length:
            handler.send_header("Content-Length", str(len(content) - start + announce))
        handler.end_headers()
        handler.wfile.write(content[start:][:cut])
        if stalls:
            handler.wfile.flush()
            self.closing.wait(20)

    def ranges(self):
        """The Range of each request, None where there was none."""
        return [headers.get("Range") for _, headers in self.requests]


@pytest.fixture
def web(monkeypatch):
    """The server; while it runs, a connection of this process to any other address fails the test."""
    made = Web()
    connect = socket.create_connection

    def only_here(address, *arguments, **options):
        assert address[0] == "127.0.0.1", f"a connection to {address}"
        return connect(address, *arguments, **options)

    monkeypatch.setattr(socket, "create_connection", only_here)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("BENCH_OFFLINE", raising=False)
    yield made
    made.closing.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def offered(web, tmp_path):
    """Write a card whose archive the server offers; returns the data folder.

    files: {name in the archive: name in the data folder}; further fields go into `[download]`.
    """
    data = tmp_path / "data"

    def offer(
        archive=None, *, name="app.zip", files=None, max_bytes=1_000_000, tier="smoke", edition="full", url="", **fields
    ):
        archive = zipped([("app.log", LOG)]) if archive is None else archive
        web.files[f"/{name}"] = archive
        folder = data / "app"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "_system.toml").write_text(
            'title = "An application"\nlicence = "CC-BY-4.0"\ncitation = "A. Nobody 2001"\nkind = "lines"\n'
            f'tier = "{tier}"\nrank = 10\n[format]\nlabel = "first-token"\n'
        )
        checksum = {"md5": hashlib.md5(archive).hexdigest()} if not {"md5", "sha256"} & fields.keys() else {}
        rows = {"url": url or f"{web.url}/{name}"} | checksum | fields
        text = "[download]\n" + "".join(
            f"{key} = {value!r}\n".replace("'", '"') for key, value in rows.items() if value is not None
        )
        for member, target in (files or {"app.log": "app/app.log"}).items():
            text += f'[[files]]\nname = "{target}"\nmember = "{member}"\nmax_bytes = {max_bytes}\n'
            text += 'role = "labels"\n' if target.endswith(".csv") else ""
        (folder / f"{edition}.toml").write_text(f"{text}[counts]\nlines = 1500\n")
        return data

    return offer
