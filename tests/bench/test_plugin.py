"""A third party's package is found, conforms and runs: the path that strangers take, with a real installation."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "plugin_package"

DISCOVER = """
import sys
from importlib.metadata import entry_points
found = [e for e in entry_points(group="bench.detectors") if e.name == "rarest-event"]
assert len(found) == 1, found
assert "rarest_event" not in sys.modules
cls = found[0].load()
assert sys.modules["rarest_event"].__file__.startswith(sys.argv[1]), sys.modules["rarest_event"].__file__
print(cls.__name__)
"""

CONFORM = """
from importlib.metadata import entry_points
from bench.testing import CHECKS, check_detector, conforms, summarise
(found,) = entry_points(group="bench.detectors", name="rarest-event")
results = check_detector(found.load())
print(summarise(results))
assert conforms(results)
assert {result.name: result.status for result in results if result.status != "passed"} == {
    "check_meta_forward": "skipped", "check_lines": "skipped", "check_seed": "skipped"
}
assert len(results) == len(CHECKS)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the package was installed into, from a copy because a build writes beside its sources."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    isolation = [] if find_spec("setuptools") is None else ["--no-build-isolation"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *isolation]
    done = subprocess.run(
        [*pip, "--target", str(folder / "site"), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def python(installed, tmp_path):
    """Run this Python with the plugin installed, from an empty folder, without data."""
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"}
    environment |= {
        "PYTHONPATH": str(installed),
        "BENCH_CACHE": str(tmp_path / "cache"),
        "COLUMNS": "250",
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_entry_point_is_discovered_and_lazy(python, installed):
    assert python("-c", DISCOVER, installed).strip() == "RarestEvent"


def test_plugin_conforms(python):
    assert ", 0 failed" in python("-c", CONFORM)


def test_plugin_has_its_row_in_the_table(python, tmp_path):
    out = tmp_path / "out"
    printed = python(
        "-m",
        "bench",
        "run",
        "--methods",
        "rarest-event",
        "--scenario",
        "bgl",
        "--seeds",
        "1",
        "--out",
        out,
        "--no-pack",
    )
    rows = [line for line in printed.splitlines() if "rarest-event" in line]
    assert rows, printed
    assert any(character.isdigit() for character in rows[-1]), rows
    records = [json.loads(path.read_text()) for path in out.rglob("*.json")]
    mine = [record for record in records if "rarest-event" in json.dumps(record)]
    assert mine
    assert {record["status"] for record in mine if "status" in record} == {"ok"}
