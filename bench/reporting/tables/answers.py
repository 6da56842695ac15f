"""What a table says of rows that asked a chat model: who answered, what it took, and what limits the answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from bench.experiment.measure import ALL
from bench.records.store import Record
from bench.reporting.tables.rows import Row, aggregate

CALL_HEADERS: Final = ("calls", "tokens", "cost", "s/seq")
CHANCE: Final = 0.5
_MODEL_SETTING: Final = re.compile(r"(?<=[\[,])model=[^,\]]*(?:,|(?=\]))")


def answered_by(label: str, records: Iterable[Record]) -> str:
    """A row's name with the model that the server reported, which stands in place of the model that was asked for."""
    models = models_of(records)
    if not models:
        return label
    return f"{_MODEL_SETTING.sub('', label).replace(',]', ']').removesuffix('[]')} ({' and '.join(models)})"


def models_of(records: Iterable[Record]) -> list[str]:
    """The models that answered, as the servers reported them."""
    return sorted({name for record in records for name in (record.get("monitor") or {}).get("models", ())})


def calls_of(row: Row) -> dict[str, float | None] | None:
    """Calls, tokens, cost and seconds per distinct sequence of one run, recorded answers at what they took then.

    Means over seeds; the cost is None where a run was given no price. None for a row that asked no chat model.
    """
    facts = [record["monitor"] for record in row.finished if "unparsable_share" in (record.get("monitor") or {})]
    if not facts:
        return None

    def mean(*names: str) -> float:
        return float(sum(fact.get(name, 0) for fact in facts for name in names) / len(facts))

    asked, priced = mean("asked"), all("cost" in fact for fact in facts)
    return {
        "calls": mean("calls", "replayed"),
        "tokens": mean("tokens_in", "tokens_out", "replayed_tokens_in", "replayed_tokens_out"),
        "cost": mean("cost", "replayed_cost") if priced else None,
        "seconds_per_sequence": mean("latency_s", "replayed_latency_s") / asked if asked else None,
    }


def call_cells(row: Row) -> list[str]:
    """The cells under `CALL_HEADERS`."""
    facts = calls_of(row)
    if facts is None:
        return ["-"] * len(CALL_HEADERS)
    cost, seconds = facts["cost"], facts["seconds_per_sequence"]
    return [
        f"{facts['calls']:.0f}",
        f"{facts['tokens']:.0f}",
        "-" if cost is None else f"{cost:.4f}",
        "-" if seconds is None else f"{seconds:.2f}",
    ]


def call_notes(row: Row) -> list[str]:
    """What a reader must know of the answers: what could not be read, and a model not shown to know anything."""
    facts = [record for record in row.finished if "unparsable_share" in (record.get("monitor") or {})]
    notes: list[str] = []
    if any(record["monitor"]["unparsable_share"] for record in facts):
        share = sum(record["monitor"]["unparsable_share"] for record in facts) / len(facts)
        rule = facts[0]["detector"]["config"].get("unparsable", "as declared")
        count = "leave their sequences out" if rule == "exclude" else f"count {rule}"
        notes.append(f"- {row.method}: {100 * share:.1f} % of the answers could not be read and {count}")
    for record in row.finished:
        if out := record.get("excluded"):
            notes.append(
                f"- {row.method}: its metrics leave out {out['n']} of {out['of']} test sequences ({out['n_abnormal']} "
                f"abnormal, seed {record['spec']['seed']}): not to be compared with rows over all of them"
            )
    auroc = aggregate(row, ALL, "auroc", "") if facts else None
    if auroc is not None and auroc.low <= CHANCE:
        why = f"the interval of its AUROC does not lie above {CHANCE}"
        notes.append(f"- {row.method}: not shown to be better than chance, {why}")
    return notes


def legend(rows: Iterable[Row]) -> list[str]:
    """What the columns mean, where there are any."""
    if not any(calls_of(row) for row in rows):
        return []
    return [
        "- calls, tokens (in and out), cost: of one run, recorded answers as if asked again; s/seq: seconds of "
        "answering per distinct sequence; in brackets the model that answered"
    ]
