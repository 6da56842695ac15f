"""A study: trials stand in a file, what runs next follows from records, and the rule is the one that is told."""

import pytest

from bench.data.cards.catalogue import catalogue
from bench.errors import BenchError
from bench.experiment.study_plan import costliest, first_stage, of_second_stage, second_stage
from bench.experiment.study_rule import decide, paired
from bench.experiment.suites import load_suite
from bench.reporting.decisions import decisions_as_json, render_decisions

HEAD = '[study]\nsystems = ["hdfs@simulated", "bgl@simulated"]\n'
STUDY = f"""description = "pca"
{HEAD}candidates = 2
[trials.pca]
changes = ["variance=0.9,0.99", "weighting=none", "weighting=none & variance=0.99"]
"""


@pytest.fixture
def study(tmp_path):
    def make(text=STUDY):
        (tmp_path / "mine.toml").write_text(text)
        return load_suite(str(tmp_path / "mine.toml"))

    return make


class Played:
    """A study whose records say what a test wants."""

    def __init__(self, suite, cache):
        self.suite, self.known, self.cache = suite, catalogue(), cache
        self.first = first_stage(suite, self.known, cache)
        self.records = {}

    def set(self, stage, values):
        """values: by label of the trial a function of (system, seed), or a reason for a failure."""
        for found in stage:
            value = values[found.trial.label]
            for cell in found.cells:
                record = {"status": "error", "reason": value}
                if not isinstance(value, str):
                    ap = value(cell.scenario.key, cell.seed) if callable(value) else value
                    record = {"status": "ok", "reason": None, "validation": {"n": 9, "ranking": {"ap": ap}}}
                self.records[cell.run_id] = record

    def go_on(self, values):
        self.set(self.first, values)
        chosen = of_second_stage(self.suite.study, self.first, self.records)
        second = second_stage(self.suite, chosen, self.known, self.cache)
        self.set(second, values)
        return chosen, second

    def decide(self, values):
        _, second = self.go_on(values)
        (decision,) = decide(self.suite.study, self.first, second, self.records)
        return decision


@pytest.fixture
def played(study, tmp_path):
    return lambda text=STUDY: Played(study(text), tmp_path)


VALUES = {
    "default": 0.5,
    "variance=0.9": 0.4,
    "variance=0.99": 0.6,
    "weighting=none": 0.55,
    "weighting=none, variance=0.99": 0.3,
}


def test_changes_are_trials_and_pairs_are_joined(study):
    (trials,) = study().study.trials.values()
    assert [trial.label for trial in trials] == list(VALUES)
    assert trials[-1].settings == ("pca.weighting=none", "pca.variance=0.99")


def test_the_first_stage_runs_all_trials_and_no_controls(played):
    first = played().first
    assert {cell.seed for found in first for cell in found.cells} == {0}
    assert {cell.method.ref.name for found in first for cell in found.cells} == {"pca"}
    assert [len(found.cells) for found in first] == [2] * 5


def test_default_and_best_changes_go_on_with_the_second_seeds(played):
    chosen, second = played().go_on(VALUES)
    assert [trial.label for trial in chosen] == ["default", "variance=0.99", "weighting=none"]
    assert [[cell.seed for cell in found.cells] for found in second] == [[1, 2, 3, 4, 1, 2, 3, 4]] * 3


def test_the_second_stage_follows_from_records_alone(played):
    one, other = played(), played()
    ids = [[cell.run_id for found in run.go_on(VALUES)[1] for cell in found.cells] for run in (one, other)]
    assert ids[0] == ids[1]
    one.records.update({"f" * 16: {"status": "ok", "validation": {"ranking": {"ap": 1.0}}}})
    assert [trial.label for trial in of_second_stage(one.suite.study, one.first, one.records)][1] == "variance=0.99"


def test_of_equal_changes_the_first_listed_goes_on(played):
    chosen, _ = played().go_on(VALUES | {"variance=0.9": 0.6, "weighting=none": 0.6})
    assert [trial.label for trial in chosen] == ["default", "variance=0.9", "variance=0.99"]


