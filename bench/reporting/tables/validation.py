"""Records -> the table that configs are chosen by: ranking of the validation part, no value of a test part."""

from __future__ import annotations

import statistics

from bench.reporting import markdown
from bench.reporting.tables.rows import Row, Table, heading


def render_choices(table: Table) -> str:
    """Rows of one table by mean AP of the validation part, best first, as markdown; rows without it are left out."""
    rows = [(row, _values(row, "ap"), _values(row, "auroc")) for row in table.rows]
    ranked = sorted(((row, ap, auroc) for row, ap, auroc in rows if ap), key=lambda found: -statistics.mean(found[1]))
    lines = [
        [row.label, *(f"{value:.4f}" for value in _spread(ap)), f"{statistics.mean(auroc):.4f}", str(len(ap))]
        for row, ap, auroc in ranked
    ]
    headers = ["", "validation AP", "lowest", "highest", "AUROC", "seeds"]
    sizes = {record["validation"]["n"] for record in table.records if "validation" in record}
    of = f"{min(sizes)} sequences" if sizes else "no record holds one"
    return "\n\n".join(
        [
            f"### {heading(table.key, table.records)}: choices by the validation part ({of})",
            markdown.table(lines, headers) + "\n",
        ]
    )


def _values(row: Row, name: str) -> list[float]:
    found = [record.get("validation", {}).get("ranking", {}).get(name) for record in row.finished]
    return [value for value in found if value is not None]


def _spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.mean(values), min(values), max(values)
