"""GLAD after its sheet: what an unseen relation scores, company, both forms of the edge and of what is planted."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from bench.detector import NotFittedError
from bench.types import Sequences, Words
from methods import glad
from methods.glad import GLAD, Config, Graph
from methods.shared import text_inputs
from methods.shared.graphs import graphs_of, union_of
from methods.shared.planted import Planter

pytestmark = pytest.mark.trains

TEXTS = tuple(f"event {letter} <*>" for letter in "abcdef")
USERS = ("anna", "bert", "carl", "dora", "emil", "fred")
QUICK = Config(width=20, hidden=24, layers=1, steps=200, batch_size=32, learning_rate=0.01, planted_share=0.3)


def fake_embed(texts):
    rows = np.array([np.random.default_rng(list(text.encode())).standard_normal(384) for text in texts])
    rows = np.reshape(rows, (-1, 384))
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def no_sentence_encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_inputs, "embed", fake_embed)
        yield


def of(lists):
    """Sequences of (event, user) pairs."""
    pairs = [pair for row in lists for pair in row]
    words = Words(
        pl.Series(USERS), np.array([user for _, user in pairs], np.int32), np.arange(len(pairs) + 1, dtype=np.int64)
    )
    return replace(Sequences.from_lists([[event for event, _ in row] for row in lists], TEXTS), words=words)


def normal(seed, n):
    """Each event has a user of its own."""
    rng = np.random.default_rng(seed)
    return [[(int(event), int(event)) for event in rng.integers(0, 6, 8)] for _ in range(n)]


TRAIN = of(normal(0, 80))


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return GLAD(replace(QUICK, successive=False)).fit(TRAIN)


def test_an_edge_of_every_training_window_scores_below_a_pair_that_was_never_seen(fitted):
    rows = normal(1, 20)
    strange = [[*row[:4], (row[4][0], (row[4][1] + 3) % 6), *row[5:]] for row in rows]
    known, unseen = fitted.score(of(rows)), fitted.score(of(strange))
    assert np.mean(known[:, None] < unseen[None]) > 0.97
    lines = fitted.score_lines(of(strange)).reshape(-1, 8)
    assert np.mean(lines.argmax(1) == 4) > 0.5


def test_a_line_has_its_worst_edge_and_a_sequence_its_worst_line(fitted):
    log = of([[(0, 0), (1, 1)], [(2, 5)]])
    lines = fitted.score_lines(log)
    assert fitted.score(log).tolist() == [lines[:2].max(), lines[2]]
    np.testing.assert_allclose(fitted.explain(log), lines, rtol=1e-6)


def test_graphs_side_by_side_score_as_one_by_one(monkeypatch):
    detector = GLAD(replace(QUICK, steps=20, layers=3)).fit(TRAIN)
    log = of([*normal(2, 30), [], [(0, 3)]])
    together = detector.score_lines(log)
    alone = np.concatenate([detector.score_lines(log.select(np.array([i]))) for i in range(len(log))])
    np.testing.assert_allclose(alone, together, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(glad, "_MAX_EDGES", 7)
    np.testing.assert_allclose(detector.score_lines(log), together, rtol=1e-12, atol=1e-12)


def test_equal_graphs_and_texts_are_computed_once(fitted, monkeypatch):
    rows, texts = [], []
    spied = glad.union_of
    monkeypatch.setattr(glad, "union_of", lambda graphs, which: rows.extend(which.tolist()) or spied(graphs, which))
    monkeypatch.setattr(text_inputs, "embed", lambda asked: texts.extend(asked) or fake_embed(asked))
    fitted.score(of([[(0, 0), (1, 1)], [(1, 1), (0, 0)]] * 40))
    assert len(rows) == 1
    assert sorted(texts) == ["event a <*>", "event b <*>", "name anna", "name bert"]


def test_states_are_means_over_neighbours_by_weight_and_both_degrees():
    net = glad.Network(replace(QUICK, layers=1, residual=False)).double().eval()
    x = torch.randn(3, 23, dtype=torch.float64)
    graph = Graph(torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([2.0, 1.0]))
    adjacency = torch.tensor([[1.0, 2, 0], [2, 1, 1], [0, 1, 1]], dtype=torch.float64)
    scale = adjacency.sum(1).rsqrt()
    wanted = torch.relu((scale[:, None] * adjacency * scale) @ net.layers[0](x))
    torch.testing.assert_close(net.states(x, graph), wanted)
    with_own = glad.Network(replace(QUICK, layers=1)).double().eval()
    with_own.load_state_dict({**with_own.state_dict(), **net.state_dict()})
    torch.testing.assert_close(with_own.states(x, graph), wanted + with_own.own(x))


@pytest.mark.parametrize("edge", ["product", "sum"])
def test_the_score_of_an_edge_is_the_formula(edge):
    net = glad.Network(replace(QUICK, edge=edge, beta=2.0, mu=0.7, weighted=True)).double()
    states = torch.randn(2, 24, dtype=torch.float64)
    graph = Graph(torch.tensor([0]), torch.tensor([1]), torch.tensor([3.0]))
    i, j, a, b = (value.detach().numpy() for value in (*states, net.a, net.b))
    turned = None if net.turned is None else net.turned.weight.detach().numpy()
    apart = a @ i + b @ j if turned is None else b - a @ (i * (turned @ j))
    found = net.scores(states, graph).detach().numpy()
    np.testing.assert_allclose(found, 3 / (1 + np.exp(-(2 * apart - 0.7))))


def batch(own, planted):
    """One graph of two nodes and one edge, with one planted edge whose score stands beside that of its own."""
    ends = torch.tensor([0]), torch.tensor([1])
    return glad.Batch(
        torch.tensor([0, 1]), Graph(*ends, torch.tensor([own])), torch.tensor([0, 0]), torch.tensor([0]),
        Graph(*ends, torch.tensor([planted])), torch.tensor([0]),
    )  # fmt: skip


@pytest.mark.parametrize(("own", "planted", "skips", "wanted"), [
    (0.2, 0.9, False, 0.0), (0.6, 0.9, False, 0.2), (0.9, 0.6, False, 0.8), (0.9, 0.6, True, 0.0),
    (0.6, 0.9, True, 0.2),
])  # fmt: skip
def test_a_planted_edge_is_to_lie_above_its_own_by_the_margin(own, planted, skips, wanted):
    net = glad.Network(replace(QUICK, skips_violations=skips))
    net.scores = lambda states, graph: graph.weight
    loss = glad.objective(net, torch.randn(2, 23), batch(own, planted), torch.ones(1))["loss"]
    assert float(loss) == pytest.approx(wanted, abs=1e-6)


def test_the_native_rule_is_the_worst_edge_of_training(fitted):
    assert fitted.score(TRAIN).max() == pytest.approx(fitted.native_threshold_, abs=1e-12)


def test_by_the_order_of_events_a_line_without_fields_is_seen():
    bare = Words(pl.Series([], dtype=pl.String), np.zeros(0, np.int32), np.zeros(641, np.int64))
    train = replace(of([[(i % 3, 0) for i in range(8)]] * 80), words=bare)
    assert "successive" in GLAD(replace(QUICK, successive=False)).skip(train)
    detector = GLAD(replace(QUICK, steps=100)).fit(train)
    row = Sequences.from_lists([[0, 1, 2, 0, 1, 0]], TEXTS)
    lines = detector.score_lines(replace(row, words=replace(bare, offsets=np.zeros(7, np.int64))))
    assert lines.min() > 0


def test_an_order_of_events_that_was_never_seen_scores_above_the_one_that_was():
    """Events follow each other in a ring: the reverse of each known edge is planted, and must not be taken for it."""
    rows = [[(event % 6, 0) for event in range(start, start + 8)] for start in range(6)]
    bare = Words(pl.Series([], dtype=pl.String), np.zeros(0, np.int32), np.zeros(1, np.int64))

    def without_fields(lists):
        log = of(lists)
        return replace(log, words=replace(bare, offsets=np.zeros(log.n_events + 1, np.int64)))

    detector = GLAD(replace(QUICK, steps=100)).fit(without_fields(rows * 12))
    # What a sequence begins with may be anything here, so that no edge is planted against it.
    forwards, backwards = (
        detector.score_lines(without_fields(lists)).reshape(6, 8)[:, 1:]
        for lists in (rows, [row[::-1] for row in rows])
    )
    assert forwards.max() < 0.5 < backwards.min()


def test_the_state_holds_no_text_and_gives_the_same_scores(fitted):
    state = fitted.state()
    assert all(value.dtype.kind == "f" for value in state.values())
    again, log = GLAD(fitted.config).load_state(state), of(normal(3, 5))
    assert np.array_equal(again.score_lines(log), fitted.score_lines(log))
    assert again.native_threshold_ == fitted.native_threshold_


@pytest.mark.parametrize(
    "settings", [{}, {"edge": "sum", "residual": False, "weighted": True, "graph_weight": 0.5, "layers": 3}]
)
def test_network_and_objective_run_on_meta(settings):
    with torch.device("meta"):
        net = glad.Network(replace(QUICK, **settings))
        ends, weight = (torch.randint(6, (9,)), torch.randint(6, (9,))), torch.rand(9)
        own, graph_of = torch.randint(9, (4,)), torch.randint(2, (4,))
        planted = Graph(torch.randint(6, (4,)), torch.randint(6, (4,)), torch.rand(4))
        given = glad.Batch(torch.randint(5, (6,)), Graph(*ends, weight), torch.randint(2, (6,)), own, planted, graph_of)
        loss = glad.objective(net, torch.randn(5, 23), given, torch.rand(2))["loss"]
        loss.backward()
    assert loss.is_meta
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_the_mean_states_of_graphs_are_drawn_together_where_that_has_a_weight():
    parts = GLAD(replace(QUICK, steps=20, graph_weight=0.5)).fit(TRAIN).history_.checks[-1]
    assert parts["train_loss"] == pytest.approx(parts["train_edges"] + 0.5 * parts["train_graphs"])
    assert parts["train_graphs"] > 0


def test_what_cannot_be_done_is_one_sentence():
    assert "bart-base" in GLAD(Config(**GLAD.profiles["original"])).skip(TRAIN)
    with pytest.raises(ValueError, match="words"):
        GLAD(QUICK).fit(replace(TRAIN, words=None))
    for call in (lambda: GLAD().score(TRAIN), lambda: GLAD().state()):
        with pytest.raises(NotFittedError):
            call()
    for wrong in ({"edge": "mean"}, {"planted": "no"}, {"planted_share": 0.0}, {"margin": 0.0}, {"layers": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Config(**wrong)


def test_inserted_edges_are_a_part_of_the_graph_and_others_are_not():
    graphs = graphs_of(TRAIN, successive=False)
    union = union_of(graphs, np.arange(10))
    for how in ("inserted", "beside"):
        found = glad.batch_of(union, Planter(graphs, how, 0.5, seed=0), "cpu")
        n, k = len(union.source), len(found.own) if how == "inserted" else 0
        assert len(found.graph.source) == len(found.graph.weight) == n + k
        assert found.graph.source[n:].tolist() == found.planted.source[:k].tolist()
        assert found.graph.target[n:].tolist() == found.planted.target[:k].tolist()
        assert len(found.nodes) == len(found.graph_of_node) > int(found.planted.target.max())
