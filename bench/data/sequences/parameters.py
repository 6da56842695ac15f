"""Message parameters of events: for each `<*>` of an event's text, the number behind it in the raw line.

A text's `<*>` are its columns, from left to right, so every event of a template has the same. What stands behind one:

- where the masked message has the same word as the template, the text that the mask replaced;
- where the parser made a word of the message to `<*>`, that word, unless a mask had replaced only a part of it;
- in a line that matches no template, whose text is its masked message, what the masks replaced.

One decimal number is a value; everything else is NaN: addresses, paths, hex words with a letter, identifiers such as
`blk_7`, and a number with its unit in one word that the parser made to `<*>`. Headers and labels are cut off before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.reading.lines import numbers
from bench.data.reading.log import WILDCARD, Log, take
from bench.types import Parameters, Sequences, ranges

_CHUNK: Final = 1 << 19
"""Events worked on at once."""

Integers = NDArray[np.int64]


class NumberedLog(NamedTuple):
    """A log with the numbers of its lines."""

    log: Log
    numbers: Parameters | None
    """Of each line, as `open_values` gives them; None where the edition has no raw lines."""


class _Columns(NamedTuple):
    """The columns of distinct pairs of a message and a text, in CSR form."""

    offsets: Integers
    """(n_pairs + 1,)"""
    source: Integers
    """(n_columns,) which number of the line it is, or -1."""
    constant: NDArray[np.float64]
    """(n_columns,) the number itself where source is -1."""


def parameters_of(sequences: Sequences, systems: Mapping[int, NumberedLog]) -> Parameters | None:
    """The message parameters of all events; systems: by `Sequences.system`. None where no system has raw lines.

    Read-only, as `Sequences.read_only` says.
    """
    made: list[tuple[Integers, Parameters]] = []
    system = np.repeat(sequences.system, sequences.lengths)
    for index, (log, values) in systems.items():
        events = np.flatnonzero(system == index)
        if values is not None and len(events):
            made.append((events, _of_events(sequences, events, log, values)))
    if not any(numbered.numbers is not None for numbered in systems.values()):
        return None
    lengths = np.zeros(sequences.n_events, np.int64)
    for events, parameters in made:
        lengths[events] = np.diff(parameters.offsets)
    offsets = offsets_of(lengths)
    if len(made) == 1:
        return Parameters(made[0][1].values, offsets).read_only()
    merged = np.empty(offsets[-1])
    for events, parameters in made:
        merged[ranges(offsets[events], np.diff(parameters.offsets))] = parameters.values
    return Parameters(merged, offsets).read_only()


def _of_events(sequences: Sequences, events: Integers, log: Log, line_values: Parameters) -> Parameters:
    lines, text_ids = sequences.lines[events], sequences.text_ids[events]
    codes = log.message_ids[lines].astype(np.int64) * len(sequences.texts) + text_ids
    pairs, pair_of = np.unique(codes, return_inverse=True)
    messages = take(log.messages, pairs // len(sequences.texts))
    columns = _columns_of(messages, [sequences.texts[i] for i in (pairs % len(sequences.texts)).tolist()])
    offsets = offsets_of(np.diff(columns.offsets)[pair_of])
    values = np.empty(offsets[-1])
    for start in range(0, len(events), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        within = offsets[start : start + _CHUNK + 1]
        values[within[0] : within[-1]] = _gathered(columns, pair_of[chunk], line_values, lines[chunk])
    return Parameters(values, offsets)


def _gathered(columns: _Columns, pair_of: Integers, line_values: Parameters, lines: Integers) -> NDArray[np.float64]:
    """The values of these events, one behind the other."""
    lengths = np.diff(columns.offsets)[pair_of]
    places = ranges(columns.offsets[pair_of], lengths)
    source, values = columns.source[places], columns.constant[places]
    from_line = source >= 0
    starts = np.repeat(line_values.offsets[lines], lengths)
    values[from_line] = line_values.values[starts[from_line] + source[from_line]]
    return values


def _columns_of(messages: Iterable[str], texts: Iterable[str]) -> _Columns:
    """The columns of each pair of a masked message and the text that it has."""
    slots = [list(places(message, text)) for message, text in zip(messages, texts, strict=True)]
    flat = [slot for own in slots for slot in own]
    return _Columns(
        offsets_of(np.array([len(own) for own in slots], np.int64)),
        np.array([slot.source if slot.word is None else -1 for slot in flat], np.int64),
        numbers(pl.Series([slot.word or "" for slot in flat], dtype=pl.String)),
    )


class Place(NamedTuple):
    """What stands behind one `<*>` of a text in a line."""

    source: int
    """Which value of the line it is, or where a word stands there, the first value within the word."""
    word: str | None = None
    """The word of the masked message, where the parser made it to `<*>`."""


def places(message: str, text: str) -> Iterator[Place]:
    """For each `<*>` of a text, what of a line with this masked message stands there."""
    if message == text:
        yield from (Place(i) for i in range(text.count(WILDCARD)))
        return
    passed = 0
    # Drain gives a message a template of as many words, of which each is equal or `<*>`.
    for word, pattern in zip(message.split(), text.split(), strict=True):
        for i in range(pattern.count(WILDCARD)):
            yield Place(passed + i) if word == pattern else Place(passed, word)
        passed += word.count(WILDCARD)


def offsets_of(lengths: Integers) -> Integers:
    """int64 (n_rows + 1,): where the rows of a CSR array of these lengths begin, and where it ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
