"""Several cuts, and the blocks of one split, as one table."""

import pytest

from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import Store
from bench.reporting.files import outdated_tables, write_tables
from bench.reporting.tables.series import make_series, render_all, render_series
from bench.reporting.tables.table import make_tables

RULE = "conformal:0.01"


@pytest.fixture
def made(make_record):
    """A record under a split, with what its data say of it."""

    def make(split, f1, **options):
        record = make_record(split=split, f1=f1, **options)
        record["counts"]["split"] = {"bgl@raw12k": {"cut": [0.6, 0.8]}}
        return record

    return make


def names(store):
    return sorted(path.name for path in (store.root / "tables").glob("*.md"))


def test_mean_and_worst_over_cuts(made):
    tables = make_tables([made("chronological", 0.9), made("chronological:50,70", 0.5)])
    (series,) = make_series(tables)
    text = render_series(series, RULE)
    assert text.startswith(f"### bgl@raw12k, cuts, protocol {PROTOCOL_VERSION}\n\n- cuts: 50/70, 60/80 % of the lines")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["toy", *["0.700", "0.500"] * 3, "2/2"] in rows
    assert rows.count(["toy", "0.500", "0.900"]) == 3


def test_one_cut_is_no_series(made):
    assert make_series(make_tables([made("chronological", 0.9)])) == []


def test_a_block_that_failed_is_named_and_left_out_of_the_mean(made):
    failed = made("prequential:3,2", 0.0) | {"status": "skipped", "reason": "no abnormal sequence"}
    records = [made("prequential:3,1", 0.4), failed, made("prequential:3,3", 0.8)]
    text = render_all(make_tables(records), RULE)
    assert text.count("###") == 1
    assert "- block 2: skipped, no abnormal sequence (seed 0)" in text
    assert "0.600" in text
    assert "2/3" in text


def test_blocks_that_failed_for_one_reason_are_named_in_one_line(made):
    def failed(number):
        reason = f"the split prequential:9,{number} leaves no normal sequence in the test part"
        return made(f"prequential:9,{number}", 0.0) | {"status": "skipped", "reason": reason}

    other = made("prequential:9,9", 0.0) | {"status": "error", "reason": "out of memory"}
    text = render_all(make_tables([made("prequential:9,4", 0.4), *map(failed, (1, 2, 3, 6, 8)), other]), RULE)
    (line,) = [line for line in text.splitlines() if "leaves no normal" in line]
    assert line.startswith("- blocks 1 to 3, 6, 8: skipped, the split prequential:9 leaves no normal sequence")
    assert "- block 9: error, out of memory" in text


def test_series_are_written_beside_their_tables_and_checked(made, tmp_path):
    store = Store(tmp_path)
    for record in (made("chronological:50,70", 0.5), made("chronological", 0.9), made("prequential:3,1", 0.4)):
        store.write(record)
    keys = {table.key for table in make_tables(store.records()) if table.key.split == "chronological:50,70"}
    write_tables(store, keys)
    assert names(store) == ["bgl@raw12k--chronological-50-70.md", "bgl@raw12k--cuts.md"]
    write_tables(store, {table.key for table in make_tables(store.records())})
    assert names(store) == [
        "bgl@raw12k--chronological-50-70.md",
        "bgl@raw12k--chronological.md",
        "bgl@raw12k--cuts.md",
        "bgl@raw12k--prequential-3.md",
    ]
    assert outdated_tables(store) == {}
    store.write(made("chronological:40,60", 0.1))
    assert [path.name for path in outdated_tables(store)] == [
        "bgl@raw12k--chronological-40-60.md",
        "bgl@raw12k--cuts.md",
    ]


def test_only_splits_that_draw_the_test_have_a_test_for_each_seed(made):
    def drawn(split, **parts):
        record = made(split, 0.5)
        record["counts"]["split"] = {"bgl@raw12k": parts}
        return make_tables([record])[0].is_drawn

    assert [drawn(split) for split in ("blind", "paper", "chronological:50,70", "transfer")] == [
        True,
        True,
        False,
        False,
    ]
    assert drawn("transfer", drawn=[40, 50])
