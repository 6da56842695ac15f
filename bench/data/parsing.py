"""Drain (drain3) on distinct masked messages: learn on training lines, then frozen.

Drain depends on the order of the lines, so distinct messages cannot simply be parsed once. The cache here is exact: it
keys a message to (cluster, version) and raises the version whenever Drain makes or changes a template, so that a cached
answer is used only while the tree is the one that gave it. An answer that changed the tree is never cached: Drain gives
a message of mostly `<*>` a new cluster each time. Log keys equal those of line-by-line drain3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from drain3.drain import Drain
from numpy.typing import NDArray

from bench.data.cards import ParserSettings
from bench.data.readers import WILDCARD
from bench.types import UNKNOWN_KEY


class DrainParser:
    """Log keys from masked messages: key k belongs to `templates[k]`."""

    def __init__(self, settings: ParserSettings) -> None:
        self._drain = Drain(
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
        """Learn lines in order and return int32 (n_lines,): the log key each had at that moment."""
        known: list[int] = [UNKNOWN_KEY] * len(messages)
        known_at: list[int] = [-1] * len(messages)
        version = 0
        keys: list[int] = []
        for message in message_ids.tolist():
            if known_at[message] != version:
                cluster, change = self._drain.add_log_message(messages[message])
                known[message] = cluster.cluster_id - 1
                if change == "none":
                    known_at[message] = version
                else:
                    version += 1
            keys.append(known[message])
        return np.array(keys, dtype=np.int32)

    def match(self, messages: Sequence[str]) -> NDArray[np.int32]:
        """Return int32 (n_messages,): the log key of each message without learning, UNKNOWN_KEY where none fits."""
        found = (self._drain.match(message, full_search_strategy="fallback") for message in messages)
        return np.array([UNKNOWN_KEY if cluster is None else cluster.cluster_id - 1 for cluster in found], np.int32)
