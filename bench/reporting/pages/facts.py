"""The generated blocks of docs/methods: what a method is told, its settings with their sources, and its numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import registry
from bench.experiment.grades import Told
from bench.registry import Description, DetectorRef
from bench.reporting import markdown
from bench.reporting.pages.blocks import block
from bench.reporting.pages.gather import Results, kind_of, standing_of
from bench.reporting.pages.matrix import NOTHING
from bench.reporting.pages.reading import NOT_COMPARED
from bench.reporting.pages.results import state
from bench.reporting.pages.sources import module_words, profile_words, setting_words
from bench.reporting.pages.steps import untrained
from bench.reporting.tables.matrix import METRICS, column
from bench.reporting.tables.ranking import RANKED_BY, best_of, controls_of, short, value_of
from bench.reporting.tables.rows import Row, Table, base_of

OWN: Final = "mlad-bench"
"""The distribution whose methods have pages here."""
CONTROLS: Final = "controls"
ORIGINAL: Final = "original"
_SECTIONS: Final = ("Idea and score", "Deviations and reconstructions", "Works badly", "Findings")
_MISSING: Final = object()
_INDEX: Final = "../results/index.md"


def method_pages(results: Results, folder: Path, cache: Path) -> dict[Path, tuple[str, dict[str, str]]]:
    """For each page its path, what it is before blocks are filled, and the text of each block."""
    own = [ref for ref in registry.available().values() if ref.distribution == OWN]
    pages = {folder / f"{CONTROLS}.md": [ref for ref in own if ref.is_control]}
    pages |= {folder / f"{ref.name}.md": [ref] for ref in own if not ref.is_control}
    return {path: (_old(path, refs), _texts(results, refs, cache)) for path, refs in pages.items() if refs}


def _old(path: Path, refs: Sequence[DetectorRef]) -> str:
    if path.is_file():
        return path.read_text(encoding="utf-8")
    title = refs[0].name if len(refs) == 1 else "The controls"
    sections = [part for heading in _SECTIONS for part in (f"## {heading}", "Not written yet.")]
    numbers = ["## Numbers", block("numbers")] if len(refs) == 1 else []
    return "\n\n".join([f"# {title}", block("facts"), *sections, *numbers]) + "\n"


def _texts(results: Results, refs: Sequence[DetectorRef], cache: Path) -> dict[str, str]:
    many = len(refs) > 1
    facts = "\n\n".join(_facts(ref, registry.describe(ref, cache), named=many) for ref in refs)
    return {"facts": facts} if many else {"facts": facts, "numbers": numbers(results, refs[0].name)}


def _facts(ref: DetectorRef, description: Description, *, named: bool) -> str:
    if description.error:
        return f"`{ref.name}` could not be imported here: {description.error}"
    rows = [["class", f"`{ref.target}`"], *_tags(description), ["checked by", f"`bench check {ref.name}`"]]
    first = f"**`{ref.name}`**: {registry.summarise(ref)}" if named else module_words(ref).partition("\n\n")[0]
    parts = [first.replace("\n", " "), markdown.table(rows, ["", ""]), _settings(ref, description)]
    return "\n\n".join(filter(None, parts))


def _tags(description: Description) -> list[list[str]]:
    told = Told(dict(description.told), description.teacher, description.incidents)
    more = [f"with `{name}` on: {Told(dict(roles)).sentence} besides" for name, roles in description.told_with.items()]
    rows = [
        ["told", "; ".join([told.sentence, *more])],
        ["reads", ", ".join(f"`{part}`" for part in description.uses) or "nothing of the events"],
        ["scores", f"each {description.unit}"],
        ["the seed", "matters" if description.seeded else "changes nothing: fitted once"],
    ]
    if not description.deterministic:
        rows.append(["scores again", "may differ, with the same seed"])
    rows += [["needs the file", f"{file['name']} ({file['licence']})"] for file in description.files]
    rows.append(["profiles", ", ".join(f"`{name}`" for name in ("paper", *description.profiles))])
    return rows


def _settings(ref: DetectorRef, description: Description) -> str:
    """All settings that belong to a run's identity: default, published value, and the words below the field."""
    words, original = setting_words(ref), description.profiles.get(ORIGINAL)
    sources = description.sources.get(ORIGINAL, {})
    fields = {name: info for name, info in description.fields.items() if info.identity}
    if not fields:
        return ""
    lines = []
    for name, info in fields.items():
        published = [] if original is None else [_published(original.get(name, _MISSING))]
        stands = [sources.get(name, "")] if sources else []
        meaning = words.get(name, "").replace("|", r"\|")
        lines.append([f"`{name}`", _value(info.default), *published, *stands, meaning])
    columns = [*([] if original is None else [ORIGINAL]), *(["where it stands"] if sources else [])]
    headers = ["setting", "default", *columns, "what it is, and its source"]
    table = markdown.table(lines, headers)
    if original is None:
        return table
    said = profile_words(ref)
    whole = f"{table}\n\n`{ORIGINAL}`: {said or 'its published settings.'}"
    return whole if fields.keys() <= original.keys() else f"{whole} Where its column is empty, it is the default."


def _published(value: Any) -> str:
    return "" if value is _MISSING else _value(value)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" if text else '`""`'


def numbers(results: Results, name: str) -> str:
    """What a method reaches on each edition that is no smoke test, beside its best control.

    Where it has no row by its defaults, as where a stand-in answers for weights or a model that are not here, those by
    other settings, which bear their names.
    """
    rows = [
        (table, row)
        for table in results.of("within", "paper", "combined", "transfers", "chat")
        for row in table.rows
        if base_of(row).partition("+")[0] == name and row.finished and standing_of(table) != "smoke"
    ]
    kinds = ("plain", "original") if any(kind_of(row) == "plain" for _, row in rows) else ("original", "setting")
    lines = [_number_line(results, table, row) for table, row in rows if kind_of(row) in kinds]
    headers = ["edition", "split", "F1 / AUROC / AP (seeds)", "best control, AP", "by the paired test"]
    shown = markdown.table(lines, headers) if lines else f"({NOTHING})"
    return "\n\n".join(filter(None, [state(results, _INDEX), shown, untrained(results, name)]))


def _number_line(results: Results, table: Table, row: Row) -> list[str]:
    control = best_of(controls_of(table, row))
    against = "" if control is None else f"{control.method} {short(value_of(control, RANKED_BY))}"
    verdict = "" if control in (None, row) else results.verdicts.of_rows(table, row, control) or NOT_COMPARED
    shows_name = kind_of(row) != "plain" or "+" in base_of(row)
    name = f"{markdown.plain(row.method)}: " if shows_name else ""
    values = " / ".join(short(value_of(row, metric)) for metric in METRICS)
    seeds = len(row.finished)
    return [column(table), table.key.split, f"{name}{values} ({seeds})", against, verdict]
