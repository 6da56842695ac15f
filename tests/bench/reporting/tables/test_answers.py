"""What is said of answers of chat models, from hand-made monitor facts."""

import pytest

from bench.reporting.tables.answers import answer_lines, answers_of, ledger_of, models_of

FACTS = {
    "unparsable_share": 0.1,
    "asked": 30,
    "calls": 1200,
    "replayed": 0,
    "tokens_in": 90_000,
    "tokens_out": 600,
    "latency_s": 600.0,
    "models": {"stub-1": 1},
    "redacted": False,
}
RECORDED = {"replayed": 10, "replayed_tokens_in": 1000, "replayed_tokens_out": 20, "replayed_latency_s": 5.0}


def record(method="chat", **facts):
    return {"method": method, "scenario": "bgl@a", "monitor": FACTS | facts}


def test_a_row_is_one_line_over_its_seeds():
    made = [record(), record(unparsable_share=0.4, asked=10, models={"stub-2": 1}), {**record("pca"), "monitor": None}]
    assert answer_lines(made) == [
        "chat on bgl@a, answered by stub-1, stub-2: 2,400 calls and 0 recorded answers; 180,000 tokens in, 1,200 out; "
        "0.50 s per call; 17.5% of answers unparsable"
    ]


def test_recorded_answers_are_told_apart():
    (line,) = answer_lines([record(**RECORDED, redacted=True, cost=0.5, replayed_cost=0.25)])
    assert "600 out; cost 0.5000; 0.50 s per call" in line
    assert "the recorded answers took 1,000 tokens in, 20 out, cost 0.2500, 0.50 s each" in line
    assert line.endswith("were masked before lines left this machine")


@pytest.mark.parametrize("costs", [[None, None], [0.5, None]])
def test_there_is_no_cost_where_a_run_had_no_price(costs):
    made = [record(**RECORDED, **({} if cost is None else {"cost": cost})) for cost in costs]
    assert answers_of(made)["chat on bgl@a"].cost is None
    assert "cost" not in answer_lines(made)[0]


def test_without_any_answer_nothing_is_divided_by_zero():
    (line,) = answer_lines([record(asked=0, calls=0, models={})])
    assert "answered by no model: 0 calls" in line


@pytest.mark.parametrize(
    "monitor",
    [[1.0], "models", 3, {"unparsable_share": "none"}, FACTS | {"models": 3}, FACTS | {"calls": [1]}],
    ids=repr,
)
def test_what_another_method_says_of_itself_is_no_ledger(monitor):
    other = {**record("other"), "monitor": monitor}
    assert ledger_of(other) == {}
    assert models_of([other]) == (["stub-1"] if isinstance(monitor, dict) and monitor.get("calls") == [1] else [])
    assert answer_lines([other]) == []
