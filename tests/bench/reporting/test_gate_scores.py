"""A drop counts by its paired interval on the same test sequences, and only the baseline's own scores are believed."""

import json

import numpy as np
import pytest

from bench import _files
from bench.errors import BenchError
from bench.evaluation.blocks import time_blocks
from bench.evaluation.thresholds import parse_rule
from bench.experiment.measure import measure
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.store import Store
from bench.reporting import gate
from bench.reporting.gate import compare_with_baseline, load_baseline, write_baseline
from bench.reporting.gate_part import Part
from bench.reporting.gate_scores import load_scores, scores_path

RULES = [parse_rule(text) for text in ("native", "conformal:0.01", "oracle")]
LABELS = np.repeat(np.array([0, 1], dtype=np.int8), [1000, 200])
FEW = np.repeat(np.array([0, 1], dtype=np.int8), [100, 6])
RANDOM = np.random.default_rng(7)
NOISE = RANDOM.normal(size=1200)
GOOD = NOISE + 2.0 * LABELS


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "baseline.json"


@pytest.fixture
def add(store, make_record):
    """Keep a run that gave these test scores; a later one of the same method and seed takes its place."""

    def write(scores, method="toy", seed=0, labels=LABELS, **options):
        arrays = {
            "test": scores,
            "test_labels": labels,
            "test_system": np.zeros(len(labels), dtype=np.uint8),
            "test_last_line": np.random.default_rng(2).permutation(len(labels)),
            "validation": np.random.default_rng(1).normal(size=300),
            "validation_labels": np.zeros(300, dtype=np.int8),
            "validation_system": np.zeros(300, dtype=np.uint8),
            "native": np.zeros(0),
        }
        record = make_record(method, seed, **options)
        record |= measure(arrays, record["systems"], RULES, split=record["spec"]["split"])
        return store.write(record, arrays)

    return write


@pytest.fixture
def update(store, path):
    return lambda **options: write_baseline(path, list(store.records()), store, **options)


@pytest.fixture
def found(store, path):
    """The findings by metric; those of the only row, or of one method."""

    def compare(method="toy"):
        baseline = load_baseline(path)
        kept = load_scores(scores_path(path), baseline)
        findings = compare_with_baseline(store.records(), baseline, kept=kept, store=store)
        return {one.metric: one for one in findings if one.row.endswith(f" | {method}")}

    return compare


def lowered(scores, n):
    """The scores of `n` abnormal sequences lowered a little, so that some normal ones pass them."""
    worse = scores.copy()
    worse[1000 : 1000 + n] -= 0.4
    return worse


def test_unchanged_scores_hold_with_an_interval_of_nothing(add, update, found):
    add(GOOD)
    assert update() == (1, 1, {})
    assert {name: one.change[:3] for name, one in found().items()} == dict.fromkeys(("f1", "ap", "auroc"), (0, 0, 0))
    assert not any(one.failed for one in found().values())


def test_a_drop_that_the_tolerance_hides_fails_by_its_interval(add, update, found):
    add(GOOD)
    update()
    add(lowered(GOOD, 60))
    auroc = found()["auroc"]
    assert 0.002 < auroc.expected - auroc.found < auroc.tolerance == 0.02
    assert auroc.failed
    assert auroc.change.low <= auroc.change.mean <= auroc.change.high < 0
    assert auroc.fall == pytest.approx(auroc.expected - auroc.found, abs=1e-4)
    assert str(auroc) == (
        f"auroc {auroc.found:.4f}, baseline {auroc.expected:.4f}: worse by {auroc.fall:.4f}, "
        f"95 % interval {-auroc.change.high:.4f} to {-auroc.change.low:.4f}"
    )


def test_a_drop_in_one_stretch_of_time_is_less_sure(add, update, found, monkeypatch):
    """The same 60 lowered sequences, but neighbours: one bad hour, of which nobody knows how often it comes."""
    add(GOOD)
    update()
    add(lowered(GOOD, 60))
    apart = found()["auroc"].change
    monkeypatch.setattr("bench.experiment.measure.time_blocks", lambda labels, place, system: time_blocks(
        labels, np.arange(len(labels)), system
    ))  # fmt: skip
    together = found()["auroc"].change
    assert together.mean == apart.mean
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_a_drop_of_noise_beyond_the_tolerance_passes(add, update, found):
    scores = np.concatenate([NOISE[:100], [3.5, 3.4, 3.3, 3.2, 3.1, 3.05]])
    add(scores, labels=FEW)
    update()
    moved = scores.copy()
    moved[-1] = 0.0  # one abnormal sequence of six
    add(moved, labels=FEW)
    f1 = found()["f1"]
    assert f1.expected - f1.found > 4 * f1.tolerance
    assert not f1.failed
    assert f1.change.low < 0 <= f1.change.high


def test_a_drop_to_chance_fails_by_its_interval_and_a_rise_passes(add, update, found):
    add(GOOD)
    update()
    add(NOISE)
    assert all(one.failed and one.change for one in found().values())
    add(NOISE + 4.0 * LABELS)
    assert not any(one.failed for one in found().values())
    assert found()["ap"].fall < 0


