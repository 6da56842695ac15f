"""Drain (drain3) on distinct masked messages: learn on training lines, then frozen.

Drain depends on the order of the lines, so distinct messages cannot simply be parsed once. The cache here is exact: it
keys a message to (cluster, version) and raises the version whenever Drain makes or changes a template, so that a cached
answer is used only while the tree is the one that gave it. An answer that changed the tree is never cached: Drain gives
a message of mostly `<*>` a new cluster each time. Log keys equal those of line-by-line drain3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from drain3.drain import LogCluster, Node
from numpy.typing import NDArray

from bench.data.cards.card import ParserSettings
from bench.data.cards.events import MAX_TEMPLATES
from bench.data.reading.log import WILDCARD
from bench.data.sequences.leaves import FastDrain, Leaf
from bench.errors import BenchError
from bench.types import UNKNOWN_KEY

_FIRST_CHUNK: Final = 1 << 7
_CHUNK: Final = 1 << 14


class TooManyTemplates(BenchError):
    """Lines that share so few templates that parsing them would not end.

    n_lines: how many were learned before
    """

    def __init__(self, limit: int, n_lines: int) -> None:
        super().__init__(
            f"{n_lines:,} lines make more than {limit:,} templates, and parsing takes their square: mask what varies "
            "in them (`masks` of the card), or raise max_templates in it"
        )
        self.limit, self.n_lines = limit, n_lines


@dataclass(slots=True)
class _Memory:
    """Drain's answer to each message, and the version of the tree that gave it."""

    keys: NDArray[np.int32]
    versions: NDArray[np.int64]
    version: int = 0


class DrainParser:
    """Log keys from masked messages: key k belongs to `templates[k]`."""

    def __init__(self, settings: ParserSettings, max_templates: int = MAX_TEMPLATES) -> None:
        self._limit = self._check_at = max_templates
        self._drain = FastDrain(
            depth=settings.depth,
            sim_th=settings.similarity,
            max_children=settings.max_children,
            param_str=WILDCARD,
        )

    @property
    def templates(self) -> list[str]:
        """Template text of each log key, as it stands after all that was learned."""
        return [cluster.get_template() for cluster in self._drain.clusters]

    def learn(self, message_ids: NDArray[np.int32], messages: Sequence[str]) -> NDArray[np.int32]:
        """Learn lines in order and return int32 (n_lines,): the log key each had at that moment.

        `TooManyTemplates` where the limit is passed; what was learned until then stays.
        """
        keys = np.empty(len(message_ids), np.int32)
        memory = _Memory(np.full(len(messages), UNKNOWN_KEY, np.int32), np.full(len(messages), -1, np.int64))
        start, size = 0, _FIRST_CHUNK
        while start < len(message_ids):
            chunk = message_ids[start : start + size]
            version = memory.version
            n_learned = self._learn_until_change(chunk, messages, memory)
            keys[start : start + n_learned] = memory.keys[chunk[:n_learned]]
            start += n_learned
            # While the tree changes with every few lines, looking far ahead is in vain.
            size = min(2 * size, _CHUNK) if memory.version == version else _FIRST_CHUNK
            if len(self._drain.clusters) > self._check_at:
                self._require_few(start)
        return keys

    def _require_few(self, n_lines: int) -> None:
        """Clusters of one text are one template, so there may be more of them."""
        n_distinct = len(set(self.templates))
        if n_distinct > self._limit:
            raise TooManyTemplates(self._limit, n_lines)
        self._check_at = len(self._drain.clusters) + self._limit - n_distinct

    def _learn_until_change(self, chunk: NDArray[np.int32], messages: Sequence[str], memory: _Memory) -> int:
        """Learn lines until one changes the tree; returns how many lines that took, with that one."""
        for position in np.flatnonzero(memory.versions[chunk] != memory.version).tolist():
            message = chunk[position]
            if memory.versions[message] == memory.version:
                continue
            cluster, change = self._drain.add_log_message(messages[message])
            memory.keys[message] = cluster.cluster_id - 1
            if change != "none":
                memory.version += 1
                return int(position) + 1
            memory.versions[message] = memory.version
        return len(chunk)

    def match(self, messages: Sequence[str]) -> NDArray[np.int32]:
        """Return int32 (n_messages,): the log key of each message without learning, UNKNOWN_KEY where none fits."""
        found = (self._drain.match(message, full_search_strategy="fallback") for message in messages)
        return np.array([UNKNOWN_KEY if cluster is None else cluster.cluster_id - 1 for cluster in found], np.int32)

    def state(self) -> dict[str, Any]:
        """Clusters and tree as JSON: enough to match, and to match alike."""
        clusters = [list(cluster.log_template_tokens) for cluster in self._drain.clusters]
        return {"clusters": clusters, "tree": _tree_as_json(self._drain.root_node)}

    @classmethod
    def from_state(cls, settings: ParserSettings, state: dict[str, Any]) -> Self:
        """The parser of which `state` was stored."""
        made = cls(settings)
        for number, tokens in enumerate(state["clusters"], 1):
            made._drain.id_to_cluster[number] = LogCluster(tokens, number)
        made._drain.clusters_counter = len(state["clusters"])
        made._drain.root_node = _tree_from_json(state["tree"])
        return made


def _tree_as_json(node: Node) -> list[Any]:
    return [list(node.cluster_ids), {key: _tree_as_json(child) for key, child in node.key_to_child_node.items()}]


def _tree_from_json(values: list[Any]) -> Node:
    node = Node()
    node.cluster_ids = Leaf(values[0])
    # The first level of the tree is keyed by the number of tokens, which JSON makes a text, as drain3 does itself.
    node.key_to_child_node = {key: _tree_from_json(child) for key, child in values[1].items()}
    return node
