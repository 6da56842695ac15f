"""Normal sequences of the target's training period: who gets them, which they are, and where such rows stand."""

import json

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.errors import BenchError
from bench.experiment import runner
from bench.experiment.cell import Settings
from bench.experiment.grades import group_of
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.records.store import Store
from bench.reporting.tables.notes import table_notes
from bench.reporting.tables.rows import shown_rule
from bench.reporting.tables.table import make_tables, render
from bench.types import ABNORMAL, NORMAL, UNKNOWN_KEY
from tests.lent_vectors import lend_vectors

PROBES = '''
"""Detectors that write down what they are given."""
import json
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from bench.detector import Detector, DetectorTags, ExternalFile

@dataclass(frozen=True)
class Config:
    target_normals: int = 5
    log: str = field(default="", metadata={"identity": False})

class Plain(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        seen = {"lines": train.lines.tolist(), "system": train.system.tolist(), "keys": train.log_keys.tolist(),
                "texts": [train.texts[i] for i in train.text_ids],
                "labels": None if labels is None else labels.tolist()}
        if self.config.log:
            Path(self.config.log).write_text(json.dumps(seen))
        return self
    def score(self, sequences):
        return sequences.lengths + 0.0

class Wants(Plain):
    tags = DetectorTags(told={"source": "normals", "target": "first-normals"})

class Both(Wants):
    def skip(self, train):
        return None if len(np.unique(train.system)) > 1 else "one system"

@dataclass(frozen=True)
class Empty:
    pass

class Mute(Wants):
    Config = Empty

class Told(Wants):
    tags = DetectorTags(told={"source": "labels", "target": "first-normals"})

class Helped(Plain):
    tags = DetectorTags(told={"source": "normals", "auxiliary": "labels"})

class Weights(Plain):
    tags = DetectorTags(files=(ExternalFile("weights.bin", "https://example.org", "0" * 64, 7, "MIT"),))

class Failures(Plain):
    tags = DetectorTags(told={"source": "unlabelled"}, incidents=True)
    native_threshold_ = 3.0
    def monitor(self):
        return {"inside_share": 0.125}
    def fit(self, train, labels=None, *, evidence=None):
        Path(self.config.log).write_text(json.dumps({"incidents": evidence.incidents}))
        return self

class Raw(Plain):
    tags = DetectorTags(told={"source": "normals", "target": "first-normals"}, uses=frozenset({"raw"}))
    def fit(self, train, labels=None, *, evidence=None):
        seen = {"raw": [train.raw[i] for i in range(train.n_events)], "lines": train.lines.tolist()}
        Path(self.config.log).write_text(json.dumps(seen | {"n": np.bincount(train.system).tolist()}))
        return self
    def score(self, sequences):
        return np.array([len(sequences.raw[i]) for i in sequences.offsets[:-1]]) + 0.0

class Unlabelled(Plain):
    tags = DetectorTags(told={"source": "first-normals"})
'''
SIZE = 4
RULE = "conformal:0.01"


def write_system(folder, name, words, first_abnormal):
    """2,000 lines in windows of 4; every seventh window is abnormal, from the given one on."""
    rng = np.random.default_rng(len(name))
    lines = []
    for window in range(500):
        abnormal = window >= first_abnormal and window % 7 == 0
        for i in range(SIZE):
            bad = abnormal and i == 2
            word, end = words[int(rng.integers(3))], "broke" if bad else "done"
            lines.append(f"{'BAD' if bad else '-'} {1000 + 4 * window + i} {word} {end} now\n")
    (folder / name).mkdir(parents=True)
    (folder / name / "a.log").write_text("".join(lines))
    (folder / name / "_system.toml").write_text(
        'title = "x"\nlicence = "x"\ncitation = "x"\nkind = "lines"\ntier = "smoke"\nrank = 10\n'
        '[format]\nlabel = "first-token"\ntime = "epoch"\nheader = "^(?P<time>[0-9]+) (?P<message>.*)$"\n'
    )
    (folder / name / "full.toml").write_text(f'[[files]]\nname = "{name}/a.log"\nsha256 = "unpublished"\n')


