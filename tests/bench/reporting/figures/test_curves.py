"""Curves of single runs: every number in the JSON follows from the stored scores, also where runs are large or ties."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.errors import BenchError
from bench.experiment.measure import default_rules, measure
from bench.experiment.planning import Plan
from bench.experiment.suites import Suite
from bench.records.store import Store
from bench.reporting.figures.curves import MOST, curves_of, curves_of_rows
from bench.reporting.figures.figure import FigureRequest
from bench.reporting.figures.write import gather, write
from bench.reporting.tables.choose import Asked, row_names

RULE = "conformal:0.01"


def scores_of(seed, n=2000, digits=9):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.1).astype(np.int8)
    return {
        "native": np.empty(0),
        "validation": np.round(rng.normal(size=500), digits),
        "validation_labels": np.zeros(500, np.int8),
        "validation_system": np.zeros(500, np.uint8),
        "test": np.round(rng.normal(size=n) + 1.5 * labels, digits),
        "test_labels": labels,
        "test_system": np.zeros(n, np.uint8),
    }


@pytest.fixture
def stored(tmp_path, make_record):
    """A store with measured records of these methods, and their scores."""

    def make(*names, digits=9):
        store = Store(tmp_path)
        for number, name in enumerate(names):
            scores = scores_of(number, digits=digits)
            record = make_record(name, split="paper")
            record |= measure(scores, ["bgl@raw12k"], default_rules(is_transfer=False), split="paper")
            store.write(record, scores)
        return store

    return make


@pytest.mark.parametrize("digits", [9, 1, 0])
def test_curves_give_back_ap_auroc_and_the_point_of_the_record(stored, digits):
    store = stored("toy", digits=digits)
    (record,) = store.records()
    scores = store.read_scores(record["run_id"])
    made = curves_of("toy", record, scores, RULE)
    recall, precision = (np.array(made["pr"][name]) for name in ("recall", "precision"))
    assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(made["ap"], abs=2e-3)
    assert made["ap"] == pytest.approx(average_precision_score(scores["test_labels"], scores["test"]))
    assert np.trapezoid(made["roc"]["tpr"], made["roc"]["fpr"]) == pytest.approx(
        roc_auc_score(scores["test_labels"], scores["test"]), abs=2e-3
    )
    values = record["metrics"]["all"]["rules"][RULE]
    assert made["point"] == {name: pytest.approx(values[name], abs=1e-6) for name in ("recall", "precision", "fpr")}
    assert len(recall) <= 401
    assert (made["roc"]["fpr"][0], made["roc"]["tpr"][-1]) == (0, 1)


def test_a_histogram_counts_each_class_to_one_and_holds_the_threshold(stored):
    store = stored("toy")
    (record,) = store.records()
    scores = store.read_scores(record["run_id"])
    scores["test"][0] = 1e9  # one outlier does not squeeze the rest into a bin
    made = curves_of("toy", record, scores, RULE)["histogram"]
    for name in ("normal", "abnormal"):
        assert sum(made[name]) == pytest.approx(1, abs=1e-3)
        assert max(made[name]) < 0.3
    assert made["edges"][0] < made["thresholds"][0] < made["edges"][-1]


def test_rows_without_weight_take_no_part(stored):
    store = stored("toy")
    (record,) = store.records()
    scores = store.read_scores(record["run_id"])
    scores["test_weights"] = np.ones(len(scores["test"]))
    scores["test_weights"][scores["test_labels"] == 1] *= np.r_[0, np.ones(scores["test_labels"].sum() - 1)]
    out = curves_of("toy", record, scores, RULE)
    assert out["ap"] != curves_of("toy", record, store.read_scores(record["run_id"]), RULE)["ap"]


def test_rows_of_a_table_are_drawn_side_by_side(stored):
    store = stored("toy", "mine[a=1,b=2]")
    asked = [Asked(name, "bgl", "paper") for name in row_names("toy,mine[a=1,b=2],toy")]
    figure = curves_of_rows(asked, store, RULE)
    assert [row["method"] for row in figure.content["rows"]] == ["toy", "mine[a=1,b=2]"]
    assert figure.name == "curves-bgl@raw12k-paper-toy-mine_a=1_b=2"
    paths = write(figure, FigureRequest(Suite("curves", ""), Plan((), ()), store, None, RULE))
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf", ".json"]


def test_a_rule_without_threshold_leaves_the_point_out_and_says_so(stored):
    store = stored("toy")
    figure = curves_of_rows([Asked("toy", "bgl", "paper")], store, "conformal:0.001")
    assert figure.content["rows"][0]["point"] is None
    assert figure.notes[0].startswith("toy: conformal:0.001 has no threshold (needs at least 999 validation normals")


def test_too_many_or_unknown_rows_and_missing_scores_are_one_sentence(stored):
    store = stored("toy")
    with pytest.raises(BenchError, match=f"name 1 to {MOST}"):
        curves_of_rows([Asked("toy", "bgl", "paper")] * (MOST + 1), store, RULE)
    with pytest.raises(BenchError, match="has a row 'toi': did you mean toy"):
        curves_of_rows([Asked("toi", "bgl", "paper")], store, RULE)
    for path in store.scores.iterdir():
        path.unlink()
    with pytest.raises(BenchError, match="the scores of 'toy' are not here"):
        curves_of_rows([Asked("toy", "bgl", "paper")], store, RULE)


def test_a_suite_draws_its_runs_and_names_what_is_left_out(stored):
    store = stored(*(f"toy{i}" for i in range(MOST + 2)))
    cells = [
        SimpleNamespace(
            run_id=record["run_id"],
            scenario=SimpleNamespace(key=record["scenario"]),
            split=record["spec"]["split"],
            method=SimpleNamespace(label=record["method"]),
        )
        for record in sorted(store.records(), key=lambda record: record["method"])
    ]
    (store.scores / f"{cells[0].run_id}.npz").unlink()
    suite = Suite("fig", "", figure={"kind": "curves"})
    request = FigureRequest(suite, Plan(tuple(cells), ()), store, None, RULE)
    first, second = gather(request)
    assert [len(figure.content["rows"]) for figure in (first, second)] == [MOST, 1]
    assert (first.name, second.name) == ("fig-bgl@raw12k-paper", "fig-bgl@raw12k-paper-2")
    assert any(note.startswith("left out toy0 on bgl@raw12k, paper: its scores") for note in first.notes)
