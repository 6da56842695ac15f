"""The scores that a baseline keeps of its rows, and how far a row moved from them on the same test sequences.

`baseline.npz` lies beside `baseline.json`, which names the digest of its arrays: `index` (JSON: what belongs to which
row and seed), `scores` (float64: in float32 two scores could become a tie) and `labels` (int8) of test sequences.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench._files import replace_file
from bench._plain import jsonable
from bench.errors import BenchError
from bench.evaluation.blocks import ONE_BY_ONE, Resampling
from bench.evaluation.paired import N_DRAWS, Difference, Resampled, Scored, difference, draw_seed, resample
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.experiment.measure import resampling_of
from bench.records.record import Record, Scores, scores_digest
from bench.records.store import Store
from bench.reporting.tables.choose import trusted_scores
from bench.reporting.tables.rows import Row, is_drawn, shown_rule
from bench.reporting.tables.table import table_key

DIGEST: Final = "scores_sha256"
"""The entry of a baseline that binds its scores."""

_WAY_OUT: Final = "restore both files, or delete it and write it with `bench gate --update`"


class KeptRun(NamedTuple):
    """What one seed of a row said of the test sequences."""

    seed: int
    scored: Scored
    labels: NDArray[np.int8]
    """(n_sequences,), 0 normal, 1 abnormal."""
    resampling: Resampling = ONE_BY_ONE
    """What of them is drawn again; a baseline keeps nothing of it, as its test sequences are those of the row."""


class KeptRow(NamedTuple):
    """A row as it was when its values became the baseline."""

    values: dict[str, float]
    """As the baseline has them, by metric."""
    data: tuple[str, ...]
    """The editions and their digests."""
    runs: tuple[KeptRun, ...]


KeptRows = dict[str, KeptRow]


def scores_path(baseline: Path) -> Path:
    """Where the scores of a baseline lie; a BenchError where they would take its own place."""
    path = baseline.with_name(f"{baseline.stem}.npz")
    if path == baseline:
        raise BenchError(f"the baseline '{baseline}' has the name of its scores: give it another, as baseline.json")
    return path


def packed(rows: KeptRows) -> Scores:
    """The arrays of a file; none of no rows."""
    if not rows:
        return {}
    runs = [run for _, row in sorted(rows.items()) for run in row.runs]
    index = [
        {
            "row": name,
            "values": row.values,
            "data": row.data,
            "runs": [{"seed": r.seed, "n": len(r.labels), "threshold": r.scored.threshold} for r in row.runs],
        }
        for name, row in sorted(rows.items())
    ]
    text = json.dumps(jsonable(index), sort_keys=True)
    return {
        "index": np.frombuffer(text.encode(), dtype=np.uint8),
        "scores": np.concatenate([run.scored.scores for run in runs]).astype("<f8"),
        "labels": np.concatenate([run.labels for run in runs]).astype(np.int8),
    }


def save_scores(path: Path, arrays: Scores) -> None:
    """Write the scores of a baseline; without any, the file goes.

    Equal scores leave a file as it is, whatever library compressed it.
    """
    if not arrays:
        path.unlink(missing_ok=True)
    elif not _holds(path, scores_digest(arrays)):
        replace_file(path, lambda temporary: _save(temporary, arrays))


def load_scores(path: Path, baseline: Mapping[str, Any]) -> KeptRows:
    """The scores that a baseline keeps, none where there are none; BenchError for any that are not its own."""
    if not path.is_file():
        return {}
    arrays = _read(path)
    if scores_digest(arrays) != baseline.get(DIGEST):
        raise BenchError(f"the scores '{path}' are not those of the baseline beside them: {_WAY_OUT}")
    try:
        return _unpacked(arrays)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BenchError(f"the scores '{path}' are damaged ({error}): {_WAY_OUT}") from None


def scores_of(row: Row, values: Mapping[str, float], store: Store) -> KeptRow | str:
    """What a baseline keeps of a row, or why it can keep nothing; BenchError for scores that are not the record's."""
    if any("sample" in record["spec"] for record in row.finished):
        return "it was run on a sample"
    rule = shown_rule(row, DEFAULT_RULE)
    runs = []
    for record in row.finished:
        scores = trusted_scores(record, store)
        if scores is None:
            return f"its scores are not in {store.root}"
        unit = resampling_of(scores, record["spec"]["split"])
        runs.append(KeptRun(record["spec"]["seed"], _scored(record, scores, rule), scores["test_labels"], unit))
    if any(len(np.unique(run.labels)) < 2 for run in runs):
        return "its test sequences are all of one kind"
    return KeptRow(dict(values), table_key(row.finished[0]).data, tuple(runs))


