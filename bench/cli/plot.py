"""`bench plot`: the figure of a suite, from stored records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli._options import RESULTS, AllowEndpoint, Data, Out, complete_suites, say

if TYPE_CHECKING:
    from bench.reporting.figures.figure import FigureRequest


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("plot")(plot)


def plot(
    suite: Annotated[
        str, typer.Argument(help="A suite with a [figure], or its TOML file.", autocompletion=complete_suites)
    ],
    threshold: Annotated[str, typer.Option("--threshold", help="Threshold rule.")] = "conformal:0.01",
    allow_endpoint: AllowEndpoint = False,
    data: Data = None,
    out: Out = RESULTS,
) -> None:
    """Write the figure of a suite to OUT/figures, from the records there."""
    from bench.data.cards.catalogue import catalogue
    from bench.evaluation.thresholds import parse_rule
    from bench.experiment.planning import plan_parts
    from bench.experiment.suites import load_suite, require_no_places
    from bench.records.store import Store
    from bench.reporting.figures.figure import FigureRequest
    from bench.reporting.figures.write import check

    chosen, known, store = load_suite(suite), catalogue(data), Store(out)
    if not allow_endpoint:
        require_no_places(chosen)  # some figures fit again
    check(chosen)
    plan = plan_parts(chosen.parts, known, store.cache)
    make_figures(FigureRequest(chosen, plan, store, known, str(parse_rule(threshold))))


def make_figures(request: FigureRequest, *, as_json: bool = False) -> None:
    """Gather and write all figures of a request; a page is also printed, unless the output is for programs."""
    from bench.reporting.figures.write import gather, write

    for figure in gather(request):
        for note in figure.notes:
            say(note, err=True)
        if figure.page and not as_json:
            say(figure.page)
        for path in write(figure, request):
            say(f"written: {path}", err=True)
