"""The promise of the README: on a fresh machine, `make demo` and `make test` do everything."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent


def _make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make without anything of this environment that a new user would not have."""
    hidden = ("BENCH_", "VIRTUAL_ENV", "PYTHONPATH", "MAKE", "MFLAGS")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    return subprocess.run(
        ["make", *arguments], cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True, timeout=120)
    return folder


def test_make_demo_ends_in_two_tables_and_a_clean_checkout(clone):
    done = _make(clone, "demo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bench: installing into .venv")
    # pip may warn before; this is the first line of the program itself.
    assert "\ntraining on bgl@simulated (simulated), testing on tbird@simulated (simulated)\n" in f"\n{done.stderr}"
    tables = clone / "demo" / "tables"
    for name in ("bgl@simulated2tbird@simulated", "hdfs@simulated"):
        written = (tables / f"{name}--chronological.md").read_text(encoding="utf-8")
        for text in (done.stdout, written):
            for row in (
                "mlad",
                "deeplog",
                "all-positive",
                "random",
                "new-event",
                "length",
                "ecvc",
                "clock",
                "gaussian",
            ):
                assert f"| {row} " in text
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_make_test_runs_tests(clone):
    done = _make(clone, "test", "TESTS=tests/bench/test_types.py tests/bench/data/sequences/test_splits.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert done.stdout.splitlines()[-1] == "not run: 4 tests that need real logs (set BENCH_DATA)"
