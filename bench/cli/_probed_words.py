"""What `bench probe words` prints of its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bench.cli._options import say
from bench.cli._probed import print_table

_WIDEST: Final = 24
_NOTES: Final = (
    "abnormal, normal: share of the source's sequences that hold the word; AUROC: of\n"
    "the test part, fitted again without it; the interval holds what other test\n"
    "sequences would do, and not what another fit would: see the other words, and\n"
    "several seeds"
)


def show_words(found: dict[str, Any]) -> None:
    """AUROC as fitted, and without each word."""
    say(f"AUROC {found['auroc']:.3f} as fitted; with one word taken out of the source's texts:")
    rows = []
    for row in found["rows"]:
        change = row["change"]
        moved = [f"{change['value']:+.3f}", f"{change['low']:+.3f} to {change['high']:+.3f}"]
        rows.append(
            [_short(row["word"]), _share(row["abnormal"]), _share(row["normal"]), f"{row['auroc']:.3f}", *moved]
        )
    print_table(["word", "abnormal", "normal", "AUROC", "change", "95 %"], rows)


def sum_up_words(records: Sequence[dict[str, Any]]) -> None:
    """Of several seeds of a method and scenario: the AUROC of each, as fitted and without each word."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["method"], record["scenario"]), []).append(record)
    for (method, scenario), group in groups.items():
        if len(group) < 2:
            continue
        say(f"\n{method} on {scenario}: AUROC by seed")
        seeds = [str(record["seed"]) for record in group]
        rows = [["as fitted", *(f"{record['results']['auroc']:.3f}" for record in group)]]
        words = dict.fromkeys(row["word"] for record in group for row in record["results"]["rows"])
        for word in words:
            rows.append([f"without {_short(word)}", *(_of_word(record, word) for record in group)])
        print_table(["seed", *seeds], rows)
    say(_NOTES)


def _of_word(record: dict[str, Any], word: str) -> str:
    row = next((row for row in record["results"]["rows"] if row["word"] == word), None)
    return "" if row is None else f"{row['auroc']:.3f}"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _short(word: str) -> str:
    """A word that leaves room for its numbers in 80 columns."""
    return word if len(word) <= _WIDEST else f"{word[: _WIDEST - 3]}..."
