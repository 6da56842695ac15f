"""Thresholds and metrics of one cell against values worked out by hand."""

import math

import numpy as np
import pytest

from bench.evaluation.thresholds import parse_rule
from bench.experiment.measure import can_measure, default_rules, measure

SYSTEMS = ("bgl@a", "tbird@b")


def scores(**changes):
    """Eight validation normals 1 to 8 and one abnormal 9; test normals 0 2 4 6, abnormals 5 and 8."""
    arrays = {
        "validation": np.array([3.0, 1, 2, 4, 9, 5, 6, 7, 8]),
        "validation_labels": np.array([0, 0, 0, 0, 1, 0, 0, 0, 0], np.int8),
        "test": np.array([0.0, 5, 2, 4, 8, 6]),
        "test_labels": np.array([0, 1, 0, 0, 1, 0], np.int8),
        "test_system": np.zeros(6, np.uint8),
        "native": np.array([4.5]),
    }
    return arrays | changes


def measured(*rules, split="chronological", systems=SYSTEMS, **changes):
    return measure(scores(**changes), systems, [parse_rule(rule) for rule in rules], split=split)


def test_toy_by_hand():
    """conformal:0.5 of n = 8 is the ceil(9 x 0.5) = 5th smallest normal, 5: one flag (8), and one too many (6)."""
    found = measured("conformal:0.5", "native", "oracle", "fixed:100")
    assert {name: threshold["value"] for name, threshold in found["thresholds"].items()} == {
        "conformal:0.5": 5.0,
        "native": 4.5,
        "oracle": 4.0,
        "fixed:100": 100.0,
    }
    assert found["thresholds"]["conformal:0.5"] == {
        "value": 5.0,
        "fitted_on": "validation normals",
        "n": 8,
        "reason": None,
    }
    block = found["metrics"]["all"]
    assert (block["n"], block["n_abnormal"]) == (6, 2)
    conformal = block["rules"]["conformal:0.5"]
    assert {name: conformal[name] for name in ("tp", "fp", "fn", "tn")} == {"tp": 1, "fp": 1, "fn": 1, "tn": 3}
    assert (conformal["precision"], conformal["recall"], conformal["f1"], conformal["fpr"]) == (0.5, 0.5, 0.5, 0.25)
    native = block["rules"]["native"]
    assert (native["tp"], native["fp"]) == (2, 1)
    assert native["f1"] == pytest.approx(0.8)
    assert block["rules"]["fixed:100"]["f1"] == 0
    # Of 8 pairs of an abnormal and a normal only (5, 6) is in the wrong order; AP = 1/2 x 1/1 + 1/2 x 2/3.
    assert block["ranking"]["auroc"] == pytest.approx(7 / 8)
    assert block["ranking"]["ap"] == pytest.approx(5 / 6)
    assert block["ranking"]["oracle_f1"] == pytest.approx(block["rules"]["oracle"]["f1"]) == pytest.approx(0.8)


def test_abnormal_validation_sequences_move_no_threshold():
    changed = scores()["validation"] * np.where(scores()["validation_labels"] == 1, 1000, 1)
    assert measured("conformal:0.2", validation=changed) == measured("conformal:0.2")


def test_poisoned_test_labels_move_no_threshold_and_no_flag():
    """Whatever the test labels say, every rule but the oracle decides alike; only what it was worth changes."""
    rules = ("conformal:0.3", "conformal:0.5", "quantile:0.75", "native", "fixed:4.5")
    clean = measured(*rules)
    for poison in (1 - scores()["test_labels"], np.ones(6, np.int8), np.array([1, 0, 0, 1, 0, 1], np.int8)):
        poisoned = measured(*rules, test_labels=poison)
        assert poisoned["thresholds"] == clean["thresholds"]
        assert poisoned["metrics"] != clean["metrics"]
        for rule in rules:
            true, false = (found["metrics"]["all"]["rules"][rule] for found in (clean, poisoned))
            assert true["tp"] + true["fp"] == false["tp"] + false["fp"] > 0
    assert measured("oracle", test_labels=np.array([1, 0, 0, 1, 0, 1], np.int8)) != measured("oracle")


