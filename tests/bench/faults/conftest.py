"""Runs of the command line with real processes, and what must hold of a results folder after any fault."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from bench.records.record import record_digest, scores_digest
from bench.records.store import Store
from tests.lent_vectors import lend_vectors

CELLS = '''
"""Methods that say when they are fitted, and wait where they are told to."""
import os, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class Quick(Detector):
    """Its scores depend on seed and data."""
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    seconds = 0.0
    def fit(self, train, labels=None, *, evidence=None):
        self.note("begin")
        time.sleep(self.seconds or float(os.environ.get("FIT_S", 0)))
        self.known_ = np.unique(train.log_keys)
        self.note("end")
        return self
    def note(self, what):
        with Path(os.environ["NOTES"]).open("a") as stream:
            stream.write(f"{type(self).__name__} {self.seed} {what} {os.getpid()}\\n")
    def score(self, sequences):
        new = ~np.isin(sequences.log_keys, self.known_)
        n_new = np.bincount(sequences.sequence_of_event[new], minlength=len(sequences))
        return n_new + np.random.default_rng(self.seed).random(len(sequences))

class Other(Quick):
    pass

class Third(Quick):
    pass

class Waits(Quick):
    seconds = 3600.0
'''
MARKER = "BENCH_TEST_PLACE"
SAME = ("run_id", "status", "metrics", "thresholds", "counts", "scores_sha256")


class Place:
    """A folder, the commands that run in it, and what they left."""

    def __init__(self, folder, cache):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.out = folder / "results"
        self.notes_file = folder / "notes"
        (folder / "cells.py").write_text(CELLS)
        self.environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"} | {
            "BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1", "NOTES": str(self.notes_file), MARKER: str(folder),
        }  # fmt: skip

    def command(self, *more, methods="Quick,Other", seeds=3, program=("-m", "bench")):
        names = ",".join(f"cells.py:{name}" for name in methods.split(","))
        given = ["-m", names, "-s", "hdfs@simulated", "--seeds", str(seeds)]
        return [sys.executable, *program, "run", *given, *more]

    def start(self, *more, fit_s=0.0, **options):
        command = self.command(*more, **options)
        environment = self.environment | {"FIT_S": str(fit_s)}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *more, **options):
        """Exit code, stdout and stderr of a run from start to end."""
        return ended(self.start(*more, **options))

    def notes(self):
        """(method, seed, what, process) of each note."""
        text = self.notes_file.read_text() if self.notes_file.exists() else ""
        return [(name, int(seed), what, int(pid)) for name, seed, what, pid in map(str.split, text.splitlines())]

    def fits(self):
        return [note[:2] for note in self.notes() if note[2] == "end"]

    def wait_for_note(self, name, what="begin", seconds=60.0):
        """The process of the method that noted it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for note in self.notes():
                if (note[0], note[2]) == (name, what):
                    return note[3]
            time.sleep(0.01)
        raise AssertionError(f"{name} never noted {what}")

    def processes(self):
        """All that live and were started for this place: found by their environment, whatever their parents are."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(MARKER) == str(self.folder)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def records(self):
        return {record["run_id"]: record for record in Store(self.out).records()}

    def comparable(self):
        return [{name: record.get(name) for name in SAME} for record in self.records().values()]

    def check_whole(self):
        """No half record, no record of other scores; returns the finished ones."""
        store = Store(self.out)
        for path in store.inbox.glob("*.json"):
            record = json.loads(path.read_text())
            assert record["digest"] == record_digest(record)
            assert record["run_id"] == path.stem
        records = self.records()
        for run_id, record in records.items():
            if record["status"] == "ok":
                assert record["scores_sha256"] == scores_digest(store.read_scores(run_id))
        return {run_id: record for run_id, record in records.items() if record["status"] == "ok"}

    def check_nothing_runs(self):
        until = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.02)
        assert left == []

    def check_tidy(self):
        """After a run that went to its end: nothing of those before lies about."""
        assert list(self.out.rglob("*.tmp")) == []
        assert list((self.out / "cache" / "claims").glob("*")) == []
        assert list((self.out / "cache" / "running").glob("*")) == []

    def tables(self):
        return {path.name: path.read_bytes() for path in (self.out / "tables").glob("*")}


def ended(process, seconds=120):
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def kill(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return lend_vectors(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def place(tmp_path, shared_cache):
    made = Place(tmp_path / "place", shared_cache)
    yield made
    for process in made.processes():
        process.kill()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, shared_cache):
    """What is comparable of Quick and Other, three seeds, that nothing disturbed."""
    made = Place(tmp_path_factory.mktemp("undisturbed") / "place", shared_cache)
    code, _, err = made.run()
    assert code == 0, err
    return made.comparable()
