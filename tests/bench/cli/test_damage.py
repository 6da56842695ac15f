"""What stands on the disk is what was written, or every command that answers from it says so."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from bench import _sealed
from bench.data.cards.catalogue import catalogue
from bench.data.reading.prepared import prepared_folder
from tests.lent_vectors import lend_vectors

LINES = "".join(f"{'BAD' if i % 97 == 0 else '-'} {i} message {'abc'[i % 3]} of b{i // 50}\n" for i in range(2000))
LABELS = "id,state\n" + "".join(f"b{i},{'odd' if i % 5 == 0 else 'ok'}\n" for i in range(40))
FORM = {
    "header": "^[A-Z-]+ (?P<time>[0-9]+) (?P<message>.*)$",
    "time": "epoch",
    "session": "b[0-9]+",
    "label": "label-file",
    "label_key": "id",
    "label_value": "state",
    "normal": "ok",
}
RUN = ("run", "-m", "new-event", "-s", "app", "--seeds", "1", "--no-pack")


@pytest.fixture
def app(call, own_system, tmp_path, monkeypatch):
    """`bench ... --data DIR` with a system of one's own that has labels of sessions, `app@mine`."""
    monkeypatch.setenv("BENCH_CACHE", str(lend_vectors(tmp_path / "cache")))
    found = own_system({"a.log": LINES.encode(), ("l.csv", "labels"): LABELS.encode()}, format=FORM)

    def run(*arguments):
        return call(*arguments, "--data", found.data_dir)

    run.data = found.data_dir
    run.folder = lambda: prepared_folder(catalogue(found.data_dir).resolve("app"))
    return run


ANSWERS = {
    "run": RUN,
    "info": ("data", "info", "app"),
    "prepare": ("data", "prepare", "app"),
    "fit": ("fit", "new-event", "-s", "app", "--save", "m", "--threshold", "native"),
    "range": ("run", "-m", "ngram", "-s", "app", "--set", "ngram.n=2,3", "--seeds", "1"),
    "plot": ("data", "info", "app", "--plot"),
}


@pytest.mark.slow_cases(
    "a.log-message a-message x-fit",
    "a.log-message a-message x-info",
    "a.log-message a-message x-prepare",
    "a.log-message a-message x-range",
    "l.csv-b1,ok-b1,od-info",
    "l.csv-b1,ok-b1,od-range",
    "l.csv-b1,ok-b1,od-run",
)
@pytest.mark.parametrize("command", [*ANSWERS.values()], ids=ANSWERS)
@pytest.mark.parametrize(("name", "old", "new"), [("l.csv", "b1,ok", "b1,od"), ("a.log", "message a", "message x")])
def test_labels_and_logs_that_changed_are_noticed(app, command, name, old, new):
    code, _, err = app(*RUN)
    assert code == 0, err
    path = app.data / "app" / name
    path.write_text(path.read_text().replace(old, new, 1))
    code, out, err = app(*command)
    assert (code, out) == (2, ""), err
    line = err.splitlines()[-1]
    assert line.startswith(f"error: 'app/{name}' has the wrong checksum")
    assert "bench data new NAME FILE --force" in line
    code, out, _ = app("data", "verify", "app")
    assert (code, out.count("wrong checksum")) == (1, 1)


# --- Cached arrays ---------------------------------------------------------------------------------------------------


def record_of(folder, method):
    records = [json.loads(path.read_text()) for path in folder.glob("inbox/*.json")]
    (found,) = [record for record in records if record["method"] == method]
    return found


def metrics(folder):
    record = record_of(folder, "new-event")
    return record["metrics"], record["thresholds"], record["counts"]


