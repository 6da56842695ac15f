"""GLAD: content-aware dynamic graphs for log anomaly detection (Li et al., ICKG 2023).

A sequence is a graph: the text of each event is connected with the fields of its lines (users, addresses, paths ...)
and with the event before it. A graph network learns, from normal graphs and planted edges that no normal graph has, to
score edges. A line has the score of its worst edge, a sequence that of its worst line. The native rule flags an edge
above every one of training.

Told: source normals. It reads texts and the words behind their `<*>`.

Works badly where a failure is no new relation: more of the same, or the lack of an event. Where lines have few
fields, only what follows what is left to it.

Reconstructed [R]: rules tag the fields in place of a few-shot language model, sentence vectors are the nodes' texts.
The Transformer over the nodes of 64 graphs is left out: a score would depend on graphs beside it, later ones too. Edges
to the event before are ours; planted edges stand in the graph while it is scored, as those of a failure do; the two
ends of an edge interact (`edge=product`). More: docs/methods/glad.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(GLAD.tags.told)
    >>> detector = GLAD().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError
from bench.types import Sequences
from methods.shared import layers
from methods.shared.fields import fields_of
from methods.shared.graphs import BEGIN, FIELD, Graphs, Union, graphs_of, union_of
from methods.shared.layers import Integers
from methods.shared.planted import Planter, Plants
from methods.shared.pretrained import EncoderSettings, inputs_from_state, inputs_of, missing_weights
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.training import TrainingSettings, hold_out, seeded, train_network

_MAX_EDGES = 2**15
"""Edges scored at once, unless one graph has more."""


@dataclass(frozen=True, kw_only=True)
class Config(EncoderSettings, TrainingSettings):
    """The shared budget, and the authors' network at the width of the shared vectors."""

    width: int = 100
    """Dimensions of a text's vector, those of every method."""
    hidden: int = 128
    """Dimensions of a node between the layers and behind them (code: 128 and 768)."""
    layers: int = 3
    """Graph convolutions (code)."""
    edge: Literal["product", "sum"] = "product"
    """What the states i and j of its ends say against an edge: b - a.(i * Tj), which is small for ends that belong
    together in this order [R], or a.i + b.j (code), in which they do not interact."""
    residual: bool = True
    """Whether a node's own vector is added to its state behind the last convolution [R]; without (code), the states of
    a small graph become alike."""
    beta: float = 1.0
    """Factor of that number (code)."""
    mu: float = 0.3
    """What is taken off it before the sigmoid (code)."""
    weighted: bool = False
    """Whether the score of an edge is multiplied by how often it occurs (code) [R]."""
    margin: float = 0.5
    """gamma: by how much a planted edge is to lie above its own (code)."""
    skips_violations: bool = False
    """Leave out pairs in the wrong order, as the code does; these are what is to be learned [R]."""
    planted: Literal["inserted", "beside"] = "inserted"
    """What replaces one end of an edge: a node of any training graph, such that no training graph has the edge, which
    then is a part of the graph [R]; or one of the same graph, and the graph stays as it is (code)."""
    planted_share: float = 0.2
    """Share of the edges for each of which one is planted [R]; 1 in the code."""
    graph_weight: float = 0.0
    """Weight of the distance of graphs' mean states to their mean (code: .5, in its variant of two levels) [R]."""
    successive: bool = True
    """Whether an event is connected with the one before it, too [R]; without, a line without fields has no edge."""
    dropout: float = 0.3
    """Behind each graph convolution (code)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.hidden, self.layers) < 1:
            raise ValueError("width, hidden and layers must be at least 1")
        if self.edge not in ("product", "sum") or self.planted not in ("inserted", "beside"):
            raise ValueError(f"edge '{self.edge}' must be product or sum, planted '{self.planted}' inserted or beside")
        if not 0 < self.planted_share <= 1 or self.margin <= 0 or self.graph_weight < 0:
            raise ValueError(
                f"planted_share {self.planted_share} must be in (0, 1], margin {self.margin} positive, "
                f"graph_weight {self.graph_weight} not negative"
            )


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-3, "code"),
    "weight_decay": (1e-5, "code"),
    "steps": (None, "code counts epochs"),
    "max_epochs": (100, "code"),
    "patience": (10, "[R] code: early stopping, whose patience was not read"),
    "batch_size": (64, "code"),
    "validation_fraction": (0.2, "code"),
    "dropout": (0.3, "code"),
    "encoder": ("bart-base", "code"),
    "width": (768, "code"),
    "centred": (False, "code"),
    "hidden": (128, "code"),
    "layers": (3, "code"),
    "edge": ("sum", "code"),
    "residual": (False, "code"),
    "beta": (1.0, "code"),
    "mu": (0.3, "code"),
    "weighted": (True, "code"),
    "margin": (0.5, "code"),
    "skips_violations": (True, "code"),
    "planted": ("beside", "code"),
    "planted_share": (1.0, "code"),
    "graph_weight": (0.5, "code, in its variant of two levels"),
    "successive": (False, "code: edges between events and fields"),
}


class GLAD(Detector):
    """Score of the worst edge of a graph of events and their fields."""

    tags: ClassVar[DetectorTags] = DetectorTags(
        told={"source": "normals"}, unit="line", uses=frozenset({"texts", "words"})
    )
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the authors' code as far as it was read, without its Transformer over 64 graphs; the weights of BART
    are the user's."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def skip(self, train: Sequences) -> str | None:
        """Without an edge there is nothing to learn from, and without its weights no encoder."""
        if reason := missing_weights(self.config):
            return reason
        if not train.n_events:
            return "no training sequence has an event"
        if not self.config.successive and train.words is not None and not len(fields_of(train.words).ids):
            return "no training line has a field, so there is no edge: set successive to true"
        return None

    def fit(
        self,
        train: Sequences,
        labels: NDArray[np.int8] | None = None,
        *,
        evidence: Evidence = Evidence(),
    ) -> Self:
        """Learn to tell edges of the training graphs from planted ones; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"GLAD cannot be trained: {reason}")
        config: Config = self.config
        graphs = graphs_of(train, successive=config.successive)
        texts = [text for text, kind in zip(*graphs.nodes, strict=True) if kind != BEGIN]
        self.inputs_ = inputs_of(texts, config)
        parts = hold_out(np.where(graphs.bags.lengths > 0, graphs.counts, 0), config.validation_fraction, self.seed)
        table = self._table(graphs).float()
        planter = Planter(graphs, config.planted, config.planted_share, self.seed)
        with seeded(self.seed, self.device):
            net = self._new_network()

            def loss(batch: Batch, weights: Tensor) -> dict[str, Tensor]:
                return objective(net, table, batch, weights)

            def stage(batches: Iterable[Integers]) -> list[Batch]:
                return [batch_of(union_of(graphs, items), planter, self.device) for items in batches]

            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=stage)
        # In float64 the company of a graph in a union moves no score by as much as a rounding of float32.
        self.net_ = net.double().eval()
        self.native_threshold_ = float(self._edge_scores(graphs).max(initial=0.0))
        return self

    def score_lines(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return float64 (n_events,): the score of the worst edge of each line; 0 for one without any."""
        if not hasattr(self, "net_"):
            raise NotFittedError("GLAD: call fit before score")
        scores = np.zeros(sequences.n_events)
        graphs = graphs_of(sequences, successive=self.config.successive)
        np.maximum.at(scores, graphs.event_of, self._edge_scores(graphs)[graphs.edge_of])
        return scores

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return the score of each line, float32 (n_events,)."""
        return self.score_lines(sequences).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters, how texts enter and the native rule; no log text."""
        if not hasattr(self, "net_"):
            raise NotFittedError("GLAD: call fit before state")
        return {**layers.arrays_of(self.net_), **self.inputs_.state(), "rule": np.array([self.native_threshold_])}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.inputs_, self.native_threshold_ = inputs_from_state(state, self.config), float(state["rule"][0])
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        layers.load_arrays(self.net_, state)
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps."""
        return self.history_.as_json() if hasattr(self, "history_") else {}

    def _new_network(self) -> Network:
        return Network(self.config).to(self.device)

    def _table(self, graphs: Graphs) -> Tensor:
        """float64 (n_nodes, width + 3): what is known of each node, its vector and its kind; a text is read once."""
        known = graphs.nodes.kinds != BEGIN
        table = np.zeros((len(known), self.config.width + FIELD + 1))
        table[known, : self.config.width] = self.inputs_.features(graphs.nodes.texts[1:])
        table[np.arange(len(known)), self.config.width + graphs.nodes.kinds] = 1
        return torch.as_tensor(table, device=self.device)

    def _edge_scores(self, graphs: Graphs) -> NDArray[np.float64]:
        """float64 (n,): the score of each edge of the distinct graphs, as in `bags.ids`."""
        scores, offsets = np.zeros(len(graphs.bags.ids)), graphs.bags.offsets
        if not len(scores):
            return scores
        table = self._table(graphs)
        block = offsets[:-1] // _MAX_EDGES
        with torch.inference_mode():
            for which in np.split(np.arange(len(block)), np.flatnonzero(np.diff(block)) + 1):
                batch = batch_of(union_of(graphs, which), None, self.device)
                found = self.net_(table[batch.nodes], batch.graph)
                scores[offsets[which[0]] : offsets[which[-1] + 1]] = found.cpu().numpy()
        return scores


class Graph(NamedTuple):
    """A disjoint union on the device."""

    source: Tensor
    """int64 (n_edges,) place of the node."""
    target: Tensor
    """int64 (n_edges,)"""
    weight: Tensor
    """float (n_edges,) how often the edge occurs."""


class Batch(NamedTuple):
    """A disjoint union to learn from."""

    nodes: Tensor
    """int64 (n,) rows of the table, those of planted edges behind the others."""
    graph: Graph
    """Its edges, inserted ones behind the others."""
    graph_of_node: Tensor
    """int64 (n,)"""
    own: Tensor
    """int64 (k,) edges for which one was planted."""
    planted: Graph
    """(k,) what was planted, with the weight of its own."""
    graph_of: Tensor
    """int64 (k,) the graph of each."""


def batch_of(union: Union, planter: Planter | None, device: str) -> Batch:
    """The union with planted edges, or without any."""
    none = np.zeros(0, np.int64)
    plants = Plants(none, none, none, none, none) if planter is None else planter.plant(union)
    planted: tuple[NDArray[Any], ...] = (plants.source, plants.target, union.weight[plants.own])
    edges: list[NDArray[Any]] = [union.source, union.target, union.weight]
    if planter is not None and planter.how == "inserted":
        edges = [np.concatenate([there, new]) for there, new in zip(edges, planted, strict=True)]

    def moved(array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=device)

    return Batch(
        moved(np.concatenate([union.nodes, plants.nodes])),
        Graph(*map(moved, edges)),
        moved(np.concatenate([union.graph_of_node, plants.graph_of_node])),
        moved(plants.own),
        Graph(*map(moved, planted)),
        moved(union.graph_of[plants.own]),
    )


def objective(net: Network, table: Tensor, batch: Batch, weights: Tensor) -> dict[str, Tensor]:
    """Margin between edges and planted ones, mean over each graph; weights: (n_graphs,) summing to 1."""
    states = net.states(table[batch.nodes], batch.graph)
    scores, planted = net.scores(states, batch.graph)[batch.own], net.scores(states, batch.planted)
    each = torch.relu(net.margin + scores - planted)
    counted = torch.ones_like(each)
    if net.skips_violations:
        counted = (scores <= planted).to(each.dtype)
    pairs = weights.new_zeros(len(weights)).index_add(0, batch.graph_of, counted)
    of_pair = weights[batch.graph_of] / pairs[batch.graph_of].clamp_min(1)
    parts = {"edges": (of_pair * counted * each).sum()}
    if net.graph_weight:
        sizes = weights.new_zeros(len(weights)).index_add(0, batch.graph_of_node, states.new_ones(len(states)))
        sums = states.new_zeros(len(weights), states.shape[1]).index_add(0, batch.graph_of_node, states)
        means = sums / sizes.clamp_min(1)[:, None]
        centre = (weights[:, None] * means).sum(0).detach()
        parts["graphs"] = (weights * (means - centre).square().mean(1)).sum()
        return {"loss": parts["edges"] + net.graph_weight * parts["graphs"], **parts}
    return {"loss": parts["edges"]}


class Network(nn.Module):
    """Graph convolutions over nodes, and a score of an edge from the states of its ends."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.edge, self.beta, self.mu, self.weighted = config.edge, config.beta, config.mu, config.weighted
        self.margin, self.skips_violations = config.margin, config.skips_violations
        self.graph_weight = config.graph_weight
        widths = [config.width + FIELD + 1, *[config.hidden] * config.layers]
        self.layers = nn.ModuleList(nn.Linear(inner, outer) for inner, outer in pairwise(widths))
        self.dropout = layers.Dropout(config.dropout)
        self.a = nn.Parameter(torch.randn(config.hidden) / config.hidden**0.5)
        self.b = nn.Parameter(torch.zeros(config.hidden if self.edge == "sum" else 1))
        self.own = nn.Linear(widths[0], config.hidden) if config.residual else None
        # Else u before v has the score of v before u, which is planted where only the first is known.
        self.turned = nn.Linear(config.hidden, config.hidden, bias=False) if self.edge == "product" else None

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """x: (n, width + 3) of the nodes -> (n_edges,)."""
        return self.scores(self.states(x, graph), graph)

    def states(self, x: Tensor, graph: Graph) -> Tensor:
        """Means over a node and its neighbours, by the weights of edges and the root of both degrees: (n, hidden)."""
        ends, others = torch.cat([graph.source, graph.target]), torch.cat([graph.target, graph.source])
        weight = torch.cat([graph.weight, graph.weight]).to(x.dtype)
        degree = x.new_ones(len(x)).index_add(0, ends, weight)
        share = weight * (degree[ends] * degree[others]).rsqrt()
        state = x
        for layer in self.layers:
            inner = layer(state)
            own = inner / degree[:, None]
            state = self.dropout(torch.relu(own.index_add(0, ends, share[:, None] * inner[others])))
        return state if self.own is None else state + self.own(x)

    def scores(self, states: Tensor, graph: Graph) -> Tensor:
        """Between 0 and 1 (times the weight): high for an edge unlike those of training; (n_edges,)."""
        source, target = states[graph.source], states[graph.target]
        if self.turned is None:
            against = source @ self.a + target @ self.b
        else:
            against = self.b - (source * self.turned(target)) @ self.a
        score = torch.sigmoid(self.beta * against - self.mu)
        return score * graph.weight.to(score.dtype) if self.weighted else score
