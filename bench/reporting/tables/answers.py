"""What a table says of rows that asked a chat model: who answered, what it took, and what limits the answers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.errors import harmless
from bench.experiment.measure import ALL
from bench.records.store import Record
from bench.reporting.tables.rows import Row, aggregate

CALL_HEADERS: Final = ("calls", "tokens", "cost", "s/seq")
CHANCE: Final = 0.5
ONE_SIDED: Final = 0.95
"""Share of the target from which on a router is said to have left next to all to one side."""
_JUDGED: Final[Mapping[str, str]] = {"teacher": "sequences left to its teacher", "line": "lines scored"}
"""What a method asks verdicts of, by how the counts of its monitor begin."""
_VERDICTS: Final = ("reused_share", "unasked", "unread")
_COUNTED: Final = ("calls", "tokens_in", "tokens_out", "latency_s", "cost")
_REPLAYED: Final = ("replayed", *(f"replayed_{name}" for name in _COUNTED[1:]))
_NUMBERS: Final = ("unparsable_share", "asked", *_COUNTED, *_REPLAYED)
_MODEL_SETTING: Final = re.compile(r"(?<=[\[,])model=[^,\]]*(?:,|(?=\]))")


def answered_by(label: str, records: Iterable[Record]) -> str:
    """A row's name with the model that the server reported, which stands in place of the model that was asked for."""
    models = models_of(records)
    if not models:
        return label
    return f"{_MODEL_SETTING.sub('', label).replace(',]', ']').removesuffix('[]')} ({' and '.join(models)})"


def models_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The models that answered, as the servers reported them."""
    found: set[str] = set()
    for record in records:
        names = _monitored(record).get("models", ())
        found |= {name for name in names if isinstance(name, str)} if isinstance(names, list | dict) else set()
    return sorted(found)


def ledger_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the method of a run or probe asked, as the language-model service counted it; empty where it asked none."""
    facts = _monitored(record)
    there = {"unparsable_share", "asked", "models"} <= facts.keys()
    are_numbers = all(isinstance(facts.get(name, 0), int | float) for name in _NUMBERS)
    return facts if there and are_numbers and isinstance(facts["models"], list | dict) else {}


