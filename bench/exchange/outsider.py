"""A method that the program does not run: what it is told, and the cell that its scores make a record of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from bench import registry
from bench.contract import GRADES, ROLES, amount_field
from bench.data.sequences.grouping import Grouping
from bench.detector import Detector, DetectorTags, Evidence, SequencePart
from bench.errors import BenchError, unknown_name
from bench.experiment.scenario import Scenario
from bench.experiment.spec import Cell, Method, plan
from bench.records.record import Certifies
from bench.registry import Description, DetectorRef, FieldInfo
from bench.types import Sequences

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_PARTS: Final[frozenset[SequencePart]] = frozenset({"log_keys", "texts", "elapsed_s", "lines"})
_WITH_RAW: Final[frozenset[SequencePart]] = frozenset({*_PARTS, "raw"})
TARGET: Final = "scores"
"""The module that such a method stands for in a record: there is none."""


@dataclass(frozen=True)
class _Config:
    """What an outsider is set to, nobody knows here."""


class Outsider(Detector):
    """Asks for what is exported, and answers with the scores that came back.

    answers: scores of each part by the identity of its sequences
    """

    tags = DetectorTags(told={}, uses=_WITH_RAW)
    Config = _Config

    def __init__(
        self,
        *,
        raw: bool = False,
        answers: Mapping[int, NDArray[np.float64]] | None = None,
        native: float | None = None,
    ) -> None:
        super().__init__()
        self._parts = _WITH_RAW if raw else _PARTS
        self._answers = answers or {}
        self.native_threshold_ = native

    def uses(self) -> frozenset[SequencePart]:
        """What is exported."""
        return self._parts

    def fit(self, train: Sequences, labels: NDArray[np.int8] | None = None, *, evidence: Evidence = Evidence()) -> Self:
        """It was fitted elsewhere."""
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """The scores of a part that came back."""
        return self._answers[id(sequences)]


def parse_told(text: str) -> dict[str, str]:
    """`source=labels,target=few:0.1` -> {"source": "labels", "target": "few:0.1"}; `nothing` -> {}."""
    found: dict[str, str] = {}
    for part in text.split(",") if text != "nothing" else ():
        role, equals, grade = (piece.strip() for piece in part.partition("="))
        plain, _, amount = grade.partition(":")
        if not equals:
            raise BenchError(f"--told {text} cannot be read: write role=grade, e.g. source=normals, or nothing")
        for word, known, what in ((role, ROLES, "role"), (plain, GRADES, "grade")):
            if word not in known:
                raise unknown_name(what, word, known, where=f"--told {text}")
        name = amount_field(role, plain)
        if (name is None) == bool(amount) or (amount and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", amount)):
            example = f"{role}={plain}:{'0.1' if plain == 'few' else '200'}" if name else f"{role}={plain}"
            raise BenchError(f"--told {text}: write {example}, for so much of it is told")
        found[role] = grade
    return found


def cell_of(
    name: str, scenario: Scenario, *, split: str, grouping: Grouping, seed: int, told: Mapping[str, str]
) -> Cell:
    """The cell of a method that is told this; BenchError where a role takes no part in the scenario."""
    if missing := sorted(set(told) - set(scenario.roles)):
        known = " and ".join(scenario.roles)
        raise BenchError(f"--told names the {missing[0]}, and {scenario.key} has none: it has {known}")
    grades = {role: text.partition(":")[0] for role, text in told.items()}
    config: dict[str, Any] = {}
    for role, text in told.items():
        field, (grade, _, amount) = amount_field(role, grades[role]), text.partition(":")
        if field is not None:
            config[field] = float(amount) if grade == "few" else int(float(amount))
    fields = {key: FieldInfo("float" if isinstance(value, float) else "int", value) for key, value in config.items()}
    method = Method(DetectorRef(name, f"{TARGET}:{name}"), Description(grades, (), True, fields), config=config)
    (cell,) = plan([scenario], [method], splits=[split], seeds=[seed], grouping=grouping)
    return cell


def require_certified(certifies: Certifies) -> None:
    """Raise BenchError where no method here has that name, or nothing says which code it is."""
    if not certifies["code"].strip():
        raise BenchError(f"--certifies {certifies['method']} needs --code: say which code it is, as deeplog 0.0.3")
    registry.find(certifies["method"].partition("[")[0].partition("+")[0])


def require_name(name: str) -> None:
    """Raise BenchError for a name that tables cannot show, or that a method here has already."""
    if not _NAME.fullmatch(name):
        raise BenchError(
            f"the name '{name}' cannot stand in a table: use letters, digits, '.', '_' and '-', 60 at most"
        )
    if name in registry.available():
        raise BenchError(f"'{name}' is a method of this program: give the scores a name of their own")
