"""What stands behind the scores of a record: the log lines of a test sequence, and which part each sequence is in."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench._plain import jsonable
from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading.log import PARTS, Log, Texts, take
from bench.data.reading.prepared import open_prepared
from bench.data.reading.raw import open_raw
from bench.data.sequences.grouping import Grouping, Groups, group
from bench.data.sequences.splits import split
from bench.errors import BenchError
from bench.experiment.spec import edition_facts
from bench.records.record import Record, Scores

OLD_SCORES: Final = "its scores were kept before they named their sequences: delete the record and run it again"


class LogLine(NamedTuple):
    """One line of a log."""

    number: int
    """Through all files of the edition, from 1."""
    time: float
    """Unix seconds, or NaN."""
    text: str
    """As it was written, without its label; of logs that hold event ids alone, the template."""


class TestedLines:
    """The log lines behind the test sequences of one record; editions are opened when a line of them is asked for."""

    def __init__(self, record: Record, scores: Scores, catalogue: Catalogue) -> None:
        """BenchError where an edition is not here, is another one than the record's, or the scores name no sequence."""
        if "test_sequence" not in scores:
            raise BenchError(f"'{record['method']}' cannot be looked into, as {OLD_SCORES}")
        self._cards = cards_of(record, catalogue)
        self._scores = scores
        self._catalogue = catalogue
        self._opened: dict[int, _Opened] = {}

    def of(self, position: int, most: int) -> tuple[list[LogLine], int]:
        """Lines of a test sequence, in their order, and how many it has: of more than `most` the rarest in its log.

        position: in the order of the stored scores
        """
        index = int(self._scores["test_system"][position])
        if index not in self._opened:
            self._opened[index] = _Opened(self._cards[index], self._catalogue)
        opened = self._opened[index]
        first, last = (int(self._scores[f"test_{end}_line"][position]) for end in ("first", "last"))
        lines = opened.lines(self._scores["test_sequence"][position].decode(), first, last)
        order = np.argsort(opened.times_seen[opened.log.message_ids[lines]], kind="stable")
        return opened.read(lines[np.sort(order[:most])]), len(lines)


class _Opened:
    """An edition as it was read."""

    def __init__(self, card: Card, catalogue: Catalogue) -> None:
        self._card = card
        self._catalogue = catalogue
        self.log: Log = open_prepared(card, catalogue)

    @functools.cached_property
    def times_seen(self) -> NDArray[np.int64]:
        """(n_messages,): lines of the log that hold each message."""
        return np.bincount(self.log.message_ids, minlength=len(self.log.messages))

    @functools.cached_property
    def _raw(self) -> pl.Series | None:
        return open_raw(self._card, self._catalogue, self.log)

    @functools.cached_property
    def _session_names(self) -> pl.Series:
        names = self.log.session_ids
        return names.values if isinstance(names, Texts) else pl.Series(list(names), dtype=pl.String)

    def lines(self, name: str, first: int, last: int) -> NDArray[np.int64]:
        """The line numbers of a sequence; BenchError where the log has none that begins and ends there."""
        if self.log.session_codes is None:
            lines = np.arange(max(first, 0), last + 1)
        else:
            codes = (self._session_names == name).arg_true().to_numpy()
            assert self.log.session_lines is not None
            lines = self.log.session_lines[np.isin(self.log.session_codes, codes)]
        if not len(lines) or lines[-1] >= len(self.log) or (lines[0], lines[-1]) != (first, last):
            raise BenchError(
                f"{self._card.key} as it is here has no sequence '{name}' from line {first + 1} to {last + 1}, which "
                "the record scored: give the data that it ran on by --data, or run it again"
            )
        return lines

    def read(self, lines: NDArray[np.int64]) -> list[LogLine]:
        """These lines as they were written."""
        if self._raw is None:
            texts = take(self.log.messages, self.log.message_ids[lines].astype(np.int64))
        else:
            texts = self._raw.gather(lines).to_list()
        times = self.log.times[lines].tolist()
        numbers = self.log.numbers_of(lines).tolist()
        return [LogLine(n, at, text) for n, at, text in zip(numbers, times, texts, strict=True)]


def cards_of(record: Record, catalogue: Catalogue) -> list[Card]:
    """The editions of a record, by `Sequences.system`; BenchError where one is not here, or another than it was."""
    spec = record["spec"]
    sides = [*spec["train"], *(spec["test"] if spec["test"] != spec["train"] else ()), *spec.get("auxiliary", ())]
    cards = []
    for side in sides:
        card = catalogue.resolve(side["edition"])
        if _decisive(edition_facts(card)) != _decisive(side):
            raise BenchError(
                f"the card of {card.key} is another one than that of the record {record['run_id']}: "
                "run the method again on today's; --lines 0 shows its sequences without their lines"
            )
        cards.append(card)
    return cards


def split_frame(record: Record, catalogue: Catalogue) -> pl.DataFrame:
    """Which part each sequence of a record's editions is in: system, role, sequence, part, lines; no label.

    part: train, validation, test, or null for those that take no part; lines count from 0, as in stored scores
    """
    spec = record["spec"]
    frames = []
    for index, card in enumerate(cards_of(record, catalogue)):
        role = _role(spec, index)
        frames.append(_parts(card, catalogue, spec, role))
    return pl.concat(frames)


def _role(spec: Mapping[str, Any], index: int) -> str:
    n_sources, n_targets = len(spec["train"]), len(spec["test"]) if spec["test"] != spec["train"] else 0
    return "source" if index < n_sources else "target" if index < n_sources + n_targets else "auxiliary"


def _parts(card: Card, catalogue: Catalogue, spec: Mapping[str, Any], role: str) -> pl.DataFrame:
    log = open_prepared(card, catalogue)
    grouping = Grouping(**spec["grouping"]) if "grouping" in spec else Grouping()
    groups = group(log, grouping)
    found = split(
        groups,
        len(log),
        spec["split"],
        seed=spec["seed"],
        overlapping=grouping.overlaps and not card.has_sessions,
        is_target=role == "target",
        file_starts=log.file_starts if card.cut == "file" else None,
    )
    part = np.full(len(groups), len(PARTS))
    # What a split leaves of the source of a transfer is tested by nobody.
    for number, name in enumerate(PARTS[:2] if role == "source" and spec["train"] != spec["test"] else PARTS):
        part[getattr(found, name)] = number
    first = groups.lines[groups.offsets[:-1]]
    return pl.DataFrame(
        {
            "system": pl.Series([card.key]).new_from_index(0, len(groups)),
            "role": pl.Series([role]).new_from_index(0, len(groups)),
            "sequence": _names(groups, first),
            "part": pl.Series([*PARTS, None]).gather(part),
            "first_line": first,
            "last_line": groups.last_lines,
            "n_lines": np.diff(groups.offsets),
        }
    )


def _names(groups: Groups, first: NDArray[np.int64]) -> pl.Series:
    """Session ids, or the number of each window's first line, as in stored scores."""
    return pl.Series(list(groups.ids)) if groups.ids else pl.Series(first).cast(pl.String)


def _decisive(facts: Mapping[str, Any]) -> str:
    """What of an edition decides its lines and sequences: another parser gives other log keys alone."""
    return json.dumps(jsonable({name: value for name, value in facts.items() if name != "parser"}), sort_keys=True)
