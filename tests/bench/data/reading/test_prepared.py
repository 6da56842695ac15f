"""Prepared editions: what is opened is what was read, whole, and prepared by one process however many want it."""

import gzip
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench._files import cache_dir
from bench.data.cards.catalogue import catalogue
from bench.data.reading import prepared
from bench.data.reading.columns import DTYPES
from bench.data.reading.prepared import forget, is_prepared, open_prepared, prepared_folder
from bench.data.reading.read import read
from bench.errors import BenchError

EPOCH = {"label": "first-token", "header": "^(?P<time>[0-9.]+) (?P<message>.*)$", "time": "epoch"}
BLOCKS = {"label": "label-file", "session": "b[0-9]+", "label_key": "id", "label_value": "state", "normal": "ok"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


ODD = b"- 1 up 7\nBAD 2 caf\xff\nBAD2 3 \0\nno header\n- 9 up 8\n- 4 up\r\n"
KINDS = {
    "lines": ({"a.log": ODD, "b.log.gz": gzip.compress(b"- 5 \xe2\x82\xac\n", mtime=0)}, {"format": EPOCH}),
    "sessions": (
        {"a.log": b"b1 x\nb2 b1\n", "b.log": b"b1 y\nb3\n", ("l.csv", "labels"): b"id,state\nb1,ok\nb2,odd\nb9,ok\n"},
        {"format": BLOCKS},
    ),
    "id-stream": ({("e.csv", "events"): b"event_id,label\n5,0\n7,1\n5,\n"}, {"kind": "id-stream"}),
    "id-sessions": ({("s.npz", "sessions"): npz(X=[[3, 7, 0], [0, 0, 0]], y=[0, 1])}, {"kind": "id-sessions"}),
}


@pytest.fixture(params=[*KINDS, "a slice", "simulated"])
def edition(request, own_system):
    """A card of each kind and its catalogue."""
    if request.param == "simulated":
        return catalogue().resolve("hdfs@simulated"), catalogue()
    files, fields = KINDS["lines" if request.param == "a slice" else request.param]
    found = own_system(files, parser={"masks": ["[0-9]+"]}, **fields)
    return found.resolve("app@mine.lines-1-5" if request.param == "a slice" else "app@mine"), found


@pytest.fixture
def small(own_system):
    found = own_system({"a.log": ODD}, format=EPOCH)
    return found.resolve("app"), found


def same(one, other):
    for name in DTYPES:
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype == DTYPES[name]
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
    for name in ("messages", "session_ids"):
        assert tuple(getattr(one, name)) == tuple(getattr(other, name))
    for name in ("defects", "notes", "alerts", "is_parsed", "defective_share"):
        assert getattr(one, name) == getattr(other, name)
    return True


def test_what_is_opened_is_what_was_read(edition):
    assert not is_prepared(edition[0])
    for _ in range(2):
        assert same(open_prepared(*edition), read(*edition))
    assert is_prepared(edition[0])


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({("e.csv", "events"): b"event_id,label\n"}, "id-stream"),
        ({("s.npz", "sessions"): npz(X=[[0, 0]], y=[0])}, "id-sessions"),
        ({"a.log": b""}, "lines"),
    ],
)
def test_an_edition_without_any_event(own_system, files, kind):
    found = own_system(files, kind=kind)
    with pytest.raises(BenchError, match="'app@mine' holds no "):
        open_prepared(found.resolve("app"), found)


