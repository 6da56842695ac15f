"""The pages of docs/results: what each has, written anew from the records; the prose between its blocks stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.experiment.spec import PROTOCOL_VERSION
from bench.reporting import markdown
from bench.reporting.pages import zero_label
from bench.reporting.pages.blocks import block
from bench.reporting.pages.drift import drift
from bench.reporting.pages.gather import Family, Results, kind_of
from bench.reporting.pages.matrix import NOTHING, headroom, matrices
from bench.reporting.pages.originals import originals
from bench.reporting.pages.places import mean_ranks
from bench.reporting.pages.reading import against_controls, conclusions, protocols_agree
from bench.reporting.pages.steps import budget_rule, steps
from bench.reporting.pages.words import words
from bench.reporting.tables.rows import Row

Make = Callable[[Results], str]

STATE: Final = "state"


@dataclass(frozen=True)
class Page:
    """A page of docs/results."""

    name: str
    title: str
    intro: str
    """What a new page says first; from then on it is prose like any other."""
    blocks: Mapping[str, tuple[str, Make]]
    """The heading and the maker of each block."""

    def skeleton(self) -> str:
        """The page before anything is filled in."""
        parts = [f"# {self.title}", self.intro, block(STATE)]
        for name, (heading, _) in self.blocks.items():
            parts += [f"## {heading}", block(name)]
        return "\n\n".join(parts) + "\n"

    def texts(self, results: Results) -> dict[str, str]:
        """The text of each of its blocks."""
        return {STATE: state(results)} | {name: make(results) for name, (_, make) in self.blocks.items()}


def state(results: Results, index: str = "index.md") -> str:
    """One line: which protocol the numbers are of, and whether they are to be made again.

    index: where the page is that says what is wrong with them
    """
    if not results.tables:
        return "No record is here yet."
    said = f"Numbers of protocol {results.protocol}."
    if results.protocol < PROTOCOL_VERSION:
        said = (
            f"**Numbers of protocol {results.protocol}; made again under protocol {PROTOCOL_VERSION} soon** "
            f"([what is wrong with them]({index}#known-to-be-wrong))."
        )
    if results.older:
        said += f" Records of protocol {', '.join(map(str, results.older))} are here too, and on no page."
    return f"{said} Written by `bench results pages` from `results/records`."


def _is_plain(row: Row) -> bool:
    return kind_of(row) == "plain"


def _is_any(row: Row) -> bool:
    return True


def _family(*families: Family, wanted: Callable[[Row], bool] = _is_plain) -> dict[str, tuple[str, Make]]:
    return {
        "headroom": ("What there is to show", lambda results: headroom(results.of(*families))),
        "matrix": ("Methods and editions", lambda results: matrices(results.of(*families), wanted)),
        "reading": ("Reading", lambda results: against_controls(results, results.of(*families))),
    }


def _settings(results: Results) -> str:
    """Rows with one setting changed, the methods they are of beside them."""
    tables = results.of("within", "paper", "combined", "transfers")
    changed = {_name(row) for table in tables for row in table.rows if kind_of(row) == "setting"}
    return matrices(tables, lambda row: kind_of(row) in ("plain", "setting") and _name(row) in changed)


def _name(row: Row) -> str:
    return str(row.records[0]["spec"]["detector"]["name"])


def _contents(results: Results) -> str:
    """The other pages, and how many tables each shows."""
    lines = [[f"[{page.title}]({page.name}.md)", _size(page, results)] for page in PAGES if page.name != "index"]
    return markdown.table(lines, ["page", "holds"])


def _size(page: Page, results: Results) -> str:
    empty = all(text == f"({NOTHING})" for name, text in page.texts(results).items() if name != STATE)
    return f"{NOTHING} yet" if empty else page.intro.partition(".")[0].lower()


PAGES: Final = (
    Page(
        "index",
        "Results",
        "What was measured, read as a results section would be: what holds, what does not, what nobody can say.",
        {
            "contents": ("Pages", _contents),
            "within": ("Within one system, in time", lambda results: conclusions(results, results.of("within"))),
            "paper": ("Under the published protocol", lambda results: conclusions(results, results.of("paper"))),
            "agreement": ("Does the published protocol rank as time does?", protocols_agree),
            "transfers": ("From one system to another", lambda results: conclusions(results, results.of("transfers"))),
            "combined": ("Several systems at once", lambda results: conclusions(results, results.of("combined"))),
        },
    ),
    Page(
        "chronological",
        "Within one system, in time",
        "Trained on the first part of a log, tested on its last. A log with given parts is cut as its files say.",
        _family("within"),
    ),
    Page(
        "paper",
        "Within one system, the published protocol",
        "All abnormal sequences and as many normal ones test, the other normals train. Flagging all has F1 two thirds.",
        _family("paper"),
    ),
    Page(
        "transfers",
        "From one system to another",
        "Trained on one system, tested on another. The threshold comes from the source.",
        _family("transfers"),
    ),
    Page(
        "zero-label",
        "Another system without labels",
        "A system with labels teaches, one without is tested. Pair by pair, against controls that are told as much.",
        {
            "gains": ("What gains anything", zero_label.gains),
            "parts": ("What the parts are worth", zero_label.parts),
            "router": ("What the router leaves to whom", zero_label.router),
            "words": ("On which word it hangs", words),
        },
    ),
    Page(
        "combined",
        "Several systems at once",
        "Trained and tested on several systems together. One bound serves all of them.",
        _family("combined"),
    ),
    Page(
        "chat",
        "Chat models",
        "A language model is asked about sequences. Metrics weight a sample to the whole test part.",
        _family("chat", wanted=_is_any),
    ),
    Page(
        "steps",
        "Budget: optimiser steps",
        "The ranking against the steps that networks are trained for. Elsewhere all have the same budget and batch.",
        {"steps": ("Curves", steps), "budget": ("What a budget would be fixed by", budget_rule)},
    ),
    Page(
        "drift",
        "Drift: other cuts, and refits block by block",
        "What happens when the cut moves, and when a detector is refitted as time goes on.",
        {"drift": ("Cuts and blocks", drift)},
    ),
    Page(
        "original",
        "Published settings",
        "Methods under the settings that their authors published. Elsewhere all share budget and inputs.",
        {"original": ("Both side by side", originals)},
    ),
    Page(
        "settings",
        "One setting changed",
        "Ablations and variants: a method beside itself with one choice changed.",
        {"settings": ("Methods and editions", _settings)},
    ),
    Page(
        "ranks",
        "Ranks over editions",
        "The mean place of each method over the editions. A critical difference stands in the figures.",
        {"ranks": ("Places", mean_ranks)},
    ),
)


def result_pages(results: Results, folder: Path) -> dict[Path, tuple[str, dict[str, str]]]:
    """For each page its path, what it is before blocks are filled, and the text of each block."""
    found = {}
    for page in PAGES:
        path = folder / f"{page.name}.md"
        old = path.read_text(encoding="utf-8") if path.is_file() else page.skeleton()
        found[path] = (old, page.texts(results))
    return found
