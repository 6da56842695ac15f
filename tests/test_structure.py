"""The rules of the layout, read from the sources; each rule is also shown to be able to fail."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HOUSE = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
GROUND = {
    "bench.types",
    "bench._classes",
    "bench._files",
    "bench._sealed",
    "bench._memory",
    "bench._plain",
    "bench._local",
    "bench._processes",
}
DATA = {"bench.data.cards", "bench.data.reading", "bench.data.sequences", "bench.data.embedding"}
CONTRACT = {"bench.detector", "bench.contract"}
ENGINE = GROUND | DATA | CONTRACT | {"bench.registry", "bench.evaluation", "bench.records", "bench.experiment"}
GROUPS = {"ground": GROUND, "data": DATA, "contract": CONTRACT, "engine": ENGINE}


def rooms_of(page):
    """Which rooms a room may import, besides itself and `bench.errors`: the last table of docs/house.md."""
    allowed = {}
    for line in page.rpartition("| room | may import |")[2].splitlines()[2:]:
        if not line.startswith("|"):
            break
        room, imports = (cell.strip() for cell in line.strip("|").split("|"))
        words = [word.strip() for word in imports.split(",") if word.strip()]
        named = {word.strip("`") for word in words if word.startswith("`")}
        allowed[room.strip("`")] = named.union(*(GROUPS[word] for word in words if not word.startswith("`")))
    return allowed


MAY_IMPORT = rooms_of(HOUSE)
HEAVY = {
    "torch",
    "sklearn",
    "sentence_transformers",
    "transformers",
    "entmax",
    "matplotlib",
    "ray",
    "scikit_posthocs",
    "pandas",
}
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|farm|root)/\w")
MAX_FILE, MAX_FUNCTION = 400, 60


def python_sources(*folders):
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def tracked_texts():
    """Text files that are tracked, or would be with `git add .`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    texts = {}
    for name in filter(None, listed):
        if (ROOT / name).is_file() and b"\0" not in (content := (ROOT / name).read_bytes()):
            texts[name] = content.decode("utf-8", errors="replace")
    return texts


def module_name(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_modules(path, source, known):
    """Dotted names of everything imported anywhere in a file; `from a import b` is a.b where that is a module."""
    module, package = module_name(path), module_name(path) if path.endswith("__init__.py") else None
    package = package or module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names)


def room_of(module):
    """The longest known room that holds the module; None where there is none."""
    while module not in MAY_IMPORT:
        if "." not in module:
            return None
        module = module.rpartition(".")[0]
    return module


def may_import(importer, imported):
    here, there = room_of(importer), room_of(imported)
    if here == "methods" == there:
        return imported == "methods"  # one method never knows another
    return there == "bench.errors" != here or here == there or there in MAY_IMPORT[here]


def arrow_violations(sources):
    known = {module_name(path) for path in sources}
    wrong = []
    for path, source in sources.items():
        importer = module_name(path)
        for imported in imported_modules(path, source, known):
            if imported.partition(".")[0] in ("bench", "methods") and not may_import(importer, imported):
                wrong.append(f"{importer} imports {imported}")
    return wrong


def circles(allowed):
    """Rooms that could import themselves by way of others."""
    open_rooms = {room: set(rooms) - {room} for room, rooms in allowed.items()}
    while free := [room for room, rooms in open_rooms.items() if not rooms & open_rooms.keys()]:
        for room in free:
            del open_rooms[room]
    return sorted(open_rooms)


def foreign_imports(source):
    names = {name.partition(".")[0] for name in imported_modules("bench/x.py", source, set())}
    return names - set(sys.stdlib_module_names)


def run_at_import(tree):
    """The statements that an import executes: not the bodies of functions, not what is for type checkers."""
    for node in ast.iter_child_nodes(tree):
        type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not type_checking:
            yield node
            yield from run_at_import(node)


