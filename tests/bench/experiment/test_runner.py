"""Resume, failures as records, and who sees what: with detectors that write down what they were given."""

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.data.cards.catalogue import Catalogue, catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.errors import BenchError
from bench.evaluation.thresholds import parse_rule
from bench.experiment import runner
from bench.experiment.cell import Settings, _options, fit_again
from bench.experiment.measure import are_scores_of
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.isolation.remote import RemoteDetector
from bench.records.store import Store
from bench.records.upkeep import pack
from bench.records.verify import problems
from bench.registry import FieldInfo
from tests.leftovers import temporary_of_the_dead

PROBES = '''
"""Detectors that write down what they see, and detectors that go wrong in every way."""
import json
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    alpha: float = 1.0
    log: str = field(default="", metadata={"identity": False})
    def __post_init__(self):
        if self.alpha < 0:
            raise ValueError(f"alpha is {self.alpha}: choose a number from 0")

class Probe(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    native_threshold_ = 3.0
    def write(self, **values):
        if self.config.log:
            with Path(self.config.log).open("a") as stream:
                stream.write(json.dumps(values) + "\\n")
    def fit(self, train, labels=None, *, evidence=None):
        self.write(step="fit", name=type(self).__name__, seed=self.seed, device=self.device, n=len(train),
                   lines=train.lines.tolist(), labels=None if labels is None else labels.tolist(),
                   incidents=evidence.incidents if evidence else None)
        self.go()
        return self
    def go(self):
        pass
    def score(self, sequences):
        self.write(step="score", lines=sequences.lines.tolist(), unknown=int((sequences.log_keys < 0).sum()))
        return np.array([float(keys.max()) for keys in np.split(sequences.log_keys, sequences.offsets[1:-1])]) * 1.0

def of(**tags):
    return type("Of", (Probe,), {"tags": DetectorTags(**tags)})

Contaminated = of(told={"source": "unlabelled"})
Supervised = of(told={"source": "labels"})
Unlabelled = of(told={"source": "first-normals"})
Weak = of(told={"source": "unlabelled"}, incidents=True)
Few = of(told={"source": "few"})
Untrained = of(told={}, teacher=True)

class Abstains(Untrained):
    def abstained(self, sequences):
        return sequences.lines[sequences.offsets[:-1]] % 3 == 0

class Numbers(Probe):
    tags = DetectorTags(told={"source": "normals"}, uses=frozenset({"log_keys", "parameters"}))
    def uses(self):
        return self.tags.uses if self.config.alpha > 1 else self.tags.uses - {"parameters"}
    def fit(self, train, labels=None, *, evidence=None):
        self.write(step="numbers", n=None if train.parameters is None else len(train.parameters.values))
        return super().fit(train, labels)
    def score(self, sequences):
        self.write(step="numbers", n=None if sequences.parameters is None else len(sequences.parameters.values))
        return super().score(sequences)

class Lines(Probe):
    tags = DetectorTags(told={"source": "labels"}, unit="line")
    score = Detector.score
    def fit(self, train, labels=None, *, evidence=None):
        self.write(step="lines", labels=evidence.event_labels.tolist(), lines=train.lines.tolist())
        return self
    def score_lines(self, sequences):
        return (sequences.lines % 7) * 1.0

class Broken(Probe):
    def go(self):
        paths = f"{Path.cwd()}/a/b.txt\\n and {Path.home()}/c.txt, {sys.prefix}/lib"
        raise RuntimeError(f"cannot open {paths}; 3/4 | x" + "y" * 5000)
class Memory(Probe):
    def go(self):
        raise MemoryError
class OutOfMemoryError(RuntimeError):
    pass
class Cuda(Probe):
    def go(self):
        raise OutOfMemoryError("CUDA out of memory")
class Slow(Probe):
    def go(self):
        for _ in range(200):
            try:
                time.sleep(0.1)
            except Exception:
                pass
class Skips(Probe):
    def skip(self, train):
        return f"needs more than {len(train)} sequences"
class Exits(Probe):
    def go(self):
        sys.exit(5)
class Interrupted(Probe):
    def go(self):
        raise KeyboardInterrupt
class Flaky(Probe):
    def go(self):
        if not Path(self.config.log + ".repaired").exists():
            raise OSError("not yet")
class Infinite(Probe):
    def score(self, sequences):
        return np.full(len(sequences), np.inf)
class Nan(Probe):
    def score(self, sequences):
        return np.where(np.arange(len(sequences)) == 0, np.nan, 0.0)
class Short(Probe):
    def score(self, sequences):
        return np.zeros(len(sequences) - 1)
class Single(Probe):
    def score(self, sequences):
        return np.zeros(len(sequences), np.float32)
class Plain(Probe):
    def score(self, sequences):
        return [0.0] * len(sequences)
class Monitored(Probe):
    def monitor(self):
        return {"loss": np.array([1.0, np.nan]), "epochs": np.int64(3)}
class BadMonitor(Probe):
    def monitor(self):
        return {"what": object()}
class ListMonitor(Probe):
    def monitor(self):
        return [1.0]
class TextMonitor(Probe):
    def monitor(self):
        return "fine"
class NumberedMonitor(Probe):
    def monitor(self):
        return {1: "loss"}
class ListAbstains(Probe):
    def abstained(self, sequences):
        return [False] * len(sequences)
class NumberAbstains(Probe):
    def abstained(self, sequences):
        return np.zeros(len(sequences))
class NanNative(Probe):
    native_threshold_ = float("nan")
class TextNative(Probe):
    native_threshold_ = "high"
class Picky(Probe):
    @dataclass(frozen=True)
    class Config(Config):
        alpha: float = -1.0
'''


