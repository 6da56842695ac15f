"""The lines below a table over several cuts or blocks: a constructed series for each sentence that they can say."""

import pytest

from bench.records.store import Store
from bench.reporting.files import outdated_tables, write_tables
from bench.reporting.series_reading import series_reading
from bench.reporting.tables.series import make_series
from bench.reporting.tables.table import make_tables

RULE = "conformal:0.01"
CUTS = ("chronological:40,60", "chronological:50,70", "chronological")


@pytest.fixture
def row(make_record):
    """A record whose AP and AUROC are one value, with enough abnormal sequences and a threshold that holds."""

    def make(method, split, value, *, fpr=0.01, counts=None, supervision="normal-only"):
        record = make_record(method, 0, value, split=split, supervision=supervision)
        record["metrics"]["all"]["rules"][RULE]["fpr"] = fpr
        record["counts"] |= {"n_test": 4000, "n_test_abnormal": 1000, "split": {"bgl@raw12k": {"cut": [0.6, 0.8]}}}
        record["counts"] |= counts or {}
        return record

    return make


@pytest.fixture
def say(row):
    """The reading of a series: values of each method and of `clock`, cut by cut."""

    def of(methods, clock=(0.3, 0.3, 0.3), splits=CUTS, **options):
        records = [
            row("clock", split, value, supervision="control") for split, value in zip(splits, clock, strict=True)
        ]
        for name, values in methods.items():
            records += [row(name, split, value, **options) for split, value in zip(splits, values, strict=True)]
        (series,) = make_series(make_tables(records))
        return series_reading(series, RULE)

    return of


def test_who_is_above_the_best_control_in_every_cut_in_some_in_none(say):
    first, *_ = say({"a": (0.9, 0.9, 0.9), "b": (0.2, 0.5, 0.4), "c": (0.1, 0.2, 0.1)})
    assert first == (
        "Above the best control, by mean AP and without a test, of 3 cuts in every one: a; in some: b (2 of 3); "
        "in none: c."
    )


def test_the_cut_decides_where_values_move_more_between_cuts_than_between_methods(say):
    second = say({"a": (0.9, 0.3, 0.5), "b": (0.8, 0.2, 0.6)})[1]
    assert second == (
        "Between cuts AUROC of the middle method moves by .600, at one cut methods lie .100 apart: the cut decides "
        "more than the method. First by AP: a in 2, b in 1."
    )


def test_the_method_decides_where_it_is_the_other_way_round(say):
    second = say({"a": (0.9, 0.8, 0.9), "b": (0.4, 0.4, 0.5)})[1]
    assert "the method decides more than the cut. First by AP: a in every cut." in second


def test_one_method_alone_is_first_of_nobody(say):
    assert say({"a": (0.9, 0.3, 0.5)})[1] == "Between cuts AUROC of the middle method moves by .600."


def test_thresholds_that_hold_and_those_that_do_not(say):
    assert say({"a": (0.9, 0.8, 0.9)})[2] == (
        "Thresholds hold in every cut: the middle method gives at most 1 % false alarms (1 % promised)."
    )
    assert say({"a": (0.9, 0.8, 0.9)}, fpr=0.4)[2] == (
        "1 % false alarms are promised; in 3 of 3 cuts the middle method gives far more (up to 40 %)."
    )


def test_blocks_that_rank_nothing_or_little_are_counted(row):
    blocks = [
        (f"prequential:3,{n}", counts)
        for n, counts in ((1, {}), (2, {"n_test_abnormal": 0}), (3, {"n_test_abnormal": 5}))
    ]
    records = [
        row(name, split, value, counts=counts, supervision=told)
        for split, counts in blocks
        for name, value, told in (("a", 0.9, "normal-only"), ("clock", 0.3, "control"))
    ]
    (series,) = make_series(make_tables(records))
    lines = series_reading(series, RULE)
    assert lines[0].startswith("Above the best control, by mean AP and without a test, of 2 blocks in every one: a.")
    assert lines[2].endswith(
        "1 of 3 blocks hold one kind of sequence alone. In 1 of 2 fewer than 20 abnormal sequences are tested, so "
        "their values mean little."
    )


def test_a_series_of_which_nothing_can_be_ranked(row):
    records = [row("a", split, 0.5, counts={"n_test_abnormal": 0}) for split in CUTS]
    (series,) = make_series(make_tables(records))
    assert series_reading(series, RULE) == ("No cut tests both kinds of sequence, so nothing can be ranked.",)


def test_without_controls_or_methods_it_says_so(row):
    (series,) = make_series(make_tables([row("a", split, 0.5) for split in CUTS]))
    assert series_reading(series, RULE)[0] == "No method stands beside a control here, so nothing says what one adds."


def test_it_stands_in_the_file_of_the_series(row, tmp_path):
    store = Store(tmp_path)
    for split in CUTS:
        store.write(row("a", split, 0.9))
        store.write(row("clock", split, 0.3, supervision="control"))
    write_tables(store, {table.key for table in make_tables(store.records())})
    assert "of 3 cuts in every one: a." in (tmp_path / "tables" / "bgl@raw12k--cuts.md").read_text()
    assert outdated_tables(store) == {}
