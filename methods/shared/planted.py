"""Edges that no normal graph has, planted in place of its own: what a graph network learns to find."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.shared.graphs import BEGIN, Graphs, Union

Integers = NDArray[np.int64]

_TRIES: Final = 10
"""Draws of another end, before an edge goes without a planted one."""


class Plants(NamedTuple):
    """Planted edges."""

    own: Integers
    """(k,) the edge of the union that each stands beside."""
    source: Integers
    """(k,) place of a node in the union, new nodes behind the others."""
    target: Integers
    """(k,)"""
    nodes: Integers
    """(m,) numbers of the new nodes."""
    graph_of_node: Integers
    """(m,) which of the graphs each belongs to."""


class Planter:
    """Replaces one end of edges, the one of more edges more often; no planted edge is a true one."""

    def __init__(self, graphs: Graphs, how: Literal["inserted", "beside"], share: float, seed: int) -> None:
        """graphs: of training. how: whether another end is a node of any of them, or of the same graph."""
        self.how, self.share = how, share
        self.size = len(graphs.nodes.texts)
        self.known = graphs.source * self.size + graphs.target
        kinds = graphs.nodes.kinds
        self.pools = [np.flatnonzero(kinds == kind) for kind in range(int(kinds.max(initial=0)) + 1)]
        self.kinds = kinds
        self.rng = np.random.default_rng([seed, 7])

    def plant(self, union: Union) -> Plants:
        """Draw edges of the union, at least one, and another end for each; those without any are left out."""
        n = len(union.source)
        own = np.sort(self.rng.permutation(n)[: max(1, round(self.share * n))])
        degree = np.bincount(np.concatenate([union.source, union.target]), minlength=len(union.nodes))
        source, target = union.source[own], union.target[own]
        of_source, of_target = degree[source], degree[target]
        at_source = self.rng.random(len(own)) * (of_source + of_target) < of_source
        # Before a sequence there is nothing else than its beginning.
        at_source &= self.kinds[union.nodes[source]] != BEGIN
        found = np.full(len(own), -1)
        for _ in range(_TRIES):
            open_ = np.flatnonzero(found < 0)
            if not len(open_):
                break
            drawn = self._draw(union, own[open_], np.where(at_source, source, target)[open_])
            kept = np.where(at_source, target, source)[open_]
            found[open_] = np.where(self._is_true(union, drawn, kept, at_source[open_]), -1, drawn)
        has = np.flatnonzero(found >= 0)
        own, at_source, found, source, target = own[has], at_source[has], found[has], source[has], target[has]
        place, nodes, graphs = found, np.zeros(0, np.int64), np.zeros(0, np.int64)
        if self.how == "inserted":
            place, nodes, graphs = self._placed(union, union.graph_of[own], found)
        return Plants(own, np.where(at_source, place, source), np.where(at_source, target, place), nodes, graphs)

    def _placed(self, union: Union, graph: Integers, drawn: Integers) -> tuple[Integers, Integers, Integers]:
        """Where the drawn nodes stand in the graphs, as new ones where they do not; these, and their graphs."""
        codes, wanted = union.graph_of_node * self.size + union.nodes, graph * self.size + drawn
        new = np.setdiff1d(wanted, codes)
        both = np.concatenate([codes, new])
        order = np.argsort(both, kind="stable")
        return order[np.searchsorted(both[order], wanted)], new % self.size, new // self.size

    def _draw(self, union: Union, edges: Integers, replaced: Integers) -> Integers:
        """A node for each: of the kind of the replaced one, by its number; or of the same graph, by its place."""
        if self.how == "inserted":
            kinds, drawn = self.kinds[union.nodes[replaced]], np.zeros(len(edges), np.int64)
            for kind, pool in enumerate(self.pools):
                here = kinds == kind
                drawn[here] = self.rng.choice(pool, int(here.sum())) if here.any() else 0
            return drawn
        begin, end = (np.searchsorted(union.graph_of_node, union.graph_of[edges], side) for side in ("left", "right"))
        return begin + (self.rng.random(len(edges)) * (end - begin)).astype(np.int64)

    def _is_true(
        self, union: Union, drawn: Integers, kept: Integers, at_source: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Whether a drawn node and a kept end are an edge of any training graph, or neighbours in their own."""
        if self.how == "inserted":
            drawn_first, kept_first = drawn * self.size + union.nodes[kept], union.nodes[kept] * self.size + drawn
            return np.isin(np.where(at_source, drawn_first, kept_first), self.known)
        size = len(union.nodes)
        edges = np.concatenate([union.source * size + union.target, union.target * size + union.source])
        return np.asarray(np.isin(drawn * size + kept, edges) | (drawn == kept))
