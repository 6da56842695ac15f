"""Records of two versions of the protocol share a folder, and never a table, a series or a choice."""

import polars as pl
import pytest

from bench.errors import BenchError
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import Store
from bench.reporting.files import outdated_tables, write_tables
from bench.reporting.tables.export import export
from bench.reporting.tables.protocols import newest_protocol, of_one_protocol
from bench.reporting.tables.series import make_series, render_all
from bench.reporting.tables.table import make_tables, table_key

RULE = "conformal:0.01"
NEWER = "" if PROTOCOL_VERSION == 2 else "--protocol2"
"""How a file of protocol 2 ends: that of the program has no ending."""


@pytest.fixture
def both(make_record):
    """Two methods under both versions, each with F1 of its own; the older one also under another split."""
    found = [
        make_record(name, f1=f1, protocol=version, counts=counts())
        for version, values in ((1, (0.11, 0.12)), (2, (0.21, 0.22)))
        for name, f1 in zip(("a", "b"), values, strict=True)
    ]
    return [*found, make_record("a", f1=0.13, split="blind", protocol=1, counts=counts())]


def counts():
    names = ("train", "train_abnormal", "validation", "validation_abnormal", "test", "test_abnormal", "log_keys")
    shares = {"known_keys_share": 1.0, "seen_in_training_share": 0.5}
    return {f"n_{name}": 9 for name in names} | shares | {"split": {"bgl@raw12k": {"cut": [0.6, 0.8]}}}


def test_no_table_holds_two_versions_and_each_names_its_own_once(both):
    tables = make_tables(both)
    assert len(tables) == 3
    for table in tables:
        versions = {record["spec"]["protocol_version"] for record in table.records}
        assert versions == {table.key.protocol_version}
        text = render_all([table], RULE)
        assert text.splitlines()[0].endswith(f", protocol {table.key.protocol_version}")
        assert text.count("protocol") == 1


def test_the_newest_is_shown_and_a_line_says_how_to_see_the_others(both):
    tables, note = of_one_protocol(make_tables(both))
    assert [table.key.protocol_version for table in tables] == [2]
    assert note == "shown is protocol 2; older tables are here too: see them with --protocol 1"
    tables, note = of_one_protocol(make_tables(both), 1)
    assert ([table.key.split for table in tables], note) == (["blind", "chronological"], "")
    assert of_one_protocol(make_tables(both[2:4])).note == ""
    with pytest.raises(BenchError, match="no table that fits is of protocol 3: those here are of protocol 1 and 2"):
        of_one_protocol(make_tables(both), 3)


def test_cuts_of_two_versions_are_no_series(make_record):
    cuts = [
        make_record(split=split, protocol=version, counts=counts())
        for split, version in (("chronological", 1), ("chronological:50,70", 2))
    ]
    assert make_series(make_tables(cuts)) == []


def test_files_of_both_stay_current_beside_each_other(both, tmp_path):
    store = Store(tmp_path)
    for record in both:
        store.write(record)
    write_tables(store, {table_key(record) for record in both})
    assert outdated_tables(store) == {}
    texts = {path.name: path.read_text() for path in (tmp_path / "tables").iterdir()}
    older, newer = (texts[f"bgl@raw12k--chronological{name}.md"] for name in ("--protocol1", NEWER))
    assert ("0.110" in older, "0.210" in older) == (True, False)
    assert ("0.110" in newer, "0.210" in newer) == (False, True)


def test_an_export_says_which_version_each_row_is_of(both, tmp_path):
    export(both, tmp_path / "runs.csv")
    frame = pl.read_csv(tmp_path / "runs.csv")
    assert frame.filter(pl.col("f1") > 0.2)["protocol_version"].unique().to_list() == [2]


def test_the_newest_records_of_several_versions(both):
    assert newest_protocol(both) == both[2:4]
    assert newest_protocol([]) == []