def changes(row: Row, before: KeptRow, store: Store) -> dict[str, Difference] | str:
    """Row less baseline, by metric, as paired differences on the same test sequences; or why there is none.

    row: with the seeds of the baseline alone, all finished
    """
    now = scores_of(row, {}, store)
    if isinstance(now, str):
        return now
    old = {run.seed: run for run in before.runs}
    if now.data != before.data or old.keys() != {run.seed for run in now.runs}:
        return "its data or seeds are not those of the scores in the baseline"
    pairs = [(run, old[run.seed]) for run in now.runs]
    drawn = is_drawn(row.finished[0])
    first = pairs[0][0].labels
    if not all(np.array_equal(a.labels, b.labels) and (drawn or np.array_equal(a.labels, first)) for a, b in pairs):
        return "its test sequences are not those of the scores in the baseline"
    return moved(pairs, drawn=drawn)


def moved(pairs: Sequence[tuple[KeptRun, KeptRun]], *, drawn: bool = False) -> dict[str, Difference]:
    """How far the metrics of runs moved from those before them, by metric: (now, before) of each seed.

    drawn: whether each seed has a test set of its own
    """
    resampled = _resampled(pairs, drawn=drawn)
    metrics = [name for name in resampled[0][0] if all(name in side for pair in resampled for side in pair)]
    return {name: difference([(a[name], b[name]) for a, b in resampled], same_test=not drawn) for name in metrics}


def _resampled(
    pairs: Sequence[tuple[KeptRun, KeptRun]], *, drawn: bool
) -> list[tuple[dict[str, Resampled], dict[str, Resampled]]]:
    """The metrics of each pair; all pairs share their resamples unless each seed drew a test set."""
    made: list[tuple[dict[str, Resampled], dict[str, Resampled]]] = []
    for group in [[pair] for pair in pairs] if drawn else [pairs]:
        labels, unit = group[0][0].labels, group[0][0].resampling
        n = 2 if all(_are_equal(*pair) for pair in group) else N_DRAWS  # no draw tells equal runs apart
        scored = [run.scored for pair in group for run in pair]
        sides = resample(scored, labels, n=n, seed=draw_seed(labels), resampling=unit)
        made += zip(sides[::2], sides[1::2], strict=True)
    return made


def _are_equal(a: KeptRun, b: KeptRun) -> bool:
    return a.scored.threshold == b.scored.threshold and np.array_equal(a.scored.scores, b.scored.scores)


def _scored(record: Record, scores: Scores, rule: str) -> Scored:
    value = record["thresholds"].get(rule, {}).get("value")
    return Scored(scores["test"], None if value is None else float(value))


def _unpacked(arrays: Scores) -> KeptRows:
    rows: KeptRows = {}
    start = 0
    for entry in json.loads(arrays["index"].tobytes()):
        runs = []
        for run in entry["runs"]:
            part = slice(start, start + run["n"])
            threshold = None if run["threshold"] is None else float(run["threshold"])
            runs.append(KeptRun(run["seed"], Scored(arrays["scores"][part], threshold), arrays["labels"][part]))
            start += run["n"]
        rows[entry["row"]] = KeptRow(entry["values"], tuple(entry["data"]), tuple(runs))
    return rows


def _read(path: Path) -> Scores:
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, MemoryError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise BenchError(f"the scores '{path}' are damaged ({error}): {_WAY_OUT}") from None


def _holds(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and scores_digest(_read(path)) == digest
    except BenchError:
        return False


def _save(path: Path, arrays: Scores) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub takes a keyword for an array
