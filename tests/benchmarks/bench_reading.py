"""What stands below a table, from kept comparisons: CPU seconds of a table of 30 methods without it and with it.

    python tests/benchmarks/bench_reading.py [--methods 30] [--seeds 5] [--rounds 5]

Makes a store of hand-made records, which hold what those of runs do, and keeps a comparison of each method with each
of seven controls. Then times in turn: laying the table out, and reading the comparisons, checking that they hold and
making the sentences. Prints medians and the ratio, and ends with 1 where the sentences take more than half a second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.evaluation.stats import LEVELS
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.spec import PROTOCOL_VERSION
from bench.records.record import SCHEMA_VERSION, record_text
from bench.records.store import Store
from bench.reporting.comparisons.differences import VERSION, facts, paired_run_ids
from bench.reporting.reading import kept_verdicts, reading
from bench.reporting.tables.rows import Row, Table
from bench.reporting.tables.table import make_tables, render

MOST_S = 0.5
EDITION = "bgl@raw12k"
CONTROLS = ("all-positive", "clock", "ecvc", "gaussian", "length", "new-event", "random")


def main() -> None:
    """Time both and print a line for each, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    names = [f"method-{place}" for place in range(options.methods)]
    records = [record(n, s, 0.9 - p / 100) for p, n in enumerate(names) for s in range(options.seeds)]
    records += [record(n, s, 0.3, control=True) for n in CONTROLS for s in range(options.seeds)]
    (table,) = make_tables(records)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        keep_all(table, store)
        without, below = [], []
        for _ in range(options.rounds):
            without.append(cpu_of(lambda: render(table, DEFAULT_RULE)))
            below.append(cpu_of(lambda: reading(table, DEFAULT_RULE, kept_verdicts(store, table))))
        said = reading(table, DEFAULT_RULE, kept_verdicts(store, table))
    if not said[0].startswith("Better than the best control"):
        sys.exit(f"the comparisons were not read: {said[0]}")
    seconds, laid_out = statistics.median(below), statistics.median(without)
    tell(f"{options.methods} methods, {options.seeds} seeds: the table {laid_out:.3f} CPU s")
    tell(f"its reading {seconds:.3f} CPU s, {seconds / laid_out:.2f} times that")
    sys.exit(seconds > MOST_S)


def keep_all(table: Table, store: Store) -> None:
    """A comparison of each method with all controls, as `bench compare METHOD` keeps it."""
    folder = store.root / "comparisons"
    folder.mkdir(parents=True)
    controls = [row for row in table.rows if row.method in CONTROLS]
    for row in table.rows:
        if row not in controls:
            text = record_text(kept(table, row, controls))
            (folder / f"{table.key.file_name.removesuffix('.md')}--{row.method}.json").write_text(text)


def kept(table: Table, row: Row, others: list[Row]) -> dict[str, Any]:
    """What is kept of a method against others; its numbers are made up."""
    values = {"value": 0.6, "other_value": 0.3, "difference": 0.3, "low": 0.2, "high": 0.4, "p": 0.001}
    metrics = {name: values | {"verdict": "better", "n_seeds": 5} for name in ("ap", "auroc", "f1")}
    rows = [
        {"method": other.method, "told": other.group, "rule": DEFAULT_RULE, "failure": None, "metrics": metrics}
        | {"run_ids": paired_run_ids(table, row, other)}
        for other in others
    ]
    runs = {r["run_id"]: facts(r, DEFAULT_RULE) for side in (row, *others) for r in side.records}
    return table.key._asdict() | {
        "version": VERSION,
        "method": row.method,
        "told": row.group,
        "tiers": {EDITION: "evaluation"},
        "simulated": [],
        "n_test": 4000,
        "n_test_abnormal": 400,
        "n_draws": 1000,
        "rows": rows,
        "runs": runs,
    }


def record(method: str, seed: int, value: float, *, control: bool = False) -> Any:
    """A finished run whose metrics are all one value."""
    side = [{"edition": EDITION, "sha256": "00"}]
    names = ("precision", "recall", "f1", "fpr")
    ranking = ("auroc", "ap", "recall_at_fpr_0.01", "recall_at_fpr_0.001", "oracle_f1")
    flat = [value] * len(LEVELS)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": f"{method}-{seed}",
        "spec": {
            "protocol_version": PROTOCOL_VERSION,
            "train": side,
            "test": side,
            "split": "chronological",
            "seed": seed,
            "grouping": {"window_size": 20, "window_step": 20},
            "detector": {"name": method, "config": {"name": method}, "variant": None},
        },
        "scenario": EDITION,
        "simulated": [],
        "tiers": {EDITION: "evaluation"},
        "method": method,
        "systems": [EDITION],
        "status": "ok",
        "reason": None,
        "detector": {"told": {"source": "normals"}, "is_control": control, "config": {}},
        "counts": {
            "n_train": 9000,
            "n_train_abnormal": 0,
            "n_validation": 3000,
            "n_validation_abnormal": 0,
            "n_test": 4000,
            "n_test_abnormal": 400,
            "n_log_keys": 300,
            "known_keys_share": 0.97,
            "seen_in_training_share": 0.5,
            "ceiling_f1": 0.9,
            "split": {EDITION: {"cut": [0.6, 0.8]}},
        },
        "seconds": {"fit": 1.5, "score": 0.25},
        "memory_mib": {"peak_rss": 300.0, "added": 12.0},
        "threads": 1,
        "device": "cpu",
        "environment": {},
        "thresholds": {DEFAULT_RULE: {"value": 2.0, "fitted_on": "x", "n": 200, "reason": None}},
        "metrics": {
            "all": {
                "n": 4000,
                "n_abnormal": 400,
                "ranking": dict.fromkeys(ranking, value) | {"prevalence": 0.1, "all_positive_f1": 0.18},
                "rules": {DEFAULT_RULE: dict.fromkeys(names, value)},
                "bootstrap": {
                    "levels": list(LEVELS),
                    "auroc": flat,
                    "ap": flat,
                    "rules": {DEFAULT_RULE: dict.fromkeys(names, flat)},
                },
            }
        },
        "started_at": "2026-01-01T00:00:00+00:00",
    }


def cpu_of(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    before = time.process_time()
    work()
    return time.process_time() - before


def tell(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