class Bench:
    def __init__(self, folder):
        self.folder, self.log = folder, folder / "seen.json"
        data = folder / "data"
        write_system(data, "sun", ("sunny ray", "sunny spot", "sunny wind"), first_abnormal=0)
        write_system(data, "moon", ("moon rise", "moon set", "moon dust"), first_abnormal=0)
        write_system(data, "star", ("star light", "star trek", "star dust"), first_abnormal=450)
        (folder / "probes.py").write_text(PROBES)
        self.known = catalogue(data)
        self.store = Store(folder / "results")

    def path(self, name):
        return f"{self.folder / 'probes.py'}:{name}"

    def cells(self, name, scenario="sun2moon", split="chronological", auxiliary=(), incidents=(), **settings):
        given = {"log": self.log} if name != "Mute" else {}
        given = [f"{self.path(name)}.{key}={value}" for key, value in (given | settings).items()]
        methods = resolve_methods([self.path(name)], given, self.folder / "cache")
        methods = [method for method in methods if not method.ref.is_control]
        found = parse_scenario(scenario, self.known).with_auxiliary(auxiliary, self.known)
        grouping = Grouping(SIZE, SIZE)
        return plan([found], methods, splits=[split], seeds=[0], grouping=grouping, incidents=incidents)

    def run(self, name, **options):
        return runner.run(self.cells(name, **options), self.store, self.known, Settings(), lambda *seen: None).records[
            0
        ]

    def prepared(self, name="Wants", **options):
        return Loader(self.known).prepare(self.cells(name, **options)[0].data)

    @property
    def seen(self):
        return json.loads(self.log.read_text())


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BENCH_DATA", raising=False)
        patch.setenv("BENCH_CACHE", str(lend_vectors(tmp_path_factory.mktemp("cache"))))
        yield Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def bench(shared, tmp_path):
    shared.log.unlink(missing_ok=True)
    shared.store = Store(tmp_path / "results")
    return shared


def lines_of(part):
    return set(part.sequences.lines.tolist())


@pytest.mark.parametrize("split", ["chronological", "paper"])
def test_it_gets_the_first_normals_of_the_targets_training_part_and_nothing_else_of_it(bench, split):
    record = bench.run("Wants", split=split)
    assert record["status"] == "ok"
    assert record["counts"]["n_target_normals"] == 5
    data, system = bench.prepared(split=split), np.array(bench.seen["system"])
    assert system.tolist() == [0] * len(data.train.normals) + [1] * 5
    lines = np.reshape(bench.seen["lines"], (-1, SIZE))
    assert lines[system == 0].ravel().tolist() == data.train.normals.lines.tolist()
    (target,) = data.targets
    labels, last = target.groups.labels, target.groups.last_lines
    normal = [i for i in target.split.train if labels[i] == NORMAL]
    assert lines[system == 1, -1].tolist() == sorted(last[normal].tolist())[:5]
    assert bench.seen["labels"] is None


@pytest.mark.parametrize("split", ["chronological", "paper"])
def test_none_of_them_is_in_a_later_part(bench, split):
    bench.run("Wants", split=split, target_normals=100_000)
    data = bench.prepared(split=split)
    given = set(np.array(bench.seen["lines"])[np.repeat(bench.seen["system"], SIZE) == 1].tolist())
    later = lines_of(data.test) | lines_of(data.target_validation)
    assert len(given) > 100
    assert len(later) > 100
    assert not given & later


def test_abnormal_sequences_of_the_target_are_left_out(bench):
    record = bench.run("Wants", target_normals=100_000)
    (target,) = bench.prepared().targets
    labels = target.groups.labels[target.split.train]
    assert (labels == ABNORMAL).any()
    assert record["counts"]["n_target_normals"] == (labels == NORMAL).sum()


