"""The scores of one cell: which sequences a detector is asked about, and that it answers as the contract says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.contract import require_abstained, require_native, require_scores
from bench.data.embedding import nearest_keys
from bench.data.sequences.loader import Prepared
from bench.data.sequences.vocabulary import Part
from bench.detector import Detector, largest_lines
from bench.evaluation.sampling import Sample, draw_sample
from bench.experiment.incidents import tested_incidents
from bench.experiment.spec import NEAREST, NEAREST_MIN_COSINE, Cell
from bench.isolation.remote import RemoteDetector
from bench.records.record import Record, Scores
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences


def score_parts(detector: Detector, prepared: Prepared, cell: Cell) -> Scores:
    """Scores and labels of every part, as they are stored; of the test part those that the cell's sample holds.

    prepared: the data as the detector may see them, from `told.hand_out`
    """
    native = require_native(detector.native_threshold_)
    sample = sample_of(cell, prepared)
    test = prepared.test if sample is None else _selected(prepared.test, sample.index)
    validation, target = prepared.validation, prepared.target_validation
    if sample is not None and saves_validation(detector):
        validation, target = _selected(validation, _NOTHING), target and _selected(target, _NOTHING)
    scores: Scores = {"native": np.array([] if native is None else [native], np.float64)}
    for name, part in {"validation": validation, "target_validation": target}.items():
        if part is not None:
            values, excluded, _ = _score(detector, part, prepared, cell)
            scores |= _named(name, values, part) if excluded is None else _kept(_named(name, values, part), ~excluded)
    identity = _identity("test", test.sequences)  # before the method has these sequences in its hands
    if sample is None:
        tested = prepared.targets or prepared.sources
        identity["test_incident"] = tested_incidents(test.sequences, test.labels, tested)
    values, excluded, lines = _score(detector, test, prepared, cell)
    scores |= _named("test", values, test) | identity
    if lines is not None:
        scores |= _of_lines(lines, test.sequences, prepared)
    if sample is not None:
        scores |= {"test_weights": sample.weights, "test_index": sample.index}
    if excluded is not None:
        scores["test_weights"] = np.where(excluded, 0.0, scores.get("test_weights", 1.0))
    return scores


def _score(
    detector: Detector, part: Part, prepared: Prepared, cell: Cell
) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None, NDArray[np.float64] | None]:
    """Scores of a part, which of its sequences the detector declined to judge (None: none), and those of its lines."""
    sequences = part.sequences
    if not len(sequences):
        return np.empty(0), None, None
    if cell.method.variant == NEAREST:
        nearest = detector.nearest_keys if isinstance(detector, RemoteDetector) else nearest_keys
        training = sequences.texts[: prepared.facts["n_log_keys"]]
        sequences = nearest(sequences, training, NEAREST_MIN_COSINE)
    scores, lines = scores_of(detector, sequences)
    return scores, require_abstained(detector.abstained(sequences), len(sequences)), lines


def scores_of(detector: Detector, sequences: Sequences) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Scores of sequences, and of their lines where the method scores lines; what is not as the contract says fails."""
    if detector.tags.unit == "line":
        lines = require_scores(detector.score_lines(sequences), sequences.n_events, "score_lines")
        return largest_lines(lines, sequences), lines
    return require_scores(detector.score(sequences), len(sequences), "score"), None


def _of_lines(scores: NDArray[np.float64], sequences: Sequences, prepared: Prepared) -> Scores:
    """Each tested line once, with its highest score and its label; nothing where the editions label no lines."""
    systems = {system.index: system for system in prepared.targets or prepared.sources}
    system = np.repeat(sequences.system, sequences.lengths)
    labels = np.full(len(scores), UNLABELLED, np.int8)
    for index in np.unique(system).tolist():
        here = system == index
        labels[here] = systems[index].log.labels[sequences.lines[here]]
    known = labels != UNLABELLED
    if not (labels == ABNORMAL).any() or not (labels == NORMAL).any():
        return {}
    place = np.stack([system[known].astype(np.int64), sequences.lines[known]])
    _, first, line = np.unique(place, axis=1, return_index=True, return_inverse=True)
    highest = np.full(len(first), -np.inf)
    np.maximum.at(highest, line.ravel(), scores[known])
    return {"test_lines": highest, "test_lines_labels": labels[known][first]}


def _named(name: str, scores: NDArray[np.float64], part: Part) -> Scores:
    return {name: scores, f"{name}_labels": part.labels, f"{name}_system": part.sequences.system}


def _identity(name: str, sequences: Sequences) -> Scores:
    """Which sequence each score is of: its id, first and last raw line (-1 where it is empty) and start time."""
    first, last = sequences.offsets[:-1], sequences.offsets[1:] - 1
    lines = np.append(sequences.lines, -1)
    is_empty = first > last
    return {
        f"{name}_sequence": np.array([text.encode() for text in sequences.ids], np.bytes_),
        f"{name}_first_line": lines[np.where(is_empty, -1, first)],
        f"{name}_last_line": lines[np.where(is_empty, -1, last)],
        f"{name}_start_time": sequences.start_time,
    }


def _kept(arrays: Scores, which: NDArray[np.bool_]) -> Scores:
    return {name: values[which] for name, values in arrays.items()}


_NOTHING = np.empty(0, np.int64)


def saves_validation(detector: Detector) -> bool:
    """Whether a sampled run leaves out the validation part: each answer of a language model costs something.

    Its own rule needs none. Rules that are fitted on validation scores are then not estimable for it.
    """
    return detector.tags.teacher and detector.native_threshold_ is not None


def sample_of(cell: Cell, prepared: Prepared) -> Sample | None:
    """The test sequences that a sampled cell scores, the same for every method; None where all are scored."""
    if not cell.sample:
        return None
    return draw_sample(prepared.test.labels, prepared.test.sequences.system, cell.sample, cell.seed)


def sample_facts(cell: Cell, prepared: Prepared) -> Record:
    """What a record says of its sample; nothing where all test sequences are scored."""
    sample = sample_of(cell, prepared)
    if sample is None:
        return {}
    strata = [
        {"system": prepared.systems[s.system], "label": s.label, "size": s.size, "drawn": s.drawn}
        for s in sample.strata
    ]
    return {"sample": {"drawn": len(sample.index), "of": len(prepared.test.labels), "strata": strata}}


def excluded_facts(scores: Scores) -> Record:
    """How many test sequences the metrics leave out because the detector declined to judge them; nothing if none."""
    out = scores.get("test_weights", np.ones(1)) == 0
    if not out.any():
        return {}
    n_abnormal = int((scores["test_labels"][out] == ABNORMAL).sum())
    return {"excluded": {"n": int(out.sum()), "n_abnormal": n_abnormal, "of": len(out)}}


def _selected(part: Part, index: NDArray[np.int64]) -> Part:
    return Part(part.sequences.select(index), part.labels[index])