@pytest.fixture(scope="module")
def known() -> Catalogue:
    return dataclasses.replace(catalogue(), data_dir=None)


@pytest.fixture(scope="module")
def prepared_once():
    """What was prepared, by its spec: so that each test does not prepare the same data anew."""
    return {}


@pytest.fixture(autouse=True)
def quick(monkeypatch, prepared_once):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    prepare = Loader.prepare

    def remembered(self, spec):
        if spec not in prepared_once:
            prepared_once[spec] = prepare(self, spec)
        return prepared_once[spec]

    # Cards hold dictionaries, so a spec is recognised by its text.
    monkeypatch.setattr(Loader, "prepare", lambda self, spec: remembered(self, _Key(spec)))


class _Key:
    def __init__(self, spec):
        self.spec = spec

    def __hash__(self):
        return hash(repr(self.spec))

    def __eq__(self, other):
        return repr(self.spec) == repr(other.spec)

    def __getattr__(self, name):
        return getattr(self.spec, name)


@pytest.fixture
def bench(tmp_path, known):
    return Bench(tmp_path, known)


class Bench:
    """A results folder, the probes, and what they wrote."""

    def __init__(self, folder, known):
        self.folder, self.known = folder, known
        self.store = Store(folder / "results")
        self.log = folder / "log.jsonl"
        (folder / "probes.py").write_text(PROBES)

    def cells(self, *names, scenario="bgl", seeds=(0,), split="chronological", settings=(), sample=0):
        paths = [f"{self.folder / 'probes.py'}:{name}" for name in names]
        given = [f"{path.removesuffix('+nearest')}.log={self.log}" for path in paths if not path.endswith(":Picky")]
        given += [f"{self.folder / 'probes.py'}:{text}" for text in settings]
        methods = [m for m in resolve_methods(paths, given, self.folder / "cache") if not m.ref.is_control]
        scenarios = [parse_scenario(scenario, self.known)]
        return plan(scenarios, methods, splits=[split], seeds=seeds, grouping=Grouping(), sample=sample)

    def run(self, cells, settings=None, watch=lambda *seen: None, **options):
        return runner.run(cells, self.store, self.known, settings or Settings(), watch, **options)

    def one(self, name, settings=None, **options):
        return self.run(self.cells(name, **options), settings).records[0]

    def seen(self, step):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [values for values in map(json.loads, lines) if values["step"] == step]


def test_an_ok_record_holds_what_a_table_and_a_reader_need(bench):
    record = bench.one("Probe", seeds=[3])
    assert record["status"] == "ok"
    assert record["reason"] is None
    assert record["method"].startswith("probes.py:Probe")
    assert record["scenario"] == "bgl@simulated"
    assert record["simulated"] == ["bgl@simulated"]
    assert record["tiers"] == {"bgl@simulated": "development"}
    assert record["spec"]["seed"] == 3
    assert set(record["thresholds"]) == {"native", "conformal:0.01", "oracle"}
    assert set(record["seconds"]) == {"prepare", "fit", "score"}
    assert record["memory_mib"]["peak_rss"] > 10
    assert record["environment"]["packages"]["numpy"] == np.__version__
    assert record == bench.store.read(record["run_id"])
    assert [fit["seed"] for fit in bench.seen("fit")] == [3]