def test_what_cannot_be_estimated_has_a_reason_and_no_metrics():
    found = measured("conformal:0.01", "native", native=np.array([]))
    assert found["thresholds"]["conformal:0.01"]["value"] is None
    assert found["thresholds"]["conformal:0.01"]["reason"] == "needs at least 99 validation normals, has 8"
    assert found["thresholds"]["native"]["reason"] == "method has no native threshold"
    assert found["metrics"]["all"]["rules"] == {}
    assert found["metrics"]["all"]["ranking"]["auroc"] == pytest.approx(7 / 8)


def test_an_infinite_native_threshold_flags_everything():
    found = measured("native", native=np.array([-np.inf]))
    assert found["thresholds"]["native"]["value"] == -math.inf
    assert found["metrics"]["all"]["rules"]["native"]["flagged_share"] == 1


def test_one_tested_system_has_no_block_of_its_own():
    assert set(measured("native")["metrics"]) == {"all"}
    target_only = np.ones(6, np.uint8)
    assert set(measured("native", test_system=target_only)["metrics"]) == {"all"}


def test_several_tested_systems_have_blocks_at_the_shared_threshold():
    found = measured("native", test_system=np.array([0, 0, 0, 1, 1, 1], np.uint8))["metrics"]
    assert set(found) == {"all", *SYSTEMS}
    assert (found["bgl@a"]["n"], found["bgl@a"]["n_abnormal"]) == (3, 1)
    assert found["bgl@a"]["rules"]["native"]["f1"] == 1.0
    assert (found["tbird@b"]["rules"]["native"]["tp"], found["tbird@b"]["rules"]["native"]["fp"]) == (1, 1)


def two_systems(**changes):
    """Validation normals 1 3 5 7 of the first system and 2 4 6 8 of the second; test 0 5 2 and 4 8 6."""
    return {
        "validation_system": np.array([0, 0, 1, 1, 0, 0, 1, 0, 1], np.uint8),
        "test_system": np.array([0, 0, 0, 1, 1, 1], np.uint8),
    } | changes


def test_each_system_has_a_bound_of_its_own_by_hand():
    """conformal:0.8 of n = 4 is the ceil(5 x 0.2) = 1st smallest normal: 1 for the first system, 2 for the second."""
    rule = "conformal:0.8@own-system"
    found = measured("conformal:0.8", rule, **two_systems())
    own = found["thresholds"][rule]
    assert (own["value"], own["reason"], own["n"]) == (None, None, 8)
    assert {name: (one["value"], one["n"]) for name, one in own["systems"].items()} == {
        "bgl@a": (1.0, 4),
        "tbird@b": (2.0, 4),
    }
    counts = {name: [block["rules"][rule][k] for k in ("tp", "fp")] for name, block in found["metrics"].items()}
    # First system: 5 is abnormal, 2 normal; second: 8 is abnormal, 4 and 6 normal, all above 2.
    assert counts == {"bgl@a": [1, 1], "tbird@b": [1, 2], "all": [2, 3]}


def test_own_bounds_differ_from_the_shared_one_where_they_should():
    scores_of_second = {
        "validation": np.array([3.0, 1, 20, 40, 9, 5, 60, 7, 80]),
        "test": np.array([0.0, 5, 2, 4, 8, 6]),
    }
    found = measured("conformal:0.8", "conformal:0.8@own-system", **two_systems(**scores_of_second))["metrics"][
        "tbird@b"
    ]
    assert found["rules"]["conformal:0.8"]["fp"] == 2
    assert found["rules"]["conformal:0.8@own-system"]["fp"] == 0


def test_own_bounds_share_the_bootstrap_of_an_equal_rule():
    found = measured("fixed:2", "conformal:0.8@own-system", **two_systems())["metrics"]["tbird@b"]["bootstrap"]["rules"]
    assert found["fixed:2"] == found["conformal:0.8@own-system"]


