"""`bench audit`: what cannot be true, or should not be believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli._frozen import PLAN, PLANS
from bench.cli._options import EXIT_GATE, RESULTS, AsJson, Data, Docs, Out, say

if TYPE_CHECKING:
    from bench.experiment.freeze import Frozen, Held

app = typer.Typer(no_args_is_help=True, help="Look for numbers that cannot be true.")


@app.command()
def published(as_json: AsJson = False) -> None:
    """Judge what papers report: consistent, possible as an average over runs or logs, or impossible."""
    from bench.reporting.published.audit import audit, counts, render_audit, size_notes
    from bench.reporting.published.claims import differing_versions, judge_claims, load_claims, render_claims
    from bench.reporting.published.papers import load_published

    papers = [(paper, audit(paper)) for paper in load_published()]
    claims, bounds = load_claims()
    judged = judge_claims(claims, bounds)
    if as_json:
        content: list[dict[str, Any]] = [
            {
                "paper": paper.key,
                "title": paper.title,
                "sizes": size_notes(paper),
                "verdicts": counts(findings),
                "values": [finding.to_json() for finding in findings],
            }
            for paper, findings in papers
        ]
        content.append(
            {
                "paper": "claims",
                "title": "Claims of abstracts",
                "claims": [found.to_json() for found in judged],
                "bounds": [{**vars(bound), "f1": str(bound.f1)} for bound in bounds],
                "versions": differing_versions(claims),
            }
        )
        typer.echo(json.dumps(content, indent=1))
    else:
        pages = [render_audit(paper, findings) for paper, findings in papers]
        typer.echo("\n".join([*pages, render_claims(judged, bounds)]))


@app.command()
def plan(
    file: Annotated[
        Path | None, typer.Argument(help="A plan that `bench run --freeze` wrote; OUT/plan.toml if not given.")
    ] = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Hold the records against a frozen plan; exit 1 when one of an evaluation edition is in no plan of OUT."""
    from bench.experiment.freeze import hold, read_frozen
    from bench.records.store import Store

    path = out / PLAN if file is None else file
    frozen = read_frozen(path)
    store = Store(out)
    store.require_results()
    others = [read_frozen(other) for other in sorted(out.glob(PLANS)) if other.resolve() != path.resolve()]
    held = hold(frozen, store.records(), others)
    if as_json:
        said = {"runs": len(frozen.run_ids), "blind": list(frozen.blind), "not_blind": dict(frozen.not_blind)}
        say(json.dumps({**said, **vars(held)}, indent=1))
    else:
        say("\n".join(_held_lines(frozen, held)))
    if held.outside:
        raise typer.Exit(EXIT_GATE)


def _held_lines(frozen: Frozen, held: Held) -> Iterator[str]:
    yield f"{len(frozen.run_ids)} runs in the plan: {held.done} done, {held.failed} failed, {held.missing} missing"
    yield f"blind: {', '.join(frozen.blind) or 'nothing'}"
    yield from (f"not blind: {edition}, as {why}" for edition, why in frozen.not_blind.items())
    yield from (f"made by another code than the plan's: {row}" for row in held.other_code)
    yield from (f"not in the plan, on an evaluation edition: {row}" for row in held.outside)
    if held.n_in_other_plans:
        yield f"{held.n_in_other_plans} records are of other plans of this folder"
    yield from (f"a certificate, which no plan holds: {row}" for row in held.certificates)
    others = held.n_outside - sum(int(row.rpartition(": ")[2]) for row in held.outside)
    yield f"{others} records of development and smoke editions are not in the plan, and need not be"


@app.command()
def data(
    edition: Annotated[str, typer.Argument(help="bgl, or an edition such as bgl@stream-a; it need not be here")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Where an edition comes from, and what a number on it can mean: labels, incidents, ceiling, duplicates."""
    from bench.cli._progress import Steps
    from bench.data.audit import audit_facts
    from bench.data.cards.catalogue import catalogue

    known = catalogue(data)
    card = known.find(edition) if "@" in edition else known.chosen(edition)
    with Steps():
        facts = audit_facts(card, known)
    if as_json:
        say(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        say(_lines_of(name, value))


@app.command()
def claims(docs: Docs = Path("docs"), out: Out = RESULTS, as_json: AsJson = False) -> None:
    """Exit 1 where a number of the documentation is not what the records say, or says nothing of where it is from."""
    from bench.records.store import Store
    from bench.reporting.pages.check import as_rows, audit_claims, totals

    found = audit_claims(docs, Store(out))
    wrong = [judged for judged in found if judged.is_wrong]
    if as_json:
        say(json.dumps({"totals": totals(found), "claims": as_rows(found)}, indent=1))
    else:
        for judged in wrong:
            say(judged.sentence)
        say(", ".join(f"{count} {verdict}" for verdict, count in totals(found).items()) or "no claim", err=bool(wrong))
    if wrong:
        raise typer.Exit(EXIT_GATE)


def _lines_of(name: str, value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{key} {count:,}" for key, count in value.items()) or "none"
    if not isinstance(value, list):
        return f"{name}: {f'{value:,}' if isinstance(value, int) else value}"
    rows = [_rows_of(item) if isinstance(item, dict) else [str(item)] for item in value]
    return "\n".join([f"{name}:", *(f"  {line}" for item in rows for line in item)]) if rows else f"{name}: none"


def _rows_of(file: dict[str, Any]) -> list[str]:
    """A file: its name, then what is known of it."""
    told = [(key, "; ".join(value) if isinstance(value, list) else value) for key, value in file.items()]
    return [f"{file['file']}", *(f"  {key}: {value}" for key, value in told if value and key != "file")]
