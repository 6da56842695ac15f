"""The page of a method begins with what its tags say: what it is told."""

import importlib
from pathlib import Path

import pytest

import methods
from bench import registry
from bench.experiment.grades import Told

DETECTORS = {
    ref.name: ref for ref in registry.available().values() if ref.target.startswith("methods.") and not ref.is_control
}


def told_words(cls):
    """`source normals`, without what a config adds."""
    return Told(dict(list(cls.tags.told.items())[:1])).sentence if cls.tags.told else "nothing, it asks a model"


@pytest.mark.parametrize("name", DETECTORS)
def test_a_docstring_says_what_the_method_is_told(name):
    cls = registry.load(DETECTORS[name])
    page = importlib.import_module(cls.__module__).__doc__
    assert f"\nTold: {told_words(cls)}" in page


def test_no_page_speaks_of_supervision():
    assert len(DETECTORS) > 20
    folder = Path(methods.__file__).parent
    assert [path.name for path in folder.rglob("*.py") if "Supervision:" in path.read_text(encoding="utf-8")] == []
