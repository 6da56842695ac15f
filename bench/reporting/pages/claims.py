"""Claims of a page: what its numbers are, in a comment below the text that prints them.

    On `hdfs@blocks-a` it has F1 .598, `ecvc` .997; the paper reports .998.

    <!-- claims
    .598 .997 = f1 mlad,ecvc hdfs@blocks-a paper
    .998 = quoted: its table 1
    -->

A comment answers for the text since the heading or the claims before it. Each number there needs its entry, in the
order of the text where the same digits stand twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from bench.errors import BenchError
from bench.reporting.pages.blocks import emptied
from bench.reporting.pages.lookup import Query, parse_queries
from bench.reporting.pages.numbers import Number, numbers_of

SOURCES: Final = ("quoted", "given", "measured")
"""Of numbers that no record holds: printed elsewhere; a setting or a count; measured once, as the words say."""
MARK: Final = "<!-- claims"

_COMMENT: Final = re.compile(r"<!-- claims\n(?P<lines>.*?)-->", re.S)
_HEADING: Final = re.compile(r"^#+ ", re.M)
_SOURCE: Final = re.compile(rf"(?P<kind>{'|'.join(SOURCES)}): (?P<words>.+)")


class Claim(NamedTuple):
    """A number of a page and where it comes from."""

    number: Number
    query: Query | None
    """What the records are asked, or None."""
    source: str = ""
    """Where no record is asked: one of SOURCES."""


class PageClaims(NamedTuple):
    """What stands in a page."""

    claims: list[Claim]
    unmarked: list[Number]
    """Numbers that no entry answers for."""
    faults: list[tuple[int, str]]
    """Entries that cannot be read or have no number: their line, and what is wrong."""


class _Entry(NamedTuple):
    said: str
    line: int
    query: Query | None
    source: str


def claims_of(page: str) -> PageClaims:
    """The claims of a page, its numbers without one, and the entries that are wrong."""
    text = emptied(page)
    waiting = list(numbers_of(text))
    found = PageClaims([], [], [])
    for comment in _COMMENT.finditer(text):
        begin = _begin_of(text, comment.start())
        here = [number for number in waiting if begin <= number.place < comment.start()]
        waiting = [number for number in waiting if number not in here]
        entries = _entries(comment["lines"], text.count("\n", 0, comment.start("lines")) + 1, found.faults)
        found.claims.extend(_matched(entries, here, found.faults))
        found.unmarked.extend(here)
    found.unmarked.extend(waiting)
    return found._replace(unmarked=sorted(found.unmarked, key=lambda number: number.place))


def _begin_of(text: str, end: int) -> int:
    """Where the text begins that a comment answers for."""
    before = [found.end() for found in _COMMENT.finditer(text, 0, end)]
    before += [found.end() for found in _HEADING.finditer(text, 0, end)]
    return max(before, default=0)


def _entries(lines: str, first: int, faults: list[tuple[int, str]]) -> Iterator[_Entry]:
    for line, text in enumerate(lines.splitlines(), first):
        if not text.strip():
            continue
        said, equals, what = (part.strip() for part in text.partition(" = "))
        if not equals:
            faults.append((line, f"'{text.strip()}' has no ' = ': write `.598 = f1 mlad hdfs@blocks-a paper`"))
            continue
        try:
            yield from _entries_of(said.split(), line, what)
        except BenchError as error:
            faults.append((line, str(error)))


def _entries_of(said: list[str], line: int, what: str) -> Iterable[_Entry]:
    source = _SOURCE.fullmatch(what)
    if source:
        return [_Entry(one, line, None, source["kind"]) for one in said]
    queries = parse_queries(what)
    if len(queries) != len(said):
        raise BenchError(f"'{what}' asks for {len(queries)} numbers and {len(said)} stand before it: make them as many")
    return [_Entry(one, line, query, "") for one, query in zip(said, queries, strict=True)]


def _matched(entries: Iterable[_Entry], here: list[Number], faults: list[tuple[int, str]]) -> Iterator[Claim]:
    """Each entry with its number, which is taken out of those that are here."""
    for entry in entries:
        number = next((number for number in here if number.text == entry.said), None)
        if number is None:
            faults.append((entry.line, f"'{entry.said}' does not stand in the text above: correct or delete the claim"))
            continue
        here.remove(number)
        yield Claim(number, entry.query, entry.source)
