"""What a table must say of single rows below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.reporting.tables import Row


def too_few_target_normals(row: Row) -> list[str]:
    """How many normal sequences of the target there were, where that is fewer than the method wanted."""
    told = [record for record in row.finished if "n_target_normals" in record["counts"]]
    found = {
        n
        for record in told
        if (n := record["counts"]["n_target_normals"])
        < record["detector"]["config"]["target_normals"] * len(record["spec"]["test"])
    }
    return [f"{n} normal sequences of the target in training, which has no more" for n in sorted(found)]
