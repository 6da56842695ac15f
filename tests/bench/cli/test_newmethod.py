"""`bench check NAME --new`: what it writes passes the conformance kit at once and can be installed."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench import registry
from bench.testing import check_detector, conforms, summarise

ROOT = Path(__file__).parents[3]


def test_the_skeleton_passes_every_check(call, tmp_path):
    code, out, err = call("check", "rare-words", "--new", "--to", tmp_path)
    assert code == 0, err
    file = tmp_path / "rare-words" / "src" / "rare_words" / "detector.py"
    assert f"bench check {file}:RareWords" in err
    assert "0 failed" in out
    results = check_detector(registry.load(registry.find(f"{file}:RareWords")))
    assert conforms(results), summarise(results)
    assert {result.status for result in results} <= {"passed", "skipped"}


def test_its_own_tests_pass(call, tmp_path):
    call("check", "rare-words", "--new", "--to", tmp_path)
    folder = tmp_path / "rare-words"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": "src"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_it_is_clean_by_the_projects_own_rules(call, tmp_path):
    call("check", "rare-words", "--new", "--to", tmp_path)
    source = tmp_path / "rare-words" / "src"
    # The order of imports differs where bench is a foreign package.
    for command in (["ruff", "check", "--ignore", "I001"], ["ruff", "format", "--check"]):
        arguments = [sys.executable, "-m", *command, "--config", str(ROOT / "pyproject.toml"), str(source)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_entry_point_names_the_class(call, tmp_path):
    call("check", "rare-words", "--new", "--to", tmp_path)
    project = tomllib.loads((tmp_path / "rare-words" / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["bench.detectors"]["rare-words"].partition(":")
    path = tmp_path / "rare-words" / "src" / f"{module.replace('.', '/')}.py"
    assert name in {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}


def test_inside_a_checkout(call, tmp_path, monkeypatch):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    before = tomllib.loads((ROOT / "pyproject.toml").read_text())
    code, _, err = call("check", "aardvark", "--new", "--here")
    assert code == 0, err
    assert "methods/aardvark.py:Aardvark" in err
    after = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    points = after["project"]["entry-points"]
    assert points["bench.detectors"].pop("aardvark") == "methods.aardvark:Aardvark"
    assert after == before
    assert (tmp_path / "tests/methods/test_aardvark.py").is_file()
    assert "exists" in call("check", "aardvark", "--new", "--here")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Rare",), "is no name for a method"),
        (("2fast",), "is no name for a method"),
        (("rare", "--here"), "is no checkout"),
    ],
)
def test_mistakes(call, arguments, message):
    code, _, err = call("check", *arguments, "--new")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_a_package_is_not_overwritten(call, tmp_path):
    assert call("check", "rare", "--new", "--to", tmp_path)[0] == 0
    assert "exists" in call("check", "rare", "--new", "--to", tmp_path)[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("new-method", "rare"), "`bench check NAME --new`"),
        (("check", "rare", "--to", "folder"), "give --new too"),
        (("check", "rare", "--here"), "give --new too"),
        (("check", "rare", "--new", "--permuted"), "leave --set and --permuted out"),
        (("check", "rare", "--new", "--here", "--to", "folder"), "leave --set and --permuted out, and --to or --here"),
    ],
)
def test_what_does_not_go_together_is_one_sentence_and_writes_nothing(call, tmp_path, arguments, message):
    code, _, err = call(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []
