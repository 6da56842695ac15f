"""`bench run`, `sweep`, `table`, `show` and `gate`, as a user types them."""

import json
import os
import re
import subprocess
import sys

import pytest

from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import Store

DETECTORS = '''
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    alpha: float = 1.0

class Toy(Detector):
    """Unknown events."""
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        scores = np.zeros(len(sequences))
        np.add.at(scores, sequences.sequence_of_event, sequences.log_keys < 0)
        return scores * self.config.alpha

class Idle(Toy):
    def skip(self, train):
        return "it has no taste for these"

class NotWithSeed0(Toy):
    def skip(self, train):
        return "seed 0 is not for it" if self.seed == 0 else None

class Broken(Toy):
    def fit(self, train, labels=None, *, evidence=None):
        raise ValueError("[alpha=1] is | no markup")
'''
RUN = ("run", "--scenario", "bgl@simulated", "--seeds", "2", "--methods")


class Shell:
    """`bench` in a folder with detectors."""

    def __init__(self, call, folder):
        self.call, self.folder = call, folder

    def __call__(self, *arguments):
        return self.call(*arguments)

    def records(self):
        return list(Store(self.folder / "results").records())


@pytest.fixture
def shell(call, tmp_path):
    (tmp_path / "toy.py").write_text(DETECTORS)
    return Shell(call, tmp_path)


def rows(text):
    """First cells of all table rows."""
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]


def test_tables_on_stdout_everything_else_on_stderr(shell):
    code, out, err = shell(*RUN, "toy.py:Toy")
    assert code == 0
    assert out.startswith(f"### bgl@simulated, chronological (simulated), protocol {PROTOCOL_VERSION}\n")
    assert rows(out) == [
        "source normals",
        "toy.py:Toy",
        "control",
        "all-positive",
        "clock",
        "ecvc",
        "gaussian",
        "length",
        "new-event",
        "random",
    ]
    # A machine that takes over two seconds tells of every cell as well.
    assert [line for line in err.splitlines() if " of 16: " not in line] == [
        "using bgl@simulated (simulated)",
        "written: results/tables/bgl@simulated--chronological.md",
    ]
    written = (shell.folder / "results/tables/bgl@simulated--chronological.md").read_text()
    # What is printed is also compared on the spot.
    assert written.split("**Reading**")[0] == out.split("**Reading**")[0]
    assert shell("table", "--check")[:2] == (
        0,
        "all records are as their runs left them, all tables and comparisons equal their records\n",
    )


def test_a_second_run_resumes_everything_and_prints_the_same(shell):
    first = shell(*RUN, "toy.py:Toy")
    second = shell(*RUN, "toy.py:Toy", "--threads", "2")
    assert second[:2] == first[:2]
    assert second[2].splitlines()[1] == "resumed 16 of 16 runs from their records"


def test_a_failed_cell_is_a_row_and_exit_code_3(shell):
    code, out, err = shell(*RUN, "toy.py:Broken,toy.py:Toy")
    assert code == 3
    assert {"toy.py:Broken", "toy.py:Toy"} <= set(rows(out))
    assert "- toy.py:Broken: error, ValueError: [alpha=1] is | no markup (seed 0, 1)" in out
    assert "toy.py:Broken seed 1: error: ValueError: [alpha=1] is | no markup\n" in err
    assert "Traceback" not in out + err
    code, _, err = shell(*RUN, "toy.py:Broken,toy.py:Toy")
    assert code == 3
    assert "resumed 16 of 18 runs" in err


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_method_that_is_skipped_everywhere_is_exit_code_3(shell, more):
    code, out, err = shell(*RUN, "toy.py:Idle,toy.py:Toy", *more)
    assert code == 3
    assert "toy.py:Idle was skipped everywhere: it has no taste for these" in err.splitlines()
    assert "toy.py:Toy was" not in err
    assert "it has no taste for these" in out
    assert shell(*RUN, "toy.py:Idle,toy.py:Toy", *more)[0] == 3


def test_a_method_that_ran_somewhere_and_a_control_that_did_not_are_exit_code_0(shell):
    code, _, err = shell(*RUN, "toy.py:NotWithSeed0")
    assert code == 0
    assert "skipped everywhere" not in err


