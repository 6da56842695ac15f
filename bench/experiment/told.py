"""What a method is told: the one place that hands out training sequences, labels and evidence, once for each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.contract import KNOWN_SHARE, needs_labels, reveal
from bench.data.sequences.loader import Prepared
from bench.data.sequences.vocabulary import Part, System
from bench.detector import Detector, Evidence, Incident, Role
from bench.experiment.grades import amount_of, grade_of
from bench.experiment.incidents import incidents_of
from bench.experiment.spec import Cell
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences

_WANTS_ABNORMAL: Final = {
    "labels": "a supervised method needs abnormal training sequences",
    "few": "a method that is told few labels needs abnormal training sequences",
    "abnormal": "a method that is told abnormal sequences needs abnormal training sequences",
    "first-normals": "a positive-unlabelled method needs abnormal sequences among the unlabelled of training",
}
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Handout:
    """What a method is told in a cell, and the data as it may see them."""

    data: Prepared
    """With the parts of `Sequences` that it uses, and no others."""
    train: Sequences
    labels: NDArray[np.int8] | None
    evidence: Evidence
    reason: str | None = None
    """Why it is skipped, if it is."""


def hand_out(cell: Cell, prepared: Prepared, detector: Detector) -> Handout:
    """What the method of a cell is told, or the reason why it cannot be fitted on it."""
    data = prepared.with_parameters if "parameters" in detector.uses() else prepared
    data = data.with_raw if "raw" in detector.uses() else data
    part = _told_part(cell.told, data)
    train, labels = _revealed(cell.told, part, data)
    evidence = Evidence(
        roles=_roles(data),
        incidents=_incidents(cell, data, detector),
        event_labels=_event_labels(cell.told, train, data) if detector.tags.unit == "line" else None,
    )
    reason = (
        prepared.skip_reason
        or _lacking_lines(data, detector)
        or _lacking(cell.told, data)
        or _lacking_evidence(detector, evidence)
    )
    return Handout(data, train, labels, evidence, reason or detector.skip(train))


def counts(cell: Cell, prepared: Prepared) -> dict[str, Any]:
    """What a record says of its data, and of how many normal sequences of the target its method was given."""
    if grade_of(cell.told.get("target", "")) != "first-normals":
        return prepared.facts
    chosen = [_chosen(system, cell.told["target"]) for system in prepared.targets]
    return prepared.facts | {"n_target_normals": sum(map(len, chosen))}


def _roles(data: Prepared) -> tuple[Role, ...]:
    sources: list[Role] = ["source"] * len(data.sources)
    targets: list[Role] = ["target"] * len(data.targets)
    helpers: list[Role] = ["auxiliary"] * len(data.auxiliaries)
    return (*sources, *targets, *helpers)


def _told_part(told: Mapping[str, str], data: Prepared) -> Part:
    """The training part of the sources, behind it what is told of the other roles' training parts."""
    roles = _roles(data)
    others = [system for system in (*data.targets, *data.auxiliaries) if roles[system.index] in told]
    return data.train_with({system.index: _chosen(system, told[roles[system.index]]) for system in others})


def _chosen(system: System, text: str) -> Index:
    """Positions of the training sequences that a role other than the source gives."""
    train, labels, grade = system.split.train, system.groups.labels, grade_of(text)
    kinds = {"normals": NORMAL, "first-normals": NORMAL, "abnormal": ABNORMAL}
    found: Index = train[labels[train] == kinds[grade]] if grade in kinds else train
    if grade == "first-normals":
        found = found[np.argsort(system.groups.last_lines[found], kind="stable")[: int(amount_of(text))]]
    return found


def _revealed(told: Mapping[str, str], part: Part, data: Prepared) -> tuple[Sequences, NDArray[np.int8] | None]:
    """The sequences that are told, with their labels as far as these are; None where one kind says it all."""
    roles = _roles(data)
    keep = np.zeros(len(part.labels), bool)
    labels = np.full(len(part.labels), UNLABELLED, np.int8)
    for index in np.unique(part.sequences.system).tolist():
        text = told.get(roles[index])
        if text is not None:
            of_system = part.sequences.system == index
            share = amount_of(text) if grade_of(text) == "few" else KNOWN_SHARE
            keep[of_system], labels[of_system] = reveal(roles[index], grade_of(text), part.labels[of_system], share)
    sequences = part.sequences if keep.all() else part.sequences.select(keep)
    if not needs_labels({role: grade_of(text) for role, text in told.items()}):
        return sequences, None
    known = labels[keep]
    known.setflags(write=False)  # as parts are
    return sequences, known


def _incidents(cell: Cell, data: Prepared, detector: Detector) -> tuple[Incident, ...]:
    """The failures that are known of the sources."""
    if not detector.tags.incidents:
        return ()
    return tuple(incident for system in data.sources for incident in incidents_of(system, cell.incidents))


def _event_labels(told: Mapping[str, str], train: Sequences, data: Prepared) -> NDArray[np.int8] | None:
    """int8 (n_events,): labels of lines of the roles that give all labels; None where there is none."""
    labels = np.full(train.n_events, UNLABELLED, np.int8)
    system = np.repeat(train.system, train.lengths)
    roles = _roles(data)
    for known in (*data.sources, *data.targets, *data.auxiliaries):
        if told.get(roles[known.index]) == "labels":
            here = system == known.index
            labels[here] = known.log.labels[train.lines[here]]
    labels.setflags(write=False)
    return labels if (labels != UNLABELLED).any() else None


def _lacking_lines(data: Prepared, detector: Detector) -> str | None:
    if "raw" in detector.uses() and data.test.sequences.raw is None:
        return "it reads raw lines, and these data are event ids"
    return None


def _lacking_evidence(detector: Detector, evidence: Evidence) -> str | None:
    if detector.tags.files:
        return f"it needs the file {detector.tags.files[0].name}, and files of methods are not handed out yet"
    if detector.tags.incidents and not evidence.incidents:
        return "it learns from incidents, and none is known of the training period: give --incidents FILE or 35s"
    return None


def _lacking(told: Mapping[str, str], data: Prepared) -> str | None:
    """Why what is told of the sources cannot be learned from, or None."""
    reason = _WANTS_ABNORMAL.get(grade_of(told.get("source", "")))
    if reason is None or (data.train.labels == ABNORMAL).any():
        return None
    return f"{reason}, and this split has none"