def heavy_import_violations(sources):
    wrong = []
    for path, source in sources.items():
        for node in run_at_import(ast.parse(source)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{path}:{node.lineno} imports {name}" for name in names if name.partition(".")[0] in HEAVY]
    return wrong


def own_lines(function):
    """Lines of a function without its docstring."""
    documented = ast.get_docstring(function) is not None
    docstring = function.body[0].end_lineno - function.body[0].lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def size_violations(sources):
    wrong = []
    for path, source in sources.items():
        if (n := len(source.splitlines())) >= MAX_FILE:
            wrong.append(f"{path} has {n} lines")
        functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        wrong += [f"{path}: {f.name} has {own_lines(f)} lines" for f in functions if own_lines(f) > MAX_FUNCTION]
    return wrong


def entry_point_violations(pyproject, sources):
    groups = tomllib.loads(pyproject)["project"].get("entry-points", {})
    points = {**groups.get("bench.detectors", {}), **groups.get("bench.controls", {})}
    wrong, named = [], set()
    for name, target in points.items():
        module, _, class_name = target.partition(":")
        path = module.replace(".", "/") + ".py"
        named.add(path)
        if path not in sources:
            wrong.append(f"{name}: there is no {path}")
        elif class_name not in {n.name for n in ast.parse(sources[path]).body if isinstance(n, ast.ClassDef)}:
            wrong.append(f"{name}: {path} has no class {class_name}")
    unnamed = [
        p
        for p in sources
        if p.startswith("methods/") and Path(p).name[0] != "_" and "/shared/" not in p and p not in named
    ]
    return wrong + [f"no entry point names {path}; add one and run `pip install -e .`" for path in unnamed]


def datasets_violations(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py*"))


def machine_path_violations(texts):
    lines = ((name, i, line) for name, text in texts.items() for i, line in enumerate(text.splitlines(), 1))
    return [f"{name}:{i}: {line.strip()[:100]}" for name, i, line in lines if MACHINE_PATH.search(line)]


def test_there_is_something_to_read():
    assert {"bench/types.py", "bench/detector.py", "methods/controls.py"} <= python_sources("bench", "methods").keys()
    assert "pyproject.toml" in tracked_texts()


def test_every_module_has_a_room():
    modules = [module_name(path) for path in python_sources("bench")]
    halls = ("bench", "bench.data", "bench.reporting", "bench.errors")
    assert [m for m in modules if room_of(m) in halls and room_of(m) != m] == []


def test_the_map_names_files_that_exist():
    questions = HOUSE.partition("## I want to ...")[2].partition("## Rooms")[0]
    named = re.findall(r"`((?:bench|methods|datasets)/[\w/]+(?:\.py)?/?)`", questions)
    assert len(named) >= 15
    assert [path for path in named if not (ROOT / path).exists()] == []
    rows = [line for line in questions.splitlines() if line.startswith("| ")][1:]
    assert [row for row in rows if len(re.findall(r"`[\w/]+\.py`", row)) > 2] == []


def test_the_map_has_every_room():
    assert {"bench.types", "bench.cli", "methods.shared"} <= MAY_IMPORT.keys()
    packages = {module_name(p) for p in python_sources("bench", "methods") if p.endswith("/__init__.py")}
    assert packages <= MAY_IMPORT.keys()


def test_rooms_make_no_circle():
    assert circles(MAY_IMPORT) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) == ["a", "b", "c"]


def test_arrows_point_one_way():
    assert arrow_violations(python_sources("bench", "methods")) == []


def environment_readers(sources):
    """Files that read environment variables."""
    return [path for path, source in sources.items() if re.search(r"\bos\.(environ|getenv)\b", source)]


def test_the_language_model_service_reads_the_environment_in_one_file():
    assert environment_readers(python_sources("bench/llm")) == ["bench/llm/config.py"]
    assert environment_readers(python_sources("methods")) == []


def test_types_need_numpy_only():
    assert foreign_imports((ROOT / "bench/types.py").read_text()) == {"numpy"}
    assert foreign_imports((ROOT / "bench/errors.py").read_text()) == set()


def test_heavy_packages_are_imported_inside_functions():
    assert heavy_import_violations(python_sources("bench")) == []


def test_files_and_functions_are_short():
    assert size_violations(python_sources("bench", "methods")) == []


def test_entry_points_name_the_methods():
    assert entry_point_violations((ROOT / "pyproject.toml").read_text(), python_sources("methods")) == []


def test_a_wheel_has_every_package():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {module_name(p) for p in python_sources("bench", "methods") if p.endswith("/__init__.py")}
    assert packages == set(setuptools["packages"]) - setuptools["package-dir"].keys()


def test_datasets_is_no_package():
    assert (ROOT / "datasets").is_dir()
    assert datasets_violations(ROOT / "datasets") == []


def test_no_machine_paths():
    assert machine_path_violations(tracked_texts()) == []


PLANTED_IMPORTS = [
    ("bench/types.py", "from bench.detector import Detector"),
    ("bench/errors.py", "import bench.types"),
    ("bench/__init__.py", "from bench import types"),
    ("bench/detector.py", "from bench.registry import load"),
    ("bench/detector.py", "from bench.llm.client import Chat"),
    ("bench/llm/client.py", "from methods import mlad"),
    ("bench/llm/client.py", "from bench.records import store"),
    ("bench/evaluation/metrics.py", "def f():\n    from bench.data.cards.card import Card"),
    ("bench/evaluation/metrics.py", "from bench.records.store import Store"),
    ("bench/records/store.py", "from bench.evaluation.metrics import f1"),
    ("bench/data/cards/card.py", "from bench.data.reading.read import sources"),
    ("bench/data/cards/card.py", "from ...experiment import spec"),
    ("bench/data/reading/read.py", "from bench.data.sequences import loader"),
    ("bench/data/reading/read.py", "from bench.data.own import guess"),
    ("bench/data/sequences/loader.py", "from bench.data.fetching import fetch"),
    ("bench/experiment/runner.py", "from bench.reporting.tables import table"),
    ("bench/experiment/runner.py", "from bench import reporting"),
    ("bench/experiment/runner.py", "from bench.probes import probe"),
    ("bench/deploy/saved.py", "from bench.reporting.tables import table"),
    ("bench/probes/probe.py", "from bench.deploy import saved"),
    ("bench/reporting/tables/table.py", "from bench.cli import app"),
    ("bench/reporting/tables/table.py", "from bench.reporting.figures import write"),
    ("bench/registry.py", "from methods.deeplog import DeepLog"),
    ("bench/testing/checks.py", "import methods"),
    ("bench/testing/checks.py", "from bench.data.embedding import embed"),
    ("methods/deeplog.py", "from methods.mlad import MLAD"),
    ("methods/deeplog.py", "from .mlad import MLAD"),
    ("methods/deeplog.py", "from methods import mlad"),
    ("methods/deeplog.py", "from bench.evaluation.metrics import f1"),
    ("methods/deeplog.py", "from bench.records import store"),
    ("methods/shared/layers.py", "import bench.registry"),
    ("methods/shared/layers.py", "from methods.mlad import MLAD"),
]
EMPTY_MODULES = """
    bench/__init__ bench/types bench/errors bench/data/__init__ bench/data/cards/card bench/data/embedding
    bench/reporting/__init__ bench/experiment/__init__ bench/experiment/spec bench/data/sequences/loader
    bench/data/own/guess bench/data/fetching/fetch bench/probes/probe bench/deploy/saved bench/records/store
    bench/reporting/figures/write methods/__init__ methods/mlad methods/shared/__init__ methods/shared/layers
"""
MODULES = {f"{module}.py": "" for module in EMPTY_MODULES.split()}


@pytest.mark.parametrize(("path", "planted"), PLANTED_IMPORTS)
def test_import_against_an_arrow_is_found(path, planted):
    assert len(arrow_violations(MODULES | {path: planted})) == 1


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        ("bench/cli/run.py", "from bench.experiment import spec\nfrom . import options\nimport bench.testing"),
        ("bench/data/embedding.py", "from bench.detector import report_progress"),
        ("bench/data/reading/log.py", "from bench.errors import BenchError\nfrom bench.data.cards import card"),
        ("bench/types.py", "import numpy as np\nfrom bench.errors import BenchError"),
        (
            "bench/experiment/runner.py",
            "from bench.records import store\nfrom bench.registry import load\nimport torch",
        ),
        ("methods/mlad.py", "from bench.data.embedding import embed\nfrom bench.data import embedding\nimport torch"),
        ("methods/mlad.py", "from methods.shared.layers import GMM\nfrom methods.shared import layers"),
        ("methods/mlad.py", "from .shared.layers import GMM"),
    ],
)
def test_import_along_an_arrow_is_allowed(path, fine):
    assert arrow_violations(MODULES | {path: fine}) == []


