"""`bench data prepare`: parts of an edition, editions of one's own, and what goes wrong with them."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.reading.prepared import open_prepared
from tests.lent_vectors import lend_vectors

LINES = "".join(f"{'BAD' if i % 97 == 0 else '-'} {i} message {'abc'[i % 3]} of unit\n" for i in range(2000))
FORM = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
SESSIONS = {"label": "label-file", "session": "s[0-9]+", "label_key": "id", "label_value": "state", "normal": "ok"}


@pytest.fixture
def app(call, own_system, tmp_path, monkeypatch):
    """`bench data prepare` with the folder of a system of one's own, `app@mine`, and a cache of its own."""
    monkeypatch.setenv("BENCH_CACHE", str(lend_vectors(tmp_path / "cache")))
    data = own_system({"a.log": LINES.encode()}, format=FORM).data_dir

    def run(*arguments):
        return call("data", "prepare", *arguments, "--data", data)

    run.data, run.call = data, call
    return run


def refused(result):
    """The one sentence of a refusal."""
    code, out, err = result
    assert code == 2, err
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


def facts(result):
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def cards(app):
    return sorted(path.name for path in (app.data / "app").iterdir())


def test_an_edition_is_prepared_once(app):
    code, out, err = app("app")
    assert (code, err) == (0, "")
    assert out.startswith("app@mine is prepared: 2,000 lines, 3 distinct masked messages\n")
    assert " lines a second, " in out
    _, out, _ = app("app@mine")
    assert out.startswith("app@mine is already prepared: 2,000 lines")
    assert "lines a second" not in out
    assert app("app", "--again")[1].startswith("app@mine is prepared: ")


def test_json(app):
    found = facts(app("app", "--json"))
    assert found | {"seconds": 0, "bytes": 0} == {
        "edition": "app@mine",
        "status": "prepared",
        "lines": 2000,
        "distinct masked messages": 3,
        "sessions": 0,
        "defects": [],
        "notes": [],
        "seconds": 0,
        "bytes": 0,
    }
    assert found["bytes"] > 2000 * (4 + 8 + 1)
    assert found["seconds"] > 0
    assert facts(app("app", "--json"))["status"] == "already prepared"


@pytest.mark.parametrize(
    ("options", "edition", "lines"),
    [
        (("--lines", 100), "app@mine.lines-0-100", 100),
        (("--slice", "100:150"), "app@mine.lines-100-150", 50),
        (("--slice", ":150"), "app@mine.lines-0-150", 150),
        (("--slice", "1999:2000"), "app@mine.lines-1999-2000", 1),
    ],
)
def test_parts(app, options, edition, lines):
    found = facts(app("app", *options, "--json"))
    assert (found["edition"], found["lines"]) == (edition, lines)
    assert facts(app(edition, "--json"))["status"] == "already prepared"


@pytest.mark.slow
def test_a_part_has_a_name_that_other_commands_know(app):
    found = facts(app.call("data", "info", "app@mine.lines-0-1500", "--data", app.data, "--json"))
    assert (found["edition"], found["lines"], found["sequences"]) == ("app@mine.lines-0-1500", 1500, 75)
    arguments = (
        "run",
        "--methods",
        "random",
        "--scenario",
        "app@mine.lines-0-1500",
        "--seeds",
        "1",
        "--data",
        app.data,
    )
    code, out, err = app.call(*arguments)
    assert code == 0, err
    assert "### app@mine.lines-0-1500, chronological" in out
    code, out, _ = app.call("run", *arguments[1:4], "app@mine", *arguments[5:])
    assert "### app@mine, chronological" in out


def test_a_part_of_real_data(call, real_data):
    found = facts(call("data", "info", "bgl@raw12k.lines-0-5000", "--data", real_data, "--json"))
    assert (found["lines"], found["sequences"]) == (5000, 250)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--slice", "5"), "--slice is '5': write two line numbers"),
        (("--slice", "a:b"), "--slice is 'a:b'"),
        (("--slice", "5:"), "--slice is '5:'"),
        (("--slice", "-1:5"), "--slice is '-1:5'"),
        (("--slice", "9:5"), "the first below the second"),
        (("--slice", "5:5"), "the first below the second"),
        (("--slice", "0:" + "9" * 5000), "write two line numbers"),
        (("--lines", "5", "--slice", "0:5"), "--lines and --slice both choose lines"),
        (("--lines", "0"), "--lines"),
        (("--lines", "x"), "--lines"),
        (("--tolerance", "2"), "--tolerance"),
        (("--slice", "0:2001"), "ends at line 2000, there are no lines up to 2001"),
        (("--lines", "9" * 17), "ends at line 2000"),
        (("--labels", "a.csv"), "--labels belongs to a new edition"),
    ],
)
def test_mistakes_in_options(app, options, words):
    assert words in refused(app("app", *options))


