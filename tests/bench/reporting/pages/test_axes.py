"""Blocks along other axes than editions: budget, drift, published settings, ranks."""

import pytest

from bench.reporting.comparisons.verdicts import Verdicts
from bench.reporting.pages.drift import drift
from bench.reporting.pages.gather import Results, family_of
from bench.reporting.pages.matrix import matrices
from bench.reporting.pages.originals import originals
from bench.reporting.pages.places import mean_ranks
from bench.reporting.pages.results import PAGES
from bench.reporting.pages.steps import budget_rule, steps, untrained
from bench.reporting.tables.ranking import short
from bench.reporting.tables.table import make_tables


def results_of(records):
    return Results(tuple(make_tables(records)), 1, (), Verdicts.of([]))


@pytest.fixture
def trained(make_record):
    """A record of a network with a budget of 600 steps, or another."""

    def make(name, f1, steps=600, seed=0, **changes):
        label = name if steps == 600 else f"{name}[steps={steps}]"
        return make_record(label, seed, f1, config={"steps": steps}, **changes)

    return make


def test_curves_have_a_column_for_each_budget_and_say_how_rankings_agree(trained):
    at = {"a": (0.5, 0.6, 0.7, 0.9), "b": (0.65, 0.5, 0.6, 0.8), "c": (0.1, 0.4, 0.5, 0.95)}
    records = [trained(name, f1, s) for name, row in at.items() for s, f1 in zip((0, 150, 600, 2400), row, strict=True)]
    text = " ".join(steps(results_of(records)).split())
    assert "| steps | 0 | 150 | 600 | 2,400 |" in text
    assert "| b | .650 | .500 | .600 | .800 |" in text
    assert "at 0.25 and 1 times the budget of 600 steps: Kendall's tau +1.00 (3 methods)" in text
    assert "at 1 and 4 times the budget of 600 steps: Kendall's tau -0.33 (3 methods)" in text
    assert "Below its untrained self at 600 steps: b." in text


def test_a_network_below_its_untrained_self_is_named_on_its_page(trained):
    results = results_of([trained("a", 0.5, 0), trained("a", 0.6), trained("b", 0.65, 0), trained("b", 0.6)])
    assert untrained(results, "a").endswith("- bgl@raw12k, chronological: .500 untrained, .600 trained")
    assert untrained(results, "b").endswith(".650 untrained, .600 trained: **below its untrained self**")
    assert untrained(results, "c") == ""


def test_a_curve_is_of_the_seeds_that_all_its_steps_have(trained):
    records = [trained("a", 0.5, 0), trained("a", 0.6), trained("a", 0.1, seed=1), trained("a", 0.2, seed=2)]
    results = results_of(records)
    text = " ".join(steps(results).split())
    assert "| a | .500 | .600 |" in text
    assert "Seeds behind a value, the same ones at all steps of a method: 1." in text
    assert untrained(results, "a").endswith(".500 untrained, .600 trained")
    others = [trained(name, 0.5, s, seed) for name, n in (("b", 2), ("c", 3)) for s in (0, 600) for seed in range(n)]
    assert "at all steps of a method: 1 to 3." in steps(results_of([*records, *others]))


def test_a_budget_is_judged_by_validation_over_the_systems_where_settings_are_chosen(trained):
    at = {"a": (0.1, 0.2, 0.3, 0.4, 0.5), "b": (0.5, 0.4, 0.495, 0.2, 0.1)}
    steps = (0, 75, 150, 300, 600)

    def of(edition, name, shift, tier="development"):
        return [
            trained(name, 0.9, count, edition=edition, tiers={edition: tier})
            | {"validation": {"ranking": {"ap": value + shift}}}
            for count, value in zip(steps, at[name], strict=True)
        ]

    records = [*of("hdfs@a", "a", 0.0), *of("bgl@b", "a", 0.2), *of("hdfs@a", "b", 0.0)]
    text = budget_rule(results_of([*records, *of("bgl@c", "a", 0.4, "evaluation")]))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "| a | 2 | .200 | .300 | .400 | .500 | .600 | 600 |" in lines
    assert "| b | 1 | .500 | .400 | .495 | .200 | .100 | 0 |" in lines
    assert "| within 0.01 of its best | | 1 of 2 | 0 of 2 | 1 of 2 | 0 of 2 | 1 of 2 | |" in lines
    assert budget_rule(results_of([trained("a", 0.5)])) == "(no record)"


