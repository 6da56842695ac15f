"""LogLAB and PULL after their sheets: what is inside, the objective and its optimum, what ends far away, the rounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.detector import Evidence, Incident
from bench.types import Sequences
from methods import loglab, pull
from methods.loglab import LogLAB
from methods.pull import PULL
from methods.shared import failure_windows, line_distances
from methods.shared.failure_windows import (
    LineEncoder,
    Lines,
    Vocabulary,
    is_inside,
    loss_of,
    merged,
    pull_of,
    tokens_of,
)

pytestmark = pytest.mark.trains

TEXTS = (
    "cache refreshed",
    "block <*> sent to <*>",
    "job done",
    "disk failure on node <*>",
    "session opened for user <*>",
)
ODD = 3
QUICK = {
    "width": 16,
    "heads": 2,
    "ffn_width": 16,
    "steps": 100,
    "learning_rate": 0.003,
    "dropout": 0.0,
    "batch_size": 64,
}


def log_of(rows, starts):
    """A line each second, from the start of its sequence on."""
    lengths = [len(row) for row in rows]
    elapsed = np.concatenate([np.arange(n, dtype=np.float64) for n in lengths])
    return Sequences.from_lists(rows, TEXTS, elapsed_s=elapsed, start_time=np.array(starts, np.float64))


def weeks(n=200, seed=0):
    """Sequences of five normal lines every 100 s; each tenth has the failure, and an incident of 30 s around it."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice([0, 1, 2, 4], 5).tolist() for _ in range(n)]
    for row in rows[::10]:
        row[2] = ODD
    starts = 100.0 * np.arange(n)
    return log_of(rows, starts), Evidence(
        roles=("source",), incidents=tuple(Incident(t - 1, t + 30) for t in starts[::10])
    )


TRAIN, EVIDENCE = weeks()
EACH = log_of([[key] for key in range(5)], [0.0] * 5)


def test_ranges_that_touch_are_one_and_their_ends_belong_to_them():
    starts, ends = merged([(20, 30), (0, 5), (5, 8), (1, 2), (29, 40)])
    assert (starts.tolist(), ends.tolist()) == ([0.0, 20.0], [8.0, 40.0])
    log = log_of([[0] * 6, [0] * 3], [10.0, 100.0])
    inside = is_inside(log, [Incident(11, 12), Incident(12, 13), Incident(101, 101)])
    assert inside.tolist() == [False, True, True, True, False, False, False, True, False]
    assert is_inside(log, [Incident(12, 12)], margin=1.0).sum() == 3
    assert not is_inside(log, []).any()


def test_a_range_is_of_its_system_alone_and_a_line_without_a_time_is_outside():
    log = replace(log_of([[0, 0], [0, 0]], [10.0, 10.0]), system=np.array([0, 1], np.uint8))
    assert is_inside(log, [Incident(0, 99, system=1)]).tolist() == [False, False, True, True]
    late = replace(log, elapsed_s=np.array([np.nan, 0, 0, np.nan]))
    assert is_inside(late, [Incident(0, 99, 0), Incident(0, 99, 1)]).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("Receiving block <*> src: /<*>:<*>", ["Receiving", "block", "[NUM]", "src", "[NUM]", "[NUM]"]),
        ("error 17 at 0xdeadbeef (core 3)", ["error", "[NUM]", "at", "0xd", "core", "3"]),
        ("a=b|c{d}[e],f.g", ["a", "b", "c", "d", "e", "f", "g"]),
        ("", []),
    ],
)
def test_a_line_is_split_as_in_the_code(line, tokens):
    assert tokens_of(line) == tokens


def test_a_line_begins_with_cls_and_has_a_fixed_length():
    words = Vocabulary.of(["job done", "job <*> begun at noon"], 4)
    assert words.tokens == ("[NUM]", "begun", "done", "job")
    rows = words.encoded(["job done", "job 17 begun at noon", "unheard job"])
    assert rows.tolist() == [[1, 6, 5, 0], [1, 6, 3, 4], [1, 2, 6, 0]]