def test_no_record_holds_a_path_of_the_machine(bench):
    for name in ("Probe", "Broken"):
        record = bench.one(name)
        del record["detector"]["config"]["log"]
        del record["detector"]["config_passed"]["log"]
        record["method"] = record["method"].partition("[")[0]
        text = json.dumps(record)
        for path in (Path.cwd(), Path.home(), bench.folder):
            assert str(path) not in text


def test_what_is_recorded_is_not_run_again(bench):
    first = bench.run(bench.cells("Probe", "Contaminated"))
    second = bench.run(bench.cells("Probe", "Contaminated"))
    assert (first.n_resumed, second.n_resumed) == (0, 2)
    assert second.records == first.records
    assert len(bench.seen("fit")) == 2


def test_resume_runs_only_what_is_missing_and_says_so_first(bench):
    bench.run(bench.cells("Probe", seeds=[0, 1]))
    told, watched = [], []
    outcome = bench.run(
        bench.cells("Probe", seeds=[0, 1, 2]),
        watch=lambda *seen: watched.append(seen[:2]),
        on_resume=lambda *seen: told.append((*seen, len(watched))),
    )
    assert told == [(2, 3, 0)]
    assert watched == [(0, 1), (1, 1)]
    assert [record["spec"]["seed"] for record in outcome.records] == [0, 1, 2]
    assert [fit["seed"] for fit in bench.seen("fit")] == [0, 1, 2]


def test_two_commands_with_one_store_share_the_work(bench):
    def other(position, _total, _cell, record):
        if position == 0 and record is None:
            bench.run(bench.cells("Probe", seeds=[1]))

    outcome = bench.run(bench.cells("Probe", seeds=[0, 1, 2]), watch=other)
    assert [record["status"] for record in outcome.records] == ["ok"] * 3
    assert sorted(fit["seed"] for fit in bench.seen("fit")) == [0, 1, 2]


def test_a_skipped_cell_is_kept_and_a_failed_one_runs_again(bench):
    assert bench.one("Skips")["status"] == "skipped"
    assert bench.run(bench.cells("Skips")).n_resumed == 1
    assert bench.one("Flaky")["status"] == "error"
    Path(f"{bench.log}.repaired").write_text("")
    outcome = bench.run(bench.cells("Flaky"))
    assert (outcome.n_resumed, outcome.n_failed) == (0, 0)
    assert outcome.records[0]["status"] == "ok"
    assert len(bench.seen("fit")) == 2


def test_the_same_cell_twice_runs_once(bench):
    outcome = bench.run([*bench.cells("Probe"), *bench.cells("Probe")])
    assert len(outcome.records) == len(bench.seen("fit")) == 1


def test_an_error_is_a_record_with_a_reason_in_one_line(bench):
    record = bench.one("Broken")
    assert record["status"] == "error"
    assert record["reason"].startswith("RuntimeError: cannot open b.txt and c.txt, lib; 3/4 | x")
    assert "\n" not in record["reason"]
    assert len(record["reason"]) < 600
    assert any("probes.py" in frame and frame.endswith(" go") for frame in record["traceback"])
    assert not any("/" in frame for frame in record["traceback"])
    assert "metrics" not in record
    assert bench.store.read_scores(record["run_id"]) is None


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("Memory", "out_of_memory", "memory did not suffice"),
        ("Cuda", "out_of_memory", "CUDA out of memory"),
        ("Skips", "skipped", "needs more than"),
        ("Few", "error", "gives source as 'few', but Config has no number between 0 and 1 `source_share`"),
        ("Exits", "error", "SystemExit: 5"),
        ("Infinite", "error", "scores that are not finite"),
        ("Nan", "error", "1 scores that are not finite"),
        ("Short", "error", r"the contract says float64 \("),
        ("Single", "error", "returned float32"),
        ("Plain", "error", "returned list"),
        ("BadMonitor", "error", "object cannot be kept in a record"),
        ("Weak", "skipped", "it learns from incidents, and none is known"),
    ],
)
def test_each_way_to_fail_has_its_status_and_reason(bench, name, status, reason):
    record = bench.one(name)
    assert record["status"] == status
    assert re.search(reason, record["reason"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ListMonitor", "monitor() returned list, the contract says a mapping"),
        ("TextMonitor", "monitor() returned str, the contract says a mapping"),
        ("NumberedMonitor", "monitor() returned the key 1, the contract says that keys are texts"),
        ("ListAbstains", "abstained() returned list, the contract says bool (n,) or None"),
        ("NumberAbstains", "abstained() returned float64 (n,), the contract says bool (n,) or None"),
        ("NanNative", "native_threshold_ is NaN, the contract says a number or None"),
        ("TextNative", "native_threshold_ is str, the contract says a number or None"),
    ],
)
def test_what_a_method_says_of_itself_is_as_the_contract_says_or_its_own_error(bench, name, reason):
    record = bench.one(name)
    assert record["status"] == "error"
    assert re.sub(r"\(\d+,\)", "(n,)", record["reason"]) == f"TypeError: {reason}"


