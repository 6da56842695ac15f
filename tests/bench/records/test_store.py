"""Records survive a kill, read back as they were written, and whatever is wrong with a file is one sentence."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bench._files import temporary_beside
from bench._plain import jsonable
from bench.errors import BenchError
from bench.records.store import SCHEMA_VERSION, Store, record_text, replace_file
from tests.leftovers import temporary_of_the_dead

WRITE_FOREVER = """
import json
import sys
from pathlib import Path
import numpy as np
from bench.records.store import Store
plain = json.loads(sys.argv[2])
store = Store(Path(sys.argv[1]))
number = 0
while True:
    record = plain | {"run_id": f"{number % 7:016x}", "number": number}
    store.write(record | {"content": ["x" * 1000] * 300}, {"test": np.full(20000, number, np.float64)})
    number += 1
"""


def record(run_id="00ff", **values):
    """The least that is a record: of a skipped run."""
    edition = {"edition": "bgl@raw12k", "sha256": {}}
    names = ("train", "train_abnormal", "validation", "validation_abnormal", "test", "test_abnormal", "log_keys")
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "spec": {
            "protocol_version": 1,
            "train": [edition],
            "test": [edition],
            "split": "paper",
            "seed": 0,
            "detector": {"name": "toy", "config": {}},
        },
        "scenario": "bgl@raw12k",
        "simulated": [],
        "tiers": {},
        "method": "toy",
        "systems": ["bgl@raw12k"],
        "status": "skipped",
        "reason": None,
        "detector": {"supervision": "normal-only", "is_control": False, "config": {}},
        "counts": {f"n_{name}": 1 for name in names} | {"known_keys_share": 0.5, "seen_in_training_share": 0.5},
        "seconds": {},
        "memory_mib": {},
        "threads": 1,
        "device": "cpu",
        "environment": {},
        "started_at": "2026-11-22T01:46:42+00:00",
        **values,
    }


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_a_record_reads_back_as_write_returned_it(store):
    values = {
        "low": -np.inf,
        "none": float("nan"),
        "array": np.array([1.5, np.inf]),
        "number": np.int64(3),
        "truth": np.bool_(True),
        "tuple": (1, "ä"),
        "nested": {1: np.float32(0.5)},
    }
    returned = store.write(record(**values))
    assert returned == store.read("00ff")
    digest = returned.pop("digest")
    assert len(digest) == 32
    assert returned == record(
        low="-inf", none=None, array=[1.5, "inf"], number=3, truth=True, tuple=[1, "ä"], nested={"1": 0.5}
    )


def test_a_record_is_plain_json_with_sorted_keys(store):
    store.write(record(b=1, a=-np.inf))
    text = (store.root / "inbox" / "00ff.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert list(content) == sorted(content)
    assert text.endswith("}\n")


def test_what_is_no_json_is_refused_and_nothing_is_written(store):
    with pytest.raises(TypeError, match="object cannot be kept"):
        store.write(record(value=object()))
    assert store.read("00ff") is None
    with pytest.raises(TypeError, match="set"):
        jsonable({"a": [{1, 2}]})


def test_a_record_that_could_not_be_read_back_is_refused_and_nothing_is_written(store):
    whole = record()
    with pytest.raises(BenchError, match=r"without a right 'counts\.seen_in_training_share' was not written"):
        store.write(whole | {"counts": whole["counts"] | {"seen_in_training_share": float("nan")}})
    assert list(store.records()) == []


def test_scores_read_back_exactly(store):
    scores = {"test": np.array([0.1, -np.inf, 3.0]), "test_labels": np.array([0, 1, 0], np.int8)}
    store.write(record(), scores)
    found = store.read_scores("00ff")
    assert found is not None
    assert found.keys() == scores.keys()
    for name, values in scores.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_what_is_not_there_is_none(store):
    assert store.read("00ff") is None
    assert store.read_scores("00ff") is None
    assert list(store.records()) == []


def test_records_come_in_the_order_of_their_ids(store):
    for run_id in ("cc", "aa", "bb"):
        store.write(record(run_id))
    assert [found["run_id"] for found in store.records()] == ["aa", "bb", "cc"]


def test_a_prefix_finds_the_one_record(store):
    store.write(record("abc1"))
    store.write(record("abd2"))
    assert store.find("abc")["run_id"] == "abc1"
    assert store.find("abd2")["run_id"] == "abd2"
    with pytest.raises(BenchError, match="fits 2 records"):
        store.find("ab")
    for pattern in ("f", "*", "**", "[a]b", "../inbox/abc1"):
        with pytest.raises(BenchError, match="no record"):
            store.find(pattern)


@pytest.mark.parametrize("content", [b"", b'{"schema_version": 1', b"\xff\xfe", b"[]", b"null", b"not json"])
def test_a_damaged_record_is_one_sentence_with_the_way_out(store, content):
    store.write(record())
    path = store.root / "inbox" / "00ff.json"
    path.write_bytes(content)
    for read in (lambda: store.read("00ff"), lambda: store.find("00"), lambda: list(store.records())):
        with pytest.raises(BenchError, match=r"is damaged.*delete it and run again") as caught:
            read()
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, None, "1"])
def test_another_schema_version_is_not_read(store, version):
    store.write(record() | {"schema_version": version})
    with pytest.raises(BenchError, match=f"schema version {version}"):
        store.read("00ff")


@pytest.mark.parametrize("cut", [0, 1, 30, -1])
def test_damaged_scores_are_one_sentence(store, cut):
    store.write(record(), {"test": np.arange(1000.0)})
    path = store.root / "scores" / "00ff.npz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BenchError, match="are damaged"):
        store.read_scores("00ff")


def test_a_failing_write_leaves_the_old_content_and_no_temporary_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, fail)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot be written"):
        Store(tmp_path / "file").require_writable()
    with pytest.raises(BenchError, match="cannot be written"):
        Store(tmp_path / "file").write(record())


def test_trying_to_write_leaves_nothing_behind(store):
    store.require_writable()
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_leftovers_of_the_dead_go_and_of_the_living_stay(store):
    store.write(record())
    folders = [store.root, store.inbox, store.root / "tables", store.cache / "detectors", store.cache / "running"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    dead = [temporary_of_the_dead(folder / "aa.json") for folder in folders]
    living = temporary_beside(store.inbox / "bb.json")
    living.write_text("half")
    assert all(path.exists() for path in dead)
    store.remove_leftovers()
    assert not any(path.exists() for path in dead)
    assert living.exists()
    assert store.read("00ff") is not None


def test_sigkill_in_the_middle_of_a_write_leaves_no_half_record(store):
    """The writer does nothing but write, so it is killed while writing; several times, at several moments."""
    for round_ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(store.root), json.dumps(record())]) as writer:
            deadline = time.monotonic() + 30
            while len(list((store.root / "inbox").glob("*.json"))) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.01 * round_)
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        found = list(store.records())
        assert len(found) >= 3
        for one in found:
            assert len(one["content"]) == 300
            scores = store.read_scores(one["run_id"])
            assert scores is not None
            assert len(set(scores["test"])) == 1
            assert scores["test"][0] >= one["number"], "the scores are written first"
        store.remove_leftovers()
        assert not list(store.root.rglob("*.tmp"))


def test_a_list_of_numbers_stands_on_one_line_and_nothing_else_changes():
    record = {"a": [1, -2.5, 3e-7], "b": ["x, [1\n 2]", "y"], "c": {"d": [], "e": [[1, 2], [3]]}, "f": [{"g": [0.5]}]}
    text = record_text(record)
    assert json.loads(text) == record
    assert '"a": [1, -2.5, 3e-07]' in text
    assert '"g": [0.5]' in text


def test_what_utf8_cannot_hold_is_escaped_and_nothing_else_is(store):
    written = store.write(record("ab", reason="no \udcff.log: \u00fc", monitor={"\ud800": ["\udc00"]}))
    assert written["reason"] == "no \\udcff.log: \u00fc"
    assert written["monitor"] == {"\\ud800": ["\\udc00"]}
    assert store.read("ab") == written