def test_module_without_a_room_is_found():
    assert room_of("bench.utils") == "bench"
    assert room_of("bench.data.embedding.deeper") == "bench.data.embedding"
    assert room_of("numpy") is None


def test_foreign_import_is_found():
    assert foreign_imports("import json\nimport polars as pl\nfrom numpy.typing import NDArray") == {"polars", "numpy"}


@pytest.mark.parametrize(
    "planted",
    [
        "import torch",
        "from torch.nn import Module",
        "try:\n    import sklearn.svm\nexcept ImportError:\n    pass",
        "class A:\n    import transformers",
    ],
)
def test_heavy_import_is_found(planted):
    assert len(heavy_import_violations({"bench/x.py": planted})) == 1


def test_lazy_import_is_allowed():
    lazy = "if TYPE_CHECKING:\n import torch\ndef f():\n import torch\nclass A:\n def g(self):\n  import torch"
    assert heavy_import_violations({"bench/x.py": lazy}) == []


def test_long_file_and_long_function_are_found():
    assert size_violations({"bench/x.py": "x = 1\n" * MAX_FILE}) == [f"bench/x.py has {MAX_FILE} lines"]
    assert size_violations({"bench/x.py": "x = 1\n" * (MAX_FILE - 1)}) == []
    body = '    """One.\n\n    Two.\n    """\n' + "    x = 1\n" * (MAX_FUNCTION - 1)
    assert size_violations({"bench/x.py": "def f():\n" + body}) == []
    assert size_violations({"bench/x.py": "def f():\n" + body + "    x = 1\n"}) == ["bench/x.py: f has 61 lines"]


