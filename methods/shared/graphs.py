"""Sequences as graphs of what stands together: events, their fields, and what follows them.

A node is a text of a kind, an edge a pair of nodes with the number of times it occurs. A graph is the bag of its
edges, so that equal graphs are one with a count; several are computed as one disjoint union.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.types import Sequences, ranges
from methods.shared.bags import Bags, Integers, unique_bags
from methods.shared.fields import fields_of

BEGIN, EVENT, FIELD = 0, 1, 2
"""Kinds of nodes: what comes before a sequence, the text of an event, a field of it."""


class Nodes(NamedTuple):
    """The distinct nodes of some sequences."""

    texts: tuple[str, ...]
    """The text of each; empty for the beginning."""
    kinds: Integers
    """(n_nodes,)"""


class Graphs(NamedTuple):
    """The distinct graphs of some sequences."""

    nodes: Nodes
    source: Integers
    """(n_kinds_of_edges,) node at which each distinct edge begins."""
    target: Integers
    """(n_kinds_of_edges,) node at which it ends."""
    bags: Bags
    """Edges of each graph with their numbers."""
    counts: Integers
    """(n_graphs,) sequences of each."""
    edge_of: Integers
    """(n_edges,) of all events one after another: place of each in `bags.ids`."""
    event_of: Integers
    """(n_edges,) the event that it is an edge of."""


class Union(NamedTuple):
    """Some graphs side by side, none connected with another."""

    nodes: Integers
    """(n,) number of each node in `Nodes`."""
    source: Integers
    """(n_edges,) place in `nodes`."""
    target: Integers
    """(n_edges,)"""
    weight: NDArray[np.float32]
    """(n_edges,) how often the edge occurs in its graph."""
    graph_of: Integers
    """(n_edges,) which of the graphs it belongs to."""
    graph_of_node: Integers
    """(n,)"""


def graphs_of(sequences: Sequences, *, successive: bool) -> Graphs:
    """Edges from each event to its fields and, where set, to it from the event before (or from the beginning)."""
    if sequences.words is None:
        raise ValueError("graphs are made of the words of messages, and these sequences have none")
    used, row = np.unique(sequences.text_ids, return_inverse=True)
    texts = [sequences.texts[i] for i in used.tolist()]
    # Masked messages of two numbers may be equal: they are one node.
    distinct, of_text = np.unique(np.array(texts, dtype=object).astype(str), return_inverse=True)
    fields = fields_of(sequences.words)
    nodes = Nodes(
        ("", *distinct.tolist(), *fields.texts),
        np.repeat([BEGIN, EVENT, FIELD], [1, len(distinct), len(fields.texts)]),
    )
    event = 1 + of_text[row].astype(np.int64) if len(row) else np.zeros(0, np.int64)
    owner = np.repeat(np.arange(len(event)), np.diff(fields.offsets))
    ends = [(owner, event[owner], 1 + len(distinct) + fields.ids)]
    if successive:
        before = np.concatenate([[0], event[:-1]])[: len(event)]
        before[sequences.offsets[:-1][sequences.lengths > 0]] = 0
        ends.append((np.arange(len(event)), before, event))
    event_of, source, target = (np.concatenate(parts) for parts in zip(*ends, strict=True))
    order = np.argsort(event_of, kind="stable")
    return _graphs(nodes, event_of[order], source[order], target[order], sequences)


def _graphs(nodes: Nodes, event_of: Integers, source: Integers, target: Integers, sequences: Sequences) -> Graphs:
    """Edges in the order of events as distinct bags."""
    pairs, kind = np.unique(source * len(nodes.texts) + target, return_inverse=True)
    before = np.concatenate([[0], np.cumsum(np.bincount(event_of, minlength=sequences.n_events))])
    offsets = before[sequences.offsets].astype(np.int64)
    bags, counts, inverse = unique_bags(kind.astype(np.int64), offsets)
    # Ids ascend within a bag, so that bag and id together ascend over all.
    size = max(1, len(pairs))
    places = np.repeat(np.arange(len(counts)), bags.lengths) * size + bags.ids
    wanted = np.repeat(inverse, np.diff(offsets)) * size + kind
    return Graphs(
        nodes,
        pairs // len(nodes.texts),
        pairs % len(nodes.texts),
        bags,
        counts,
        np.searchsorted(places, wanted),
        event_of,
    )


def union_of(graphs: Graphs, which: Integers) -> Union:
    """The graphs at these places side by side, each distinct node of a graph once."""
    lengths = graphs.bags.lengths[which]
    edges = ranges(graphs.bags.offsets[which], lengths)
    graph_of = np.repeat(np.arange(len(which)), lengths)
    kinds, size = graphs.bags.ids[edges], len(graphs.nodes.texts)
    ends = np.concatenate([graph_of * size + graphs.source[kinds], graph_of * size + graphs.target[kinds]])
    codes, place = np.unique(ends, return_inverse=True)
    return Union(
        codes % size,
        place[: len(edges)],
        place[len(edges) :],
        graphs.bags.multiplicity[edges],
        graph_of,
        codes // size,
    )
