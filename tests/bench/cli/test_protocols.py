"""A folder with records of two versions of the protocol, as a user sees it."""

import json

import pytest

from bench.experiment.spec import PROTOCOL_VERSION, run_id
from bench.records.store import Store

RUN = ("run", "--methods", "random", "--scenario", "hdfs@simulated", "--seeds", "1", "--no-pack")
OLDER = PROTOCOL_VERSION - 1


@pytest.fixture
def both(call, tmp_path):
    """A run, and the same run as an older version would have recorded it."""
    assert call(*RUN)[0] == 0
    store = Store(tmp_path / "results")
    for record in list(store.records()):
        spec = record["spec"] | {"protocol_version": OLDER}
        store.write(record | {"spec": spec, "run_id": run_id(spec)}, store.read_scores(record["run_id"]))
    return call


def test_tables_show_the_newest_unless_asked(both):
    code, out, err = both("table")
    assert (code, out.count("###")) == (0, 1)
    assert f"protocol {PROTOCOL_VERSION}\n" in out
    said = f"shown is protocol {PROTOCOL_VERSION}; older tables are here too: see them with --protocol {OLDER}"
    assert err.count(said) == 1
    code, out, err = both("table", "--protocol", str(OLDER))
    assert (code, out.count("###")) == (0, 1)
    assert f"protocol {OLDER}\n" in out
    assert "shown is" not in err
    assert {row["protocol_version"] for row in json.loads(both("table", "--json")[1])} == {PROTOCOL_VERSION}
    code, out, err = both("table", "--protocol", "77")
    assert (code, out) == (2, "")
    assert "no table that fits is of protocol 77" in err


def test_tables_of_both_are_written_and_checked(both):
    assert both("table", "--write")[2].count("written: ") == 2
    assert both("table", "--check")[0] == 0


def test_comparisons_are_of_the_newest_unless_asked(both):
    code, out, err = both("compare", "ecvc")
    assert code == 0
    assert f"protocol {PROTOCOL_VERSION}:" in out.splitlines()[0]
    assert f"see them with --protocol {OLDER}" in err
    code, out, _ = both("compare", "ecvc", "--protocol", str(OLDER))
    assert code == 0
    assert [line for line in out.splitlines() if "test sequences" in line] == [out.splitlines()[0]]
    assert f"protocol {OLDER}:" in out.splitlines()[0]
    code, out, _ = both("compare", "ecvc", "--stored", "--json")
    assert {one["protocol_version"] for one in json.loads(out)["comparisons"]} == {PROTOCOL_VERSION}
    both("table", "--write")
    assert both("table", "--check")[0] == 0


@pytest.mark.slow
def test_figures_take_no_record_of_an_older_version(both, tmp_path):
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'description = ""\n[figure]\nkind = "published"\n[[run]]\n'
        'scenarios = ["hdfs@simulated"]\nmethods = ["random"]\nseeds = 1\n'
    )
    assert both("plot", str(suite))[0] == 0
    found = json.loads((tmp_path / "results" / "figures" / "mine.json").read_text())
    store = Store(tmp_path / "results")
    versions = {store.read(name)["spec"]["protocol_version"] for name in found["run_ids"]}
    assert (versions, found["protocol"]) == ({PROTOCOL_VERSION}, PROTOCOL_VERSION)
