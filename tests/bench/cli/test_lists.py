"""`bench list`, `check`, `data` and shell completion."""

import json
import sys

import pytest

from bench import registry
from bench.cli import _options, main
from bench.data.cards.catalogue import catalogue
from bench.experiment.suites import suite_names

GOOD = '''
import numpy as np
from dataclasses import dataclass
from bench.detector import Detector, DetectorTags, NotFittedError

@dataclass(frozen=True)
class Config:
    pass

class Good(Detector):
    """Unseen events of a sequence."""
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        self.known_ = np.unique(train.log_keys)
        return self
    def score(self, sequences):
        if not hasattr(self, "known_"):
            raise NotFittedError("score before fit")
        scores = np.zeros(len(sequences))
        np.add.at(scores, sequences.sequence_of_event, ~np.isin(sequences.log_keys, self.known_))
        return scores
    def state(self):
        return {"known": self.known_}
    def load_state(self, state):
        self.known_ = state["known"]
        return self

class Broken(Good):
    def score(self, sequences):
        return super().score(sequences)[:-1]
'''


def as_json(result):
    code, out, err = result
    assert (code, err) == (0, "")
    return json.loads(out)


def test_methods_have_a_summary_and_a_kind(call):
    rows = {row["name"]: row for row in as_json(call("list", "methods", "--json"))}
    assert rows["mlad"]["kind"] == rows["deeplog"]["kind"] == "method"
    assert rows["ecvc"]["kind"] == "control"
    assert all(len(row["summary"]) > 10 for row in rows.values())


def test_the_text_has_a_line_for_each(call):
    for what in ("methods", "datasets", "scenarios", "suites"):
        rows = as_json(call("list", what, "--json"))
        code, out, err = call("list", what)
        assert (code, err) == (0, "")
        assert len(out.splitlines()) == len(rows)
        assert all(line.startswith(next(iter(row.values()))) for line, row in zip(out.splitlines(), rows, strict=True))


def test_datasets_say_whether_their_files_are_here(call, tmp_path):
    rows = {row["edition"]: row for row in as_json(call("list", "datasets", "--json"))}
    assert (rows["bgl@simulated"]["available"], rows["bgl@simulated"]["to get it"]) == ("available", "")
    assert rows["bgl@raw12k"]["available"] == rows["bgl@full"]["available"] == "files missing"
    assert rows["bgl@full"]["to get it"].startswith("fetch it with `bench data fetch bgl@full`")
    assert rows["bgl@raw12k"]["to get it"].startswith("fetch it with `bench data fetch bgl@raw12k`")
    assert "bgl/stream_a.csv.gz, bgl/stream_a_templates_aligned.csv" in rows["bgl@stream-a"]["to get it"]
    assert all(bool(row["to get it"]) == (row["available"] == "files missing") for row in rows.values())
    inside = {row["edition"]: row for row in as_json(call("list", "datasets", "--json", "--data", tmp_path))}
    assert inside["bgl@stream-a"]["to get it"].endswith(f"into {tmp_path}")
    assert {key: row["available"] for key, row in inside.items()} == {k: row["available"] for k, row in rows.items()}
    assert call("data", "list")[1] == call("list", "datasets")[1]


def test_every_listed_scenario_can_be_read(call):
    from bench.experiment.scenario import parse_scenario

    rows = as_json(call("list", "scenarios", "--json"))
    names = [row["scenario"] for row in rows]
    assert {"bgl", "bgl2tbird", "bgl+tbird"} <= set(names)
    assert all(parse_scenario(name, catalogue()) for name in names)


def test_a_broken_plugin_does_not_hide_the_others(call, monkeypatch):
    known = registry.available()
    bad = registry.DetectorRef("bad", "no_such_package.module:Bad", distribution="bad-plugin")
    monkeypatch.setattr(registry, "available", lambda: {"bad": bad} | known)
    code, out, _ = call("list", "methods")
    assert code == 0
    assert "bad" in out.splitlines()[0]
    assert "uninstall bad-plugin" in out
    assert len(out.splitlines()) == len(known) + 1


def test_check_passes_a_good_detector(call, tmp_path):
    (tmp_path / "mine.py").write_text(GOOD)
    code, out, _ = call("check", "mine.py:Good")
    assert code == 0, out
    assert out.splitlines()[-1].startswith("ran ")
    assert "failed  " not in out


