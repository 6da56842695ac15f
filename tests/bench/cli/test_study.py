"""`bench run` on studies, on several suites and on frozen plans."""

import json

import pytest

from bench.records.store import Store

METHOD = """
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    new: float = 0.0
    noise: float = 1.0

class Toy(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        if self.config.new < 0:
            raise ValueError("no such weight")
        return self
    def score(self, sequences):
        scores = np.zeros(len(sequences))
        np.add.at(scores, sequences.sequence_of_event, (sequences.log_keys < 0) * self.config.new)
        return scores + self.config.noise * np.random.default_rng(self.seed).random(len(sequences))
"""
STUDY = """description = "Is an unseen event worth a look"
[study]
systems = ["hdfs@simulated", "bgl@simulated"]
second_seeds = "1,2"
candidates = 1
[trials."mine.py:Toy"]
changes = ["new=1.0,-1.0", "noise=2.0"]
"""
SUITE = """description = "small"
[[run]]
scenarios = ["bgl@simulated"]
methods = ["{}"]
seeds = "0,"
"""


@pytest.fixture
def bench(call, tmp_path):
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "choices.toml").write_text(STUDY)
    for name in ("ngram", "pca"):
        (tmp_path / f"{name}.toml").write_text(SUITE.format(name))
    return call


@pytest.fixture
def decided(tmp_path):
    def read():
        return json.loads((tmp_path / "results" / "studies" / "choices" / "decisions.json").read_text())

    return read


def test_a_study_runs_both_stages_and_decides(bench, decided, tmp_path):
    code, out, err = bench("run", "--suite", "choices.toml")
    assert code == 3  # one trial failed; all others were run and judged
    assert "the second stage: 8 runs with seeds 1,2" in err
    assert "new=1.0 becomes the default if `bench check mine.py:Toy --set mine.py:Toy.new=1.0` passes" in out
    assert "no such weight" in out
    assert "conformal" not in out  # a table of the test part
    assert (tmp_path / "results" / "studies" / "choices" / "decisions.md").read_text() == out.rstrip("\n") + "\n"
    assert decided()["methods"][0]["chosen"] == ["mine.py:Toy.new=1.0"]
    _, out, _ = bench("run", "--suite", "choices.toml", "--plan", "--json")
    assert json.loads(out)["second_stage"]["is_exact"]


def test_a_study_goes_on_where_it_was_and_decides_the_same(bench, decided, tmp_path):
    bench("run", "--suite", "choices.toml", "--jobs", "2")
    before, n = decided(), len(list(Store(tmp_path / "results").records()))
    (tmp_path / "choices.toml").write_text(STUDY.replace("new=1.0,-1.0", "new=1.0"))
    code, _, err = bench("run", "--suite", "choices.toml")
    assert code == 0
    assert "resumed 6 of 6 runs" in err
    assert "resumed 8 of 8 runs" in err
    assert len(list(Store(tmp_path / "results").records())) == n
    assert decided()["methods"][0]["trials"][1] == before["methods"][0]["trials"][1]


def test_a_plan_of_a_study_is_exact_for_the_first_stage_and_the_most_for_the_second(bench):
    code, out, _ = bench("run", "--suite", "choices.toml", "--plan", "--json")
    plan = json.loads(out)
    assert (code, plan["cells"], plan["second_stage"]["cells"], plan["second_stage"]["is_exact"]) == (0, 8, 8, False)
    code, out, _ = bench("run", "--suite", "choices.toml", "--plan")
    assert "at most 8 cells" in out


def test_a_failure_that_ends_the_first_stage_begins_no_second(bench, tmp_path):
    code, _, err = bench("run", "--suite", "choices.toml", "--fail-fast")
    assert code == 3
    assert "the second stage begins when all runs of the first have a record" in err
    assert not (tmp_path / "results" / "studies").exists()


@pytest.mark.slow
def test_several_suites_run_one_after_the_other(bench, tmp_path):
    code, out, err = bench("run", "--suite", "ngram.toml,pca.toml")
    assert code == 0, err
    assert "| ngram" in out
    assert "| pca" in out
    assert "resumed 7 of 8 runs" in err  # the controls of the first
    code, out, _ = bench("run", "--suite", "ngram.toml,pca.toml", "--plan", "--json")
    assert json.loads(out)["cells"] == json.loads(out)["resumed"] == 9


