"""`bench results status`: what runs in a results folder, of whatever process."""

import json
import os
import subprocess
import sys
import time

import pytest

from bench.records.claims import Claims

RUN, OTHER = "00000000000000aa", "00000000000000bb"
LONG = {
    "method": "mlad[alpha=1.3,max_epochs=200,hidden_size=64]",
    "scenario": "bgl@simulated+tbird@simulated2hdfs@simulated",
    "split": "paper",
    "seed": 3,
    "cell": 12,
    "cells": 300,
}
HOLDER = """
import sys, time
from pathlib import Path
from bench.records.claims import Claims
claims = Claims(Path("results/cache"), beat_s=0.1)
claim = claims.take("00000000000000bb", what={"method": "deeplog", "scenario": "hdfs@blocks-a",
    "split": "chronological", "seed": 1, "cell": 1, "cells": 2})
claim.update({"step": "training", "done": 3, "total": 30, "loss": 0.02131})
claims.report(total=2, done=0, failed=0)
time.sleep(0.5)
print("held", flush=True)
time.sleep(float(sys.argv[1]))
claims.close()
"""


@pytest.fixture
def holder(tmp_path):
    """Start a command of another terminal that runs a while; what is left of it is ended."""
    begun = []

    def start(seconds):
        command = [sys.executable, "-c", HOLDER, str(seconds)]
        begun.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
        assert begun[0].stdout.readline() == "held\n"
        return begun[0]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def wait_for_beats(folder, n):
    until = time.monotonic() + 20
    while len(list((folder / "results" / "cache").rglob("*.beat"))) < n:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_nothing_runs(call, tmp_path):
    assert call("results", "status") == (0, "nothing runs in results, which does not exist\n", "")
    (tmp_path / "results").mkdir()
    assert call("results", "status") == (0, "nothing runs in results\n", "")
    assert call("results", "status", "--watch") == (0, "nothing runs in results\n", "")
    code, out, _ = call("results", "status", "--json")
    assert (code, json.loads(out)) == (0, {"cells": [], "commands": []})
    assert list((tmp_path / "results").iterdir()) == []


def test_all_commands_are_shown_in_80_columns(call, tmp_path, holder):
    running = holder(30)
    with Claims(tmp_path / "results" / "cache", beat_s=0.1) as claims:
        claim = claims.take(RUN, what=LONG)
        claim.update({"step": "a step with a name that is rather long", "done": 123456, "total": 9876543})
        claims.report(total=300, done=12, failed=1, left_s=3700)
        wait_for_beats(tmp_path, 2)
        time.sleep(0.3)
        code, out, err = call("results", "status")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.split()[:6] == ["method", "scenario", "seed", "for", "step", "on"]
    (row,) = [line.split() for line in out.splitlines() if line.startswith("deeplog")]
    assert row[:3] == ["deeplog", "hdfs@blocks-a", "1"]
    assert "training 3 of 30" in out
    assert "loss 0.02131" in out
    words = "".join(out.split())
    assert "12of300runsfinished,1failed,0:0" in words
    assert "sofar,about1:01:40left" in words
    assert f"pid{running.pid})" in words
    assert f"pid{os.getpid()})" in words


def test_a_program_gets_json(call, tmp_path, holder):
    running = holder(30)
    code, out, _ = call("results", "status", "--json")
    (cell,), (command,) = json.loads(out)["cells"], json.loads(out)["commands"]
    assert code == 0
    assert (cell["run_id"], cell["pid"], cell["is_gone"]) == (OTHER, running.pid, False)
    assert cell["what"]["method"] == "deeplog"
    assert cell["progress"] == {"step": "training", "done": 3, "total": 30, "loss": 0.02131}
    assert (command["total"], command["done"], command["failed"], command["left_s"]) == (2, 0, 0, None)


def test_one_that_was_killed_is_marked(call, holder):
    running = holder(30)
    running.kill()
    code, out, _ = call("results", "status")
    assert code == 0
    assert " gone " in out.splitlines()[1]
    assert "1 run is gone" in out
    assert f"pid {running.pid}, gone)" in out
    assert call("results", "status", "--watch")[1] == out


def test_watch_ends_when_nothing_runs(call, holder):
    holder(1.0)
    code, out, _ = call("results", "status", "--watch")
    assert code == 0
    assert "deeplog" in out
    assert out.endswith("nothing runs in results\n")


def test_watch_and_json_exclude_each_other(call):
    assert call("results", "status", "--watch", "--json") == (
        2,
        "",
        "error: --watch and --json exclude each other: give one of them\n",
    )


def test_a_file_in_the_place_of_the_folder_is_one_sentence(call, tmp_path):
    (tmp_path / "results").write_text("")
    code, out, err = call("results", "status")
    assert (code, out) == (2, "")
    assert "results is no folder" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"total": 1}', b"\xff"])
def test_damaged_files_are_left_out(call, tmp_path, content):
    for name in (f"claims/{RUN}.json", "running/aa.json"):
        path = tmp_path / "results" / "cache" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert call("results", "status") == (0, "nothing runs in results\n", "")


def test_a_terminal_obeys_nothing_that_a_claim_says(call, tmp_path):
    with Claims(tmp_path / "results" / "cache") as claims:
        claims.take(RUN, what={"method": "\x1b[31mred[/]", "scenario": "[bold]x", "seed": 1})
        code, out, _ = call("results", "status")
    assert code == 0
    assert "\x1b" not in out
    assert "\ufffd[31mred[/]" in out
    assert "[bold]x" in out