@pytest.mark.parametrize("split", ["chronological", "paper"])
def test_seeds_pair_with_their_own(add, update, found, split):
    order = np.random.default_rng(3).permutation(1200) if split == "paper" else np.arange(1200)
    sides = [(GOOD, LABELS), (GOOD[order], LABELS[order])]
    for seed, (scores, labels) in enumerate(sides):
        add(scores, seed=seed, labels=labels, split=split)
    update()
    assert {one.change.n_seeds for one in found().values()} == {2}
    for seed, (_, labels) in enumerate(sides):
        lower = np.where(labels == 1, -0.4, 0.0)
        add(sides[seed][0] + lower, seed=seed, labels=labels, split=split)
    assert found()["auroc"].failed


def test_without_scores_of_the_baseline_the_tolerance_decides(add, update, found, path):
    add(GOOD)
    update()
    scores_path(path).unlink()
    add(lowered(GOOD, 60))
    auroc = found()["auroc"]
    assert (auroc.failed, auroc.change, auroc.why) == (False, None, "the baseline keeps no scores of it")
    add(NOISE)
    assert found()["auroc"].failed


def test_without_scores_of_the_records_the_tolerance_decides(add, update, found, store):
    add(GOOD)
    update()
    record = add(lowered(GOOD, 60))
    (store.scores / f"{record['run_id']}.npz").unlink()
    auroc = found()["auroc"]
    assert (auroc.failed, auroc.why) == (False, f"its scores are not in {store.root}")
    assert update().by_tolerance == {auroc.row: auroc.why}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tolerance": 0.5}, "it has a tolerance of its own"),
        ({"auroc": 0.5}, "its values were changed since the baseline kept its scores"),
    ],
)
def test_what_was_set_by_hand_decides(add, update, found, path, change, why):
    add(GOOD)
    update()
    content = json.loads(path.read_text())
    for row in content["rows"].values():
        row.update(change)
    path.write_text(json.dumps(content))
    assert {(one.change, one.why) for one in found().values()} == {(None, why)}


def test_another_test_set_is_no_pair(add, update, found):
    add(GOOD)
    update()
    add(GOOD[::-1].copy(), labels=LABELS[::-1].copy())
    assert {one.why for one in found().values()} == {"its test sequences are not those of the scores in the baseline"}


def test_other_data_is_no_pair(add, update, found, make_record):
    add(GOOD)
    update()
    spec = make_record()["spec"]
    sides = [part | {"sha256": "11"} for part in spec["test"]]
    again = spec | {"train": sides, "test": sides}
    add(GOOD, spec=again, run_id="f" * 16, started_at="2026-02-01T00:00:00+00:00")
    assert {one.why for one in found().values()} == {"its data or seeds are not those of the scores in the baseline"}


def test_a_sample_is_held_by_the_tolerance(add, update, make_record):
    add(GOOD, spec=make_record()["spec"] | {"sample": 500})
    assert list(update().by_tolerance.values()) == ["it was run on a sample"]


@pytest.mark.parametrize("method", ["toy", "other"])
def test_scores_that_are_not_the_records_are_refused(add, update, found, store, method):
    run_ids = {"toy": add(GOOD)["run_id"], "other": add(NOISE, "other")["run_id"]}
    update()
    file = store.scores / f"{run_ids[method]}.npz"
    arrays = dict(np.load(file))
    mirrored = np.concatenate([arrays["test"][:1000][::-1], arrays["test"][1000:]])  # every metric stays
    for foreign in ({"test": mirrored}, {"test": arrays["test"] * 1.01}, {"test": arrays["test"][:10]}):
        np.savez(file, **arrays | foreign)
        for ask in (found, update):
            with pytest.raises(BenchError, match=rf"{run_ids[method]}\.npz are not those of their record"):
                ask()
    np.savez(file, labels=np.zeros(3))
    with pytest.raises(BenchError, match="are not those of their record"):
        found()


def test_the_file_is_the_same_after_a_second_update_and_holds_the_exact_scores(add, update, path, store):
    thirds = GOOD / 3
    add(thirds)
    add(NOISE, "other")
    update()
    before = [each.read_bytes() for each in (path, scores_path(path))]
    update()
    assert [each.read_bytes() for each in (path, scores_path(path))] == before
    scores_path(path).unlink()
    update()
    assert [each.read_bytes() for each in (path, scores_path(path))] == before
    kept = load_scores(scores_path(path), load_baseline(path))
    (run,) = kept[f"bgl@raw12k | chronological | 20/20 | protocol {PROTOCOL_VERSION} | toy"].runs
    assert run.scored.scores.dtype == np.float64
    assert np.array_equal(run.scored.scores, thirds)
    record = next(record for record in store.records() if record["method"] == "toy")
    assert run.scored.threshold == record["thresholds"]["conformal:0.01"]["value"]
    assert np.array_equal(run.labels, LABELS)


def test_equal_scores_leave_a_file_that_was_compressed_otherwise(add, update, path):
    add(GOOD)
    update()
    file = scores_path(path)
    np.savez(file, **dict(np.load(file)))
    before = file.read_bytes()
    update()
    assert file.read_bytes() == before


