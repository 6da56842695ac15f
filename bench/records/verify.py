"""Whether records are what runs left behind: identity, place and digest of each, and the scores they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.records.archive import Archive, lines_of, sort_key
from bench.records.lines import to_record
from bench.records.record import Record, Scores, place_fault, record_digest, run_id_of
from bench.records.store import Store

AreScoresOf = Callable[[Record, Scores], bool]
"""Whether scores are those that a record was made from."""


def problems(store: Store, are_scores_of: AreScoresOf) -> Iterator[str]:
    """What is wrong with a store, one sentence each; nothing where all is as the runs left it."""
    store.require_current()
    try:
        yield from store.archive.facts.problems()
    except BenchError as error:
        yield str(error)
        return
    found: dict[str, str] = {}
    for path in store.archive.files():
        yield from _file_problems(store.archive, path, found)
    for path in sorted(store.inbox.glob("*.json")):
        yield from _inbox_problems(store, path)
    for path in sorted(store.scores.glob("*.npz")):
        yield from _score_problems(store, path, are_scores_of)


def record_problems(record: Record) -> Iterator[str]:
    """What is wrong with a record by itself, as the end of a sentence."""
    try:
        sort_key(record)
        if run_id_of(record["spec"]) != record["run_id"]:
            yield "its run_id is not that of its spec"
        if record["digest"] != record_digest(record):
            yield "its digest is not that of its content: it was changed after its run"
        wrong = place_fault(record)
        if wrong:
            yield wrong
    except (KeyError, TypeError, AttributeError):
        yield "it is no record of a run"


def _file_problems(archive: Archive, path: Path, found: dict[str, str]) -> Iterator[str]:
    """What is wrong with a file of the archive; `found` gets where each run stands."""
    last = None
    try:
        lines = list(lines_of(path))
    except BenchError as error:
        yield str(error)
        return
    for line in lines:
        try:
            record = to_record(line.text, archive.facts, line.where)
        except BenchError as error:
            yield str(error)
            continue
        wrong = list(record_problems(record))
        yield from (f"{line.where} (run {record.get('run_id')}): {what}" for what in wrong)
        if wrong:
            continue
        run_id, key = record["run_id"], sort_key(record)
        if archive.path_of(record) != path:
            yield f"{line.where} (run {run_id}) belongs in {archive.path_of(record).name}"
        if run_id in found:
            yield f"{line.where}: run {run_id} stands in {found[run_id]} too: run `bench results pack`"
        elif last is not None and key < last:
            yield f"{line.where} (run {run_id}) is out of order: run `bench results pack`"
        found[run_id], last = line.where, key


def _inbox_problems(store: Store, path: Path) -> Iterator[str]:
    try:
        record = store.read_inbox(path.stem)
    except BenchError as error:
        yield str(error)
        return
    if record is not None:
        yield from (f"the record {path}: {what}" for what in record_problems(record))


def _score_problems(store: Store, path: Path, are_scores_of: AreScoresOf) -> Iterator[str]:
    """Scores without a record are no problem: a run writes them first; `bench results prune` removes them."""
    try:
        record = store.read(path.stem)
    except BenchError:
        return  # named already
    try:
        scores = store.read_scores(path.stem)
        if record is None or scores is None or record["status"] != "ok" or any(record_problems(record)):
            return
        if not are_scores_of(record, scores):
            yield f"the scores {path} are not those of their record: delete both and run again"
    except BenchError as error:
        yield str(error)
    except (KeyError, TypeError, ValueError, AttributeError):
        yield f"the scores {path} or their record are damaged: delete the file and run again"
