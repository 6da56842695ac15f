"""A block on words: how far one word of the source moves the ranking of another system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from bench.errors import harmless
from bench.records.probes import ProbeRecord
from bench.reporting import markdown
from bench.reporting.pages.gather import Results
from bench.reporting.pages.matrix import NOTHING
from bench.reporting.tables.answers import CHANCE
from bench.reporting.tables.matrix import column
from bench.reporting.tables.ranking import short

FAR: Final = 0.1
"""A change of AUROC that is counted as far."""

WIDEST: Final = 24
"""Characters of a word that are shown."""


class _Moved(NamedTuple):
    """A ranking as fitted, and without the word that moves it most."""

    fitted: float
    word: str
    without: float
    is_clear: bool
    """Whether the interval of the change leaves out 0."""

    @property
    def is_far(self) -> bool:
        """By `FAR` or more, beyond what other test sequences would do."""
        return self.is_clear and abs(self.without - self.fitted) >= FAR

    @property
    def turns(self) -> bool:
        """Whether it comes to lie on the other side of chance, that far away from where it was."""
        return self.is_far and (self.fitted - CHANCE) * (self.without - CHANCE) < 0


def words(results: Results) -> str:
    """Each pair of which `bench probe words` was asked with a number of words: what the most moving one does."""
    found = _most_moving(results.probes)
    methods = sorted({method for _, method in found})
    tables = [table for table in results.of("transfers") if table.key.split == "transfer"]
    rows = {column(table): [found.get((table.key.scenario, method)) for method in methods] for table in tables}
    shown = {pair: row for pair, row in rows.items() if any(row)}
    if not shown:
        return f"({NOTHING})"
    lines = [[pair, *(cell for moved in row for cell in _cells(moved))] for pair, row in shown.items()]
    headers = ["pair", *(title for method in methods for title in (markdown.plain(method), "word", "without it"))]
    sums = [_sum(method, [row[i] for row in shown.values()]) for i, method in enumerate(methods)]
    return "\n\n".join([markdown.table(lines, headers), _LEGEND, "\n".join(sums)])


_LEGEND: Final = (
    "AUROC as fitted, and fitted again without the word that moves it most, of those whose presence tells most of the "
    "source's label (`bench probe words`). `~`: the 95 % interval of that change holds 0; it is the interval of one "
    "word, and the most moving one is chosen here."
)


def _most_moving(probes: Sequence[ProbeRecord]) -> Mapping[tuple[str, str], _Moved]:
    """By scenario and method, of the first seed and where words were counted and not named."""
    found: dict[tuple[str, str], _Moved] = {}
    for record in sorted(probes, key=lambda record: -record["seed"]):
        is_counted = isinstance(record["spec"]["options"].get("words"), int)
        if record["probe"] != "words" or record["split"] != "transfer" or not is_counted:
            continue
        result = record["results"]
        most = max(result["rows"], key=lambda row: abs(row["change"]["value"]))
        is_clear = most["change"]["low"] > 0 or most["change"]["high"] < 0
        moved = _Moved(result["auroc"], most["word"], most["auroc"], is_clear)
        found[record["scenario"], record["method"]] = moved
    return found


def _cells(moved: _Moved | None) -> tuple[str, str, str]:
    if moved is None:
        return "", "", ""
    said = moved.word if len(moved.word) <= WIDEST else f"{moved.word[: WIDEST - 3]}..."
    word = harmless(said).replace("|", r"\|").replace("`", "'")
    return short(moved.fitted), f"`{word}`", f"{short(moved.without)}{'' if moved.is_clear else ' ~'}"


def _sum(method: str, row: Sequence[_Moved | None]) -> str:
    found = [moved for moved in row if moved is not None]
    n_far, n_turned = sum(moved.is_far for moved in found), sum(moved.turns for moved in found)
    return (
        f"- **{markdown.plain(method)}**, {len(found)} pairs: one word moves AUROC by {short(FAR)} or more on {n_far}, "
        f"and across {short(CHANCE)} on {n_turned} of these."
    )