def test_the_vocabulary_stays_that_of_the_source(bench):
    bench.run("Wants")
    wants, data = bench.seen, bench.prepared()
    bench.run("Plain")
    plain = bench.seen
    n = len(plain["keys"])
    assert wants["keys"][:n] == plain["keys"]
    assert wants["texts"][:n] == plain["texts"]
    assert set(wants["keys"][n:]) == {UNKNOWN_KEY}
    assert {text.split()[0] for text in wants["texts"][n:]} == {"moon"}
    assert not any("moon" in text for text in data.vocabulary.texts)


def test_what_is_measured_on_does_not_depend_on_them(bench):
    few, many = bench.run("Wants"), bench.run("Wants", target_normals=50)
    assert few["metrics"] == many["metrics"]
    scores = [bench.store.read_scores(record["run_id"]) for record in (few, many)]
    assert all(np.array_equal(scores[0][name], scores[1][name]) for name in scores[0])


def test_others_get_none(bench):
    record = bench.run("Plain")
    assert set(bench.seen["system"]) == {0}
    assert record["detector"]["told"] == {"source": "normals"}
    assert "n_target_normals" not in record["counts"]


@pytest.mark.parametrize("scenario", ["sun", "sun+moon"])
def test_where_nothing_is_transferred_there_is_no_target(bench, scenario):
    record = bench.run("Wants", scenario=scenario)
    assert record["detector"]["told"] == {"source": "normals"}
    assert "n_target_normals" not in record["counts"]
    assert len(bench.seen["system"]) == record["counts"]["n_train"] - record["counts"]["n_train_abnormal"]


def test_of_several_targets_each_gives_as_many(bench):
    record = bench.run("Wants", scenario="sun2moon+star")
    assert record["counts"]["n_target_normals"] == 10
    assert np.bincount(bench.seen["system"])[1:].tolist() == [5, 5]


def test_fewer_than_asked_for_are_told(bench):
    record = bench.run("Wants", target_normals=100_000)
    (table,) = make_tables([record])
    n = record["counts"]["n_target_normals"]
    note = f"{n} normal sequences of the target in training, which has no more"
    assert note in render(table, RULE)
    (table,) = make_tables([bench.run("Wants")])
    assert "has no more" not in render(table, RULE)


def test_rows_that_are_told_different_things_stand_apart(bench):
    records = [bench.run("Plain"), bench.run("Wants"), bench.run("Wants", target_normals=9)]
    groups = [f"source normals{more}" for more in ("", " + target first 5 normals", " + target first 9 normals")]
    assert [group_of(record) for record in records] == groups
    (table,) = make_tables(records)
    text = render(table, RULE)
    assert [line.split("|")[1].strip() for line in text.splitlines() if "| source normals" in line] == groups
    other = render(table, f"{RULE}@target-normals")
    headers = [line.split("|")[1].strip() for line in other.splitlines() if "| source normals" in line]
    assert headers == [f"{group} + threshold from target normals" for group in groups]


def test_none_wanted_is_the_sources_normals_alone(bench):
    record = bench.run("Wants", target_normals=0)
    assert record["detector"]["told"] == {"source": "normals"}
    assert set(bench.seen["system"]) == {0}


def test_skip_sees_them_too(bench):
    assert bench.run("Both")["status"] == "ok"
    record = bench.run("Both", target_normals=0)
    assert (record["status"], record["reason"]) == ("skipped", "one system")


def test_their_number_is_part_of_the_identity_of_a_transfer_alone(bench):
    def run_id(**options):
        return bench.cells("Wants", **options)[0].run_id

    assert run_id() != run_id(target_normals=6)
    for scenario in ("sun", "sun+moon"):
        assert run_id(scenario=scenario) == run_id(scenario=scenario, target_normals=6)
        spec = bench.cells("Wants", scenario=scenario)[0].spec()
        assert spec["detector"]["config"] == {}
    # A setting of that name means nothing special where the tags do not say so.
    assert bench.cells("Plain")[0].spec()["detector"]["config"] == {"target_normals": 5}


