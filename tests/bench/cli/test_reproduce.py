"""A stored number is made again and compared; what old code and new agree on is noted, and nothing else."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from bench.records.record import record_digest


def git(folder, *arguments):
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(shipped):
    """The shipped code as a repository of its own, with a record made at its only commit."""
    copy = shipped.folder / "copy"
    (copy / ".gitignore").write_text("__pycache__/\n")
    git(copy, "init", "-q")
    git(copy, "add", "-A")
    git(copy, "commit", "-qm", "First")
    shipped.run()
    return shipped


RAW = {"edition": "bgl@raw12k", "sha256": {}}


def path_of(place, record):
    (path,) = (place.folder / "results").rglob(f"{record['run_id']}.json")
    return path


def rewrite(place, record, **changed):
    other = record | changed
    other["digest"] = record_digest(other)
    path_of(place, record).write_text(json.dumps(other))


def test_a_record_is_reproduced(local):
    local.run()
    (record,) = local.records()
    before = path_of(local, record).read_bytes()
    done = local.bench("results", "reproduce", record["run_id"][:8])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"run {record['run_id']}: mine.py:Mine on bgl@simulated, chronological" in done.stdout
    assert "numbers hold within 1e-06; scores off by 0 at most" in done.stdout
    assert "differs:" not in done.stdout
    assert path_of(local, record).read_bytes() == before
    told = json.loads(local.bench("results", "reproduce", record["run_id"], "--json").stdout)
    assert told["holds"] is True
    assert told["n_numbers"] > 20


@pytest.mark.slow
def test_what_is_not_reproduced_names_numbers_code_and_environment(local):
    local.run()
    (record,) = local.records()
    other = record["environment"] | {
        "python": "3.0.0",
        "packages": record["environment"]["packages"] | {"numpy": "1.0"},
    }
    rewrite(local, record, environment=other)
    local.break_score()
    done = local.bench("results", "reproduce", record["run_id"])
    assert done.returncode == 1
    assert "differs: code: the method's code changed since" in done.stdout
    assert "differs: numpy: 1.0 before" in done.stdout
    assert "differs: python: 3.0.0 before" in done.stdout
    assert "FAILED " in done.stdout
    assert "2 of 27 numbers hold" in done.stdout


@pytest.mark.slow
def test_scores_are_compared_where_they_are_here(local):
    local.run()
    (record,) = local.records()
    (file,) = (local.folder / "results").rglob(f"{record['run_id']}.npz")
    with np.load(file) as stored:
        scores = dict(stored)
    scores["test"][0] += 0.001
    np.savez(file, **scores)
    done = local.bench("results", "reproduce", record["run_id"])
    assert done.returncode == 1
    assert "27 of 27 numbers hold within 1e-06; scores off by 0.000999 at most" in done.stdout
    assert "FAILED" not in done.stdout
    text = local.file.read_text()
    local.file.write_text(text.replace("    Config = Config\n", "    Config = Config\n    tolerance = 0.01\n"))
    done = local.bench("results", "reproduce", record["run_id"])
    assert done.returncode == 0
    assert "hold within 0.01" in done.stdout
    file.unlink()
    assert "scores not here" in local.bench("results", "reproduce", record["run_id"]).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "skipped", "reason": "no labels"}, "holds no numbers (skipped: no labels)"),
        ({"spec": {"protocol_version": 0}}, "cannot be run again: today's spec differs in protocol_version"),
        ({"spec": {"train": [RAW], "test": [RAW]}}, "BENCH_DATA"),
        ({"detector": {"config": {"old": 1}}}, "it has no setting 'old' any more"),
    ],
)
def test_what_cannot_be_run_again_is_one_sentence(local, change, said):
    local.run()
    (record,) = local.records()
    changed = {name: {**record[name], **value} if isinstance(value, dict) else value for name, value in change.items()}
    rewrite(local, record, **changed)
    done = local.bench("results", "reproduce", record["run_id"])
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_method_that_is_gone_is_one_sentence(plugin):
    plugin.run()
    (record,) = plugin.records()
    shutil.rmtree(plugin.file.parent.parent)
    done = plugin.bench("results", "reproduce", record["run_id"])
    assert done.returncode == 2
    assert "unknown method 'rarest-event'" in done.stderr


@pytest.mark.slow
def test_records_that_old_code_made_are_verified_with_the_new(repository):
    (before,) = repository.records()
    commit = git(repository.folder / "copy", "rev-parse", "HEAD")
    assert before["environment"] | {"git_commit": commit, "git_dirty": False} == before["environment"]
    repository.gate("--update")
    measure = repository.folder / "copy" / "bench" / "experiment" / "measure.py"
    measure.write_text(measure.read_text() + "\nUNUSED = 1\n")
    assert repository.gate().returncode == 1
    done = repository.bench("results", "restamp")
    assert done.returncode == 0, done.stdout + done.stderr
    kind = "ngram, simulated, one system, chronological"
    assert f"agrees {kind} (1 records, run {before['run_id']})" in done.stdout
    assert "8 of 8 methods and kinds of scenario agree\nnoted in 8 records" in done.stdout
    assert "`bench results pack` archives them" in done.stdout
    (after,) = repository.records()
    verified = after.pop("verified_with")
    assert after.pop("digest") != before.pop("digest")  # it covers what was verified too
    assert after == before
    assert verified["against"] == {"commit": commit, "run_id": before["run_id"]}
    assert verified["code"]["engine"] != before["code"]["engine"]
    assert verified["code"]["method"] == before["code"]["method"]
    assert verified["environment"]["python"] == before["environment"]["python"]
    assert repository.gate().returncode == 0
    assert "resumed 8 of 8" in repository.run()
    assert "verified 20" in repository.bench("results", "show", before["run_id"]).stdout
    assert git(repository.folder / "copy", "worktree", "list").count("\n") == 0


@pytest.mark.slow
def test_records_whose_methods_own_code_changed_are_left(repository):
    (before,) = repository.records()
    repository.file.write_text(repository.file.read_text() + "\nUNUSED = 1\n")
    done = repository.bench("results", "restamp")
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("LEFT ngram (1 records): the method's own code changed, and one cell does not speak for")
    assert repository.records() == [before]
    done = repository.bench("results", "restamp", "--changed-methods")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 methods and kinds of scenario agree" in done.stdout


@pytest.mark.slow
def test_records_that_old_and_new_code_disagree_on_stay_as_they_are(repository):
    (before,) = repository.records()
    repository.break_score()
    check = ("results", "restamp", "--changed-methods")
    done = repository.bench(*check, "--method", "ngram")
    assert done.returncode == 1
    assert "DIFFERS ngram, simulated, one system" in done.stdout
    assert repository.records() == [before]
    dirty = before["environment"] | {"git_dirty": True}
    rewrite(repository, before, environment=dirty)
    done = repository.bench(*check)
    assert done.returncode == 1
    assert "NOT CHECKED" in done.stdout
    assert "give --old REF" in done.stdout
    assert "DIFFERS" in repository.bench(*check, "--old", "HEAD").stdout
    unknown = repository.bench(*check, "--old", "nowhere")
    assert "the commit 'nowhere' is not in this checkout" in unknown.stdout
    done = repository.bench(*check, "--method", "nobody")
    assert done.returncode == 2
