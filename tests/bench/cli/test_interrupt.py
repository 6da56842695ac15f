"""A run that is killed keeps what was finished; the same command says what it resumes, and finishes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.lent_vectors import lend_vectors

SLOW = '''
import os, time
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class Slow(Detector):
    """Waits from the second seed on."""
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        if self.seed > 0:
            time.sleep(float(os.environ["SLOW_S"]))
        return self
    def score(self, sequences):
        return sequences.lengths.astype(np.float64)
'''
COMMAND = ("run", "--methods", "slow.py:Slow", "--scenario", "bgl@simulated", "--seeds", "2", "--no-pack")
DRAW_NOTHING = {"all-positive", "clock", "ecvc", "gaussian", "length", "new-event"}
N_ALL = 16
N_BEFORE = N_ALL - 2
"""Both seeds of the controls that draw nothing, which share a fit; the first of `random` and of the slow detector."""


def start(folder, seconds):
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"}
    cache = folder / "cache"
    environment |= {"SLOW_S": str(seconds), "OMP_NUM_THREADS": "1", "BENCH_CACHE": str(cache)}
    if not cache.exists():
        lend_vectors(cache)
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *COMMAND],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(folder):
    return {path: path.read_bytes() for path in (folder / "results" / "inbox").glob("*.json")}


@pytest.fixture(scope="module", params=[signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def interrupted(request, tmp_path_factory):
    """What a run left that was stopped while its last but one cell waited, and what the next run did with it."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "slow.py").write_text(SLOW)
    process = start(folder, 120)
    deadline = time.monotonic() + 60
    while len(records(folder)) < N_BEFORE and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    # The next cell begins right after the last of these records; give it time to fall asleep.
    time.sleep(0.3)
    os.kill(process.pid, request.param)
    if request.param == signal.SIGINT:
        time.sleep(0.5)  # once lets the eighth finish, twice stops now
        os.kill(process.pid, request.param)
    out, err = process.communicate(timeout=30)
    left = records(folder)
    again = start(folder, 0)
    again_out, again_err = again.communicate(timeout=60)
    return {
        "signal": request.param,
        "first": (process.returncode, out, err),
        "left": left,
        "again": (again.returncode, again_out, again_err),
        "folder": folder,
    }


@pytest.mark.slow_cases("SIGINT")
def test_it_was_stopped_in_the_middle(interrupted):
    code, out, err = interrupted["first"]
    assert out == ""
    if interrupted["signal"] == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        lines = err.splitlines()
        assert lines[0] == "using bgl@simulated (simulated)"
        assert lines[1] == "finishing the runs that have begun; Ctrl-C again stops now"
        assert lines[2:] == ["interrupted: 14 of 16 runs finished and were kept; the same command goes on from there"]


def test_what_was_finished_is_kept_and_nothing_else(interrupted):
    found = [json.loads(content) for content in interrupted["left"].values()]
    assert len(found) == N_BEFORE
    assert {record["status"] for record in found} == {"ok"}
    assert {record["method"] for record in found if record["spec"]["seed"] == 1} == DRAW_NOTHING


def test_the_same_command_says_what_it_resumes_and_finishes(interrupted):
    code, out, err = interrupted["again"]
    assert code == 0, err
    assert "resumed 14 of 16 runs from their records" in err
    assert "### bgl@simulated, chronological (simulated)" in out
    assert len(records(interrupted["folder"])) == N_ALL
    assert not list((interrupted["folder"] / "results").rglob("*.tmp"))


def test_finished_records_are_not_written_again(interrupted):
    after = records(interrupted["folder"])
    assert {path: after[path] for path in interrupted["left"]} == interrupted["left"]
