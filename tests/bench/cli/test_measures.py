"""A metric more is a row more of `evaluation.measures`: `--json` shows it, tables stay as they are."""

import json

from bench.evaluation import measures
from bench.evaluation.measures import Measure


def youden(recall, fpr, share):
    return recall - fpr


def test_a_row_more_is_shown_by_json_of_run_and_table(call, monkeypatch):
    command = ("run", "--methods", "ngram", "--scenario", "bgl@simulated", "--seeds", "2")
    code, table, err = call(*command)
    assert code == 0, err
    row = Measure("youden", "rules", "Youden's J", formula=youden)
    monkeypatch.setattr(measures, "MEASURES", (*measures.MEASURES, row))
    for shown in (call(*command, "--json"), call("table", "--json")):
        assert shown[0] == 0, shown[2]
        for found in json.loads(shown[1]):
            metrics = found["metrics"]
            assert set(metrics) == {measure.key for measure in measures.MEASURES}
            expected = metrics["recall"]["mean"] - metrics["fpr"]["mean"]
            assert abs(metrics["youden"]["mean"] - expected) < 1e-9
            assert metrics["youden"]["low"] <= metrics["youden"]["mean"] <= metrics["youden"]["high"]
            assert abs(metrics["balanced_accuracy"]["mean"] - (1 + expected) / 2) < 1e-9
    # It has no column, so no table changes.
    assert call("table")[1].strip() == table.strip()
