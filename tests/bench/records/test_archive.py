"""The archive gives every record back as it was, is sorted, merges as lines do, and names what is wrong with it."""

import json
import os
import re
import subprocess

import pytest

from bench.cli import main
from bench.errors import BenchError
from bench.experiment.measure import are_scores_of
from bench.experiment.resume import resumable
from bench.records.archive import Archive
from bench.records.record import record_digest, standing, standings
from bench.records.store import Store
from bench.records.upkeep import merge, migrate, orphans, pack
from bench.records.verify import problems

DEEP = '{"schema_version": ' + "[" * 100_000


def lines(path):
    return path.read_text().splitlines()


def written(store, *records):
    return [store.write(record) for record in records]


def only_file(store):
    (path,) = store.archive.files()
    return path


def test_a_record_is_given_back_as_it_was_curves_included(store, make):
    kept = written(store, make(), make(seed=1), make("other", scenario="bgl@raw12k2tbird@raw29k", split="paper"))
    assert pack(store) == 3
    assert list(store.inbox.iterdir()) == []
    for record in kept:
        found = Store(store.root).read(record["run_id"])
        # As text: 0.0 and -0.0 are equal, and must not be the same here.
        assert json.dumps(found, sort_keys=True) == json.dumps(record, sort_keys=True)
        assert store.find(record["run_id"][:6]) == record
    assert [path.name for path in store.archive.files()] == [
        "bgl@raw12k--chronological.jsonl",
        "bgl@raw12k2tbird@raw29k--paper.jsonl",
    ]


def test_the_blocks_of_a_series_share_a_file_and_are_still_read_apart(store, make):
    blocks = [f"prequential:12,{block}" for block in (1, 2, 12)]
    kept = written(store, *(make(split=split) for split in blocks), make(split="prequential:3,1"))
    assert pack(store) == 4
    names = [path.name for path in store.archive.files()]
    assert names == ["bgl@raw12k--prequential-12.jsonl", "bgl@raw12k--prequential-3.jsonl"]
    read = Store(store.root)
    assert sorted(r["run_id"] for r in read.records()) == sorted(r["run_id"] for r in kept)
    (found,) = read.table_records(lambda scenario, split: split == "prequential:12,2")
    assert found["run_id"] == kept[1]["run_id"]
    assert not list(read.by_table(lambda scenario, split: split == "prequential:12,3"))
    assert not list(problems(read, are_scores_of))


def test_without_its_curves_file_a_record_lacks_only_them(store, make):
    (kept,) = written(store, make())
    pack(store)
    (store.curves / f"{kept['run_id']}.json").unlink()
    del kept["monitor"]["epochs"]
    assert store.read(kept["run_id"]) == kept
    assert kept["digest"] == record_digest(kept)


def test_what_records_share_stands_once_and_a_repeated_number_once(store, make):
    written(store, *(make(seed=seed) for seed in range(3)))
    pack(store)
    content = [json.loads(line) for line in lines(only_file(store))]
    facts = [json.loads(line) for line in lines(store.archive.facts.path)]
    assert sorted(fact["kind"] for fact in facts) == ["counts", "edition", "environment"]
    assert {record["environment"] for record in content} == {f["id"] for f in facts if f["kind"] == "environment"}
    bootstrap = content[0]["metrics"]["all"]["bootstrap"]
    assert bootstrap["ap"] == 0.75
    assert bootstrap["rules"]["oracle"] == {"f1": 0.0, "fpr": [0.0, -0.0, 0.0, 0.0, 0.0]}
    assert "epochs" not in content[0]["monitor"]


def test_lines_are_sorted_by_method_seed_and_run_whatever_came_first(store, make):
    for method, seed in (("toy", 10), ("toy", 9), ("a", 3)):
        written(store, make(method, seed))
        pack(store)
    content = [json.loads(line) for line in lines(only_file(store))]
    assert [(record["method"], record["spec"]["seed"]) for record in content] == [("a", 3), ("toy", 9), ("toy", 10)]


def test_the_inbox_wins_and_packing_replaces_the_line(store, make):
    (kept,) = written(store, make(status="timeout"))
    pack(store)
    written(store, make(ap=0.9))
    run_id = kept["run_id"]
    for seen in (store, Store(store.root)):
        assert seen.read(run_id)["metrics"]["all"]["ranking"]["ap"] == 0.9
        assert [record["status"] for record in seen.records()] == ["ok"]
    pack(store)
    assert len(lines(only_file(store))) == 1
    assert Store(store.root).read(run_id)["metrics"]["all"]["ranking"]["ap"] == 0.9


