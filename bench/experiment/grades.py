"""What a method is told, in words: the group of its row, and whether one is told as much as another.

Told is a text for each role: a grade, behind a colon how much of it (`{"source": "normals", "target":
"first-normals:200"}`). Records of before hold a supervision instead; `told_of` reads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from bench.contract import GRADES, ROLES, amount_field
from bench.detector import TOLD_BEFORE

CONTROL: Final = "control"
"""The group of the controls, which stand in every table."""
UNTRAINED: Final = "untrained"
UNKNOWN: Final = "unknown"
"""What is told where a method could not be imported."""

_ASKED_BEFORE: Final = "training-free"
"""All methods of this supervision asked a chat model."""
_ORDER: Final = ("unlabelled", "normals", "first-normals", "few", "abnormal", "labels")
"""Groups stand in this order, those that are told nothing of the source behind them."""
_COVERED: Final[Mapping[str, tuple[str, ...]]] = {
    "unlabelled": ("unlabelled",),
    "normals": ("normals", "first-normals", "unlabelled"),
    "first-normals": ("first-normals", "unlabelled"),
    "few": ("few", "unlabelled"),
    "abnormal": ("abnormal",),
    "labels": GRADES,
}
"""The grades that tell no more than this one."""


class Told(NamedTuple):
    """What a row's method is told."""

    roles: Mapping[str, str]
    """Text of each role that is given, as a record holds it."""
    teacher: bool = False
    incidents: bool = False
    auxiliary: tuple[str, ...] = ()
    """The editions that help."""

    @property
    def sentence(self) -> str:
        """`source normals + target first 200 normals, asks a model`."""
        parts = [f"{role} {_words(self.roles[role])}" for role in ROLES if role in self.roles]
        if self.auxiliary:
            parts[-1] += f" of {' and '.join(self.auxiliary)}"
        parts += ["incidents"] if self.incidents else []
        return f"{' + '.join(parts) or UNTRAINED}{', asks a model' if self.teacher else ''}"


def told_of(record: Mapping[str, Any]) -> Told:
    """What a record's method was told; the one place that reads the supervision of records of before."""
    detector = record["detector"]
    if "supervision" in detector:
        return _told_before(detector["supervision"])
    helpers = tuple(part["edition"] for part in record["spec"].get("auxiliary", ()))
    told = {"source": UNKNOWN} if detector["told"] is None else detector["told"]
    return Told(told, detector.get("teacher", False), bool(detector.get("incidents")), helpers)


def group_of(record: Mapping[str, Any]) -> str:
    """The group of a record's row: rows of two groups never share a ranking."""
    detector = record["detector"]
    if "supervision" in detector:
        return group_before(detector["supervision"])
    return CONTROL if detector["is_control"] else told_of(record).sentence


def group_before(supervision: str) -> str:
    """The group of what a record or comparison of before called by its supervision."""
    return CONTROL if supervision == CONTROL else _told_before(supervision).sentence


def _told_before(supervision: str) -> Told:
    """`normal-only + 200 target normals`."""
    name, _, target = supervision.partition(" + ")
    roles: dict[str, str] = dict(TOLD_BEFORE[name].items()) if name in TOLD_BEFORE else {"source": UNKNOWN}
    if target:
        roles["target"] = f"first-normals:{target.split()[0]}"
    return Told(roles, teacher=name == _ASKED_BEFORE)


def group_rank(group: str) -> tuple[int, str]:
    """Where a group stands in a table: by how much of the source it is told; controls last."""
    if group == CONTROL:
        return len(_ORDER) + 1, group
    words = group.partition(",")[0].partition(" + ")[0].removeprefix("source ")
    order = [_words(grade) for grade in _ORDER]
    return order.index(words) if words in order else len(_ORDER), group


def is_untrained(record: Mapping[str, Any]) -> bool:
    """Whether its method learns nothing from the log."""
    return not told_of(record).roles


def asks_a_model(record: Mapping[str, Any]) -> bool:
    """Whether its method asks a language model."""
    return told_of(record).teacher


def told_under(
    told: Mapping[str, str],
    told_with: Mapping[str, Mapping[str, str]],
    config: Mapping[str, Any],
    roles: tuple[str, ...],
) -> dict[str, str]:
    """What a method of these tags is told under a config, where these roles take part.

    A role of which the config wants nothing (`target_normals` of 0) is left out.
    """
    wanted = dict(told)
    for name, more in told_with.items():
        wanted |= more if config.get(name) else {}
    texts = {role: _with_amount(role, wanted[role], config) for role in ROLES if role in wanted and role in roles}
    return {role: text for role, text in texts.items() if not text.endswith((":0", ":0.0"))}


def covers(told: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether the one is told at least as much as the other, role by role, whatever the amounts."""
    return all(
        grade_of(text) in _COVERED[grade_of(told[role])] if role in told else False for role, text in other.items()
    )


def grade_of(text: str) -> str:
    """`first-normals:200` -> `first-normals`."""
    return text.partition(":")[0]


def amount_of(text: str) -> float:
    """`first-normals:200` -> 200."""
    return float(text.partition(":")[2])


def _with_amount(role: str, grade: str, config: Mapping[str, Any]) -> str:
    name = amount_field(role, grade)
    return grade if name is None else f"{grade}:{max(0, config.get(name, 0))}"


def _words(text: str) -> str:
    """`first-normals:200` -> `first 200 normals`; `few:0.1` -> `labels of 10 %`."""
    grade, _, amount = text.partition(":")
    if grade == "first-normals":
        return " ".join(filter(None, ["first", amount, "normals"]))
    if grade == "few":
        return f"labels of {100 * float(amount):g} %" if amount else "few labels"
    return grade
