"""`bench data fetch` as a user sees it; interrupts and a full disk in processes of their own."""

import hashlib
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.fetching.fetch import downloadable

N_LINES = 1500
ROOM = 64 * 1024
"""Bytes a file may have in the process that finds the disk full; the archive has more."""


@pytest.fixture
def start():
    """Start `bench data fetch app` in a process of its own."""
    processes = []

    def run(data, **options):
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", "data", "fetch", "app", "--data", str(data)],
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()


def test_fetch_then_info_and_verify(call, web, offered):
    data = offered()
    code, out, err = call("data", "fetch", "app", "--data", data)
    assert (code, err) == (0, "")
    terms, done = out.split("app@full is fetched")
    assert f"{web.url}/app.zip" in terms
    assert "CC-BY-4.0" in terms
    assert "A. Nobody 2001" in terms
    assert hashlib.sha256((data / "app/app.log").read_bytes()).hexdigest() in done
    assert call("data", "info", "app", "--data", data)[0] == 0
    assert call("data", "verify", "app", "--data", data)[1] == "app@full: ok\n"


@pytest.mark.parametrize("name", ["bgl", "hdfs"])
def test_the_two_lines_to_a_full_log_can_be_typed(call, tmp_path, name):
    """As docs/scaling.md has them: an edition that can be fetched, and a run that lacks nothing but its file."""
    page = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text(encoding="utf-8")
    fetches, runs = (
        [line for line in page.splitlines() if line.startswith(f"bench {verb} ") and f" {name}@full " in line]
        for verb in ("data fetch", "run")
    )
    assert (len(fetches), len(runs)) == (1, 1)
    assert downloadable(catalogue(), shlex.split(fetches[0])[3]).key == f"{name}@full"
    (tmp_path / "logs").mkdir()
    code, _, err = call(*shlex.split(runs[0])[1:], "--plan")
    assert code == 2
    assert f"fetch it with `bench data fetch {name}@full`" in err


def test_already_there(call, web, offered, monkeypatch):
    data = offered()
    call("data", "fetch", "app", "--data", data)
    monkeypatch.setenv("BENCH_DATA", str(data))
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    code, out, err = call("data", "fetch", "app@full")
    assert (code, err) == (0, "")
    assert out.startswith("app@full is already there and intact")
    assert "licence" not in out
    assert len(web.requests) == 1


def test_json(call, web, offered):
    data = offered()
    code, out, err = call("data", "fetch", "app", "--data", data, "--json")
    assert code == 0
    assert "licence   CC-BY-4.0" in err
    content = (data / "app/app.log").read_bytes()
    assert json.loads(out) == {
        "edition": "app@full",
        "status": "fetched",
        "url": f"{web.url}/app.zip",
        "archive": f"md5:{hashlib.md5(web.files['/app.zip']).hexdigest()}",
        "licence": "CC-BY-4.0",
        "citation": "A. Nobody 2001",
        "files": [
            {
                "name": "app/app.log",
                "role": "log",
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
            }
        ],
    }
    code, out, err = call("data", "fetch", "app", "--data", data, "--json")
    assert (code, err, json.loads(out)["status"]) == (0, "", "already there")


def test_terms_are_shown_before_the_download_starts(call, web, offered):
    web.always["/app.zip"] = {"status": 404}
    code, out, err = call("data", "fetch", "app", "--data", offered())
    assert code == 2
    assert "licence   CC-BY-4.0" in out
    assert (
        err == f"error: '{web.url}/app.zip' answers HTTP 404: look whether it has moved, and correct the card's url\n"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("bgl",), "set BENCH_DATA or give --data DIR"),
        (("bgl@stream-a",), "'bgl/stream_a.csv.gz' takes more than declared steps (`bench audit data bgl@stream-a`"),
        (("liberty",), "no edition of 'liberty' can be downloaded"),
        (("bgk",), "unknown data set 'bgk'"),
        (("bgl@",), "'bgl@'"),
        (("bgl", "--data", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_fetched(call, web, arguments, expected):
    code, _, err = call("data", "fetch", *arguments)
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1
    assert web.requests == []


def test_offline(call, web, offered, monkeypatch):
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    code, _, err = call("data", "fetch", "app", "--data", offered())
    assert code == 2
    assert "BENCH_OFFLINE is set" in err
    assert web.requests == []


def test_verify_hashes_a_fetched_file_in_full(call, offered):
    data = offered()
    call("data", "fetch", "app", "--data", data)
    path = data / "app/app.log"
    times = path.stat().st_mtime_ns
    path.write_bytes(b"?" + path.read_bytes()[1:])
    os.utime(path, ns=(times, times))
    code, out, _ = call("data", "verify", "app", "--data", data)
    assert code == 1
    assert "wrong checksum" in out


def test_a_folder_that_cannot_be_made(call, web, offered):
    data = offered(files={"app.log": "app/full.toml/app.log"})
    code, _, err = call("data", "fetch", "app", "--data", data)
    assert code == 2
    assert "cannot be written" in err
    assert web.requests == []


def test_ctrl_c_keeps_the_part_and_the_next_fetch_goes_on(start, web, offered):
    data = offered()
    archive = web.files["/app.zip"]
    web.script["/app.zip"] = [{"cut": 60_000, "stalls": True}]
    process = start(data)
    part = data / "app/app.zip.part"
    deadline = time.monotonic() + 20
    while not (part.is_file() and part.stat().st_size > 40_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    kept = part.read_bytes()
    assert archive.startswith(kept)
    assert len(kept) > 40_000
    process = start(data)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert "app@full is fetched" in out
    assert web.ranges() == [None, f"bytes={len(kept)}-"]
    assert not part.exists()
    assert len((data / "app/app.log").read_bytes().splitlines()) == N_LINES


def too_little_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


@pytest.mark.parametrize("while_doing", ["download", "unpacking"])
def test_a_full_disk_is_one_sentence(start, web, offered, tmp_path, while_doing):
    archive = None
    if while_doing == "unpacking":
        with zipfile.ZipFile(tmp_path / "small.zip", "w", zipfile.ZIP_DEFLATED) as small:
            small.writestr("app.log", b"- a line\n" * N_LINES * 10)
        archive = (tmp_path / "small.zip").read_bytes()
    data = offered(archive)
    process = start(data, preexec_fn=too_little_room)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.startswith("error: no room for 'app.")
    assert err.count("\n") == 1
    left = sorted(path.name for path in (data / "app").iterdir() if path.suffix != ".toml")
    assert left == (["app.zip.part", "app.zip.part.json"] if while_doing == "download" else ["app.zip"])
    process = start(data)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert web.ranges() == ([None, f"bytes={ROOM}-"] if while_doing == "download" else [None])
