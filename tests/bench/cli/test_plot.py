"""`bench plot`, `bench run --suite` with a figure, and `bench audit`, as a user types them."""

import json

import pytest

from bench.records.store import Store

DETECTORS = '''
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags
from bench.experiment.spec import PROTOCOL_VERSION

@dataclass(frozen=True)
class Config:
    alpha: float = 1.0

class Blind(Detector):
    """Unknown events."""
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        scores = np.zeros(len(sequences))
        np.add.at(scores, sequences.sequence_of_event, sequences.log_keys < 0)
        return scores * self.config.alpha

class Seeing(Blind):
    """With vectors."""
    def represent(self, sequences):
        counts = np.zeros((len(sequences), 8), np.float32)
        np.add.at(counts, (sequences.sequence_of_event, sequences.text_ids % 8), 1)
        return counts
'''
MAP = """
description = "mine"
[figure]
kind = "map"
n = 30
[[run]]
scenarios = ["bgl@simulated"]
methods = ["toy.py:Blind", "toy.py:Seeing"]
splits = ["paper"]
seeds = "0,"
"""


@pytest.fixture
def shell(call, tmp_path):
    (tmp_path / "toy.py").write_text(DETECTORS)
    return call


@pytest.mark.slow
def test_a_suite_with_a_map_runs_and_can_be_plotted_again(shell, tmp_path):
    (tmp_path / "mine.toml").write_text(MAP)
    code, out, err = shell("run", "--suite", "mine.toml")
    assert code == 0, err
    assert "| toy.py:Seeing" in out
    assert "left out toy.py:Blind: it represents no sequence as a vector" in err
    name = "mine-bgl@simulated-paper"
    stored = tmp_path / "results" / "figures" / f"{name}.json"
    described = json.loads(stored.read_text())
    (drawn,) = described["content"]["maps"]
    store = Store(tmp_path / "results")
    record = store.read(drawn["run_id"])
    assert (record["method"], described["run_ids"]) == ("toy.py:Seeing", [drawn["run_id"]])
    n = len(drawn["label"])
    assert (sum(drawn["label"]), n) == (n // 2, len(drawn["x"]))
    assert n == len(drawn["flagged"]) == len(drawn["sequence"]) == 30
    # The fit made again flags what the record says: there is no note of a difference.
    assert drawn["note"] == ""
    before = {path.name: path.read_bytes() for path in stored.parent.iterdir()}
    assert set(before) == {f"{name}.{suffix}" for suffix in ("json", "pdf", "png", "svg")}
    code, out, err = shell("plot", "mine.toml")
    assert (code, out) == (0, "")
    assert {path.name: path.read_bytes() for path in stored.parent.iterdir()} == before
    # A changed record is told: the fit does not give what it says.
    record["metrics"]["all"]["rules"]["conformal:0.01"]["fp"] += 1
    store.write(record)
    assert "the fit made again flags" in shell("plot", "mine.toml")[2]


def test_a_page_needs_no_record(shell, tmp_path):
    (tmp_path / "words.toml").write_text('[figure]\nkind = "vocabulary"\nscenarios = ["bgl"]\nsplits = ["paper"]')
    code, out, err = shell("run", "--suite", "words.toml")
    assert code == 0, err
    assert "| bgl@simulated | paper" in out
    assert "bgl@full is not here: bgl@simulated stands in for it" in out
    assert "261 words shared" in out
    assert (tmp_path / "results" / "figures" / "words.md").read_text() in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plot", "smoke"], "the suite 'smoke' has no [figure]"),
        (["plot", "nope"], "unknown suite 'nope'"),
        (["plot"], "say what to draw: a suite with a [figure]"),
        (["plot", "--curves", "pca"], "--curves draws methods of one scenario: give it with --scenario"),
        (["plot", "fig4", "--curves", "pca", "-s", "bgl"], "and no suite"),
        (["plot", "fig4", "--seed", "1"], "choose what --curves draws"),
        (["plot", "--curves", "pca", "-s", "bgl"], "there is no record in "),
        (["plot", "fig4", "--threshold", "nope"], "threshold rule 'nope'"),
        (["table", "--published"], "there is no record in results: run something first"),
        (["audit", "nope"], "nope"),
    ],
)
def test_bad_input_is_one_sentence(shell, arguments, words):
    code, out, err = shell(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_what_all_of_a_figure_was_left_out_for_is_one_short_sentence(shell):
    code, _, err = shell("plot", "ranks")
    (line,) = err.strip().splitlines()
    assert code == 2
    assert "left out bgl@text-stream-a, bgl@stream-a, hdfs@blocks-a" in line
    assert line.endswith("(`bench run --suite ranks --plan` says why)")


def test_the_audit_of_published_values(shell):
    code, out, _ = shell("audit", "published")
    assert code == 0
    assert "of 36 F1 values 11 consistent, 11 possible as an average, 14 impossible" in out
    paper, *_, claims = json.loads(shell("audit", "published", "--json")[1])
    assert paper["verdicts"] == {"2": {"consistent": 11, "possible as an average": 11, "impossible": 14}}
    value = next(v for v in paper["values"] if (v["method"], v["scenario"]) == ("PLELog", "tbird"))
    assert (value["f1"], value["verdict"]) == ("0.8671", "impossible")
    assert {c["verdict"] for c in claims["claims"] if c["system"] == "GeneralLog"} == {"impossible"}
    assert "(1 + 1 + 0.1829) / 3 = 0.728 < 0.90" in out
    assert "versions of FusionLog claim different things" in out


@pytest.mark.slow
def test_published_values_beside_ours(shell):
    assert shell("run", "--scenario", "bgl@simulated", "--methods", "toy.py:Blind", "--seeds", "1")[0] == 0
    code, out, _ = shell("table", "--published")
    assert code == 0
    assert (
        "bgl@simulated, chronological (simulated), protocol 2: beside Towards Multi-System Log Anomaly Detection" in out
    )
    assert "| MLAD without GMM" in out
    code, _, err = shell("table", "--published", "--json")
    assert (code, "--published is a page" in err) == (2, True)
