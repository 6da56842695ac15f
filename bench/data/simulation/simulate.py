"""A simulated log from a declarative grammar: for tests, development and measurements without any real data.

The generative model, as `docs/simulation.md` explains it:

* An **episode** is one run of a process on one node, or one session. Episodes start at random gaps, or once in a
  period (periodic jobs), and overlap, so their lines interleave. In **bursts** they start several times as fast.
* A **process** is a list of steps; a step logs one of its messages, a drawn number of times, after a drawn gap. A step
  may turn into a **storm**: one message many times within seconds.
* Templates **drift**: processes start or end within a part of the log, and a message may get another wording, to which
  one episode after the other changes over.
* One of `anomaly_every` random episodes is an **anomaly**: an episode of a process with one change of one kind. The
  kinds take turns over the whole log, so that neither the position in the log nor one kind alone gives the labels away.
  A kind that is switched off leaves its episodes to run normally and changes no other episode.

The bytes depend on the grammar, the seed and the number of lines only: neither on the size of chunks nor on platform,
locale or library version. See `bench.data.simulation.draws`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.simulation.grammar import read_grammar
from bench.data.simulation.plan import Block, plan
from bench.data.simulation.records import KINDS, Grammar, Labels
from bench.data.simulation.render import Renderer
from bench.data.simulation.scripts import compile_scripts
from bench.errors import BenchError

CHUNK_LINES: Final = 1 << 16
"""How many lines are planned at a time: more is hardly faster and takes more memory."""


class Chunk(NamedTuple):
    """Some lines in order, and what the generator knows about them."""

    lines: bytes
    """Raw lines in the system's own layout; every one ends with a newline."""
    kinds: NDArray[np.uint8]
    """(n_lines,): 0 normal, else 1 + the place in KINDS of the kind of anomaly that the line is part of."""
    sessions: NDArray[np.int64]
    """(n_lines,): the number of each line's episode (or session), in order of their starts."""
    session_ids: pl.Series
    """Ids of the sessions that start in this chunk, in order; empty where lines are labelled."""
    session_kinds: NDArray[np.uint8]
    """(len(session_ids),): their kinds, as in `kinds`."""


@dataclass(frozen=True, slots=True)
class SimulatedLog:
    """A whole simulated log in memory; `iter_chunks` is for one that does not fit."""

    lines: bytes
    """The raw log in the system's own layout; every line ends with a newline."""
    label_file: bytes | None
    """CSV with one row per session where sessions are labelled; else None."""
    kinds: NDArray[np.uint8]
    """(n_lines,): 0 normal, else 1 + the place in KINDS of the kind of anomaly that the line is part of."""
    sessions: NDArray[np.int64]
    """(n_lines,): the number of each line's episode; an index into `session_ids` where sessions are labelled."""
    session_ids: tuple[str, ...]
    """In order of their first lines; empty where lines are labelled."""
    session_kinds: NDArray[np.uint8]
    """(len(session_ids),): their kinds, as in `kinds`."""

    @property
    def n_lines(self) -> int:
        """The number of lines: those asked for, and the few that the last episodes need to end."""
        return len(self.kinds)

    def abnormal_lines(self) -> dict[str, int]:
        """Count the lines of each kind of anomaly."""
        return count_kinds(self.kinds)

    def abnormal_sessions(self) -> dict[str, int]:
        """Count the sessions of each kind of anomaly."""
        return count_kinds(self.session_kinds)


def simulate(
    grammar: Mapping[str, Any], *, seed: int, n_lines: int | None = None, kinds: Collection[str] | None = None
) -> SimulatedLog:
    """Generate a log from the `[simulate]` table of a card; n_lines replaces its own number of lines.

    Raises:
        BenchError: the grammar is not well formed, or has none of a kind.
    """
    rules = read_grammar(grammar)
    chunks = list(_chunks(rules, seed, rules.lines if n_lines is None else n_lines, kinds, CHUNK_LINES))
    ids = tuple(name for chunk in chunks for name in chunk.session_ids.to_list())
    return SimulatedLog(
        lines=b"".join(chunk.lines for chunk in chunks),
        label_file=label_header(rules.labels) + b"".join(label_rows(rules.labels, chunk) for chunk in chunks)
        if rules.labels.session
        else None,
        kinds=np.concatenate([np.empty(0, np.uint8), *(chunk.kinds for chunk in chunks)]),
        sessions=np.concatenate([np.empty(0, np.int64), *(chunk.sessions for chunk in chunks)]),
        session_ids=ids,
        session_kinds=np.concatenate([np.empty(0, np.uint8), *(chunk.session_kinds for chunk in chunks)]),
    )


def iter_chunks(
    grammar: Mapping[str, Any],
    *,
    seed: int,
    n_lines: int | None = None,
    kinds: Collection[str] | None = None,
    chunk_lines: int = CHUNK_LINES,
) -> Iterator[Chunk]:
    """Generate the same log piece by piece, in memory that does not grow with its number of lines.

    Only `kinds` of anomaly occur (None: all that the grammar has); the episodes of others run normally. A chunk holds
    about `chunk_lines` lines; together they hold the same bytes, whatever its value.

    Raises:
        BenchError: the grammar is not well formed, or has none of a kind.
    """
    rules = read_grammar(grammar)
    return _chunks(rules, seed, rules.lines if n_lines is None else n_lines, kinds, chunk_lines)


def count_kinds(kinds: NDArray[np.uint8]) -> dict[str, int]:
    """Count each kind of anomaly that occurs."""
    counts = np.bincount(kinds, minlength=len(KINDS) + 1)[1:]
    return {kind: int(count) for kind, count in zip(KINDS, counts, strict=True) if count}


def choose_kinds(grammar: Grammar, kinds: Collection[str] | None) -> frozenset[str]:
    """Return the kinds that shall occur; all that the grammar has for None.

    Raises:
        BenchError: the grammar has none of a kind.
    """
    for kind in kinds or ():
        if kind not in grammar.kinds:
            raise BenchError(f"'{kind}' is no kind of anomaly of this grammar: choose from {', '.join(grammar.kinds)}")
    return frozenset(grammar.kinds if kinds is None else kinds)


def label_header(labels: Labels) -> bytes:
    """Return the first line of a label file."""
    return f"{labels.header}\n".encode()


def label_rows(labels: Labels, chunk: Chunk) -> bytes:
    """Return the rows of a label file for the sessions that start in a chunk."""
    words = pl.Series([labels.normal, labels.abnormal]).gather((chunk.session_kinds > 0).astype(np.int64))
    table = pl.DataFrame({"session": chunk.session_ids, "label": words})
    return table.write_csv(include_header=False, quote_style="never").encode()


def _chunks(
    rules: Grammar, seed: int, n_lines: int, kinds: Collection[str] | None, chunk_lines: int
) -> Iterator[Chunk]:
    wanted = choose_kinds(rules, kinds)
    renderer = Renderer(rules, compile_scripts(rules, n_lines).forms)
    blocks = plan(rules, seed=seed, n_lines=n_lines, block_lines=chunk_lines, kinds=wanted)
    return (_chunk(rules, renderer, block) for block in blocks)


def _chunk(rules: Grammar, renderer: Renderer, block: Block) -> Chunk:
    by_session = bool(rules.labels.session)
    return Chunk(
        lines=renderer.lines(block.lines),
        kinds=block.lines.kind,
        sessions=block.lines.episode,
        session_ids=renderer.sessions(block.session_keys) if by_session else pl.Series([], dtype=pl.String),
        session_kinds=block.session_kinds if by_session else np.empty(0, np.uint8),
    )