def test_a_system_with_too_few_normals_has_no_bound_of_its_own():
    found = measured("conformal:0.2@own-system", **two_systems(validation_system=np.array([0] * 7 + [1] * 2, np.uint8)))
    own = found["thresholds"]["conformal:0.2@own-system"]
    assert own["reason"].startswith("tbird@b: ")
    assert own["systems"]["tbird@b"]["value"] is None
    assert "conformal:0.2@own-system" not in found["metrics"]["tbird@b"]["rules"]
    assert "conformal:0.2@own-system" not in found["metrics"]["all"]["rules"]
    assert "conformal:0.2@own-system" in found["metrics"]["bgl@a"]["rules"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"validation_system": np.zeros(9, np.uint8)}, "only one system"),
        ({"validation_system": np.zeros(9, np.uint8), "test_system": np.array([1, 1, 1, 2, 2, 2])}, "a transfer"),
    ],
)
def test_bounds_of_their_own_need_combined_systems(changes, reason):
    found = measured("conformal:0.8@own-system", systems=("a@a", "b@b", "c@c"), **changes)
    assert reason in found["thresholds"]["conformal:0.8@own-system"]["reason"]
    assert "conformal:0.8@own-system" not in found["metrics"]["all"]["rules"]


def test_scores_that_do_not_name_their_systems_must_be_made_again():
    rule = parse_rule("conformal:0.8@own-system")
    assert not can_measure(rule, scores())
    assert can_measure(rule, scores(**two_systems()))
    assert can_measure(parse_rule("conformal:0.8"), scores())


def target(**changes):
    return {
        "target_validation": np.array([10.0, 20, 30, 40]),
        "target_validation_labels": np.array([0, 0, 0, 1], np.int8),
    } | changes


def test_target_rules_read_the_target():
    found = measured("quantile:1", "quantile:1@target-normals", "quantile:1@target-unlabelled", **target())
    assert {name: (t["value"], t["n"]) for name, t in found["thresholds"].items()} == {
        "quantile:1": (8.0, 8),
        "quantile:1@target-normals": (30.0, 3),
        "quantile:1@target-unlabelled": (40.0, 4),
    }


def test_under_the_paper_split_the_unlabelled_target_is_not_estimable():
    rules = ("quantile:1@target-normals", "quantile:1@target-unlabelled")
    found = measured(*rules, split="paper", **target())["thresholds"]
    assert found["quantile:1@target-normals"]["value"] == 30.0
    assert found["quantile:1@target-unlabelled"]["value"] is None
    assert "leaves only normals" in found["quantile:1@target-unlabelled"]["reason"]


def test_without_a_target_its_rules_are_not_estimable():
    found = measured("quantile:1@target-normals")["thresholds"]["quantile:1@target-normals"]
    assert found["value"] is None
    assert "not a transfer" in found["reason"]


def test_default_rules():
    base = ["native", "conformal:0.01", "oracle"]
    assert [str(rule) for rule in default_rules(is_transfer=False)] == base
    assert [str(rule) for rule in default_rules(is_transfer=True)] == [
        *base,
        "conformal:0.01@target-normals",
        "conformal:0.01@target-unlabelled",
    ]


def test_a_rule_added_later_equals_one_asked_for_at_once():
    at_once = measured("native", "conformal:0.2", "quantile:0.9")
    alone = measured("quantile:0.9")
    assert at_once["thresholds"]["quantile:0.9"] == alone["thresholds"]["quantile:0.9"]
    for part in ("rules", "bootstrap"):
        both = at_once["metrics"]["all"][part], alone["metrics"]["all"][part]
        first, second = (found["rules"] if part == "bootstrap" else found for found in both)
        assert first["quantile:0.9"] == second["quantile:0.9"]
    assert at_once["metrics"]["all"]["ranking"] == alone["metrics"]["all"]["ranking"]


def test_equal_rankings_have_equal_intervals():
    one = measured("oracle")["metrics"]["all"]["bootstrap"]
    other = measured("oracle", test=scores()["test"] * 3 - 1)["metrics"]["all"]["bootstrap"]
    assert one == other


