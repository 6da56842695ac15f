"""Plan a log: episodes, their lines and times, as arrays without text, in order of time and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum, auto
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.data.simulation.draws import Keys, Whole, between, derive, happens
from bench.data.simulation.records import Grammar
from bench.data.simulation.scripts import NORMAL_KIND, Scripts, compile_scripts, mean_episode_lines


class Salt(IntEnum):
    """What a draw is for; parameters and steps have numbers behind these."""

    GAP = auto()
    PROCESS = auto()
    ANOMALY = auto()
    UPDATE = auto()
    CHOICE = auto()
    TAKEN = auto()
    TIMES = auto()
    STORM = auto()
    STORM_TIMES = auto()
    LINE_GAP = auto()
    PARAMETER = 1 << 10
    LINE = 1 << 20


_PER_SLOT: Final = 1 << 12
"""Lines of one step at most."""


class Episodes(NamedTuple):
    """Episodes in order of their start; (n_episodes,) each."""

    start_us: Whole
    key: Keys
    script: Whole


class Lines(NamedTuple):
    """Lines in order of time; (n_lines,) each."""

    time_us: Whole
    episode: Whole
    """The number of its episode, in order of the episodes' starts."""
    episode_key: Keys
    key: Keys
    form: Whole
    kind: NDArray[np.uint8]
    """0 normal, else 1 + its place in KINDS."""
    anomaly: Whole
    """Index of the anomaly that a deviating line is part of, or -1."""

    def take(self, index: Whole | slice) -> Lines:
        """The lines at these places."""
        return Lines._make(column[index] for column in self)


_T = TypeVar("_T", Episodes, Lines)


class Block(NamedTuple):
    """What can be said before any later episode is known."""

    lines: Lines
    session_keys: Keys
    """Keys of the episodes that start in this block, in order."""
    session_kinds: NDArray[np.uint8]


def plan(grammar: Grammar, *, seed: int, n_lines: int, block_lines: int, kinds: frozenset[str]) -> Iterator[Block]:
    """Plan episodes until n_lines are reached; every episode is finished, so that none is cut by the end.

    The lines do not depend on `block_lines`, about how many are planned at a time. An episode whose kind of anomaly is
    not among `kinds` runs as its process normally does.
    """
    arrivals = _Arrivals(grammar, compile_scripts(grammar, n_lines), seed, kinds)
    size, waiting, planned, numbered = max(1, int(block_lines / mean_episode_lines(grammar))), None, 0, 0
    while planned < n_lines:
        episodes, until = arrivals.next(size)
        made, counts = _lines_of(episodes, arrivals.scripts, grammar, numbered)
        ends = planned + np.cumsum(counts)
        keep = int(np.searchsorted(ends, n_lines, "left")) + 1
        if keep < len(counts):
            made = made.take(slice(int(counts[:keep].sum())))
            episodes = Episodes._make(column[:keep] for column in episodes)
        planned, numbered = int(ends[len(episodes.key) - 1]), numbered + len(episodes.key)
        lines = made if waiting is None else _joined([waiting, made])
        lines = lines.take(np.argsort(lines.time_us, kind="stable"))
        # A later episode starts at `until` at the earliest.
        ready = len(lines.time_us) if planned >= n_lines else int(np.searchsorted(lines.time_us, until, "left"))
        waiting = lines.take(slice(ready, None))
        yield Block(lines.take(slice(ready)), episodes.key, arrivals.scripts.kind[episodes.script])


