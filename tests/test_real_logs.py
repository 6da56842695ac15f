"""What needs real logs is left out and counted where they are not here, and fails where they are required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TARGET = "tests/bench/data/sequences/test_splits.py"
NOT_RUN = "not run: 4 tests that need real logs"


def last_line(folder, *, required):
    """The last line of a run of the real tests of one file, and its exit status."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("BENCH_", "PYTEST_"))}
    environment |= {"BENCH_DATA": str(folder)} if folder else {}
    environment |= {"BENCH_REQUIRE_DATA": "1"} if required else {}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "real", "-p", "no:cacheprovider", TARGET]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    return done.stdout.splitlines()[-1], done.returncode


@pytest.mark.parametrize("has_folder", [False, True])
def test_what_did_not_run_is_counted_in_the_last_line(tmp_path, has_folder):
    line, status = last_line(tmp_path if has_folder else None, required=False)
    assert (line.partition(" (")[0], status) == (NOT_RUN, 0)


@pytest.mark.parametrize("has_folder", [False, True])
def test_a_missing_folder_or_file_fails_where_it_is_required(tmp_path, has_folder):
    line, status = last_line(tmp_path if has_folder else None, required=True)
    assert ("4 failed" in line or "4 errors" in line, status) == (True, 1)
