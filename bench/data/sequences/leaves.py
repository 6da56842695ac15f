"""drain3's Drain with leaves that are searched as arrays: the same clusters, in a time that many of them do not ruin.

drain3 compares a line with every cluster of its leaf, token by token, and copies the leaf for each new cluster. Here a
leaf of many clusters is also an array of token numbers, and a line is compared with all of them at once. Which cluster
wins is drain3's choice: most equal tokens, among these most `<*>`, among these the first.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from drain3.drain import Drain, LogCluster, Node
from numpy.typing import NDArray

_MANY: Final = 32
"""Clusters from which an array is faster than a loop."""
_WILDCARD: Final = 0
_NEVER: Final = -1
"""Number of a token of a line that no cluster has."""


class Leaf(list[int]):
    """The cluster ids of a leaf, and their tokens as numbers once they are many."""

    def __init__(self, ids: list[int] | None = None) -> None:
        super().__init__(ids or ())
        self.tokens: NDArray[np.int32] | None = None
        """int32 (n_tokens, room): a column per cluster, in the order of the ids"""


class FastDrain(Drain):  # type: ignore[misc]  # drain3 has no types
    """Drain with the same answers as drain3's."""

    def __init__(self, *, depth: int, sim_th: float, max_children: int, param_str: str) -> None:
        super().__init__(depth=depth, sim_th=sim_th, max_children=max_children, param_str=param_str)
        self._numbers: dict[str, int] = {self.param_str: _WILDCARD}
        self._places: dict[int, tuple[Leaf, int]] = {}
        self._by_length: dict[int, Leaf] = {}

    def add_log_message(self, content: str) -> tuple[LogCluster, str]:
        """Learn a message; returns its cluster and what that changed."""
        cluster, change = super().add_log_message(content)
        if change == "cluster_template_changed":
            self._by_length.pop(len(cluster.log_template_tokens), None)
            leaf, column = self._places.get(cluster.cluster_id, (None, 0))
            if leaf is not None and leaf.tokens is not None:
                leaf.tokens[:, column] = self._numbered(cluster)
        return cluster, change

    def add_seq_to_prefix_tree(self, root_node: Node, cluster: LogCluster) -> None:
        """Put a new cluster into its leaf, in place."""
        tokens = cluster.log_template_tokens
        node = root_node.key_to_child_node.setdefault(str(len(tokens)), Node())
        for token in tokens[: max(0, min(self.max_node_depth, len(tokens)) - 1)]:
            node = self._child(node, token)
        self._append(node, cluster)
        self._by_length.pop(len(tokens), None)

    def _child(self, node: Node, token: str) -> Node:
        children = node.key_to_child_node
        if token in children:
            return children[token]
        n_others = len(children) + (self.param_str not in children)
        is_variable = self.has_numbers(token) or n_others >= self.max_children
        return children.setdefault(self.param_str if is_variable else token, Node())

    def _append(self, node: Node, cluster: LogCluster) -> None:
        leaf = node.cluster_ids
        if not isinstance(leaf, Leaf):
            leaf = node.cluster_ids = Leaf(leaf)
        column = len(leaf)
        leaf.append(cluster.cluster_id)
        self._places[cluster.cluster_id] = leaf, column
        if leaf.tokens is None:
            return
        if column == leaf.tokens.shape[1]:
            leaf.tokens = np.hstack((leaf.tokens, np.full_like(leaf.tokens, _NEVER)))
        leaf.tokens[:, column] = self._numbered(cluster)

    def fast_match(
        self, cluster_ids: list[int], tokens: list[str], sim_th: float, include_params: bool
    ) -> LogCluster | None:
        """The best cluster of a leaf for a line, or None where none is alike enough."""
        if not isinstance(cluster_ids, Leaf) or len(cluster_ids) < _MANY or not tokens:
            return super().fast_match(cluster_ids, tokens, sim_th, include_params)
        if cluster_ids.tokens is None:
            self._fill(cluster_ids, is_of_tree=cluster_ids is not self._by_length.get(len(tokens)))
        assert cluster_ids.tokens is not None
        n = len(cluster_ids)
        equal, wildcards = np.zeros(n, np.int32), np.zeros(n, np.int32)
        for column, token in zip(cluster_ids.tokens, tokens, strict=True):
            known = column[:n]
            number = self._numbers.get(token, _NEVER)
            wildcards += known == _WILDCARD
            # A `<*>` of the line equals no token: drain3 counts those of the cluster alone.
            if number != _WILDCARD:
                equal += known == number
        if include_params:
            equal += wildcards
        best = int(equal.max())
        if best / len(tokens) < sim_th:
            return None
        candidates = np.flatnonzero(equal == best)
        found = cluster_ids[int(candidates[np.argmax(wildcards[candidates])])]
        return self.id_to_cluster[found]

    def _fill(self, leaf: Leaf, *, is_of_tree: bool) -> None:
        clusters = [self.id_to_cluster[number] for number in leaf]
        leaf.tokens = np.full((len(clusters[0].log_template_tokens), 2 * len(clusters)), _NEVER, np.int32)
        for column, cluster in enumerate(clusters):
            leaf.tokens[:, column] = self._numbered(cluster)
            if is_of_tree:
                self._places[cluster.cluster_id] = leaf, column

    def _numbered(self, cluster: LogCluster) -> list[int]:
        numbers = self._numbers
        return [numbers.setdefault(token, len(numbers)) for token in cluster.log_template_tokens]

    def get_clusters_ids_for_seq_len(self, seq_len: int) -> list[int]:
        """All clusters with this number of tokens; kept until there is a new one."""
        if seq_len not in self._by_length:
            self._by_length[seq_len] = Leaf(super().get_clusters_ids_for_seq_len(seq_len))
        return self._by_length[seq_len]
