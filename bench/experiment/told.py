"""What a method is told: the one place that hands out training sequences, labels and evidence, once for each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.contract import KNOWN_SHARE, needs_labels, reveal
from bench.data.cards.checksums import file_sha256
from bench.data.sequences.loader import Prepared
from bench.data.sequences.protocols import RETROSPECTIVE, in_time
from bench.data.sequences.vocabulary import Part, System
from bench.detector import Detector, Evidence, ExternalFile, Incident, Role
from bench.experiment.grades import amount_of, grade_of
from bench.experiment.incidents import MOST_INSIDE, incidents_of, share_inside, tested_incidents
from bench.experiment.spec import Cell
from bench.isolation.remote import RemoteDetector
from bench.llm.teacher import teacher_of
from bench.types import ABNORMAL, NORMAL, UNLABELLED, Sequences

_WANTS_ABNORMAL: Final = {
    "labels": "a supervised method needs abnormal training sequences",
    "few": "a method that is told few labels needs abnormal training sequences",
    "abnormal": "a method that is told abnormal sequences needs abnormal training sequences",
    "first-normals": "a positive-unlabelled method needs abnormal sequences among the unlabelled of training",
}
NO_INCIDENTS: Final = "it learns from incidents, and none is known of the training period: give --incidents FILE or 35s"
_READS_LINES: Final = {"raw": "it reads raw lines", "words": "it reads the words of raw lines"}
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
    data = _visible(prepared, detector)
    part = _told_part(cell.told, data)
    train, labels = _revealed(cell.told, part, data)
    found = {file.name: find_file(file, prepared.files) for file in detector.tags.files}
    teacher = detector.teacher if isinstance(detector, RemoteDetector) else teacher_of(detector)
    evidence = Evidence(
        roles=_roles(data),
        incidents=_incidents(cell, data, detector),
        event_labels=_event_labels(cell.told, train, data) if detector.tags.unit == "line" else None,
        files=MappingProxyType({name: path for name, path in found.items() if isinstance(path, Path)}),
        teacher=teacher,
    )
    reason = (
        prepared.skip_reason
        or refused_split(cell)  # first, as its pools lack by their rule what others may have
        or _lacking_lines(train, data, detector)
        or _lacking(cell.told, data)
        or next((reason for reason in found.values() if isinstance(reason, str)), None)
        or _lacking_incidents(train, detector, evidence)
        or (teacher and teacher.blocked())
    )
    return Handout(data, train, labels, evidence, reason or detector.skip(train))


def counts(cell: Cell, prepared: Prepared) -> dict[str, Any]:
    """What a record says of its data, and of how many normal sequences of the target its method was given."""
    facts = prepared.facts
    if in_time(cell.split):
        test = prepared.test
        incidents = tested_incidents(test.sequences, test.labels, prepared.targets or prepared.sources)
        facts = facts | {"n_test_incidents": len(np.unique(incidents[incidents >= 0]))}
    if grade_of(cell.told.get("target", "")) != "first-normals":
        return facts
    chosen = [_chosen(system, cell.told["target"]) for system in prepared.targets]
    return facts | {"n_target_normals": sum(map(len, chosen))}


def _visible(prepared: Prepared, detector: Detector) -> Prepared:
    """The data with the parts that the detector uses and no others."""
    uses = detector.uses()
    data = prepared.with_parameters if "parameters" in uses else prepared
    data = data.with_raw if "raw" in uses else data
    data = data.with_words if "words" in uses else data
    return data.with_own_texts() if uses & _READS_LINES.keys() else data


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


def find_file(file: ExternalFile, folder: Path | None) -> Path | str:
    """Where a file of a method lies, after its SHA-256 was compared; or why it cannot be given."""
    # The reason stands in a record, so the data folder is not named by its path, which is the machine's business.
    place = f"the folder 'files' of the data folder: get it from {file.url}"
    if folder is None:
        return f"it needs the file {file.name}, and there is no data folder: set BENCH_DATA, and put it into {place}"
    path = folder / file.name
    try:
        found = file_sha256(path)
    except OSError:
        return f"it needs the file {file.name}, which is not in {place}"
    if found != file.sha256:
        other = f"(SHA-256 {found[:12]}..., the method says {file.sha256[:12]}...)"
        return f"it needs the file {file.name}, and another one {other} is in {place}"
    return path


def _lacking_lines(train: Sequences, data: Prepared, detector: Detector) -> str | None:
    parts = (train, data.validation.sequences, data.test.sequences)
    for name, what in _READS_LINES.items():
        if name in detector.uses() and any(getattr(part, name) is None for part in parts):
            # Asked without lines, a method that has a setting for it says which.
            return detector.skip(replace(train, raw=None, words=None)) or f"{what}, and these data are event ids"
    return None


def _lacking_incidents(train: Sequences, detector: Detector, evidence: Evidence) -> str | None:
    if not detector.tags.incidents:
        return None
    if not evidence.incidents:
        return NO_INCIDENTS
    share = share_inside(train, evidence.incidents)
    if share <= MOST_INSIDE:
        return None
    return (
        f"{100 * share:.1f} % of the training lines lie in known failures, and over {MOST_INSIDE:.0%} these say "
        "nothing: give narrower ones, as --incidents 1s"
    )


def refused_split(cell: Cell) -> str | None:
    """Why the method of a cell may not run under its split; None where it may."""
    if cell.split == RETROSPECTIVE and not cell.method.looks_back:
        return (
            "the split 'retrospective' tests what it trains on, and this method is not told failure times: "
            "use chronological"
        )
    return refused(cell.split, cell.told)


def refused(split: str, told: Mapping[str, str]) -> str | None:
    """Why a method may not run under a split for what it is told; None where it may.

    `paper` draws its pools with labels, so that they hold normals alone.
    """
    of_source, of_target = (grade_of(told.get(role, "normals")) for role in ("source", "target"))
    if split != "paper" or (of_source not in _WANTS_ABNORMAL and of_target in ("normals", "first-normals")):
        return None
    whose = "source" if of_source in _WANTS_ABNORMAL else "target"
    return f"the split 'paper' draws its pools with labels, and this method is told {whose} {told[whose]}: use blind"


def _lacking(told: Mapping[str, str], data: Prepared) -> str | None:
    """Why what is told of the sources or auxiliaries cannot be learned from, or None."""
    reason = _WANTS_ABNORMAL.get(grade_of(told.get("source", "")))
    if reason is not None and not (data.train.labels == ABNORMAL).any():
        return f"{reason}, and this split has none"
    if grade_of(told.get("auxiliary", "")) not in _WANTS_ABNORMAL or not data.auxiliaries:
        return None
    if any((system.groups.labels[system.split.train] == ABNORMAL).any() for system in data.auxiliaries):
        return None
    names = " and ".join(system.card.key for system in data.auxiliaries)
    return f"it learns abnormal lines of an auxiliary system, and none trains of {names}: give another --auxiliary"
