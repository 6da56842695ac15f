"""`bench results`, `bench results show --stdin` and the end of `bench run`, as a user types them."""

import json
import shutil

import polars as pl
import pytest

from bench.records.probes import write_probe
from bench.records.store import Store

RUN = ("run", "--methods", "random", "--scenario", "bgl@simulated", "--seeds", "2")


def stored(folder):
    return list(Store(folder / "results").records())


def test_a_run_archives_its_records_unless_told_not_to(call, tmp_path):
    assert call(*RUN, "--no-pack")[0] == 0
    inbox = tmp_path / "results" / "inbox"
    assert len(list(inbox.iterdir())) == len(stored(tmp_path)) == 14
    assert not (tmp_path / "results" / "records").exists()
    code, _, err = call(*RUN)
    assert (code, list(inbox.iterdir())) == (0, [])
    assert "resumed 14 of 14" in err
    assert [path.name for path in sorted((tmp_path / "results" / "records").iterdir())] == [
        "bgl@simulated--chronological.jsonl",
        "facts.jsonl",
    ]
    assert "resumed 14 of 14" in call(*RUN)[2]
    assert call("table", "--check")[0] == call("results", "verify")[0] == 0


def test_a_hand_edited_metric_is_found_by_table_check_and_verify(call, tmp_path):
    call(*RUN)
    path = tmp_path / "results" / "records" / "bgl@simulated--chronological.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"auroc":0.5,"oracle_f1"', '"auroc":0.6,"oracle_f1"', 1))
    assert path.read_text() != text
    call("table", "--write")
    for command in (("table", "--check"), ("results", "verify")):
        code, out, _ = call(*command)
        assert code == 1
        assert f"{path.relative_to(tmp_path)}, line " in out
        assert "it was changed after its run" in out


def test_swapped_scores_are_found_by_table_check(call, tmp_path):
    call(*RUN)
    ids = [record["run_id"] for record in stored(tmp_path) if record["method"] == "random"]
    one, two = (tmp_path / "results" / "scores" / f"{run_id}.npz" for run_id in ids)
    shutil.copyfile(one, two)
    code, out, _ = call("table", "--check")
    assert (code, out.count("\n")) == (1, 1)
    assert f"{two.relative_to(tmp_path)} are not those of their record" in out


def test_pack_merge_and_prune(call, tmp_path):
    call(*RUN, "--no-pack")
    assert call("results", "pack")[1] == "14 records moved into results/records\n"
    call("run", "--methods", "random", "--scenario", "bgl@simulated", "--seeds", "3", "--out", "other")
    write_probe(tmp_path / "other", {"probe_id": "a1"})
    out = call("results", "merge", "other")[1]
    assert out.startswith("7 new records, ")
    assert out.endswith("; 1 new probes\n")
    assert (tmp_path / "results" / "probes" / "a1.json").is_file()
    assert len(stored(tmp_path)) == 21
    call("table", "--write")
    assert call("table", "--check")[0] == 0
    assert call("results", "prune") == (0, "", "0 files deleted\n")
    (tmp_path / "results" / "scores" / "00ff.npz").write_text("")
    code, out, err = call("results", "prune", "--dry-run")
    assert (code, out, err) == (0, "results/scores/00ff.npz\n", "1 files would be deleted\n")
    assert call("results", "prune")[2] == "1 files deleted\n"
    assert not (tmp_path / "results" / "scores" / "00ff.npz").exists()
    code, _, err = call("results", "merge", "nowhere")
    assert code == 2
    assert "there is no folder nowhere to merge" in err


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_export_writes_a_row_for_each_run_system_and_rule(call, tmp_path, suffix):
    call(*RUN)
    code, out, _ = call("results", "export", f"runs.{suffix}")
    frame = (pl.read_csv if suffix == "csv" else pl.read_parquet)(tmp_path / f"runs.{suffix}")
    assert (code, out) == (0, f"{len(frame)} rows written to runs.{suffix}\n")
    records = {record["run_id"]: record for record in stored(tmp_path)}
    assert len(frame) == sum(len(record["metrics"]["all"]["rules"]) for record in records.values())
    for row in frame.iter_rows(named=True):
        metrics = records[row["run_id"]]["metrics"]["all"]
        assert (row["ap"], row["f1"]) == (metrics["ranking"]["ap"], metrics["rules"][row["rule"]]["f1"])
        assert row["standing"] == "simulated"
    code, _, err = call("results", "export", "runs.xlsx")
    assert code == 2
    assert "give a name that ends with .csv or .parquet" in err