def in_time(n=1000, **changes):
    rng = np.random.default_rng(0)
    labels = (np.arange(n) // 10 % 5 == 0).astype(np.int8)
    made = {
        "test": rng.normal(size=n) + labels,
        "test_labels": labels,
        "test_system": np.zeros(n, np.uint8),
        "test_last_line": np.arange(n) * 20,
        "test_incident": np.where(labels == 1, np.arange(n) // 50, -1).astype(np.int32),
    }
    return made | changes


@pytest.mark.parametrize("split", ["chronological", "chronological:50,70", "prequential:5,2", "transfer"])
def test_what_a_stretch_of_time_holds_is_resampled_in_blocks(split):
    block = measured("fixed:1", split=split, **in_time())["metrics"]["all"]
    assert block["bootstrap"]["resampled"] == "blocks of 20"
    assert 0 < block["rules"]["fixed:1"]["recall_incident"] <= 1


@pytest.mark.parametrize("split", ["paper", "blind", "given"])
def test_what_is_drawn_or_given_is_resampled_one_by_one(split):
    block = measured("fixed:1", split=split, **in_time())["metrics"]["all"]
    assert block["bootstrap"]["resampled"] == "sequences"
    assert "recall_incident" not in block["rules"]["fixed:1"]


def test_a_sample_of_a_stretch_is_resampled_one_by_one():
    weights = {"test_index": np.arange(1000), "test_weights": np.ones(1000)}
    assert measured("fixed:1", **in_time(**weights))["metrics"]["all"]["bootstrap"]["resampled"] == "sequences"


def test_too_few_blocks_with_abnormal_sequences_are_told():
    labels = np.zeros(1000, np.int8)
    labels[300:310] = 1
    spread = measured("fixed:1", **in_time(test_labels=labels))["metrics"]["all"]["bootstrap"]
    assert spread["resampled"] == "sequences"
    assert spread["reason"] == "abnormal sequences stand in 1 of the blocks of 10"


def test_an_order_in_the_file_that_is_not_that_of_time_changes_nothing():
    one = in_time()
    order = np.random.default_rng(1).permutation(1000)
    other = {name: values[order] for name, values in one.items()}
    first, second = (measured("fixed:1", **each)["metrics"]["all"] for each in (one, other))
    assert first["rules"] == second["rules"]
    assert first["bootstrap"]["auroc"] == pytest.approx(second["bootstrap"]["auroc"], abs=1e-5)


def test_recall_by_incident_by_hand():
    """Incident 0 has two flagged of three sequences, incident 1 none, incident 4 its only one."""
    given = {
        "test": np.array([3.0, 3, 0, 0, 0, 3, 3]),
        "test_labels": np.array([1, 1, 1, 1, 1, 1, 0], np.int8),
        "test_system": np.zeros(7, np.uint8),
        "test_incident": np.array([0, 0, 0, 1, 1, 4, -1], np.int32),
    }
    rule = measured("fixed:2", **given)["metrics"]["all"]["rules"]["fixed:2"]
    assert rule["recall_incident"] == pytest.approx(2 / 3)
    assert rule["recall"] == pytest.approx(3 / 6)


def test_sampling_weights_reach_every_metric_and_the_oracle():
    """Each weight counts as so many sequences, in all blocks, also where systems have thresholds of their own."""
    weights = np.array([1, 2, 1, 4, 2, 1])
    rules = ("native", "oracle", "fixed:3", "conformal:0.5@own-system")
    given = two_systems()
    one = measured(*rules, **given, test_weights=weights * 1.0)
    many = {name: np.repeat(scores(**given)[name], weights) for name in ("test", "test_labels", "test_system")}
    whole = measured(*rules, **given | many)
    values = [{rule: t["value"] for rule, t in found["thresholds"].items()} for found in (one, whole)]
    assert values[0] == values[1]
    assert one["metrics"].keys() == whole["metrics"].keys()
    for name, block in one["metrics"].items():
        assert block["ranking"] == pytest.approx(whole["metrics"][name]["ranking"])
        for rule in block["rules"]:
            assert block["rules"][rule] == pytest.approx(whole["metrics"][name]["rules"][rule])
    assert one["metrics"]["all"]["n"] == 6