def test_a_timeout_ends_the_cell_even_where_the_detector_catches_everything(bench):
    record = bench.one("Slow", Settings(timeout_s=0.3))
    assert record["status"] == "timeout"
    assert record["reason"] == "took longer than 0.3 s"


def test_a_timeout_leaves_quick_cells_alone(bench):
    assert bench.one("Probe", Settings(timeout_s=30))["status"] == "ok"


def test_one_bad_method_does_not_stop_the_others(bench):
    outcome = bench.run(bench.cells("Broken", "Probe", "Exits", "Short", "Contaminated"))
    assert [r["status"] for r in outcome.records] == ["error", "ok", "error", "error", "ok"]
    assert outcome.n_failed == 3


def test_a_class_that_cannot_be_imported_fails_in_its_own_row(bench):
    cells = bench.cells("Probe")
    broken = cells[0].method.ref
    folder = bench.folder / "broken"
    folder.mkdir()
    (folder / "broken.py").write_text("raise ImportError(\"no module named 'x'\")")
    ref = dataclasses.replace(broken, name="broken.py:Broken", target=f"{folder / 'broken.py'}:Broken")
    method = dataclasses.replace(cells[0].method, ref=ref)
    records = bench.run([dataclasses.replace(cells[0], method=method), *cells]).records
    assert [record["status"] for record in records] == ["error", "ok"]
    assert records[0]["reason"] == "ImportError: no module named 'x'"


def test_a_config_that_refuses_a_given_value_stops_before_anything_runs(bench):
    cells = bench.cells("Probe", "Contaminated", settings=["Contaminated.alpha=-2"])
    with pytest.raises(BenchError, match=r"alpha is -2\.0: choose a number from 0"):
        bench.run(cells)
    assert list(bench.store.records()) == []
    assert bench.seen("fit") == []


def test_a_config_that_refuses_its_own_defaults_fails_in_its_own_row(bench):
    records = bench.run(bench.cells("Picky", "Probe")).records
    assert [record["status"] for record in records] == ["error", "ok"]
    assert records[0]["reason"] == "ValueError: alpha is -1.0: choose a number from 0"


def test_nothing_is_written_for_the_interrupted_cell_and_the_finished_are_kept(bench):
    def interrupt(done, _total, _cell, record):
        if done == 1 and record is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.cells("Probe", "Slow", "Broken"), watch=interrupt)
    assert [record["status"] for record in bench.store.records()] == ["ok"]


def test_an_interrupt_that_a_method_raises_is_its_own_error(bench):
    records = bench.run(bench.cells("Interrupted", "Probe")).records
    assert [record["status"] for record in records] == ["error", "ok"]
    assert records[0]["reason"].startswith("KeyboardInterrupt")


def views(bench, name):
    """What fit was given, beside what the loader prepared."""
    cell = bench.cells(name)[0]
    data = Loader(bench.known).prepare(cell.data)
    assert bench.run([cell]).records[0]["status"] == "ok"
    (fit,) = bench.seen("fit")
    return fit, data


def test_a_method_that_is_told_nothing_sees_nothing(bench):
    fit, _ = views(bench, "Untrained")
    assert fit["labels"] is None
    assert fit["lines"] == []


def test_normal_only_sees_only_normals_and_no_labels(bench):
    fit, data = views(bench, "Probe")
    assert fit["labels"] is None
    assert fit["lines"] == data.train.normals.lines.tolist()
    assert 0 < fit["n"] < len(data.train.labels)


def test_contaminated_sees_all_without_labels(bench):
    fit, data = views(bench, "Contaminated")
    assert fit["labels"] is None
    assert fit["lines"] == data.train.sequences.lines.tolist()


def test_supervised_sees_all_with_labels(bench):
    fit, data = views(bench, "Supervised")
    assert fit["labels"] == data.train.labels.tolist()
    assert set(fit["labels"]) == {0, 1}


