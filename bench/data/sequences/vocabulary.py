"""Log keys: what the parser learns from training lines, and the sequences of any lines under what it learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.card import Card, ParserSettings
from bench.data.cards.events import key_parts
from bench.data.reading.log import Log, take
from bench.data.sequences.drain import DrainParser, TooManyTemplates
from bench.data.sequences.grouping import Groups
from bench.data.sequences.keyed import KeyedParser, parser_for, parser_from_state
from bench.data.sequences.splits import Split
from bench.errors import BenchError
from bench.types import NORMAL, UNKNOWN_KEY, Sequences, ranges


@dataclass(frozen=True, slots=True)
class Part:
    """Sequences with int8 labels (n_sequences,): 0 normal, 1 abnormal."""

    sequences: Sequences
    labels: NDArray[np.int8]

    @property
    def normals(self) -> Sequences:
        """The normal sequences."""
        return self.sequences.select(self.labels == NORMAL)

    def read_only(self) -> Part:
        """The same part, locked: every method of a run is given it, and none may change it for the others."""
        self.labels.setflags(write=False)
        return Part(self.sequences.read_only(), self.labels.view())


@dataclass(frozen=True, slots=True)
class System:
    """One edition taking part in a cell; its index is `Sequences.system`."""

    card: Card
    log: Log
    groups: Groups
    split: Split
    index: int


class Vocabulary:
    """Log keys of the training lines of all sources: Drain templates first, then the ids of pre-parsed streams.

    Drain can end with several clusters of one text (a message that is nearly all wildcards never matches its own
    template); they are one log key here, since frozen matching could not tell them apart.
    """

    def __init__(self, drain: DrainParser | KeyedParser | None, templates: list[str]) -> None:
        self._drain = drain
        self._line_keys: dict[int, NDArray[np.int32]] = {}
        self._stream_keys: dict[int, NDArray[np.int32]] = {}
        self.texts, self._key_of_cluster = _merge_equal(templates)

    @classmethod
    def learn(cls, sources: list[System]) -> Self:
        """Learn from the lines of all sources that their splits allow."""
        _require_one_parser(sources)
        raw = [system for system in sources if not system.log.is_parsed]
        drain = parser_for(raw[0].card) if raw else None
        clusters = {system.index: _learned(drain, system) for system in raw if drain}
        made = cls(drain, drain.templates if drain else [])
        made._line_keys = {index: made._key_of_cluster[keys] for index, keys in clusters.items()}
        for system in sources:
            if system.log.is_parsed:
                made._learn_stream(system)
        return made

    @property
    def reads_lines(self) -> bool:
        """Whether raw lines can be given log keys; with event ids alone they cannot."""
        return self._drain is not None

    def state(self) -> dict[str, Any]:
        """What is needed to give new lines their log keys, as JSON."""
        return {"texts": self.texts, "drain": self._drain.state() if self._drain else None}

    @classmethod
    def from_state(cls, state: dict[str, Any], settings: ParserSettings) -> Self:
        """The vocabulary of which `state` was stored."""
        drain = parser_from_state(settings, state["drain"]) if state["drain"] else None
        made = cls(drain, drain.templates if drain else [])
        made.texts = list(state["texts"])
        return made

    def encode(self, system: System) -> Sequences:
        """All sequences of a log, nothing being learned."""
        texts = list(self.texts)
        piece = self._piece(system, np.arange(len(system.groups)), texts, fitted=False)
        return replace(piece, texts=tuple(texts)).read_only()

    def _learn_stream(self, system: System) -> None:
        seen = np.flatnonzero(np.bincount(system.log.message_ids[system.split.parser_lines]))
        keys = np.full(len(system.log.messages), UNKNOWN_KEY, np.int32)
        keys[seen] = np.arange(len(seen), dtype=np.int32) + len(self.texts)
        self.texts.extend(take(system.log.messages, seen))
        self._stream_keys[system.index] = keys

    def _frozen(self, system: System, messages: NDArray[np.int64]) -> NDArray[np.int32]:
        """Log keys of distinct messages of a log, nothing being learned."""
        if system.index in self._stream_keys:
            return self._stream_keys[system.index][messages]
        texts = take(system.log.messages, messages)
        if self._drain is not None and not system.log.is_parsed:
            return self._key_of_cluster[self._drain.match(texts)]
        key_of_text = {text: key for key, text in reversed(list(enumerate(self.texts)))}
        return np.array([key_of_text.get(text, UNKNOWN_KEY) for text in texts], np.int32)

    def assemble(self, systems: list[System], part: str, *, fitted: bool = False) -> Part:
        """The sequences of one part of these systems, concatenated in their order."""
        texts = list(self.texts)
        pieces = [self._piece(system, getattr(system.split, part), texts, fitted) for system in systems]
        labels = [system.groups.labels[getattr(system.split, part)] for system in systems]
        return Part(_concatenate(pieces, tuple(texts)), np.concatenate(labels).astype(np.int8)).read_only()

    def _piece(self, system: System, which: NDArray[np.int64], texts: list[str], fitted: bool) -> Sequences:
        """One system's sequences; texts of unknown messages are appended to `texts`."""
        lengths = np.diff(system.groups.offsets)[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = ranges(system.groups.offsets[which], lengths)
        lines = system.groups.lines[events]
        if fitted and system.index in self._line_keys:
            keys = self._line_keys[system.index][lines]
            text_ids = keys
        else:
            keys, text_ids = self._keys_and_texts(system, lines, texts)
        first = lines[offsets[:-1]]
        elapsed = system.log.times[lines] - np.repeat(system.log.times[first], lengths)
        return Sequences(
            log_keys=keys,
            text_ids=text_ids,
            texts=(),
            offsets=offsets,
            elapsed_s=elapsed,
            start_time=system.log.times[first],
            system=np.full(len(which), system.index, np.uint8),
            lines=lines,
            ids=_ids(system.groups, which, first),
        )

    def _keys_and_texts(
        self, system: System, lines: NDArray[np.int64], texts: list[str]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        message_ids = system.log.message_ids[lines]
        present = np.zeros(len(system.log.messages), bool)
        present[message_ids] = True
        messages = np.flatnonzero(present)
        position = np.cumsum(present) - 1
        inverse = position[message_ids]
        keys = self._frozen(system, messages)
        text_ids = keys.copy()
        unknown = np.flatnonzero(keys == UNKNOWN_KEY)
        text_ids[unknown] = np.arange(len(unknown), dtype=np.int32) + len(texts)
        texts.extend(take(system.log.messages, messages[unknown]))
        return keys[inverse], text_ids[inverse]


def _learned(drain: DrainParser | KeyedParser, system: System) -> NDArray[np.int32]:
    """int32 (n_lines,): the cluster of each line the parser may learn from, UNKNOWN_KEY for others."""
    lines = system.split.parser_lines
    keys = np.full(len(system.log), UNKNOWN_KEY, np.int32)
    try:
        keys[lines] = drain.learn(system.log.message_ids[lines], system.log.messages)
    except TooManyTemplates as error:
        raise BenchError(f"{system.card.key}: {error}") from None
    return keys


def _merge_equal(templates: list[str]) -> tuple[list[str], NDArray[np.int32]]:
    """Distinct templates, and the log key of each cluster; UNKNOWN_KEY, which indexes from the end, stays itself."""
    key_of_text = {text: key for key, text in enumerate(dict.fromkeys(templates))}
    keys = [key_of_text[text] for text in templates]
    return list(key_of_text), np.array([*keys, UNKNOWN_KEY], np.int32)


def _require_one_parser(sources: list[System]) -> None:
    """Combined sources share one Drain, so their cards must agree on its parameters."""
    settings = {replace(system.card.parser, masks=()) for system in sources if not system.log.is_parsed}
    if len(settings) > 1:
        names = ", ".join(system.card.key for system in sources)
        raise BenchError(f"{names} have different Drain parameters in their cards: give them the same to combine them")
    if len({len(key_parts(system.card.format.event)) for system in sources if not system.log.is_parsed}) > 1:
        names = ", ".join(system.card.key for system in sources)
        raise BenchError(f"{names} have events of different fields (`event` in their cards): give them as many each")


def _ids(groups: Groups, which: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[str, ...]:
    """Session ids, or the number of each window's first line."""
    if groups.ids:
        return tuple(take(groups.ids, which))
    return tuple(map(str, first.tolist()))


def _concatenate(pieces: Sequence[Sequences], texts: tuple[str, ...]) -> Sequences:
    if len(pieces) == 1:
        return replace(pieces[0], texts=texts)
    starts = np.cumsum([0] + [piece.n_events for piece in pieces])
    offsets = [piece.offsets[1:] + start for piece, start in zip(pieces, starts, strict=False)]
    return Sequences(
        log_keys=np.concatenate([piece.log_keys for piece in pieces]),
        text_ids=np.concatenate([piece.text_ids for piece in pieces]),
        texts=texts,
        offsets=np.concatenate([np.zeros(1, np.int64), *offsets]),
        elapsed_s=np.concatenate([piece.elapsed_s for piece in pieces]),
        start_time=np.concatenate([piece.start_time for piece in pieces]),
        system=np.concatenate([piece.system for piece in pieces]),
        lines=np.concatenate([piece.lines for piece in pieces]),
        ids=tuple(name for piece in pieces for name in piece.ids),
    )
