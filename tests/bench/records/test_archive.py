"""The archive gives every record back as it was, is sorted, merges as lines do, and names what is wrong with it."""

import json
import os
import subprocess

import pytest

from bench.errors import BenchError
from bench.records.archive import Archive
from bench.records.record import record_digest, standing, standings
from bench.records.store import Store
from bench.records.upkeep import merge, migrate, orphans, pack

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
    with pytest.raises(BenchError, match="cannot be archived, its digest is not that of its content"):
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
