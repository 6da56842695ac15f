"""How a command ends: on a full device, beside what a plugin left behind or moved; each in a process of its own."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

FULL = Path("/dev/full")
RUN = ("run", "-s", "bgl@simulated", "--seeds", "1", "--no-pack")


def bench(folder, *arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    assert bench(folder, *RUN, "-m", "new-event").returncode == 0
    return folder


@pytest.mark.slow_cases("command0")
@pytest.mark.parametrize("command", [("table",), ("table", "--json"), ("list", "methods"), ("table", "--help")])
def test_a_full_device_as_stdout_is_one_sentence(results, command):
    with FULL.open("w") as full:
        done = bench(results, *command, stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"cannot be written ({os.strerror(errno.ENOSPC)})" in done.stderr


def test_an_error_and_a_full_device_are_one_sentence_too(tmp_path):
    with FULL.open("w") as full:
        done = bench(tmp_path, "table", stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


LEFT = {
    "thread": "threading.Thread(target=time.sleep, args=(600,)).start()",
    "process": "multiprocessing.get_context('fork').Process(target=time.sleep, args=(20,)).start()",
}


@pytest.mark.slow_cases("fit-process", "import-process", "import-thread")
@pytest.mark.parametrize("what", LEFT)
@pytest.mark.parametrize("place", ["import", "fit"])
def test_what_a_plugin_leaves_running_is_not_waited_for(local, what, place):
    text = local.file.read_text().replace(
        "import numpy as np", "import multiprocessing, threading, time\nimport numpy as np"
    )
    if place == "import":
        text = text.replace("class Mine(", f"{LEFT[what]}\n\n\nclass Mine(")
    else:
        text = text.replace("        self.known_ =", f"        {LEFT[what]}\n        self.known_ =")
    local.file.write_text(text)
    start = time.monotonic()
    # Through a file: a forked process would hold the pipe open.
    with (local.folder / "out").open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "bench", *RUN, "-m", local.method],
            env=local.environment,
            cwd=local.folder,
            stdout=out,
            stderr=out,
            timeout=100,
            check=False,
        )
    said = (local.folder / "out").read_text()
    assert done.returncode == 0, said
    assert time.monotonic() - start < 18
    assert "| mine.py:Mine" in said
    assert len(local.records()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("place", ["import", "fit", "score"])
@pytest.mark.parametrize("names", ["relative", "of the environment"])
def test_a_plugin_that_changes_the_folder_moves_nothing(local, tmp_path, place, names):
    """What others wrote and will write stays in its place, and is named as it was typed."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs").mkdir()
    change = f"os.chdir({str(tmp_path / 'elsewhere')!r})"
    text = local.file.read_text().replace("import numpy as np", "import os\nimport numpy as np")
    marks = {"import": "class Mine(", "fit": "        self.known_ =", "score": "        new ="}
    indent = "" if place == "import" else "        "
    local.file.write_text(text.replace(marks[place], f"{indent}{change}\n{marks[place]}"))
    local.environment |= {"BENCH_CACHE": "cached"}
    options = ["--data", "logs"]
    if names == "of the environment":
        local.environment |= {"BENCH_DATA": "logs"}
        options = []
    done = local.bench(*RUN, "-m", f"{local.method},ngram", "--out", "op", *options)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(list((tmp_path / "op" / "inbox").iterdir())) > 3
    assert (tmp_path / "cached").is_dir()
    assert "written: op/tables/bgl@simulated--chronological.md" in done.stderr
    assert str(tmp_path) not in done.stdout + done.stderr
    kept = [path for name in ("inbox", "tables") for path in (tmp_path / "op" / name).iterdir()]
    assert str(tmp_path) not in "".join(path.read_text() for path in kept)


def test_a_mistake_names_a_folder_as_it_was_typed(tmp_path):
    (tmp_path / "logs").mkdir()
    done = bench(tmp_path, "run", "-m", "ngram", "-s", "spirit@raw5m", "--data", "logs")
    assert done.returncode == 2
    assert str(tmp_path) not in done.stderr
    done = bench(tmp_path, "table", "--out", "op")
    assert "op" in done.stderr
    assert str(tmp_path) not in done.stderr


@pytest.mark.slow
def test_control_characters_of_a_failing_import_reach_neither_record_nor_terminal(local):
    local.file.write_text("raise ValueError('\\x1b[2Jwiped\\x07 | `out`')\n")
    done = local.bench(*RUN, "-m", local.method)
    assert done.returncode == 3
    (record,) = local.records()
    assert "wiped" in record["reason"]
    assert record["reason"].isprintable()
    assert "wiped" in done.stdout + done.stderr
    assert not set("\x1b\x07") & set(done.stdout + done.stderr)


@pytest.mark.slow
def test_a_clock_that_goes_back_changes_no_number_and_no_resume(local, tmp_path):
    """Each look at the clock gives an earlier day than the one before."""
    back = """
import datetime, itertools, sys, time
days = itertools.count(20_000, -1)
class Back(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(next(days) * 86400, tz)
datetime.datetime = Back
time.time = lambda: next(days) * 86400.0
from bench.cli import main
main()
"""

    def back_in_time(*arguments):
        return subprocess.run(
            [sys.executable, "-c", back, *arguments],
            env=local.environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    run = (*RUN[:-1], "-m", "ngram", "--timeout", "60", "--json")
    plain = local.bench(*run, "--out", "plain")
    first = back_in_time(*run, "--out", "back")
    assert (first.returncode, plain.returncode) == (0, 0), first.stderr
    again = back_in_time(*run, "--out", "back")
    assert "resumed" in again.stderr
    tables = [json.loads(done.stdout) for done in (plain, first, again)]
    assert tables[0] == tables[1] == tables[2]
    checked = back_in_time("table", "--check", "--out", "back")
    assert checked.returncode == 0, checked.stdout
