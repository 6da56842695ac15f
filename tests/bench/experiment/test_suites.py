"""Suites are TOML files; whatever is wrong with one is a sentence that names it."""

import pytest

from bench import registry
from bench.data.cards.catalogue import catalogue
from bench.data.sequences.protocols import expanded
from bench.errors import BenchError
from bench.evaluation.thresholds import parse_rule
from bench.experiment.planning import plan_parts
from bench.experiment.scenario import parse_scenario
from bench.experiment.settings import parse_seeds, parse_settings
from bench.experiment.spec import resolve_methods
from bench.experiment.suites import load_suite, suite_names


def suite_file(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", suite_names())
def test_every_shipped_suite_says_what_it_is_and_can_be_planned(name):
    suite = load_suite(name)
    assert suite.name == name
    assert len(suite.description) > 20
    assert suite.parts or suite.figure
    for rule in suite.thresholds:
        parse_rule(rule)
    for part in suite.parts:
        assert part.methods or part.optional_methods
        assert expanded(part.splits)
        assert parse_seeds(part.seeds)
        parse_settings(part.settings)


def test_the_smoke_suite_runs_without_data_and_covers_every_kind_of_scenario(monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    known = catalogue()
    scenarios = [parse_scenario(text, known) for part in load_suite("smoke").parts for text in part.scenarios]
    assert any(scenario.is_transfer for scenario in scenarios)
    assert any(len(scenario.train) > 1 for scenario in scenarios)
    assert any(card.has_sessions for scenario in scenarios for card in scenario.cards)
    assert all(card.kind == "simulated" for scenario in scenarios for card in scenario.cards)


def test_a_file_of_ones_own(tmp_path):
    text = """
description = "mine"
[[run]]
scenarios = ["bgl"]
methods = ["random"]
[[run]]
scenarios = ["tbird"]
methods = ["ecvc"]
splits = ["paper"]
seeds = "3,7"
set = ["ecvc.x=1"]
window_size = 10
window_step = 5
incidents = "35s"
"""
    suite = load_suite(suite_file(tmp_path, text))
    first, second = suite.parts
    assert (suite.name, suite.description) == ("mine", "mine")
    assert (first.splits, first.seeds, first.settings, first.window_size) == (("chronological",), "5", (), 20)
    assert (second.splits, second.seeds, second.settings) == (("paper",), "3,7", ("ecvc.x=1",))
    assert (second.window_size, second.window_step) == (10, 5)
    assert (first.incidents, second.incidents) == ((), "35s")


def test_a_block_may_hold_optional_scenarios_alone(tmp_path):
    text = """
[[run]]
scenarios = []
optional_scenarios = ["bgl@stream-a"]
methods = ["random"]
"""
    (part,) = load_suite(suite_file(tmp_path, text)).parts
    assert (part.scenarios, part.optional_scenarios) == ((), ("bgl@stream-a",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[run", "cannot be read"),
        ("description = 'x'", r"no \[\[run\]\] block"),
        ("descripton = 'x'", "unknown key 'descripton'.*description"),
        ("figure = 'sweep'", r"\[figure\] without a kind"),
        ("[figure]\nsetting = 'a.b'", r"\[figure\] without a kind"),
        ("thresholds = 'native'\n[figure]\nkind = 'x'", "needs a list 'thresholds' of texts"),
        (
            "[[run]]\nscenarios = ['bgl']\nmethods = ['random']\noptional_methods = 'x'",
            "needs a list 'optional_methods'",
        ),
        ("run = 3", r"no \[\[run\]\] block"),
        ("run = [1]", r"no \[\[run\]\] block"),
        ("[[run]]\nscenarios = ['bgl']", "needs a list 'methods'"),
        ("[[run]]\nscenarios = 'bgl'\nmethods = ['random']", "needs a list 'scenarios'"),
        ("[[run]]\nscenarios = []\nmethods = ['random']", "needs a list 'scenarios'"),
        ("[[run]]\nscenarios = [1]\nmethods = ['random']", "needs a list 'scenarios'"),
        ("[[run]]\nscenarios = ['bgl']\nmethods = ['random']\nsplits = 'paper'", "needs a list 'splits'"),
        ("[[run]]\nscenarios = ['bgl']\nmethods = ['random']\nset = 'a.b=1'", "needs a list 'set'"),
        ("[[run]]\nscenarios = ['bgl']\nmethods = ['random']\nwindow_size = 'x'", "'window_size'.*whole number"),
        ("[[run]]\nscenarios = ['bgl']\nmethods = ['random']\nseed = 1", "unknown key 'seed'.*seeds"),
        ("[[run]]\nscenarios = ['bgl']\nmethods = ['random']\nincidents = '35'", "incidents = '35': write seconds"),
        ("[[run]]\nscenarios = ['bgl']\nmethods = ['random']\nincidents = 35", "incidents = 35: write seconds"),
        ("[[run]]\nscenarios = ['bgl']\nmethods = ['random']\nleft_out = ['hdfs']", "a left_out that is no table"),
        (
            "[[run]]\nscenarios = ['bgl']\nmethods = ['random']\n[run.left_out]\n'none' = 'hdfs'",
            "'left_out.none' of texts",
        ),
    ],
)
def test_what_is_wrong_with_a_suite_is_a_sentence(tmp_path, text, words):
    with pytest.raises(BenchError, match=words):
        load_suite(suite_file(tmp_path, text))


@pytest.mark.parametrize("name", ["nope", "nope.toml", "../suites/smoke"])
def test_an_unknown_suite_lists_the_known_ones(name):
    with pytest.raises(BenchError, match=f"unknown suite '{name}'.*smoke"):
        load_suite(name)


def test_a_suite_can_sample_and_say_where_answers_come_from(tmp_path):
    block = '[[run]]\nscenarios = ["bgl"]\nmethods = ["deeplog"]\n'
    suite = load_suite(suite_file(tmp_path, f'llm = "replay"\n{block}sample = 24\n{block}'))
    assert (suite.llm, [part.sample for part in suite.parts]) == ("replay", [24, 0])
    with pytest.raises(BenchError, match="whole number of test sequences"):
        load_suite(suite_file(tmp_path, f'{block}sample = "all"\n'))
    with pytest.raises(BenchError, match="llm = 'dry': choose one of record, replay, live"):
        load_suite(suite_file(tmp_path, f'llm = "dry"\n{block}'))


@pytest.mark.slow
@pytest.mark.parametrize("name", suite_names())
def test_every_shipped_suite_names_methods_and_settings_that_exist(name, tmp_path):
    """Each config is also judged by its own class: a trial that its Config refuses would fail in the run."""
    for part in load_suite(name).parts:
        methods = resolve_methods([*part.methods, *part.optional_methods], part.settings, tmp_path, part.profile)
        for method in methods:
            registry.load(method.ref).Config(**method.config)


@pytest.mark.slow
def test_the_choices_of_every_method_are_tried_alike():
    """At most 12 trials of each; whoever reads texts is tried with centred ones."""
    study = load_suite("network-choices").study
    for method, trials in study.trials.items():
        assert len(trials) <= 12
        reads_texts = "texts" in registry.load(registry.find(method)).tags.uses
        assert reads_texts == any(trial.changes == ("centred=true",) for trial in trials), method


@pytest.mark.slow
def test_ranks_are_made_from_runs_of_other_suites(tmp_path, real_data):
    known = catalogue(real_data)
    ids = {
        name: {cell.run_id for cell in plan_parts(load_suite(name).parts, known, tmp_path).cells}
        for name in ("ranks", "real", "baselines")
    }
    assert ids["ranks"] <= ids["real"] | ids["baselines"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["real", "baselines", "rolling", "original", "budget", "table2", "table3", "fig6", "zero-label"]
)
def test_every_split_of_a_suite_leaves_sequences_on_its_editions(name, tmp_path, real_data, real_loader):
    """One that does not would end a run of hours when its data are first prepared."""
    cells = plan_parts(load_suite(name).parts, catalogue(real_data), tmp_path).cells
    for cell in {cell.data_key: cell for cell in cells if cell.data_seed in (None, 0)}.values():
        real_loader.prepare(cell.data)
