"""`bench gate` from real runs: what fell is told in 80 columns, what is missing or new by name, and all as JSON."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import Store

RUN = ("run", "--scenario", "bgl@simulated2tbird@simulated,hdfs@simulated", "--seeds", "0,", "--methods")


@pytest.fixture
def gated(call):
    assert call(*RUN, "pca")[0] == 0
    code, out, err = call("gate", "--update")
    assert (code, out) == (0, "results/baseline.json: 16 rows written\n")
    assert err.startswith("results/baseline.npz: scores of 16 rows kept (")
    return call


def lower(call, tmp_path, method, share):
    """Let a method's run say that the abnormal sequences are less abnormal, as an edited method would."""
    store = Store(tmp_path / "results")
    from bench.evaluation.thresholds import parse_rule
    from bench.experiment.measure import measure

    for record in list(store.records()):
        if record["method"] == method and record["scenario"] == "hdfs@simulated":
            scores = store.read_scores(record["run_id"])
            abnormal = np.flatnonzero(scores["test_labels"])
            hit = abnormal[: int(len(abnormal) * share)]
            scores["test"][hit] = np.median(scores["test"])
            rules = [parse_rule(text) for text in record["thresholds"]]
            made = measure(scores, record["systems"], rules, split=record["spec"]["split"])
            store.write(record | made, scores)


def test_what_fell_is_told_with_its_interval_in_80_columns(gated, tmp_path):
    lower(gated, tmp_path, "ecvc", 0.8)
    code, out, err = gated("gate")
    assert code == 1
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == f"FAILED hdfs@simulated | chronological | sessions | protocol {PROTOCOL_VERSION} | ecvc"
    assert lines[1].startswith("  ")
    assert all("95 % interval 0." in line and ": worse by 0." in line for line in lines[1:-1])
    assert lines[-1] == f"gate: {48 - len(lines[1:-1])} of 48 values hold"
    assert max(map(len, lines)) <= 80
    found = json.loads(gated("gate", "--json")[1])
    failed = [value for value in found["values"] if value["failed"]]
    assert found["holds"] is False
    assert len(failed) == len(lines[1:-1])
    for value in failed:
        low, high = value["interval"]
        assert 0 < low <= value["fall"] <= high
        assert (value["held_by"], value["why"], value["n_seeds"]) == ("interval", None, 1)


def test_a_long_row_is_broken_and_missing_rows_are_named_once(gated, tmp_path):
    for record in Store(tmp_path / "results").records():
        if record["method"] == "pca":
            path = next((tmp_path / "results" / "records").glob(f"{record['scenario']}--*.jsonl"))
            kept = [line for line in path.read_text().splitlines(keepends=True) if record["run_id"] not in line]
            path.write_text("".join(kept))
    code, out, _ = gated("gate")
    assert code == 1
    rows = " ".join(out.split())
    assert rows.count("MISSING ") == 2
    long = f"bgl@simulated2tbird@simulated | chronological | 20/20 | protocol {PROTOCOL_VERSION} | pca"
    assert f"MISSING {long}: no record MISSING hdfs@simulated" in rows
    assert max(map(len, out.splitlines())) <= 80
    found = json.loads(gated("gate", "--json")[1])
    assert found["missing"] == {
        long: "no record",
        f"hdfs@simulated | chronological | sessions | protocol {PROTOCOL_VERSION} | pca": "no record",
    }
    assert not found["holds"]


def test_rows_that_the_baseline_lacks_are_named_and_hold_nothing_up(gated, tmp_path):
    path = tmp_path / "results" / "baseline.json"
    content = json.loads(path.read_text())
    name = next(name for name in content["rows"] if name.endswith("pca"))
    del content["rows"][name]
    path.write_text(json.dumps(content))
    code, out, err = gated("gate")
    assert (code, out) == (0, "gate: 45 of 45 values hold\n")
    assert " ".join(err.split()) == f"not in the baseline, so nothing holds it: {name}"
    found = json.loads(gated("gate", "--json")[1])
    assert (found["holds"], found["unlisted"]) == (True, [name])