def test_one_budget_alone_is_no_curve(trained):
    assert steps(results_of([trained("a", 0.5)])) == "(no record)"


def test_drift_is_the_mean_and_the_worst_over_cuts(make_record):
    splits = {"chronological:50,70": 0.5, "chronological": 0.9, "chronological:70,90": 0.7}
    records = [make_record("a", 0, f1, split=split) for split, f1 in splits.items()]
    text = " ".join(drift(results_of(records)).split())
    assert "**bgl@raw12k, cuts (3 cuts)**" in text
    assert "| a | .500 | .700 | .700 | .500 | 3 |" in text


def test_what_ran_under_one_cut_alone_is_no_drift(make_record):
    records = [make_record("a", 0, 0.5, split=split) for split in ("chronological", "chronological:50,70")]
    text = drift(results_of([*records, make_record("b", 0, 0.9, split="chronological")]))
    assert "| b" not in text
    assert "Left out, as they ran under one cut alone: 1." in text


def test_published_settings_stand_beside_the_common_ones(make_record):
    records = [make_record("mlad", 0, 0.4), make_record("mlad[profile=original]", 0, 0.9, config={"x": 2})]
    records.append(make_record("mlad", 1, 0.1))
    text = " ".join(originals(results_of(records)).split())
    assert "| mlad | .400 / .400 / .400 | .900 / .900 / .900 |" in text
    within = next(page for page in PAGES if page.name == "chronological").texts(results_of(records))["matrix"]
    assert "profile=original" not in within


def test_mean_places_over_editions_of_rows_that_all_have(make_record):
    at = {"hdfs@a": {"a": 0.9, "b": 0.8, "c": 0.1}, "bgl@b": {"a": 0.7, "b": 0.8}}
    records = [make_record(name, 0, f1, edition=e) for e, row in at.items() for name, f1 in row.items()]
    text = mean_ranks(results_of(records))
    assert "2 rows, 2 editions; Kendall's tau of two editions' rankings is -1.00 in the mean" in text
    assert "| a | 1.50" in " ".join(text.split())
    assert "| c" not in text


def test_tables_find_their_page(make_record):
    spec = make_record()["spec"]
    other = spec | {"test": [{"edition": "hdfs@a", "sha256": "00"}]}
    transfer = make_record() | {"spec": other, "scenario": "bgl@raw12k2hdfs@a"}
    cases = {
        "within": make_record(),
        "paper": make_record(split="paper"),
        "combined": make_record(edition="bgl@a+hdfs@a"),
        "transfers": transfer,
        "drift": make_record(split="prequential:5,2"),
        "chat": make_record(supervision="training-free"),
    }
    assert {name: family_of(make_tables([record])[0]) for name, record in cases.items()} == {n: n for n in cases}


def test_a_cell_says_seeds_that_are_missing_and_rows_that_failed(make_record):
    records = [make_record("a", seed, 0.5) for seed in (0, 1)] + [make_record("b", 0, 1.0)]
    records += [make_record("c", seed, 0.5) for seed in (0, 1)]
    failed = {"status": "out_of_memory", "reason": "too large"}
    records += [{k: v for k, v in make_record("d").items() if k not in ("metrics", "thresholds")} | failed]
    text = matrices(make_tables(records), lambda row: True)
    assert ".500 / .500 / .500 " in text
    assert "1.00 / 1.00 / 1.00 (1)" in text
    assert "out of memory" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.5982, ".598"), (0.9996, "1.00"), (0.0, ".000"), (-0.0514, "-.051"), (None, "n/e")]
)
def test_how_a_value_is_printed(value, text):
    assert short(value) == text
