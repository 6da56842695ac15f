"""The editing experiment, with real processes: a method whose `score` was edited never passes for its old numbers."""

import json
import shutil

import pytest

from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.record import record_digest


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plugin", "local", "shipped"])
def test_an_edited_score_never_passes_for_its_old_numbers(kind, request):
    place = request.getfixturevalue(kind)
    place.run()
    (before,) = place.records()
    assert before["code"].keys() == {"method", "engine"}
    assert place.gate("--update").returncode == 0

    place.document()
    assert place.gate().returncode == 0
    if kind != "local":  # whose bytes are part of the run's identity
        assert "resumed 8 of 8 runs" in place.run()

    place.break_score()
    refused = place.gate()
    assert refused.returncode == 1
    stale = [line for line in refused.stdout.splitlines() if line.startswith("STALE")]
    assert len(stale) == 1
    assert place.method in stale[0]
    assert "the method's code changed since" in stale[0]
    assert place.gate("--accept-stale").returncode == 0
    assert place.gate("--update").returncode == 2
    table = place.bench("table")
    assert f"stale: bgl@simulated, chronological: {place.method}" in table.stderr
    assert "stale" not in table.stdout
    assert place.bench("table", "--check").returncode == 0

    told = place.run()
    assert "resumed 7 of 8 runs" in told
    if kind != "local":
        assert f"doing 1 runs again whose records another code made: {place.method} (the method's code" in told
    after = place.records()[-1] if kind != "local" else max(place.records(), key=lambda record: record["started_at"])
    assert after["code"]["method"] != before["code"]["method"]
    assert after["code"]["engine"] == before["code"]["engine"]
    assert after["metrics"]["all"]["ranking"]["auroc"] == 0.5 != before["metrics"]["all"]["ranking"]["auroc"]
    fallen = place.gate()
    assert fallen.returncode == 1
    assert "STALE" not in fallen.stdout
    row, _, values = fallen.stdout.partition("\n  ")
    assert row == f"FAILED bgl@simulated | chronological | 20/20 | protocol {PROTOCOL_VERSION} | {place.method}"
    assert "auroc 0.5000, baseline " in values


@pytest.mark.slow
def test_an_edited_engine_makes_every_row_stale(shipped):
    shipped.run()
    shipped.gate("--update")
    measure = shipped.folder / "copy" / "bench" / "experiment" / "measure.py"
    measure.write_text(measure.read_text() + "\nNEW = 1\n")
    refused = shipped.gate()
    assert refused.returncode == 1
    assert refused.stdout.count("STALE") == 8
    assert refused.stdout.count("the engine's code changed since") == 8
    (line,) = shipped.bench("table").stderr.splitlines()
    assert line.startswith("stale: 8 rows (the engine's code changed since): `bench results restamp`")
    assert "8 runs again" in shipped.run()
    assert shipped.gate().returncode == 0


@pytest.mark.slow
def test_a_row_whose_code_is_gone_is_one_sentence(local, plugin):
    local.run()
    local.gate("--update")
    local.file.unlink()
    table = local.bench("table")
    assert table.returncode == 0
    assert "mine.py:Mine" in table.stdout
    assert table.stderr.splitlines() == [
        "stale: bgl@simulated, chronological: mine.py:Mine "
        "(the code of 'mine.py:Mine' is not here any more: install it or put the file back)"
    ]
    refused = local.gate()
    assert refused.returncode == 1
    row = f"bgl@simulated | chronological | 20/20 | protocol {PROTOCOL_VERSION} | mine.py:Mine"
    assert f"STALE {row}: the code of" in refused.stdout
    plugin.run()
    shutil.rmtree(plugin.file.parent.parent)
    assert "the code of 'rarest_event.detector:RarestEvent' is not here any more" in plugin.bench("table").stderr


@pytest.mark.slow
def test_a_file_that_is_changed_back_is_its_row_again(local):
    old = local.file.read_text()
    local.run()
    (first,) = local.records()
    local.break_score()
    local.run()
    assert "the version that ran last; 1 record of earlier ones left out" in local.bench("table").stdout
    local.file.write_text(old)
    told = local.run()
    assert "doing 1 runs again whose records another code made: mine.py:Mine (another version of the file" in told
    assert "stale" not in local.bench("table").stderr
    shown = json.loads(local.bench("table", "--json").stdout)
    (row,) = [row for row in shown if row["method"] == "mine.py:Mine"]
    assert row["run_ids"] == [first["run_id"]]


@pytest.mark.slow
def test_a_version_that_cannot_be_imported_is_a_row_until_a_later_one_ran(local):
    good = local.file.read_text().replace('"""Nothing to choose."""', "alpha: float = 1.0")
    local.file.write_text("import no_such_module\n")
    assert local.bench("run", "-m", local.method, "-s", "bgl@simulated", "--seeds", "1", "--no-pack").returncode == 3
    assert row_of(local)["failure"].startswith("error, ModuleNotFoundError")
    local.file.write_text(good)
    local.run()
    assert row_of(local)["failure"] is None
    assert "the version that ran last; 1 record of earlier ones left out" in local.bench("table").stdout
    assert local.gate("--update").returncode == 0
    local.file.write_text("import another_module\n")
    assert local.bench("run", "-m", local.method, "-s", "bgl@simulated", "--seeds", "1", "--no-pack").returncode == 3
    assert row_of(local)["failure"].startswith("error, ModuleNotFoundError")
    local.file.write_text(good)
    assert "another version of the file ran later" in local.run()
    assert row_of(local)["failure"] is None


def row_of(place):
    """The one row of a place's method."""
    (row,) = [row for row in json.loads(place.bench("table", "--json").stdout) if place.method in row["method"]]
    return row


@pytest.mark.slow
def test_a_module_beside_a_local_file_belongs_to_its_code(local):
    helper = local.folder / "helper.py"
    helper.write_text('"""Help."""\nFACTOR = 1.0\n')
    local.file.write_text(local.file.read_text().replace("import numpy as np", "import helper\nimport numpy as np"))
    local.run()
    helper.write_text('"""Help."""\n\nFACTOR = 1.0  # as before\n')
    assert "resumed 8 of 8" in local.run()
    helper.write_text('"""Help."""\nFACTOR = 2.0\n')
    assert "resumed 7 of 8" in local.run()


@pytest.mark.slow
def test_show_says_whose_code_a_record_is(local):
    local.run()
    (record,) = local.records()
    shown = local.bench("results", "show", record["run_id"]).stdout
    assert f"code: method {record['code']['method']}, engine {record['code']['engine']} (as installed)" in shown
    local.break_score()
    assert "(stale: the method's code changed since)" in local.bench("results", "show", record["run_id"]).stdout
    (path,) = (local.folder / "results").rglob(f"{record['run_id']}.json")
    before = {key: value for key, value in record.items() if key != "code"}
    path.write_text(json.dumps(before | {"digest": record_digest(before)}))
    assert "code: unknown" in local.bench("results", "show", record["run_id"]).stdout
    # A record of unknown code is taken for what it says: it is neither stale nor done again.
    assert "stale" not in local.bench("table").stderr
