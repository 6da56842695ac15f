"""What is installed is what stands in the checkout: packages and their files, as pyproject.toml lists them."""

import fnmatch
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def left_out(files, setuptools):
    """Files below `bench` and `methods` that a wheel would lack."""
    data = setuptools["package-data"]
    for file in files:
        path = Path(file)
        owner = next((package for package in _owners(path.parent) if package in setuptools["packages"]), "")
        inside = path.relative_to(owner.replace(".", "/")).as_posix() if owner else ""
        is_module = path.suffix == ".py" and "/" not in inside
        if not owner or not (is_module or any(fnmatch.fnmatch(inside, kind) for kind in data.get(owner, ()))):
            yield file


def _owners(folder):
    """The packages that a folder may belong to, the nearest first."""
    parts = folder.parts
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def tracked():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "bench", "methods"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_a_wheel_lacks_no_file_of_the_packages():
    assert list(left_out(tracked(), SETUPTOOLS)) == []


@pytest.mark.parametrize("package", ["bench.reporting.errors", "methods.shared"])
def test_a_package_that_is_not_listed_is_found(package):
    packages = [name for name in SETUPTOOLS["packages"] if name != package]
    missing = list(left_out(tracked(), {**SETUPTOOLS, "packages": packages}))
    assert missing
    assert all(file.startswith(package.replace(".", "/")) for file in missing)


def test_data_of_a_package_that_is_not_listed_is_found():
    assert list(left_out(["bench/experiment/suites/new.json"], SETUPTOOLS)) == ["bench/experiment/suites/new.json"]


def test_what_is_installed_under_another_name_is_there():
    moved = SETUPTOOLS["package-dir"]
    assert moved == {"bench._cards": "datasets", "bench._published": "results"}
    for package, folder in moved.items():
        assert package in SETUPTOOLS["packages"]
        for kind in SETUPTOOLS["package-data"][package]:
            assert list((ROOT / folder).glob(kind)), kind
