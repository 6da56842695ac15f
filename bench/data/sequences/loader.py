"""Editions -> the training, validation and test sequences of one cell: read, group, split, parse, assemble."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.log import Log
from bench.data.reading.numbers import open_values
from bench.data.reading.prepared import open_prepared
from bench.data.reading.raw import open_raw, raw_of
from bench.data.reading.words import open_words
from bench.data.sequences.ceiling import ceiling
from bench.data.sequences.grouping import Grouping, Groups, group
from bench.data.sequences.parameters import NumberedLog, parameters_of
from bench.data.sequences.protocols import RETROSPECTIVE, block_of, is_cut
from bench.data.sequences.splits import split
from bench.data.sequences.vocabulary import Part, System, Vocabulary
from bench.data.sequences.words import WordedLog, words_of
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL, UNKNOWN_KEY, UNLABELLED, Parameters, RawLines, Sequences, Words


@dataclass(frozen=True)
class DataSpec:
    """What data a cell uses. `targets` equals `sources` unless the scenario is a transfer."""

    sources: tuple[Card, ...]
    targets: tuple[Card, ...]
    split: str = "chronological"
    grouping: Grouping = field(default_factory=Grouping)
    seed: int = 0
    auxiliaries: tuple[Card, ...] = ()
    """Trained on by methods that are told of them; nothing is tested there, and no parser learns from them."""

    @property
    def is_transfer(self) -> bool:
        """Whether the tested systems are not the trained ones."""
        return self.sources != self.targets

    @property
    def systems(self) -> tuple[Card, ...]:
        """All editions taking part; their position is `Sequences.system`."""
        return self.sources + (self.targets if self.is_transfer else ()) + self.auxiliaries


@dataclass(frozen=True)
class Prepared:
    """What a detector is fitted and scored on."""

    train: Part
    validation: Part
    test: Part
    target_validation: Part | None
    """Validation part of the tested systems, in a transfer only."""
    systems: tuple[str, ...]
    facts: dict[str, Any]
    vocabulary: Vocabulary
    """Log keys of the training lines, for lines that come later."""
    skip_reason: str | None = None
    """Why no detector can be compared here, e.g. no text of the target is known in the source."""
    sources: tuple[System, ...] = ()
    targets: tuple[System, ...] = ()
    """The tested systems, in a transfer only."""
    auxiliaries: tuple[System, ...] = ()
    parameters_of: Callable[[Sequences], Parameters | None] = field(default=lambda sequences: None, repr=False)
    """Reads the message parameters of sequences of these systems; nothing is read before it is called."""
    raw_of: Callable[[Sequences], RawLines | None] = field(default=lambda sequences: None, repr=False)
    """Reads their lines as they were written; as `parameters_of`."""
    words_of: Callable[[Sequences], Words | None] = field(default=lambda sequences: None, repr=False)
    """Reads their message parameters as text; as `parameters_of`."""
    files: Path | None = None
    """Folder of the files that methods need; None without a data folder."""

    def train_with(self, chosen: Mapping[int, NDArray[np.int64]]) -> Part:
        """The training part, behind it these sequences of the training parts of other systems.

        chosen: positions of sequences by `Sequences.system`. The vocabulary learns nothing from them: their lines have
        the log keys and texts that scoring gives them.
        """
        others = [
            replace(system, split=replace(system.split, train=chosen[system.index]))
            for system in (*self.targets, *self.auxiliaries)
            if system.index in chosen
        ]
        if not others:
            return self.train
        part = self.vocabulary.assemble([*self.sources, *others], "train", fitted=True)
        return self._like_train(part)

    @functools.cached_property
    def with_parameters(self) -> Prepared:
        """The same with the message parameters of all parts; they are read at the first call and kept."""
        return self._with(self._filled)

    @functools.cached_property
    def with_raw(self) -> Prepared:
        """The same with the lines of all parts as they were written; they are read at the first call and kept."""
        return self._with(self._with_raw)

    @functools.cached_property
    def with_words(self) -> Prepared:
        """The same with the message parameters of all parts as text; they are read at the first call and kept."""
        return self._with(self._with_words)

    def with_own_texts(self) -> Prepared:
        """The same, so that what a method does to columns of texts, which know no lock, changes nothing for others."""
        return self._with(lambda part: replace(part, sequences=part.sequences.with_own_texts()))

    def _with(self, fill: Callable[[Part], Part]) -> Prepared:
        target = self.target_validation
        return replace(
            self,
            train=fill(self.train),
            validation=fill(self.validation),
            test=fill(self.test),
            target_validation=None if target is None else fill(target),
        )

    def _like_train(self, part: Part) -> Part:
        """A part with what the training part was given on request."""
        train = self.train.sequences
        part = part if train.parameters is None else self._filled(part)
        part = part if train.raw is None else self._with_raw(part)
        return part if train.words is None else self._with_words(part)

    def _filled(self, part: Part) -> Part:
        return replace(part, sequences=replace(part.sequences, parameters=self.parameters_of(part.sequences)))

    def _with_raw(self, part: Part) -> Part:
        return replace(part, sequences=replace(part.sequences, raw=self.raw_of(part.sequences)))

    def _with_words(self, part: Part) -> Part:
        return replace(part, sequences=replace(part.sequences, words=self.words_of(part.sequences)))


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

    def prepare(self, spec: DataSpec, *, is_judged: bool = True, as_normal: bool = False) -> Prepared:
        """Everything a cell needs; a split that leaves a part without its normals or abnormals is a BenchError.

        is_judged: False where nothing is measured, so that the test part may be anything
        as_normal: of an edition without any label all sequences are taken as normal
        """
        first_helper = len(spec.systems) - len(spec.auxiliaries)
        only_tested = range(len(spec.sources), first_helper)
        systems = [
            self._system(card, index, spec, is_target=index in only_tested, as_normal=as_normal)
            for index, card in enumerate(spec.systems)
        ]
        sources = systems[: len(spec.sources)]
        own_targets, helpers = systems[len(spec.sources) : first_helper], systems[first_helper:]
        targets = own_targets or sources
        _require_to_learn(sources, spec.split)
        missing = _missing_in_test(targets, spec.split) if is_judged else None
        if missing and block_of(spec.split) is None:
            raise BenchError(f"{missing}{_where_abnormal(targets, spec.split)}")
        vocabulary = Vocabulary.learn(sources)
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
            facts=_facts(systems[:first_helper], train, validation, test, len(vocabulary.texts)),
            vocabulary=vocabulary,
            skip_reason=missing or _id_stream_reason(spec, test),
            sources=tuple(sources),
            targets=tuple(own_targets),
            auxiliaries=tuple(helpers),
            parameters_of=lambda sequences: parameters_of(sequences, self._numbered(systems)),
            raw_of=lambda sequences: raw_of(sequences, self._raw(systems)),
            words_of=lambda sequences: words_of(sequences, self._worded(systems)),
            files=self._catalogue.data_dir and self._catalogue.data_dir / "files",
        )

    def _numbered(self, systems: list[System]) -> dict[int, NumberedLog]:
        return {s.index: NumberedLog(s.log, open_values(s.card, self._catalogue, s.log)) for s in systems}

    def _raw(self, systems: list[System]) -> dict[int, pl.Series | None]:
        return {s.index: open_raw(s.card, self._catalogue, s.log) for s in systems}

    def _worded(self, systems: list[System]) -> dict[int, WordedLog]:
        return {s.index: WordedLog(s.log, open_words(s.card, self._catalogue, s.log)) for s in systems}

    def _system(self, card: Card, index: int, spec: DataSpec, *, is_target: bool, as_normal: bool) -> System:
        log, groups = self.log(card), self.groups(card, spec.grouping)
        if as_normal and not (groups.labels != UNLABELLED).any():
            groups = replace(groups, labels=np.full(len(groups), NORMAL, np.int8))
        overlapping = spec.grouping.overlaps and not card.has_sessions
        try:
            parts = split(
                groups,
                len(log),
                spec.split,
                seed=spec.seed,
                overlapping=overlapping,
                is_target=is_target,
                file_starts=log.file_starts if card.cut == "file" else None,
            )
        except BenchError as error:
            raise BenchError(f"{card.key}: {error}") from None
        return System(card, log, groups, parts, index)


def _require_to_learn(sources: list[System], split: str) -> None:
    for system in sources:
        # Files that come with a split often have nothing to validate on: no threshold can be estimated then.
        validates = system.groups.parts is None and split != RETROSPECTIVE
        for part in ("train", "validation") if validates else ("train",):
            labels = system.groups.labels[getattr(system.split, part)]
            if not (labels == NORMAL).any():
                raise BenchError(
                    f"{system.card.key}: the split {split} leaves no normal sequence for {part}: "
                    "use another --split or --window-size, or an edition with more normal lines"
                )


def _missing_in_test(targets: list[System], split: str) -> str | None:
    """Why nothing can be measured: a tested system without normal or without abnormal sequences."""
    for system in targets:
        labels = system.groups.labels[system.split.test]
        for value, word in ((NORMAL, "normal"), (ABNORMAL, "abnormal")):
            if not (labels == value).any():
                return f"{system.card.key}: the split {split} leaves no {word} sequence in the test part"
    return None


def _where_abnormal(targets: list[System], split: str) -> str:
    """The way out of a test part that lacks abnormal or normal sequences: where the abnormal ones lie, which cut does.

    Only of one system cut in time something can be said.
    """
    system = targets[0]
    is_abnormal = system.groups.labels == ABNORMAL
    if len(targets) > 1 or not is_cut(split) or system.card.cut == "file" or not is_abnormal.any():
        return ": use another --split or --window-size, or another edition"
    place = 100.0 * (system.groups.last_lines + 1) / len(system.log)
    found = place[is_abnormal]
    lie = f"ends at {found[0]:.0f} %" if len(found) == 1 else f"end between {found.min():.0f} and {found.max():.0f} %"
    said = f": all {len(found):,} abnormal sequences {lie}" if len(found) > 1 else f": the only abnormal one {lie}"
    cut = _cut_that_does(system)
    way_out = (
        "no cut in time leaves each part what it needs, use --split blind" if cut is None else f"use --split {cut}"
    )
    return f"{said} of the lines; {way_out}, or another edition"


def _cut_that_does(system: System) -> str | None:
    """The latest cut at whole percents under which all parts have what they need; training takes three quarters."""
    labels, last, n_lines = system.groups.labels, system.groups.last_lines, len(system.log)
    for second in range(99, 1, -1):
        first = max(1, second * 3 // 4)
        train, validation = last < n_lines * first // 100, last < n_lines * second // 100
        tested = labels[~validation]
        if (tested == ABNORMAL).any() and (tested == NORMAL).any():
            learned = (labels[train], labels[validation & ~train])
            if all((part == NORMAL).any() for part in learned):
                return f"chronological:{first},{second}"
    return None


def _id_stream_reason(spec: DataSpec, test: Part) -> str | None:
    """An id stream that brings no texts can be transferred only where its ids have equal names."""
    kinds = ("id-stream", "id-sessions", "id-splits")
    bare = [card.key for card in spec.systems if card.kind in kinds and not card.files_of("templates")]
    if not spec.is_transfer or not bare or (test.sequences.log_keys != UNKNOWN_KEY).any():
        return None
    return f"{bare[0]} is an id stream without texts, and none of its ids stands on the other side"


def _facts(systems: list[System], train: Part, validation: Part, test: Part, n_keys: int) -> dict[str, Any]:
    contents = _contents(test.sequences)
    seen = np.isin(contents, _contents(train.sequences)[train.labels == NORMAL])
    best = ceiling(test.labels, np.unique(contents, return_inverse=True)[1])
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
        "seen_in_training_share": round(float(seen.mean()), 6) if len(seen) else 1.0,
        "split": {system.card.key: system.split.facts for system in systems},
        "n_lines": {system.card.key: len(system.log) for system in systems},
        "n_replaced_lines": {s.card.key: s.log.n_replaced for s in systems if s.log.n_replaced},
        "n_headerless_lines": {s.card.key: s.log.n_headerless for s in systems if s.log.n_headerless},
        "ceiling_f1": None if math.isnan(best) else round(best, 6),
        "n_alert_types": {s.card.key: len(s.log.alerts) for s in systems if s.log.alerts},
        "licences": {s.card.key: s.card.licence_of_files for s in systems if s.card.standing != "simulated"},
    }


def _contents(sequences: Sequences) -> NDArray[np.uint64]:
    """A hash of each sequence's content, whichever system it comes from; one with unseen texts equals none."""
    return replace(sequences, system=np.zeros_like(sequences.system)).fingerprints()