def _monitored(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a method said of itself; empty where an older record keeps something else than a mapping."""
    facts = record.get("monitor")
    return facts if isinstance(facts, dict) else {}


def calls_of(row: Row) -> dict[str, float | None] | None:
    """Calls, tokens, cost and seconds per distinct sequence of one run, recorded answers at what they took then.

    Means over seeds; the cost is None where a run was given no price. None for a row that asked no chat model.
    """
    facts = [ledger for record in row.finished if (ledger := ledger_of(record))]
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
    facts = [record for record in row.finished if ledger_of(record)]
    notes: list[str] = []
    if any(record["monitor"]["unparsable_share"] for record in facts):
        share = sum(record["monitor"]["unparsable_share"] for record in facts) / len(facts)
        rule = facts[0]["detector"]["config"].get("unparsable", "as declared")
        count = "leave their sequences out" if rule == "exclude" else f"count {rule}"
        notes.append(f"- {row.label}: {100 * share:.1f} % of the answers could not be read and {count}")
    if any(record["detector"]["config"].get("lines") == "line" for record in facts):
        notes.append(
            f"- {row.label}: its model saw whole lines, header included: a level that stands there, such as FATAL, may "
            "decide alone"
        )
    for record in row.finished:
        if out := record.get("excluded"):
            notes.append(
                f"- {row.label}: its metrics leave out {out['n']} of {out['of']} test sequences ({out['n_abnormal']} "
                f"abnormal, seed {record['spec']['seed']}): not to be compared with rows over all of them"
            )
    auroc = aggregate(row, ALL, "auroc", "") if facts else None
    if auroc is not None and auroc.low <= CHANCE:
        why = f"the interval of its AUROC does not lie above {CHANCE}"
        notes.append(f"- {row.label}: not shown to be better than chance, {why}")
    return [*notes, *_router_notes(row), *_pseudo_label_notes(row), *_verdict_notes(row)]


def general_share(row: Row) -> float | None:
    """Share of the target's training sequences that a router calls general, the mean over seeds; None without one."""
    shares = [_monitored(record).get("pool_general_share") for record in row.finished]
    found = [share for share in shares if isinstance(share, int | float)]
    return sum(found) / len(found) if found else None


def _router_notes(row: Row) -> list[str]:
    """How much of the target a router left to the small model; where it is next to nothing or all, one part decides."""
    share = general_share(row)
    if share is None:
        return []
    told = f"its router calls {100 * share:.1f} % of the target's training sequences general"
    if share <= 1 - ONE_SIDED:
        told += ": next to all were left to the teacher"
    elif share >= ONE_SIDED:
        told += ": next to none were left to the teacher"
    return [f"- {row.label}: {told}"]


def _pseudo_label_notes(row: Row) -> list[str]:
    """Runs with rounds whose pseudo-labels were of one class, which teach nothing; and those that never learned any."""
    facts = [_monitored(record) for record in row.finished]
    counts = [fact.get("rounds_of_one_class") for fact in facts]
    found = [fact for fact, count in zip(facts, counts, strict=True) if isinstance(count, int) and count > 0]
    if not found:
        return []
    told = f"in {len(found)} of {len(facts)} runs a round's pseudo-labels were of one class, and it taught nothing"
    untaught = sum(fact.get("rounds_learned") == 0 for fact in found)
    if untaught:
        told += f": {untaught} learned none at all, and the scores are those of its small model"
    return [f"- {row.label}: {told}"]


def _verdict_notes(row: Row) -> list[str]:
    """How often a verdict of a teacher served again, and what had none; of methods that ask about lines likewise."""
    return [
        f"- {row.label}: {'; '.join(words)}"
        for prefix, judged in _JUDGED.items()
        if (words := _verdict_words([_monitored(record) for record in row.finished], prefix, judged))
    ]


def _verdict_words(facts: Sequence[Mapping[str, Any]], prefix: str, judged: str) -> list[str]:
    """Means over the runs that counted their verdicts; nothing where none did."""

    def mean(name: str) -> float:
        return float(sum(fact[f"{prefix}_{name}"] for fact in counted) / len(counted))

    names = [f"{prefix}_{name}" for name in _VERDICTS]
    counted = [fact for fact in facts if all(isinstance(fact.get(name), int | float) for name in names)]
    if not counted:
        return []
    words = [f"{100 * mean('reused_share'):.1f} % of the {judged} took over a verdict that there was"]
    if mean("unasked"):
        words.append(f"beyond its limit of questions {mean('unasked'):.0f} distinct ones a run had none")
    if mean("unread"):
        words.append(f"{mean('unread'):.0f} answers a run were no verdict")
    return words


def legend(rows: Iterable[Row]) -> list[str]:
    """What the columns mean, where there are any."""
    if not any(calls_of(row) for row in rows):
        return []
    return [
        "- calls, tokens (in and out), cost: of one run, recorded answers as if asked again; s/seq: seconds of "
        "answering per distinct sequence; in brackets the model that answered"
    ]


@dataclass(frozen=True)
class Answers:
    """What the runs of one method and scenario took together; `recorded` is of answers that were there already."""

    models: tuple[str, ...]
    calls: int
    tokens_in: int
    tokens_out: int
    seconds: float
    cost: float | None
    """None where a run was given no price."""
    n_recorded: int
    recorded_tokens_in: int
    recorded_tokens_out: int
    recorded_seconds: float
    recorded_cost: float
    unparsable_share: float
    """Of all sequences that were asked about."""
    redacted: bool


def answers_of(records: Iterable[Mapping[str, Any]]) -> dict[str, Answers]:
    """By `METHOD on SCENARIO`, for every record whose method asked a chat model."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if facts := ledger_of(record):
            rows[f"{record['method']} on {record['scenario']}"].append(facts)
    return {row: _together(runs) for row, runs in rows.items()}


def _together(runs: Sequence[dict[str, Any]]) -> Answers:
    def total(name: str) -> Any:
        return sum(facts.get(name, 0) for facts in runs)

    unparsable = sum(facts["unparsable_share"] * facts["asked"] for facts in runs)
    return Answers(
        models=tuple(sorted({name for facts in runs for name in map(str, facts["models"])})),
        calls=total("calls"),
        tokens_in=total("tokens_in"),
        tokens_out=total("tokens_out"),
        seconds=total("latency_s"),
        cost=total("cost") if all("cost" in facts for facts in runs) else None,
        n_recorded=total("replayed"),
        recorded_tokens_in=total("replayed_tokens_in"),
        recorded_tokens_out=total("replayed_tokens_out"),
        recorded_seconds=total("replayed_latency_s"),
        recorded_cost=total("replayed_cost"),
        unparsable_share=unparsable / max(1, total("asked")),
        redacted=any(facts.get("redacted") for facts in runs),
    )


def answer_lines(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for each row that asked a chat model: which one answered, what it cost, whether lines were redacted."""
    return [
        harmless(f"{row}, answered by {', '.join(found.models) or 'no model'}: {'; '.join(_facts(found))}")
        for row, found in answers_of(records).items()
    ]


def _facts(found: Answers) -> list[str]:
    words = [
        f"{found.calls:,} calls and {found.n_recorded:,} recorded answers",
        f"{found.tokens_in:,} tokens in, {found.tokens_out:,} out",
    ]
    if found.cost is not None:
        words.append(f"cost {found.cost:.4f}")
    words.append(f"{found.seconds / max(1, found.calls):.2f} s per call")
    words.append(f"{found.unparsable_share:.1%} of answers unparsable")
    if found.n_recorded:
        words.append(_recorded(found))
    if found.redacted:
        words.append("addresses, users, hosts, paths and secrets were masked before lines left this machine")
    return words


def _recorded(found: Answers) -> str:
    cost = "" if found.cost is None else f", cost {found.recorded_cost:.4f}"
    return (
        f"the recorded answers took {found.recorded_tokens_in:,} tokens in, {found.recorded_tokens_out:,} out{cost}, "
        f"{found.recorded_seconds / found.n_recorded:.2f} s each"
    )
