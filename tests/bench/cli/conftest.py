"""How the tests of the command line call it: in this process, or in one whose code they can edit."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from tests.lent_vectors import lend_vectors

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "tests" / "plugin_package" / "src" / "rarest_event"
LOCAL = '''"""Mine."""
from dataclasses import dataclass

import numpy as np
from bench.detector import Detector, DetectorTags


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


class Mine(Detector):
    """Counts log keys that training had not."""

    tags = DetectorTags(told={"source": "normals"})
    Config = Config

    def fit(self, train, labels=None, *, evidence=None):
        """Remember the log keys."""
        self.known_ = np.unique(train.log_keys)
        return self

    def score(self, sequences):
        """Return their number."""
        new = ~np.isin(sequences.log_keys, self.known_)
        return np.bincount(sequences.sequence_of_event[new], minlength=len(sequences)) * 1.0
'''


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run `bench` as its console script does, in an empty folder; returns exit code, stdout, stderr."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run


class Place:
    """A folder with its own results, a `bench` of its own process, and the file that holds the method."""

    def __init__(self, folder, method, file, path):
        self.folder, self.method, self.file = folder, method, file
        self.environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"} | {
            "PYTHONPATH": str(path),
            "BENCH_CACHE": str(lend_vectors(folder / "cache")),
            "OMP_NUM_THREADS": "1",
        }

    def bench(self, *arguments):
        command = [sys.executable, "-m", "bench", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(self):
        done = self.bench("run", "-m", self.method, "-s", "bgl@simulated", "--seeds", "1", "--no-pack")
        assert done.returncode == 0, done.stderr
        return done.stderr

    def gate(self, *arguments):
        return self.bench("gate", "--baseline", "baseline.json", *arguments)

    def records(self):
        paths = sorted((self.folder / "results").rglob("inbox/*.json"))
        return [record for record in map(json.loads, map(Path.read_text, paths)) if record["method"] == self.method]

    def document(self):
        """Change docstring, comments and blank lines."""
        text = self.file.read_text()
        first = ast.parse(text).body[0]
        assert isinstance(first.value, ast.Constant)
        rest = text.splitlines(keepends=True)[first.end_lineno :]
        rest = [line.replace("    def ", "\n    # Told anew.\n    def ") for line in rest]
        self.file.write_text('"""Other words."""\n# and a comment\n\n' + "".join(rest))

    def break_score(self):
        """Let the last `score` of the file return zeros."""
        lines = self.file.read_text().splitlines()
        functions = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.FunctionDef)]
        score = [node for node in functions if node.name == "score"][-1]
        lines.insert(score.body[1].lineno - 1, "        return np.zeros(len(sequences))")
        self.file.write_text("\n".join(lines) + "\n")


@pytest.fixture
def plugin(tmp_path):
    """A package of others, as an installation leaves it."""
    site = tmp_path / "site"
    shutil.copytree(PLUGIN, site / "rarest_event", ignore=shutil.ignore_patterns("__pycache__"))
    facts = site / "rarest_event-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: rarest-event\nVersion: 0.1.0\n")
    (facts / "entry_points.txt").write_text("[bench.detectors]\nrarest-event = rarest_event.detector:RarestEvent\n")
    (facts / "top_level.txt").write_text("rarest_event\n")
    return Place(tmp_path, "rarest-event", site / "rarest_event" / "detector.py", site)


@pytest.fixture
def local(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(LOCAL)
    return Place(tmp_path, "mine.py:Mine", file, tmp_path)


@pytest.fixture
def shipped(tmp_path):
    copy = tmp_path / "copy"
    for name in ("bench", "methods", "datasets"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return Place(tmp_path, "ngram", copy / "methods" / "ngram.py", copy)
