"""The page of a method begins with what its tags say: what it is told."""

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

import methods
from bench import registry
from bench.experiment.grades import Told

DETECTORS = {
    ref.name: ref for ref in registry.available().values() if ref.target.startswith("methods.") and not ref.is_control
}


def source_of(name):
    return registry.module_file(DETECTORS[name].target.partition(":")[0]).read_text(encoding="utf-8")


def asks(name):
    """Whether it asks a language model, read from its source."""
    return "methods.shared.asking" in source_of(name)


def with_mark(name):
    """A network trains for seconds: `make test` leaves its example out."""
    return pytest.param(name, marks=pytest.mark.slow) if "import torch" in source_of(name) else name


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


@pytest.mark.parametrize("name", DETECTORS)
def test_a_docstring_is_short_and_names_the_page_with_the_numbers(name):
    module = importlib.import_module(DETECTORS[name].target.partition(":")[0])
    assert len(module.__doc__.strip().splitlines()) <= 25
    assert f"docs/methods/{name}.md" in module.__doc__
    page = Path(methods.__file__).parents[1] / "docs" / "methods" / f"{name}.md"
    assert "Not written yet" not in page.read_text(encoding="utf-8")


def test_numbers_of_results_stand_in_no_docstring():
    """`F1 .95`, `AUROC 0.9`: those are claims of docs/methods, which a command checks."""
    found = re.compile(r"\b(?:F1|AUROC|AP|precision|recall)\b[^.\n]{0,30}?[ (]0?\.\d\d")
    texts = {ref.target.partition(":")[0] for ref in registry.available().values() if ref.target.startswith("methods.")}
    pages = {name: ast.parse(registry.module_file(name).read_text(encoding="utf-8")) for name in texts}
    nodes = {
        name: [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))] for name, tree in pages.items()
    }
    assert [n for n, found_in in nodes.items() if any(found.search(ast.get_docstring(x) or "") for x in found_in)] == []


MODULES = {DETECTORS[name].target.partition(":")[0]: name for name in reversed(DETECTORS) if not asks(name)}


@pytest.mark.parametrize("name", [with_mark(name) for name in MODULES.values()])
def test_the_example_of_a_docstring_runs(name):
    module = importlib.import_module(DETECTORS[name].target.partition(":")[0])
    found = doctest.DocTestParser().get_doctest(module.__doc__, dict(vars(module)), name, module.__file__, 1)
    outcome = doctest.DocTestRunner(verbose=False).run(found)
    assert (outcome.failed, outcome.attempted) == (0, 5)
