"""What `bench probe` prints of its records."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from bench.cli._options import say

_TITLES: Final = {
    "hide": "abnormal sequences told to look normal",
    "accuse": "normal sequences told to look abnormal",
}


_WAYS: Final = {
    "share": "by the share of events that training never had",
    "distance": "a quarter of the events by the cosine distance of their texts to training's",
}
_ON_THE_LEFT: Final = ("place", "scenario", "by", "rises")


def show_probes(records: Sequence[dict[str, Any]]) -> None:
    """Every record, and behind those of the shortcut, of the router and of words what all say together."""
    for record in records:
        _show(record)
    graded = [record for record in records if record["probe"] == "shortcut"]
    if graded:
        _sum_up_shortcut(graded)
    routed = [record for record in records if record["probe"] == "router"]
    if routed:
        from bench.cli._probed_router import sum_up_router

        sum_up_router(routed)
    worded = [record for record in records if record["probe"] == "words"]
    if worded:
        from bench.cli._probed_words import sum_up_words

        sum_up_words(worded)


def _show(record: dict[str, Any]) -> None:
    found, population = record["results"], record["population"]
    from bench.records.record import standings
    from bench.reporting.tables.answers import models_of

    tiers = ", ".join(sorted(set(standings(record).values())))
    value, models = record["threshold"]["value"], ", ".join(models_of([record]))
    say(
        f"{record['probe']} of {record['method']}{f' (answered by {models})' if models else ''} on "
        f"{record['scenario']} ({tiers}), {record['split']}, seed {record['seed']}: {found['n_abnormal']} abnormal and "
        f"{found['n'] - found['n_abnormal']} normal test sequences, drawn from {population['n_abnormal']:,} and "
        f"{population['n'] - population['n_abnormal']:,}; flagged above {plain(value)} ({record['threshold']['rule']})"
    )
    from bench.cli._probed_router import show_router
    from bench.cli._probed_words import show_words

    shows = {
        "injection": _show_injection,
        "memorisation": _show_memory,
        "shortcut": _show_shortcut,
        "router": show_router,
        "permuted-labels": _show_labels,
        "words": show_words,
    }
    shows[record["probe"]](found)


def _show_injection(found: dict[str, Any]) -> None:
    for direction, title in _TITLES.items():
        rows = [row for row in found["rows"] if row["direction"] == direction]
        if not rows:
            continue
        say(f"\n{title}: {rows[0]['metric']} {rows[0]['before']:.3f} as they are")
        header = ["planted line", "place", rows[0]["metric"], "change", "95 %", "lost", "gained", "score"]
        print_table(
            header,
            [
                [
                    row["phrasing"],
                    row["position"],
                    f"{row['after']:.3f}",
                    f"{row['change']:+.3f}",
                    f"{row['low']:+.3f} to {row['high']:+.3f}",
                    str(row["lost"]),
                    str(row["gained"]),
                    f"{row['score_change']:+.3g}",
                ]
                for row in rows
            ],
        )
    say(
        "\nlost and gained: sequences that are no longer, or newly, flagged; score: mean change. `harmless` asks for "
        "nothing: what it changes, any further line does. The intervals hold for one row, not for the worst of all"
    )


def _show_memory(found: dict[str, Any]) -> None:
    altered, moved = found["altered"], found["score_change"]
    say(
        f"altered: {altered['texts_share']:.1%} of {altered['n_texts']:,} distinct texts, "
        f"{altered['events_share']:.1%} of events, {altered['sequences_share']:.1%} of sequences (by "
        + ", ".join(f"{name} {n}" for name, n in altered["texts_altered_by"].items())
        + f"); {altered['n_without_twin']:,} sequences have no twin and were left out. Texts are masked messages: "
        "where names and numbers are wildcards already, there is none left to change"
    )
    columns = ("original", "twin", "difference")
    rows = [[name, *(_interval(values[key]) for key in columns)] for name, values in reversed(found["metrics"].items())]
    print_table(["", "original", "twin", "original - twin"], rows)
    if any(values[key]["low"] == values[key]["high"] for values in found["metrics"].values() for key in columns[:2]):
        say("an interval without width: every resample ranks or flags alike; take more with --sample")
    say(
        f"mean change of the score: {_interval(moved['absolute'])} without sign, {_interval(moved['signed'])} with it. "
        "A positive difference fits memory of the public wording, and proves none; weights restore the share of "
        "abnormal sequences"
    )


def _show_shortcut(found: dict[str, Any]) -> None:
    for way in (name for name in _WAYS if name in found["ways"]):
        values = found["ways"][way]
        say(f"\n{_WAYS[way]}")
        rows = [["untouched", *_graded(values["untouched"])]]
        rows += [[f"{row['grade']:g}", *_graded(row)] for row in values["grades"]]
        print_table([way, "AUROC", "flagged", "mean score"], rows)


def _show_labels(found: dict[str, Any]) -> None:
    permuted = ", ".join(f"{value:.3f}" for value in found["permuted_auroc"])
    say(
        f"AUROC {found['auroc']:.3f} as fitted; with the source's labels permuted {permuted}; difference "
        f"{_interval(found['difference'])}: {found['verdict']}"
    )


def _graded(row: dict[str, Any]) -> list[str]:
    auroc = f"{row['auroc']:.3f}" if "auroc" in row else ""
    flagged = "n/e" if row["flagged"] is None else f"{row['flagged']:.3f}"
    return [auroc, flagged, f"{row['mean']:.4g}"]


def _sum_up_shortcut(records: Sequence[dict[str, Any]]) -> None:
    """Whose score rises with the grade: a row for each method, scenario and way, over its seeds."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in records:
        for way in (name for name in _WAYS if name in record["results"]["ways"]):
            group = groups.setdefault((record["method"], record["scenario"], way), [])
            group.append(record["results"]["ways"][way])
    rows = []
    for (method, scenario, way), found in groups.items():
        each = [values["correlation"]["value"] for values in found]
        first, last = (sum(values["grades"][i]["auroc"] for values in found) / len(found) for i in (0, -1))
        spread = f"{min(each):.2f} to {max(each):.2f}"
        verdict = "/".join(dict.fromkeys(values["rises"] for values in found))
        rows.append([method, scenario, way, verdict, spread, f"{first:.3f}", f"{last:.3f}"])
    say("\ndoes the score rise with the grade?")
    print_table(["method", "scenario", "by", "rises", "rank corr.", "AUROC 1st", "last"], rows)
    say(
        "rank corr.: Spearman's of grade and score, mean over sequences, lowest and\n"
        "highest seed; rises: yes or falls where its 95 % interval excludes 0, flat where\n"
        "no score moves; AUROC of first and last grade against the untouched sequences"
    )


def print_table(header: list[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table on the terminal, names on the left and numbers on the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 or name in _ON_THE_LEFT else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False, soft_wrap=not sys.stdout.isatty()).print(table)


def _interval(spread: dict[str, float]) -> str:
    return f"{spread['value']:.3f} [{spread['low']:.3f}, {spread['high']:.3f}]"


def plain(value: Any) -> str:
    """A number with four digits, a count with commas."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