def test_check_of_other_settings(call):
    assert call("check", "ngram", "--set", "ngram.n=2")[0] == 0
    code, out, err = call("check", "ngram", "--set", "ngram.n=0")
    assert (code, out) == (2, "")
    assert err.startswith("error: 'ngram' does not accept its --set: ")
    for wrong, words in (("ngram.n=1,2", "several values"), ("ngram.m=1", "'m'"), ("pca.k=1", "not among the methods")):
        code, out, err = call("check", "ngram", "--set", wrong)
        assert (code, out) == (2, "")
        assert words in err


def test_check_fails_a_broken_detector_and_says_why(call, tmp_path):
    (tmp_path / "mine.py").write_text(GOOD)
    code, out, _ = call("check", "mine.py:Broken", "--json")
    assert code == 1
    wrong = [row for row in json.loads(out) if row["status"] == "failed"]
    assert wrong
    assert all(row["detail"] for row in wrong)


OTHER_FIT = GOOD.partition("class Broken")[0].replace(
    "        self.known_ = np.unique", "        raise ValueError('no ear for this')\n        self.known_ = np.unique"
)


def test_check_names_one_cause_once_and_the_rest_on_request(call, tmp_path):
    (tmp_path / "mine.py").write_text(OTHER_FIT)
    code, out, _ = call("check", "mine.py:Good")
    assert code == 1
    lines = out.splitlines()
    assert len(lines) == 3, out
    assert lines[0].startswith("failed  check_")
    assert "ValueError: no ear for this (mine.py, line " in lines[0]
    assert lines[0].endswith(", in fit)")
    assert " checks more fail for this reason: check_" in lines[1]
    assert lines[2].endswith(" failed; -v shows every check")
    code, every, _ = call("check", "mine.py:Good", "-v")
    assert code == 1
    assert every.count("Traceback (most recent call last)") > 10
    assert "passed" in every
    rows = json.loads(call("check", "mine.py:Good", "--json")[1])
    assert sum(row["status"] == "failed" for row in rows) > 10


def test_check_of_a_file_says_which_class_to_add(call, tmp_path):
    (tmp_path / "mine.py").write_text(OTHER_FIT)
    for command in (("check", "mine.py"), ("run", "--methods", "mine.py", "--scenario", "bgl")):
        code, out, err = call(*command)
        assert (code, out) == (2, "")
        assert err == "error: 'mine.py' is a file, and a method is a class of it: add :Good, as in mine.py:Good\n"
    (tmp_path / "two.py").write_text(OTHER_FIT + "\n\nclass Further(Good):\n    pass\n\n\nclass Not:\n    pass\n")
    assert "holds 2 detectors: write one of two.py:Good, two.py:Further\n" in call("check", "two.py")[2]
    (tmp_path / "none.py").write_text("class Not:\n    pass\n")
    assert "'none.py' holds no subclass of bench.detector.Detector" in call("check", "none.py")[2]
    (tmp_path / "wrong.py").write_text("class (")
    assert "the file 'wrong.py' is no Python" in call("check", "wrong.py")[2]
    assert "the file 'missing.py' cannot be read (No such file or directory)" in call("check", "missing.py")[2]


@pytest.mark.parametrize("text", ["import no_such_module", "1 / 0", "class Broken(:"])
def test_check_of_what_cannot_be_imported_is_bad_input(call, tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    code, out, err = call("check", "mine.py:Broken")
    assert (code, out) == (2, "")
    assert err.startswith("error: 'mine.py:Broken' cannot be imported (")
    assert len(err.splitlines()) == 1


def test_info_of_an_edition(call):
    code, out, _ = call("data", "info", "hdfs@simulated")
    assert code == 0
    facts = as_json(call("data", "info", "hdfs@simulated", "--json"))
    assert facts["edition"] == "hdfs@simulated"
    assert facts["unit"] == "sessions"
    assert facts["lines"] > 1000
    assert facts.pop("warnings") == []
    assert all(name in out for name in facts)


def test_verify_compares_counts_with_the_card(call):
    code, out, _ = call("data", "verify")
    assert code == 0
    assert set(out.splitlines()) == {f"{name}@simulated: ok" for name in ("bgl", "hdfs", "tbird")}


def test_verify_fails_where_a_card_counts_otherwise(call, tmp_path):
    import hashlib

    content = b"- a line\n" * 30
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "log.txt").write_bytes(content)
    (tmp_path / "data" / "mine" / "_system.toml").write_text(
        'title = "x"\nlicence = "MIT"\ncitation = "x"\n[format]\nlabel = "first-token"\n'
    )
    (tmp_path / "data" / "mine" / "one.toml").write_text(
        f'tier = "evaluation"\nrank = 1\nkind = "lines"\n[[files]]\nname = "log.txt"\n'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n[counts]\nlines = 31\nsessions = 2\n'
    )
    code, out, _ = call("data", "verify", "mine", "--data", tmp_path / "data")
    assert code == 1
    assert out == "mine@one: lines 30, the card says 31; sessions unknown, the card says 2\n"