def test_bad_entry_point_is_found():
    pyproject = '[project.entry-points."bench.detectors"]\na = "methods.a:A"\nb = "methods.b:B"\nc = "methods.c:C"'
    sources = {
        "methods/a.py": "class A: pass",
        "methods/b.py": "class Other: pass",
        "methods/d.py": "",
        "methods/shared/e.py": "",
    }
    found = entry_point_violations("[project]\n" + pyproject, sources)
    assert [line.split()[0] for line in found] == ["b:", "c:", "no"]


def test_python_in_datasets_is_found(tmp_path):
    (tmp_path / "bgl").mkdir()
    (tmp_path / "bgl" / "card.toml").touch()
    assert datasets_violations(tmp_path) == []
    (tmp_path / "bgl" / "reader.py").touch()
    (tmp_path / "__init__.py").touch()
    assert datasets_violations(tmp_path) == ["__init__.py", "bgl/reader.py"]


@pytest.mark.parametrize("top", ["work", "farm", "root"])
def test_machine_path_is_found(top):
    planted = {
        "a.md": f"see /{top}/main",
        "b.toml": f'path = "/{top}/x"',
        "c.py": f"./{top}/x and a/{top}/x and /{top}s/x",
    }
    assert [line.split(":")[0] for line in machine_path_violations(planted)] == ["a.md", "b.toml"]
