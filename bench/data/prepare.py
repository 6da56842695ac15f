"""Editions -> the training, validation and test sequences of one cell: read, group, split, parse, assemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.cards import Card
from bench.data.catalogue import Catalogue
from bench.data.grouping import Grouping, Groups, group
from bench.data.log import Log, take
from bench.data.parsing import DrainParser
from bench.data.prepared import open_prepared
from bench.data.splits import Split, split
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL, UNKNOWN_KEY, Sequences


@dataclass(frozen=True)
class DataSpec:
    """What data a cell uses. `targets` equals `sources` unless the scenario is a transfer."""

    sources: tuple[Card, ...]
    targets: tuple[Card, ...]
    split: str = "chronological"
    grouping: Grouping = field(default_factory=Grouping)
    seed: int = 0

    @property
    def is_transfer(self) -> bool:
        """Whether the tested systems are not the trained ones."""
        return self.sources != self.targets

    @property
    def systems(self) -> tuple[Card, ...]:
        """All editions taking part; their position is `Sequences.system`."""
        return self.sources + (self.targets if self.is_transfer else ())


@dataclass(frozen=True, slots=True)
class Part:
    """Sequences with int8 labels (n_sequences,): 0 normal, 1 abnormal."""

    sequences: Sequences
    labels: NDArray[np.int8]

    @property
    def normals(self) -> Sequences:
        """The normal sequences."""
        return self.sequences.select(self.labels == NORMAL)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a detector is fitted and scored on."""

    train: Part
    validation: Part
    test: Part
    target_validation: Part | None
    """Validation part of the tested systems, in a transfer only."""
    systems: tuple[str, ...]
    facts: dict[str, Any]
    skip_reason: str | None = None
    """Why no detector can be compared here, e.g. no text of the target is known in the source."""


@dataclass(frozen=True, slots=True)
class _System:
    card: Card
    log: Log
    groups: Groups
    split: Split
    index: int


class Loader:
    """Prepares cells and keeps what it read, so that an edition is read once per process."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._logs: dict[str, Log] = {}
        self._groups: dict[tuple[str, Grouping], Groups] = {}

    def log(self, card: Card) -> Log:
        """The edition as read."""
        if card.key not in self._logs:
            self._logs[card.key] = open_prepared(card, self._catalogue)
        return self._logs[card.key]

    def groups(self, card: Card, grouping: Grouping) -> Groups:
        """The edition's sequences as line numbers."""
        key = (card.key, grouping)
        if key not in self._groups:
            self._groups[key] = group(self.log(card), grouping)
        return self._groups[key]

    def prepare(self, spec: DataSpec) -> Prepared:
        """Everything a cell needs; a split that leaves a part without its normals or abnormals is a BenchError."""
        systems = [self._system(card, index, spec) for index, card in enumerate(spec.systems)]
        sources = systems[: len(spec.sources)]
        targets = systems[len(spec.sources) :] or sources
        _require_usable(sources, targets)
        vocabulary = _Vocabulary(sources)
        train = vocabulary.assemble(sources, "train", fitted=True)
        validation = vocabulary.assemble(sources, "validation")
        test = vocabulary.assemble(targets, "test")
        target_validation = vocabulary.assemble(targets, "validation") if spec.is_transfer else None
        return Prepared(
            train=train,
            validation=validation,
            test=test,
            target_validation=target_validation,
            systems=tuple(card.key for card in spec.systems),
            facts=_facts(systems, train, validation, test, len(vocabulary.texts)),
            skip_reason=_id_stream_reason(spec, test),
        )

    def _system(self, card: Card, index: int, spec: DataSpec) -> _System:
        log, groups = self.log(card), self.groups(card, spec.grouping)
        overlapping = spec.grouping.overlaps and not card.has_sessions
        try:
            parts = split(groups, len(log), spec.split, seed=spec.seed, overlapping=overlapping)
        except BenchError as error:
            raise BenchError(f"{card.key}: {error}") from None
        return _System(card, log, groups, parts, index)


