"""Lines as rows of words: what stands in a line as it was written, without numbers, names with digits and paths.

Each line is cleaned by expressions over whole columns; equal rows of words are one line, which is
computed once. Words are rows of a learned table; one that training never had is row 0.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.types import Sequences
from methods.shared import layers
from methods.shared.layers import Bags, Integers
from methods.shared.text_inputs import TextInputs

Paths = Literal["words", "rest"]
"""What a slash takes along: the word it stands in, or all up to the end of the line."""
Lines = Literal["line", "masked"]
"""A line as it was written, or the text of its event."""

_STOP_WORDS: Final = """
a an the and or but if of at by for with about to from in on into is are was were be been being am has have had having
do does did doing this that these those it its itself they them their we us our you your he him his she her i me my as
than then so such same too very can will would should could may might must just now here there when where while why how
all any both each few more most other some own only which who whom what until because s t
"""
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())
"""English function words [R]; NLTK's list, which the authors take, is not shipped. It drops `no`, `not`, `up`, `down`,
`on` and `off` as well: of these only `on` goes here, as the others say what failed."""

_PART: Final = 2**17
"""Lines cleaned at once."""
_WITH_DIGIT: Final = r"[\p{L}\d_.:$@-]*\d[\p{L}\d_.:$@-]*"
_PATHS: Final = {"words": r"\S*/\S*", "rest": r"/.*"}


class Words(NamedTuple):
    """Distinct cleaned lines as words."""

    words: pl.Series
    """(n_words,) of all lines, one behind the other."""
    offsets: Integers
    """(n_distinct + 1,)"""
    inverse: Integers
    """(n_events,) so that event e is the distinct line inverse[e]."""


class Reading(NamedTuple):
    """Distinct lines of known words."""

    bags: Bags
    """Their words in order, as rows of the learned table; multiplicities are all 1."""
    inverse: Integers
    """(n_events,) so that event e is the distinct line inverse[e]."""

    def counts(self, events: NDArray[np.bool_]) -> Integers:
        """int64 (n_distinct,): how many of these events are each line; events: bool (n_events,)."""
        return np.bincount(self.inverse[events], minlength=len(self.bags.lengths)).astype(np.int64)


class Vocabulary(NamedTuple):
    """The words of training; `inputs` has a row for each."""

    inputs: TextInputs
    max_words: int

    @classmethod
    def learn(cls, found: Words, max_words: int) -> Self:
        """All words of these lines."""
        return cls(TextInputs.learned(sorted(found.words.unique().to_list())), max_words)

    @property
    def n_rows(self) -> int:
        """Rows of the table, that of unknown words included."""
        return 1 + len(self.inputs.vocabulary)

    def read(self, found: Words) -> Reading:
        """The first words of each line as rows of the table."""
        distinct = found.words.unique(maintain_order=True)
        table = pl.DataFrame({"word": distinct, "row": self._rows(distinct.to_list())})
        rows = found.words.rename("word").to_frame().join(table, on="word", how="left", maintain_order="left")["row"]
        lengths = np.diff(found.offsets)
        place = np.arange(len(found.words)) - np.repeat(found.offsets[:-1], lengths)
        offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, self.max_words))]).astype(np.int64)
        ids = rows.to_numpy().astype(np.int64)[place < self.max_words]
        bags, _, inverse = layers.unique_bags(ids, offsets, merge_repeats=False)
        return Reading(bags, inverse[found.inverse])

    def _rows(self, words: list[str]) -> Integers:
        # Without any training word there is no table, and all words are unknown.
        return self.inputs.features(words) if self.inputs.vocabulary else np.zeros(len(words), np.int64)


def words_of(sequences: Sequences, lines: Lines, paths: Paths) -> Words:
    """The words of each event's line; each distinct line is cut into words once."""
    if lines == "line":
        column = pl.Series([], dtype=pl.String) if sequences.raw is None else sequences.raw.values
        if len(column) != sequences.n_events:
            raise ValueError("it reads raw lines, and these sequences have none: set lines to masked")
        distinct, inverse = _distinct_cleaned(column, paths)
    else:
        distinct, of_text = _distinct_cleaned(pl.Series(sequences.texts, dtype=pl.String), paths)
        inverse = of_text[sequences.text_ids]
    return _cut(distinct, inverse)


def _cut(distinct: pl.Series, inverse: Integers) -> Words:
    """Cleaned lines as words, without stop words."""
    table = pl.DataFrame({"line": np.arange(len(distinct)), "word": distinct.str.split(" ")}).explode("word")
    table = table.filter(pl.col("word").is_not_null() & (pl.col("word") != "") & ~pl.col("word").is_in(STOP_WORDS))
    lengths = np.bincount(table["line"].to_numpy(), minlength=len(distinct))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Words(table["word"], offsets, inverse)


def _distinct_cleaned(column: pl.Series, paths: Paths) -> tuple[pl.Series, Integers]:
    """The distinct lines that are left of a column, and int64 (len(column),): which of them each is."""
    texts, numbers, n = [pl.Series("text", [], dtype=pl.String)], [np.zeros(0, np.int64)], 0
    for first in range(0, len(column), _PART):
        distinct, own = _distinct(_cleaned(column.slice(first, _PART), paths))
        texts.append(distinct)
        numbers.append(own + n)
        n += len(distinct)
    distinct, number_of = _distinct(pl.concat(texts))
    return distinct, number_of[np.concatenate(numbers)]


def _distinct(texts: pl.Series) -> tuple[pl.Series, Integers]:
    distinct = texts.unique(maintain_order=True)
    table = pl.DataFrame({"text": distinct, "id": np.arange(len(distinct))})
    numbers = texts.to_frame().join(table, on="text", how="left", maintain_order="left")["id"].to_numpy()
    return distinct, numbers.astype(np.int64)


def _cleaned(lines: pl.Series, paths: Paths) -> pl.Series:
    """Lower case, words of letters with one space between them."""
    text = lines.rename("text").str.to_lowercase().str.replace_all(_PATHS[paths], " ")
    text = text.str.replace_all(_WITH_DIGIT, " ").str.replace_all(r"[^\p{L}\s]+", " ")
    return text.str.replace_all(r"\s+", " ").str.strip_chars()
