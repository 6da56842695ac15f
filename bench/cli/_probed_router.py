"""What `bench probe router` prints of its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.cli._options import say
from bench.cli._probed import print_table

_NOTES = (
    "general: every event is as like one of the source as tau says, and tau is from\n"
    "the source alone; accuracy at the method's threshold; n/e: no threshold, or not\n"
    "both classes on that side"
)


def show_router(found: dict[str, Any]) -> None:
    """How the test part divides."""
    from bench.probes.router import SIDES

    seen = found["similarity"]
    say(
        f"tau {found['tau']:.3f}; similarity to the source: 5 % below {seen['q05']:.3f}, median {seen['median']:.3f}, "
        f"AUROC as a score {_number(seen['auroc'])}"
    )
    rows = [[name, *_cells(found["sides"][name])] for name in SIDES]
    print_table(["side", "share", "n", "abnormal", "AUROC", "accuracy", "F1"], rows)


def sum_up_router(records: Sequence[dict[str, Any]]) -> None:
    """Every method on both sides: a row for each method, scenario and seed."""
    rows = []
    for record in records:
        sides = record["results"]["sides"]
        pairs = [
            _number(sides[side].get(name)) for name in ("auroc", "accuracy") for side in ("general", "proprietary")
        ]
        share = f"{sides['general']['share']:.3f}"
        rows.append([_short(record["method"]), str(record["seed"]), share, *pairs])
    for scenario in dict.fromkeys(record["scenario"] for record in records):
        here = [row for row, record in zip(rows, records, strict=True) if record["scenario"] == scenario]
        say(f"\n{scenario}: general and proprietary")
        print_table(["method", "seed", "general", "AUROC g", "AUROC p", "acc. g", "acc. p"], here)
    say(_NOTES)


def _cells(side: dict[str, Any]) -> list[str]:
    numbers = [_number(side.get(name)) for name in ("auroc", "accuracy", "f1")]
    return [f"{side['share']:.3f}", f"{side['n']:,}", f"{side['n_abnormal']:,}", *numbers]


def _number(value: float | None) -> str:
    return "n/e" if value is None else f"{value:.3f}"


def _short(name: str) -> str:
    """A name within 26 characters, so that the table has 80."""
    return name if len(name) <= 26 else f"{name[:23]}..."