class _Vocabulary:
    """Log keys of the training lines of all sources: Drain templates first, then the ids of pre-parsed streams.

    Drain can end with several clusters of one text (a message that is nearly all wildcards never matches its own
    template); they are one log key here, since frozen matching could not tell them apart.
    """

    def __init__(self, sources: list[_System]) -> None:
        self._line_keys: dict[int, NDArray[np.int32]] = {}
        self._stream_keys: dict[int, NDArray[np.int32]] = {}
        self._drain: DrainParser | None = None
        _require_one_parser(sources)
        for system in sources:
            if not system.log.is_parsed:
                self._learn_lines(system)
        self.texts, self._key_of_cluster = _merge_equal(self._drain.templates if self._drain else [])
        for index, clusters in self._line_keys.items():
            self._line_keys[index] = self._key_of_cluster[clusters]
        for system in sources:
            if system.log.is_parsed:
                self._learn_stream(system)
        self._key_of_text = {text: key for key, text in reversed(list(enumerate(self.texts)))}

    def _learn_lines(self, system: _System) -> None:
        self._drain = self._drain or DrainParser(system.card.parser)
        lines = system.split.parser_lines
        keys = np.full(len(system.log), UNKNOWN_KEY, np.int32)
        keys[lines] = self._drain.learn(system.log.message_ids[lines], system.log.messages)
        self._line_keys[system.index] = keys

    def _learn_stream(self, system: _System) -> None:
        seen = np.flatnonzero(np.bincount(system.log.message_ids[system.split.parser_lines]))
        keys = np.full(len(system.log.messages), UNKNOWN_KEY, np.int32)
        keys[seen] = np.arange(len(seen), dtype=np.int32) + len(self.texts)
        self.texts.extend(take(system.log.messages, seen))
        self._stream_keys[system.index] = keys

    def _frozen(self, system: _System, messages: NDArray[np.int64]) -> NDArray[np.int32]:
        """Log keys of distinct messages of a log, nothing being learned."""
        if system.index in self._stream_keys:
            return self._stream_keys[system.index][messages]
        texts = take(system.log.messages, messages)
        if self._drain is not None and not system.log.is_parsed:
            return self._key_of_cluster[self._drain.match(texts)]
        return np.array([self._key_of_text.get(text, UNKNOWN_KEY) for text in texts], np.int32)

    def assemble(self, systems: list[_System], part: str, *, fitted: bool = False) -> Part:
        """The sequences of one part of these systems, concatenated in their order."""
        texts = list(self.texts)
        pieces = [self._piece(system, getattr(system.split, part), texts, fitted) for system in systems]
        labels = [system.groups.labels[getattr(system.split, part)] for system in systems]
        return Part(_concatenate(pieces, tuple(texts)), np.concatenate(labels).astype(np.int8))

    def _piece(self, system: _System, which: NDArray[np.int64], texts: list[str], fitted: bool) -> Sequences:
        """One system's sequences; texts of unknown messages are appended to `texts`."""
        lengths = np.diff(system.groups.offsets)[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = np.repeat(system.groups.offsets[which] - offsets[:-1], lengths) + np.arange(offsets[-1])
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
        self, system: _System, lines: NDArray[np.int64], texts: list[str]
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


def _merge_equal(templates: list[str]) -> tuple[list[str], NDArray[np.int32]]:
    """Distinct templates, and the log key of each cluster; UNKNOWN_KEY, which indexes from the end, stays itself."""
    key_of_text = {text: key for key, text in enumerate(dict.fromkeys(templates))}
    keys = [key_of_text[text] for text in templates]
    return list(key_of_text), np.array([*keys, UNKNOWN_KEY], np.int32)


def _require_one_parser(sources: list[_System]) -> None:
    """Combined sources share one Drain, so their cards must agree on its parameters."""
    settings = {replace(system.card.parser, masks=()) for system in sources if not system.log.is_parsed}
    if len(settings) > 1:
        names = ", ".join(system.card.key for system in sources)
        raise BenchError(f"{names} have different Drain parameters in their cards: give them the same to combine them")


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


def _require_usable(sources: list[_System], targets: list[_System]) -> None:
    for system in sources:
        # Files that come with a split often have nothing to validate on: no threshold can be estimated then.
        for part in ("train",) if system.groups.parts is not None else ("train", "validation"):
            labels = system.groups.labels[getattr(system.split, part)]
            if not (labels == NORMAL).any():
                raise BenchError(
                    f"{system.card.key}: the split leaves no normal sequence for {part}: "
                    "use another --split or --window-size, or an edition with more normal lines"
                )
    for system in targets:
        labels = system.groups.labels[system.split.test]
        for value, word in ((NORMAL, "normal"), (ABNORMAL, "abnormal")):
            if not (labels == value).any():
                raise BenchError(
                    f"{system.card.key}: the split leaves no {word} sequence in the test part: "
                    "use another --split or --window-size, or another edition"
                )


def _id_stream_reason(spec: DataSpec, test: Part) -> str | None:
    """Id streams can be transferred only where texts match."""
    streams = [card.key for card in spec.systems if card.kind in ("id-stream", "id-sessions", "id-splits")]
    if not spec.is_transfer or not streams or (test.sequences.log_keys != UNKNOWN_KEY).any():
        return None
    return f"{streams[0]} is an id stream and none of the target's texts equals one of the source's"


def _facts(systems: list[_System], train: Part, validation: Part, test: Part, n_keys: int) -> dict[str, Any]:
    seen = np.isin(_contents(test.sequences), _contents(train.normals))
    known = test.sequences.log_keys != UNKNOWN_KEY
    return {
        "n_train": len(train.labels),
        "n_train_abnormal": int((train.labels == ABNORMAL).sum()),
        "n_validation": len(validation.labels),
        "n_validation_abnormal": int((validation.labels == ABNORMAL).sum()),
        "n_test": len(test.labels),
        "n_test_abnormal": int((test.labels == ABNORMAL).sum()),
        "n_log_keys": n_keys,
        "known_keys_share": round(float(known.mean()), 6) if len(known) else 1.0,
        "seen_in_training_share": round(float(seen.mean()), 6),
        "split": {system.card.key: system.split.facts for system in systems},
        "n_lines": {system.card.key: len(system.log) for system in systems},
        "n_replaced_lines": {s.card.key: s.log.n_replaced for s in systems if s.log.n_replaced},
        "n_headerless_lines": {s.card.key: s.log.n_headerless for s in systems if s.log.n_headerless},
    }


def _contents(sequences: Sequences) -> NDArray[np.uint64]:
    """A hash of each sequence's content, whichever system it comes from; one with unseen texts equals none."""
    return replace(sequences, system=np.zeros_like(sequences.system)).fingerprints()