def test_a_change_that_failed_somewhere_is_no_candidate(played):
    run = played()
    chosen, _ = run.go_on(VALUES | {"variance=0.99": "it broke"})
    assert [trial.label for trial in chosen] == ["default", "weighting=none", "variance=0.9"]
    decision = run.decide(VALUES | {"variance=0.99": "it broke"})
    assert "error, it broke" in render_decisions(run.suite, [decision])


def test_the_best_candidate_that_is_surely_better_becomes_the_default(played):
    decision = played().decide(VALUES)
    assert decision.chosen.label == "variance=0.99"
    assert decision.is_decided


@pytest.mark.parametrize(
    "better", [lambda system, seed: 0.509, lambda system, seed: 0.51, lambda system, seed: 0.5 + 0.1 * (seed == 0)]
)
def test_the_default_stays_where_a_margin_or_the_interval_says_so(played, better):
    """Better by less than the margin, by no more than it, and in one seed of five."""
    values = dict.fromkeys(VALUES, 0.4) | {"default": 0.5, "variance=0.99": better}
    assert played().decide(values).chosen.is_default


def test_differences_are_paired_by_seed(played):
    """Seeds differ by more than the candidate gains, and the candidate gains in each."""
    values = dict.fromkeys(VALUES, 0.1)
    values |= {"default": lambda system, seed: 0.2 + 0.1 * seed, "variance=0.9": lambda system, seed: 0.25 + 0.1 * seed}
    decision = played().decide(values)
    assert decision.chosen.label == "variance=0.9"
    assert decision.trials[1].difference.by_seed == pytest.approx((0.05,) * 5)


def test_the_interval_is_students():
    found = paired({0: 0.1, 1: 0.2, 2: 0.3}, {0: 0.0, 1: 0.0, 2: 0.0})
    assert found.mean == pytest.approx(0.2)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)


def test_systems_count_alike(played):
    """0.9 on one system and 0.1 on the other are 0.5: whatever the number of sequences."""
    values = VALUES | {"weighting=none": lambda system, seed: 0.9 if system.startswith("hdfs") else 0.1}
    run = played()
    run.set(run.first, values)
    chosen = of_second_stage(run.suite.study, run.first, run.records)
    assert [trial.label for trial in chosen] == ["default", "variance=0.99", "weighting=none"]


def test_only_changes_better_than_the_default_go_on_where_the_study_says_so(played):
    text = STUDY.replace("candidates = 2", "candidates = 2\nonly_better = true")
    chosen, _ = played(text).go_on(VALUES | {"weighting=none": 0.5})
    assert [trial.label for trial in chosen] == ["default", "variance=0.99"]
    none_better = dict.fromkeys(VALUES, 0.4) | {"default": 0.5}
    run = played(text)
    assert run.go_on(none_better)[1] == []
    decision = run.decide(none_better)
    assert decision.is_decided
    assert decision.chosen.is_default
    assert "the default stays" in render_decisions(run.suite, [decision])


def test_what_lacks_a_run_is_not_decided(played):
    run = played()
    _, second = run.go_on(VALUES)
    run.records.pop(second[1].cells[0].run_id)
    (decision,) = decide(run.suite.study, run.first, second, run.records)
    assert not decision.is_decided
    assert not [found for found in decision.trials if found.trial.label == "variance=0.99" and found.difference]


def test_a_default_without_a_value_has_no_second_stage(played):
    run = played()
    chosen, second = run.go_on(VALUES | {"default": "it broke"})
    assert (chosen, second) == ([], [])
    (decision,) = decide(run.suite.study, run.first, second, run.records)
    assert "not decided" in render_decisions(run.suite, [decision])


def test_the_page_and_the_data_tell_the_same(played):
    run = played()
    decision = run.decide(VALUES)
    data = decisions_as_json(run.suite, [decision])
    assert data["methods"][0]["chosen"] == ["pca.variance=0.99"]
    assert len(data["methods"][0]["trials"][2]["run_ids"]) == 10
    page = render_decisions(run.suite, [decision])
    assert "`bench check pca --set pca.variance=0.99`" in page
    assert "+0.1000 (+0.1000 to +0.1000)" in page


