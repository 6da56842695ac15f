"""`bench errors` on a real run: the worst mistakes with their lines, its files, and every way to ask for nothing."""

import json
import sys

import numpy as np
import polars as pl
import pytest

from bench.cli import main
from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import DataSpec, Loader
from bench.evaluation.thresholds import flag
from bench.records.store import Store

SCENARIOS = ("hdfs@simulated", "bgl@simulated2tbird@simulated")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Records and scores of PCA and the controls on a simulated session log, a transfer, and a log of one's own."""
    folder = tmp_path_factory.mktemp("errors")
    lines = (f"- {i} event {'ab'[i % 2]}\n" if i % 50 else f"X {i} broken\n" for i in range(1, 1500))
    (folder / "app.log").write_text("".join(lines))
    whole = ("--scenario", ",".join([*SCENARIOS, "app"]), "--seeds", "0,", "--methods", "pca", "--out", "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BENCH_DATA", raising=False)
        patch.chdir(folder)
        for command in (("data", "new", "app", "app.log", "--label", "first-token"), ("run", *whole)):
            patch.setattr(sys, "argv", ["bench", *command, "--data", "."])
            with pytest.raises(SystemExit) as stopped:
                main()
            assert not stopped.value.code
    return folder / "results"


def record_of(results, method, scenario):
    store = Store(results)
    record = next(r for r in store.records() if (r["method"], r["scenario"]) == (method, scenario))
    return record, store.read_scores(record["run_id"])


@pytest.fixture
def errors(call, results):
    return lambda *arguments: call("errors", *arguments, "--out", results)