def test_what_a_suite_names_as_optional_may_be_skipped(shell):
    suite = (
        '[[run]]\nscenarios = ["bgl@simulated"]\nmethods = ["toy.py:Toy"]\noptional_methods = ["chatgpt"]\nseeds = "1"'
    )
    (shell.folder / "small.toml").write_text(suite)
    assert shell("run", "--suite", "small.toml")[0] == 0
    (shell.folder / "small.toml").write_text(suite.replace("optional_methods", "# ").replace('Toy"', 'Toy", "chatgpt"'))
    code, _, err = shell("run", "--suite", "small.toml")
    assert code == 3
    assert "chatgpt was skipped everywhere: " in err


def test_json_is_json_alone(shell):
    code, out, _ = shell(*RUN, "toy.py:Toy", "--json")
    found = {row["method"]: row for row in json.loads(out)}
    assert code == 0
    assert found["toy.py:Toy"]["seeds"] == [0, 1]
    assert set(found["toy.py:Toy"]["run_ids"]) <= {record["run_id"] for record in shell.records()}
    assert json.loads(shell("table", "--json")[1]) == json.loads(out)


def test_a_transfer_names_both_sides(shell):
    code, out, err = shell("run", "--train", "bgl", "--test", "tbird", "--seeds", "1", "--methods", "toy.py:Toy")
    assert code == 0
    assert err.startswith("training on bgl@simulated (simulated), testing on tbird@simulated (simulated)\n")
    assert out.startswith(
        f"### bgl@simulated2tbird@simulated, chronological (simulated), protocol {PROTOCOL_VERSION}\n"
    )
    ids = {record["run_id"] for record in shell.records()}
    assert shell("run", "--scenario", "bgl2tbird", "--seeds", "1", "--methods", "toy.py:Toy")[0] == 0
    assert {record["run_id"] for record in shell.records()} == ids


def test_several_scenarios_and_splits_are_several_tables(shell):
    arguments = (
        "run",
        "--seeds",
        "1",
        "--methods",
        "random",
        "--scenario",
        "bgl,hdfs",
        "--split",
        "chronological,paper",
    )
    code, out, _ = shell(*arguments)
    assert code == 0
    heads = [line for line in out.splitlines() if line.startswith("###")]
    assert heads == [
        f"### {name}@simulated, {split} (simulated), protocol {PROTOCOL_VERSION}"
        for name in ("bgl", "hdfs")
        for split in ("chronological", "paper")
    ]


def test_a_threshold_is_added_to_what_is_recorded(shell):
    shell(*RUN, "toy.py:Toy")
    code, out, err = shell(*RUN, "toy.py:Toy", "--threshold", "quantile:0.9", "--threshold", "fixed:1")
    assert code == 0
    assert "resumed 16 of 16" in err
    assert "threshold rule quantile:0.9\n" in out
    assert all({"quantile:0.9", "fixed:1"} <= set(record["thresholds"]) for record in shell.records())
    assert "threshold rule fixed:1\n" in shell("table", "--threshold", "fixed:1.0")[1]


def test_a_sweep_has_a_row_for_each_value(shell):
    arguments = ("run", "--scenario", "bgl@simulated", "--seeds", "1")
    code, out, _ = shell(*arguments, "--set", "toy.py:Toy.alpha=1.0:1.4:0.2")  # its method is the one that runs
    assert code == 0
    assert rows(out)[1:4] == ["toy.py:Toy", "toy.py:Toy[alpha=1.2]", "toy.py:Toy[alpha=1.4]"]


def test_a_suite_file_runs(shell):
    (shell.folder / "mine.toml").write_text(
        '[[run]]\nscenarios = ["bgl@simulated"]\nmethods = ["toy.py:Toy"]\nseeds = 1\nwindow_size = 10\n'
    )
    code, out, _ = shell("run", "--suite", "mine.toml")
    assert code == 0
    assert "windows of 10 lines, step 10" in out
    assert shell("gate", "--update", "--suite", "mine.toml")[1] == "results/baseline.json: 8 rows written\n"
    assert shell("gate", "--suite", "mine.toml")[0] == 0


def test_written_tables_are_checked(shell):
    shell(*RUN, "toy.py:Toy")
    path = shell.folder / "results/tables/bgl@simulated--chronological.md"
    path.write_text(path.read_text().replace("1.000", "0.999", 1))
    code, out, _ = shell("table", "--check")
    assert code == 1
    assert out == f"{path.relative_to(shell.folder)} differs from the records: run `bench table --write`\n"
    assert shell("table", "--write")[0] == 0
    assert shell("table", "--check")[0] == 0