def test_a_part_of_a_part(app):
    assert "is a slice already" in refused(app("app@mine.lines-0-100", "--lines", 5))
    assert "unknown edition" in refused(app("app@mine.lines-0-100.lines-0-5"))


def test_unknown_editions(app):
    assert "unknown data set 'nope'" in refused(app("nope"))
    assert "unknown edition 'app@nope'" in refused(app("app@nope"))


# --- Tolerance -------------------------------------------------------------------------------------------------------


def test_more_defects_than_are_tolerated(app, own_system):
    content = LINES.encode() + b"no header\n" * 30 + b"- 5 \xff\n"
    own_system({"b.log": content}, edition="odd", format=FORM)
    code, out, err = app("app@odd")
    assert code == 1
    assert "30 lines without the card's header (kept whole as message), the first is line 2,001" in out
    assert "1 lines with bytes that are no UTF-8 (read as U+FFFD), the first is line 2,031" in out
    assert err.startswith("error: 1.53% of the lines of 'app@odd' are defective, 1.00% are allowed: ")
    assert app("app@odd")[0] == 1
    assert app("app@odd", "--tolerance", "0.02")[0] == 0
    assert app("app@odd", "--tolerance", "0.015")[0] == 1
    code, out, _ = app("app@odd", "--json")
    assert code == 1
    assert json.loads(out)["defects"] == [
        {"kind": "replaced", "count": 1, "first_line": 2031},
        {"kind": "headerless", "count": 30, "first_line": 2001},
    ]
    own_system({"b.log": content}, edition="odd", format=FORM, tolerance=0.1)
    assert app("app@odd")[0] == 0
    assert app("app@odd", "--tolerance", "0")[0] == 1


# --- New editions ----------------------------------------------------------------------------------------------------


