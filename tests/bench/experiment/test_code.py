"""What belongs to the code of a method and of the engine, read from sources that are never imported."""

import re
import sys
import time
from pathlib import Path

import pytest

from bench import registry
from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.errors import BenchError
from bench.experiment import code as made
from bench.experiment.code import ENGINE, InstalledCode, Standing, difference
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.registry import DetectorRef

ROOT = Path(__file__).parents[3]


def record_of(target="methods.ngram:Ngram", *, sha=None, code=None, simulated=("bgl@simulated",), **spec):
    return {
        "spec": {"detector": {"class": target, "source_sha256": sha}, **spec},
        "detector": {"distribution": ""},
        "simulated": list(simulated),
        **({"code": code} if code else {}),
    }


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of five modules, none of which can be imported; returns a function that writes one of them."""
    folder = tmp_path / "strange"
    (folder / "deep").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (folder / name).write_text(f"raise SystemExit\n{text}\n")

    write("__init__.py", "")
    write("deep/__init__.py", "from ..lazy import x")
    write("method.py", "import numpy\nfrom strange.deep import part\nfrom bench.types import Sequences")
    write("deep/part.py", "def f():\n    from . import other")
    write("deep/other.py", "")
    write("lazy.py", "")
    write("unused.py", "")
    return write


def digest(target="strange.method:M"):
    return InstalledCode().of_record(record_of(target))["method"]


@pytest.mark.parametrize(
    "name", ["__init__.py", "method.py", "deep/__init__.py", "deep/part.py", "deep/other.py", "lazy.py"]
)
def test_a_module_that_is_imported_on_and_on_belongs_to_the_method(package, name):
    before = digest()
    package(name, "X = 1")
    assert digest() != before


def test_other_modules_of_the_package_do_not(package):
    before = digest()
    package("unused.py", "X = 1")
    assert digest() == before
    assert "strange.method" not in sys.modules


def test_all_shipped_methods_have_code_and_nothing_is_imported(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "methods.mlad", raising=False)
    refs = registry.available().values()
    code = InstalledCode(tmp_path)
    found = {ref.name: code.of_record(record_of(ref.target)) for ref in refs}
    assert len(found) >= 29
    assert all(len(digest) == 16 for digests in found.values() for digest in digests.values())
    assert "methods.mlad" not in sys.modules
    files = {ref.target.partition(":")[0] for ref in refs}
    assert len({digests["method"] for digests in found.values()}) == len(files)


def test_shared_modules_belong_to_a_shipped_method():
    code = InstalledCode()
    code.of_record(record_of("methods.mlad:MLAD"))
    names = {path.relative_to(ROOT).as_posix() for path in code._sources._read}
    assert {"methods/mlad.py", "methods/__init__.py", "methods/shared/training.py"} <= names
    assert not any(
        name.startswith(("methods/deeplog", "bench/cli", "bench/reporting", "bench/records")) for name in names
    )


def test_the_engine_is_that_of_the_kind_of_cell():
    code = InstalledCode()

    def engine(target="methods.ngram:Ngram", **facts):
        return code.of_record(record_of(target, **facts))["engine"]

    kinds = [engine(), engine(simulated=()), engine(encoder="x"), engine("methods.chatgpt:ChatGPT")]
    assert len(set(kinds)) == 4
    assert engine("methods.mlad:MLAD") == engine("methods.mlad:MLAD", encoder="x")
    assert engine(split="paper") == engine(split="chronological")


def test_a_cell_and_its_record_have_the_same_code(tmp_path):
    known = catalogue(None)
    methods = resolve_methods(["deeplog", "deeplog+nearest", "mlad"], [], tmp_path)
    scenarios = [parse_scenario("bgl@simulated", known)]
    cells = plan(scenarios, methods, splits=["chronological"], seeds=[0], grouping=Grouping())
    code = InstalledCode()
    for cell in cells:
        facts = {"distribution": cell.method.ref.distribution}
        record = {"spec": cell.spec(), "detector": facts, "simulated": ["bgl@simulated"]}
        assert code.of_cell(cell) == code.of_record(record)


def test_every_module_of_the_engine_is_there(monkeypatch):
    assert all(made._files_of(room) for room in (*ENGINE, made.SIMULATION, *made.ON_REQUEST))
    rooms = {name for room in ENGINE for name, _ in made._files_of(room)}
    assert {"bench.evaluation.metrics", "bench.data.sequences.splits", "bench.data.reading.lines"} <= rooms
    assert "bench.evaluation.paired" not in rooms
    with pytest.raises(BenchError, match=r"no module 'bench\.evaluation\.nothing'"):
        made._files_of("bench.evaluation.nothing")


def test_standing():
    now = InstalledCode().of_record(record_of())
    other = {"method": "0" * 16, "engine": "1" * 16}
    standing = InstalledCode().standing
    assert standing(record_of()) == Standing("unknown")
    assert standing(record_of(code=now)) == Standing("current")
    assert standing(record_of(code=now | {"method": "0"})) == Standing("stale", "the method's code changed since")
    assert standing(record_of(code=other)).why == "the method's code and the engine's code changed since"
    assert standing(record_of(code=other) | {"verified_with": {"code": now}}) == Standing("current")
    assert standing(record_of() | {"verified_with": {"code": other}}).state == "stale"
    assert standing(record_of("nowhere.at:All", code=other)).state == "gone"
    assert [Standing(state).holds for state in ("current", "unknown", "stale", "gone")] == [True, True, False, False]
    assert difference(now, dict(now)) == ""


def test_a_local_file_is_found_where_it_was_last_run(tmp_path, monkeypatch):
    folder = tmp_path / "far"
    folder.mkdir()
    file = folder / "mine.py"
    file.write_text("x = 1\n")
    ref = registry.find(f"{file}:Mine")
    code = InstalledCode(tmp_path / "cache")
    record = record_of("mine.py:Mine", sha=ref.version)
    with pytest.raises(BenchError, match=r"'mine\.py:Mine' is not here any more"):
        code.of_record(record)
    code.remember([ref, DetectorRef("ngram", "methods.ngram:Ngram")])
    found = InstalledCode(tmp_path / "cache").of_record(record)
    assert found["method"] == InstalledCode().of_record(record_of(f"{file}:Mine", sha="0"))["method"]
    monkeypatch.chdir(folder)
    assert InstalledCode().of_record(record) == found


def flipped(text):
    """Every digest of a source is another."""
    return re.sub(r'(\[\s+")([0-9a-f]{16,})', lambda found: found[1] + found[2][::-1], text)


def test_digests_are_kept_by_content(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import os\n")
    record = record_of(f"{file}:Mine", sha="0")
    cold = InstalledCode(tmp_path / "cache").of_record(record)
    assert InstalledCode(tmp_path / "cache").of_record(record) == cold
    file.write_text("import sys\n")
    assert InstalledCode(tmp_path / "cache").of_record(record)["method"] != cold["method"]
    kept = tmp_path / "cache" / "code.json"
    digest = cold["method"]
    file.write_text("import os\n")
    for text in ("[1, 2", "", "{}", kept.read_text().replace("import", "export"), flipped(kept.read_text())):
        kept.write_text(text)
        assert InstalledCode(tmp_path / "cache").of_record(record)["method"] == digest


def test_kept_digests_cost_little(tmp_path):
    refs = list(registry.available().values())
    InstalledCode(tmp_path).of_record(record_of())

    def seconds():
        start = time.process_time()
        code = InstalledCode(tmp_path)
        for ref in refs:
            code.of_record(record_of(ref.target))
        return time.process_time() - start

    seconds()
    # 25 ms where nothing else runs; the bound is for a busy machine.
    assert min(seconds() for _ in range(5)) < 0.15
