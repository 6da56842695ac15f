"""Figures and pages of suites: what is drawn is first gathered from records as plain data, and kept beside the picture.

`gather` makes the data, `write` the files `figures/NAME.png`, `.svg`, `.pdf` and `.json`; a page is `.md`.
The JSON file holds every number of the picture, the run ids it comes from, and what is missing.
"""

from __future__ import annotations

from pathlib import Path

import bench
from bench._files import replace_text
from bench.errors import BenchError, choose_one
from bench.experiment.spec import PROTOCOL_VERSION
from bench.experiment.suites import Suite
from bench.records.store import record_text
from bench.reporting.figures import picture
from bench.reporting.figures.figure import Figure, FigureRequest
from bench.reporting.figures.kinds import KINDS


def check(suite: Suite) -> None:
    """Raise BenchError for a suite without a [figure], or with one that cannot be made: asked before its runs."""
    options = dict(suite.figure)
    if not options:
        raise BenchError(
            f"the suite '{suite.name}' has no [figure]: `bench run --suite {suite.name}` prints its tables"
        )
    kind = options.pop("kind")
    if kind not in KINDS:
        raise BenchError(f"unknown kind of figure '{kind}': {choose_one(kind, sorted(KINDS))}")
    needs = KINDS[kind].needs
    if needs is not None:
        needs()
    known = KINDS[kind].options
    if unknown := sorted(set(options) - set(known)):
        raise BenchError(
            f"a figure of kind '{kind}' has no option '{unknown[0]}': "
            f"{choose_one(unknown[0], known) if known else 'it has none, so leave it out'}"
        )


def gather(request: FigureRequest) -> list[Figure]:
    """The figures of a suite, from its records; whatever is wrong with its [figure] is a BenchError."""
    check(request.suite)
    options = {name: value for name, value in request.suite.figure.items() if name != "kind"}
    return KINDS[request.suite.figure["kind"]].gather(request, options)


def write(figure: Figure, request: FigureRequest) -> list[Path]:
    """Write a figure's files and return them."""
    folder = request.store.root / "figures"
    paths = []
    if figure.page:
        path = folder / f"{figure.name}.md"
        replace_text(path, figure.page)
        paths.append(path)
    versions = {"bench": bench.__version__}
    draw = KINDS[figure.kind].draw
    if draw is not None:
        versions["matplotlib"] = picture.version()
        paths += picture.save(figure, draw, folder)
    described = {
        "figure": figure.name,
        "kind": figure.kind,
        "suite": request.suite.name,
        "protocol": PROTOCOL_VERSION,
        "rule": request.rule,
        "run_ids": list(figure.run_ids),
        "notes": list(figure.notes),
        "versions": versions,
        "content": figure.content,
    }
    path = folder / f"{figure.name}.json"
    replace_text(path, record_text(described))
    return [*paths, path]
