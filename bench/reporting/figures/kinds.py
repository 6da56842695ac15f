"""The kinds of figures: what each gathers from the records of its suite, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from bench.data.facts import Composition, composition
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.errors import BenchError
from bench.evaluation.stats import Interval
from bench.experiment.grades import group_rank
from bench.experiment.measure import ALL
from bench.experiment.planning import resolve_scenarios
from bench.records.store import Record
from bench.reporting.figures.figure import Figure, Request, standing
from bench.reporting.figures.maps import gather_maps
from bench.reporting.published.page import render_published
from bench.reporting.published.papers import Paper, load_published
from bench.reporting.tables.rows import Row, aggregate, shown_rule
from bench.reporting.tables.table import make_tables

Options = Mapping[str, Any]
SECTIONS: Final = {
    "f1": "rules",
    "precision": "rules",
    "recall": "rules",
    "fpr": "rules",
    "ap": "ranking",
    "auroc": "ranking",
    "oracle_f1": "ranking",
}


def _sweep(request: Request, options: Options) -> list[Figure]:
    """Metrics over the values of one setting, a panel for each scenario and split."""
    method, dot, key = str(options.get("setting", "")).rpartition(".")
    metrics = options.get("metrics", ["f1"])
    if not dot:
        raise BenchError("a figure of kind 'sweep' needs its setting: write it as method.key, e.g. mlad.alpha")
    if unknown := [name for name in metrics if name not in SECTIONS]:
        raise BenchError(f"unknown metric '{unknown[0]}' in a figure: choose from {', '.join(SECTIONS)}")
    notes = request.missing
    values = {cell.method.label: cell.method.config.get(key) for cell in request.plan.cells}
    swept = request.rows(lambda cell: cell.method.ref.name == method and key in cell.method.passed)
    panels = []
    splits = list(dict.fromkeys(split for _, split, _ in swept))
    places = dict.fromkeys((scenario, split) for scenario, split, _ in swept)
    for scenario, split in sorted(places, key=lambda place: splits.index(place[1])):
        rows = {values[label]: row for (s, p, label), row in swept.items() if (s, p) == (scenario, split)}
        series = {
            name: [
                {"x": x, **_interval(row, ALL, name, request.rule), "run_ids": [r["run_id"] for r in row.finished]}
                for x, row in sorted(rows.items())
                if _interval(row, ALL, name, request.rule)
            ]
            for name in metrics
        }
        panels.append({**_panel(next(iter(rows.values())).records[0]), "series": series})
    notes += _failures(swept.values())
    if not any(points for panel in panels for points in panel["series"].values()):
        raise BenchError(f"no finished run of the suite '{request.suite.name}' has the setting {method}.{key} to plot")
    content = {
        "setting": f"{method}.{key}",
        "label": options.get("label", key),
        "band": options.get("band"),
        "band_label": options.get("band_label", ""),
        "rule": request.rule,
        "panels": panels,
    }
    return [Figure(request.suite.name, "sweep", content, _ids(swept.values()), (*request.plan.notes, *notes))]


def _bounds(request: Request, options: Options) -> list[Figure]:
    """For each system of a combined scenario: F1 at the shared bound, at a bound of its own, of a model of its own."""
    notes = request.missing
    rows = request.rows()
    own_rule = f"{request.rule}@own-system"
    panels: list[dict[str, Any]] = []
    for scenario, split in dict.fromkeys((s, p) for s, p, _ in rows if "+" in s):
        combined = {label: row for (s, p, label), row in rows.items() if (s, p) == (scenario, split)}
        for system in [*scenario.split("+"), ALL]:
            lines = [
                {
                    "method": label,
                    "told": row.group,
                    **_three(row, rows.get((system, split, label)), system, request),
                }
                for label, row in _by_group(combined)
            ]
            record = next(iter(combined.values())).records[0]
            n_seeds = max(len(row.finished) for row in combined.values())
            panels.append({**_panel(record, system), "system": system, "n_seeds": n_seeds, "rows": lines})
        if not any(own_rule in record.get("thresholds", {}) for row in combined.values() for record in row.records):
            notes.append(f"no record of {scenario} holds the rule {own_rule}: the suite needs it in its thresholds")
    notes += _failures(rows.values())
    if not panels:
        raise BenchError(f"no record of the suite '{request.suite.name}' combines systems, e.g. bgl+tbird")
    content = {"rule": request.rule, "panels": panels}
    all_notes = (*request.plan.notes, *notes)
    page = _bounds_page(content, request, all_notes)
    return [Figure(request.suite.name, "bounds", content, _ids(rows.values()), all_notes, page)]


def _three(combined: Row, alone: Row | None, system: str, request: Request) -> dict[str, Any]:
    """F1 and realised FPR of one system at the shared bound, at its own, and of its own model."""
    rule = request.rule
    places = {
        "shared": (combined, system, rule),
        "own": (combined, system, f"{rule}@own-system"),
        "single": (alone, ALL, rule),
    }
    found = {name: _interval(row, block, "f1", at) for name, (row, block, at) in places.items()}
    rates = {name: _interval(row, block, "fpr", at).get("mean") for name, (row, block, at) in places.items()}
    return {**found, "fpr": rates}


def _bounds_page(content: Mapping[str, Any], request: Request, notes: Sequence[str]) -> str:
    import tabulate

    tabulate.MIN_PADDING = 0
    headers = ["told", "method", "one bound for all", "a bound of its own", "a model of its own"]
    heading = f"### {request.suite.name}: F1 at {request.rule} and its realised FPR, one bound for several systems"
    parts = [heading, _lines(notes)]
    for panel in content["panels"]:
        lines = [
            [row["told"], row["method"], *(_with_rate(row, bound) for bound in ("shared", "own", "single"))]
            for row in panel["rows"]
        ]
        name = "both together" if panel["system"] == ALL else panel["system"]
        facts = [f"{panel['n_test']} test sequences, {panel['n_test_abnormal']} abnormal"]
        if panel["all_positive_f1"] is not None:
            facts.append(f"flagging everything {panel['all_positive_f1']:.3f}")
        parts.append(f"**{name}, {panel['split']}** ({'; '.join([*facts, *filter(None, [panel['standing']])])})")
        parts.append(tabulate.tabulate(lines, headers, tablefmt="pipe", disable_numparse=True))
    return "\n\n".join(filter(None, parts)) + "\n"


def _entmax(request: Request, options: Options) -> list[Figure]:
    """The first weight of entmax over the logits (t, 0)."""
    alphas = options.get("alphas", [1.0, 1.5, 2.0])
    if not all(isinstance(alpha, int | float) and 1 <= alpha <= 4 for alpha in alphas) or not alphas:
        raise BenchError(f"alphas of a figure are numbers from 1 to 4, not {alphas}")
    import torch
    from entmax import entmax_bisect

    logits = torch.stack([torch.linspace(-3, 3, 241, dtype=torch.float64), torch.zeros(241, dtype=torch.float64)], 1)
    curves = [
        {
            "alpha": alpha,
            # The package's bisection divides by alpha - 1, so its limit is taken as what it is.
            "p": [
                round(p, 6) for p in (logits.softmax(1) if alpha == 1 else entmax_bisect(logits, alpha))[:, 0].tolist()
            ],
        }
        for alpha in alphas
    ]
    return [Figure(request.suite.name, "entmax", {"t": [round(t, 6) for t in logits[:, 0].tolist()], "curves": curves})]


def _vocabulary(request: Request, options: Options) -> list[Figure]:
    """A page of counts, and the words that each two systems share."""
    import tabulate

    notes: list[str] = []
    named = options.get("scenarios", ()), options.get("optional_scenarios", ())
    scenarios = resolve_scenarios(*named, request.catalogue, notes)
    cards = {card.key: card for scenario in scenarios for card in scenario.cards}
    if not cards:
        raise BenchError("a figure of kind 'vocabulary' needs scenarios: name at least one data set")
    loader = Loader(request.catalogue)
    splits = options.get("splits", ["chronological"])
    found = [composition(card, loader, split, Grouping()) for split in splits for card in cards.values()]
    tabulate.MIN_PADDING = 0
    parts = [
        f"### {request.suite.name}: what the logs are made of",
        _lines([*notes, *_VOCABULARY_NOTES]),
        tabulate.tabulate(
            [_vocabulary_line(v) for v in found], _VOCABULARY_HEADERS, tablefmt="pipe", disable_numparse=True
        ),
        _shared_words([v for v in found if v.split == splits[0]]),
        *(_published_sizes(paper) for paper in load_published()),
    ]
    page = "\n\n".join(filter(None, parts)) + "\n"
    content = {"editions": [{k: x for k, x in dataclasses.asdict(v).items() if k != "words"} for v in found]}
    return [Figure(request.suite.name, "vocabulary", content, notes=tuple(notes), page=page)]


_VOCABULARY_NOTES: Final = (
    "templates: of one Drain over all lines, masked first, as far as a sequence that takes part has them; "
    "an id stream keeps the ids it came with, and its texts are inferred",
    "words: runs of two letters and more in templates, lower case",
    "in brackets: only in test, in no sequence that trains or validates (seed 0)",
)
_VOCABULARY_HEADERS: Final = (
    "edition", "split", "lines", "abnormal", "sequences", "abnormal", "train", "validation", "test", "abnormal",
    "templates", "words",
)  # fmt: skip


def _vocabulary_line(v: Composition) -> list[str]:
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
    import tabulate

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
    grid = tabulate.tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)
    return "\n\n".join([f"Published in {paper.title}:", grid, "\n".join(shared)])


def _share(a: Composition, b: Composition) -> str:
    return f"{100 * len(a.words & b.words) / max(len(a.words), 1):.0f} %"


def _published(request: Request, options: Options) -> list[Figure]:
    """A page that sets published values beside the records of the suite."""
    notes = (*request.plan.notes, *request.missing)
    tables = make_tables(request.records.values())
    page = render_published(tables, request.rule, request.store.cache, only=options.get("tables", ()))
    page = "\n\n".join(filter(None, [request.suite.description, _lines(notes), page]))
    return [Figure(request.suite.name, "published", {}, tuple(request.records), notes, page)]


Maker = Callable[[Request, Options], list[Figure]]

KINDS: Final[Mapping[str, tuple[Maker, tuple[str, ...]]]] = {
    "sweep": (_sweep, ("setting", "label", "metrics", "band", "band_label")),
    "bounds": (_bounds, ()),
    "map": (gather_maps, ("n", "seed")),
    "entmax": (_entmax, ("alphas",)),
    "vocabulary": (_vocabulary, ("scenarios", "optional_scenarios", "splits")),
    "published": (_published, ("tables",)),
}
"""What gathers each kind of figure, and the options it takes."""


def _interval(row: Row | None, block: str, metric: str, rule: str) -> dict[str, Any]:
    """Mean and interval of a metric as JSON, or nothing where no finished run has it."""
    if row is None:
        return {}
    found: Interval | None = aggregate(row, block, SECTIONS[metric], metric, _rule(row, rule))
    return {} if found is None else {key: round(v, 6) for key, v in found._asdict().items()}


def _rule(row: Row, rule: str) -> str:
    shown = shown_rule(row, rule.partition("@")[0])
    return rule if shown == rule.partition("@")[0] else shown


def _with_rate(row: Mapping[str, Any], bound: str) -> str:
    interval, rate = row[bound], row["fpr"][bound]
    if not interval:
        return "-"
    text = f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
    return text if rate is None else f"{text}, FPR {rate:.3f}"


def _panel(record: Record, block: str = ALL) -> dict[str, Any]:
    """What a reader must know of the data of a panel."""
    metrics = record.get("metrics", {}).get(block)
    return {
        "scenario": record["scenario"],
        "split": record["spec"]["split"],
        "standing": standing(record),
        "n_test": metrics["n"] if metrics else record["counts"]["n_test"],
        "n_test_abnormal": metrics["n_abnormal"] if metrics else record["counts"]["n_test_abnormal"],
        "all_positive_f1": metrics["ranking"]["all_positive_f1"] if metrics else None,
    }


def _by_group(rows: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """Controls last, methods that are told the same together, as in the tables."""
    return sorted(rows.items(), key=lambda item: (group_rank(item[1].group), item[0]))


def _failures(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(f"{row.method}: {row.failure}" for row in rows if row.failure))


def _ids(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record["run_id"] for row in rows for record in row.finished))


def _lines(notes: Iterable[str]) -> str:
    return "\n".join(f"- {note}" for note in notes)
