"""Claims with real processes: nobody does what another does, and what the dead held is taken over by one."""

import errno
import fcntl
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.records.claims import Claims, Slot
from bench.records.holders import Observer, new_holder
from bench.records.running import Board

FORK = multiprocessing.get_context("fork")
RUN = "00000000000000aa"
SOON_S = 0.3
QUICK = {"stale_s": SOON_S, "beat_s": 0.05}


def run_id(number):
    return f"{number:016x}"


def started(work, *arguments):
    process = FORK.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def wait_for(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def note(folder, text):
    """A line that several processes may write at once."""
    with (folder / "notes").open("a") as stream:
        stream.write(f"{text}\n")


def notes(folder):
    return (folder / "notes").read_text().splitlines() if (folder / "notes").exists() else []


def race(folder, ids, seed):
    """Try to get every run until told to stop, and live until told to end; keep what was got."""
    claims, left = Claims(folder), list(ids)
    random.Random(seed).shuffle(left)
    wait_for((folder / "go").exists)
    while not (folder / "stop").exists():
        for run in list(left):
            if claims.take(run) is not None:
                note(folder, run)
                left.remove(run)
    note(folder, "stopped")
    wait_for((folder / "end").exists)


def raced(folder, ids, first=lambda: None):
    """What four processes got that tried for all of `ids` at once, after `first` was done."""
    racers = [started(race, folder, ids, seed) for seed in range(4)]
    (folder / "go").touch()
    first()
    wait_for(lambda: len(notes(folder)) >= len(ids))
    time.sleep(0.3)
    (folder / "stop").touch()
    wait_for(lambda: notes(folder).count("stopped") == 4)
    (folder / "end").touch()
    for racer in racers:
        racer.join(20)
        assert racer.exitcode == 0
    return sorted(line for line in notes(folder) if line != "stopped")


def hold(folder, ids):
    """Hold these runs until killed."""
    claims = Claims(folder)
    for run in ids:
        assert claims.take(run) is not None
    note(folder, "held")
    time.sleep(60)


def killed_holder(folder, ids):
    """Let a process hold runs, and kill it; it is not waited for, so that its pid stays taken."""
    holder = started(hold, folder, ids)
    wait_for(lambda: notes(folder) == ["held"])
    os.kill(holder.pid, signal.SIGKILL)
    (folder / "notes").unlink()
    return holder


def edit(folder, run, **changes):
    path = folder / "claims" / f"{run}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))
    return content["token"]


def names(folder):
    return sorted(path.name for path in (folder / "claims").iterdir())


def taken_within(claims, run, seconds):
    """Ask for a run again and again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        claim = claims.take(run)
        if claim is not None:
            return claim
        time.sleep(0.01)
    return None


def without_links(source, target):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("has_links", [True, False])
def test_of_four_processes_one_gets_each_of_200_runs(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", without_links)
    ids = [run_id(number) for number in range(200)]
    assert raced(tmp_path, ids) == ids


@pytest.mark.parametrize("has_links", [True, False])
def test_what_a_killed_process_held_is_taken_over_by_one_of_four(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", without_links)
    ids = [run_id(number) for number in range(100)]
    killed_holder(tmp_path, ids)
    assert raced(tmp_path, ids) == ids


def test_who_waits_gets_the_run_when_its_holder_is_killed(tmp_path):
    holder = started(hold, tmp_path, [RUN])
    wait_for(lambda: notes(tmp_path) == ["held"])
    (tmp_path / "notes").unlink()

    def kill():
        time.sleep(0.3)
        assert notes(tmp_path) == []
        os.kill(holder.pid, signal.SIGKILL)

    assert raced(tmp_path, [RUN], kill) == [RUN]


def work(folder, seed):
    """Do runs in order, each once, until told to stop; a lock of the kernel tells when two are at one."""
    draw, claims = random.Random(seed), Claims(folder / "cache")
    first = 0
    while not (folder / "stop").exists():
        while (folder / "done" / run_id(first)).exists():
            first += 1
        run = run_id(first + draw.randrange(8))
        if (folder / "done" / run).exists():
            continue
        claim = claims.take(run)
        if claim is None:
            continue
        if not (folder / "done" / run).exists():
            do(folder, run, draw)
        claim.release()


def do(folder, run, draw):
    with (folder / "locks" / run).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(folder, f"two at {run}")
            return
        time.sleep(draw.random() * 0.004)
        try:
            (folder / "done" / run).touch(exist_ok=False)
        except FileExistsError:
            note(folder, f"{run} done twice")


@pytest.mark.slow
def test_200_kills_at_any_moment_and_no_run_is_done_twice(tmp_path):
    for name in ("done", "locks"):
        (tmp_path / name).mkdir()
    draw, seeds = random.Random(14), itertools.count()
    workers = [started(work, tmp_path, next(seeds)) for _ in range(4)]
    for _ in range(200):
        time.sleep(draw.random() * 0.03)
        index = draw.randrange(4)
        os.kill(workers[index].pid, signal.SIGKILL)
        if draw.random() < 0.5:
            workers[index].join()
        workers[index] = started(work, tmp_path, next(seeds))
    time.sleep(0.3)
    (tmp_path / "stop").touch()
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    assert notes(tmp_path) == []
    n_done = len(list((tmp_path / "done").iterdir()))
    assert n_done > 200
    with Claims(tmp_path / "cache") as claims:
        claims.remove_leftovers()
        assert names(tmp_path / "cache") == []
        assert all(claims.take(run_id(number)) for number in range(n_done + 8))


def test_one_that_looked_long_ago_takes_no_newer_claim(tmp_path, monkeypatch):
    """The holder is dead; the first one sees it, then sleeps while the second one takes the run over."""
    killed_holder(tmp_path, [RUN]).join()
    first, second = Claims(tmp_path), Claims(tmp_path)
    take_over, got = Slot._take_over, []

    def late(slot, token, new):
        monkeypatch.setattr(Slot, "_take_over", take_over)
        got.append(second.take(RUN))
        return take_over(slot, token, new)

    monkeypatch.setattr(Slot, "_take_over", late)
    assert first.take(RUN) is None
    assert got[0].is_held()
    assert len([name for name in names(tmp_path) if "right" in name or "new" in name]) == 0


def test_one_that_looked_long_ago_takes_no_claim_that_was_given_back_and_taken_anew(tmp_path, monkeypatch):
    killed_holder(tmp_path, [RUN]).join()
    first, second, third = Claims(tmp_path), Claims(tmp_path), Claims(tmp_path)
    get_right, got = Slot._get_right, []

    def late(slot, token, new):
        monkeypatch.setattr(Slot, "_get_right", get_right)
        second.take(RUN).release()
        right = get_right(slot, token, new)
        got.append(third.take(RUN))
        return right

    monkeypatch.setattr(Slot, "_get_right", late)
    assert first.take(RUN) is None
    assert got[0].is_held()


def test_one_that_dies_while_taking_over_is_itself_taken_over(tmp_path):
    killed_holder(tmp_path, [RUN]).join()
    token = edit(tmp_path, RUN)
    dead = tmp_path / "claims" / f"{RUN}.json"
    right = tmp_path / "claims" / f"{RUN}.{token}.right-0"
    right.write_bytes(new_holder({}).to_bytes())
    with Claims(tmp_path) as claims:
        assert claims.take(RUN) is None  # this process lives, and is just taking it over
        shutil.copy(dead, right)
        assert claims.take(RUN).is_held()
        assert names(tmp_path) == [f"{RUN}.json"] or names(tmp_path)[0].endswith("beat")


def test_a_run_is_had_once_and_again_after_its_release(tmp_path):
    with Claims(tmp_path) as claims, Claims(tmp_path) as others:
        claim = claims.take(RUN, what={"method": "mlad", "seed": 3})
        assert claims.take(RUN) is None
        assert others.take(RUN) is None
        assert others.holder(RUN).pid == os.getpid()
        assert others.holder(RUN).what == {"method": "mlad", "seed": 3}
        claim.release()
        claim.release()
        assert not claim.is_held()
        assert others.holder(RUN) is None
        assert others.take(RUN) is not None
    assert names(tmp_path) == []


def test_threads_of_a_process_claim_different_runs(tmp_path):
    ids, got = [run_id(number) for number in range(50)], []
    with Claims(tmp_path) as claims:

        def take_all():
            got.extend(run for run in ids if claims.take(run) is not None)

        threads = [threading.Thread(target=take_all) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got) == ids


def test_a_pid_that_another_process_has_now_is_no_holder(tmp_path):
    with Claims(tmp_path) as claims, Claims(tmp_path) as others:
        claims.take(RUN)
        started_at = others.holder(RUN).started
        assert others.take(RUN) is None
        edit(tmp_path, RUN, started=started_at - 1)
        assert others.take(RUN).is_held()


def test_a_process_that_was_killed_and_not_waited_for_is_gone(tmp_path):
    holder = killed_holder(tmp_path, [RUN])
    with Claims(tmp_path) as claims:
        assert taken_within(claims, RUN, 5.0) is not None
        assert Path(f"/proc/{holder.pid}/stat").read_text().split()[2] == "Z"


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"boot": "another boot"}])
def test_what_another_machine_holds_is_had_when_its_beats_stand_still(tmp_path, change):
    with Claims(tmp_path, **QUICK) as claims, Claims(tmp_path, **QUICK) as others:
        claim = claims.take(RUN)
        edit(tmp_path, RUN, **change)
        assert taken_within(others, RUN, 5 * SOON_S) is None
        assert claim.is_held()
        claims._stop.set()
        claims._thread.join()
        began = time.monotonic()
        taken = taken_within(others, RUN, 20 * SOON_S)
        assert taken is not None
        assert time.monotonic() - began >= SOON_S / 2  # the last beat was a little before
        assert not claim.is_held()
        claim.release()  # of one that wakes up
        assert taken.is_held()
        assert claims.take(RUN) is None


def test_looking_twice_with_a_long_sleep_between_is_not_enough(monkeypatch):
    now = itertools.chain([0.0], itertools.count(1000.0, 10.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    observer = Observer(60.0)
    looks = [observer.stands_still("a", b"1") for _ in range(8)]
    assert looks == [False] * 6 + [True] * 2
    assert observer.stands_still("a", b"2") is False


@pytest.mark.parametrize("moved_s", [-86400.0, 86400.0])
def test_a_clock_that_is_set_changes_nothing(tmp_path, monkeypatch, moved_s):
    real = time.time
    killed = tmp_path / "killed"
    killed.mkdir()
    killed_holder(killed, [RUN])
    with Claims(tmp_path, **QUICK) as claims, Claims(tmp_path, **QUICK) as others:
        claim = claims.take(RUN)
        monkeypatch.setattr(time, "time", lambda: real() + moved_s)
        for path in (tmp_path / "claims").iterdir():
            os.utime(path, (1.0, 1.0))
        assert taken_within(others, RUN, 2 * SOON_S) is None
        edit(tmp_path, RUN, host="elsewhere")
        assert taken_within(others, RUN, 3 * SOON_S) is None
        assert claim.is_held()
    with Claims(killed) as claims:
        assert taken_within(claims, RUN, 5.0) is not None


def test_a_moved_boot_time_makes_no_live_process_another(tmp_path, monkeypatch):
    """The kernel gives the time of the boot by the wall clock, and psutil adds it to starting times."""
    import psutil

    with Claims(tmp_path) as claims, Claims(tmp_path) as others:
        claims.take(RUN)
        monkeypatch.setattr(psutil, "boot_time", lambda: 1.0)
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 1.0)
        assert others.take(RUN) is None


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b'{"host": "a"', b"[]", b'{"pid": -1}', b"\xff{}"])
def test_a_damaged_claim_is_had_after_a_while(tmp_path, content):
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / f"{RUN}.json").write_bytes(content)
    with Claims(tmp_path, **QUICK) as claims:
        assert claims.take(RUN) is None
        assert claims.holder(RUN) is None
        assert taken_within(claims, RUN, 20 * SOON_S).is_held()
    assert names(tmp_path) == []


@pytest.mark.parametrize("changes", [{"token": "../../x"}, {"pid": 10**30}, {"pid": True}, {"started": 1e400}])
def test_a_claim_that_was_tampered_with_is_a_damaged_one(tmp_path, changes):
    with Claims(tmp_path, **QUICK) as claims, Claims(tmp_path, **QUICK) as others:
        claims.take(RUN)
        edit(tmp_path, RUN, **changes)
        assert others.take(RUN) is None
        assert others.holder(RUN) is None
        assert taken_within(others, RUN, 20 * SOON_S).is_held()


@pytest.mark.parametrize("what", ["gone", "another"])
def test_a_claim_that_is_no_longer_there_is_lost(tmp_path, what):
    with Claims(tmp_path, **QUICK) as claims:
        claim = claims.take(RUN)
        time.sleep(0.2)
        assert not claim.is_lost
        if what == "gone":
            (tmp_path / "claims" / f"{RUN}.json").unlink()
        else:
            edit(tmp_path, RUN, token="0" * 16)
        wait_for(lambda: claim.is_lost)
        claim.release()
        assert not claim.is_held()
    assert what == "gone" or f"{RUN}.json" in names(tmp_path)


def test_progress_is_written_beside_the_claim(tmp_path):
    with Claims(tmp_path, **QUICK) as claims:
        claim = claims.take(RUN, what={"method": "mlad", "seed": 3, "cell": 2, "cells": 4})
        claim.update({"step": "training", "done": 3, "total": 30, "loss": float("nan")})
        claims.report(total=4, done=1, failed=0, left_s=12.5)
        board = Board(tmp_path)
        wait_for(lambda: board.commands() and board.cells()[0].progress)
        (cell,), (command,) = board.cells(), board.commands()
        assert cell.progress == {"step": "training", "done": 3, "total": 30, "loss": None}
        assert (cell.pid, cell.what["method"], cell.is_gone) == (os.getpid(), "mlad", False)
        assert (command.total, command.done, command.failed, command.left_s) == (4, 1, 0, 12.5)
        wait_for(lambda: board.cells()[0].elapsed_s > cell.elapsed_s)
    assert (board.cells(), board.commands()) == ([], [])


def test_telling_progress_costs_no_writing(tmp_path):
    with Claims(tmp_path) as claims:
        claim = claims.take(RUN)
        shutil.rmtree(tmp_path)
        for epoch in range(1000):
            claim.update({"step": "training", "done": epoch, "total": 1000})
        assert not tmp_path.exists()


def test_a_fork_of_the_holder_releases_nothing(tmp_path):
    with Claims(tmp_path, **QUICK) as claims:
        claim = claims.take(RUN)

        def end():
            claim.release()
            claims.close()
            assert claims.take(RUN) is None
            assert claims.take(run_id(1)).is_held()

        fork = started(end)
        fork.join(20)
        assert fork.exitcode == 0
        assert claim.is_held()
        assert claims.take(run_id(1)).is_held()


def test_leftovers_of_the_dead_are_removed_and_nothing_else(tmp_path):
    killed_holder(tmp_path, [run_id(1), run_id(2)]).join()
    token = edit(tmp_path, run_id(1))
    folder = tmp_path / "claims"
    dead = (folder / f"{run_id(1)}.json").read_bytes()
    for name in (f"{run_id(7)}.{'a' * 16}.new", f"{run_id(1)}.{token}.beat", f"{run_id(8)}.{'b' * 16}.right-0"):
        (folder / name).write_bytes(dead)
    (tmp_path / "running").mkdir()
    (tmp_path / "running" / f"{'c' * 16}.json").write_bytes(dead)
    with Claims(tmp_path) as claims, Claims(tmp_path) as others:
        claims.take(RUN)
        claims.take(run_id(5))
        edit(tmp_path, run_id(5), host="elsewhere")
        wait_for(lambda: len([name for name in names(tmp_path) if name.endswith("beat")]) == 3)
        alive = [name for name in names(tmp_path) if name.startswith((RUN, run_id(5)))]
        others.remove_leftovers()
        assert names(tmp_path) == alive
        assert list((tmp_path / "running").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "cache").write_text("")
    claims = Claims(tmp_path / "cache")
    for act in (lambda: claims.take(RUN), lambda: claims.take(RUN)):
        with pytest.raises(BenchError, match=r"claims' cannot be written \(Not a directory\): choose another folder"):
            act()
    assert claims.holder(RUN) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_full_or_closed_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, code):
    def refuse(*ignored):
        raise OSError(code, os.strerror(code))

    with Claims(tmp_path) as claims:
        monkeypatch.setattr(os, "link", refuse)
        with pytest.raises(BenchError, match=rf"cannot be written \({os.strerror(code)}\): choose another folder"):
            claims.take(RUN)
        assert names(tmp_path) == []
        monkeypatch.undo()
        assert claims.take(RUN) is not None


def test_a_disk_that_is_full_for_a_while_ends_no_claim(tmp_path, monkeypatch):
    with Claims(tmp_path, **QUICK) as claims:
        claim = claims.take(RUN)
        wait_for(lambda: Board(tmp_path).cells()[0].elapsed_s is not None)
        replace = Path.replace

        def full(path, target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "replace", full)
        time.sleep(0.3)
        elapsed_s = Board(tmp_path).cells()[0].elapsed_s
        monkeypatch.setattr(Path, "replace", replace)
        wait_for(lambda: Board(tmp_path).cells()[0].elapsed_s > elapsed_s + 0.2)
        assert claim.is_held()
        assert [name for name in names(tmp_path) if name.endswith("tmp")] == []


def test_a_claim_names_its_process_and_no_record_does(tmp_path):
    with Claims(tmp_path) as claims:
        claims.take(RUN)
        content = json.loads((tmp_path / "claims" / f"{RUN}.json").read_text())
    assert set(content) == {"host", "boot", "pid", "started", "token", "what"}
    assert content["pid"] == os.getpid()


FULL = """
import sys
from pathlib import Path
from bench.errors import BenchError
from bench.records.claims import Claims

try:
    with Claims(Path(sys.argv[1])) as claims:
        for number in range(1000):
            claims.take(f"{number:016x}")
except BenchError as error:
    print(number, error)
print(sorted(path.name for path in Path(sys.argv[1]).rglob("*")))
"""


@pytest.mark.parametrize(
    ("options", "said"), [("size=64k", "No space left on device"), ("ro", "Read-only file system")]
)
def test_a_disk_that_is_really_full_or_read_only(tmp_path, options, said):
    script = f'mount -t tmpfs -o {options} none "$1" && exec "$0" -c "$2" "$1"'
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable, str(tmp_path), FULL]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    refused, left = done.stdout.splitlines()
    assert f"claims' cannot be written ({said}): choose another folder or make room" in refused
    assert refused.startswith("0 ") == (options == "ro")
    assert left in ("[]", "['claims']")