def test_one_suite_that_cannot_be_planned_keeps_all_from_beginning(bench, tmp_path):
    (tmp_path / "pca.toml").write_text(SUITE.format("nobody"))
    code, _, err = bench("run", "--suite", "ngram.toml,pca.toml")
    assert code == 2
    assert "nobody" in err
    assert not list(Store(tmp_path / "results").records())


class TestFrozen:
    @pytest.fixture
    def plan(self, bench, tmp_path):
        code, out, err = bench("run", "--suite", "ngram.toml,pca.toml", "--freeze", "plan.toml")
        assert (code, out) == (0, "")
        assert "9 runs of 2 suites are written to plan.toml" in err
        assert not list(Store(tmp_path / "results").records())
        return tmp_path / "plan.toml"

    def test_a_plan_is_run_as_it_was_and_audited(self, bench, plan):
        code, _, err = bench("run", "--frozen", "plan.toml")
        assert code == 0, err
        code, out, _ = bench("audit", "plan", "plan.toml")
        assert code == 0
        assert out.startswith("9 runs in the plan: 9 done, 0 failed, 0 missing")
        assert "another code" not in out

    def test_what_is_missing_is_counted(self, bench, plan):
        bench("run", "--suite", "ngram.toml")
        code, out, _ = bench("audit", "plan", "plan.toml", "--json")
        assert (code, json.loads(out)["done"], json.loads(out)["missing"]) == (0, 8, 1)

    def test_a_suite_that_has_changed_is_not_the_plan(self, bench, plan, tmp_path):
        (tmp_path / "pca.toml").write_text(SUITE.format("pca").replace('"0,"', '"1,"'))
        code, _, err = bench("run", "--frozen", "plan.toml")
        assert code == 2
        assert "is not the plan 'plan.toml' (the file of the suite pca.toml has changed; 1 of its 9 runs" in err

    def test_a_record_of_an_evaluation_edition_outside_the_plan_fails_the_audit(self, bench, plan, tmp_path):
        bench("run", "--suite", "ngram.toml", "--no-pack")
        store = Store(tmp_path / "results")
        record = next(store.records())
        store.write(record | {"run_id": "0" * 16, "tiers": {"bgl@simulated": "evaluation"}})
        code, out, _ = bench("audit", "plan", "plan.toml")
        assert code == 1
        assert "not in the plan, on an evaluation edition: bgl@simulated, chronological" in out

    def test_development_records_outside_the_plan_do_not(self, bench, plan):
        bench("run", "--suite", "ngram.toml")
        bench("run", "--methods", "ngram", "--scenario", "hdfs@simulated", "--seeds", "1")
        code, out, _ = bench("audit", "plan", "plan.toml")
        assert code == 0
        assert "8 records of development and smoke editions are not in the plan" in out

    def test_a_plan_moves_with_its_suites(self, bench, plan, tmp_path):
        (tmp_path / "else").mkdir()
        for name in ("plan.toml", "ngram.toml", "pca.toml"):
            (tmp_path / name).rename(tmp_path / "else" / name)
        code, _, err = bench("run", "--frozen", "else/plan.toml", "--plan")
        assert code == 0, err

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--frozen", "plan.toml", "--suite", "pca.toml"), "--frozen names all that is run"),
            (("--frozen", "plan.toml", "--seeds", "1"), "--frozen names all that is run"),
            (("--methods", "pca", "--scenario", "bgl", "--freeze", "p.toml"), "name them with --suite"),
            (("--suite", "choices.toml", "--freeze", "p.toml"), "the study 'choices' cannot be frozen"),
            (("--suite", "choices.toml,pca.toml"), "the study 'choices' follows from its own records"),
            (("--suite", "pca.toml,ngram.toml", "--max-calls", "3"), "count what one suite asks"),
            (("--frozen", "none.toml"), "the plan 'none.toml' cannot be read"),
            (("--suite", "pca.toml", "--freeze", "below/p.toml"), "does not lie in the folder of the plan"),
        ],
    )
    def test_what_cannot_be_meant_is_a_sentence(self, bench, plan, arguments, words):
        code, _, err = bench("run", *arguments)
        assert code == 2, err
        assert words in err
        assert "Traceback" not in err
