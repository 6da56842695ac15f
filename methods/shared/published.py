"""The profile `original`: every field of a Config with the value that was published, and where.

A method writes one table, field by field, from which both `profiles` and `sources` follow. A source
begins with where the value stands ("section 5.1", "code (logdeep)") or with SILENT and the reason,
where neither paper nor code says it. A test demands that no field is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

Published = Mapping[str, tuple[Any, str]]
"""Field of the Config -> its published value and where that stands."""

SILENT: Final = "[R]"
"""How the source of a value begins that nobody published."""

ADAM: Final[Published] = MappingProxyType(
    {
        "betas": ((0.9, 0.999), "[R] none are stated: Adam's own"),
        "epsilon": (1e-8, "[R] none is stated: Adam's own"),
        "weight_decay": (0.0, "[R] none is stated"),
        "warmup_steps": (0, "[R] none is stated"),
        "warmup_epochs": (0, "[R] none is stated"),
        "decay": (1.0, "[R] none is stated"),
        "decay_steps": (None, "[R] none is stated"),
        "decay_epochs": ((), "[R] none is stated"),
        "clip_norm": (None, "[R] none is stated: gradients are not clipped"),
    }
)
"""Adam with one learning rate and nothing else: what holds where a method does not say more."""

LOGDEEP: Final[Published] = MappingProxyType(
    {
        "learning_rate": (1e-3, "code (logdeep)"),
        "betas": ((0.9, 0.999), "code (logdeep)"),
        "warmup_epochs": (5, "code (logdeep): from 1/32 of the rate, doubled in each epoch"),
        "decay": (0.1, "code (logdeep)"),
        "clip_norm": (None, "code (logdeep) clips nothing"),
        "patience": (None, "code (logdeep): all epochs are run, the last weights kept"),
        "validation_fraction": (0.0, "code (logdeep) trains on the whole training part"),
        "dropout": (0.0, "code (logdeep) has none, and the paper names none"),
    }
)
"""What the public re-implementation logdeep does with each of its three networks."""


def original(fields: Published) -> dict[str, dict[str, Any]]:
    """The table as `Detector.profiles`."""
    return {"original": {name: value for name, (value, _) in fields.items()}}


def sources_of(fields: Published) -> dict[str, dict[str, str]]:
    """The table as `Detector.sources`."""
    return {"original": {name: source for name, (_, source) in fields.items()}}
