"""What all tests share: the folder of real logs, a cache of their own, and small systems made on the spot."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import Loader
from bench.errors import BenchError
from tests.lent_vectors import VARIABLE, lend_vectors

_STUB = importlib.util.spec_from_file_location("chat_stub", Path(__file__).with_name("chat_stub.py"))
_chat_stub = importlib.util.module_from_spec(_STUB)
_STUB.loader.exec_module(_chat_stub)
stub, chat_server, chat_environment = _chat_stub.stub, _chat_stub.chat_server, _chat_stub.chat_environment

# Read once, because no test may see it by accident.
DATA_AT_START = os.environ.get("BENCH_DATA")
# What continuous integration says: then nothing that needs real logs may be left out.
DATA_REQUIRED = os.environ.get("BENCH_REQUIRE_DATA") == "1"
NO_DATA = "BENCH_DATA is not set"
RESULTS = Path(__file__).parents[1] / "results"

FRESH_CLONES = ("test_two_commands.py",)

SYSTEM = {
    "title": "An application",
    "licence": "MIT",
    "citation": "nobody",
    "tier": "smoke",
    "rank": 10,
    "kind": "lines",
    "notes": "made by a test",
}


@pytest.fixture(scope="session", autouse=True)
def the_results_of_the_checkout_stay():
    """No test writes into `results/` of the repository: what is committed there is evidence."""
    before = _digests(RESULTS)
    yield
    assert _digests(RESULTS) == before, "a test wrote into results/ of the checkout"


def _digests(folder):
    kept = ("records", "tables", "studies", "figures", "comparisons")
    files = [*folder.glob("*.*"), *(file for name in kept for file in (folder / name).rglob("*") if file.is_file())]
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.suffix != ".lock"}


def pytest_collection_modifyitems(items):
    """Mark what is known by itself; the fresh clones first, since as the last ones they would keep one worker alone."""
    for item in items:
        if "real_data" in item.fixturenames:
            item.add_marker("real")
            if not (DATA_AT_START or DATA_REQUIRED):
                item.add_marker(pytest.mark.skip(reason=NO_DATA))
        if item.get_closest_marker("slow_cases") and item.callspec.id in _slow_cases(item):
            item.add_marker("slow")
        if getattr(item.obj, "is_hypothesis_test", False) or "fuzz" in item.originalname:
            item.add_marker("fuzz")
        if item.path.parent.name == "cli" or {"subprocess", "multiprocessing"} & vars(item.module).keys():
            item.add_marker("commands")
    items.sort(key=lambda item: item.path.name not in FRESH_CLONES)


def _slow_cases(item):
    """The cases of a test that its marker names; the others are run every day."""
    return {name for marker in item.iter_markers("slow_cases") for name in marker.args}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Real logs of which a file is not here do not run either, and are counted; unless they must."""
    report = yield
    missing = _missing_file(call.excinfo.value) if call.excinfo else None
    if missing and DATA_AT_START and not DATA_REQUIRED and item.get_closest_marker("real"):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.reportinfo()[1] + 1, f"not in BENCH_DATA: {missing}")
    return report


def _missing_file(error):
    """What a test says that did not find a file of the data folder, or None where it failed for another reason."""
    text = str(error)
    not_found = isinstance(error, BenchError | FileNotFoundError) and "No such file or directory" in text
    is_told = any(f" {word} {DATA_AT_START}" in text for word in ("into", "in"))
    return text.partition("\n")[0] if not_found or is_told else None


def _wanted_data(report):
    """Whether a test was left out for want of real logs, and not for another reason of its own."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple | list) else str(report.longrepr)
    return NO_DATA in reason or "not in BENCH_DATA: " in reason


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """After everything else, in the last line: what did not run for want of real logs."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    n_real = sum(_wanted_data(report) for report in skipped)
    if n_real:
        way_out = "files are missing in BENCH_DATA, they are named above" if DATA_AT_START else "set BENCH_DATA"
        reporter.write_line(f"not run: {n_real} tests that need real logs ({way_out})")
    return result


def pytest_make_parametrize_id(config, val, argname):
    """Packed bytes hold the time they were made at: as names of tests they would differ between parallel workers."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture(scope="session")
def real_data():
    """The folder of real logs; tests that ask for it are left out where there is none, unless it is required."""
    if not DATA_AT_START:
        pytest.fail(f"{NO_DATA}, and BENCH_REQUIRE_DATA=1 wants the real logs", pytrace=False)
    return Path(DATA_AT_START)


@pytest.fixture(scope="session")
def real_loader(real_data):
    """A loader of the real editions, so that each is read once for all tests."""
    return Loader(catalogue(real_data))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    everyone = tmp_path_factory.getbasetemp()
    everyone = everyone.parent if "PYTEST_XDIST_WORKER" in os.environ else everyone
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(everyone / "vectors.sqlite"))
        patch.setenv("BENCH_CACHE", str(lend_vectors(tmp_path_factory.mktemp("cache"))))
        yield


@pytest.fixture(autouse=True)
def _no_data_by_accident(monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)


def toml_value(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@pytest.fixture
def own_system(tmp_path):
    """Write a system as a user would, below one data folder, and return the catalogue of that folder.

    files: {name: bytes}, or {(name, role): bytes}; `fields` go into the edition's card.
    """
    data = tmp_path / "data"

    def make(files, *, name="app", edition="mine", **fields):
        folder = data / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for key, content in files.items():
            file, role = key if isinstance(key, tuple) else (key, "log")
            (folder / file).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            rows.append({"name": f"{name}/{file}", "sha256": digest, "role": role})
        card = {**fields, "files": rows}
        for path, values in ((folder / "_system.toml", SYSTEM), (folder / f"{edition}.toml", card)):
            path.write_text("".join(f"{key} = {toml_value(value)}\n" for key, value in values.items()), "utf-8")
        return catalogue(data)

    return make
