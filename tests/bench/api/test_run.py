"""`bench.run` is `bench run`: the same records; what it gives is tables, frames, comparisons, errors and a picture."""

import dataclasses
import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import bench
from bench.api.named import name_of, named, settings_of
from bench.cli import main
from bench.records.store import Store
from bench.reporting.errors.frame import mistakes

ROOT = Path(__file__).parents[3]
MINE = """
from dataclasses import dataclass

import numpy as np
import bench


@dataclass(frozen=True)
class Config:
    k: int = 1
    word: str = "a"


class Mine(bench.Detector):
    tags = bench.DetectorTags(told={"source": "normals"}, seeded=False)
    Config = Config

    def fit(self, train, labels=None, *, evidence=None):
        if self.config.k < 0:
            raise ValueError("k is below 0")
        self.known_ = np.unique(train.log_keys)
        return self

    def score(self, sequences):
        new = ~np.isin(sequences.log_keys, self.known_)
        return self.config.k * np.bincount(sequences.sequence_of_event[new], minlength=len(sequences)) * 1.0
"""


def mine_of(folder):
    """The module of a file with a detector, as `import mine` there gives it."""
    path = folder / "mine.py"
    path.write_text(MINE)
    spec = importlib.util.spec_from_file_location("mine", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mine"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield mine_of(tmp_path)
    sys.modules.pop("mine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def results(folder):
    return bench.run(["ngram", "pca"], "bgl@simulated", seeds=2, out=folder / "out", progress=False)


def identities(store):
    return {r["run_id"]: (r["spec"], r["metrics"], r["scores_sha256"]) for r in store.records()}


def test_the_command_line_makes_the_same_records(results, folder, monkeypatch, capsys):
    arguments = ["run", "--methods", "ngram,pca", "--scenario", "bgl@simulated", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", ["bench", *arguments, "--out", str(folder / "cli")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert identities(Store(folder / "cli")) == identities(Store(folder / "out"))
    assert capsys.readouterr().out.split("| fit s")[0] == repr(results).split("| fit s")[0]
    tables = [path.name for path in (folder / "out" / "tables").iterdir()]
    assert tables == [path.name for path in (folder / "cli" / "tables").iterdir()]


def test_what_is_recorded_is_not_run_again(results, folder):
    again = bench.run("ngram,pca", "bgl@simulated", seeds=[0, 1], out=folder / "out", progress=False)
    assert [r["started_at"] for r in again.records] == [r["started_at"] for r in results.records]
    assert len(again) == len(results) == 18
    read = bench.load_results(folder / "out", scenario="bgl")
    assert read.to_polars().equals(results.to_polars())


def test_environment_variables_are_as_before(folder, monkeypatch):
    import os

    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    bench.run("ngram", "bgl@simulated", seeds=1, out=folder / "out", progress=False)
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


def test_frames_hold_what_tables_print(results):
    frame = results.to_polars()
    assert frame["method"].to_list()[:2] == ["pca", "ngram"]
    assert frame.height == 9
    row = frame.row(0, named=True)
    shown = f"{row['f1']:.3f} [{row['f1_low']:.3f},{row['f1_high']:.3f}]".replace("[0", "[").replace(",0", ",")
    assert shown in repr(results)
    assert results.to_pandas()["ap"].tolist() == frame["ap"].to_list()
    runs = results.to_polars(each_run=True)
    assert set(runs["rule"]) >= {"native", "conformal:0.01", "oracle"}
    assert runs["run_id"].n_unique() == len(results)


def test_a_notebook_shows_a_table(results):
    html = results._repr_html_()
    assert html.count("<table>") == 1
    assert "ngram" in html
    assert "<b>bgl@simulated, chronological (simulated), protocol 2</b>" in html


def test_comparisons_are_those_of_the_command(results, folder, monkeypatch, capsys):
    frame = results.compare("ngram", metric="ap")
    assert frame["against"].n_unique() == 7
    assert set(frame["metric"]) == {"ap"}
    monkeypatch.setattr(sys, "argv", ["bench", "compare", "ngram", "--metric", "ap", "--out", str(folder / "out")])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    for row in frame.iter_rows(named=True):
        (line,) = [line for line in out.splitlines() if line.startswith(f"{row['against']} ")]
        assert row["verdict"] in line
    assert results.methods == ["pca", "ngram"]
    assert set(results.compare(metric="f1")["method"]) == {"ngram", "pca"}


def test_errors_are_the_wrong_decisions(results):
    frame = results.errors("ngram", seed=1)
    record = next(r for r in results.records if r["method"] == "ngram" and r["spec"]["seed"] == 1)
    counts = record["metrics"]["all"]["rules"]["conformal:0.01"]
    found = dict(frame["error"].value_counts().iter_rows())
    assert found.get("false positive", 0) == counts["fp"]
    assert found.get("false negative", 0) == counts["fn"]
    far = (frame["score"] - frame["threshold"]).abs().to_list()
    assert far == sorted(far, reverse=True)
    log = bench.load_sequences("bgl@simulated").test
    first = frame.row(0, named=True)
    place = log.sequences.ids.index(first["sequence"])
    lines = log.sequences.select(np.array([place])).lines
    assert (first["first_line"], first["last_line"]) == (lines[0], lines[-1])
    assert first["start"].timestamp() == log.sequences.start_time[place]
    assert (log.labels[place] == 1) == (first["error"] == "false negative")


def test_errors_hold_each_system_against_its_own_threshold_and_leave_out_what_was_not_judged():
    rule = "conformal:0.01@own-system"
    own = {name: {"value": value, "reason": None} for name, value in (("bgl", 1.0), ("tbird", 5.0))}
    record = {
        "run_id": "0" * 16,
        "method": "pca",
        "systems": ["bgl", "tbird"],
        "thresholds": {rule: {"value": None, "reason": None, "systems": own}},
    }
    scores = {
        "test": np.array([2.0, 2.0, 0.5, 9.0]),
        "test_labels": np.array([0, 0, 1, 0], np.int8),
        "test_system": np.array([0, 1, 0, 1], np.uint8),
        "test_weights": np.array([1.0, 1.0, 1.0, 0.0]),
    }
    found = mistakes(record, scores, rule)
    assert found["error"].to_list() == ["false positive", "false negative"]
    assert found["score"].to_list() == [2.0, 0.5]
    assert found["threshold"].to_list() == [1.0, 1.0]


def test_scores_that_are_gone_or_of_another_run_are_one_sentence(results, tmp_path):
    import shutil

    shutil.copytree(results._store.root, tmp_path / "out")
    copy = bench.load_results(tmp_path / "out")
    runs = {r["method"]: r["run_id"] for r in copy.records if r["spec"]["seed"] == 0}
    one, other = runs["ngram"], runs["pca"]
    folder = tmp_path / "out" / "scores"
    (folder / f"{one}.npz").write_bytes((folder / f"{other}.npz").read_bytes())
    (folder / f"{other}.npz").unlink()
    with pytest.raises(bench.BenchError, match="are not those of their record"):
        copy.errors("ngram", seed=0)
    with pytest.raises(bench.BenchError, match="are not here"):
        copy.errors("pca", seed=0)


def test_a_picture_has_a_point_for_each_method(results):
    picture = results.plot("auroc")
    (axes,) = picture.axes
    assert sorted(text.get_text() for text in axes.get_yticklabels()) == sorted(results.to_polars()["method"])
    assert picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(bench.BenchError, match="no metric 'nope': choose one of precision, recall"):
        results.plot("nope")


def test_sequences_are_those_of_runs(results):
    parts = bench.load_sequences("bgl@simulated", raw=True)
    counts = results.records[0]["counts"]
    assert (len(parts.train.labels), len(parts.test.labels)) == (counts["n_train"], counts["n_test"])
    assert parts.facts["n_test_abnormal"] == counts["n_test_abnormal"]
    assert len(parts.test.sequences.raw) == parts.test.sequences.n_events
    assert "test 160 (22 abnormal)" in repr(parts)
    drawn = bench.load_sequences("hdfs@simulated", split="paper", seed=3)
    assert len(drawn.test.labels) == 2 * int(drawn.test.labels.sum())


def test_classes_and_configured_detectors_are_what_the_command_line_calls_them(mine):
    from methods.ngram import NGram

    assert name_of(NGram) == "ngram"
    assert name_of(mine.Mine) == "mine.py:Mine"
    detector = mine.Mine(mine.Config(k=3, word="a,b"))
    assert settings_of(detector) == ("mine.py:Mine.k=3", 'mine.py:Mine.word="a,b"')
    groups = named([NGram, "pca, deeplog", mine.Mine(), detector], ("ngram.n=2",))
    assert groups == [
        (("ngram", "pca", "deeplog", "mine.py:Mine"), ("ngram.n=2",)),
        (("mine.py:Mine",), settings_of(detector)),
    ]


def test_two_configurations_of_a_class_are_two_rows(mine, tmp_path):
    found = bench.run([mine.Mine, mine.Mine(mine.Config(k=2))], "bgl@simulated", seeds=1, out=tmp_path / "out")
    assert found.methods == ["mine.py:Mine", "mine.py:Mine[k=2]"]
    assert found.to_polars()["ap"][0] == found.to_polars()["ap"][1]


def test_a_run_that_fails_is_a_row_and_a_warning(mine, tmp_path):
    with pytest.warns(UserWarning, match="1 runs failed, the first is mine.py:Mine.*k is below 0"):
        found = bench.run(mine.Mine(mine.Config(k=-1)), "bgl@simulated", seeds=1, out=tmp_path / "out")
    assert "k is below 0" in repr(found)
    assert "error" in found._repr_html_()
    with pytest.raises(bench.BenchError, match="has no finished run"):
        found.errors("mine.py:Mine[k=-1]")


def test_a_class_of_no_file_is_refused_with_a_way_out(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Config:
        pass

    local = type("Notebook", (bench.Detector,), {"tags": bench.DetectorTags(), "Config": Config, "fit": None})
    monkeypatch.setattr(local, "__module__", "__main__")
    with pytest.raises(bench.BenchError, match=r"in no file .*%%writefile mine\.py"):
        bench.run(local, "bgl@simulated")


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        (("nope", "bgl@simulated"), {}, "unknown method 'nope'"),
        (("ngram", "bgl@nope"), {}, "bgl@nope"),
        (("ngram",), {}, "say what to run on"),
        (((), "bgl@simulated"), {}, "--methods is empty"),
        ((3, "bgl@simulated"), {}, "'int' object is not iterable"),
        (([3], "bgl@simulated"), {}, "3 is no method"),
        (([list], "bgl@simulated"), {}, "is no method"),
        (("ngram", "bgl"), {"data": "gone"}, "the data folder 'gone' does not exist"),
        (("ngram", "bgl@simulated"), {"settings": {"pca.x": 1}}, "--set names 'pca'"),
        (("ngram", "bgl@simulated"), {"settings": {"ngram.x": 1}}, "no setting 'x'"),
        (("ngram", "bgl@simulated"), {"seeds": 0}, "--seeds 0 cannot be read"),
        (("ngram", "bgl@simulated"), {"suite": "smoke"}, "--suite names its own methods"),
        ((None, None), {"suite": "smoke,smoke-real"}, "one suite"),
        (("ngram", "bgl@simulated"), {"threshold": "half"}, "half"),
        (("ngram", "bgl@simulated"), {"jobs": 0}, "--jobs is '0'"),
        (("ngram", "bgl@simulated"), {"llm": "ask"}, "--llm ask is unknown"),
    ],
)
def test_what_a_user_gets_wrong_is_a_sentence(arguments, options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((bench.BenchError, TypeError), match=sentence):
        bench.run(*arguments, **options)
    assert not (tmp_path / "results" / "inbox").exists()


def test_results_that_are_asked_for_what_they_have_not(results, tmp_path):
    for wrong, sentence in (
        (lambda: results.errors("deeplog"), "no table that fits has a row 'deeplog': choose one of pca, ngram"),
        (lambda: results.errors("ngram", seed=7), "no finished run of seed 7: choose one of 0, 1"),
        (lambda: results.compare("deeplog"), "no table has a row 'deeplog'"),
        (lambda: results.compare(metric="size"), "'size' is not compared"),
        (lambda: bench.load_results(tmp_path), "no record in"),
    ):
        with pytest.raises(bench.BenchError, match=sentence):
            wrong()


def test_lines_on_stderr_say_how_far_it_is(folder, capsys, monkeypatch):
    from bench.api import run as module

    monkeypatch.setattr(module, "_QUIET_S", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bench.run("invariants", "bgl", seeds=1, out=folder / "out")
    err = capsys.readouterr().err
    assert err.startswith("using bgl@simulated (simulated)\n")  # a bare name, and no data folder
    assert "1 of 1: bgl@simulated invariants seed 0: ok" in err


FRESH = """
import sys, time
start = time.perf_counter()
import bench
took = time.perf_counter() - start
print(took, sorted(name for name in sys.modules if name.partition(".")[0] in {"numpy", "polars", "typer", "rich"}))
assert bench.Detector.__name__ == "Detector" and "run" in dir(bench)
"""


def test_import_bench_imports_nothing_else_and_takes_no_time():
    runs = [
        subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, cwd=ROOT).stdout
        for _ in range(3)
    ]
    assert all(run.endswith("[]\n") for run in runs)
    assert min(float(run.split()[0]) for run in runs) < 0.2


def test_every_public_name_is_there_and_known_to_type_checkers():
    assert all(getattr(bench, name) is not None for name in bench._HOMES)
    stub = (ROOT / "bench" / "__init__.pyi").read_text()
    assert [name for name in bench._HOMES if f"import {name} as {name}\n" not in stub] == []
    assert stub.count(" as ") == len(bench._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = bench.nope


def test_frames_of_nothing_are_empty(results):
    assert isinstance(bench.Results([], results._store, rule=results.rule).to_polars(), pl.DataFrame)
    with pytest.raises(bench.BenchError, match="no record to draw"):
        bench.Results([], results._store, rule=results.rule).plot()
