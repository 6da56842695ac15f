"""What need not be imported is not: start-up time shows in modules, without a clock."""

import json
import os
import subprocess
import sys

import pytest

from bench.records.store import Store

HEAVY = {"torch", "sklearn", "sentence_transformers", "transformers", "entmax", "scipy", "drain3", "matplotlib", "ray"}
ARRAYS = {"numpy", "polars"}

REPORT = """
import json, sys
from bench.cli import main
try:
    main()
except SystemExit as stopped:
    code = stopped.code or 0
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""

TORCH = """
import numpy as np
import torch
import sklearn
from dataclasses import dataclass
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class UsesTorch(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return torch.zeros(len(sequences), dtype=torch.float64).numpy()
"""

RUN = ("run", "--methods", "mine.py:UsesTorch", "--scenario", "bgl@simulated", "--seeds", "1")


def imported_by(folder, *arguments):
    """Top-level modules after a command that ended well."""
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"}
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("run", "--help"),
        ("list", "methods"),
        ("list", "datasets"),
        ("list", "scenarios"),
        ("list", "suites"),
    ],
    ids=" ".join,
)
def test_help_and_lists_import_nothing_heavy_and_no_arrays(tmp_path, arguments):
    assert not imported_by(tmp_path, *arguments) & (HEAVY | ARRAYS)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with the records of a detector that imports torch and scikit-learn."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "mine.py").write_text(TORCH)
    first = imported_by(folder, *RUN)
    assert not first & {"torch", "sklearn"}  # they are imported in the method's own process
    (record,) = [record for record in Store(folder / "results").records() if record["method"].startswith("mine.py")]
    assert record["status"] == "ok", record["reason"]
    return folder


def test_a_resumed_run_imports_neither_its_detectors_nor_torch(recorded):
    again = imported_by(recorded, *RUN)
    assert not again & {"torch", "sklearn", "sentence_transformers", "transformers", "entmax"}
    assert not any(name.startswith("bench_local") for name in again)


def test_reading_records_imports_no_torch(recorded):
    run_id = next(Store(recorded / "results").records())["run_id"]
    for arguments in (("table",), ("results", "show", run_id), ("gate", "--update"), ("gate",)):
        assert not imported_by(recorded, *arguments) & {"torch", "sklearn", "sentence_transformers", "entmax"}