def test_a_method_that_wants_them_without_saying_how_many_is_refused(bench):
    record = bench.run("Mute")
    assert record["status"] == "error"
    assert "Config has no whole number `target_normals`" in record["reason"]
    assert group_of(record) == "source unknown"


def test_a_method_of_labels_can_have_them_too(bench):
    record = bench.run("Told")
    system, labels = np.array(bench.seen["system"]), np.array(bench.seen["labels"])
    assert group_of(record) == "source labels + target first 5 normals"
    assert set(labels[system == 0]) == {NORMAL, ABNORMAL}
    assert labels[system == 1].tolist() == [NORMAL] * 5


def test_positive_unlabelled_needs_something_to_find(bench):
    record = bench.run("Unlabelled", split="paper")
    assert record["counts"]["n_train_abnormal"] == 0
    assert record["status"] == "skipped"
    assert record["reason"].endswith("use blind")
    assert bench.run("Unlabelled", split="chronological")["status"] == "ok"
    assert set(bench.seen["labels"]) == {-1, 0}


def test_an_auxiliary_is_told_by_its_role_and_never_tested(bench):
    record = bench.run("Helped", scenario="sun", auxiliary=["moon"])
    assert record["status"] == "ok", record["reason"]
    assert group_of(record) == "source normals + auxiliary labels of moon@full"
    system, labels = np.array(bench.seen["system"]), np.array(bench.seen["labels"])
    assert set(labels[system == 0]) == {NORMAL}
    assert set(labels[system == 1]) == {NORMAL, ABNORMAL}
    assert set(bench.store.read_scores(record["run_id"])["test_system"]) == {0}
    lines = np.reshape(bench.seen["lines"], (-1, SIZE))[system == 1]
    assert lines.max() < 0.6 * 2_000
    (table,) = make_tables([record, bench.run("Plain", scenario="sun")])
    assert "moon" not in render(table, RULE).split("- sequences")[0]


def test_an_auxiliary_is_part_of_the_identity_only_where_it_is_told(bench):
    def run_id(name, **options):
        return bench.cells(name, scenario="sun", **options)[0].run_id

    assert run_id("Plain") == run_id("Plain", auxiliary=["moon"])
    assert run_id("Helped") != run_id("Helped", auxiliary=["moon"]) != run_id("Helped", auxiliary=["star"])
    assert "auxiliary" not in bench.cells("Helped", scenario="sun")[0].spec()


def test_what_is_tested_is_no_auxiliary(bench):
    with pytest.raises(BenchError, match="--auxiliary moon: sun@full2moon@full trains or tests on it"):
        bench.cells("Helped", auxiliary=["moon"])


def test_incidents_reach_the_methods_that_learn_from_them_as_far_as_training_goes(bench):
    given = ((1000.0, 1001.0), (1150.0, 9e9), (2900.0, 2950.0))  # training ends at 2199
    record = bench.run("Failures", scenario="sun", incidents=given)
    assert group_of(record) == "source unlabelled + incidents"
    assert bench.seen["incidents"] == [[1000.0, 1001.0, 0], [1150.0, 2199.0, 0]]


def test_other_incidents_are_another_fit(bench):
    given = [((1000.0, 1001.0),), ((1100.0, 1120.0),)]
    cells = [cell for ranges in given for cell in bench.cells("Failures", scenario="sun", incidents=ranges)]
    done = runner.run(cells, bench.store, bench.known, Settings(), lambda *seen: None)
    assert len({record["run_id"] for record in done.records if record["status"] == "ok"}) >= 2
    assert bench.seen["incidents"] == [[1100.0, 1120.0, 0]]


def test_ranges_that_hold_nearly_all_of_training_skip_the_row_with_the_way_out(bench):
    record = bench.run("Failures", scenario="sun", incidents=((1010.0, 9e9),))
    assert (record["status"], record["reason"]) == (
        "skipped",
        "99.2 % of the training lines lie in known failures, and over 90% these say nothing: give narrower ones, as "
        "--incidents 1s",
    )


