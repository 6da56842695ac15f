"""BibTeX of what stands behind tables: the papers of methods and data as this project holds them, and the tool itself.

A method's paper stands in the first sentence of its module, a data set's in its card. Nothing is added to them: first
names, pages and publishers are missing, and what names no paper is a comment.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import bench
from bench import registry
from bench.data.cards.catalogue import Catalogue
from bench.errors import BenchError, shown
from bench.records.record import Record
from bench.reporting.pages.sources import module_words
from bench.reporting.published.papers import load_published

TITLE: Final = "bench: honest comparison of log anomaly detectors"
AUTHOR: Final = "The bench developers"
YEAR: Final = "2026"
"""As CITATION.cff has them."""

_HEAD: Final = """% Made by `bench results cite`. Fields are those that this project holds: the title of a
% method's paper is what the method's source says of it; first names, pages and publishers are missing. Complete
% them before you print."""
_METHOD: Final = re.compile(r"(?P<title>[^()]+) \((?P<inside>[^()]+)\)")
_INSIDE: Final = re.compile(r"(?P<authors>.+), (?P<venue>[^,]+?),? (?P<year>(?:19|20)[0-9]{2})")
_CARD: Final = re.compile(
    r"(?P<authors>[^:]+): (?P<title>.+?(?:[.]{3})?)[.]? (?P<venue>[^.]+?),? (?P<year>(?:19|20)[0-9]{2})[.]?"
)
_Comments = defaultdict[str, list[str]]
"""What is to be said, of which methods or editions."""
_ESCAPED: Final = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


class Paper(NamedTuple):
    """One entry."""

    authors: str
    title: str
    venue: str
    year: str

    @property
    def identity(self) -> tuple[str, ...]:
        """Who, where and when: a method and a data set may come from one paper."""
        return (*(name.rpartition(" ")[2].lower() for name in _people(self.authors)), self.venue.lower(), self.year)


def bibliography(records: Iterable[Record], catalogue: Catalogue) -> str:
    """A .bib file of the methods and data of these records, and of the tool; each paper once."""
    records = list(records)
    methods = dict.fromkeys(record["spec"]["detector"]["name"] for record in records)
    editions = dict.fromkeys(part["edition"] for record in records for part in _sides(record))
    found: dict[tuple[str, ...], tuple[Paper, list[str]]] = {}
    bare: _Comments = defaultdict(list)
    papers = [(f"data {', '.join(keys)}", text) for text, keys in _cited(editions, catalogue, bare).items()]
    for use, text in papers:
        match = _CARD.fullmatch(text)
        paper = Paper(**match.groupdict()) if match else None
        _add(found, bare, use, paper, text)
    for name in methods:
        paper, words = _of_method(name)
        _add(found, bare, f"method {name}", paper, words)
    comments = "\n".join(f"% {', '.join(uses)}: {shown(words, 300)}" for words, uses in bare.items())
    entries = [_entry(paper, uses) for paper, uses in found.values()]
    return "\n\n".join([_HEAD, *filter(None, [comments]), *_with_keys(entries), _tool()]) + "\n"


def _sides(record: Record) -> Iterator[Mapping[str, str]]:
    spec = record["spec"]
    yield from (*spec["train"], *spec["test"], *spec.get("auxiliary", ()))


def _cited(editions: Iterable[str], catalogue: Catalogue, bare: _Comments) -> dict[str, list[str]]:
    """The citation of each edition's card, and the editions that share it."""
    cited: dict[str, list[str]] = {}
    for key in editions:
        try:
            card = catalogue.find(key)
        except BenchError:
            bare["its card is not here: give --data"].append(f"data {key}")
            continue
        cited.setdefault(card.citation, []).append(key)
        if "cite" in card.licence_of_files:
            bare[f"its licence: {card.licence_of_files}"].append(f"data {key}")
    return cited


def _of_method(name: str) -> tuple[Paper | None, str]:
    """The paper of a method, or None, and what its source says in one sentence."""
    try:
        words = module_words(registry.find(name)).partition("\n\n")[0]
    except (BenchError, OSError, SyntaxError) as error:
        return None, f"its source is not here ({shown(error, 60)})"
    words = " ".join(words.split())
    match = _METHOD.match(words)
    if match is None:
        return None, words
    title = {paper.key: paper.title for paper in load_published()}.get(name, match["title"])
    for part in match["inside"].split("; "):
        if inside := _INSIDE.fullmatch(part):
            return Paper(inside["authors"], title, inside["venue"], inside["year"]), words
        if part.endswith(" et al."):
            return Paper(part, title, "", ""), words
    return None, words


def _add(
    found: dict[tuple[str, ...], tuple[Paper, list[str]]], bare: _Comments, use: str, paper: Paper | None, words: str
) -> None:
    if paper is None:
        bare[f"no paper is named; {words}"].append(use)
    else:
        found.setdefault(paper.identity, (paper, []))[1].append(use)


def _entry(paper: Paper, uses: Sequence[str]) -> tuple[str, str]:
    """The key that an entry would have, and its fields."""
    fields = {
        "author": " and ".join(_people(paper.authors)),
        "title": f"{{{_escaped(paper.title)}}}",
        "howpublished": " ".join(filter(None, [paper.venue, paper.year])),
        "year": paper.year,
        "note": f"used here: {'; '.join(uses)}",
    }
    fields |= {name: _escaped(value) for name, value in fields.items() if name != "title"}
    first = _people(paper.authors)[0].rpartition(" ")[2]
    word = next(iter(re.findall(r"[A-Za-z0-9]+", paper.title)), "")
    key = re.sub(r"[^a-z0-9-]", "", f"{first}{paper.year}{word}".lower())
    return key, ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)


def _with_keys(entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The entries, each under a key of its own."""
    taken: dict[str, int] = {}
    for key, fields in entries:
        taken[key] = taken.get(key, 0) + 1
        unique = key if taken[key] == 1 else f"{key}{taken[key]}"
        yield f"@misc{{{unique},\n{fields}\n}}"


def _people(text: str) -> list[str]:
    """`A. Oliner and J. Stearley`, `Du, Li`, `Meng et al.` -> one by one, as BibTeX counts them."""
    names = [name for name in re.split(r", and |, | and ", text.replace(" et al.", ", others").strip()) if name]
    return names or [text]


def _tool() -> str:
    fields = {"author": f"{{{AUTHOR}}}", "title": f"{{{TITLE}}}", "year": YEAR, "version": bench.__version__}
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{bench,\n{lines},\n  note = {{software}}\n}}"


def _escaped(text: str) -> str:
    plain = "".join(_ESCAPED.get(char, char) for char in text)
    return re.sub(r"(?<!\\)[&%$#_]", lambda found: f"\\{found[0]}", plain)
