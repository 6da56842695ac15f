"""What is printed of one table: on terminals of two widths, as LaTeX, HTML, CSV, and of many data sets as a matrix."""

import csv
import io
import re

import pytest
from rich.console import Console

from bench.reporting.tables.columns import broad_columns, narrow_columns
from bench.reporting.tables.formats import flat, rows_csv, view_html, view_latex, view_markdown
from bench.reporting.tables.layout import view_of
from bench.reporting.tables.matrix import matrix_rows, matrix_views
from bench.reporting.tables.series import make_series, series_view
from bench.reporting.tables.table import make_tables, summary
from bench.reporting.tables.terminal import columns_for, show

RULE = "conformal:0.01"
BROAD_HEADS = ("F1", "[95", "%]", "AP", "[95", "%]", "AUROC", "[95", "%]")
ODD = "a&b_c|<d>"


@pytest.fixture
def make_table(make_record):
    """A table with a long name, one that needs escapes, one that failed, and two controls."""

    def make(edition="bgl@raw12k", split="chronological"):
        methods = {"mlad[alpha=1.3,embedding=learned,use_gmm=false,steps=2400]": 0.9, ODD: 0.7}
        records = [make_record(n, 0, f1, edition=edition, split=split, config={"n": n}) for n, f1 in methods.items()]
        failed = make_record("broken", edition=edition, split=split, status="out_of_memory", reason="too large")
        del failed["metrics"], failed["thresholds"]
        controls = {"clock": 0.5, "random": 0.2}
        records += [
            failed,
            *(make_record(n, 0, f1, edition=edition, split=split, supervision="control") for n, f1 in controls.items()),
        ]
        for record in records:
            record["counts"]["split"] = {edition: {"cut": [0.6, 0.8]}}
        (table,) = make_tables(records)
        return table

    return make


def printed(view, width, **options):
    console = Console(width=width, file=io.StringIO(), markup=False, highlight=False)
    show(view, console, **options)
    return console.file.getvalue()