def test_a_store_of_schema_version_1_is_refused_by_every_command_and_migrated_by_one(call, tmp_path):
    call(*RUN)
    folder = tmp_path / "results" / "runs"
    folder.mkdir()
    for record in stored(tmp_path):
        old = {key: value for key, value in record.items() if key not in ("digest", "scores_sha256")}
        (folder / f"{record['run_id']}.json").write_text(json.dumps(old | {"schema_version": 1}))
    tables = {path: path.read_bytes() for path in (tmp_path / "results" / "tables").iterdir()}
    shutil.rmtree(tmp_path / "results" / "records")
    for command in (RUN, ("table",), ("table", "--check"), ("gate",), ("results", "verify"), ("results", "pack")):
        code, _, err = call(*command)
        assert code == 2
        assert "run `bench results migrate --out results` once" in err
    assert call("results", "migrate")[0] == 0
    assert not folder.exists()
    assert call("table", "--check")[0] == 0
    assert {path: path.read_bytes() for path in (tmp_path / "results" / "tables").iterdir()} == tables
    assert "resumed 14 of 14" in call(*RUN)[2]


def test_a_line_of_the_archive_is_readable(call, tmp_path, monkeypatch):
    call(*RUN)
    path = tmp_path / "results" / "records" / "bgl@simulated--chronological.jsonl"
    with path.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        code, out, _ = call("results", "show", "--stdin")
    assert code == 0
    assert out.count('\n "run_id": "') == 14
    assert '    "auroc": 0.5,\n' in out
    code, _, err = call("results", "show")
    assert code == 2
    assert "say which record to show" in err


def test_pages_are_written_checked_and_keep_what_is_written_by_hand(call, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.reporting.pages.write.method_pages", lambda *ignored: {})
    assert call(*RUN)[0] == 0
    docs = tmp_path / "docs"
    code, out, err = call("results", "pages", "--docs", docs)
    assert (code, out) == (0, "")
    assert f"written: {docs / 'results' / 'index.md'}" in err
    assert call("results", "pages", "--docs", docs, "--check") == (0, "all pages are what their records say\n", "")
    page = docs / "results" / "index.md"
    page.write_text(page.read_text().replace("Numbers of protocol", "Numbers of a protocol") + "\nBy hand.\n")
    code, out, _ = call("results", "pages", "--docs", docs, "--check")
    assert (code, out) == (1, f"{page} differs from the records: run `bench results pages`\n")
    assert call("results", "pages", "--docs", docs)[2] == f"written: {page}\n"
    assert page.read_text().endswith("\nBy hand.\n")


def test_pages_of_nothing(call, tmp_path):
    code, _, err = call("results", "pages", "--docs", tmp_path / "docs", "--out", tmp_path / "nowhere")
    assert code == 2
    assert err.count("\n") == 1


def test_tables_can_be_cited(call, tmp_path):
    assert call("run", "-s", "hdfs@simulated", "--methods", "pca", "--seeds", "0,")[0] == 0
    code, out, err = call("results", "cite")
    assert (code, err) == (0, "")
    assert out.count("@misc{") == 2
    assert call("results", "cite", "table.bib", "--scenario", "hdfs", "--methods", "pca")[0] == 0
    assert "xu2009pca" in (tmp_path / "table.bib").read_text()
    code, out, err = call("results", "cite", "--methods", "pcb")
    assert (code, out) == (2, "")
    assert "no table that fits has a row 'pcb': did you mean pca?" in err
    assert call("results", "cite", "--scenario", "nowhere")[0] == 2
    assert call("results", "cite", "--out", "none")[0] == 2
