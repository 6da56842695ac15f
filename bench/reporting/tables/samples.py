"""What a page says of records that scored a sample of the test part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.experiment.grades import asks_a_model
from bench.records.store import Record

_WORDS: Final = {0: "normal", 1: "abnormal"}


def sampled(records: Sequence[Record]) -> str:
    """`, sample of 500 of 967 test sequences, weighted`; nothing where all are tested."""
    samples = [record["sample"] for record in records if "sample" in record]
    if not samples:
        return ""
    drawn, of = (_between([sample[name] for sample in samples]) for name in ("drawn", "of"))
    return f", sample of {drawn} of {of} test sequences, weighted"


def sample_facts(records: Sequence[Record]) -> list[str]:
    """How a sample is made up."""
    sample = next((record["sample"] for record in records if "sample" in record), None)
    if sample is None:
        return []
    parts = [f"{s['drawn']} of {s['size']} {_WORDS[s['label']]} of {s['system']}" for s in sample["strata"]]
    return [f"- sample: {', '.join(parts)}; metrics weight each by size / drawn, intervals resample within these"]


def lacks_validation(record: Record, rule: str) -> bool:
    """Whether a rule has no threshold since a sampled run asked a model about no validation sequence."""
    asks = asks_a_model(record) and "sample" in record["spec"]
    value = record["thresholds"].get(rule, {}).get("value")
    return asks and value is None and bool(record["validation"]["n"] == 0 and record["counts"]["n_validation"])


def _between(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
