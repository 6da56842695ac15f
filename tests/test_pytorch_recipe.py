"""docs/pytorch.md: its method passes the kit and runs as a local file, and what it calls public is there."""

import importlib
import re
from pathlib import Path

import polars as pl
import pytest

import bench
from bench._local import load_file
from bench.testing import check_detector, conforms, summarise

pytestmark = pytest.mark.trains
PAGE = (Path(__file__).parents[1] / "docs" / "pytorch.md").read_text(encoding="utf-8")


@pytest.fixture
def recipe(tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    path = tmp_path / "autoencoder.py"
    path.write_text(code)
    return path


def test_the_method_of_the_page_passes_every_check(recipe):
    cls = load_file(recipe).Autoencoder
    results = check_detector(cls, config=cls.Config(steps=60))
    assert conforms(results), summarise(results)
    passed = {result.name for result in results if result.status == "passed"}
    assert {"check_state", "check_batches", "check_seeding"} & passed


@pytest.mark.slow
def test_it_runs_as_a_file_beside_the_controls(recipe, tmp_path):
    name = f"{recipe}:Autoencoder"
    found = bench.run(
        name, "bgl@simulated", seeds=1, settings=[f"{name}.steps=60"], out=tmp_path / "out", progress=False
    )
    frame = found.to_polars()
    (ap,) = frame.filter(pl.col("method").str.contains("Autoencoder"))["ap"]
    assert ap > 0.138  # the share of abnormal sequences, which chance has


def names():
    rows = re.findall(r"^\| `(methods\.shared\.\w+)` \| (.+?) \|", PAGE, re.MULTILINE)
    return [(module, name) for module, listed in rows for name in re.findall(r"`(\w+)`", listed)]


@pytest.mark.parametrize(("module", "name"), names())
def test_what_is_called_public_is_there_and_says_what_it_is(module, name):
    assert getattr(importlib.import_module(module), name).__doc__


def test_what_the_method_imports_is_public(recipe):
    lines = re.findall(r"^from (methods\.shared\.\w+) import (.+)$", recipe.read_text(), re.MULTILINE)
    assert {(module, name.strip()) for module, listed in lines for name in listed.split(",")} <= set(names())
