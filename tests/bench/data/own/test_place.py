"""Files that lie elsewhere stay there and are linked, or are copied."""

import pytest

from bench.data.own.place import all_placed, placed
from bench.errors import BenchError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def put(file, folder, **options):
    return placed(file, folder, "shop", **{"copy": False, "force": False} | options)


def test_a_file_below_the_folder_stays(folder):
    (folder / "a.log").write_text("x\n")
    assert put(folder / "a.log", folder) == (folder / "a.log", "")


def test_a_file_from_elsewhere_is_linked(folder, tmp_path):
    log = tmp_path / "a.log"
    log.write_text("x\n")
    target, note = put(log, folder)
    assert target == folder / "shop/a.log"
    assert target.resolve() == log
    assert str(log) in note
    log.write_text("y\n")
    assert target.read_text() == "y\n"
    assert put(log, folder)[0] == target
    assert [path.name for path in (folder / "shop").iterdir()] == ["a.log"]


def test_a_copy_takes_the_place_of_a_link_and_leaves_the_file(folder, tmp_path):
    log = tmp_path / "a.log"
    log.write_text("x\n")
    put(log, folder)
    target, note = put(log, folder, copy=True, force=True)
    assert (target.is_symlink(), target.read_text(), note) == (False, "x\n", "")
    assert log.read_text() == "x\n"


def test_another_file_of_the_name_is_kept(folder, tmp_path):
    (folder / "shop").mkdir()
    (folder / "shop/a.log").write_text("mine\n")
    log = tmp_path / "a.log"
    log.write_text("x\n")
    with pytest.raises(BenchError, match="exists: give --force"):
        put(log, folder)
    assert (folder / "shop/a.log").read_text() == "mine\n"
    put(log, folder, force=True)
    assert (folder / "shop/a.log").read_text() == "x\n"


def test_two_files_of_one_name_do_not_take_one_place(folder, tmp_path):
    files = {}
    for role in ("log", "labels"):
        (tmp_path / role).mkdir()
        files[role] = tmp_path / role / "day.txt"
        files[role].write_text(role)
    with pytest.raises(BenchError, match="have one name and would lie in one place"):
        all_placed(files, folder, "shop", copy=False, force=True)
    assert list(folder.iterdir()) == []