def test_arrays_are_mapped_and_cannot_be_written(edition):
    log = open_prepared(*edition)
    for name in ("message_ids", "labels", "times"):
        array = getattr(log, name)
        assert isinstance(array.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_it_is_read_once(edition, monkeypatch):
    open_prepared(*edition)
    monkeypatch.setattr(prepared, "read", lambda *given: pytest.fail("read again"))
    open_prepared(*edition)


def test_forgotten_and_made_anew(small):
    open_prepared(*small)
    forget(small[0])
    assert not is_prepared(small[0])
    assert same(open_prepared(*small), read(*small))


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("what", ["truncate", "remove", "empty", "grow"])
@pytest.mark.parametrize("name", ["message_ids.bin", "times.bin", "messages.arrow", "log.json", "file_starts.bin"])
def test_a_folder_that_is_not_whole_is_made_anew(small, name, what):
    open_prepared(*small)
    folder = prepared_folder(small[0])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    path = folder / name
    match what:
        case "truncate":
            path.write_bytes(before[name][:-1])
        case "remove":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "grow":
            path.write_bytes(before[name] + b"x")
    assert not is_prepared(small[0])
    assert same(open_prepared(*small), read(*small))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "text", ["", "[]", '"x"', "{}", "5", "\xff", '{"sizes": 5}', '{"sizes": {}, "defects": [[1]]}']
)
def test_a_description_that_makes_no_sense(small, text):
    open_prepared(*small)
    (prepared_folder(small[0]) / "log.json").write_text(text, "latin-1")
    assert not is_prepared(small[0])
    assert same(open_prepared(*small), read(*small))


def test_a_table_of_texts_that_is_damaged(small):
    open_prepared(*small)
    path = prepared_folder(small[0]) / "messages.arrow"
    path.write_bytes(b"x" * path.stat().st_size)
    assert not is_prepared(small[0])
    assert same(open_prepared(*small), read(*small))


def test_bad_input_leaves_nothing(own_system, cache):
    found = own_system({"a.log": b"- 1 up\n", "b.gz": gzip.compress(ODD, mtime=0)[:-9]}, format=EPOCH)
    with pytest.raises(BenchError, match=r"b\.gz"):
        open_prepared(found.resolve("app"), found)
    assert [name for name in files_of(cache / "prepared") if not name.endswith(".lock")] == []


# --- Where it is kept ------------------------------------------------------------------------------------------------


def test_the_cache_is_where_the_environment_says(small, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "elsewhere"))
    open_prepared(*small)
    assert prepared_folder(small[0]).parent == tmp_path / "elsewhere" / "prepared"
    assert prepared_folder(small[0]).is_dir()
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "mlad-bench"
    assert not is_prepared(small[0])


@pytest.mark.parametrize("where", ["file/cache", "/proc/nowhere", "/dev/null"])
def test_a_cache_that_cannot_be_written(small, monkeypatch, tmp_path, where):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / where))
    for act in (lambda: open_prepared(*small), lambda: forget(small[0])):
        with pytest.raises(BenchError, match="cannot be written") as caught:
            act()
        assert str(Path(tmp_path / where) / "prepared") in str(caught.value)
        assert "BENCH_CACHE" in str(caught.value)


# --- Other processes -------------------------------------------------------------------------------------------------

DRIVER = """
import os, sys, time
from pathlib import Path
from bench.data.reading import prepared
from bench.data.cards.catalogue import catalogue

reads, go = Path(sys.argv[2]), Path(sys.argv[3])
original = prepared.read

def read(card, known, columns):
    with reads.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    log = original(card, known, columns)
    until = time.monotonic() + 60
    while not go.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return log

prepared.read = read
prepared.report_progress = lambda what, done, total: print(what, flush=True)
known = catalogue(Path(sys.argv[1]))
log = prepared.open_prepared(known.resolve("app@mine"), known)
print("opened", len(log), sum(log.labels.tolist()), hash(tuple(log.times[:3].tolist())), flush=True)
"""