def test_without_the_file_of_scores_the_tolerance_decides_and_it_is_told(gated, tmp_path):
    (tmp_path / "results" / "baseline.npz").unlink()
    code, out, err = gated("gate")
    assert (code, out) == (0, "gate: 48 of 48 values hold\n")
    assert err.startswith("the scores 'results/baseline.npz' of the baseline are not there\nheld by the tolerance ")
    assert "  and 6 more (--json names all)" in err
    assert max(map(len, err.splitlines())) <= 80
    values = json.loads(gated("gate", "--json")[1])["values"]
    assert {(value["held_by"], value["why"]) for value in values} == {
        ("tolerance", "the baseline keeps no scores of it")
    }


def test_damaged_and_foreign_scores_end_with_2(gated, tmp_path):
    path = tmp_path / "results" / "baseline.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    code, out, err = gated("gate")
    assert (code, out) == (2, "")
    assert err.startswith("error: the scores 'results/baseline.npz' are damaged (")
    path.write_bytes(whole)
    run = next(iter((tmp_path / "results" / "scores").glob("*.npz")))
    path.write_bytes(run.read_bytes())
    assert gated("gate")[0] == gated("gate", "--update")[0] == 2
    path.write_bytes(whole)
    run.write_bytes(whole)
    code, _, err = gated("gate")
    assert code == 2
    assert "are not those of their record: delete both and run again" in err


def test_keep_values_is_of_an_update(gated):
    assert gated("gate", "--keep-values")[0] == 2
    assert gated("gate", "--update", "--keep-values")[:2] == (0, "results/baseline.json: 16 rows written\n")


def test_a_ci_is_told_in_a_file_annotations_and_a_page(gated, tmp_path, monkeypatch):
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    code, out, err = gated("gate", "--github", "--junit", "gate.xml")
    assert (code, out, err) == (0, "gate: 48 of 48 values hold\n", "")
    assert page.read_text() == "before\n### Passed: gate: 48 of 48 values hold\n"
    assert ElementTree.parse(tmp_path / "gate.xml").getroot().attrib["failures"] == "0"
    lower(gated, tmp_path, "ecvc", 0.8)
    code, out, err = gated("gate", "--github", "--junit", "gate.xml", "--json")
    failed = [value for value in json.loads(out)["values"] if value["failed"]]
    assert code == 1
    assert err.startswith("::error title=ecvc is worse::hdfs@simulated, chronological, sessions, ")
    assert len(err.splitlines()) == 1
    root = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert (root.attrib["tests"], root.attrib["failures"]) == ("48", str(len(failed)))
    assert "| worse | " in page.read_text()


def test_without_the_variable_there_is_no_page_and_a_bad_one_is_one_sentence(gated, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    code, _, err = gated("gate", "--github")
    assert (code, err) == (0, "no step summary: GITHUB_STEP_SUMMARY is not set, as in a workflow of GitHub\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "page.md"))
    code, _, err = gated("gate", "--github")
    assert code == 2
    assert "page.md' cannot be written (No such file or directory): correct GITHUB_STEP_SUMMARY" in err
    assert gated("gate", "--junit", tmp_path / "results")[0] == 2
    assert gated("gate", "--update", "--junit", "gate.xml")[0] == 2


def test_rows_of_some_methods_are_gated_and_written_alone(gated, tmp_path):
    lower(gated, tmp_path, "ecvc", 0.8)
    assert gated("gate", "--methods", "pca,random")[:2] == (0, "gate: 12 of 12 values hold\n")
    assert gated("gate", "--methods", "ecvc")[0] == 1
    code, out, err = gated("gate", "--methods", "pcb")
    assert (code, out) == (2, "")
    assert "is of the method 'pcb': did you mean pca?" in err
    path = tmp_path / "results" / "baseline.json"
    before = json.loads(path.read_text())["rows"]
    assert gated("gate", "--update", "--methods", "ecvc")[:2] == (0, "results/baseline.json: 2 rows written\n")
    after = json.loads(path.read_text())["rows"]
    changed = {name for name in before if before[name] != after[name]}
    assert {name.rpartition(" | ")[2] for name in changed} == {"ecvc"}
    assert before.keys() == after.keys()
    assert gated("gate", "--update", "--methods", "pca", "--baseline", "own.json")[0] == 0
    assert {name.rpartition(" | ")[2] for name in json.loads((tmp_path / "own.json").read_text())["rows"]} == {"pca"}
    assert gated("gate", "--methods", "pca", "--baseline", "own.json")[:2] == (0, "gate: 6 of 6 values hold\n")
