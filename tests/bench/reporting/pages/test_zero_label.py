"""Blocks on a system without labels: who is on them, what verdicts are shown, and which rows are parts of which."""

import pytest

from bench.reporting.comparisons.differences import VERSION
from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.pages import zero_label
from bench.reporting.pages.gather import Results
from bench.reporting.pages.matrix import matrices
from bench.reporting.tables.table import make_tables

LABELS = {"source": "labels"}
UNLABELLED = LABELS | {"target": "unlabelled"}
FEW = LABELS | {"target": "few:0.01"}


@pytest.fixture
def transfer(make_record):
    """A record of a transfer to bgl@b."""

    def make(method, ap, told, *, source="hdfs@a", control=False, seed=0, **changes):
        record = make_record(method, seed, ap, split="transfer", edition=source, config={"of": method})
        record["spec"]["test"] = [{"edition": "bgl@b", "sha256": "00"}]
        record["tiers"] = {source: "evaluation", "bgl@b": "evaluation"}
        record["detector"] |= {"told": told, "is_control": control}
        return record | {"scenario": f"{source}2bgl@b", "run_id": f"{source}{method}{seed}"} | changes

    return make


def results_of(records, *compared):
    """compared: (one, other, verdict) on the first table."""
    tables = tuple(make_tables(records))
    key = tables[0].key._asdict()
    found = [
        key
        | {"version": VERSION, "method": one, "rows": [{"method": other, "metrics": {"ap": {"verdict": v, "p": 0.01}}}]}
        for one, other, v in compared
    ]
    return Results(tables, 2, (), Verdicts.of(found))


def line_of(text, start):
    return next(" ".join(line.split()) for line in text.splitlines() if line.startswith(start))


def test_each_method_is_held_against_the_controls_that_are_told_as_much(transfer):
    known = {"mean-difference": (0.3, LABELS), "knn-labelled": (0.4, LABELS), "knn-few": (0.6, FEW)}
    records = [transfer(name, ap, told, control=True) for name, (ap, told) in known.items()]
    records.append(transfer("all-positive", 0.1, {}, control=True))
    records += [transfer("zerolog", 0.5, UNLABELLED), transfer("metalog", 0.7, FEW)]
    records += [transfer("source-only", 0.2, LABELS), transfer("mlad", 0.9, {"source": "normals"})]
    records.append(transfer("logformer", 0.9, LABELS | {"target": "labels"}))
    compared = [
        ("mean-difference", "zerolog", "worse"),
        ("knn-labelled", "zerolog", "worse"),
        ("mean-difference", "metalog", "worse"),
        ("knn-few", "metalog", "better"),
        ("mean-difference", "source-only", "not separable"),
    ]
    text = zero_label.gains(results_of(records, *compared))
    head, pair = (line_of(text, start) for start in ("| pair", "| hdfs@a2bgl@b"))
    assert head == (
        "| pair | metalog | source-only | zerolog | mean-difference | knn-labelled | knn-few | all-positive |"
    )
    assert pair == "| hdfs@a2bgl@b | .700 +?- | .200 =? ~ | .500 ++ ~ | .300 | .400 | .600 | .100 |"
    start = "1 pairs (1 of evaluation editions): better than each of its controls on"
    assert f"- **zerolog**, {start} 1 (hdfs@a2bgl@b); worse than one of its controls on 0; " in text
    assert f"- **metalog**, {start} 0; worse than one of its controls on 1 (hdfs@a2bgl@b); " in text


def test_what_ran_on_few_pairs_has_no_column_and_its_sum_all_the_same(transfer):
    sources = ("hdfs@a", "spirit@c", "iotdb@d")
    records = [transfer("zerolog", 0.5, UNLABELLED, source=source) for source in sources]
    records += [transfer("freelog", 0.5, UNLABELLED, source=source) for source in sources[:2]]
    text = zero_label.gains(results_of(records))
    assert "| zerolog |" in line_of(text, "| pair")
    assert "freelog" not in line_of(text, "| pair")
    assert "- **freelog**, 2 pairs" in text


def test_a_pair_without_a_method_that_sees_the_target_is_elsewhere(transfer):
    assert zero_label.gains(results_of([transfer("source-only", 0.5, LABELS)])) == "(no record)"


def test_a_part_is_worth_what_it_adds_over_the_same_seeds(transfer):
    records = [transfer("zerolog", ap, UNLABELLED, seed=seed) for seed, ap in enumerate((0.5, 0.9, 0.9))]
    records += [transfer("zerolog[reversal=0]", 0.4, UNLABELLED), transfer("zerolog[meta=none]", 0.6, UNLABELLED)]
    text = zero_label.parts(results_of(records))
    assert line_of(text, "| zerolog") == "| zerolog, AP | whole | meta=none | reversal=0 |"
    assert line_of(text, "| hdfs@a") == "| hdfs@a2bgl@b | .500 | .600 | .400 |"


def test_a_stand_in_for_the_teacher_is_no_part(transfer):
    name = "generallog[teacher=embedding]"
    records = [transfer(name, 0.5, UNLABELLED), transfer("generallog[tau=1,teacher=embedding]", 0.3, UNLABELLED)]
    records[0]["monitor"] = {"pool_general_share": 0.25}
    results = results_of(records)
    assert line_of(zero_label.parts(results), "| generallog") == "| generallog, AP | whole | tau=1 |"
    assert line_of(zero_label.router(results), "| hdfs@a") == "| hdfs@a2bgl@b | 0.250 |"
    assert line_of(zero_label.gains(results), "| pair").startswith("| pair | generallog | mean-difference")


def test_a_router_that_leaves_nothing_to_the_small_model_is_shown(transfer):
    record = transfer("generallog", 0.5, UNLABELLED) | {"monitor": {"pool_general_share": 0.0}}
    assert line_of(zero_label.router(results_of([record])), "| hdfs@a") == "| hdfs@a2bgl@b | 0.000 |"


def test_many_editions_stand_below_each_other(transfer):
    records = [transfer("zerolog", 0.5, UNLABELLED, source=f"hdfs@{i}") for i in range(9)]
    text = matrices(make_tables(records), lambda row: True)
    assert line_of(text, "| source").endswith("| zerolog |")
    assert line_of(text, "| hdfs@8") == "| hdfs@82bgl@b | .500 / .500 / .500 |"
    few = matrices(make_tables(records[:3]), lambda row: True)
    assert line_of(few, "| zerolog").count(".500 / .500 / .500") == 3
