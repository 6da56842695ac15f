"""The registry: finding detectors without importing them, and saying clearly what is wrong with one."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import _processes, _sealed, registry
from bench._files import temporary_beside
from bench.detector import ContractError, Detector
from bench.errors import BenchError
from bench.registry import CONTROL_GROUP, DETECTOR_GROUP, FieldInfo

ROOT = Path(__file__).parents[2]

SOURCE = '''
"""A file of detectors."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.detector import Detector, DetectorTags

with open({marker!r}, "a") as stream:
    stream.write("x")


@dataclass(frozen=True)
class Config:
    size: int = 3
    rate: float = 0.5
    deep: bool = False
    mode: Literal["fast", "good"] = "fast"
    limit: int | None = None
    url: str = field(default="http://localhost", metadata={{"identity": False}})


class Mine(Detector):
    """Flags the rare.

    More words.
    """

    tags = DetectorTags(told={{"source": "normals"}}, uses=frozenset({{"texts", "log_keys"}}), deterministic=False)
    Config = Config

    def fit(self, train, labels=None, *, evidence=None):
        return self

    def score(self, sequences):
        return None


class NoDetector:
    pass


number = 3
'''


@pytest.fixture
def local(tmp_path):
    """A file with a detector, which counts its imports in `imports`."""
    path = tmp_path / "mine.py"
    path.write_text(SOURCE.format(marker=str(tmp_path / "imports")))
    return path


def n_imports(tmp_path):
    marker = tmp_path / "imports"
    return len(marker.read_text()) if marker.exists() else 0


def complaint(call, *arguments):
    with pytest.raises(BenchError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def installed(monkeypatch):
    """Pretend that exactly these are installed: (group, name, target, distribution)."""

    def pretend(*rows):
        def points(group):
            return [
                SimpleNamespace(name=name, value=target, dist=SimpleNamespace(name=dist, version="1.2"))
                for its_group, name, target, dist in rows
                if its_group == group
            ]

        monkeypatch.setattr(registry, "entry_points", points)
        registry.forget_installed()

    yield pretend
    registry.forget_installed()


def test_entry_points_are_those_of_the_project():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    found = registry.available()
    advice = "an entry point was added or changed: run pip install -e . again"
    for group, is_control in ((DETECTOR_GROUP, False), (CONTROL_GROUP, True)):
        for name, target in declared[group].items():
            assert name in found, advice
            assert (found[name].target, found[name].is_control) == (target, is_control), advice
    assert {ref.name for ref in registry.controls()} >= set(declared[CONTROL_GROUP])


def test_available_names_and_versions(installed):
    installed(
        (DETECTOR_GROUP, "zeta", "pack.zeta:Zeta", "pack"),
        (CONTROL_GROUP, "coin", "pack.coin:Coin", "pack"),
    )
    found = registry.available()
    assert list(found) == ["coin", "zeta"]
    assert (found["zeta"].target, found["zeta"].distribution, found["zeta"].version) == (
        "pack.zeta:Zeta",
        "pack",
        "1.2",
    )
    assert [ref.name for ref in registry.controls()] == ["coin"]
    assert "pack.zeta" not in sys.modules


@pytest.mark.parametrize("second_group", [DETECTOR_GROUP, CONTROL_GROUP])
def test_a_collision_names_both(installed, second_group):
    installed((DETECTOR_GROUP, "same", "one.a:A", "first-pack"), (second_group, "same", "two.b:B", "second-pack"))
    text = complaint(registry.available)
    for part in ("'same'", "one.a:A", "first-pack", "two.b:B", "second-pack", "rename"):
        assert part in text


def test_what_is_installed_is_read_once_and_cannot_be_changed_by_a_caller(installed, monkeypatch):
    installed((DETECTOR_GROUP, "zeta", "pack.zeta:Zeta", "pack"))
    registry.available().clear()
    monkeypatch.setattr(registry, "entry_points", None)
    assert list(registry.available()) == ["zeta"]


def test_the_same_target_twice_is_no_collision(installed):
    installed((DETECTOR_GROUP, "same", "one.a:A", "pack"), (DETECTOR_GROUP, "same", "one.a:A", "pack"))
    assert list(registry.available()) == ["same"]


def test_unknown_method_lists_the_known(installed):
    installed((DETECTOR_GROUP, "zeta", "pack.zeta:Zeta", "pack"), (CONTROL_GROUP, "coin", "pack.coin:Coin", "pack"))
    text = complaint(registry.find, "zetta")
    assert "'zetta'" in text
    assert "coin, zeta" in text
    assert "path.py:Class" in text
    assert registry.find("zeta").target == "pack.zeta:Zeta"


def test_a_local_file(local):
    ref = registry.find(f"{local}:Mine")
    assert ref.is_local
    assert not ref.is_control
    assert re.fullmatch("[0-9a-f]{64}", ref.version)
    found = registry.load(ref)
    assert issubclass(found, Detector)
    assert found.__name__ == "Mine"
    assert found.__module__.startswith("bench_local_mine_")
    assert found().config.size == 3


def test_finding_a_local_file_does_not_import_it(local, tmp_path):
    registry.find(f"{local}:Mine")
    assert n_imports(tmp_path) == 0


def test_the_version_of_a_local_file_is_its_content(local):
    before = registry.find(f"{local}:Mine").version
    assert registry.find(f"{local}:Mine").version == before
    local.write_text(local.read_text() + "\n# changed\n")
    assert registry.find(f"{local}:Mine").version != before


def test_two_local_files_of_one_name_are_two_modules(local, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other/mine.py"
    other.write_text(local.read_text().replace("size: int = 3", "size: int = 4"))
    first, second = (registry.load(registry.find(f"{path}:Mine")) for path in (local, other))
    assert first.__module__ != second.__module__
    assert (first().config.size, second().config.size) == (3, 4)


def test_a_file_that_does_not_exist(tmp_path):
    text = complaint(registry.find, f"{tmp_path}/gone.py:Mine")
    assert "gone.py" in text
    assert "does not exist" in text


@pytest.mark.parametrize("name", ["Theirs", ""])
def test_a_class_that_does_not_exist(local, name):
    text = complaint(registry.load, registry.find(f"{local}:{name}"))
    assert f"no class '{name}'" in text


@pytest.mark.parametrize("name", ["NoDetector", "number"])
def test_what_is_no_detector(local, name):
    for call in (registry.load, registry.describe):
        text = complaint(call, registry.find(f"{local}:{name}"))
        assert f"mine.py:{name}" in text
        assert "bench.detector.Detector" in text


def test_a_class_of_an_installed_package(installed):
    installed((DETECTOR_GROUP, "coin", "methods.controls:Random", "mlad-bench"))
    assert issubclass(registry.load(registry.find("coin")), Detector)
    installed((DETECTOR_GROUP, "coin", "methods.controls:Rando", "mlad-bench"))
    assert "'Rando'" in complaint(registry.load, registry.find("coin"))


def test_description(local):
    found = registry.describe(registry.find(f"{local}:Mine"))
    assert found.told == {"source": "normals"}
    assert found.uses == ("log_keys", "texts")
    assert not found.deterministic
    assert found.summary == "Flags the rare."
    assert found.error == ""
    assert found.fields == {
        "size": FieldInfo("int", 3),
        "rate": FieldInfo("float", 0.5),
        "deep": FieldInfo("bool", False),
        "mode": FieldInfo("str", "fast", choices=("fast", "good")),
        "limit": FieldInfo("int", None, optional=True),
        "url": FieldInfo("str", "http://localhost", identity=False),
    }


def test_a_description_is_remembered(local, tmp_path):
    cache = tmp_path / "cache"
    ref = registry.find(f"{local}:Mine")
    first = registry.describe(ref, cache)
    assert n_imports(tmp_path) == 1
    assert registry.describe(ref, cache) == first
    assert n_imports(tmp_path) == 1
    registry.describe(ref)
    assert n_imports(tmp_path) == 2


def kept_facts(cache):
    (path,) = (cache / "detectors").iterdir()
    return path


FACT_DAMAGE = {
    "another default": lambda text: text.replace('"default": 3', '"default": 4'),
    "another grade": lambda text: text.replace('"normals"', '"labels"'),
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "garbage": lambda text: "\0" * len(text),
    "a list": lambda text: "[]",
    "deep": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("damage", FACT_DAMAGE.values(), ids=FACT_DAMAGE)
def test_damaged_facts_are_made_anew(local, tmp_path, capsys, damage):
    cache = tmp_path / "cache"
    ref = registry.find(f"{local}:Mine")
    first = registry.describe(ref, cache)
    path = kept_facts(cache)
    whole = path.read_text()
    path.write_text(damage(whole))
    assert path.read_text() != whole
    assert registry.describe(ref, cache) == first
    assert n_imports(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"what is known of '{local}:Mine': damaged in the cache (")
    assert path.read_text() == whole
    assert registry.describe(ref, cache) == first
    assert n_imports(tmp_path) == 2


def forge(path, old, new):
    """Facts that someone altered, and sealed again."""
    description = json.loads(path.read_text().replace(old, new))["description"]
    _sealed.seal(path, {"description": description})


def test_a_class_that_is_not_what_its_row_says_is_not_given(local, tmp_path):
    cache = tmp_path / "cache"
    ref = registry.find(f"{local}:Mine")
    first = registry.describe(ref, cache)
    assert registry.load(ref, first).__name__ == "Mine"
    assert registry.load(ref, registry.describe(ref, cache)).__name__ == "Mine"
    forge(kept_facts(cache), '"default": 3', '"default": 4')
    forged = registry.describe(ref, cache)
    assert forged.fields["size"].default == 4
    text = complaint(registry.load, ref, forged)
    assert "not those of its class: delete the folder 'detectors' of the cache" in text


def test_what_a_killed_process_left_among_the_facts_is_removed(local, tmp_path):
    folder = tmp_path / "cache" / "detectors"
    folder.mkdir(parents=True)
    (folder / f"abc.json.{_processes.place()}-999999999-1.00-0123abcd.tmp").write_text("{")
    mine = temporary_beside(folder / "abc.json")
    mine.write_text("{")
    registry.describe(registry.find(f"{local}:Mine"), tmp_path / "cache")
    names = [path.name for path in folder.iterdir() if path.suffix == ".tmp"]
    assert names == [mine.name], "another thread may be writing it"


def test_facts_that_cannot_be_written_are_one_sentence(local, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in complaint(registry.describe, registry.find(f"{local}:Mine"), tmp_path / "file")


def test_a_change_of_the_source_is_noticed(local, tmp_path):
    cache = tmp_path / "cache"
    registry.describe(registry.find(f"{local}:Mine"), cache)
    local.write_text(local.read_text().replace("size: int = 3", "size: int = 4"))
    assert registry.describe(registry.find(f"{local}:Mine"), cache).fields["size"].default == 4
    assert n_imports(tmp_path) == 2


def test_a_change_beside_an_installed_module_is_noticed(installed, tmp_path, monkeypatch):
    package = tmp_path / "pack_of_test"
    package.mkdir()
    for name in ("__init__", "helper"):
        (package / f"{name}.py").write_text("")
    (package / "mine.py").write_text(SOURCE.format(marker=str(tmp_path / "imports")))
    monkeypatch.syspath_prepend(str(tmp_path))
    installed((DETECTOR_GROUP, "mine", "pack_of_test.mine:Mine", "pack"))
    ref = registry.find("mine")
    before = registry._source_digest(ref)
    assert registry._source_digest(ref) == before
    (package / "helper.py").write_text("x = 1\n")
    assert registry._source_digest(ref) != before


def test_a_remembered_description_imports_nothing(local, tmp_path):
    local.write_text("import torch\n" + local.read_text())
    cache = tmp_path / "cache"
    code = (
        "import sys; from pathlib import Path; from bench import registry; "
        f"found = registry.describe(registry.find({str(local) + ':Mine'!r}), Path({str(cache)!r})); "
        "assert found.fields['size'].default == 3 and not found.error; "
        "print('torch' in sys.modules, any(name.startswith('bench_local') for name in sys.modules))"
    )
    seen = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(2)]
    assert [run.stdout.split() for run in seen] == [["True", "True"], ["False", "False"]]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import not_installed_anywhere\n", "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        ("raise RuntimeError('no GPU')\n", "RuntimeError: no GPU"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_described_as_such(tmp_path, source, error):
    path = tmp_path / "bad.py"
    path.write_text(source)
    found = registry.describe(registry.find(f"{path}:Mine"), tmp_path / "cache")
    assert error in found.error
    assert not found.fields
    # The cause may go away without the file changing, so the failure is not remembered.
    path.write_text(source)
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_a_detector_without_tags_is_described_as_such(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("from bench.detector import Detector\nclass Mine(Detector):\n    pass\n")
    assert "it has no tags: write tags = DetectorTags(told=" in registry.describe(registry.find(f"{path}:Mine")).error


HELPED = """
from bench.detector import Detector, DetectorTags
from helper import K, Config
from tools.more import M
class Mine(Detector):
    tags = DetectorTags()
    Config = Config
    found = (K, M)
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return None
"""
HELPER = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal
import json
K = {value}
@dataclass(frozen=True)
class Config:
    mode: Literal["a", "b"] = "a"
"""


def test_a_local_file_imports_the_files_beside_it_and_no_others(tmp_path):
    paths, cache = list(sys.path), tmp_path / "cache"
    for value in (1, 2):
        folder = tmp_path / str(value)
        (folder / "tools").mkdir(parents=True)
        (folder / "tools" / "__init__.py").touch()
        (folder / "tools" / "more.py").write_text(f"M = {value}\n")
        (folder / "json.py").write_text("raise RuntimeError('hides what is installed')\n")
        (folder / "helper.py").write_text(HELPER.format(value=value))
        (folder / "mine.py").write_text(HELPED)
    refs = [registry.find(f"{tmp_path / str(value)}/mine.py:Mine") for value in (1, 2, 1)]
    assert [registry.load(ref).found for ref in refs] == [(1, 1), (2, 2), (1, 1)]
    found = registry.describe(refs[0], cache)
    assert (found.error, found.fields["mode"].choices) == ("", ("a", "b"))
    assert sys.path == paths
    assert not {"helper", "tools", "tools.more"} & sys.modules.keys()
    site = tmp_path / "1" / "site"
    site.mkdir()
    (site / "installed_there.py").touch()
    (tmp_path / "1" / "lazy.py").write_text("import installed_there\n" + HELPED)
    sys.path.append(str(site))
    registry.load(registry.find(f"{tmp_path / '1'}/lazy.py:Mine"))
    sys.path.remove(str(site))
    assert sys.modules.pop("installed_there")
    helper = tmp_path / "1" / "helper.py"
    helper.write_text(helper.read_text().replace('"a", "b"', '"a", "b", "c"'))
    assert registry.describe(refs[0], cache).fields["mode"].choices == ("a", "b", "c")


def test_summary_without_import(local, tmp_path):
    assert registry.summarise(registry.find(f"{local}:Mine")) == "Flags the rare."
    assert registry.summarise(registry.find(f"{local}:NoDetector")) == "A file of detectors."
    assert n_imports(tmp_path) == 0


def test_every_installed_detector_has_a_summary():
    for ref in registry.available().values():
        if ref.distribution == "mlad-bench":
            assert registry.summarise(ref), ref.name


@pytest.mark.parametrize(
    "ending", ["SystemExit(0)", "SystemExit('\\udcff')", "GeneratorExit()", "BaseException('panic')"]
)
def test_an_import_that_ends_the_program_is_an_error_of_that_method(tmp_path, ending):
    path = tmp_path / "ends.py"
    path.write_text(f"raise {ending}\n")
    ref = registry.find(f"{path}:X")
    with pytest.raises(ImportError, match="its import ends the program"):
        registry.load(ref)
    error = registry.describe(ref, tmp_path / "cache").error
    assert f"its import ends the program ({ending.partition('(')[0]}" in error
    assert error.encode()


def test_ctrl_c_in_an_import_is_no_error_of_the_method(tmp_path):
    path = tmp_path / "interrupted.py"
    path.write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        registry.describe(registry.find(f"{path}:X"))


@pytest.mark.parametrize(
    "source",
    [
        "from bench.detector import Detector, TimeRange\nclass Mine(Detector):\n    pass\n",
        "from bench.detector import Detector, DetectorTags\nclass Mine(Detector):\n"
        "    tags = DetectorTags(supervision='normal-only')\n",
    ],
)
def test_a_method_of_contract_0_1_is_told_from_its_source_and_from_its_import(tmp_path, source):
    path = tmp_path / "old.py"
    path.write_text(source)
    ref = registry.find(f"{path}:Mine")
    assert registry.summarise(ref).startswith("written for contract 0.1, and cannot run: `bench check ")
    assert registry.describe(ref).error.startswith("written for contract 0.1: write DetectorTags(told={'source': ")
    with pytest.raises(ContractError):
        registry.load(ref)


def test_facts_of_an_installed_detector_are_read_once_for_all_results_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "shared"))
    ref, asked = registry.find("length"), []

    def ask(given):
        asked.append(given.name)
        return registry.describe_now(given)

    first = registry.describe(ref, tmp_path / "one", ask)
    assert registry.describe(ref, tmp_path / "two", ask) == first
    assert asked == ["length"]
    assert kept_facts(tmp_path / "two").name == kept_facts(tmp_path / "one").name
    # What nobody may write is only not shared.
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "shared" / "detectors" / kept_facts(tmp_path / "shared").name))
    assert registry.describe(ref, tmp_path / "three", ask) == first
    assert asked == ["length", "length"]


def test_facts_of_a_local_file_stay_with_their_results(local, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "shared"))
    registry.describe(registry.find(f"{local}:Mine"), tmp_path / "one")
    assert not (tmp_path / "shared" / "detectors").exists()
