"""A record that is not what its run left, and scores that are not its own, are named one by one."""

import json

import numpy as np
import pytest

from bench.experiment.measure import are_scores_of
from bench.records.record import record_digest, scores_digest
from bench.records.store import Store
from bench.records.upkeep import pack
from bench.records.verify import problems


@pytest.fixture
def full(store, make, make_scores):
    """Three archived records and one in the inbox, all with their scores."""
    for seed in range(3):
        store.write(make(seed=seed), make_scores(0.5 + seed))
    pack(store)
    store.write(make(seed=3), make_scores(9.0))
    return store


def found(store):
    return list(problems(Store(store.root), are_scores_of))


def archived(store):
    (path,) = store.archive.files()
    return path, path.read_text().splitlines()


def rewritten(store, change):
    path, content = archived(store)
    path.write_text("".join(line + "\n" for line in change(content)))
    return found(store)


def edited(line, **changes):
    return json.dumps(json.loads(line) | changes, separators=(",", ":"))


def test_an_untouched_store_has_no_problem(full):
    assert found(full) == []


@pytest.mark.parametrize(
    ("old", "new"), [('"ap":0.75,"auroc"', '"ap":0.95,"auroc"'), ('"status":"ok"', '"status":"skipped"')]
)
def test_a_hand_edited_line_is_named(full, old, new):
    _, content = archived(full)
    assert old in content[1]
    (wrong,) = rewritten(full, lambda lines: [lines[0], lines[1].replace(old, new), lines[2]])
    assert "line 2" in wrong
    assert "its digest is not that of its content" in wrong


def test_a_hand_edited_inbox_record_is_named(full, make):
    path = full.inbox / f"{make(seed=3)['run_id']}.json"
    path.write_text(path.read_text().replace('"fp": 1', '"fp": 0'))
    (wrong,) = found(full)
    assert path.name in wrong


def test_an_edited_spec_is_named_even_with_a_fitting_digest(full, make):
    path = full.inbox / f"{make(seed=3)['run_id']}.json"
    record = json.loads(path.read_text())
    record["spec"]["seed"] = 4
    record["digest"] = record_digest(record)
    path.write_text(json.dumps(record))
    assert [wrong.rpartition(": ")[2] for wrong in found(full)] == ["its run_id is not that of its spec"]


def test_an_edited_fact_is_named(full):
    path = full.archive.facts.path
    path.write_text(path.read_text().replace('"n_test":4', '"n_test":5'))
    wrong = found(full)
    assert "its content was changed by hand" in wrong[0]
    assert len([text for text in wrong if "its digest is not" in text]) == 3


def test_a_cut_line_is_named_and_the_rest_is_looked_at(full):
    wrong = rewritten(
        full, lambda lines: [lines[0][:100], lines[1].replace('"ap":0.75,"auroc"', '"ap":0.95,"auroc"'), lines[2]]
    )
    assert [text.split(" (")[0].rpartition(", ")[2] for text in wrong] == ["line 1 is damaged", "line 2"]


def test_a_run_that_stands_twice_and_lines_out_of_order_are_named(full):
    (wrong,) = rewritten(full, lambda lines: [*lines, lines[2]])
    assert "line 4: run " in wrong
    assert "line 3 too" in wrong
    (wrong,) = rewritten(full, lambda lines: [lines[1], lines[0], lines[2]])
    assert "line 2" in wrong
    assert "is out of order" in wrong


def test_a_line_in_another_file_is_named(full):
    path, _ = archived(full)
    path.rename(path.with_name("tbird@raw29k--chronological.jsonl"))
    wrong = found(full)
    assert len(wrong) == 3
    assert all("belongs in bgl@raw12k--chronological.jsonl" in text for text in wrong)


def test_swapped_and_cut_score_files_are_named(full, make):
    one, two, three = (full.scores / f"{make(seed=seed)['run_id']}.npz" for seed in range(3))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    three.write_bytes(three.read_bytes()[:-40])
    wrong = found(full)
    assert len(wrong) == 3
    for path in (one, two, three):
        (text,) = [text for text in wrong if path.name in text]
        assert ("are damaged" if path == three else "are not those of their record") in text


@pytest.mark.parametrize(("part", "name"), [("rules", "f1"), ("ranking", "ap"), ("threshold", "value")])
def test_an_edited_metric_with_a_fitting_digest_is_found_where_the_scores_are(full, make, part, name):
    path = full.inbox / f"{make(seed=3)['run_id']}.json"
    record = json.loads(path.read_text())
    block = record["metrics"]["all"]
    edited_part = {
        "rules": block["rules"]["oracle"],
        "ranking": block["ranking"],
        "threshold": record["thresholds"]["oracle"],
    }[part]
    edited_part[name] = 0.95
    record["digest"] = record_digest(record)
    path.write_text(json.dumps(record))
    (wrong,) = found(full)
    assert f"{path.stem}.npz are not those of their record" in wrong


def test_scores_without_a_record_are_no_problem(full, make_scores):
    (full.scores / "00ff.npz").write_bytes(next(full.scores.iterdir()).read_bytes())
    assert found(full) == []


def test_a_scores_digest_is_of_the_arrays_and_not_of_their_file():
    arrays = {"a": np.arange(4.0), "b": np.array([b"x", b"yy"])}
    assert scores_digest(arrays) == scores_digest(dict(reversed(arrays.items())))
    for other in (
        {"a": np.arange(4), "b": arrays["b"]},
        {"a": np.arange(4.0).reshape(2, 2), "b": arrays["b"]},
        {"a": np.arange(4.0) + 1e-15, "b": arrays["b"]},
        {"c": arrays["a"], "b": arrays["b"]},
        {"a": arrays["a"]},
    ):
        assert scores_digest(other) != scores_digest(arrays)
