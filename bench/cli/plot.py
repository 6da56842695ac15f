"""`bench plot`: the figure of a suite, from stored records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli._options import RESULTS, AllowEndpoint, Data, Out, complete_methods, complete_suites, say
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.reporting.figures.figure import FigureRequest
    from bench.reporting.tables.choose import Asked


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("plot")(plot)


def plot(
    suite: Annotated[
        str | None, typer.Argument(help="A suite with a [figure], or its TOML file.", autocompletion=complete_suites)
    ] = None,
    curves: Annotated[
        str | None,
        typer.Option(
            "--curves",
            metavar="METHODS",
            help="Instead of a suite: precision and recall, ROC and score histograms of these rows of a table.",
            autocompletion=complete_methods,
        ),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", "-s", help="With --curves: the scenario, as the tables name it.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="With --curves: its split; chronological if not given.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="With --curves: of which run; the first finished if not given.")
    ] = None,
    threshold: Annotated[str, typer.Option("--threshold", help="Threshold rule.")] = "conformal:0.01",
    allow_endpoint: AllowEndpoint = False,
    data: Data = None,
    out: Out = RESULTS,
) -> None:
    """Write the figure of a suite, or curves of single methods, to OUT/figures, from the records there."""
    from bench.data.cards.catalogue import catalogue
    from bench.experiment.planning import Plan, plan_parts
    from bench.experiment.settings import read_rule
    from bench.experiment.suites import Suite, load_suite, require_no_places
    from bench.records.store import Store
    from bench.reporting.figures.figure import FigureRequest
    from bench.reporting.figures.write import check
    from bench.reporting.tables.choose import Asked, row_names

    rule, store, known = str(read_rule(threshold)), Store(out), catalogue(data)
    if curves is not None:
        if suite is not None or scenario is None:
            raise BenchError("--curves draws methods of one scenario: give it with --scenario, and no suite")
        asked = [Asked(name, scenario, split, seed) for name in row_names(curves)]
        _draw_curves(asked, FigureRequest(Suite("curves", ""), Plan((), ()), store, known, rule))
        return
    if suite is None:
        raise BenchError(
            "say what to draw: a suite with a [figure] (`bench list suites`), or --curves METHODS --scenario X"
        )
    if (scenario, split, seed) != (None, None, None):
        raise BenchError("--scenario, --split and --seed choose what --curves draws: a suite says them itself")
    chosen = load_suite(suite)
    if not allow_endpoint:
        require_no_places(chosen)  # some figures fit again
    check(chosen)
    plan = plan_parts(chosen.parts, known, store.cache)
    make_figures(FigureRequest(chosen, plan, store, known, rule))


def _draw_curves(asked: Sequence[Asked], request: FigureRequest) -> None:
    """Write the curves of these rows of one table."""
    from bench.reporting.figures.curves import curves_of_rows
    from bench.reporting.figures.write import write

    figure = curves_of_rows(asked, request.store, request.rule)
    for note in figure.notes:
        say(note, err=True)
    for path in write(figure, request):
        say(f"written: {path}", err=True)


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