def on_terminal(table, width, reading=("It says this.",)):
    return printed(view_of(table, RULE, columns_for(width), reading, brief=True), width)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_is_wider_than_the_terminal(make_table, width):
    text = on_terminal(make_table(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "mlad[alpha=1.3" in text


def test_80_columns_show_f1_with_its_interval_ap_auroc_and_fpr(make_table):
    lines = on_terminal(make_table(), 80).splitlines()
    assert ["F1", "[95", "%]", "AP", "AUROC", "FPR"] in [line.split() for line in lines]
    assert [ODD, "0.700", "[.700,.700]", "0.700", "0.700", "0.700"] in [line.split() for line in lines]


def test_120_columns_show_more(make_table):
    heads = next(line for line in on_terminal(make_table(), 140).splitlines() if "AUROC [95 %]" in line)
    assert heads.split() == [
        "F1",
        "[95",
        "%]",
        "AP",
        "[95",
        "%]",
        "AUROC",
        "[95",
        "%]",
        "FPR",
        "R@1%",
        "oracle",
        "seeds",
    ]
    assert columns_for(80)[0].heading == narrow_columns()[0].heading
    assert len(columns_for(140)) == len(broad_columns())


def test_the_best_control_is_marked_and_a_failure_is_in_the_row_and_below(make_table):
    lines = [line.split() for line in on_terminal(make_table(), 80).splitlines()]
    assert ["clock", "*", "0.500", "[.500,.500]", "0.500", "0.500", "0.500"] in lines
    assert ["random", "0.200", "[.200,.200]", "0.200", "0.200", "0.200"] in lines
    assert ["broken", "out", "of", "memory", "-", "-", "-"] in lines
    assert ["broken:", "out_of_memory,", "too", "large", "(seed", "0)"] in lines
    assert lines[-3:-1] == [["Reading"], ["-", "It", "says", "this."]]


def test_wide_shows_all_columns_facts_and_notes_on_lines_that_are_not_folded(make_table):
    text = printed(view_of(make_table(), RULE), 80, wide=True)
    heads = next(line for line in text.splitlines() if "F1 [95 %]" in line)
    assert heads.split()[-4:] == ["s", "score", "+MiB", "seeds"]
    assert len(heads) > 100
    assert "editions: bgl@raw12k (evaluation, data " in text
    assert "fit s, score: seconds;" in " ".join(text.split())


def test_each_system_of_a_combined_run_stands_by_itself(make_record):
    records = [make_record(n, 0, 0.5, edition="bgl@a+hdfs@b", systems=("bgl@a",)) for n in ("a", "b")]
    for record in records:
        record["counts"]["split"] = {"bgl@a": {"cut": [0.6, 0.8]}}
    (table,) = make_tables(records)
    assert "bgl@a by itself, at the shared threshold (40 test sequences, 10 abnormal)" in on_terminal(table, 80)


def test_a_series_of_cuts_is_shown_too(make_table):
    (series,) = make_series([make_table(), make_table(split="chronological:50,70")])
    text = printed(series_view(series, RULE, brief=True), 80)
    heads = [line.split() for line in text.splitlines() if "F1 mean" in line]
    assert {" ".join(head) for head in heads} == {"F1 mean AP mean AP worst cut AUROC mean cuts"}
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("bgl@raw12k, cuts, protocol ")
    assert ODD in text


def test_markdown_marks_nothing_and_ends_with_the_reading(make_table):
    text = view_markdown(view_of(make_table(), RULE, reading=("One.", "Two.")))
    assert "*" not in text.replace("**Reading**", "")
    assert text.endswith("\n\n**Reading**\n\n- One.\n- Two.\n")
    assert text.startswith(view_markdown(view_of(make_table(), RULE))[:-1])


def test_latex_escapes_marks_and_has_one_head(make_table):
    text = view_latex(view_of(make_table(), RULE, narrow_columns(), ("It says 1 %.",)))
    assert r"a\&b\_c|<d> & 0.700 [.700,.700] & 0.700 & 0.700 & 0.700 \\" in text
    assert r" & F1 [95 \%] & AP & AUROC & FPR \\" in text
    assert text.count("AUROC &") == 1
    assert r"clock * & " in text
    assert "% It says 1 %.\n" in text
    body = text[text.index(r"\begin{table}") :]
    assert body.count("{") == body.count("}")
    assert not re.search(r"(?<!\\)%", body)


def test_html_escapes_and_marks(make_table):
    text = view_html(view_of(make_table(), RULE, narrow_columns(), ("a < b",)))
    assert "<td>a&amp;b_c|&lt;d&gt;</td><td>0.700 [.700,.700]</td>" in text
    assert "<td>clock *</td>" in text
    assert "<h4>Reading</h4>\n<ul>\n<li>a &lt; b</li>\n</ul>" in text
    for tag in ("table", "tr", "td", "th", "ul", "li", "h3"):
        assert len(re.findall(rf"<{tag}>", text)) == len(re.findall(rf"</{tag}>", text)) > 0


def test_csv_has_a_line_for_each_row_and_ends_of_intervals(make_table):
    rows = list(csv.DictReader(io.StringIO(rows_csv([flat(row) for row in summary(make_table(), RULE)]))))
    assert [row["method"] for row in rows] == ["a&b_c|<d>", "broken", rows[2]["method"], "clock", "random"]
    assert (rows[0]["ap"], rows[0]["ap_low"], rows[0]["f1_high"]) == ("0.7", "0.7", "0.7")
    assert (rows[1]["ap"], rows[1]["failure"]) == ("", "out_of_memory, too large (seed 0)")
    assert rows[0]["seeds"] == "0"


def test_a_matrix_has_the_same_columns_for_every_group_and_fits(make_table):
    editions = ("bgl@raw12k", "hdfs@blocks-a", "spirit@lines-a", "tbird@raw29k", "hadoop@sessions", "liberty@a")
    tables = [make_table(edition) for edition in editions]
    (view,) = matrix_views(tables, ["ap"], RULE)
    assert {grid.headers[1:] for grid in view.blocks[0].grids} == {editions}
    text = printed(view, 60)
    assert max(map(len, text.splitlines())) <= 60
    assert "hadoop" in text
    assert text.count(" random ") > 1  # columns that do not fit stand below, with the names again


def test_a_matrix_for_programs_has_a_line_for_each_split_and_method(make_table):
    tables = [make_table("bgl@a"), make_table("hdfs@b")]
    rows = {row["method"]: row for row in matrix_rows(tables, ["f1", "ap"], RULE)}
    assert rows["clock"] == {
        "split": "chronological", "told": "control", "method": "clock",
        "bgl@a f1": 0.5, "bgl@a ap": 0.5, "hdfs@b f1": 0.5, "hdfs@b ap": 0.5,
    }  # fmt: skip
    assert rows["broken"]["bgl@a f1"] is None
