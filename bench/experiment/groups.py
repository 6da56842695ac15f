"""The groups of rows: what a method is told, and the controls of those that are told more than normals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bench.experiment.grades import CONTROL, covers, group_of, told_of

NORMALS: Final[Mapping[str, str]] = {"source": "normals"}
"""What controls are told that stand in every table."""
_TOLD_MORE: Final = f"{CONTROL} told "


def row_group(record: Mapping[str, Any]) -> str:
    """As `group_of`; controls that are told more than normals are a group of their own."""
    group = group_of(record)
    if group != CONTROL or "supervision" in record["detector"]:
        return group
    told = told_of(record)
    return CONTROL if stands_everywhere(told.roles) else f"{_TOLD_MORE}{told.sentence}"


def is_control(group: str) -> bool:
    """Whether it is a group of controls, whatever they are told."""
    return group == CONTROL or group.startswith(_TOLD_MORE)


def stands_everywhere(told: Mapping[str, str]) -> bool:
    """Whether what a control is told is no more than what every method of a table is told."""
    return covers(NORMALS, told)


def may_stand_beside(control: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether the method of a record is told at least as much as that of a control's record."""
    return row_group(control) == CONTROL or covers(told_of(record).roles, told_of(control).roles)