@pytest.mark.slow_cases("hdfs@simulated")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_mistakes_are_those_of_the_scores_at_the_stored_threshold(errors, results, scenario):
    code, out, _ = errors("pca", "-s", scenario, "--json", "--top", 1000, "--lines", 0)
    assert code == 0
    found = json.loads(out)
    record, scores = record_of(results, "pca", scenario)
    flagged = flag(scores["test"], float(record["thresholds"]["conformal:0.01"]["value"]))
    abnormal = scores["test_labels"] == 1
    for kind, wrong, sign in (
        ("false_positives", flagged & ~abnormal, -1),
        ("false_negatives", ~flagged & abnormal, 1),
    ):
        at = np.flatnonzero(wrong)
        order = at[np.argsort(sign * scores["test"][at], kind="stable")]
        names = [name.decode() for name in scores["test_sequence"][order]]
        assert [mistake["sequence"] for mistake in found[kind]] == names
        assert [mistake["rank"] for mistake in found[kind]] == list(range(1, len(at) + 1))
    values = record["metrics"]["all"]["rules"]["conformal:0.01"]
    counts = found["counts"]
    assert counts["fp"] == values["fpr"] * (counts["fp"] + counts["tn"])
    assert counts["tp"] / (counts["tp"] + counts["fn"]) == values["recall"]
    assert sum(counts.values()) == record["counts"]["n_test"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lines_are_the_rarest_of_the_sequence_in_their_order(errors, results, scenario):
    found = json.loads(errors("pca", "-s", scenario, "--json", "--top", 3, "--lines", 4)[1])
    known = catalogue(None)
    sides = [tuple(known.resolve(key) for key in side.split("+")) for side in scenario.split("2t")[:1]]
    cards = (known.resolve(scenario.partition("@simulated2")[2]),) if "2t" in scenario else sides[0]
    log = Loader(known).log(cards[0])
    times_seen = np.bincount(log.message_ids)
    for mistake in found["false_positives"] + found["false_negatives"]:
        numbers = [line["number"] for line in mistake["lines"]]
        assert numbers == sorted(numbers)
        assert len(numbers) == min(4, mistake["n_lines"])
        assert mistake["first_line"] <= numbers[0] <= numbers[-1] <= mistake["last_line"]
        if log.session_codes is not None:
            assert all(mistake["sequence"] in line["text"] for line in mistake["lines"])
            code = list(log.session_ids).index(mistake["sequence"])
            lines = log.session_lines[log.session_codes == code]
        else:
            lines = np.arange(mistake["first_line"] - 1, mistake["last_line"])
        shown = times_seen[log.message_ids[np.array(numbers) - 1]]
        assert sorted(shown) == sorted(times_seen[log.message_ids[lines]])[: len(numbers)]
        assert mistake["lines"][0]["time"] == log.times[numbers[0] - 1]


def test_text_fits_80_columns(errors):
    code, out, err = errors("pca", "-s", "hdfs")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("pca on hdfs@simulated\nchronological, protocol 2, seed 0, run ")
    assert "FALSE POSITIVES by score, the highest first" in out
    assert "FALSE POSITIVES by score, the highest first: none" in errors("pca", "-s", "bgl2tbird")[1]


def test_another_rule_moves_the_threshold(errors):
    code, out, _ = errors("pca", "-s", "hdfs", "--threshold", "fixed:1e9", "--json", "--lines", 0)
    counts = json.loads(out)["counts"]
    assert (code, counts["fp"], counts["tp"]) == (0, 0, 0)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_files_hold_every_score_and_the_part_of_each_sequence(errors, results, tmp_path, scenario):
    written = ("--predictions", tmp_path / "p.parquet", "--write-split", tmp_path / "s.parquet")
    assert errors("pca", "-s", scenario, "--lines", 0, "--threshold", "quantile:0.9", *written)[0] == 0
    record, scores = record_of(results, "pca", scenario)
    found = pl.read_parquet(tmp_path / "p.parquet")
    test = found.filter(part="test")
    assert np.array_equal(test["score"], scores["test"])
    assert np.array_equal(test["label"], scores["test_labels"])
    assert len(found.filter(part="validation")) == len(scores["validation"])
    assert {f"flagged {rule}" for rule in (*record["thresholds"], "quantile:0.9")} <= set(found.columns)
    assert (
        test["flagged conformal:0.01"].sum()
        == (scores["test"] > float(record["thresholds"]["conformal:0.01"]["value"])).sum()
    )
    split = pl.read_parquet(tmp_path / "s.parquet")
    assert "label" not in split.columns
    joined = test.join(split.filter(part="test"), on=["system", "sequence"], how="left")
    assert joined["n_lines"].null_count() == 0
    assert len(split.filter(part="test")) == len(test)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_written_split_is_the_one_that_a_run_prepares(errors, tmp_path, scenario):
    assert errors("pca", "-s", scenario, "--lines", 0, "--write-split", tmp_path / "s.parquet")[0] == 0
    known = catalogue(None)
    sources, _, targets = scenario.replace("2t", "|t").partition("|")
    train = (known.resolve(sources),)
    prepared = Loader(known).prepare(DataSpec(train, (known.resolve(targets),) if targets else train))
    split = pl.read_parquet(tmp_path / "s.parquet")
    for part in ("train", "validation", "test"):
        of = split.filter(part=part, role="target" if targets and part == "test" else "source")
        assert of["sequence"].to_list() == list(getattr(prepared, part).sequences.ids)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pcb", "-s", "hdfs"), "has a row 'pcb': did you mean pca? else choose one of pca, "),
        (("pca", "-s", "hdsf"), "is of the scenario 'hdsf': "),
        (("pca", "-s", "simulated"), "'simulated' fits 2 scenarios in "),
        (("pca", "-s", "hdfs", "--split", "paper"), "hdfs@simulated has no record under the split 'paper'"),
        (("pca", "-s", "hdfs", "--split", "papre"), "papre"),
        (("pca", "-s", "hdfs", "--seed", 3), "'pca' has no finished run of seed 3: choose one of 0"),
        (("pca", "-s", "hdfs", "--protocol", 1), "is of protocol 1"),
        (("pca", "-s", "hdfs", "--threshold", "conformal:0.0001"), "gives 'pca' no threshold here (needs at least "),
        (("pca", "-s", "hdfs", "--threshold", "often"), "often"),
        (("pca", "-s", "hdfs", "--top", 0), "--top is 0: give a whole number from 1"),
        (("pca", "-s", "hdfs", "--lines", -1), "--lines is -1: give a whole number from 0"),
        (("pca", "-s", "hdfs", "--predictions", "p.csv"), "'p.csv' is to be a parquet file"),
    ],
)
def test_what_is_not_there_is_one_sentence(errors, arguments, words):
    code, out, err = errors(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert len(err.splitlines()) == 1


def test_no_record_and_missing_or_foreign_scores_are_one_sentence(errors, call, results, tmp_path):
    code, _, err = call("errors", "pca", "-s", "hdfs", "--out", tmp_path / "none")
    assert (code, err.startswith("error: there is no record in ")) == (2, True)
    record, scores = record_of(results, "ecvc", "hdfs@simulated")
    path = results / "scores" / f"{record['run_id']}.npz"
    kept = path.read_bytes()
    path.unlink()
    code, _, err = errors("ecvc", "-s", "hdfs")
    assert (code, "the scores of 'ecvc' are not here" in err) == (2, True)
    np.savez(path, **(scores | {"test": scores["test"] + 1}))
    code, _, err = errors("ecvc", "-s", "hdfs")
    assert (code, "are not those of their record" in err) == (2, True)
    path.write_bytes(kept)


def test_data_that_are_away_are_one_sentence_and_not_needed_without_lines(errors, results):
    log = results.parent / "app.log"
    assert errors("pca", "-s", "app", "--threshold", "oracle", "--data", results.parent)[0] == 0
    log.rename(results.parent / "away")
    code, out, err = errors("pca", "-s", "app", "--threshold", "oracle", "--data", results.parent)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "app" in err
    assert errors("pca", "-s", "app", "--threshold", "oracle", "--data", results.parent, "--lines", 0)[0] == 0
    (results.parent / "away").rename(log)
