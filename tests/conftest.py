"""What all tests share: the folder of real logs, a cache of their own, and small systems made on the spot."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import Loader

_STUB = importlib.util.spec_from_file_location("chat_stub", Path(__file__).with_name("chat_stub.py"))
_chat_stub = importlib.util.module_from_spec(_STUB)
_STUB.loader.exec_module(_chat_stub)
stub, chat_server, chat_environment = _chat_stub.stub, _chat_stub.chat_server, _chat_stub.chat_environment

# Read once, because no test may see it by accident.
DATA_AT_START = os.environ.get("BENCH_DATA")

SYSTEM = {
    "title": "An application",
    "licence": "MIT",
    "citation": "nobody",
    "tier": "smoke",
    "rank": 10,
    "kind": "lines",
    "notes": "made by a test",
}


def pytest_collection_modifyitems(items):
    """The fresh clones first: they take minutes, and as the last ones they would keep one worker busy alone."""
    items.sort(key=lambda item: item.path.name != "test_two_commands.py")


def pytest_make_parametrize_id(config, val, argname):
    """Packed bytes hold the time they were made at: as names of tests they would differ between parallel workers."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture(scope="session")
def real_data():
    """The folder of real logs; without it a test fails, unless BENCH_ALLOW_NO_DATA=1 says that it is not expected."""
    if DATA_AT_START:
        return Path(DATA_AT_START)
    if os.environ.get("BENCH_ALLOW_NO_DATA") == "1":
        pytest.skip("BENCH_DATA is not set, and BENCH_ALLOW_NO_DATA=1 allows that")
    pytest.fail("BENCH_DATA is not set: point it at the real logs, or set BENCH_ALLOW_NO_DATA=1", pytrace=False)


@pytest.fixture(scope="session")
def real_loader(real_data):
    """A loader of the real editions, so that each is read once for all tests."""
    return Loader(catalogue(real_data))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
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
