"""What figures gather from hand-made records, and what is kept beside them."""

import json
import re
from types import SimpleNamespace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from bench.errors import BenchError
from bench.experiment.planning import Plan
from bench.experiment.suites import Suite
from bench.records.store import Store
from bench.reporting.figures.figure import Figure, FigureRequest
from bench.reporting.figures.kinds import KINDS
from bench.reporting.figures.write import gather, write
from bench.reporting.published.papers import load_published

RULE = "conformal:0.01"
OWN = f"{RULE}@own-system"
SWEEP = {"kind": "sweep", "setting": "toy.alpha", "metrics": ["f1", "ap"]}


def cell_of(record, **config):
    """What a figure reads of a cell."""
    name = record["spec"]["detector"]["name"]
    control = record["detector"]["supervision"] == "control"
    method = SimpleNamespace(
        label=record["method"],
        ref=SimpleNamespace(name=name, is_control=control),
        config={"alpha": 1.5} | config,
        passed={key: str(value) for key, value in config.items()},
    )
    scenario = SimpleNamespace(key=record["scenario"])
    return SimpleNamespace(run_id=record["run_id"], scenario=scenario, split=record["spec"]["split"], method=method)


@pytest.fixture
def requested(tmp_path):
    """A request for a figure of these (record, config) pairs; `absent` has cells without a record."""

    def make(options, pairs, absent=(), notes=()):
        store = Store(tmp_path)
        for record, _ in pairs:
            store.write(record)
        cells = tuple(cell_of(record, **config) for record, config in [*pairs, *absent])
        return FigureRequest(Suite("fig", "", figure=options), Plan(cells, tuple(notes)), store, None, RULE)

    return make


@pytest.fixture
def alphas(make_record):
    """Two seeds of alpha 1.0 and 1.5, F1 0.2 and 0.4, 0.6 and 0.8; and a control."""
    pairs = [
        (make_record(f"toy[alpha={alpha}]", seed, f1, config={"alpha": alpha}), {"alpha": alpha})
        for alpha, seed, f1 in ((1.5, 0, 0.6), (1.5, 1, 0.8), (1.0, 0, 0.2), (1.0, 1, 0.4))
    ]
    return [*pairs, (make_record("random", supervision="control"), {})]


def test_a_sweep_holds_means_intervals_and_run_ids(requested, alphas):
    (figure,) = gather(requested(SWEEP, alphas))
    (panel,) = figure.content["panels"]
    points = panel["series"]["f1"]
    assert [(point["x"], pytest.approx(point["mean"])) for point in points] == [(1.0, 0.3), (1.5, 0.7)]
    # Two seeds say little, by Student's distribution.
    assert points[0]["low"] < 0.2
    assert points[0]["high"] > 0.4
    assert points[0]["n_seeds"] == 2
    assert {run for point in points for run in point["run_ids"]} == set(figure.run_ids)
    assert figure.run_ids == tuple(record["run_id"] for record, config in alphas if config)
    assert (panel["scenario"], panel["split"], panel["all_positive_f1"]) == ("bgl@raw12k", "chronological", 0.4)


def test_every_scenario_and_split_has_a_panel(requested, make_record):
    places = [("bgl@a", "paper"), ("bgl@a", "chronological"), ("hdfs@b", "paper")]
    pairs = [(make_record("toy[alpha=1]", edition=e, split=s), {"alpha": 1}) for e, s in places]
    (figure,) = gather(requested(SWEEP, pairs))
    # Splits below each other, scenarios beside each other.
    found = [(panel["scenario"], panel["split"]) for panel in figure.content["panels"]]
    assert found == [places[0], places[2], places[1]]


def test_limits_of_the_data_are_told(requested, make_record):
    tiers = {"bgl@raw12k": "smoke"}
    pairs = [(make_record("toy[alpha=1]", tiers=tiers), {"alpha": 1})]
    assert gather(requested(SWEEP, pairs))[0].content["panels"][0]["standing"] == "put together from pieces"


def test_missing_and_failed_runs_are_told(requested, alphas, make_record):
    absent = [(make_record("toy[alpha=1.6]"), {"alpha": 1.6})]
    bad = make_record("toy[alpha=1.2]", status="error", reason="ValueError: no")
    (figure,) = gather(requested(SWEEP, [*alphas, (bad, {"alpha": 1.2})], absent, notes=["bgl@full is not here"]))
    assert figure.notes == (
        "bgl@full is not here",
        "1 of 7 runs have no record yet",
        "toy[alpha=1.2]: error, ValueError: no (seed 0)",
    )
    assert [point["x"] for point in figure.content["panels"][0]["series"]["f1"]] == [1.0, 1.5]
    assert bad["run_id"] not in figure.run_ids


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"no \[figure\]"),
        ({"kind": "pie"}, "unknown kind of figure 'pie': choose one of bounds"),
        (SWEEP | {"colour": "red"}, "no option 'colour': choose one of setting"),
        ({"kind": "sweep"}, "needs its setting"),
        (SWEEP | {"metrics": ["f2"]}, "unknown metric 'f2'"),
        (SWEEP | {"setting": "toy.beta"}, "no finished run of the suite 'fig' has the setting toy.beta"),
        ({"kind": "bounds"}, "no record of the suite 'fig' combines systems"),
        ({"kind": "map"}, "no method of the suite 'fig' has a finished run"),
        ({"kind": "map", "n": 1}, "a whole number from 4"),
        ({"kind": "entmax", "alphas": [0.5]}, "numbers from 1 to 4"),
        ({"kind": "vocabulary"}, "needs scenarios"),
    ],
)
def test_what_is_wrong_with_a_figure_is_a_sentence(requested, make_record, options, words):
    with pytest.raises(BenchError, match=words) as caught:
        gather(requested(options, [(make_record("random", supervision="control"), {})]))
    assert "\n" not in str(caught.value)


