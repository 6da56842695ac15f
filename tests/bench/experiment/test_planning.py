"""Blocks to cells: what is optional is left out with a reason, and what stands in for full data is named."""

import dataclasses
import itertools

import pytest

from bench.data.cards.catalogue import catalogue
from bench.errors import BenchError
from bench.experiment.planning import plan_parts
from bench.experiment.suites import SuitePart, load_suite, suite_names

TOY = """
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    alpha: float = 1.0

class Toy(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return np.zeros(len(sequences))
"""


@pytest.fixture
def known(monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return catalogue()


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    return f"{tmp_path}/toy.py:Toy"


def part(*scenarios, methods=("random",), **fields):
    return SuitePart(scenarios, methods, **({"seeds": "1"} | fields))


def test_optional_scenarios_are_left_out_where_their_data_are_not_here(known, tmp_path):
    plan = plan_parts([part("hdfs@simulated", optional_scenarios=("bgl@stream-a", "tbird@simulated"))], known, tmp_path)
    assert list(dict.fromkeys(cell.scenario.key for cell in plan.cells)) == ["hdfs@simulated", "tbird@simulated"]
    (note,) = plan.notes
    assert note.startswith("left out bgl@stream-a: edition 'bgl@stream-a' needs bgl/stream_a.csv.gz")


def test_a_scenario_that_is_not_optional_must_be_here(known, tmp_path):
    with pytest.raises(BenchError, match="bgl@stream-a"):
        plan_parts([part("bgl@stream-a")], known, tmp_path)


def test_the_edition_that_stands_in_for_the_full_one_is_named(known, tmp_path):
    plan = plan_parts([part("bgl"), part("tbird@simulated")], known, tmp_path)
    assert plan.notes == ("bgl@full is not here: bgl@simulated stands in for it",)


def test_one_edition_named_twice_is_one_scenario(known, tmp_path):
    twice = plan_parts([part("bgl", optional_scenarios=("bgl@simulated",))], known, tmp_path)
    once = plan_parts([part("bgl")], known, tmp_path)
    assert [cell.run_id for cell in twice.cells] == [cell.run_id for cell in once.cells]


def test_optional_methods_are_left_out_with_their_settings(known, tmp_path):
    block = part("bgl", optional_methods=("ecvc", "not-yet"), settings=("not-yet.k=1,2",))
    plan = plan_parts([block], known, tmp_path)
    assert "left out not-yet: no such method is installed" in plan.notes
    assert "not-yet" not in {cell.method.label for cell in plan.cells}
    assert "ecvc" in {cell.method.label for cell in plan.cells}


def test_a_setting_of_an_unknown_method_is_no_optional_one(known, tmp_path):
    with pytest.raises(BenchError, match="--set names 'nobody'"):
        plan_parts([part("bgl", settings=("nobody.k=1",))], known, tmp_path)


def test_cells_that_share_their_data_stand_together(known, tmp_path, toy):
    blocks = [part("bgl", "hdfs", methods=(toy,), splits=("paper",), seeds="2")]
    blocks.append(dataclasses.replace(blocks[0], settings=(f"{toy}.alpha=2.0",)))
    keys = [cell.data_key for cell in plan_parts(blocks, known, tmp_path).cells]
    changes = sum(a != b for a, b in itertools.pairwise(keys))
    assert changes == len(set(keys)) - 1 == 3


def test_every_shipped_suite_runs_without_real_data_if_it_is_for_everyone(known, tmp_path):
    """Those that name real editions as necessary say so by failing here; the paper's suites must not."""
    everywhere = {"smoke", "table1", "table2", "table3", "fig4", "fig5", "fig6", "fig7"}
    assert everywhere <= set(suite_names())
    for name in sorted(everywhere):
        suite = load_suite(name)
        plan = plan_parts(suite.parts, known, tmp_path)
        assert bool(plan.cells) == bool(suite.parts)


def test_the_ablations_of_table_2_are_settings_of_mlad(known, tmp_path):
    cells = plan_parts(load_suite("table2").parts, known, tmp_path).cells
    labels = {cell.method.label for cell in cells if cell.method.ref.name == "mlad"}
    ablations = ("alpha=1.0", "use_gmm=false", "embedding=learned", "rec_target=positions")
    assert labels == {"mlad", *(f"mlad[{setting}]" for setting in ablations)}


def test_figure_5_sweeps_seven_values(known, tmp_path):
    cells = plan_parts(load_suite("fig5").parts, known, tmp_path).cells
    values = {cell.method.config["alpha"] for cell in cells if cell.method.ref.name == "mlad"}
    assert sorted(values) == [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