def test_nothing_of_a_test_part_is_read(played):
    """Records without any metrics decide: the study cannot have looked at them."""
    assert "metrics" not in next(iter(played().records.values()), {})


def test_the_most_that_the_second_stage_takes_are_the_longest_changes(played):
    run = played()
    long = {cell.run_id for found in run.first if found.trial.label == "variance=0.9" for cell in found.cells}
    chosen = costliest(run.suite.study, run.first, lambda cell: float(cell.run_id in long))
    assert [trial.label for trial in chosen][:2] == ["default", "variance=0.9"]


def test_a_former_default_stays_the_default_of_its_study(study, tmp_path):
    """So that a study whose result became the default is resumed and not another one."""
    text = f'{HEAD}[trials.pca]\nbase = ["variance=0.9"]\nchanges = ["variance=0.95"]\n'
    default, change = first_stage(study(text), catalogue(), tmp_path)
    assert default.cells[0].method.config["variance"] == 0.9
    assert change.cells[0].method.config["variance"] == 0.95


@pytest.mark.parametrize("name", ["evaluation", "smoke"])
def test_only_development_editions_may_choose(study, own_system, tmp_path, name):
    known = own_system({"a.log": b"- 1 x\n"}, tier=name)
    with pytest.raises(BenchError, match=f"names app@mine, an edition of tier {name}.*development"):
        first_stage(study('[study]\nsystems = ["app"]\n[trials.pca]\nchanges = ["variance=0.9"]'), known, tmp_path)


def test_a_trial_that_is_the_default_is_refused(study, tmp_path):
    text = f'{HEAD}[trials.pca]\nchanges = ["variance=0.95"]\n'
    with pytest.raises(BenchError, match=r"'variance=0\.95', which is its default: leave it out.*base"):
        first_stage(study(text), catalogue(), tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study = 3", r"write it as a table \[study\]"),
        (HEAD, r"tries nothing: add a table \[trials.METHOD\]"),
        ("[trials.pca]\nchanges = ['variance=0.9']", r"has trials and no \[study\]"),
        ("[study]\n[trials.pca]\nchanges = ['variance=0.9']", "needs a list 'systems'"),
        (f"{HEAD}metric = 'f1'\n[trials.pca]\nchanges = ['variance=0.9']", "choose one of ap, auroc"),
        (f"{HEAD}rounds = 2\n[trials.pca]\nchanges = ['variance=0.9']", "unknown key 'rounds'"),
        (f"{HEAD}only_better = 1\n[trials.pca]\nchanges = ['variance=0.9']", "only_better = 1: write true or false"),
        (f"{HEAD}candidates = 0\n[trials.pca]\nchanges = ['variance=0.9']", "candidates = 0: write a number from 1"),
        (f"{HEAD}second_seeds = '0,1'\n[trials.pca]\nchanges = ['variance=0.9']", "a seed in both stages"),
        (f"{HEAD}[trials.pca]\nchanges = []", "needs a list 'changes'"),
        (f"{HEAD}[trials.pca]\nchanges = ['variance']", "'variance', which cannot be read"),
        (f"{HEAD}[trials.pca]\nchanges = ['k=1 & k=2']", "sets a field twice"),
        (f"{HEAD}[trials.pca]\nchanges = ['k=1', 'k=1,2']", "tries pca with k=1 twice"),
        (f"{HEAD}[trials.pca]\nchange = ['k=1']", "unknown key 'change'"),
        (f"{HEAD}[trials.pca]\nbase = ['k']\nchanges = ['k=1']", "'k' in the base of pca"),
        (f"{HEAD}max_trials = 3\n[trials.pca]\nchanges = ['k=1,2,3']", "4 trials of pca.*at most 3: leave out 1"),
        (f"{HEAD}[trials.pca]\nchanges = ['k=1']\n[[run]]\nscenarios = ['bgl']", r"has a \[run\] too"),
    ],
)
def test_what_is_wrong_with_a_study_is_a_sentence(study, text, words):
    with pytest.raises(BenchError, match=words):
        study(text)