def test_a_table_reads_only_its_own_files(store, make):
    written(store, make(), make(scenario="tbird@raw29k"))
    pack(store)
    (store.archive.folder / "tbird@raw29k--chronological.jsonl").write_text("{half")
    found = store.table_records(lambda scenario, split: "bgl" in scenario)
    assert [record["scenario"] for record in found] == ["bgl@raw12k"]
    with pytest.raises(BenchError, match=r"tbird@raw29k--chronological\.jsonl, line 1 is damaged"):
        list(store.records())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": 1, "files": {"x": 3}}', DEEP])
def test_a_damaged_index_is_made_again(store, make, content):
    (kept,) = written(store, make())
    pack(store)
    assert store.read(kept["run_id"]) == kept
    path = store.cache / "index.json"
    assert path.is_file()
    path.write_text(content)
    assert Store(store.root).read(kept["run_id"]) == kept


def test_an_index_that_names_another_line_is_made_again(store, make):
    one, two = written(store, make(seed=0), make(seed=1))
    pack(store)
    store.read(one["run_id"])
    path = store.cache / "index.json"
    known = json.loads(path.read_text())
    for _, _, runs in known["files"].values():
        runs[one["run_id"]], runs[two["run_id"]] = runs[two["run_id"]], runs[one["run_id"]]
    path.write_text(json.dumps(known))
    assert Store(store.root).read(one["run_id"]) == one


def test_an_index_follows_a_file_that_another_command_wrote(store, make):
    one, two = make(seed=0), make(seed=1)
    written(store, one)
    pack(store)
    assert store.read(two["run_id"]) is None
    other = Store(store.root)
    written(other, two)
    pack(other)
    assert store.read(two["run_id"])["spec"]["seed"] == 1


def test_the_archive_reads_without_a_writable_cache(store, make):
    (kept,) = written(store, make())
    pack(store)
    for path in store.cache.iterdir():
        path.unlink()
    store.cache.rmdir()
    store.cache.write_text("")
    assert Store(store.root).read(kept["run_id"]) == kept