def test_tables_can_be_chosen(shell):
    shell("run", "--scenario", "bgl,hdfs", "--seeds", "1", "--methods", "random")
    assert shell("table")[1].count("###") == 2
    assert shell("table", "--scenario", "hdfs")[1].startswith("### hdfs@simulated")
    assert shell("table", "--split", "paper")[0] == 2


def test_show_prints_one_record_readable_or_as_it_is(shell):
    shell(*RUN, "toy.py:Toy")
    record = next(record for record in shell.records() if record["method"] == "toy.py:Toy")
    code, out, err = shell("results", "show", record["run_id"][:12])
    assert (code, err) == (0, "")
    assert out.startswith(f"run {record['run_id']}: toy.py:Toy on bgl@simulated, chronological, seed ")
    assert re.search(r"^all, oracle: .*f1 \d\.\d{4}", out, re.MULTILINE)
    assert re.search(r"^threshold native: not estimable, method has no native threshold$", out, re.MULTILINE)
    assert json.loads(shell("results", "show", record["run_id"], "--json")[1]) == record


def test_show_of_a_failure_has_its_traceback(shell):
    shell(*RUN, "toy.py:Broken")
    record = next(record for record in shell.records() if record["status"] == "error")
    out = shell("results", "show", record["run_id"])[1]
    assert "status: error (ValueError: [alpha=1] is | no markup)" in out
    assert re.search(r"^  at toy\.py:\d+ fit$", out, re.MULTILINE)


def test_the_gate_passes_fails_and_names_what_fell(shell):
    shell(*RUN, "toy.py:Toy")
    assert shell("gate", "--update")[:2] == (0, "results/baseline.json: 8 rows written\n")
    code, out, _ = shell("gate")
    assert code == 0
    assert re.fullmatch(r"gate: (\d+) of \1 values hold\n", out)
    path = shell.folder / "results" / "baseline.json"
    baseline = json.loads(path.read_text())
    name = next(name for name in baseline["rows"] if "toy.py:Toy" in name)
    baseline["rows"][name]["auroc"] += 0.03
    path.write_text(json.dumps(baseline))
    code, out, _ = shell("gate")
    assert code == 1
    assert out.startswith(f"FAILED {name}\n  auroc ")
    failed = [row for row in json.loads(shell("gate", "--json")[1])["values"] if row["failed"]]
    assert [(row["row"], row["metric"]) for row in failed] == [(name, "auroc")]


@pytest.mark.trains
def test_the_main_job_end_to_end(tmp_path):
    """The command of the README with the real methods, trained for one epoch, as a program of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"}
    arguments = ["run", "--methods", "mlad,deeplog", "--scenario", "bgl2tbird", "--seeds", "1"]
    arguments += ["--set", "mlad.steps=2", "--set", "deeplog.steps=2"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=tmp_path,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"mlad[steps=2]", "deeplog[steps=2]", "all-positive"} <= set(rows(done.stdout))
    found = list(Store(tmp_path / "results").records())
    assert len(found) == 9
    assert {record["status"] for record in found} == {"ok"}


def test_what_no_method_would_be_told_is_refused(shell, tmp_path):
    code, _, err = shell(*RUN, "toy.py:Toy", "--auxiliary", "tbird")
    assert code == 2
    assert "is told of an auxiliary: leave --auxiliary out" in err
    code, _, err = shell(*RUN, "toy.py:Toy", "--incidents", "35s")
    assert code == 2
    assert "learns from incidents: leave --incidents out" in err
    code, _, err = shell(*RUN, "toy.py:Toy", "--incidents", str(tmp_path / "none.csv"))
    assert code == 2
    assert "none.csv" in err


def test_a_method_of_contract_0_1_is_a_row_with_a_sentence(shell, tmp_path):
    told, old = 'told={"source": "normals"}', 'supervision="supervised"'
    (tmp_path / "old.py").write_text((tmp_path / "toy.py").read_text().replace(told, old))
    code, _, _ = shell(*RUN, "old.py:Toy,toy.py:Toy", "--json")
    assert code == 3
    code, out, _ = shell("check", "old.py:Toy")
    assert code == 1
    assert out.startswith(
        "failed check_contract: written for contract 0.1: write DetectorTags(told={'source': 'labels'})"
    )
    assert out.count("\n") == 1
