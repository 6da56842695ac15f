"""A record says all that its cell needs to be run again."""

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.experiment.again import cell_of
from bench.experiment.cell import Settings
from bench.experiment.restamp import typed
from bench.experiment.runner import run
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.records.store import Store

METHOD = """
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    weight: float = 1.0

class Told(Detector):
    tags = DetectorTags(told={"source": "normals", "auxiliary": "normals"}, incidents=True)
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        self.n_ = len(evidence.incidents)
        return self
    def score(self, sequences):
        return sequences.lengths * self.config.weight + self.n_
"""


@pytest.mark.parametrize("incidents", ["60s", ((0.0, 4e9), (5e9, 6e9)), ()])
@pytest.mark.parametrize("helpers", [["hdfs@simulated"], []])
def test_helpers_and_incidents_of_a_record_are_those_of_its_cell(tmp_path, incidents, helpers):
    (tmp_path / "told.py").write_text(METHOD)
    known, store = catalogue(None), Store(tmp_path / "results")
    scenario = parse_scenario("bgl@simulated", known).with_auxiliary(helpers, known)
    methods = resolve_methods([f"{tmp_path / 'told.py'}:Told"], ["%s:Told.weight=2" % (tmp_path / "told.py")], tmp_path)
    made = plan([scenario], [m for m in methods if not m.ref.is_control], splits=["chronological"], seeds=[3],
                grouping=Grouping(), incidents=incidents)  # fmt: skip
    (record,) = run(made, store, known, Settings(), lambda *seen: None).records
    assert record["run_id"] == made[0].run_id
    cell = cell_of(record, known, store)
    assert (cell.run_id, cell.incidents, cell.scenario) == (made[0].run_id, incidents, scenario)
    options = typed(record)
    assert ("--auxiliary" in options) == bool(helpers)
    assert ("--incidents" in options) == isinstance(incidents, str)
