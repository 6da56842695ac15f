"""Mean ranks over editions and what separates them, from hand-made records."""

import math
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from bench.errors import BenchError
from bench.experiment.planning import Plan
from bench.experiment.suites import Suite
from bench.records.store import Store
from bench.reporting.figures.figure import FigureRequest
from bench.reporting.figures.ranks import critical_difference
from bench.reporting.figures.write import check, gather, write

EDITIONS = ("bgl@a", "hdfs@b", "spirit@c", "tbird@d")
VALUES = {"best": (0.9, 0.8, 0.9, 0.7), "tied": (0.5, 0.8, 0.6, 0.6), "worst": (0.1, 0.2, 0.3, 0.1)}


@pytest.fixture
def requested(tmp_path, make_record):
    """A request for the ranks of these records."""

    def make(records=(), **options):
        store, cells = Store(tmp_path), []
        for record in [*records, *(made for name in VALUES for made in row(make_record, name, VALUES[name]))]:
            store.write(record)
            method = SimpleNamespace(label=record["method"])
            place = {"scenario": SimpleNamespace(key=record["scenario"]), "split": record["spec"]["split"]}
            cells.append(SimpleNamespace(run_id=record["run_id"], method=method, **place))
        suite = Suite("fig", "", figure={"kind": "ranks"} | options)
        return FigureRequest(suite, Plan(tuple(cells), ()), store, None, "conformal:0.01")

    return make


def row(make_record, name, values, editions=EDITIONS, **options):
    return [make_record(name, 0, value, edition=e, **options) for e, value in zip(editions, values, strict=True)]


def test_mean_ranks_share_ties_and_the_best_is_first(requested):
    (figure,) = gather(requested())
    (panel,) = figure.content["panels"]
    assert dict(zip(panel["methods"], panel["ranks"], strict=True)) == {"best": 1.125, "tied": 1.875, "worst": 3.0}
    assert panel["editions"] == list(EDITIONS)
    assert (panel["split"], panel["told"]) == ("chronological", "source normals")
    # Rank sums 4.5, 7.5 and 12: (12 / 48 * 220.5 - 48) / (1 - 6 / 96) = 7.6 with 2 degrees of freedom.
    assert panel["friedman_p"] == pytest.approx(math.exp(-3.8), abs=1e-4)
    # Demsar 2006, table 5: q of 3 methods is 2.343.
    assert panel["critical_difference"] == pytest.approx(2.343 * (3 * 4 / 24) ** 0.5, abs=1e-3)
    assert critical_difference(10, 20) == pytest.approx(3.164 * (110 / 120) ** 0.5, abs=1e-3)
    for i, one in enumerate(panel["ranks"]):
        for j, other in enumerate(panel["ranks"]):
            assert (panel["p"][i][j] < 0.05) == (abs(one - other) > panel["critical_difference"])
    lines = [line.split("|")[1].strip() for line in figure.page.splitlines() if line.startswith("|")]
    assert lines[2:] == ["best", "tied", "worst"]


def test_a_rate_of_false_alarms_ranks_the_other_way_round(requested):
    (figure,) = gather(requested(metric="fpr"))
    (panel,) = figure.content["panels"]
    assert dict(zip(panel["methods"], panel["ranks"], strict=True))["worst"] == 1.0


def test_what_is_told_other_things_has_a_ranking_of_its_own(requested, make_record):
    supervised = [
        made
        for name, value in (("s1", 0.99), ("s2", 0.98), ("s3", 0.97))
        for made in row(make_record, name, [value] * 4, supervision="supervised")
    ]
    controls = row(make_record, "ecvc", [1.0] * 4, supervision="control")
    (figure,) = gather(requested([*supervised, *controls]))
    found = {panel["told"]: panel["methods"] for panel in figure.content["panels"]}
    assert found == {"source normals": ["best", "tied", "worst"], "source labels": ["s1", "s2", "s3"]}


def test_a_method_missing_somewhere_is_left_out_and_named(requested, make_record):
    (figure,) = gather(requested(row(make_record, "some", (1.0, 1.0), EDITIONS[:2])))
    (panel,) = figure.content["panels"]
    assert "some" not in panel["methods"]
    assert panel["left_out"] == {"some": ["spirit@c", "tbird@d"]}
    assert "Left out: some (not on spirit@c, tbird@d)." in figure.page


def test_only_single_evaluation_editions_are_ranked(requested, make_record):
    strange = [
        make_record("best", 0, 0.1, edition="bgl@made", simulated=["bgl@made"]),
        make_record("best", 0, 0.1, edition="bgl@cut", tiers={"bgl@cut": "smoke"}),
        make_record("best", 0, 0.1, edition="bgl@a+hdfs@b"),
    ]
    (figure,) = gather(requested(strange))
    assert figure.content["panels"][0]["editions"] == list(EDITIONS)
    assert "not ranked, since no single evaluation edition: bgl@a+hdfs@b, bgl@cut, bgl@made" in figure.notes


def test_splits_have_rankings_of_their_own(requested, make_record):
    (figure,) = gather(requested(row(make_record, "best", (0.1,) * 4, split="blind")))
    assert [panel["split"] for panel in figure.content["panels"]] == ["chronological"]
    assert "no diagram of blind, told source normals: 1 methods have a value on all of 4 editions" in figure.notes


def test_editions_of_one_system_are_named(requested, make_record):
    more = [made for name in VALUES for made in row(make_record, name, VALUES[name][:1], ("bgl@other",))]
    (figure,) = gather(requested(more))
    assert "Editions of one system are no evidence of their own: 2 of bgl." in figure.page
    (figure,) = gather(requested())
    assert "no evidence" not in figure.page


def test_what_cannot_be_drawn_is_a_sentence(requested, monkeypatch):
    with pytest.raises(BenchError, match="unknown metric 'luck' in a figure"):
        gather(requested(metric="luck"))
    monkeypatch.setitem(sys.modules, "scikit_posthocs", None)
    with pytest.raises(BenchError, match=r"needs scikit-posthocs.*pip install 'mlad-bench\[figures\]'"):
        check(requested().suite)  # before its runs, not after them


def test_a_diagram_and_a_page_are_written(requested):
    request = requested()
    (figure,) = gather(request)
    paths = write(figure, request)
    assert [path.suffix for path in paths] == [".md", ".png", ".svg", ".pdf", ".json"]
    with Image.open(paths[1]) as picture:
        assert picture.width > 1000