def bench(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def flip(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["session_labels.bin", "message_ids.bin", "session_codes.bin", "file_starts.bin"])
def test_a_damaged_array_gives_the_numbers_of_an_undamaged_run(app, tmp_path, name):
    given = (*RUN, "--data", app.data)
    assert bench(*given, "--out", tmp_path / "whole").returncode == 0
    path = app.folder() / name
    path.write_bytes(b"\x7f" * path.stat().st_size)
    run = bench(*given, "--out", tmp_path / "again")
    assert run.returncode == 0, run.stderr
    said = [line for line in run.stderr.splitlines() if "damaged in" in line]
    assert said == [
        f"the prepared edition app@mine: damaged in the cache ({name} is not what was written), so it is made anew"
    ]
    assert metrics(tmp_path / "again") == metrics(tmp_path / "whole")


def test_verify_reads_what_is_prepared_too(app):
    assert app("data", "prepare", "app")[0] == 0
    assert app("data", "verify", "app")[:2] == (0, "app@mine: ok\n")
    flip(app.folder() / "labels.bin")
    flip(app.folder() / "times.bin", 0)
    expected = "app@mine: prepared labels.bin is not what was written; it is made anew when it is next used\n"
    code, out, err = app("data", "verify", "app")
    assert (code, out, err) == (1, expected, "")
    assert app("data", "prepare", "app")[0] == 0
    assert app("data", "verify", "app")[:2] == (0, "app@mine: ok\n")


def test_verify_believes_no_note(app, tmp_path, monkeypatch):
    """Neither that of a checksum nor that of the last check of a large array."""
    monkeypatch.setattr("bench.data.cards.checksums._NOTED_BYTES", 1)
    monkeypatch.setattr(_sealed, "LARGE_BYTES", 1)
    time.sleep(0.15)
    assert app("data", "prepare", "app")[0] == 0
    array, log = app.folder() / "labels.bin", app.data / "app" / "a.log"
    time.sleep(0.15)
    assert app("data", "prepare", "app")[0] == 0
    notes = {path: json.loads(path.read_text()) for path in (tmp_path / "cache" / "checksums").iterdir()}
    last = array.with_name("log.json.checked")
    flip(array)
    states = json.loads(last.read_text())["states"]
    _sealed.seal(last, {"states": states | {"labels.bin": _sealed.State.of(array).facts}})
    _sealed._checked.clear()
    assert app("data", "info", "app")[2] == ""
    assert "prepared labels.bin is not what was written" in app("data", "verify", "app")[1]
    flip(log, 0.9)
    for path, note in notes.items():
        state = _sealed.State.of(log).facts if note["state"][1] == len(LINES) else note["state"]
        _sealed.seal(path, {"sha256": note["sha256"], "state": state})
    assert app("data", "info", "app")[0] == 0
    assert "'app/a.log' has the wrong checksum" in app("data", "verify", "app")[1]


# --- Facts of detectors ----------------------------------------------------------------------------------------------


def forge(tmp_path, *, sealed):
    """Let the kept facts of pca name another default; returns how many files that changed."""
    changed = 0
    for path in (tmp_path / "results" / "cache" / "detectors").iterdir():
        text = path.read_text()
        other = re.sub(r'("variance": {[^}]*"default": )[0-9.]+', r"\g<1>0.5", text, flags=re.DOTALL)
        if other != text:
            changed += 1
            path.write_text(other)
            if sealed:
                _sealed.seal(path, {"description": json.loads(other)["description"]})
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("sealed", [False, True])
def test_facts_of_a_detector_that_are_not_its_own_make_no_wrong_row(app, tmp_path, sealed):
    given = ("run", "-m", "pca", "-s", "app", "--seeds", "1", "--no-pack")
    code, _, err = app(*given)
    assert code == 0, err
    whole = record_of(tmp_path / "results", "pca")
    for path in (tmp_path / "results" / "inbox").iterdir():
        path.unlink()
    assert forge(tmp_path, sealed=sealed) == 1
    code, _, err = app(*given)
    row, said = record_of(tmp_path / "results", "pca"), [line for line in err.splitlines() if "damaged in" in line]
    if sealed:
        assert (code, row["status"], said) == (3, "error", [])
        assert "are not those of its class" in row["reason"]
    else:
        assert (code, len(said)) == (0, 1)
        assert said[0].startswith("what is known of 'pca': damaged in the cache (")
        assert (row["run_id"], row["metrics"]) == (whole["run_id"], whole["metrics"])
