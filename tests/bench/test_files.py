"""Files that appear whole: nobody's half file is in another's way, and what the dead left is cleared away."""

import os
import subprocess
import sys
import threading
import time

import pytest

from bench import _files, _processes
from bench._files import put, put_text, remove_leftovers, temporary_beside
from tests.leftovers import temporary_of_the_dead


def test_threads_that_write_one_file_at_once_do_not_meet(tmp_path):
    """Each sees its own half file; the file holds the whole text of one of them."""
    path, together, failed = tmp_path / "record.json", threading.Barrier(4), []

    def write(number):
        def slowly(temporary):
            together.wait()
            with temporary.open("w") as stream:
                for _ in range(50):
                    stream.write(f"{number}")
                    stream.flush()
                    time.sleep(0.0005)
            assert temporary.read_text() == f"{number}" * 50

        try:
            put(path, slowly)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert path.read_text() in {f"{number}" * 50 for number in range(4)}
    assert [found.name for found in tmp_path.iterdir()] == ["record.json"]


def test_what_a_killed_process_left_goes(tmp_path):
    left = temporary_of_the_dead(tmp_path / "a.json")
    assert left.read_text() == "half"
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_waited_for_is_gone_too(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        deadline = time.monotonic() + 10
        while _processes.started(child.pid) != _processes.HAS_ENDED and time.monotonic() < deadline:
            time.sleep(0.01)
        left = tmp_path / f"a.json.{_processes.place()}-{child.pid}-1.00-0123abcd.tmp"
        left.touch()
        remove_leftovers(tmp_path)
        assert not left.exists()


def test_a_number_that_another_process_was_given_since_is_no_sign_of_life(tmp_path):
    own = temporary_beside(tmp_path / "a.json").name
    place, pid, since, token = own.removeprefix("a.json.").removesuffix(".tmp").split("-")
    assert int(pid) == os.getpid()
    (tmp_path / own).touch()
    (tmp_path / f"b.json.{place}-{pid}-{float(since) - 5:.2f}-{token}.tmp").touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [own]


@pytest.mark.parametrize("name", ["a.json.0123abcd-999999999-5.00-0123abcd.tmp", "mine.tmp", "a.json.17.tmp"])
def test_what_another_machine_or_somebody_else_left_is_not_judged(tmp_path, name):
    (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert (tmp_path / name).exists()


def test_machines_and_containers_are_told_apart(monkeypatch):
    places = set()
    for host, namespace in (("a", "pid:[1]"), ("b", "pid:[1]"), ("a", "pid:[2]")):
        monkeypatch.setattr(_processes.socket, "gethostname", lambda host=host: host)
        monkeypatch.setattr(_processes, "boot", lambda namespace=namespace: f"boot {namespace}")
        places.add(_processes.place.__wrapped__())
    assert len(places) == 3


def test_what_fails_leaves_nothing(tmp_path):
    def fail(temporary):
        temporary.write_text("half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        put(tmp_path / "a.json", fail)
    put_text(tmp_path / "b.json", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    assert _files.temporary_beside(tmp_path / "b.json") != _files.temporary_beside(tmp_path / "b.json")
