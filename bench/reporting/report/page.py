"""The page: what of a results folder stands on it, and how that becomes one HTML file.

The file asks for nothing outside itself, and its content security policy forbids that it could: one style sheet and one
script are named there by their hashes, and everything that records or logs say is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import bench
from bench._files import replace_text
from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.protocols import block_of
from bench.records.store import Store, Wanted, everything
from bench.reporting.published.audit import Judgement, audit, counts
from bench.reporting.published.papers import load_published
from bench.reporting.report.boards import (
    Board,
    Line,
    Published,
    Sheet,
    board_of,
    matrices_of,
    published_of,
    series_boards,
)
from bench.reporting.report.costs import Costs, costs_of
from bench.reporting.report.mistakes import Wrong, mistakes_of
from bench.reporting.report.pictures import Drawing, curve_drawings, rank_drawings, step_drawings
from bench.reporting.report.plots import HEIGHT, LEFT, TOP, WIDTH
from bench.reporting.report.runs import Environments, Ledger, TableRuns, problems_of, runs_of
from bench.reporting.report.transfers import Heat, heats_of
from bench.reporting.tables.choice import Choice
from bench.reporting.tables.choose import nothing_fits
from bench.reporting.tables.protocols import of_one_protocol
from bench.reporting.tables.rows import Table
from bench.reporting.tables.table import make_tables, require_rule

_FOLDER: Final = Path(__file__).parent
_NAMED: Final = 10
"""Records that a warning names; of more only the number is told."""


@dataclass(frozen=True)
class Asked:
    """What the page is made from."""

    store: Store
    catalogue: Catalogue
    rule: str
    wanted: Wanted = everything
    scenario: str | None = None
    """What was asked for, for a sentence where nothing has it."""
    protocol: int | None = None
    """None: the newest."""
    n_mistakes: int = 0
    """Of each kind, for the best method of each table; 0 opens no log."""
    choice: Choice = field(default_factory=Choice)
    """Which methods; the controls stay."""


@dataclass(frozen=True)
class Report:
    """All that the page shows, as plain data."""

    title: str
    rule: str
    tables: tuple[Table, ...]
    warnings: tuple[str, ...]
    ranks: tuple[Drawing, ...]
    boards: tuple[Board, ...]
    series: tuple[Board, ...]
    matrices: tuple[tuple[str, tuple[str, ...], list[Sheet]], ...]
    published: tuple[Published, ...]
    audits: tuple[tuple[str, tuple[str, ...], Sheet], ...]
    """Of each paper: title, counts of verdicts, and the judged values."""
    curves: tuple[Drawing, ...]
    curve_notes: tuple[str, ...]
    steps: tuple[Drawing, ...]
    heats: tuple[Heat, ...]
    costs: tuple[Costs, ...]
    mistakes: tuple[Wrong, ...]
    runs: tuple[TableRuns, ...]
    environments: tuple[tuple[int, str], ...]

    @property
    def n_records(self) -> int:
        """Runs on the page."""
        return sum(len(table.records) for table in self.tables)

    @property
    def told(self) -> list[str]:
        """What methods of any board are told, each once."""
        sheets = [sheet for board in self.boards for _, sheets in board.parts for sheet in sheets]
        return sorted({sheet.caption for sheet in sheets})


def write_report(asked: Asked, path: Path) -> Report:
    """Write the page and return what stands on it; BenchError where there is nothing to show."""
    report = gather(asked)
    replace_text(path, render(report))
    return report


def gather(asked: Asked) -> Report:
    """Read the records and lay out every section; BenchError where there is nothing to show."""
    store, rule = asked.store, asked.rule
    every = make_tables(store.table_records(asked.wanted))
    if not every:
        store.require_results()
        raise nothing_fits(store, asked.scenario, "--scenario, --split or --out")
    shown = of_one_protocol(every, asked.protocol)
    tables = asked.choice.apply(shown.tables, rule)
    require_rule(tables, rule)
    problems = problems_of(tables)
    ledger = Ledger(store, rule, problems, Environments())
    runs = [runs_of(number, table, ledger) for number, table in enumerate(tables)]
    # Blocks of `prequential` are steps of one run, and stand together as a series.
    numbered = [(n, table) for n, table in enumerate(tables) if block_of(table.key.split) is None]
    whole = [table for _, table in numbered]
    curves, curve_notes = curve_drawings(whole, rule, store)
    found_costs = [costs_of(number, table) for number, table in numbered]
    papers = load_published()
    return Report(
        title=f"bench report, protocol {tables[0].key.protocol_version}",
        rule=rule,
        tables=tuple(tables),
        warnings=tuple(_warnings(tables, shown.note, problems, store)),
        ranks=tuple(rank_drawings(tables, rule)),
        boards=tuple(board_of(number, table, rule, store) for number, table in numbered),
        series=tuple(series_boards(tables, rule)),
        matrices=tuple(matrices_of(whole, rule)),
        published=tuple(published_of(whole, rule, store.cache, papers)),
        audits=tuple((p.title, *_audited(audit(p))) for p in papers),
        curves=tuple(curves),
        curve_notes=tuple(curve_notes),
        steps=tuple(step_drawings(whole)),
        heats=tuple(heats_of(whole)),
        costs=tuple(found for found in found_costs if found is not None),
        mistakes=tuple(mistakes_of(whole, store, asked.catalogue, rule, asked.n_mistakes)),
        runs=tuple(runs),
        environments=tuple(ledger.environments.texts()),
    )


def _warnings(tables: Sequence[Table], note: str, problems: dict[str, list[str]], store: Store) -> list[str]:
    """What a reader must know before any number."""
    found = [f"{note[:1].upper()}{note[1:]}. No number of theirs is on this page."] if note else []
    if problems:
        named = [f"run {run_id} ({'; '.join(wrong)})" for run_id, wrong in list(problems.items())[:_NAMED]]
        n = len(problems)
        some = "1 record is not what its run left" if n == 1 else f"{n} records are not what their runs left"
        found.append(f"{some}, so believe no row made of it: {', '.join(named)}.")
    records = [record for table in tables for record in table.records]
    failed = sum(record["status"] not in ("ok", "skipped") for record in records)
    found += [f"{failed} of {len(records)} runs failed; their rows say why."] if failed else []
    finished = [record for record in records if record["status"] == "ok"]
    if not finished:
        return [*found, "No run finished, so there is no number on this page."]
    missing = sum(not store.has_scores(record["run_id"]) for record in finished)
    if missing:
        found.append(
            f"The scores of {missing} of {len(finished)} finished runs are not in this folder: their numbers stand in "
            "the records, but curves and mistakes need the scores."
        )
    return found


def _audited(found: list[Judgement]) -> tuple[tuple[str, ...], Sheet]:
    """How many values of each published table are possible, and each value with the arithmetic."""
    words = []
    for name, verdicts in counts(found).items():
        said = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items())
        words.append(f"Table {name}: of {sum(verdicts.values())} F1 values {said}.")
    lines = tuple(_judged(each) for each in found)
    headers = ("table", "scenario", "P", "R", "F1", "verdict", "arithmetic", "marks")
    return tuple(words), Sheet("published", headers, (True,) * len(headers), lines)


def _judged(found: Judgement) -> Line:
    value = found.value
    printed = ["-" if v is None else str(v) for v in (value.precision, value.recall, value.f1)]
    said = (found.verdict, found.arithmetic, "; ".join(found.marks))
    return Line(value.method, "", (value.table, value.scenario, *printed, *said))


# ------------------------------------------------------------------------------------------------------------- HTML


def render(report: Report) -> str:
    """The page."""
    import jinja2

    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"coded": _coded, "breakable": _breakable}
    return environment.get_template("page.html").render(
        report=report,
        version=bench.__version__,
        style=_trusted(style),
        script=_trusted(script),
        policy=_policy(style, script),
        plot={"left": LEFT, "top": TOP, "width": WIDTH, "height": HEIGHT},
    )


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, sent or run but the one style sheet and the one script."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _trusted(text: str) -> Any:
    """Markup that this program made, which is not escaped."""
    from markupsafe import Markup

    return Markup(text)


def _coded(text: str) -> Any:
    """A sentence whose commands, between accents, look like commands."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return text
    code = [_trusted("<code>{}</code>").format(_harmless(part)) for part in parts[1::2]]
    plain = [_harmless(part) for part in parts[::2]]
    return _trusted("").join(part for pair in zip(plain, [*code, ""], strict=True) for part in pair)


def _breakable(text: str) -> Any:
    """A long name that a line may end in: behind the signs between its parts."""
    return _trusted("<wbr>").join(_harmless(part) for part in re.split(r"(?<=\w\w[@_+])(?=\w\w)", text))


def _harmless(value: Any) -> Any:
    """What a template prints: characters that turn or hide text, and halves of such, are shown as what they are."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value)
