"""The first tables of the README and of the tutorial are what their commands print."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
ROW = re.compile(r"^  (\S+)(?: \*)? +([\d.]+) \[[^\]]+\] +([\d.]+) +([\d.]+) +([\d.]+)$", re.MULTILINE)


def printed(page=README):
    """Name -> (F1, AP, AUROC, FPR) of each row of the first table that a page shows."""
    blocks = re.findall(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    block = next(block for block in blocks if ROW.search(block))
    return {name: tuple(map(float, values)) for name, *values in ROW.findall(block)}


def rows(out):
    """The same of the tables of a results folder."""
    text = bench("table", "--scenario", "hdfs", "--format", "json", "--out", str(out))
    values = {row["method"]: {name: each["mean"] for name, each in row["metrics"].items()} for row in json.loads(text)}
    return {name: tuple(found[key] for key in ("f1", "ap", "auroc", "fpr")) for name, found in values.items()}


def bench(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_of_the_readme_can_be_read():
    assert len(printed()) == 9
    assert printed()["gaussian"] == (0.533, 0.421, 0.839, 0.034)
    assert printed(TUTORIAL).keys() - printed().keys() == {"ngram", "pca"}
    assert printed(TUTORIAL)["gaussian"] == printed()["gaussian"]


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize("page", [README, TUTORIAL], ids=["README", "tutorial"])
def test_the_first_command_gives_the_table_that_the_page_shows(page, tmp_path):
    command = re.findall(r"^bench (run --methods \S+ --scenario hdfs --seeds \d)$", page, re.MULTILINE)[0]
    bench(*command.split(), "--out", str(tmp_path))
    found = rows(tmp_path)
    assert found.keys() == printed(page).keys()
    for name, values in printed(page).items():
        assert found[name] == pytest.approx(values, abs=0.02), name  # networks differ by processor