@pytest.fixture
def logs(tmp_path, own_system):
    """Files of a user outside the data folder; the system's format is that of all its editions."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "one.log").write_text("- 1 up\nBAD 2 down\n")
    (folder / "two.log.gz").write_bytes(gzip.compress(b"- 3 up\n", mtime=0))
    (folder / "labels.csv").write_text("id,state\ns1,ok\ns2,odd\n")
    (folder / "sessions.log").write_text("s1 a\ns2 b\ns1 c\n")
    return folder


def with_format(app, form):
    rows = "".join(f"{key} = {json.dumps(value)}\n" for key, value in form.items())
    path = app.data / "app" / "_system.toml"
    path.write_text(path.read_text() + f"[format]\n{rows}")


def test_files_of_ones_own_in_their_order(app, logs):
    with_format(app, FORM)
    found = facts(app("app@june", "--from", logs / "two.log.gz", "--from", logs / "one.log", "--json"))
    assert (found["edition"], found["lines"], found["notes"]) == (
        "app@june",
        3,
        ["time goes back at 1 lines; the order of the lines is kept"],
    )
    assert {"june.toml", "june-1.log.gz", "june-2.log"} <= set(cards(app))
    (logs / "one.log").unlink()
    assert facts(app("app@june", "--again", "--json"))["lines"] == 3


def test_a_file_of_the_data_folder_stays_where_it_is(app):
    with_format(app, FORM)
    (app.data / "raw.log").write_text("- 1 up\n")
    before = cards(app)
    assert facts(app("app@june", "--from", app.data / "raw.log", "--json"))["lines"] == 1
    assert cards(app) == sorted([*before, "june.toml"])
    assert "'raw.log'" in (app.data / "app" / "june.toml").read_text()


def test_a_label_file_of_ones_own(app, logs):
    with_format(app, SESSIONS)
    found = facts(app("app@june", "--from", logs / "sessions.log", "--labels", logs / "labels.csv", "--json"))
    assert (found["lines"], found["sessions"]) == (3, 2)
    known = catalogue(app.data)
    assert open_prepared(known.resolve("app@june"), known).session_labels.tolist() == [0, 1]


def test_a_part_of_a_new_edition(app, logs):
    with_format(app, FORM)
    found = facts(app("app@june", "--from", logs / "one.log", "--lines", 1, "--json"))
    assert (found["edition"], found["lines"]) == ("app@june.lines-0-1", 1)


class Pipe:
    """Stands for sys.stdin."""

    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def test_standard_input(app, logs, monkeypatch):
    with_format(app, FORM)
    monkeypatch.setattr(sys, "stdin", Pipe(b"- 7 piped\n- 8 piped"))
    found = facts(app("app@june", "--from", logs / "one.log", "--from", "-", "--json"))
    assert found["lines"] == 4
    assert (app.data / "app" / "june-2.log").read_bytes() == b"- 7 piped\n- 8 piped"


def test_an_empty_standard_input(app, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Pipe(b""))
    assert "'app@june' holds no line" in refused(app("app@june", "--from", "-"))


def test_a_closed_standard_input(app, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in refused(app("app@june", "--from", "-"))


class Broken(io.BytesIO):
    def read(self, size=-1):
        raise OSError(5, "Input/output error")


def test_a_standard_input_that_breaks(app, monkeypatch, logs):
    before = cards(app)
    monkeypatch.setattr(sys, "stdin", Pipe(b""))
    sys.stdin.buffer = Broken()
    text = refused(app("app@june", "--from", logs / "one.log", "--from", "-"))
    assert "standard input cannot be read (Input/output error)" in text
    assert cards(app) == before


@pytest.mark.parametrize(
    ("edition", "options", "words"),
    [
        ("app@mine", ("--from", "one.log"), "the edition 'app@mine' exists: choose another name"),
        ("app", ("--from", "one.log"), "'app' names no new edition"),
        ("app@June", ("--from", "one.log"), "'app@June' names no new edition"),
        ("nope@june", ("--from", "one.log"), "unknown data set 'nope'"),
        ("app@june", ("--from", "gone.log"), "the log 'gone.log' does not exist"),
        ("app@june", ("--from", "."), "the log '.' does not exist or is no file"),
        ("app@june", ("--from", "one.log", "--labels", "gone.csv"), "the label file 'gone.csv' does not exist"),
        ("app@june", ("--from", "one.log", "--labels", "-"), "the label file '-' does not exist"),
        ("app@june", ("--from", "-", "--from", "-"), "standard input was given twice"),
        ("app@june", ("--from", "one.log", "--slice", "x"), "--slice is 'x'"),
        ("app@june", ("--from", "one.log", "--lines", "5", "--slice", "0:5"), "both choose lines"),
    ],
)
def test_mistakes_with_a_new_edition_leave_nothing(app, logs, monkeypatch, edition, options, words):
    monkeypatch.chdir(logs)
    before = cards(app)
    assert words in refused(app(edition, *options))
    assert cards(app) == before


def test_a_new_edition_needs_a_data_folder(call, logs):
    assert "needs a data folder" in refused(call("data", "prepare", "bgl@june", "--from", logs / "one.log"))


def test_a_damaged_file_of_ones_own(app, logs):
    path = logs / "two.log.gz"
    path.write_bytes(path.read_bytes()[:-5])
    before = cards(app)
    for _ in range(2):
        assert "'two.log.gz' cannot be unpacked" in refused(app("app@june", "--from", path))
    assert cards(app) == before


def test_a_file_that_is_there_is_never_overwritten(app, logs):
    kept = app.data / "app" / "june-1.log"
    kept.write_text("mine")
    assert "june-1.log exists" in refused(app("app@june", "--from", logs / "one.log"))
    assert kept.read_text() == "mine"


def test_standard_input_interrupted(app, logs, tmp_path):
    before = cards(app)
    command = [sys.executable, "-m", "bench", "data", "prepare", "app@june", "--data", app.data]
    process = subprocess.Popen(
        [*command, "--from", logs / "one.log", "--from", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    process.stdin.write(b"- 1 up\n")
    process.stdin.flush()
    until = time.monotonic() + 60
    while not list((app.data / "app").glob(".new-*")) or not (app.data / "app" / "june-1.log").exists():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert out == b""
    assert cards(app) == before
