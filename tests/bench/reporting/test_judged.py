"""Sequences that a method declined to judge are no mistake of it."""

import numpy as np

from bench.evaluation.thresholds import parse_rule
from bench.experiment.measure import measure
from bench.reporting.errors.find import Depth, errors_of
from bench.reporting.tables.choose import Chosen
from bench.reporting.tables.rows import Row

RULE = "fixed:0.5"


def test_what_was_not_judged_is_neither_counted_nor_shown(make_record):
    scores = {
        "native": np.empty(0),
        "validation": np.zeros(9),
        "validation_labels": np.zeros(9, np.int8),
        "validation_system": np.zeros(9, np.uint8),
        "test": np.array([0.9, 0.8, 0.1, 0.2, 0.9]),
        "test_labels": np.array([0, 0, 1, 1, 1], np.int8),
        "test_system": np.zeros(5, np.uint8),
        "test_weights": np.array([0.0, 1, 1, 0, 1]),
    }
    record = make_record("toy", split="paper", excluded={"n": 2, "n_abnormal": 1, "of": 5})
    record |= measure(scores, record["systems"], [parse_rule(RULE)], split="paper")
    found = errors_of(Chosen(Row("toy", "", (record,)), record), scores, None, rule=RULE, depth=Depth(lines=0))
    assert found.counts == {"tp": 1, "fp": 1, "fn": 1, "tn": 0}
    assert [mistake.score for mistake in found.mistakes] == [0.8, 0.1]
    assert found.notes == ("2 test sequences that it declined to judge are left out",)