def test_completion_returns_names(monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    assert _options.complete_methods("ml") == ["mlad"]
    assert _options.complete_methods("mlad,de") == ["mlad,deeplog"]
    assert _options.complete_methods("zzz") == []
    assert {"bgl", "bgl2tbird", "bgl+hdfs"} <= set(_options.complete_scenarios("bgl"))
    assert "bgl2bgl" not in _options.complete_scenarios("")
    assert _options.complete_suites("") == suite_names()


def test_the_shell_is_given_the_completions(monkeypatch, capsys):
    monkeypatch.setenv("_BENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "bench run --methods dee")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit):
        main()
    assert "deeplog" in capsys.readouterr().out


def test_info_draws_a_picture(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("data", "info", "hdfs@simulated", "--plot")
    assert code == 0
    assert "hdfs-simulated.png" in out
    assert (tmp_path / "hdfs-simulated.png").read_bytes().startswith(b"\x89PNG")


PEEKING = '''
import os
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class Peeks(Detector):
    """Finds the labels of what it scores on disk, by the line numbers that it is given."""
    tags = DetectorTags(told={"source": "normals"}, uses=frozenset({"lines"}))
    Config = Config
    place = "SOURCE"
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        if self.place == "cache":
            (path,) = Path(os.environ["BENCH_CACHE"]).rglob("labels.bin")
            labels = np.fromfile(path, np.int8)
        else:
            (path,) = Path(os.environ["BENCH_CACHE"]).parent.rglob("permuted/*.log")
            labels = np.array([line.startswith("BAD") for line in path.read_text().splitlines()])
        return np.maximum.reduceat(labels[sequences.lines], sequences.offsets[:-1]) * 1.0

class PeeksIntoCaches(Peeks):
    place = "cache"

class PeeksAtTarget(Peeks):
    """Learns from the pool's labels on disk where the target's test part is abnormal, which it never looks at."""
    tags = DetectorTags(told={"source": "labels", "target": "unlabelled"}, uses=frozenset({"lines"}))
    def fit(self, train, labels=None, *, evidence=None):
        pool = train.select(train.system == evidence.roles.index("target"))
        (path,) = Path(os.environ["BENCH_CACHE"]).parent.rglob("permuted/*.log")
        bad = np.array([line.startswith("BAD") for line in path.read_text().splitlines()])
        self.seen_ = bad[pool.lines] @ np.arange(pool.n_events)
        return self
    def score(self, sequences):
        return np.full(len(sequences), float(self.seen_))
'''


@pytest.mark.parametrize("name", ["Peeks", "PeeksIntoCaches", "PeeksAtTarget"])
def test_who_reads_labels_from_disk_is_found_when_these_are_permuted(call, tmp_path, name):
    (tmp_path / "peeks.py").write_text(PEEKING)
    code, out, err = call("check", f"peeks.py:{name}", "--permuted")
    assert code == 1, err
    assert out.startswith("failed permuted: labels permuted on disk move")


@pytest.mark.parametrize("name", ["new-event", "pca", "random-forest"])
def test_permuted_labels_move_no_score_of_an_honest_method(call, name):
    code, out, err = call("check", name, "--permuted")
    assert code == 0, err
    assert out == "passed permuted: labels permuted on disk move 0 of 60 scores\n"


QUICK = ("steps=3", "width=8", "hidden=4")
ROUTED = (*QUICK, "teacher=embedding")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("knn-few", ("target_share=0.2",)),
        pytest.param("metalog", QUICK, marks=pytest.mark.slow),
        pytest.param("zerolog", QUICK, marks=pytest.mark.slow),
        pytest.param("generallog", ROUTED, marks=pytest.mark.slow),
        pytest.param("fusionlog", (*ROUTED, "round_steps=3"), marks=pytest.mark.slow),
    ],
)
def test_permuted_labels_of_a_target_move_no_score(call, name, settings):
    """Of one that is told none all of them, else those behind what is told."""
    typed = [word for setting in settings for word in ("--set", f"{name}.{setting}")]
    code, out, err = call("check", name, "--permuted", *typed)
    assert code == 0, err
    assert out == "passed permuted: labels permuted on disk move 0 of 150 scores\n"
