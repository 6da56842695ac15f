"""Figures of kind `vocabulary`: a page of what logs are made of, and of the words that each two systems share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from bench.data.facts import Composition, composition
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.errors import BenchError
from bench.experiment.planning import resolve_scenarios
from bench.reporting import markdown
from bench.reporting.figures.figure import Figure, FigureRequest, Kind, Options, listed
from bench.reporting.published.papers import Paper, load_published

_NOTES: Final = (
    "templates: of one Drain over all lines, masked first, as far as a sequence that takes part has them; "
    "an id stream keeps the ids it came with, and the texts of its table",
    "words: runs of two letters and more in templates, lower case",
    "in brackets: only in test, in no sequence that trains or validates (seed 0)",
)
_HEADERS: Final = (
    "edition", "split", "lines", "abnormal", "sequences", "abnormal", "train", "validation", "test", "abnormal",
    "templates", "words",
)  # fmt: skip


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """A page of counts, and the words that each two systems share."""
    notes: list[str] = []
    named = options.get("scenarios", ()), options.get("optional_scenarios", ())
    scenarios = resolve_scenarios(*named, request.catalogue, notes)
    cards = {card.key: card for scenario in scenarios for card in scenario.cards}
    if not cards:
        raise BenchError("a figure of kind 'vocabulary' needs scenarios: name at least one data set")
    loader = Loader(request.catalogue)
    splits = options.get("splits", ["chronological"])
    found = [composition(card, loader, split, Grouping()) for split in splits for card in cards.values()]
    parts = [
        f"### {request.suite.name}: what the logs are made of",
        listed([*notes, *_NOTES]),
        markdown.table([_line(v) for v in found], _HEADERS),
        _shared_words([v for v in found if v.split == splits[0]]),
        *(_published_sizes(paper) for paper in load_published()),
    ]
    page = "\n\n".join(filter(None, parts)) + "\n"
    content = {"editions": [{k: x for k, x in dataclasses.asdict(v).items() if k != "words"} for v in found]}
    return [Figure(request.suite.name, "vocabulary", content, notes=tuple(notes), page=page)]


def _line(v: Composition) -> list[str]:
    lines = "-" if v.n_abnormal_lines is None else f"{v.n_abnormal_lines:,}"
    counts = (v.n_sequences, v.n_abnormal, v.n_train, v.n_validation, v.n_test, v.n_test_abnormal)
    return [
        v.edition,
        v.split,
        f"{v.n_lines:,}",
        lines,
        *(f"{count:,}" for count in counts),
        f"{v.n_templates:,} ({v.n_templates_only_in_test:,})",
        f"{v.n_words:,} ({v.n_words_only_in_test:,})",
    ]


def _shared_words(found: Sequence[Composition]) -> str:
    lines = [
        f"- {a.edition} and {b.edition}: {len(a.words & b.words):,} words shared, "
        f"{_share(a, b)} of the former's and {_share(b, a)} of the latter's"
        for i, a in enumerate(found)
        for b in found[i + 1 :]
        if a.edition.partition("@")[0] != b.edition.partition("@")[0]
    ]
    return "\n".join(lines)


def _published_sizes(paper: Paper) -> str:
    """What a paper prints of its data, for comparison; it names sequences what fits log lines better."""
    headers = ["published", "sequences", "abnormal", "train", "test", "templates", "words"]
    lines = [
        [
            name,
            *(f"{sizes[key]:,}" for key in ("sequences", "abnormal", "train", "test")),
            f"{sizes['templates']:,} ({sizes['templates_only_in_test']:,})",
            f"{sizes['words']:,}",
        ]
        for name, sizes in paper.sizes.items()
    ]
    shared = [f"- {pair.replace('+', ' and ')}: {n:,} words shared" for pair, n in paper.shared_words.items()]
    grid = markdown.table(lines, headers)
    return "\n\n".join([f"Published in {paper.title}:", grid, "\n".join(shared)])


def _share(a: Composition, b: Composition) -> str:
    return f"{100 * len(a.words & b.words) / max(len(a.words), 1):.0f} %"


KIND: Final = Kind("vocabulary", ("scenarios", "optional_scenarios", "splits"), _gather)
