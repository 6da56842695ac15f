"""Every detector of the project passes every check of the kit."""

from dataclasses import fields, replace

import numpy as np
import pytest

from bench import registry
from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.experiment.cell import Settings, fit_again
from bench.experiment.scenario import parse_scenario
from bench.experiment.scoring import score_parts
from bench.experiment.spec import plan, resolve_methods
from bench.testing import check_detector, conforms, summarise
from tests.networks import NETWORKS

pytestmark = pytest.mark.trains
OURS = [ref.name for ref in registry.available().values() if ref.distribution == "mlad-bench"]
FACTS = {name: registry.describe(registry.find(name)) for name in OURS}
DRAW_NOTHING = [name for name, facts in FACTS.items() if not facts.seeded and not facts.teacher]
"""Whoever asks a model is held to it by the kit, which gives it somebody to ask."""


def quick(cls):
    """Its default config, a network's with few steps, as the kit fits it dozens of times; no weights of a user's."""
    config = cls.Config()
    names = {field.name for field in fields(config)}
    config = replace(config, **{name: 20 for name in ("steps", "round_steps") if name in names})
    return replace(config, decoder="tiny") if "decoder" in names else config


@pytest.mark.slow_cases(*sorted(NETWORKS - {"dagmm"}))
@pytest.mark.usefixtures("chat_server")
@pytest.mark.parametrize("name", OURS)
def test_conformance(name):
    cls = registry.load(registry.find(name))
    found = check_detector(cls, config=quick(cls))
    failed = [f"{result.name}: {result.detail}" for result in found if result.status in ("failed", "xpass")]
    assert conforms(found), "\n".join([summarise(found), *failed])


def test_two_seeds_of_a_method_that_draws_nothing_give_the_same_scores(tmp_path):
    known = catalogue()
    loader = Loader(known)
    of_target = [name for name in DRAW_NOTHING if "source" not in FACTS[name].told]
    of_source = [name for name in DRAW_NOTHING if name not in of_target]
    made = [
        cell
        for names, scenario, split in (
            (of_source, "hdfs@simulated", "chronological"),
            (of_target, "hdfs@simulated2bgl@simulated", "transfer"),
        )
        for cell in plan(
            [parse_scenario(scenario, known)], resolve_methods(names, [], tmp_path), splits=[split], seeds=[0, 7],
            grouping=Grouping(),
        )
    ]  # fmt: skip
    scores = {}
    for cell in made:
        detector, visible = fit_again(cell, loader.prepare(cell.data), Settings())
        scores[cell.method.label, cell.seed] = score_parts(detector, visible, cell)
    assert {"pca", "ecvc", "logistic-regression"} <= set(DRAW_NOTHING)
    for name in DRAW_NOTHING:
        one, other = scores[name, 0], scores[name, 7]
        assert one.keys() == other.keys()
        assert all(one[part].tobytes() == other[part].tobytes() for part in one), name
    assert not np.array_equal(scores["random", 0]["test"], scores["random", 7]["test"])
