"""The kinds of figures, each a file of its own that gathers and draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.reporting.figures import bounds, curves, entmax, maps, published, ranks, steps, sweep, vocabulary
from bench.reporting.figures.figure import Kind

_ALL: Final = (
    sweep.KIND,
    steps.KIND,
    ranks.KIND,
    bounds.KIND,
    curves.KIND,
    maps.KIND,
    entmax.KIND,
    vocabulary.KIND,
    published.KIND,
)

KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _ALL}
"""By name, as a suite's [figure] gives it."""