@pytest.fixture
def start(small, tmp_path):
    """Start a process that prepares, notes that it reads, and goes on when `go` is there."""
    started = []

    def run():
        command = [sys.executable, "-c", DRIVER, small[1].data_dir, tmp_path / "reads", tmp_path / "go"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def test_of_two_processes_one_reads_and_the_other_waits(small, start, tmp_path):
    first = start()
    wait_for((tmp_path / "reads").exists)
    second = start()
    assert second.stdout.readline() == "waiting for another process that prepares app@mine\n"
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert (tmp_path / "reads").read_text() == f"{first.pid}\n"
    opened = [output.splitlines()[-1] for output, _ in outputs]
    assert opened[0].startswith("opened 6 3 ")
    assert opened[0] == opened[1]
    assert (first.returncode, second.returncode) == (0, 0)


def test_what_a_killed_process_left_is_never_used(small, start, tmp_path, cache):
    killed = start()
    wait_for((tmp_path / "reads").exists)
    wait_for(lambda: list((cache / "prepared").glob("*.part-*/log.json")))
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    assert list((cache / "prepared").glob("*.part-*"))
    assert not is_prepared(small[0])
    assert same(open_prepared(*small), read(*small))
    folder = prepared_folder(small[0]).name
    assert files_of(cache / "prepared") == [folder, f"{folder}.lock"]


def test_a_killed_process_keeps_nobody_waiting(start, tmp_path):
    first = start()
    wait_for((tmp_path / "reads").exists)
    second = start()
    assert second.stdout.readline().startswith("waiting")
    first.send_signal(signal.SIGKILL)
    (tmp_path / "go").touch()
    output, errors = second.communicate(timeout=60)
    assert output.startswith("opened 6 3 "), errors


# --- A full disk -----------------------------------------------------------------------------------------------------


def large_system(own_system):
    """A log of 3 MB whose prepared form has several files of different size, the texts the largest."""
    lines = "".join(f"{'BAD' if i % 11 == 0 else '-'} {i} b{i % 5000} {i * 7919:x} word\n" for i in range(90_000))
    form = {**EPOCH, "session": "b[0-9]+"}
    return own_system({"a.log": lines.encode()}, format=form).data_dir


def prepare_within(data, limit, env):
    def set_limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "bench", "data", "prepare", "app", "--data", str(data)]
    return subprocess.run(
        command, env=env, preexec_fn=set_limit if limit else None, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("limit", [1, 5_000, 900_000])
def test_a_file_that_may_not_grow_is_one_sentence_and_nothing_is_left(own_system, cache, limit):
    run = prepare_within(large_system(own_system), limit, {**os.environ})
    check_refused(run, cache)


def check_refused(run, cache):
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"error: the cache folder {cache / 'prepared'} cannot be written (")
    assert "BENCH_CACHE" in line
    left = [path.name for path in (cache / "prepared").iterdir()] if (cache / "prepared").exists() else []
    assert all(name.endswith(".lock") for name in left)


def test_after_room_was_made_it_is_prepared(own_system, cache):
    data = large_system(own_system)
    check_refused(prepare_within(data, 600_000, {**os.environ}), cache)
    run = prepare_within(data, None, {**os.environ})
    assert run.returncode == 0, run.stderr
    assert "app@mine is prepared: 90,000 lines" in run.stdout


TINY_DISK = """
set -e
mount -t tmpfs -o size=1m tmpfs "$1"
export BENCH_CACHE="$1/cache"
code=0
"$2" -m bench data prepare app --data "$3" || code=$?
echo "code $code" >&2
ls "$1/cache/prepared" >&2
"""


def can_mount(folder):
    folder.mkdir()
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def test_a_disk_that_fills_up(own_system, tmp_path):
    """Where no disk can be mounted the limit of a file's size stands for it, in the tests above."""
    disk, data = tmp_path / "disk", large_system(own_system)
    if not can_mount(disk):
        pytest.skip("this system lets no user mount a small disk; the tests of RLIMIT_FSIZE stand for it")
    command = ["unshare", "-rm", "sh", "-c", TINY_DISK, "-", str(disk), sys.executable, str(data)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    error, code, *left = run.stderr.splitlines()
    assert error.startswith(f"error: the cache folder {disk / 'cache' / 'prepared'} cannot be written (")
    assert "No space left" in error
    assert code == "code 2"
    assert all(name.endswith(".lock") for name in left)


# --- Files that are no arrays ----------------------------------------------------------------------------------------


def other_array(value):
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("X.npy"), content)
        archive.writestr(zipfile.ZipInfo("y.npy"), other_array(np.zeros(1, int)))
    return buffer.getvalue()


