"""What a method starts, leaves behind or does to the processes around it; and what it may well do."""

import contextlib
import subprocess
import sys
import time
import zlib

import psutil
import pytest

from bench.isolation import lodging
from tests.bench.isolation.plugins import ACCIDENTS, STRAYS
from tests.bench.isolation.test_accidents import comparable, records_of

ROWS = {
    "LeavesAChild": ("ok", None),
    "LeavesADaemon": ("ok", None),
    "LeavesAnOrphan": ("ok", None),
    "LeavesAGroup": ("ok", None),
    "LeavesADaemonAndDies": ("error", "its process ended itself (exit code 5)"),
    "ClosesItsOutputAndDies": ("error", "its process ended itself (exit code 4)"),
    "ClosesAllFiles": ("error", "its process ended itself (exit code 1)"),
    "KillsItsParent": ("error", "it ended the process that watches it"),
    "StopsItsParent": ("ok", None),
    "KillsItsGroup": ("error", "its process was ended by SIGKILL"),
    "StopsItself": ("timeout", "took longer than 3 s"),
    "PrintsForEver": ("timeout", "took longer than 3 s"),
    "PrintsALot": ("ok", None),
    "FailsToBeMade": ("error", "RuntimeError: it cannot be made"),
    "DeletesItsSource": ("ok", None),
    "SetsHandlers": ("ok", None),
    "LeadsASession": ("error", "PermissionError: "),
    "StartsThreads": ("ok", None),
    "WritesToStdin": ("ok", None),
    "ReadsStdin": ("error", "EOFError: "),
    "WaitsInSkip": ("timeout", "took longer than 3 s"),
    "WaitsInMonitor": ("timeout", "took longer than 3 s"),
    "WaitsWhenMade": ("timeout", "took longer than 3 s"),
    "Multiprocesses": ("ok", None),
    "UsesExecutors": ("ok", None),
    "UsesJoblib": ("ok", None),
    "RunsPrograms": ("ok", None),
}


def seconds_of(folder):
    """What each stray of a folder sleeps: how it is found, whatever its parents are."""
    return f"36001.{zlib.crc32(str(folder).encode())}"


def strays(folder):
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cmdline() == ["sleep", seconds_of(folder)]:
                found.append(process)
    return found


def files_of(folder, names):
    """A file for each: what one does to its own process is its own matter."""
    text = ACCIDENTS + STRAYS.replace("36001", seconds_of(folder))
    for name in names:
        (folder / f"{name}.py").write_text(text)
    return [f"{folder / name}.py:{name}" for name in names]


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)


@pytest.fixture(scope="module", params=[pytest.param(jobs, marks=pytest.mark.slow) for jobs in (1, 2)])
def beside(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("strays")
    names = files_of(folder, [*ROWS, "Length"])
    return *records_of([*names[:9], "ngram", *names[9:]], folder, request.param, timeout_s=3), folder


@pytest.mark.parametrize("name", ROWS)
def test_it_ends_in_its_own_row(beside, name):
    status, reason = ROWS[name]
    record = beside[0][name]
    assert record["status"] == status, record["reason"]
    assert (record["reason"] or "").startswith(reason or "")


def test_no_other_row_changes(beside, tmp_path):
    alone = records_of(["ngram"], tmp_path)[0]
    honest = comparable(beside[0]["Length"])
    for name, record in alone.items():
        assert comparable(beside[0][name]) == comparable(record), name
    for name, (status, _) in ROWS.items():
        if status == "ok":
            assert comparable(beside[0][name]) == honest, name


def test_nothing_that_a_method_started_outlives_it(beside):
    _, said, folder = beside
    wait_for(lambda: not strays(folder))
    assert strays(folder) == []
    assert len(said) < 200


ABANDONED = """
import os, signal, subprocess, sys
sys.argv[1:] = ["run", "-m", f"{sys.argv[1]}:LeavesADaemonAndWaits", "-s", "hdfs@simulated", "--seeds", "1"]
from bench.cli import main
main()
"""


@pytest.mark.slow_cases("both", "nursery")
@pytest.mark.parametrize("who", ["driver", "nursery", "both"])
def test_nothing_outlives_those_that_are_killed(tmp_path, who):
    """Also what left its session: the guard outlives them for a moment."""
    (file,) = files_of(tmp_path, ["LeavesADaemonAndWaits"])
    command = [sys.executable, "-c", ABANDONED, file.partition(":")[0]]
    driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: strays(tmp_path), 60)
    (stray,) = strays(tmp_path)
    (nursery,) = psutil.Process(driver.pid).children()
    for process in {"driver": [driver], "nursery": [nursery], "both": [driver, nursery]}[who]:
        process.kill()
    assert stray.wait(20) is None
    driver.kill()
    driver.wait()
    wait_for(lambda: not strays(tmp_path))
    assert strays(tmp_path) == []


@pytest.mark.slow_cases("0.5-timeout")
@pytest.mark.parametrize(("timeout_s", "status"), [(None, "error"), (0.5, "timeout")])
def test_an_import_that_never_ends_costs_its_own_row(tmp_path, monkeypatch, timeout_s, status):
    """With and without --timeout: when the method is looked up, and again in its cell."""
    file = tmp_path / "slow.py"
    file.write_text("import time\ntime.sleep(3600)\n" + ACCIDENTS)
    monkeypatch.setattr(lodging, "IMPORT_LIMIT_S", 1.0)
    records, _ = records_of([f"{file}:Length", "new-event"], tmp_path, timeout_s=timeout_s)
    assert records["Length"]["status"] == status
    reason = "its import took longer than 1 s" if timeout_s is None else "took longer than 0.5 s"
    assert records["Length"]["reason"] == reason
    assert records["new-event"]["status"] == "ok"


@pytest.mark.slow
@pytest.mark.trains
def test_torch_with_threads_and_loaders(tmp_path):
    records, _ = records_of(files_of(tmp_path, ["UsesTorch"]), tmp_path)
    assert records["UsesTorch"]["status"] == "ok", records["UsesTorch"]["reason"]
