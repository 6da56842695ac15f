"""Configs are ranked by what the validation part says, and a test value never shows."""

from bench.reporting.tables.rows import Row, Table, TableKey
from bench.reporting.tables.validation import render_choices


def record(ap, test_ap=0.123456, status="ok"):
    validation = {"validation": {"n": 40, "n_abnormal": 4, "ranking": {"ap": ap, "auroc": 0.5}}} if ap else {}
    facts = {"simulated": [], "tiers": {"made@up": "development"}}
    return facts | {"status": status, "metrics": {"all": {"ranking": {"ap": test_ap}}}, **validation}


def table(**rows):
    key = TableKey("made@up", "chronological", "20/20", 1, ())
    return Table(key, tuple(Row(name, "source normals", tuple(records)) for name, records in rows.items()))


def test_best_mean_first_and_nothing_of_the_test_part():
    text = render_choices(table(worse=[record(0.5), record(0.7)], better=[record(0.8)], none=[record(None)]))
    lines = text.splitlines()
    assert lines[0] == "### made@up, chronological, protocol 1: choices by the validation part (40 sequences)"
    assert [line.split("|")[1].strip() for line in lines if "|" in line][2:] == ["better", "worse"]
    assert "0.6000" in text
    assert "0.5000" in text
    assert "0.1234" not in text


def test_without_any_validation_ranking_it_says_so():
    assert "no record holds one" in render_choices(table(old=[record(None)]))