@pytest.mark.parametrize("damage", ["cut", "no json", "deep", "bytes", "merge marker", "no fact"])
def test_a_damaged_line_is_one_sentence_with_the_way_out(store, make, damage):
    kept = written(store, *(make(seed=seed) for seed in range(3)))
    pack(store)
    path = only_file(store)
    content = path.read_bytes().split(b"\n")
    cut = content[1][: len(content[1]) // 2]
    fact = next(f["id"] for f in map(json.loads, lines(store.archive.facts.path)) if f["kind"] == "counts")
    content[1] = {
        "cut": cut,
        "no json": b"nonsense",
        "deep": DEEP.encode(),
        "bytes": content[1].replace(b"toy", b"\xff\xfe"),
        "merge marker": b"<<<<<<< HEAD",
        "no fact": content[1].replace(fact.encode(), b"0123456789abcdef"),
    }[damage]
    path.write_bytes(b"\n".join(content))
    with pytest.raises(BenchError, match=r"restore the file from git") as caught:
        list(Store(store.root).records())
    assert str(path) in str(caught.value)
    assert damage == "bytes" or "line 2" in str(caught.value)
    # The others are still found, and nothing is written over a file that is not understood.
    assert Store(store.root).read(kept[2]["run_id"]) == kept[2]
    written(store, make(seed=9))
    if damage != "no fact":
        with pytest.raises(BenchError, match="restore the file from git"):
            pack(store)
    assert path.read_bytes() == b"\n".join(content) or damage == "no fact"


def test_a_cut_line_that_is_asked_for_is_named_by_its_number(store, make):
    kept = written(store, *(make(seed=seed) for seed in range(3)))
    pack(store)
    path = only_file(store)
    content = lines(path)
    content[2] = content[2][:200]
    path.write_text("\n".join(content))
    with pytest.raises(BenchError, match=r"line 3 is damaged"):
        Store(store.root).read(kept[2]["run_id"])


def test_a_record_of_a_newer_version_is_refused(store, make):
    store.inbox.mkdir(parents=True)
    (store.inbox / "aa.json").write_text(json.dumps(make(run_id="aa", schema_version=3)))
    with pytest.raises(BenchError, match="schema version 3, this program reads 2: update bench"):
        store.read("aa")


def newer_record(store, make, place):
    """A record as a later program would leave it, in inbox or archive, and the file it lies in."""
    (kept,) = written(store, make())
    path = store.inbox / f"{kept['run_id']}.json"
    if place == "archive":
        pack(store)
        (path,) = store.archive.files()
    path.write_text(re.sub('"schema_version": ?2', '"schema_version": 3', path.read_text()))
    return kept, path


@pytest.mark.parametrize("place", ["inbox", "archive"])
@pytest.mark.parametrize("what", ["read", "write", "pack", "merge", "records"])
def test_a_record_of_a_newer_version_is_not_written_over(store, make, tmp_path, place, what):
    kept, path = newer_record(store, make, place)
    before = path.read_bytes()
    mine = make()
    other = Store(tmp_path / "other")
    written(other, mine)
    doing = {
        "read": lambda: store.read(kept["run_id"]),
        "write": lambda: (store.write(mine), pack(store)),
        "pack": lambda: (pack(store), list(store.records())),
        "merge": lambda: merge(store, other),
        "records": lambda: list(store.records()),
    }
    with pytest.raises(BenchError, match=r"schema version 3, this program reads 2: update bench"):
        doing[what]()
    assert path.read_bytes() == before


def test_a_copy_under_another_name_is_refused(store, make):
    (kept,) = written(store, make())
    (store.inbox / "00ff.json").write_bytes((store.inbox / f"{kept['run_id']}.json").read_bytes())
    with pytest.raises(BenchError, match=f"is that of run {kept['run_id']}: give it its name back"):
        list(store.records())


def test_deep_json_in_the_inbox_is_one_sentence(store):
    store.inbox.mkdir(parents=True)
    (store.inbox / "aa.json").write_text(DEEP)
    with pytest.raises(BenchError, match="is damaged"):
        store.read("aa")


def test_what_utf8_cannot_hold_is_written_out(store, make):
    kept = store.write(make(reason="no file \udcff", status="error"))
    assert kept["reason"] == "no file \\udcff"
    assert store.read(kept["run_id"]) == kept


def test_a_record_that_was_changed_is_not_archived(store, make):
    (kept,) = written(store, make())
    path = store.inbox / f"{kept['run_id']}.json"
    path.write_text(path.read_text().replace('"ap": 0.75', '"ap": 0.95'))
    with pytest.raises(
        BenchError,
        match=r"was changed after its run \(its digest is not that of its content\): delete it and run again",
    ):
        pack(store)
    assert path.is_file()


def test_an_inbox_that_cannot_be_written_is_one_sentence(store, make):
    store.root.mkdir()
    store.inbox.write_text("")
    for write in (store.require_writable, lambda: store.write(make())):
        with pytest.raises(BenchError, match="cannot be written"):
            write()


def test_a_record_written_while_it_is_packed_stays_in_the_inbox(store, make, monkeypatch):
    (kept,) = written(store, make(ap=0.5))
    add = Archive.add

    def slow(archive, records):
        add(archive, records)
        Store(store.root).write(make(ap=0.9))

    monkeypatch.setattr(Archive, "add", slow)
    pack(store)
    assert store.read(kept["run_id"])["metrics"]["all"]["ranking"]["ap"] == 0.9
    assert [path.name for path in store.inbox.iterdir()] == [f"{kept['run_id']}.json"]


# Merging


def test_merge_takes_new_records_with_their_scores_and_curves(store, make, make_scores, tmp_path):
    other = Store(tmp_path / "other")
    written(store, make(seed=0))
    there = other.write(make(seed=1), make_scores())
    written(other, make(seed=0))
    assert merge(store, other) == (1, 0, 1)
    assert store.read(there["run_id"]) == there
    assert store.read_scores(there["run_id"]).keys() == make_scores().keys()
    assert merge(store, other) == (0, 0, 2)


def test_merge_keeps_the_newer_of_two_that_only_tell_of_other_machines(store, make, tmp_path):
    other = Store(tmp_path / "other")
    (old,) = written(store, make())
    (new,) = written(other, make(started_at="2026-12-01T00:00:00+00:00", environment={"python": "3.13"}, seconds={}))
    pack(other)
    assert merge(store, other) == (0, 1, 0)
    assert store.read(old["run_id"]) == new
    assert merge(other, Store(store.root)) == (0, 0, 1)


COMPANY = {"cpu_seconds": {"prepare": 0.1, "fit": 0.2}, "beside": 1, "fitted_as": "0123456789abcdef"}


def test_what_a_run_took_and_its_company_are_kept_and_are_no_difference(store, make, tmp_path):
    other = Store(tmp_path / "other")
    written(store, make())
    (new,) = written(other, make(**COMPANY, started_at="2026-12-01T00:00:00+00:00"))
    pack(other)
    assert {name: Store(other.root).read(new["run_id"])[name] for name in COMPANY} == COMPANY
    assert merge(store, other) == (0, 1, 0)
    assert store.read(new["run_id"]) == new


def test_merge_refuses_two_different_records_and_changes_nothing(store, make, tmp_path):
    other = Store(tmp_path / "other")
    (kept,) = written(store, make())
    pack(store)
    written(other, make(ap=0.9), make(seed=7))
    before = {path: path.read_bytes() for path in store.archive.folder.iterdir()}
    with pytest.raises(BenchError, match=rf"run {kept['run_id']} differs between .* in metrics"):
        merge(store, other)
    assert {path: path.read_bytes() for path in store.archive.folder.iterdir()} == before


def git(folder, *arguments):
    environment = os.environ | {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)


def branched(store, ours, theirs):
    """A repository in which two branches added records, merged by git."""
    store.root.mkdir(exist_ok=True)
    git(store.root, "init")
    (store.root / ".gitattributes").write_text("*.jsonl merge=union\n")
    (store.root / ".gitignore").write_text("inbox/\ncache/\ncurves/\n")

    def commit():
        pack(store)
        git(store.root, "add", "-A")
        git(store.root, "commit", "-m", "records")

    commit()
    git(store.root, "checkout", "-b", "theirs")
    written(store, *theirs)
    commit()
    git(store.root, "checkout", "main")
    written(store, *ours)
    commit()
    git(store.root, "merge", "theirs")


def test_two_branches_merge_as_a_union_of_lines(store, make):
    written(store, make("m"))
    pack(store)
    later = {"started_at": "2026-12-01T00:00:00+00:00", "environment": {"python": "3.12"}}
    ours, theirs = [make("a"), make("z")], [make("b"), make("z", **later)]
    branched(store, ours, theirs)
    store = Store(store.root)
    assert [record["method"] for record in sorted(store.records(), key=lambda r: r["method"])] == ["a", "b", "m", "z"]
    newer = store.read(make("z")["run_id"])
    assert newer["environment"] == {"python": "3.12"}
    pack(store)
    assert len(lines(only_file(store))) == 4
    assert Store(store.root).read(newer["run_id"]) == newer


def test_two_branches_with_different_records_of_a_run_are_refused(store, make):
    written(store, make("m"))
    pack(store)
    branched(store, [make("z", ap=0.1)], [make("z", ap=0.2)])
    store = Store(store.root)
    for read in (lambda: list(store.records()), lambda: store.read(make("z")["run_id"]), lambda: pack(store)):
        with pytest.raises(BenchError, match=r"line \d and another record of run .* differ in metrics"):
            read()


# Migration and pruning


def old_store(store, make, **changes):
    """A folder as version 1 left it."""
    records = [make(seed=seed, schema_version=1) | changes for seed in range(3)]
    folder = store.root / "runs"
    folder.mkdir(parents=True)
    for record in records:
        (folder / f"{record['run_id']}.json").write_text(json.dumps(record, indent=1))
    return records


def test_a_store_of_schema_version_1_is_refused_and_names_the_command(store, make):
    (record, *_) = old_store(store, make)
    for use in (
        store.require_writable,
        lambda: store.read(record["run_id"]),
        lambda: store.find("0"),
        lambda: list(store.records()),
        lambda: store.write(make()),
        lambda: pack(store),
    ):
        with pytest.raises(BenchError, match=r"schema version 1 .* run `bench results migrate --out .*` once"):
            use()


def test_migration_gives_every_record_back_and_nothing_is_left(store, make):
    records = old_store(store, make)
    assert migrate(store) == 3
    assert not (store.root / "runs").exists()
    for record in records:
        found = store.read(record["run_id"])
        assert found.pop("digest") == record_digest(found)
        assert found == record | {"schema_version": 2}
    with pytest.raises(BenchError, match="nothing to migrate"):
        migrate(store)


def test_a_migration_that_was_stopped_goes_on(store, make):
    records = old_store(store, make)
    kept = {path: path.read_bytes() for path in (store.root / "runs").iterdir()}
    migrate(store)
    (store.root / "runs").mkdir()
    for path, content in list(kept.items())[1:]:
        path.write_bytes(content)
    assert migrate(store) == 2
    assert len(list(store.records())) == len(records)


def test_a_damaged_record_stops_the_migration_before_anything_changes(store, make):
    (record, *_) = old_store(store, make)
    path = store.root / "runs" / f"{record['run_id']}.json"
    path.write_text("{")
    with pytest.raises(BenchError, match=rf"{record['run_id']}.json is damaged .*migrate again"):
        migrate(store)
    assert len(list((store.root / "runs").iterdir())) == 3
    assert store.archive.files() == []


def test_scores_and_curves_without_a_finished_record_are_orphans(store, make, make_scores):
    kept = store.write(make(), make_scores())
    gone = store.write(make(seed=1), make_scores())
    failed = store.write(make(seed=2), make_scores())
    pack(store)
    store.write(make(seed=2, status="error", reason="x"))
    path = only_file(store)
    path.write_text("".join(line + "\n" for line in lines(path) if gone["run_id"] not in line))
    found = orphans(Store(store.root))
    assert sorted(f"{p.parent.name}/{p.stem}" for p in found) == sorted(
        f"{folder}/{record['run_id']}" for folder in ("scores", "curves") for record in (gone, failed)
    )
    assert kept["run_id"] not in {path.stem for path in found}


def test_the_standing_of_a_record_is_its_weakest_edition():
    record = {
        "simulated": ["c@simulated"],
        "tiers": {"a@x": "evaluation", "b@x": "smoke", "c@simulated": "development"},
    }
    assert standings(record) == {"a@x": "evaluation", "b@x": "smoke", "c@simulated": "simulated"}
    assert standing(record) == "simulated"
    assert standing(record | {"simulated": []}) == "smoke"
    assert standing({"simulated": [], "tiers": {"a@x": "evaluation"}}) == "evaluation"


# Records that were edited, or come from elsewhere


def edited_line(store, change):
    """Change the only line of an archive, its digest left as it was."""
    path = only_file(store)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")


BROKEN = {
    "metrics": lambda r: r.update(metrics=[]),
    "metrics gone": lambda r: r.pop("metrics"),
    "block": lambda r: r["metrics"].update(all=None),
    "ranking": lambda r: r["metrics"]["all"].update(ranking={"ap": "high"}),
    "rules": lambda r: r["metrics"]["all"]["rules"].update(oracle={"f1": 0.5}),
    "bootstrap": lambda r: r["metrics"]["all"].update(bootstrap={}),
    "counts": lambda r: r.update(counts={"n_train": 1}),
    "detector": lambda r: r.update(detector="toy"),
    "told": lambda r: r.update(detector={"is_control": False, "config": {}}),
    "status": lambda r: r.pop("status"),
    "thresholds": lambda r: r.update(thresholds={"oracle": 0.5}),
    "threshold": lambda r: r["thresholds"]["oracle"].update(value="much"),
    "started_at": lambda r: r.update(started_at=3),
    "code": lambda r: r.update(code={"method": "x"}),
    "environment": lambda r: r.pop("environment"),
    "verified_with": lambda r: r.update(verified_with={"date": "2026-12-01", "code": {}}),
    "monitor": lambda r: r.update(monitor=[1]),
    "cpu_seconds": lambda r: r.update(cpu_seconds={"fit": "much"}),
    "beside": lambda r: r.update(beside="two"),
    "fitted_as": lambda r: r.update(fitted_as=0),
    "method": lambda r: r.update(method=None),
    "tiers": lambda r: r.pop("tiers"),
    "spec": lambda r: r.update(spec=None),
    "seed": lambda r: r["spec"].update(seed="0"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_record_of_another_shape_is_one_sentence_wherever_it_lies(store, make, what):
    (kept,) = written(store, make())
    inbox = store.inbox / f"{kept['run_id']}.json"
    content = json.loads(inbox.read_text())
    BROKEN[what](content)
    content["digest"] = record_digest(content)
    original = inbox.read_text()
    inbox.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"is damaged \(.*delete it and run again"):
        list(store.records())
    inbox.write_text(original)
    pack(store)
    edited_line(store, BROKEN[what])
    for read in (lambda: list(Store(store.root).records()), lambda: Store(store.root).read(kept["run_id"])):
        with pytest.raises(BenchError, match=r"line 1 is damaged \(.*restore the file from git"):
            read()


def test_an_edited_record_is_not_read_from_the_inbox_and_nothing_is_concluded_from_its_line(store, make):
    (kept,) = written(store, make())
    path = store.inbox / f"{kept['run_id']}.json"
    original = path.read_text()
    path.write_text(original.replace('"f1": 0.5', '"f1": 0.95'))
    with pytest.raises(BenchError, match=rf"{path.name} was changed after its run .*delete it and run again"):
        list(store.records())
    path.write_text(original)
    pack(store)
    store.require_unchanged(store.records())
    edited_line(store, lambda r: r["metrics"]["all"]["rules"]["oracle"].update(f1=0.95))
    store = Store(store.root)
    with pytest.raises(BenchError, match=rf"{kept['run_id']} in .*\.jsonl was changed after its run .*restore"):
        store.require_unchanged(store.records())
    with pytest.raises(BenchError, match="was changed after its run"):
        resumable(kept["run_id"], store, [], {})


@pytest.mark.parametrize("name", ["../../outside", "tbird@raw29k", "/tmp/outside"])
def test_a_record_whose_scenario_is_not_that_of_its_spec_has_no_place(store, make, tmp_path, name):
    other = Store(tmp_path / "other")
    written(store, make(seed=1))
    written(other, make(seed=2), make() | {"scenario": name})
    before = sorted(path for path in tmp_path.rglob("*") if path.suffix == ".jsonl")
    with pytest.raises(BenchError, match=f"its scenario '{name}' is not the 'bgl@raw12k' of its spec"):
        merge(store, other)
    assert sorted(path for path in tmp_path.rglob("*") if path.suffix == ".jsonl") == before


@pytest.mark.parametrize("split", ["../../outside", "a\\b", "a\nb"])
def test_a_split_that_is_no_name_of_a_file_has_no_place(store, make, tmp_path, split):
    other = Store(tmp_path / "other")
    written(other, make(split=split))
    with pytest.raises(BenchError, match="are no name of a file"):
        merge(store, other)
    assert not list(tmp_path.rglob("*.jsonl"))


def with_rule(record, rule="native"):
    """The record with one threshold rule more."""
    record["thresholds"][rule] = {"value": 0.5, "fitted_on": "itself", "n": 4, "reason": None}
    block = record["metrics"]["all"]
    block["rules"][rule] = block["rules"]["oracle"]
    block["bootstrap"]["rules"][rule] = block["bootstrap"]["rules"]["oracle"]
    return record


LATER = {"started_at": "2026-12-01T00:00:00+00:00"}
CHECKED = {"date": "2026-12-02", "code": {"method": "m2", "engine": "e2"}}


def test_merge_keeps_of_two_equal_runs_the_one_with_more(store, make, tmp_path):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    written(here, with_rule(make()), make(seed=1, code={"method": "m", "engine": "e"}), make(seed=2))
    written(
        there,
        make(**LATER, threads=4),
        make(seed=1, code={"method": "n", "engine": "e"}, **LATER),
        make(seed=2, verified_with=CHECKED),
    )
    pack(there)
    assert merge(here, there) == (0, 2, 1)
    first, second, third = (Store(here.root).read(make(seed=seed)["run_id"]) for seed in range(3))
    assert set(first["thresholds"]) == {"oracle", "native"}
    assert second["code"]["method"] == "n"
    assert third["verified_with"] == CHECKED
    here.require_unchanged([first, second, third])
    assert merge(here, there) == (0, 0, 3)
    # The other way round what is there gets the rule, and keeps what it has.
    assert merge(there, Store(here.root)) == (0, 1, 2)
    assert set(there.read(first["run_id"])["thresholds"]) == {"oracle", "native"}


def test_merge_keeps_what_was_checked_when_the_newer_run_does_not_say_so(store, make, tmp_path):
    other = Store(tmp_path / "other")
    written(store, make(verified_with=CHECKED))
    (new,) = written(other, make(**LATER))
    assert merge(store, other) == (0, 1, 0)
    found = store.read(new["run_id"])
    assert found["verified_with"] == CHECKED
    assert found["started_at"] == new["started_at"]
    assert found["monitor"] == new["monitor"]
    assert found["digest"] == record_digest(found)


def test_a_failed_run_gives_way_to_a_finished_one(store, make, tmp_path):
    other = Store(tmp_path / "other")
    written(store, make())
    written(other, make(status="timeout", reason="took longer than 1 s", **LATER))
    assert merge(store, other) == (0, 0, 1)
    assert merge(other, store) == (0, 1, 0)
    assert other.read(make()["run_id"])["status"] == "ok"


def test_lines_that_git_joined_and_of_which_neither_is_wrong_become_one(store, make):
    written(store, make("m"))
    pack(store)
    branched(store, [make("z", verified_with=CHECKED)], [make("z", **LATER, code={"method": "m", "engine": "e"})])
    store = Store(store.root)
    pack(store)
    assert len(lines(only_file(store))) == 2
    found = Store(store.root).read(make("z")["run_id"])
    assert (found["verified_with"], found["code"]["engine"]) == (CHECKED, "e")


def test_a_rule_whose_numbers_differ_is_refused_still(store, make, tmp_path):
    other = Store(tmp_path / "other")
    written(store, with_rule(make()))
    changed = with_rule(make())
    changed["thresholds"]["native"]["value"] = 0.6
    written(other, with_rule(changed, "conformal:0.01"))
    with pytest.raises(BenchError, match="in thresholds: delete"):
        merge(store, other)


def test_migration_does_not_replace_a_newer_record(store, make):
    (new,) = written(store, make(**LATER, code={"method": "m", "engine": "e"}))
    pack(store)
    old_store(store, make)
    assert migrate(store) == 3
    assert Store(store.root).read(new["run_id"]) == new


def test_migration_refuses_an_old_record_that_says_something_else(store, make):
    written(store, make(ap=0.9, **LATER))
    pack(store)
    old_store(store, make)
    before = only_file(store).read_bytes()
    with pytest.raises(BenchError, match="differ in metrics: delete the one that is wrong"):
        migrate(store)
    assert only_file(store).read_bytes() == before
    assert len(list((store.root / "runs").iterdir())) == 3


@pytest.mark.parametrize("place", ["", "inbox", "records"])
def test_a_file_where_a_folder_belongs_is_one_sentence(store, place):
    path = store.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    for use in (
        lambda: store.find("0"),
        lambda: list(store.records()),
        lambda: list(problems(store, are_scores_of)),
        store.require_results,
    ):
        with pytest.raises(BenchError, match=rf"{path} is no folder"):
            use()


def test_a_merge_with_a_folder_that_holds_no_results_is_refused(store, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(BenchError, match="is no results folder"):
        merge(store, Store(tmp_path / "other"))


@pytest.mark.parametrize("command", [["verify"], ["pack"], ["prune"], ["prune", "--dry-run"]])
def test_a_command_on_no_results_folder_ends_with_2(tmp_path, command, monkeypatch, capsys):
    folder = tmp_path / "nowhere"
    monkeypatch.setattr("sys.argv", ["bench", "results", *command, "--out", str(folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"{folder} is no results folder" in " ".join(capsys.readouterr().err.split())
    assert not folder.exists()


@pytest.mark.parametrize("options", [[], ["--update"], ["--accept-stale"], ["--update", "--accept-stale"]])
def test_the_gate_believes_no_edited_line(store, make, options, monkeypatch, capsys):
    written(store, make())
    pack(store)
    edited_line(store, lambda r: r["metrics"]["all"]["ranking"].update(ap=0.99))
    baseline = store.root / "baseline.json"
    monkeypatch.setattr("sys.argv", ["bench", "gate", "--out", str(store.root), "--baseline", str(baseline), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "was changed after its run" in " ".join(capsys.readouterr().err.split())
    assert not baseline.exists()