def test_without_any_record_the_suite_is_named(requested, make_record):
    with pytest.raises(BenchError, match=r"none of the 1 runs of the suite 'fig' has a record.*bench run --suite fig"):
        gather(requested(SWEEP, [], absent=[(make_record("toy[alpha=1]"), {"alpha": 1})]))


@pytest.fixture
def one_value(tmp_path, monkeypatch):
    """One published value on BGL, of what is a control here: no heavy method is imported."""
    file = tmp_path / "published.toml"
    file.write_text(
        '[paper.toy]\ntitle = "A toy paper"\ntest_is_balanced = true\n[paper.toy.protocol]\ndata = "a full log"\n'
        '[paper.toy.sizes]\n[[paper.toy.row]]\ntable = "1"\nmethod = "ECVC of the paper"\ndetector = "ecvc"\n'
        "bgl = { precision = 0.90, recall = 0.90, f1 = 0.9000 }\n"
    )
    papers = load_published(file)
    monkeypatch.setattr("bench.reporting.published.page.load_published", lambda: papers)


@pytest.mark.usefixtures("one_value")
def test_a_published_value_stands_beside_what_another_suite_ran(requested, make_record):
    own, other = make_record("random", supervision="control"), make_record("ecvc", f1=0.5, supervision="control")
    asked = requested({"kind": "published"}, [(own, {})])
    for record in (other, make_record("mine"), make_record("ecvc", seed=1, split="paper", supervision="control")):
        asked.store.write(record)
    (figure,) = gather(asked)
    (row,) = [line for line in figure.page.splitlines() if "ECVC of the paper" in line]
    assert [cell.strip() for cell in row.split("|")[7:10]] == ["ecvc", "0.500", "0.500"]
    assert "mine" not in figure.page
    assert figure.run_ids == (own["run_id"], other["run_id"])
    assert figure.notes == ("not run by this suite, but stored for the same data and split: ecvc",)
    assert f"- {figure.notes[0]}" in figure.page


def test_a_claim_stands_beside_what_another_suite_ran(requested, make_record):
    own, other = make_record("zerolog"), make_record("fusionlog", f1=0.5)
    asked = requested({"kind": "published", "claims": ["FusionLog", "ZeroLog"]}, [(own, {})])
    asked.store.write(other)
    (figure,) = gather(asked)
    assert figure.run_ids == (own["run_id"], other["run_id"])
    (row,) = [line for line in figure.page.splitlines() if "| FusionLog" in line and "chronological" in line][:1]
    assert "0.500 [" in row


def combined(make_record, method, shared, own, single, **options):
    """Records of a method on two systems together and on each by itself."""
    both = make_record(method, f1=shared, edition="bgl@a+tbird@b", systems=("bgl@a", "tbird@b"), **options)
    both["thresholds"][OWN] = {"value": None, "reason": None, "n": 9, "fitted_on": "x"}
    for block in both["metrics"].values():
        block["rules"][OWN] = {"f1": own, "precision": own, "recall": own, "fpr": own / 10}
        block["bootstrap"]["rules"][OWN] = {"f1": [own] * 15, "fpr": [own / 10] * 15}
    alone = [make_record(method, f1=single, edition=edition, **options) for edition in ("bgl@a", "tbird@b")]
    return [(record, {}) for record in (both, *alone)]


def test_bounds_hold_three_values_for_each_system(requested, make_record):
    pairs = combined(make_record, "toy", 0.5, 0.7, 0.9) + combined(
        make_record, "random", 0.1, 0.2, 0.3, supervision="control"
    )
    (figure,) = gather(requested({"kind": "bounds"}, pairs))
    assert [panel["system"] for panel in figure.content["panels"]] == ["bgl@a", "tbird@b", "all"]
    found = [[row["method"], *(row[k].get("mean") for k in ("shared", "own", "single"))]
             for row in figure.content["panels"][0]["rows"]]  # fmt: skip
    assert found == [["toy", 0.5, 0.7, 0.9], ["random", 0.1, 0.2, 0.3]]
    together = figure.content["panels"][2]["rows"][0]
    assert (together["shared"]["mean"], together["own"]["mean"], together["single"]) == (0.5, 0.7, {})
    assert together["fpr"] == {"shared": 0.5, "own": 0.07, "single": None}
    assert len(figure.run_ids) == 6
    assert re.search(r"toy +\| 0.500 \[0.500, 0.500\], FPR 0.500 \| 0.700 \[0.700, 0.700\], FPR 0.070", figure.page)


