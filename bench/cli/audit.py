"""`bench audit`: what cannot be true, or should not be believed."""

from __future__ import annotations

import json

import typer

from bench.cli._options import AsJson

app = typer.Typer(no_args_is_help=True, help="Look for numbers that cannot be true.")


@app.command()
def published(as_json: AsJson = False) -> None:
    """Judge every value that papers report: consistent, possible as an average over runs, or impossible."""
    from bench.reporting.published.audit import audit, counts, render_audit, size_notes
    from bench.reporting.published.papers import load_published

    papers = [(paper, audit(paper)) for paper in load_published()]
    if as_json:
        content = [
            {
                "paper": paper.key,
                "title": paper.title,
                "sizes": size_notes(paper),
                "verdicts": counts(findings),
                "values": [finding.to_json() for finding in findings],
            }
            for paper, findings in papers
        ]
        typer.echo(json.dumps(content, indent=1))
    else:
        typer.echo("\n".join(render_audit(paper, findings) for paper, findings in papers))
