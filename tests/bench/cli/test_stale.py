"""The editing experiment, with real processes: a method whose `score` was edited never passes for its old numbers."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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

    tags = DetectorTags(supervision="normal-only")
    Config = Config

    def fit(self, train, labels=None, *, incidents=None):
        """Remember the log keys."""
        self.known_ = np.unique(train.log_keys)
        return self

    def score(self, sequences):
        """Return their number."""
        new = ~np.isin(sequences.log_keys, self.known_)
        return np.bincount(sequences.sequence_of_event[new], minlength=len(sequences)) * 1.0
'''


class Place:
    """A folder with its own results, a `bench` of its own process, and the file that holds the method."""

    def __init__(self, folder, method, file, path):
        self.folder, self.method, self.file = folder, method, file
        self.environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"} | {
            "PYTHONPATH": str(path),
            "BENCH_CACHE": str(folder / "cache"),
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
        done = self.bench("run", "-m", self.method, "-s", "bgl@simulated", "--seeds", "1")
        assert done.returncode == 0, done.stderr
        return done.stderr

    def gate(self, *arguments):
        return self.bench("gate", "--baseline", "baseline.json", *arguments)

    def records(self):
        paths = sorted((self.folder / "results").rglob("runs/*.json"))
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


@pytest.mark.parametrize("kind", ["plugin", "local", "shipped"])
def test_an_edited_score_never_passes_for_its_old_numbers(kind, request):
    place = request.getfixturevalue(kind)
    place.run()
    (before,) = place.records()
    assert before["code"].keys() == {"method", "engine"}
    assert place.gate("--update").returncode == 0

    place.document()
    assert place.gate().returncode == 0
    if kind != "local":  # whose bytes are part of the run's identity
        assert "resumed 7 of 7 runs" in place.run()

    place.break_score()
    refused = place.gate()
    assert refused.returncode == 1
    stale = [line for line in refused.stdout.splitlines() if line.startswith("STALE")]
    assert len(stale) == 1
    assert place.method in stale[0]
    assert "the method's code changed since" in stale[0]
    assert place.gate("--accept-stale").returncode == 0
    assert place.gate("--update").returncode == 2
    table = place.bench("table")
    assert f"stale: bgl@simulated, chronological: {place.method}" in table.stderr
    assert "stale" not in table.stdout
    assert place.bench("table", "--check").returncode == 0

    told = place.run()
    assert "resumed 6 of 7 runs" in told
    if kind != "local":
        assert f"doing 1 runs again whose records another code made: {place.method} (the method's code" in told
    after = place.records()[-1] if kind != "local" else max(place.records(), key=lambda record: record["started_at"])
    assert after["code"]["method"] != before["code"]["method"]
    assert after["code"]["engine"] == before["code"]["engine"]
    assert after["metrics"]["all"]["ranking"]["auroc"] == 0.5 != before["metrics"]["all"]["ranking"]["auroc"]
    fallen = place.gate()
    assert fallen.returncode == 1
    assert "STALE" not in fallen.stdout
    assert f"FAILED bgl@simulated | chronological | 20/20 | protocol 1 | {place.method}: auroc 0.5000" in fallen.stdout


def test_an_edited_engine_makes_every_row_stale(shipped):
    shipped.run()
    shipped.gate("--update")
    measure = shipped.folder / "copy" / "bench" / "experiment" / "measure.py"
    measure.write_text(measure.read_text() + "\nNEW = 1\n")
    refused = shipped.gate()
    assert refused.returncode == 1
    assert refused.stdout.count("STALE") == 7
    assert refused.stdout.count("the engine's code changed since") == 7
    assert "7 runs again" in shipped.run()
    assert shipped.gate().returncode == 0


def test_a_row_whose_code_is_gone_is_one_sentence(local, plugin):
    local.run()
    local.gate("--update")
    local.file.unlink()
    table = local.bench("table")
    assert table.returncode == 0
    assert "mine.py:Mine" in table.stdout
    assert table.stderr.splitlines() == [
        "stale: bgl@simulated, chronological: mine.py:Mine "
        "(the code of 'mine.py:Mine' is not here any more: install it or put the file back)"
    ]
    refused = local.gate()
    assert refused.returncode == 1
    assert "STALE bgl@simulated | chronological | 20/20 | protocol 1 | mine.py:Mine: the code of" in refused.stdout
    plugin.run()
    shutil.rmtree(plugin.file.parent.parent)
    assert "the code of 'rarest_event.detector:RarestEvent' is not here any more" in plugin.bench("table").stderr


def test_a_file_that_is_changed_back_is_its_row_again(local):
    old = local.file.read_text()
    local.run()
    (first,) = local.records()
    local.break_score()
    local.run()
    assert "the version that ran last; 1 record of earlier ones left out" in local.bench("table").stdout
    local.file.write_text(old)
    told = local.run()
    assert "doing 1 runs again whose records another code made: mine.py:Mine (another version of the file" in told
    assert "stale" not in local.bench("table").stderr
    shown = json.loads(local.bench("table", "--json").stdout)
    (row,) = [row for row in shown if row["method"] == "mine.py:Mine"]
    assert row["run_ids"] == [first["run_id"]]


def test_a_module_beside_a_local_file_belongs_to_its_code(local):
    helper = local.folder / "helper.py"
    helper.write_text('"""Help."""\nFACTOR = 1.0\n')
    local.file.write_text(LOCAL.replace("import numpy as np", "import helper\nimport numpy as np"))
    local.run()
    helper.write_text('"""Help."""\n\nFACTOR = 1.0  # as before\n')
    assert "resumed 7 of 7" in local.run()
    helper.write_text('"""Help."""\nFACTOR = 2.0\n')
    assert "resumed 6 of 7" in local.run()


def test_show_says_whose_code_a_record_is(local):
    local.run()
    (record,) = local.records()
    shown = local.bench("show", record["run_id"]).stdout
    assert f"code: method {record['code']['method']}, engine {record['code']['engine']} (as installed)" in shown
    local.break_score()
    assert "(stale: the method's code changed since)" in local.bench("show", record["run_id"]).stdout
    (path,) = (local.folder / "results").rglob(f"{record['run_id']}.json")
    path.write_text(json.dumps({key: value for key, value in record.items() if key != "code"}))
    assert "code: unknown" in local.bench("show", record["run_id"]).stdout
    # A record of unknown code is taken for what it says: it is neither stale nor done again.
    assert "stale" not in local.bench("table").stderr