def test_the_objective_has_the_optimum_of_the_sheet():
    """For a free z: d^3 = p q / (2 (1 - p)), so that d rises with the share of label 1."""
    shares, q = torch.tensor([0.1, 0.5, 0.9]), 0.81
    z = torch.full((3, 2), 0.9, requires_grad=True)
    optimiser = torch.optim.Adam([z], lr=0.02)
    for _ in range(800):
        optimiser.zero_grad()
        loss_of(z.square().sum(1), 1 - shares, shares, q).sum().backward()
        optimiser.step()
    best = (shares * q / (2 * (1 - shares))) ** (1 / 3)
    np.testing.assert_allclose(z.square().sum(1).detach().numpy(), best.numpy(), rtol=1e-3)
    assert pull_of(90, 10) == pytest.approx(0.81)
    assert torch.isfinite(loss_of(torch.zeros(1), torch.ones(1), torch.ones(1), q)).all()


def test_equal_lines_weigh_as_often_as_they_occur():
    """The loss by distinct lines is that of the lines one by one."""
    d, y = torch.tensor([0.5, 0.5, 0.5, 2.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    one_by_one = loss_of(d, 1 - y, y, 0.25).mean()
    shares, weights = torch.tensor([1 / 3, 1.0]), torch.tensor([0.75, 0.25])
    together = (weights * loss_of(torch.tensor([0.5, 2.0]), 1 - shares, shares, 0.25)).sum()
    torch.testing.assert_close(one_by_one, together)


@pytest.mark.parametrize("cls", [LogLAB, PULL])
def test_what_occurs_inside_alone_ends_farthest(cls):
    detector = cls(cls.Config(**QUICK, **({"rounds": 2, "round_steps": 20} if cls is PULL else {}))).fit(
        TRAIN, evidence=EVIDENCE
    )
    lines = detector.score_lines(EACH)
    others = np.delete(lines, ODD)
    assert lines[ODD] > 2 * others.max()
    assert others.max() < detector.native_threshold_ * 1.5
    assert lines[ODD] > detector.native_threshold_
    assert detector.score(log_of([[0, ODD], [0, 1]], [0.0, 0.0])).tolist() == [lines[ODD], lines[:2].max()]
    assert detector.monitor()["inside_share"] == pytest.approx(is_inside(TRAIN, EVIDENCE.incidents).mean())
    untrained = cls(replace(detector.config, steps=0, **({"rounds": 0} if cls is PULL else {}))).fit(
        TRAIN, evidence=EVIDENCE
    )
    far = untrained.score_lines(EACH)
    assert far[ODD] < 1.5 * np.delete(far, ODD).max()


def test_the_threshold_needs_no_truth_and_labels_are_not_read():
    labels = np.zeros(len(TRAIN), np.int8)
    labels[::10] = 1
    config = loglab.Config(**{**QUICK, "steps": 5})
    found = [LogLAB(config).fit(TRAIN, known, evidence=EVIDENCE) for known in (None, labels, 1 - labels)]
    assert len({detector.native_threshold_ for detector in found}) == 1
    assert len({tuple(detector.score_lines(EACH)) for detector in found}) == 1


LINES = Lines(np.arange(4)[:, None], np.array([80, 19, 1, 0]), np.array([20, 5, 0, 5]))


def test_a_round_takes_back_what_is_as_near_as_normal_lines():
    distances = np.array([0.1, 0.4, 3.0, 5.0])
    judged, changed = pull.relabelled(LINES, LINES, distances, 0.99)
    assert judged.inside.tolist() == [0, 0, 0, 5]
    assert judged.normal.tolist() == [100, 24, 1, 0]
    assert changed == 25
    again, nothing = pull.relabelled(LINES, judged, distances, 0.99)
    assert nothing == 0
    far, changed = pull.relabelled(LINES, again, np.array([0.1, 9.0, 3.0, 5.0]), 0.5)
    assert far.inside.tolist() == [0, 5, 0, 5]
    assert changed == 5


def test_rounds_raise_the_share_of_failures_among_the_lines_still_inside():
    detector = PULL(pull.Config(**QUICK, rounds=3, round_steps=20)).fit(TRAIN, evidence=EVIDENCE)
    inside = int(is_inside(TRAIN, EVIDENCE.incidents).sum())
    left = [part["still_inside"] for part in detector.monitor()["rounds"]]
    assert inside == 100
    assert left[0] <= inside
    assert left == sorted(left, reverse=True)
    assert left[-1] == 20
    twice = PULL(detector.config).fit(TRAIN, evidence=EVIDENCE)
    assert twice.score_lines(EACH).tolist() == detector.score_lines(EACH).tolist()


def test_both_labels_weigh_the_same_and_the_bound_is_a_share_of_normal_lines():
    normal, inside = pull.balance(LINES)
    assert normal * LINES.normal.sum() == pytest.approx(inside * LINES.inside.sum())
    assert pull.bound_of(np.array([0.1, 0.4, 3.0, 5.0]), LINES.normal, 0.8) == 0.1
    assert pull.bound_of(np.array([0.1, 0.4, 3.0, 5.0]), LINES.normal, 0.99) == 0.4
    assert pull.bound_of(np.array([0.1, 0.4, 3.0, 5.0]), LINES.normal, 0.999) == 3.0


def test_the_margin_is_learned_from_by_neither_side():
    log, evidence = log_of([[0] * 10], [0.0]), Evidence(incidents=(Incident(4, 5),))
    inside, used = PULL(pull.Config(margin=2.0))._labelled(log, evidence)
    assert inside.tolist() == [False] * 4 + [True] * 2 + [False] * 4
    assert used.tolist() == [True] * 2 + [False] * 2 + [True] * 2 + [False] * 2 + [True] * 2


def test_ranges_that_say_nothing_are_one_sentence():
    config = loglab.Config(**QUICK)
    with pytest.raises(ValueError, match="100% of the training lines lie in told time ranges"):
        LogLAB(config).fit(TRAIN, evidence=Evidence(incidents=(Incident(0, 1e9),)))
    none = LogLAB(loglab.Config(**{**QUICK, "steps": 2})).fit(TRAIN, evidence=Evidence(incidents=(Incident(-9, -5),)))
    assert (none.monitor()["inside_share"], none.native_threshold_) == (0.0, None)
    timeless = replace(TRAIN, start_time=np.full(len(TRAIN), np.nan))
    assert LogLAB(config).skip(timeless) == "it is told time ranges, and no training line has a time"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: loglab.Config(width=20), "multiple of heads 8"),
        (lambda: loglab.Config(tokens=1), "tokens at least 2"),
        (lambda: pull.Config(quantile=1.0), "between 0 and 1"),
        (lambda: pull.Config(rounds=-1), "not be negative"),
    ],
)
def test_a_value_that_cannot_work_is_one_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_forward_loss_and_backward_run_on_meta():
    with torch.device("meta"):
        net = LineEncoder(loglab.Config(**QUICK), 9)
    rows = torch.zeros((4, 20), dtype=torch.int64, device="meta")
    shares = torch.zeros(4, device="meta")
    loss_of(net(rows).square().sum(1), 1 - shares, shares, 0.5).mean().backward()
    assert all(parameter.grad.is_meta for parameter in net.parameters())


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_a_distance_is_that_of_the_whole_network(n_layers):
    """Each token once in the first layer and [CLS] alone in the last give what all of it gives, to float32."""
    torch.manual_seed(0)
    net = LineEncoder(loglab.Config(**{**QUICK, "layers": n_layers}), 9).double().eval()
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
        rows = np.random.default_rng(0).integers(1, 9, (70, 6))
        whole = net(torch.as_tensor(rows)).square().sum(1).numpy()
    found = line_distances.distances_of(net, rows)
    np.testing.assert_array_equal(found, whole.astype(np.float32))


@pytest.mark.parametrize("cls", [LogLAB, PULL])
def test_company_moves_no_distance(cls, monkeypatch):
    detector = cls(cls.Config(**{**QUICK, "steps": 3})).fit(TRAIN, evidence=EVIDENCE)
    together = detector.score_lines(EACH).tolist()
    assert [detector.score_lines(EACH.select(np.array([i])))[0] for i in range(len(EACH))] == together
    for name, size in (("_ROWS", 2), ("_ROWS", 3), ("_BLOCK", 4)):
        monkeypatch.setattr(line_distances, name, size)
        assert detector.score_lines(EACH).tolist() == together
    loaded = cls(detector.config).load_state(detector.state())
    assert loaded.score_lines(EACH).tolist() == together
    assert failure_windows.MOST_INSIDE == 0.9


def test_a_rule_that_is_the_distance_of_a_line_does_not_flag_that_line():
    detector = PULL(pull.Config(**{**QUICK, "steps": 3}, rounds=1, round_steps=2)).fit(TRAIN, evidence=EVIDENCE)
    assert detector.native_threshold_ in detector.score_lines(EACH)