def test_positive_unlabelled_never_sees_an_abnormal_label(bench):
    fit, data = views(bench, "Unlabelled")
    truth, told = np.array(data.train.labels), np.array(fit["labels"])
    assert set(told) == {0, -1}
    assert set(truth[told == 0]) == {0}
    # The first half of the normals is known; the pool holds the others, so that it gives no label away.
    normals = np.flatnonzero(truth == 0)
    assert np.flatnonzero(told == 0).tolist() == normals[: -(-len(normals) // 2)].tolist()
    assert set(truth[told == -1]) == {0, 1}


@pytest.mark.parametrize("split", ["chronological", "paper"])
def test_no_test_or_validation_sequence_reaches_fit(bench, split):
    # Under `paper` training has no abnormal sequence, so methods that need some are skipped.
    cell = bench.cells("Supervised" if split == "chronological" else "Contaminated", split=split)[0]
    data = Loader(bench.known).prepare(cell.data)
    bench.run([cell])
    (fit,) = bench.seen("fit")
    later = set(data.test.sequences.lines.tolist()) | set(data.validation.sequences.lines.tolist())
    assert len(later) > 100
    assert not later & set(fit["lines"])
    assert fit["n"] == len(data.train.labels)


def test_a_transfer_fits_on_the_source_alone_and_scores_the_target(bench):
    record = bench.one("Probe", scenario="bgl2tbird")
    assert record["status"] == "ok"
    assert record["systems"] == ["bgl@simulated", "tbird@simulated"]
    assert "conformal:0.01@target-normals" in record["thresholds"]
    (fit,) = bench.seen("fit")
    assert fit["n"] == record["counts"]["n_train"] - record["counts"]["n_train_abnormal"]
    scores = bench.store.read_scores(record["run_id"])
    assert scores is not None
    assert set(scores["test_system"].tolist()) == {1}
    assert len(scores["target_validation"]) > 0


def test_a_combined_run_has_a_block_for_each_system(bench):
    record = bench.one("Probe", scenario="bgl+tbird")
    assert set(record["metrics"]) == {"all", "bgl@simulated", "tbird@simulated"}
    parts = [record["metrics"][name]["n"] for name in ("bgl@simulated", "tbird@simulated")]
    assert sum(parts) == record["metrics"]["all"]["n"] == record["counts"]["n_test"]


def test_nearest_maps_unknown_texts_to_templates_of_training_before_scoring(bench, monkeypatch):
    asked = []

    def to_the_first(self, sequences, templates, min_cosine):
        asked.append((templates, min_cosine))
        return sequences.with_log_keys(np.maximum(sequences.log_keys, 0))

    monkeypatch.setattr(RemoteDetector, "nearest_keys", to_the_first)
    plain, nearest = bench.run(bench.cells("Probe", "Probe+nearest")).records
    assert plain["run_id"] != nearest["run_id"]
    assert nearest["method"].startswith("probes.py:Probe+nearest")
    assert [score["unknown"] > 0 for score in bench.seen("score")] == [True, True, False, False]
    assert {len(templates) for templates, _ in asked} == {plain["counts"]["n_log_keys"]}
    assert {min_cosine for _, min_cosine in asked} == {nearest["spec"]["detector"]["variant"]["min_cosine"]} == {0.8}


def test_a_variant_reuses_the_detector_that_was_fitted_just_before(bench):
    plain, nearest = bench.run(bench.cells("Probe", "Probe+nearest")).records
    assert len(bench.seen("fit")) == 1
    assert plain["seconds"]["fit"] == nearest["seconds"]["fit"]


def test_nothing_else_reuses_a_fitted_detector(bench):
    bench.run(bench.cells("Probe", seeds=(0, 1)))
    assert [fit["seed"] for fit in bench.seen("fit")] == [0, 1]
    bench.run(bench.cells("Probe", seeds=(0,), split="paper"))
    assert len(bench.seen("fit")) == 3
    bench.run(bench.cells("Probe", settings=["Probe.alpha=2,3"]))
    assert len(bench.seen("fit")) == 5


def test_a_variant_of_a_failed_fit_tries_again_and_fails_by_itself(bench):
    records = bench.run(bench.cells("Broken", "Broken+nearest")).records
    assert [record["status"] for record in records] == ["error", "error"]
    assert len(bench.seen("fit")) == 2


def test_a_rule_added_from_stored_scores_equals_that_of_a_fresh_run(bench, tmp_path, known):
    extra = Settings(extra_rules=(parse_rule("quantile:0.9"), parse_rule("fixed:2.5")))
    bench.one("Probe")
    later = bench.run(bench.cells("Probe"), extra)
    assert later.n_resumed == 1
    assert len(bench.seen("fit")) == 1
    (tmp_path / "fresh").mkdir()
    at_once = Bench(tmp_path / "fresh", known).one("Probe", extra)
    assert at_once["run_id"] == later.records[0]["run_id"]
    for part in ("thresholds", "metrics"):
        assert later.records[0][part] == at_once[part]
    assert "quantile:0.9" in at_once["metrics"]["all"]["rules"]
    assert bench.store.read(at_once["run_id"]) == later.records[0]


def test_without_stored_scores_a_new_rule_runs_the_cell_again(bench):
    record = bench.one("Probe")
    (bench.store.root / "scores" / f"{record['run_id']}.npz").unlink()
    assert bench.run(bench.cells("Probe")).n_resumed == 1
    outcome = bench.run(bench.cells("Probe"), Settings(extra_rules=(parse_rule("quantile:0.9"),)))
    assert outcome.n_resumed == 0
    assert "quantile:0.9" in outcome.records[0]["thresholds"]
    assert len(bench.seen("fit")) == 2


ADDED = Settings(extra_rules=(parse_rule("fixed:2.5"),))


@pytest.mark.parametrize("digest", ["known", "unknown"])
def test_a_rule_is_not_added_from_scores_that_are_not_the_records(bench, digest):
    record = bench.one("Probe")
    path = bench.store.scores / f"{record['run_id']}.npz"
    if digest == "unknown":  # as of records before schema version 2
        del record["scores_sha256"]
        record = bench.store.write(record)
    with np.load(path) as arrays:
        others = dict(arrays)
    others["test"] = -others["test"]
    np.savez_compressed(path, **others)
    added = bench.one("Probe", ADDED)
    assert len(bench.seen("fit")) == 2
    assert added["metrics"]["all"]["ranking"] == record["metrics"]["all"]["ranking"]
    assert "fixed:2.5" in added["thresholds"]
    assert not np.array_equal(bench.store.read_scores(record["run_id"])["test"], others["test"])


@pytest.mark.parametrize("digest", ["known", "unknown"])
def test_a_rule_is_added_from_the_scores_of_the_record_and_packing_changes_nothing(bench, digest):
    record = bench.one("Probe")
    if digest == "unknown":
        del record["scores_sha256"]
        bench.store.write(record)
    pack(bench.store)
    added = bench.one("Probe", ADDED)
    assert len(bench.seen("fit")) == 1
    assert "fixed:2.5" in added["thresholds"]
    assert added["metrics"]["all"]["ranking"] == record["metrics"]["all"]["ranking"]
    assert added.get("scores_sha256") == record.get("scores_sha256")
    assert list(problems(bench.store, are_scores_of)) == []


def test_scores_say_which_sequences_they_are_of(bench):
    (cell,) = bench.cells("Probe", scenario="hdfs")
    record = bench.run([cell]).records[0]
    scores = bench.store.read_scores(record["run_id"])
    test = Loader(bench.known).prepare(cell.data).test.sequences
    assert [name.decode() for name in scores["test_sequence"].tolist()] == list(test.ids)
    assert scores["test_first_line"].tolist() == test.lines[test.offsets[:-1]].tolist()
    assert scores["test_last_line"].tolist() == test.lines[test.offsets[1:] - 1].tolist()
    np.testing.assert_array_equal(scores["test_start_time"], test.start_time)
    assert len(scores["test_system"]) == len(scores["test"]) == record["counts"]["n_test"]


OWN = Settings(extra_rules=(parse_rule("quantile:0.9@own-system"),))


def test_bounds_of_each_system_are_added_from_stored_scores(bench):
    cells = bench.cells("Probe", scenario="bgl+tbird")
    bench.run(cells)
    outcome = bench.run(cells, OWN)
    assert (outcome.n_resumed, len(bench.seen("fit"))) == (1, 1)
    own = outcome.records[0]["thresholds"]["quantile:0.9@own-system"]["systems"]
    scores = bench.store.read_scores(outcome.records[0]["run_id"])
    assert scores is not None
    for index, name in enumerate(("bgl@simulated", "tbird@simulated")):
        normals = scores["validation"][(scores["validation_system"] == index) & (scores["validation_labels"] == 0)]
        assert own[name] == {
            "value": pytest.approx(np.quantile(normals, 0.9)),
            "n": len(normals),
            "fitted_on": "validation normals",
            "reason": None,
        }


def test_scores_that_do_not_tell_the_systems_apart_are_made_again(bench):
    cells = bench.cells("Probe", scenario="bgl+tbird")
    path = bench.store.root / "scores" / f"{bench.run(cells).records[0]['run_id']}.npz"
    with np.load(path) as arrays:
        kept = {name: array for name, array in arrays.items() if name != "validation_system"}
    np.savez(path, **kept)
    assert bench.run(cells, OWN).n_resumed == 0
    assert len(bench.seen("fit")) == 2


def test_one_system_needs_no_bound_of_its_own(bench):
    cells = bench.cells("Probe")
    record = bench.run(cells).records[0]
    (bench.store.root / "scores" / f"{record['run_id']}.npz").unlink()
    outcome = bench.run(cells, OWN)
    assert (outcome.n_resumed, outcome.records) == (1, [record])


def test_a_fit_made_again_sees_what_its_run_saw(bench, known):
    (cell,) = bench.cells("Probe", seeds=[3])
    bench.run([cell])
    detector, _ = fit_again(cell, Loader(known).prepare(cell.data), Settings())
    first, second = bench.seen("fit")
    assert first == second
    assert detector.seed == 3


def test_message_parameters_reach_only_those_whose_config_uses_them(bench, known):
    cells = bench.cells("Probe", "Numbers", settings=["Numbers.alpha=1.0,2.0"])
    bench.run(cells)
    without, asked = bench.seen("numbers")[:3], bench.seen("numbers")[3:]
    assert [row["n"] for row in without] == [None] * 3
    data = Loader(known).prepare(cells[0].data)
    expected = [data.with_parameters.train.normals, *(p.sequences for p in (data.validation, data.test))]
    n_wildcards = [sum(s.texts[i].count("<*>") for i in s.text_ids) for s in expected]
    assert [row["n"] for row in asked] == n_wildcards
    assert data.train.sequences.parameters is None


def test_what_a_detector_watched_is_kept(bench):
    assert bench.one("Monitored")["monitor"] == {"loss": [1.0, None], "epochs": 3}


def test_the_same_run_elsewhere_gives_the_same_numbers(bench, tmp_path, known):
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other", known)
    cells = bench.cells("Probe", seeds=[1]), other.cells("Probe", seeds=[1])
    first = bench.run(cells[0], Settings(threads=1)).records[0]
    second = other.run(cells[1], Settings(threads=2)).records[0]
    assert first["run_id"] == second["run_id"]
    assert first["metrics"] == second["metrics"]


def test_leftovers_of_a_killed_run_go(bench):
    bench.one("Probe")
    leftover = temporary_of_the_dead(bench.store.root / "inbox" / "aa.json")
    bench.one("Probe")
    assert not leftover.exists()


def test_a_damaged_record_stops_before_anything_runs(bench):
    record = bench.one("Probe")
    (bench.store.root / "inbox" / f"{record['run_id']}.json").write_text("{")
    with pytest.raises(BenchError, match="is damaged"):
        bench.run(bench.cells("Contaminated", "Probe"))
    assert [fit["name"] for fit in bench.seen("fit")] == ["Probe"]


def test_precision_reaches_only_configs_that_take_it():
    outside = {"precision": FieldInfo("str", "float32", identity=False), "compile": FieldInfo("bool", False)}
    method = SimpleNamespace(description=SimpleNamespace(fields=outside), passed={})
    settings = Settings(precision="bf16", compile=True)
    # A `compile` that belongs to a method's identity is its own business.
    assert _options(method, settings) == {"precision": "bf16"}
    method.passed = {"precision": "float32"}
    assert _options(method, settings) == {}


# ---------------------------------------------------------------------------------------------------------- samples


def test_a_sample_is_a_run_of_its_own_and_a_whole_run_is_what_it_was(bench):
    (whole,), (sampled,) = bench.cells("Probe"), bench.cells("Probe", sample=20)
    assert "sample" not in whole.spec()
    assert sampled.spec() == whole.spec() | {"sample": 20}
    assert sampled.run_id != whole.run_id


def test_all_methods_score_the_same_sample_and_metrics_speak_of_the_whole_part(bench):
    records = bench.run(bench.cells("Probe", "Contaminated", sample=20, seeds=[0, 1])).records
    whole = bench.one("Probe")
    stored = {(r["method"].partition("[")[0], r["spec"]["seed"]): bench.store.read_scores(r["run_id"]) for r in records}
    drawn = {key: arrays["test_index"].tolist() for key, arrays in stored.items()}
    (a, b) = sorted({name for name, _ in drawn})
    assert drawn[a, 0] == drawn[b, 0] != drawn[a, 1] == drawn[b, 1]
    every = bench.store.read_scores(whole["run_id"])
    for record in records:
        assert record["sample"]["drawn"] == 20
        assert record["sample"]["of"] == record["counts"]["n_test"] == len(every["test"])
        ranking = record["metrics"]["all"]["ranking"]
        assert ranking["prevalence"] == pytest.approx(whole["metrics"]["all"]["ranking"]["prevalence"])
    sample = stored["probes.py:Probe", 0]
    assert sample["test"].tolist() == every["test"][sample["test_index"]].tolist()
    assert np.array_equal(sample["validation"], every["validation"])


def test_a_rule_added_to_a_sampled_record_is_weighted_too(bench):
    bench.one("Probe", sample=20)
    added = bench.one("Probe", Settings(extra_rules=(parse_rule("fixed:-1"),)), sample=20)
    rule = added["metrics"]["all"]["rules"]["fixed:-1"]
    assert rule["precision"] == pytest.approx(added["metrics"]["all"]["ranking"]["prevalence"])
    assert rule["tp"] + rule["fp"] == pytest.approx(added["counts"]["n_test"])
    assert len(bench.seen("fit")) == 1


def test_a_sampled_run_asks_a_training_free_method_about_no_validation_sequence(bench):
    record = bench.one("Untrained", sample=20)
    assert [len(step["lines"]) for step in bench.seen("score")] == [20 * 20]
    assert record["validation"]["n"] == 0
    assert record["thresholds"]["conformal:0.01"]["value"] is None
    assert record["thresholds"]["native"]["value"] == 3.0
    assert bench.one("Untrained")["validation"]["n"] == record["counts"]["n_validation"]


def test_a_sample_that_cannot_hold_each_system_and_label_stops_before_anything_runs(bench):
    with pytest.raises(BenchError, match="give --sample at least 4"):
        bench.cells("Probe", scenario="bgl+tbird", sample=3)


@pytest.mark.parametrize("sample", [0, 20])
def test_what_a_detector_declines_to_judge_is_left_out_and_counted(bench, sample):
    record, other = bench.one("Abstains", sample=sample), bench.one("Untrained", sample=sample)
    scores = bench.store.read_scores(record["run_id"])
    out = scores["test_weights"] == 0
    assert record["excluded"] == {
        "n": int(out.sum()),
        "n_abnormal": int((out & (scores["test_labels"] == 1)).sum()),
        "of": len(out),
    }
    assert 0 < record["excluded"]["n"] < len(out)
    assert np.isfinite(scores["test"]).all()
    counts = record["metrics"]["all"]["rules"]["native"]
    weights = bench.store.read_scores(other["run_id"]).get("test_weights", np.ones(len(out)))
    assert sum(counts[k] for k in ("tp", "fp", "fn", "tn")) == pytest.approx(weights[~out].sum())
    assert record["validation"]["n"] < other["validation"]["n"] or sample
    assert "excluded" not in other


def test_a_line_method_scores_sequences_by_their_highest_line_and_has_a_block_of_lines(bench, known):
    (cell,) = bench.cells("Lines")
    (record,) = bench.run([cell]).records
    assert record["status"] == "ok", record["reason"]
    data = Loader(known).prepare(cell.data)
    scores, test = bench.store.read_scores(record["run_id"]), data.test.sequences
    parts = np.split(test.lines % 7, test.offsets[1:-1])
    assert scores["test"].tolist() == [part.max() for part in parts]
    truth = data.sources[0].log.labels
    lines = np.unique(test.lines)
    assert scores["test_lines"].tolist() == (lines % 7).tolist()
    assert scores["test_lines_labels"].tolist() == truth[lines].tolist()
    block = record["metrics"]["lines"]
    assert (block["n"], block["n_abnormal"]) == (len(lines), int((truth[lines] == 1).sum()))
    assert "lines" not in bench.one("Probe")["metrics"]


def test_a_line_method_that_is_told_labels_gets_those_of_the_lines(bench, known):
    (cell,) = bench.cells("Lines")
    bench.run([cell])
    (seen,) = bench.seen("lines")
    truth = Loader(known).prepare(cell.data).sources[0].log.labels
    assert seen["labels"] == truth[seen["lines"]].tolist()