def test_bounds_say_when_no_record_has_the_second_rule(requested, make_record):
    record = make_record("toy", edition="bgl@a+tbird@b", systems=("bgl@a", "tbird@b"))
    (figure,) = gather(requested({"kind": "bounds"}, [(record, {})]))
    assert f"holds the rule {OWN}" in figure.notes[-1]
    assert figure.content["panels"][0]["rows"][0]["own"] == {}


def test_a_figure_names_its_runs_in_every_file(requested, alphas):
    request = requested(SWEEP, alphas)
    (figure,) = gather(request)
    png, svg, pdf, described = write(figure, request)
    assert [path.suffix for path in (png, svg, pdf, described)] == [".png", ".svg", ".pdf", ".json"]
    content = json.loads(described.read_text())
    assert (content["suite"], content["rule"], content["run_ids"]) == ("fig", RULE, list(figure.run_ids))
    assert content["content"]["panels"] == json.loads(json.dumps(figure.content["panels"]))
    with Image.open(png) as image:
        assert image.width > 500
        assert figure.run_ids[0] in image.text["Description"]
    assert figure.run_ids[0] in svg.read_text()
    assert pdf.read_bytes().startswith(b"%PDF")
    assert figure.run_ids[0].encode() in pdf.read_bytes()


def test_titles_stand_above_what_stands_below_them_however_high_a_panel_is(requested, make_record):
    pairs = [pair for i in range(16) for pair in combined(make_record, f"toy{i}", 0.5, 0.7, 0.9)]
    (figure,) = gather(requested({"kind": "bounds"}, pairs))
    drawn = KINDS["bounds"].draw(figure.content)
    FigureCanvasAgg(drawn)
    drawn.draw_without_rendering()
    for axes in drawn.axes:
        (below,) = [text for text in axes.texts if "test sequences" in text.get_text()]
        title = axes.title if axes.title.get_text() else axes._left_title
        assert below.get_window_extent().y1 <= title.get_window_extent().y0 + 1
        assert below.get_window_extent().y0 >= axes.get_window_extent().y1


def test_a_method_without_any_value_has_no_row_in_the_picture_but_is_named(requested, make_record):
    pairs = combined(make_record, "toy", 0.5, 0.7, 0.9)
    failed = make_record("gone", edition="bgl@a+tbird@b", systems=("bgl@a", "tbird@b"), status="skipped", reason="no")
    (figure,) = gather(requested({"kind": "bounds"}, [*pairs, (failed, {})]))
    assert [row["method"] for row in figure.content["panels"][0]["rows"]] == ["gone", "toy"]
    assert any("gone: skipped, no" in note for note in figure.notes)
    drawn = KINDS["bounds"].draw(figure.content)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["toy"]


def test_the_same_records_give_the_same_files(requested, alphas):
    request = requested(SWEEP, alphas)
    first = [path.read_bytes() for path in write(gather(request)[0], request)]
    second = [path.read_bytes() for path in write(gather(request)[0], request)]
    assert first == second


def test_bounds_and_maps_can_be_drawn_from_their_file_alone(requested, make_record):
    request = requested({"kind": "bounds"}, combined(make_record, "toy", 0.5, 0.7, 0.9))
    (figure,) = gather(request)
    stored = json.loads(write(figure, request)[-1].read_text())
    again = Figure("again", stored["kind"], stored["content"], tuple(stored["run_ids"]))
    assert [path.suffix for path in write(again, request)] == [".png", ".svg", ".pdf", ".json"]


def test_entmax_curves_by_hand(requested):
    """Softmax of (t, 0) is the logistic function; sparsemax of (t, 0) is (1 + t) / 2 between -1 and 1."""
    (figure,) = gather(requested({"kind": "entmax", "alphas": [1, 1.5, 2.0]}, []))
    at = {round(t, 6): i for i, t in enumerate(figure.content["t"])}
    soft, middle, sparse = ([curve["p"][at[t]] for t in (-1.5, 0.0, 0.5, 1.0)] for curve in figure.content["curves"])
    assert soft == pytest.approx([0.182426, 0.5, 0.622459, 0.731059], abs=1e-5)
    assert sparse == pytest.approx([0.0, 0.5, 0.75, 1.0], abs=1e-5)
    # alpha 1.5: p = (t/2 - tau)^2 and (-tau)^2 with sum 1; at t = 1: a^2 + b^2 = 1, a - b = 0.5, a = 0.911438.
    assert middle[3] == pytest.approx(0.911438**2, abs=1e-5)
    assert figure.run_ids == ()
