"""Trees of scikit-learn as plain arrays, and their evaluation for all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from methods.shared.counts import Floats, Integers

_NO_CHILD: Final = -1
ForestState = dict[str, NDArray[Any]]


def arrays_of(trees: Sequence[Any], features: Sequence[NDArray[np.int64]], values: Sequence[Floats]) -> ForestState:
    """Nodes of all trees behind each other.

    trees: `tree_` of scikit-learn; features: for each tree the columns that its features stand for; values: for each
    tree float64 (n_nodes,), what a row gets that ends in the node.
    """
    starts = np.cumsum([0] + [tree.node_count for tree in trees])
    children = [
        np.where(side == _NO_CHILD, np.arange(len(side)), side) + start
        for tree, start in zip(trees, starts, strict=False)
        for side in (tree.children_left, tree.children_right)
    ]
    columns = [np.where(t.feature < 0, 0, f[np.maximum(t.feature, 0)]) for t, f in zip(trees, features, strict=True)]
    return {
        "roots": starts[:-1].astype(np.int64),
        "depths": np.array([tree.max_depth for tree in trees], np.int64),
        "column": np.concatenate(columns).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
        "left": np.concatenate(children[::2]).astype(np.int32),
        "right": np.concatenate(children[1::2]).astype(np.int32),
        "value": np.concatenate(values).astype(np.float64),
    }


def mean_value(state: ForestState, rows: Floats) -> Floats:
    """float64 (n_rows,): the mean over all trees of the value of the leaf in which a row ends.

    A leaf is its own child, so that all rows take as many steps as the tree is deep. Rows are compared in float32, as
    scikit-learn does.
    """
    flat, width = rows.astype(np.float32).ravel(), rows.shape[1]
    row_start: Integers = np.arange(len(rows), dtype=np.int64) * width
    total = np.zeros(len(rows))
    for root, depth in zip(state["roots"].tolist(), state["depths"].tolist(), strict=True):
        node = np.full(len(rows), root, np.int32)
        for _ in range(depth):
            goes_left = flat[row_start + state["column"][node]] <= state["threshold"][node]
            node = np.where(goes_left, state["left"][node], state["right"][node])
        total += state["value"][node]
    return total / len(state["roots"])