class _Arrivals:
    """Starts of episodes: at random, with bursts, and the periodic ones between them."""

    def __init__(self, grammar: Grammar, scripts: Scripts, seed: int, kinds: frozenset[str]) -> None:
        bits = np.random.PCG64(seed)
        own = np.asarray(bits.random_raw(3 + len(grammar.processes)))
        self._burst_key, self._place_key, self._kind_key, self._periodic_keys = own[0], own[1], own[2], own[3:]
        self._bits, self._grammar, self.scripts = bits, grammar, scripts
        self._now_us, self._count = grammar.start_us, 0
        self._is_on = np.array([kind in kinds for kind in grammar.kinds], bool)
        self._round = np.repeat(np.arange(len(grammar.kinds)), [grammar.turns[kind] for kind in grammar.kinds])

    def next(self, size: int) -> tuple[Episodes, int]:
        """The next `size` random episodes and the periodic ones among them, and the time they all start before."""
        keys = np.asarray(self._bits.random_raw(size))
        number = np.arange(self._count, self._count + size)
        gaps = between(derive(keys, Salt.GAP), *self._grammar.episode_gap_us) // self._speed(number)
        times = self._now_us + np.cumsum(gaps) - gaps
        begin, self._now_us = self._now_us, int(times[-1] + gaps[-1])
        self._count += size
        parts = [Episodes(times, keys, self._pick(times, keys, number)), *self._periodic(begin, self._now_us)]
        joined = _joined(parts)
        order = np.argsort(joined.start_us, kind="stable")
        return Episodes._make(column[order] for column in joined), self._now_us

    def _speed(self, number: Whole) -> Whole:
        bursts = self._grammar.bursts
        row, place = np.divmod(number, bursts.every)
        keys = derive(self._burst_key, row)
        length = between(derive(keys, 0), *bursts.episodes)
        first = between(derive(keys, 1), np.zeros_like(length), bursts.every - length)
        return np.where((place >= first) & (place < first + length), bursts.speed, 1)

    def _pick(self, times: Whole, keys: Keys, number: Whole) -> Whole:
        scripts = self.scripts
        phase = np.searchsorted(scripts.ends_us, times, "right")
        script = _by_weight(scripts.process_weights[phase], derive(keys, Salt.PROCESS))
        row, place = np.divmod(number, self._grammar.anomaly_every)
        due = place == between(derive(self._place_key, row), 0, self._grammar.anomaly_every - 1)
        if len(scripts.anomaly_weights) and due.any():
            script[due] = self._deviate(row[due], phase[due], keys[due])
        return script

    def _deviate(self, turn: Whole, phase: Whole, keys: Keys) -> Whole:
        """Scripts of the anomalies whose turn it is: a round has all turns of all kinds, in random order."""
        scripts, n_turns = self.scripts, len(self._round)
        rounds, place = np.divmod(turn, n_turns)
        lots = derive(derive(self._kind_key, rounds)[:, None], np.arange(n_turns)[None, :])
        kind = self._round[np.argsort(lots, axis=1, kind="stable")[np.arange(len(turn)), place]]
        anomaly = _by_weight(scripts.anomaly_weights[kind, phase], derive(keys, Salt.ANOMALY))
        n_processes = scripts.process_weights.shape[1]
        return np.where(self._is_on[kind], n_processes + anomaly, scripts.process_of[anomaly])

    def _periodic(self, begin: int, end: int) -> Iterator[Episodes]:
        scripts = self.scripts
        for i, process in enumerate(self._grammar.processes):
            if process.period_us:
                origin = begin - self._grammar.start_us - process.jitter_us
                number = np.arange(
                    max(0, origin // process.period_us), (end - self._grammar.start_us) // process.period_us + 1
                )
                keys = derive(self._periodic_keys[i], number)
                times = self._grammar.start_us + number * process.period_us
                times += between(derive(keys, Salt.GAP), 0, process.jitter_us)
                phase = np.searchsorted(scripts.ends_us, times, "right")
                keep = (times >= begin) & (times < end) & scripts.is_able[phase, i]
                yield Episodes(times[keep], keys[keep], np.full(int(keep.sum()), i))


def _joined(parts: Sequence[_T]) -> _T:
    """Columns one behind the other."""
    columns = (np.concatenate([part[i] for part in parts]) for i in range(len(parts[0])))
    return type(parts[0])(*columns)


def _by_weight(cumulative: Whole, keys: Keys) -> Whole:
    """A column for each row, drawn by weight."""
    drawn = between(keys, np.zeros(len(keys), np.int64), cumulative[:, -1] - 1)
    column: Whole = (drawn[:, None] >= cumulative).sum(axis=1)
    return column


def _lines_of(episodes: Episodes, scripts: Scripts, grammar: Grammar, first: int) -> tuple[Lines, Whole]:
    """The lines of each episode, in its order, and how many each has; the first episode has the number `first`."""
    counts = _repeats(episodes, scripts, grammar)
    is_storm, counts = counts < 0, np.abs(counts)
    flat = np.repeat(np.arange(counts.size), counts.ravel())
    episode, place = np.divmod(flat, counts.shape[1])
    script = episodes.script[episode]
    begins = np.cumsum(counts.ravel()) - counts.ravel()
    repeat = np.arange(len(flat)) - begins[flat]
    slot = scripts.slot[script, place]
    key = derive(episodes.key[episode], Salt.LINE + slot * _PER_SLOT + repeat)
    per_episode = counts.sum(axis=1)
    at = (script, place)
    gaps = _gaps(key, scripts, grammar, at=at, is_first=repeat == 0, is_storm=is_storm.ravel()[flat])
    firsts = np.cumsum(per_episode) - per_episode
    gaps[firsts] = 0
    elapsed = np.cumsum(gaps)
    elapsed -= np.repeat(elapsed[firsts], per_episode)
    kind = scripts.kind[script]
    deviates = scripts.deviates[script, place].astype(bool) | (bool(grammar.labels.session) & (kind != NORMAL_KIND))
    n_processes = scripts.process_weights.shape[1]
    lines = Lines(
        time_us=episodes.start_us[episode] + elapsed,
        episode=first + episode,
        episode_key=episodes.key[episode],
        key=key,
        form=_forms(key, episodes, episode, scripts, at),
        kind=np.where(deviates, kind, np.uint8(NORMAL_KIND)).astype(np.uint8),
        anomaly=np.where(deviates, script - n_processes, -1),
    )
    return lines, per_episode


def _repeats(episodes: Episodes, scripts: Scripts, grammar: Grammar) -> Whole:
    """How often each step is taken, (n_episodes, n_steps); negative where that is a storm."""
    script = episodes.script
    keys = derive(episodes.key[:, None], Salt.LINE + scripts.slot[script] * _PER_SLOT)
    taken = happens(derive(keys, Salt.TAKEN), scripts.chance_ppm[script])
    times = between(derive(keys, Salt.TIMES), scripts.least[script], scripts.most[script])
    storm_ppm = scripts.storm_ppm[script]
    if storm_ppm.any():
        storms = happens(derive(keys, Salt.STORM), storm_ppm)
        times = np.where(storms, -between(derive(keys, Salt.STORM_TIMES), *grammar.storms.times), times)
    return np.where(taken, times, 0)


def _gaps(
    keys: Keys,
    scripts: Scripts,
    grammar: Grammar,
    *,
    at: tuple[Whole, Whole],
    is_first: NDArray[np.bool_],
    is_storm: NDArray[np.bool_],
) -> Whole:
    """Microseconds before each line."""
    low = np.where(is_first, scripts.first_low[at], scripts.gap_low[at])
    high = np.where(is_first, scripts.first_high[at], scripts.gap_high[at])
    in_storm = is_storm & ~is_first
    low = np.where(in_storm, grammar.storms.gap_us[0], low)
    high = np.where(in_storm, grammar.storms.gap_us[1], high)
    return between(derive(keys, Salt.LINE_GAP), low, high)


def _forms(keys: Keys, episodes: Episodes, episode: Whole, scripts: Scripts, at: tuple[Whole, Whole]) -> Whole:
    """The form of each line: one of its step's, in the wording that its episode has come to use."""
    choice = scripts.first_choice[at]
    several = np.flatnonzero(scripts.n_choices[at] > 1)
    if len(several):
        most = scripts.n_choices[at][several] - 1
        choice[several] += between(derive(keys[several], Salt.CHOICE), np.zeros(len(several), np.int64), most)
    form = scripts.choices[choice]
    later = np.flatnonzero(scripts.later_form[form] != form)
    if len(later):
        old = form[later]
        keys_of = derive(episodes.key[episode[later]], Salt.UPDATE)
        update = between(keys_of, scripts.later_from[old], scripts.later_to[old])
        form[later] = np.where(episodes.start_us[episode[later]] >= update, scripts.later_form[old], old)
    return form
