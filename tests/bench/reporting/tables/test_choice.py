"""Which rows and columns of tables are shown, in which order, and what is said to a name that nothing has."""

import pytest

from bench.errors import BenchError
from bench.reporting.tables.choice import Choice
from bench.reporting.tables.layout import view_of
from bench.reporting.tables.table import make_tables, summary

RULE = "conformal:0.01"


@pytest.fixture
def tables(make_record):
    """Two data sets: `mlad` twice, `deeplog`, a labelled method, and two controls of which `clock` is the better."""
    records = []
    for edition, ap in (("bgl@a", 0.1), ("hdfs@b", 0.0)):
        values = {"mlad": 0.5 + ap, "mlad[alpha=1.3,steps=2]": 0.8, "deeplog": 0.7}
        records += [make_record(n, 0, f1, edition=edition, config={"n": n}) for n, f1 in values.items()]
        controls = {"clock": 0.5, "random": 0.2}
        records += [make_record(n, 0, f1, edition=edition, supervision="control") for n, f1 in controls.items()]
    records.append(make_record("forest", 0, 0.3, edition="bgl@a", supervision="supervised"))
    for record in records:
        record["counts"]["split"] = {record["scenario"]: {"cut": [0.6, 0.8]}}
    return make_tables(records)


def names(tables):
    return [[row.method for row in table.rows] for table in tables]


def test_without_a_choice_all_stays_as_it_is(tables):
    assert names(Choice.of().apply(tables, RULE)) == names(tables)


def test_rows_are_sorted_within_what_they_are_told(tables):
    (first, _) = names(Choice.of(sort="AP").apply(tables, RULE))
    assert first == ["mlad[alpha=1.3,steps=2]", "deeplog", "mlad", "forest", "clock", "random"]
    (first, _) = names(Choice.of(sort="fpr").apply(tables, RULE))
    assert first[:3] == ["mlad", "deeplog", "mlad[alpha=1.3,steps=2]"]
    assert names(Choice.of(sort="method").apply(tables, RULE)) == names(tables)


def test_rows_without_a_value_stand_last(tables, make_record):
    failed = make_record("a", edition="bgl@a", status="error", reason="no")
    del failed["metrics"], failed["thresholds"]
    (table,) = make_tables([*tables[0].records, failed])
    (found,) = Choice.of(sort="f1").apply([table], RULE)
    assert [row.method for row in found.rows][:4] == ["mlad[alpha=1.3,steps=2]", "deeplog", "mlad", "a"]


def test_the_top_of_each_group_by_ap_and_always_the_best_control(tables):
    (first, _) = names(Choice.of(top=1).apply(tables, RULE))
    assert first == ["mlad[alpha=1.3,steps=2]", "forest", "clock"]
    (first, _) = names(Choice.of(top=1, sort="fpr").apply(tables, RULE))
    assert first == ["mlad", "forest", "random", "clock"]
    with pytest.raises(BenchError, match="--top 0 leaves nothing"):
        Choice.of(top=0)


def test_a_method_is_named_with_or_without_its_settings_and_controls_stay(tables):
    assert names(Choice.of(methods="mlad").apply(tables, RULE))[1] == [
        "mlad",
        "mlad[alpha=1.3,steps=2]",
        "clock",
        "random",
    ]
    one = Choice.of(methods="mlad[alpha=1.3,steps=2], forest").apply(tables, RULE)
    assert names(one)[0] == ["mlad[alpha=1.3,steps=2]", "forest", "clock", "random"]
    assert names(Choice.of(methods="forest").apply(tables, RULE)) == [["forest", "clock", "random"]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"methods": "mald"},
            "--methods: there is no method 'mald': did you mean mlad? else choose one of deeplog, fo",
        ),
        (
            {"methods": "zzz"},
            "--methods: there is no method 'zzz': choose one of deeplog, forest, mlad, mlad[alpha=1.3",
        ),
        ({"methods": "clock"}, "--methods names controls alone, which stand in every table: name a method too"),
        (
            {"columns": "f1,aurok"},
            "--columns: there is no column 'aurok': did you mean auroc? else choose one of precis",
        ),
        ({"sort": "orcale"}, "--sort: there is no column 'orcale': did you mean oracle? else choose one of precision"),
    ],
)
def test_an_unknown_name_is_one_sentence_with_the_nearest(tables, options, said):
    with pytest.raises(BenchError) as refused:
        Choice.of(**options).apply(tables, RULE)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_columns_are_called_by_key_or_heading_and_stand_as_asked_for(tables):
    choice = Choice.of(columns="AUROC, f1, R@1%, fit s, seeds, mcc")
    view = view_of(tables[0], RULE, choice.columns)
    headers = ("AUROC [95 %]", "F1 [95 %]", "R@1%", "fit s", "seeds", "MCC")
    assert view.blocks[0].grids[0].headers == ("source normals", *headers)
    assert view.blocks[0].grids[0].rows[0] == (
        "deeplog", "0.700 [.700,.700]", "0.700 [.700,.700]", "0.700", "1.50", "1", "n/e",
    )  # fmt: skip


def test_programs_get_the_metrics_that_were_chosen(tables):
    keys = {column.key for column in Choice.of(columns="ap,fit").columns}
    assert [list(row["metrics"]) for row in summary(tables[1], RULE, keys)] == [["ap"]] * 5