def test_a_suite_keeps_the_scores_of_the_others(add, update, found):
    add(GOOD)
    add(NOISE, "late", edition="tbird@raw29k")
    update()
    add(NOISE)
    assert update(part=Part(frozenset({"tbird@raw29k"}))) == (1, 2, {})
    assert found()["ap"].failed
    assert update(part=Part(frozenset({"bgl@raw12k"}))) == (1, 2, {})
    assert not found()["ap"].failed


def test_keep_values_leaves_all_values_and_adds_rows_and_the_scores_that_they_are_of(add, update, path, found):
    add(GOOD)
    add(GOOD * 2, "moved")
    add(GOOD, "tolerant")
    update()
    content = json.loads(path.read_text())
    rows = {name.rpartition(" ")[2]: row for name, row in content["rows"].items()}
    rows["tolerant"]["tolerance"] = 0.3
    rows["moved"]["ap"] -= 0.01
    path.write_text(json.dumps(content))
    before = load_baseline(path)["rows"]
    scores_path(path).unlink()
    add(NOISE, "new")
    written = update(keep_values=True)
    after = load_baseline(path)["rows"]
    assert {name: row for name, row in after.items() if name in before} == before
    assert len(after) == len(before) + 1
    assert (written.n_rows, written.n_scores) == (4, 2)
    assert {name.rpartition(" ")[2]: why for name, why in written.by_tolerance.items()} == {
        "moved": "its values differ from those of the baseline",
        "tolerant": "it has a tolerance of its own",
    }
    assert found()["ap"].change is not None
    assert found("moved")["ap"].change is None
    add(lowered(GOOD, 60))  # scores that stay of their values are not replaced
    kept = scores_path(path).read_bytes()
    update(keep_values=True)
    assert scores_path(path).read_bytes() == kept
    assert found()["auroc"].failed


def test_keep_values_leaves_rows_that_have_no_record(add, update, path, store):
    record = add(GOOD)
    update()
    before = path.read_bytes()
    (store.inbox / f"{record['run_id']}.json").unlink()
    add(NOISE, "new")
    update(keep_values=True)
    assert len(load_baseline(path)["rows"]) == 2
    assert json.loads(before)["rows"].items() <= load_baseline(path)["rows"].items()


def test_the_scores_of_another_baseline_are_refused(add, update, path, tmp_path, found, store):
    add(GOOD)
    update()
    other = tmp_path / "other.json"
    add(lowered(GOOD, 60))
    write_baseline(other, list(store.records()), store)
    scores_path(other).replace(scores_path(path))
    for ask in (found, update):
        with pytest.raises(BenchError, match=r"baseline.npz' are not those of the baseline beside them: restore"):
            ask()


@pytest.mark.parametrize("digest", [None, 3, "", [], "0" * 64])
def test_scores_that_the_baseline_does_not_name_are_refused(add, update, path, found, digest):
    add(GOOD)
    update()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scores_sha256": digest}))
    with pytest.raises(BenchError, match="are not those of the baseline"):
        found()


def test_damage_of_the_scores_is_one_sentence(add, update, path, found):
    add(GOOD)
    update()
    file = scores_path(path)
    whole = file.read_bytes()
    damaged = [b"", b"PK", whole[: len(whole) // 2], whole[:-40], b"\x93NUMPY" + whole, b"null"]
    for at in range(0, len(whole), 997):
        damaged.append(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
    refused = 0
    for content in damaged:
        file.write_bytes(content)
        try:
            assert all(one.change[:3] == (0, 0, 0) for one in found().values())  # a bit that says nothing
        except BenchError as error:
            refused += 1
            assert "restore both files" in str(error)
    assert refused > len(damaged) - 4


def test_without_any_scores_left_the_file_goes(add, update, path, store):
    record = add(GOOD)
    update()
    (store.scores / f"{record['run_id']}.npz").unlink()
    assert update().n_scores == 0
    assert not scores_path(path).exists()
    assert "scores_sha256" not in load_baseline(path)


def test_a_baseline_cannot_take_the_name_of_its_scores(tmp_path, add, store):
    add(GOOD)
    with pytest.raises(BenchError, match="has the name of its scores"):
        write_baseline(tmp_path / "baseline.npz", list(store.records()), store)


@pytest.mark.parametrize("refused", ["baseline.json", "baseline.npz"])
def test_a_disk_that_refuses_either_file_leaves_both_as_they_were(add, update, path, monkeypatch, refused):
    add(GOOD)
    update()
    before = [each.read_bytes() for each in (path, scores_path(path))]
    sync = _files.sync

    def full(temporary):
        if temporary.name.startswith(refused):
            raise OSError(28, "No space left on device")
        sync(temporary)

    add(NOISE)
    for module in (_files, gate):
        monkeypatch.setattr(module, "sync", full)
    with pytest.raises(BenchError, match="No space left on device"):
        update()
    assert [each.read_bytes() for each in (path, scores_path(path))] == before
