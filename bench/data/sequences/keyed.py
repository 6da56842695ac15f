"""Log keys of events with fields: a Drain for each combination of fields, so that no template merges two of them.

The fields are the first words of an event's text (`event` of the card); Drain sees the message behind them. An event
that is fields alone is a template as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Card, ParserSettings
from bench.data.cards.events import MAX_TEMPLATES
from bench.data.reading.events import is_keyed, n_key_words
from bench.data.reading.log import Texts
from bench.data.sequences.drain import DrainParser, TooManyTemplates
from bench.types import UNKNOWN_KEY


class _Cluster(NamedTuple):
    """A template: the fields in front, and which cluster of their Drain; -1 for fields alone."""

    key: str
    local: int


_ALONE = -1


class KeyedParser:
    """As `DrainParser`, for texts whose first `n_words` words are fields."""

    def __init__(self, settings: ParserSettings, n_words: int, max_templates: int = MAX_TEMPLATES) -> None:
        self._settings, self._n_words, self._limit = settings, n_words, max_templates
        self._parsers: dict[str, DrainParser] = {}
        self._numbers: dict[_Cluster, int] = {}

    @property
    def templates(self) -> list[str]:
        """Template text of each log key, as it stands after all that was learned."""
        texts = {key: parser.templates for key, parser in self._parsers.items()}
        return [key if local == _ALONE else f"{key} {texts[key][local]}".rstrip() for key, local in self._numbers]

    def learn(self, message_ids: NDArray[np.int32], messages: Sequence[str]) -> NDArray[np.int32]:
        """Learn lines in order and return int32 (n_lines,): the log key each had at that moment."""
        used, message_of = np.unique(message_ids, return_inverse=True)
        keys, rests = self._split(_taken(messages, used))
        names, key_of = _factorised(keys)
        is_alone = (rests == "").to_numpy()
        keys_of_lines, local = key_of[message_of], np.full(len(message_ids), _ALONE, np.int64)
        for number, all_lines in enumerate(_lines_of(keys_of_lines, len(names))):
            lines = all_lines[~is_alone[message_of[all_lines]]]
            if len(lines):
                which, within = np.unique(message_of[lines], return_inverse=True)
                local[lines] = self._learned(names[number], lines, within, Texts(rests.gather(which)))
        found = self._numbered(names, keys_of_lines, local)
        if len(self._numbers) > self._limit and len(set(self.templates)) > self._limit:
            raise TooManyTemplates(self._limit, len(found))
        return found

    def _learned(
        self, key: str, lines: NDArray[np.int64], ids: NDArray[np.int64], messages: Texts
    ) -> NDArray[np.int32]:
        """The cluster of each of these lines in the Drain of their fields."""
        try:
            return self._parser(key).learn(ids.astype(np.int32), messages)
        except TooManyTemplates as error:
            raise TooManyTemplates(self._limit, int(lines[error.n_lines - 1]) + 1) from None

    def _parser(self, key: str) -> DrainParser:
        return self._parsers.setdefault(key, DrainParser(self._settings, self._limit))

    def _numbered(self, names: list[str], keys: NDArray[np.int64], local: NDArray[np.int64]) -> NDArray[np.int32]:
        """The log key of each line; new clusters are numbered by their first line, so that no later line counts."""
        codes = keys * (int(local.max(initial=0)) + 2) + local + 1
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        numbers = np.empty(len(first), np.int32)
        for position in np.argsort(first).tolist():
            line = first[position]
            cluster = _Cluster(names[keys[line]], int(local[line]))
            numbers[position] = self._numbers.setdefault(cluster, len(self._numbers))
        return numbers[inverse]

    def match(self, messages: Sequence[str]) -> NDArray[np.int32]:
        """Return int32 (n_messages,): the log key of each message without learning, UNKNOWN_KEY where none fits."""
        keys, rests = self._split(pl.Series(list(messages), dtype=pl.String))
        names, key_of = _factorised(keys)
        found = np.full(len(keys), UNKNOWN_KEY, np.int32)
        for number, lines in enumerate(_lines_of(key_of, len(names))):
            key, texts = names[number], rests.gather(lines).to_list()
            parser = self._parsers.get(key)
            local = np.full(len(lines), UNKNOWN_KEY) if parser is None else parser.match(texts)
            clusters = [
                _Cluster(key, int(i) if text else _ALONE) if i != UNKNOWN_KEY or not text else None
                for i, text in zip(local.tolist(), texts, strict=True)
            ]
            found[lines] = [UNKNOWN_KEY if c is None else self._numbers.get(c, UNKNOWN_KEY) for c in clusters]
        return found

    def _split(self, texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The fields and the message of each text."""
        pattern = rf"^(\S+(?: \S+){{{self._n_words - 1}}})(?: (.*))?$"
        frame = (
            texts.alias("text")
            .to_frame()
            .select(
                pl.col("text").str.extract(pattern, 1).fill_null("").alias("key"),
                pl.col("text").str.extract(pattern, 2).fill_null("").alias("rest"),
            )
        )
        return frame["key"], frame["rest"]

    def state(self) -> dict[str, Any]:
        """All that matching needs, as JSON."""
        return {
            "n_words": self._n_words,
            "parsers": {key: parser.state() for key, parser in self._parsers.items()},
            "templates": [list(cluster) for cluster in self._numbers],
        }

    @classmethod
    def from_state(cls, settings: ParserSettings, state: Mapping[str, Any]) -> Self:
        """The parser of which `state` was stored."""
        made = cls(settings, state["n_words"])
        made._parsers = {key: DrainParser.from_state(settings, value) for key, value in state["parsers"].items()}
        made._numbers = {_Cluster(*cluster): number for number, cluster in enumerate(state["templates"])}
        return made


def parser_for(card: Card) -> DrainParser | KeyedParser:
    """What makes log keys of an edition's messages."""
    if is_keyed(card.format) and n_key_words(card.format):
        return KeyedParser(card.parser, n_key_words(card.format), card.max_templates)
    return DrainParser(card.parser, card.max_templates)


def parser_from_state(settings: ParserSettings, state: dict[str, Any]) -> DrainParser | KeyedParser:
    """The parser of which `state` was stored."""
    kind = KeyedParser if "n_words" in state else DrainParser
    return kind.from_state(settings, state)


def _taken(messages: Sequence[str], used: NDArray[np.int32]) -> pl.Series:
    column = messages.values if isinstance(messages, Texts) else pl.Series(list(messages), dtype=pl.String)
    return column.gather(used)


def _factorised(values: pl.Series) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct values in order of first occurrence, and the number of each row's."""
    distinct = values.unique(maintain_order=True)
    numbers = values.replace_strict(distinct, np.arange(len(distinct)), return_dtype=pl.Int64)
    return distinct.to_list(), numbers.to_numpy().astype(np.int64)


def _lines_of(numbers: NDArray[np.int64], n: int) -> list[NDArray[np.int64]]:
    """For each number below n, the rows that have it, in their order."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers, minlength=n))[:-1]) if n else []
