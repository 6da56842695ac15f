"""What is handed out to a method besides sequences and labels: words, files, a teacher; and to whom nothing is."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.deploy import fitting, saved
from bench.deploy.score import score_file
from bench.errors import BenchError
from bench.evaluation.thresholds import parse_rule
from bench.experiment import runner
from bench.experiment.cell import Fitter, Settings
from bench.experiment.code import InstalledCode
from bench.experiment.data_notes import lacking_of_target
from bench.experiment.grades import told_of
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.experiment.told import hand_out, refused
from bench.llm.config import Service, use_service
from bench.records.store import Store

WEIGHTS = b"some weights"
METHODS = '''
"""Detectors that ask for what is handed out on request."""
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags, ExternalFile, NotFittedError

@dataclass(frozen=True)
class Config:
    target_share: float = 0.5

@dataclass(frozen=True)
class Chosen:
    model: str = "tutor"
    max_tokens: int = 5

class Plain(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return sequences.lengths + 0.0

class Hosts(Plain):
    """How many words of a sequence are unknown to training."""
    tags = DetectorTags(told={"source": "normals"}, uses=frozenset({"words"}))
    def fit(self, train, labels=None, *, evidence=None):
        self.known_ = {word for event in range(train.n_events) for word in train.words[event]}
        return self
    def score(self, sequences):
        if not hasattr(self, "known_"):
            raise NotFittedError
        new = [sum(word not in self.known_ for word in sequences.words[e]) for e in range(sequences.n_events)]
        return np.bincount(sequences.sequence_of_event, new, minlength=len(sequences)).astype(float)
    def state(self):
        return {"known": np.frombuffer(" ".join(sorted(self.known_)).encode(), np.uint8)}
    def load_state(self, state):
        self.known_ = set(state["known"].tobytes().decode().split())
        return self

class Choosy(Hosts):
    """Reads something else where a setting says so."""
    def skip(self, train):
        return "these data have none: set words=false" if train.words is None else None

class Spoils(Hosts):
    """Writes into the texts that it is given."""
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        train.words.values[0] = "spoiled"
        return self

class Weights(Plain):
    tags = DetectorTags(files=(ExternalFile("w.bin", "https://example.org/w.bin", "%s", 12, "MIT"),))
    def fit(self, train, labels=None, *, evidence=None):
        self.size_ = len(evidence.files["w.bin"].read_bytes())
        return self
    def monitor(self):
        return {"size": self.size_}

class Taught(Plain):
    """Asks about the texts of training."""
    tags = DetectorTags(told={"source": "normals"}, uses=frozenset({"texts"}), teacher=True)
    Config = Chosen
    def fit(self, train, labels=None, *, evidence=None):
        prompts = [f"Is this normal?\\n<<<LOG {text} LOG>>>" for text in (*train.texts, "nothing")]
        self.answers_ = evidence.teacher.ask(prompts * 2)
        return self
    def monitor(self):
        return {"answers": self.answers_}

@dataclass(frozen=True)
class Embedding(Chosen):
    teacher: str = "embedding"

class Otherwise(Taught):
    """Asks nobody unless it is told to."""
    Config = Embedding
    def fit(self, train, labels=None, *, evidence=None):
        self.answers_ = evidence.teacher.ask(["normal?"]) if evidence.teacher else []
        return self

class Alone(Taught):
    """Brings its own model."""
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        assert evidence.teacher is None
        self.answers_ = []
        return self

class Sources(Plain):
    tags = DetectorTags(told={"source": "labels"})

class Targets(Plain):
    tags = DetectorTags(told={"source": "labels", "target": "unlabelled"})

class Few(Plain):
    tags = DetectorTags(told={"source": "unlabelled", "target": "few"})

class Helped(Plain):
    tags = DetectorTags(told={"source": "normals", "auxiliary": "unlabelled"})

class Warned(Plain):
    tags = DetectorTags(told={"source": "normals", "auxiliary": "labels"})
''' % hashlib.sha256(WEIGHTS).hexdigest()  # noqa: UP031
SIZE = 4


def write_system(folder, name, words):
    """700 windows of 4 lines; every seventh is abnormal, later on by a host that no other line names."""
    hosts = ("ann", "bob", "cid", "dan", "eve")
    lines = []
    for i in range(700 * SIZE):
        bad = (i // SIZE) % 7 == 0 and i % SIZE == 2
        host = "evil" if bad and i > 500 * SIZE else hosts[i % 5]
        lines.append(f"{'BAD' if bad else '-'} {1000 + i} {words[i % len(words)]} {i % 3} at host {host}\n")
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "a.log").write_text("".join(lines))
    (folder / name / "_system.toml").write_text(
        'title = "x"\nlicence = "x"\ncitation = "x"\nkind = "lines"\ntier = "smoke"\nrank = 10\n'
        '[format]\nlabel = "first-token"\ntime = "epoch"\nheader = "^(?P<time>[0-9]+) (?P<message>.*)$"\n'
        '[parser]\nmasks = ["[0-9]+"]\n'
    )
    (folder / name / "full.toml").write_text(f'[[files]]\nname = "{name}/a.log"\nsha256 = "unpublished"\n')


class Bench:
    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        write_system(self.data, "sun", ("sunny ray", "sunny spot"))
        write_system(self.data, "moon", ("moon rise", "moon set"))
        write_system(self.data, "star", ("star light", "star trek"))
        (folder / "mine.py").write_text(METHODS)
        self.store = Store(folder / "results")

    def cell(self, name, scenario="sun", known=None, auxiliary=(), split="chronological"):
        known = known or catalogue(self.data)
        methods = resolve_methods([f"{self.folder / 'mine.py'}:{name}"], [], self.folder / "cache")
        methods = [method for method in methods if not method.ref.is_control]
        found = parse_scenario(scenario, known).with_auxiliary(auxiliary, known)
        return plan([found], methods, splits=[split], seeds=[0], grouping=Grouping(SIZE, SIZE))[0]

    def run(self, *names, scenario="sun", known=None, split="chronological"):
        known = known or catalogue(self.data)
        cells = [self.cell(name, scenario, known, split=split) for name in names]
        with use_service(Service.from_environment()):
            return runner.run(cells, self.store, known, Settings(), lambda *seen: None).records

    def given(self, name, scenario, auxiliary=()):
        known = catalogue(self.data)
        cell = self.cell(name, scenario, known, auxiliary)
        return hand_out(cell, Loader(known).prepare(cell.data), Fitter(Settings()).new(cell))


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return Bench(tmp_path)


def test_words_make_a_host_visible_that_no_template_names(bench):
    (record,) = bench.run("Hosts")
    assert record["status"] == "ok", record["reason"]
    evil = bench.store.read_scores(record["run_id"])
    assert evil["test"][evil["test_labels"] == 1].min() > evil["test"][evil["test_labels"] == 0].max()
    assert "evil" not in json.dumps(record)


def test_new_lines_have_words_too(bench):
    cell, rule = bench.cell("Hosts"), parse_rule("conformal:0.01")
    saved.save(fitting.fit(cell, catalogue(bench.data), Settings(), rule), bench.folder / "model")
    fitted = saved.load(bench.folder / "model", method=f"{bench.folder / 'mine.py'}:Hosts")
    (bench.folder / "new.log").write_text(
        "".join(f"- {i} sunny ray 1 at host {'evil' if i == 6 else 'ann'}\n" for i in range(8))
    )
    assert [row.score for row in score_file(fitted, bench.folder / "new.log")] == [0.0, 1.0]


def test_a_method_that_writes_into_texts_changes_nothing_for_the_next(bench):
    (alone,) = bench.run("Hosts")
    other = Bench(bench.folder / "again")
    records = other.run("Spoils", "Hosts")
    assert [record["status"] for record in records] == ["ok", "ok"]
    assert records[1]["metrics"] == alone["metrics"]


def test_words_of_event_ids_are_a_reason_to_skip(bench):
    rows = "".join(f"{i},{i % 3},{int(i % 20 == 19)}\n" for i in range(2000))
    (bench.data / "moon" / "ids.csv").write_text(f"pos,event_id,label\n{rows}")
    (bench.data / "moon" / "full.toml").write_text(
        'kind = "id-stream"\n[[files]]\nname = "moon/ids.csv"\nrole = "events"\nsha256 = "unpublished"\n'
    )
    system = bench.data / "moon" / "_system.toml"
    system.write_text(system.read_text().partition("[format]")[0].replace('kind = "lines"\n', ""))
    (record,) = bench.run("Hosts", scenario="moon")
    assert (record["status"], record["reason"]) == (
        "skipped",
        "it reads the words of raw lines, and these data are event ids",
    )
    (record,) = bench.run("Choosy", scenario="moon")
    assert (record["status"], record["reason"]) == ("skipped", "these data have none: set words=false")


def test_a_file_is_handed_out_when_it_is_there_and_the_one_that_was_named(bench, tmp_path):
    (record,) = bench.run("Weights")
    assert record["status"] == "skipped"
    missing = record["reason"]
    for part in ("w.bin", "https://example.org/w.bin", "the folder 'files' of the data folder", "is not in"):
        assert part in missing
    assert str(tmp_path) not in missing
    folder = bench.data / "files"
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"other weight")
    (record,) = bench.run("Weights")
    assert record["status"] == "skipped"
    assert "another one (SHA-256" in record["reason"]
    (folder / "w.bin").write_bytes(WEIGHTS)
    (record,) = bench.run("Weights")
    assert (record["status"], record["monitor"]["size"]) == ("ok", len(WEIGHTS))


def test_without_a_data_folder_the_reason_says_how_to_name_one(bench, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    (record,) = bench.run("Weights", scenario="hdfs@simulated", known=catalogue())
    assert record["status"] == "skipped"
    assert "set BENCH_DATA" in record["reason"]


def test_a_teacher_answers_and_is_replayed(bench, stub, monkeypatch):
    (record,) = bench.run("Taught")
    assert (record["status"], "no endpoint for the chat model" in record["reason"]) == ("skipped", True)
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    (record,) = bench.run("Taught")
    assert record["status"] == "ok", record["reason"]
    n_texts = len(record["monitor"]["answers"]) // 2
    assert record["monitor"]["answers"] == ["No"] * (2 * n_texts)
    assert len(stub.prompts) == record["monitor"]["calls"] == n_texts >= 2
    assert {(body["model"], body["max_tokens"]) for body in stub.bodies} == {("tutor", 5)}
    assert (record["monitor"]["models"], record["monitor"]["mode"]) == ({"stub-1": n_texts}, "record")
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("BENCH_LLM", "replay")
    again = Bench(bench.folder / "again")
    (replayed,) = again.run("Taught")
    assert replayed["monitor"]["answers"] == record["monitor"]["answers"]
    assert (replayed["monitor"]["calls"], replayed["monitor"]["replayed"]) == (0, n_texts)
    assert len(stub.prompts) == n_texts


def test_the_limits_of_the_command_hold_for_a_teacher(bench, stub, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    monkeypatch.setenv("BENCH_LLM_MAX_CALLS", "1")
    (record,) = bench.run("Taught")
    assert record["status"] == "error"
    assert "the limit of 1 calls is reached" in record["reason"]
    assert len(stub.prompts) == 1


def test_a_method_whose_config_names_no_model_brings_its_own(bench, stub):
    (record,) = bench.run("Alone")
    assert record["status"] == "ok", record["reason"]


def test_a_method_that_names_another_teacher_asks_nobody(bench, stub, monkeypatch):
    """By its setting `teacher`: it needs no endpoint, and its row does not say that it asks a model."""
    (record,) = bench.run("Otherwise")
    assert record["status"] == "ok", record["reason"]
    assert (record["monitor"], record["detector"]["teacher"]) == ({"answers": []}, False)
    assert "asks a model" not in told_of(record).sentence
    assert bench.cell("Taught").method.asks_a_model
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    bench.run("Otherwise")
    assert stub.prompts == []


def test_the_code_of_the_client_counts_for_a_method_that_may_ask(bench, monkeypatch):
    rooms = []
    engine = InstalledCode._engine
    monkeypatch.setattr(InstalledCode, "_engine", lambda self, found: rooms.append(found) or engine(self, found))
    for name in ("Plain", "Taught"):
        InstalledCode().of_cell(bench.cell(name))
    assert ["bench.llm" in found for found in rooms] == [False, True]


@pytest.mark.parametrize(
    ("name", "systems"), [("Plain", {0}), ("Sources", {0}), ("Targets", {0, 1}), ("Few", {0, 1}), ("Helped", {0, 2})]
)
def test_roles_that_are_not_told_never_reach_fit(bench, name, systems):
    """Neither by their sequences, nor by what the training part holds of texts."""
    given = bench.given(name, "sun2moon", auxiliary=["star"])
    assert set(given.evidence.roles) == {"source", "target"} | ({"auxiliary"} if name == "Helped" else set())
    assert set(given.train.system) == systems
    words = {0: "sunny", 1: "moon", 2: "star"}
    seen = " ".join(given.train.texts)
    assert {index for index, word in words.items() if word in seen} == systems
    for index in {1, 2} - systems:
        write_system(bench.data, ("sun", "moon", "star")[index], ("poison pill", "poison ivy"))
    poisoned = bench.given(name, "sun2moon", auxiliary=["star"])
    assert poisoned.train.texts == given.train.texts
    for array in ("log_keys", "text_ids", "offsets", "system", "lines"):
        assert np.array_equal(getattr(poisoned.train, array), getattr(given.train, array)), array


def test_an_auxiliary_that_has_no_abnormal_line_to_learn_from_is_a_skipped_row(bench):
    assert bench.given("Warned", "sun", auxiliary=["star"]).reason is None
    log = bench.data / "star" / "a.log"
    log.write_text(log.read_text().replace("BAD ", "- "))
    said = bench.given("Warned", "sun", auxiliary=["star"]).reason
    assert said.endswith("none trains of star@full: give another --auxiliary")
    assert bench.given("Warned", "sun", auxiliary=["star", "moon"]).reason is None


def test_labels_of_roles_that_do_not_give_them_are_unlabelled(bench):
    given = bench.given("Targets", "sun2moon")
    assert set(given.labels[given.train.system == 0]) == {0, 1}
    assert set(given.labels[given.train.system == 1]) == {-1}
    given = bench.given("Few", "sun2moon")
    assert set(given.labels[given.train.system == 0]) == {-1}
    assert set(given.labels[given.train.system == 1]) == {-1, 0, 1}


def test_few_labels_of_a_target_need_an_abnormal_one_there(bench):
    known = catalogue(bench.data)
    cell = bench.cell("Few", "sun2moon", known)
    prepared = Loader(known).prepare(cell.data)
    assert lacking_of_target(cell, prepared) is None
    (moon,) = prepared.targets
    calm = replace(prepared, targets=(replace(moon, groups=replace(moon.groups, labels=0 * moon.groups.labels)),))
    assert lacking_of_target(cell, calm).startswith("it is told few of the target, which needs abnormal sequences")
    assert lacking_of_target(bench.cell("Targets", "sun2moon", known), calm) is None


def test_a_target_of_normals_alone_skips_the_row_that_is_told_its_labels(bench):
    path = bench.data / "moon" / "a.log"
    lines = path.read_text().splitlines(keepends=True)
    early = int(0.7 * len(lines))
    path.write_text("".join([*(line.replace("BAD", "-", 1) for line in lines[:early]), *lines[early:]]))
    few, told_nothing = bench.run("Few", "Plain", scenario="sun2moon")
    assert (few["status"], few["reason"].split(",")[0]) == ("skipped", "it is told few of the target")
    assert told_nothing["status"] == "ok", told_nothing["reason"]
    assert {record["status"] for record in bench.store.records()} == {"skipped", "ok"}


def test_a_source_of_normals_alone_skips_the_row_that_is_told_its_labels(bench):
    log = bench.data / "sun" / "a.log"
    log.write_text(log.read_text().replace("BAD ", "- "))
    told, plain = bench.run("Targets", "Plain", scenario="sun2moon", split="transfer")
    assert (told["status"], plain["status"]) == ("skipped", "ok")
    assert told["reason"] == "a supervised method needs abnormal training sequences, and this split has none"


def test_sources_whose_parsers_differ_are_one_sentence(bench):
    system = bench.data / "moon" / "_system.toml"
    system.write_text(system.read_text().replace("[parser]", "[parser]\ndepth = 5"))
    with pytest.raises(BenchError, match="sun@full, moon@full have different Drain parameters in their cards"):
        bench.given("Targets", "sun+moon2star")


@pytest.mark.parametrize(
    ("told", "whose"),
    [
        ({"source": "normals"}, None),
        ({"source": "unlabelled"}, None),
        ({"source": "normals", "target": "normals"}, None),
        ({"source": "normals", "target": "first-normals:200"}, None),
        ({"source": "labels"}, "source labels"),
        ({"source": "few:0.1"}, "source few:0.1"),
        ({"source": "normals", "target": "unlabelled"}, "target unlabelled"),
        ({"source": "normals", "target": "labels"}, "target labels"),
    ],
)
def test_paper_is_for_methods_that_are_told_normals(told, whose):
    reason = refused("paper", told)
    assert (reason is None) if whose is None else (whose in reason)
    assert refused("blind", told) is None
    assert refused("chronological", told) is None


def test_a_split_that_gives_no_label_says_so_before_it_says_what_its_pools_lack(bench):
    source, plain = bench.run("Sources", "Plain", split="paper", scenario="sun")
    assert (source["status"], plain["status"]) == ("skipped", "ok")
    assert source["reason"].endswith("use blind")
