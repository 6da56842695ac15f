"""Kills at any moment: no half record, nothing done twice, nothing left running, and the same numbers afterwards."""

import random
import signal
import time

import psutil
import pytest

from tests.bench.faults.conftest import ended, kill


def nursery_of(driver):
    (found,) = [child for child in psutil.Process(driver.pid).children() if "guards" in " ".join(child.cmdline())]
    return found.pid


def check_resumed(place, undisturbed, *more):
    """The same command again: finishes, keeps what was finished, and gives the numbers of an undisturbed run."""
    kept = place.check_whole()
    code, _, err = place.run(*more)
    assert code == 0, err
    found = place.check_whole()
    assert {run_id: found[run_id] for run_id in kept} == kept
    assert place.comparable() == undisturbed
    place.check_tidy()
    place.check_nothing_runs()


@pytest.mark.slow
def test_the_process_of_a_method_is_killed_in_mid_fit(place, undisturbed):
    driver = place.start(methods="Quick,Waits,Other", seeds=1)
    kill(place.wait_for_note("Waits"))
    code, _, _ = ended(driver)
    assert code == 3
    rows = {record["method"]: record for record in place.records().values()}
    assert rows["cells.py:Waits"]["reason"].startswith("its process was ended by SIGKILL from outside")
    assert all(record["status"] == "ok" for name, record in rows.items() if name != "cells.py:Waits")
    place.check_whole()
    place.check_nothing_runs()


@pytest.mark.slow_cases("SIGKILL")
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)], ids=["SIGKILL", "SIGSTOP"]
)
def test_the_guard_of_a_method_is_killed_or_stopped(place, undisturbed, number):
    driver = place.start(fit_s=0.5)
    kill(psutil.Process(place.wait_for_note("Quick")).ppid(), number)
    code, _, _ = ended(driver)
    failed = [record for record in place.records().values() if record["status"] != "ok"]
    assert [record["reason"] for record in failed] == (
        ["it ended the process that watches it"] if number == signal.SIGKILL else []
    )
    assert code == (3 if failed else 0)
    check_resumed(place, undisturbed)


@pytest.mark.slow_cases("2")
@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_nursery_is_killed_and_no_row_is_lost(place, undisturbed, jobs):
    driver = place.start("--jobs", str(jobs), fit_s=0.5)
    place.wait_for_note("Quick")
    kill(nursery_of(driver))
    code, _, err = ended(driver)
    assert code == 0, err
    place.check_whole()
    assert place.comparable() == undisturbed
    place.check_nothing_runs()


@pytest.mark.slow_cases("2-driver and method", "2-driver and nursery")
@pytest.mark.parametrize("who", ["driver", "driver and nursery", "driver and method"])
@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_driver_is_killed_and_all_end_with_it(place, undisturbed, who, jobs):
    driver = place.start("--jobs", str(jobs), fit_s=0.4)
    method = place.wait_for_note("Other" if jobs == 1 else "Quick")
    nursery = nursery_of(driver)
    kill(driver.pid)
    if who == "driver and nursery":
        kill(nursery)
    if who == "driver and method":
        kill(method)
    driver.communicate(timeout=30)
    place.check_nothing_runs()
    check_resumed(place, undisturbed, "--jobs", str(jobs))


def test_sigterm_ends_a_run_as_a_kill_does(place, undisturbed):
    driver = place.start(fit_s=0.4)
    place.wait_for_note("Quick", "end")
    driver.terminate()
    driver.communicate(timeout=30)
    assert driver.returncode == -signal.SIGTERM
    place.check_nothing_runs()
    check_resumed(place, undisturbed)


@pytest.mark.slow
def test_a_driver_that_is_stopped_for_a_while_loses_no_claim(place, undisturbed):
    """On one machine a process that lives keeps what it has, however long it is silent."""
    driver = place.start("--no-pack", fit_s=0.3)
    place.wait_for_note("Quick")
    kill(driver.pid, signal.SIGSTOP)
    other = place.start(fit_s=0.0)
    until = time.monotonic() + 30
    while len(set(place.fits())) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.0)
    assert other.poll() is None
    kill(driver.pid, signal.SIGCONT)
    assert ended(driver)[0] == 0
    assert ended(other)[0] == 0
    assert sorted(place.fits()) == sorted({(name, seed) for name in ("Quick", "Other") for seed in range(3)})
    place.check_whole()
    assert place.comparable() == undisturbed
    place.check_tidy()


def kill_at_random(place, jobs, rounds, rng):
    """Kill a part of a run, or all of it, at any moment; each time look at what it left."""
    kept = {}
    for _ in range(rounds):
        driver = place.start("--jobs", str(jobs), seeds=6, fit_s=0.05)
        time.sleep(rng.uniform(0.3, 2.2))
        if driver.poll() is None:
            those = place.processes()
            victims = rng.choice([those, [psutil.Process(driver.pid)], rng.sample(those, 1)])
            for victim in victims:
                kill(victim.pid)
        _, err = driver.communicate(timeout=60)
        assert "Traceback" not in err, err
        place.check_nothing_runs()
        found = place.check_whole()
        assert {run_id: found.get(run_id) for run_id in kept} == kept, "finished work is lost"
        kept = found


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_kills_at_random_moments(place, tmp_path, shared_cache, jobs):
    rng = random.Random(jobs)
    kill_at_random(place, jobs, 20, rng)
    code, _, err = place.run("--jobs", str(jobs), seeds=6)
    assert code == 0, err
    place.check_whole()
    place.check_tidy()
    calm = type(place)(tmp_path / "calm", shared_cache)
    assert calm.run(seeds=6)[0] == 0
    assert place.comparable() == calm.comparable()


def test_kills_at_a_few_moments(place, tmp_path, shared_cache):
    kill_at_random(place, 2, 4, random.Random(3))
    code, _, err = place.run("--jobs", "2", seeds=6)
    assert code == 0, err
    place.check_whole()
    place.check_tidy()