def test_looking_back_trains_and_tests_on_all_of_a_log_for_what_is_told_failure_times(bench):
    record = bench.run("Failures", scenario="sun", split="retrospective", incidents="3s")
    counts = record["counts"]
    assert (record["status"], counts["n_train"], counts["n_validation"], counts["n_test"]) == ("ok", 500, 0, 500)
    assert bench.seen["incidents"][-1][1] > 2199  # those of the whole log
    assert record["thresholds"][RULE]["value"] is None
    (table,) = make_tables([record])
    assert table.rows[0].method.endswith("±3s")
    assert shown_rule(table.rows[0], RULE) == "native"
    notes = "\n".join(table_notes(table, RULE))
    assert "reported by its native rule, since nothing validates where all of the log trains and tests" in notes
    assert "12.5 % of the training lines lie in known failures" in notes
    other = bench.run("Plain", scenario="sun", split="retrospective")
    assert other["status"] == "skipped"
    assert other["reason"].endswith("this method is not told failure times: use chronological")
    with pytest.raises(BenchError, match="is a transfer: name one system"):
        bench.cells("Failures", split="retrospective")


def test_beside_them_stand_the_controls_that_read_nothing_of_an_event(bench):
    methods = resolve_methods([bench.path("Failures")], [f"{bench.path('Failures')}.log=x"], bench.folder / "cache")
    scenario = parse_scenario("sun", bench.known)
    cells = plan([scenario], methods, splits=["retrospective"], seeds=[0], grouping=Grouping(), incidents="3s")
    assert {cell.method.label for cell in cells if cell.method.ref.is_control} == {"all-positive", "random", "clock"}


def test_seconds_around_abnormal_lines_are_incidents(bench):
    bench.run("Failures", scenario="sun", incidents="3s")
    found = bench.seen["incidents"]
    assert found[:2] == [[1000.0, 1005.0, 0], [1027.0, 1033.0, 0]]  # lines 2 and 30 are abnormal
    assert max(end for _, end, _ in found) <= 2199


def test_incidents_are_part_of_the_identity_only_where_they_are_told(bench):
    def run_id(name, **options):
        return bench.cells(name, scenario="sun", **options)[0].run_id

    assert run_id("Plain") == run_id("Plain", incidents="3s")
    assert len({run_id("Failures"), run_id("Failures", incidents="3s"), run_id("Failures", incidents="4s")}) == 3
    record = bench.run("Failures", scenario="sun")
    assert (record["status"], record["reason"].partition(":")[0]) == (
        "skipped",
        "it learns from incidents, and none is known of the training period",
    )


def test_raw_lines_are_as_written_without_their_label_for_those_who_ask(bench):
    record = bench.run("Raw")
    assert record["status"] == "ok", record["reason"]
    n_source = SIZE * bench.seen["n"][0]
    for name, part in (("sun", slice(n_source)), ("moon", slice(n_source, None))):
        written = (bench.folder / "data" / name / "a.log").read_text().splitlines()
        lines = [written[line].partition(" ")[2] for line in bench.seen["lines"][part]]
        assert bench.seen["raw"][part] == lines
    assert not any(line.startswith(("BAD", "- ")) for line in bench.seen["raw"])
    data = bench.prepared("Raw")
    assert data.test.sequences.raw is None
    assert len(data.with_raw.test.sequences.select(np.array([3, 1])).raw) == 2 * SIZE
    text = json.dumps(record)
    assert not any(line in text for line in bench.seen["raw"])


def test_a_file_that_a_method_needs_is_part_of_its_identity_and_a_reason_to_skip(bench):
    record = bench.run("Weights", scenario="sun")
    assert record["spec"]["detector"]["files"] == [["weights.bin", "0" * 64]]
    assert (record["status"], "weights.bin" in record["reason"]) == ("skipped", True)