HEADER = b"\x93NUMPY\x01\x00\x46\x00"
WRONG_SESSIONS = {
    "empty": b"",
    "text": b"event_id,label\n",
    "one array": other_array(np.zeros((2, 2), int)),
    "early end": npz(X=[[1]], y=[0])[:-40],
    "floats": npz(X=[[1.5]], y=[0]),
    "words": npz(X=[["a"]], y=[0]),
    "labels of another kind": npz(X=[[1]], y=[7]),
    "labels that are no numbers": npz(X=[[1]], y=["ok"]),
    "labels with gaps": npz(X=[[1]], y=[np.nan]),
    "larger than any memory": zipped(
        HEADER + b"{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000, 1)}"
    ),
    "no header": zipped(HEADER + b"{'descr': ((((((((((((((".ljust(70)),
}


@pytest.mark.parametrize("what", WRONG_SESSIONS)
def test_sessions_that_are_none(own_system, what):
    found = own_system({("s.npz", "sessions"): WRONG_SESSIONS[what]}, kind="id-sessions")
    with pytest.raises(BenchError, match=r"'s\.npz' holds") as caught:
        open_prepared(found.resolve("app"), found)
    assert "\n" not in str(caught.value)
    assert not is_prepared(found.resolve("app"))


def test_labels_of_sessions_may_be_missing(own_system):
    found = own_system({("s.npz", "sessions"): npz(X=[[1], [2], [3]], y=[0, -1, 1])}, kind="id-sessions")
    assert open_prepared(found.resolve("app"), found).session_labels.tolist() == [0, -1, 1]


def test_the_description_is_plain_json(small):
    open_prepared(*small)
    facts = json.loads((prepared_folder(small[0]) / "log.json").read_text())
    assert facts["notes"] == ["time goes back at 1 lines; the order of the lines is kept"]
    assert facts["alerts"] == [["BAD", 1], ["BAD2", 1], ["no", 1]]


def test_a_slice_of_sessions_keeps_their_numbers(own_system):
    rows = npz(X=[[3, 7, 0], [5, 0, 0], [7, 7, 9], [3, 0, 0]], y=[0, 1, 0, 1])
    found = own_system({("s.npz", "sessions"): rows}, kind="id-sessions")
    log = read(found.resolve("app@mine.sessions-1-3"), found)
    assert list(log.session_ids) == ["1", "2"]
    assert log.session_labels.tolist() == [1, 0]
    assert [log.messages[i] for i in log.message_ids] == [f"unknown event {i}" for i in (5, 7, 7, 9)]
    assert log.session_codes.tolist() == [0, 1, 1, 1]
    with pytest.raises(BenchError, match="has 4 sessions, not 5"):
        read(found.resolve("app@mine.sessions-1-5"), found)
    with pytest.raises(BenchError, match=r"cut by sessions, not by lines: write 'app@mine.sessions-0-2'"):
        found.resolve("app@mine.lines-0-2")


def test_sessions_of_a_file_of_lines_are_not_cut_out(own_system):
    found = own_system({("e.csv", "events"): b"event_id,label\n3,0\n"}, kind="id-stream")
    with pytest.raises(BenchError, match=r"cut by lines, not by sessions: write 'app@mine.lines-0-1'"):
        found.resolve("app@mine.sessions-0-1")


def test_files_for_training_and_test_are_not_cut(own_system):
    parts = {"train": b"1 2\n3 4\n", "test-normal": b"1 2\n", "test-abnormal": b"2 1\n"}
    found = own_system({(f"{role}.txt", role): text for role, text in parts.items()}, kind="id-splits")
    with pytest.raises(BenchError, match="it cannot be cut"):
        found.resolve("app@mine.lines-0-2")
