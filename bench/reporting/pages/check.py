"""The audit of claims: whether each number of the pages is what the records say."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.errors import BenchError
from bench.records.store import Store
from bench.reporting.pages.claims import MARK, Claim, PageClaims, claims_of
from bench.reporting.pages.lookup import Lookup
from bench.reporting.pages.numbers import Number

STRICT: Final = ("results/*.md", "methods/*.md", "performance.md")
"""Pages below the folder of the documentation in which every number is a claim; elsewhere those that are marked."""

CHECKED, WRONG, UNMARKED, FAULT = "checked", "wrong", "unmarked", "fault"


class Judged(NamedTuple):
    """What the audit says of one number or entry."""

    page: str
    line: int
    said: str
    verdict: str
    """`checked`, `wrong`, `unmarked`, `fault`, or where it is from: `quoted`, `given`, `measured`."""
    found: str = ""
    """What the records say, as it would be printed, or why they say nothing."""
    query: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it makes the audit fail."""
        return self.verdict in (WRONG, UNMARKED, FAULT)

    @property
    def sentence(self) -> str:
        """One line for a reader."""
        where = f"{self.page}:{self.line}:"
        if self.verdict == UNMARKED:
            return f"{where} {self.said} is no claim: add it to a `<!-- claims` comment below the text"
        if self.verdict == FAULT:
            return f"{where} {self.found}"
        return f"{where} says {self.said}, found {self.found} ({self.query})"


def audit_claims(docs: Path, store: Store) -> list[Judged]:
    """Every number of the strict pages and every claim of the others, page by page."""
    if not docs.is_dir():
        raise BenchError(f"there is no folder '{docs}' with pages: give another --docs")
    pages = {path: claims_of(path.read_text(encoding="utf-8")) for path in _pages(docs)}
    queries = [claim.query for page in pages.values() for claim in page.claims if claim.query]
    lookup = Lookup(store, queries)
    strict = {path for pattern in STRICT for path in docs.glob(pattern)}
    return [
        judged
        for path, page in pages.items()
        for judged in sorted(_judged(path, page, lookup, is_strict=path in strict), key=lambda found: found.line)
    ]


def _pages(docs: Path) -> list[Path]:
    """The strict pages, and what else has claims."""
    strict = [path for pattern in STRICT for path in sorted(docs.glob(pattern))]
    others = [path for path in (docs.parent / "README.md", *sorted(docs.rglob("*.md"))) if path not in strict]
    return strict + [path for path in others if path.is_file() and MARK in path.read_text(encoding="utf-8")]


def _judged(path: Path, page: PageClaims, lookup: Lookup, *, is_strict: bool) -> Iterator[Judged]:
    name = path.as_posix()
    yield from (_judge(name, claim, lookup) for claim in page.claims)
    yield from (Judged(name, line, "", FAULT, what) for line, what in page.faults)
    if is_strict:
        yield from (Judged(name, number.line, number.text, UNMARKED) for number in page.unmarked)


def _judge(page: str, claim: Claim, lookup: Lookup) -> Judged:
    number, query = claim.number, claim.query
    if query is None:
        return Judged(page, number.line, number.text, claim.source)
    try:
        found = printed_like(number, lookup.value(query))
    except BenchError as error:
        return Judged(page, number.line, number.text, WRONG, f"nothing: {error}", str(query))
    verdict = CHECKED if _decimal(found) == _decimal(number.text) else WRONG
    return Judged(page, number.line, number.text, verdict, found, str(query))


def printed_like(number: Number, value: float) -> str:
    """A value with the digits, the sign and the form of a number of a page: `.598`, `+0.148`, `29` of `29 %`."""
    said = number.text
    places = len(said.partition(".")[2])
    exact = Decimal(repr(100 * value if number.is_percent else value))
    text = f"{exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"
    if "," not in said and abs(exact) < 10_000:
        text = text.replace(",", "")
    if said.lstrip("+-").startswith("."):
        text = text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
    return f"+{text}" if said.startswith("+") and not text.startswith("-") else text


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def totals(found: list[Judged]) -> dict[str, int]:
    """How many of each verdict."""
    counts: dict[str, int] = {}
    for judged in found:
        counts[judged.verdict] = counts.get(judged.verdict, 0) + 1
    return dict(sorted(counts.items()))


def as_rows(found: list[Judged]) -> list[dict[str, Any]]:
    """For programs."""
    return [judged._asdict() for judged in found]
