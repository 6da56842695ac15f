"""The grammar of scenarios: `bgl`, `bgl2tbird`, `bgl+tbird`, `bgl+tbird2spirit`, editions by `bgl@stream-a`.

`2` separates source and target only in front of a known data-set name, so editions may hold a 2 themselves.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.detector import Role
from bench.errors import BenchError, did_you_mean

ALL_PAIRS: Final = "all2each"
"""In place of a scenario: every ordered pair of the editions that are named beside it."""


@dataclass(frozen=True)
class Scenario:
    """Editions to train on and to test on; equal unless it is a transfer."""

    train: tuple[Card, ...]
    test: tuple[Card, ...]
    auxiliary: tuple[Card, ...] = ()
    """Editions that help methods which are told of them; never tested, and no part of `key`."""

    @property
    def is_transfer(self) -> bool:
        """Whether the tested systems are not the trained ones."""
        return self.train != self.test

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that its editions play."""
        target: tuple[Role, ...] = ("target",) if self.is_transfer else ()
        auxiliary: tuple[Role, ...] = ("auxiliary",) if self.auxiliary else ()
        return ("source", *target, *auxiliary)

    @property
    def key(self) -> str:
        """`bgl@raw12k2tbird@raw29k`: the scenario with its editions."""
        train = "+".join(card.key for card in self.train)
        return f"{train}2{'+'.join(card.key for card in self.test)}" if self.is_transfer else train

    @property
    def cards(self) -> tuple[Card, ...]:
        """All editions taking part."""
        return self.train + (self.test if self.is_transfer else ()) + self.auxiliary

    @property
    def is_ordered(self) -> bool:
        """Whether the sequences of all editions stand in order of time."""
        return all(card.kind != "id-splits" for card in self.cards)

    def with_auxiliary(self, names: Sequence[str], catalogue: Catalogue) -> Scenario:
        """The same with data sets that help; one that is trained or tested on anyway is a BenchError."""
        cards = tuple(catalogue.resolve(name) for name in names)
        known = {card.name for card in (*self.train, *self.test)}
        if taken := [card.name for card in cards if card.name in known]:
            raise BenchError(f"--auxiliary {taken[0]}: {self.key} trains or tests on it: name another data set")
        return replace(self, auxiliary=cards)


def parse_scenario(text: str, catalogue: Catalogue) -> Scenario:
    """Read a scenario; a bare name takes the available edition of the highest rank."""
    sides = _sides(text, catalogue.names)
    if sides is None:
        raise BenchError(
            f"unknown scenario '{text}': {_meant(text, catalogue.names)}write a data set "
            f"({', '.join(catalogue.names)}), A2B for a transfer, A+B for combined systems, or A+B2C"
        )
    return make_scenario(sides[0], sides[1], catalogue)


def every_pair(editions: Sequence[str], catalogue: Catalogue) -> list[str]:
    """Every ordered pair of these editions as a transfer; what makes no pair is a BenchError."""
    cards = [catalogue.resolve(name) for name in editions]
    if len(cards) < 2:
        raise BenchError(f"--scenario {ALL_PAIRS} needs two editions at least: give e.g. --editions bgl,tbird,spirit")
    names = [card.name for card in cards]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BenchError(
            f"--editions names {twice[0]} twice, and a system is not transferred to itself: name one edition of each"
        )
    return [f"{source.key}2{target.key}" for source, target in itertools.permutations(cards, 2)]


def make_scenario(train: list[str], test: list[str], catalogue: Catalogue) -> Scenario:
    """A scenario from data-set names; what `--train X --test Y` says without the grammar."""
    sources = tuple(catalogue.resolve(name) for name in train)
    targets = tuple(catalogue.resolve(name) for name in test) or sources
    for side in (sources, targets):
        if len({card.name for card in side}) < len(side):
            raise BenchError(f"'{'+'.join(card.key for card in side)}' names a system twice: name each once")
    shared = {card.name for card in sources} & {card.name for card in targets}
    if shared and sources != targets:
        raise BenchError(f"a transfer cannot train and test on '{min(shared)}': leave it out on one side")
    return Scenario(sources, targets)


def _sides(text: str, names: list[str]) -> tuple[list[str], list[str]] | None:
    """Names before and after the separating 2 (no names after it where there is none), or None."""
    one = rf"(?:{'|'.join(map(re.escape, names))})(?:@[a-z0-9._-]+?)?"
    side = rf"{one}(?:\+{one})*"
    match = re.fullmatch(rf"({side})2({side})", text) or re.fullmatch(rf"({side})()", text)
    if match is None:
        return _unknown_edition_or_none(text, names)
    return match[1].split("+"), match[2].split("+") if match[2] else []


def _meant(text: str, names: list[str]) -> str:
    """`did you mean bgl2tbird? else `, each name of a scenario taken for the nearest that is known; else nothing."""
    parts = re.split(r"([2+])", text)
    nearest = [part if part in ("2", "+") else _nearest(part, names) for part in parts]
    if all(nearest) and len(parts) > 1:
        return f"did you mean {''.join(nearest)}? else "
    pairs = [f"{source}2{target}" for source, target in itertools.permutations(names, 2)]
    return did_you_mean(text, [*names, *pairs] if "@" not in text else [_nearest(text, names)])


def _nearest(part: str, names: list[str]) -> str:
    """A part of a scenario with the nearest known name; nothing where none is near."""
    name, at, edition = part.partition("@")
    near = difflib.get_close_matches(name.lower(), names, 1)
    return f"{near[0]}{at}{edition}" if near else ""


def _unknown_edition_or_none(text: str, names: list[str]) -> tuple[list[str], list[str]] | None:
    """Let a known name with a strange edition reach the catalogue, whose message lists the editions."""
    name = text.partition("@")[0]
    return ([text], []) if "@" in text and name in names and not re.search(r"[+\s]", text) else None
