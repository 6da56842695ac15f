"""`bench fit`: from a scenario to a saved detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli._options import Data, Set, complete_methods, complete_scenarios
from bench.data.sequences.protocols import HELP
from bench.errors import BenchError
from bench.experiment.settings import MAX_SEED


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("fit")(fit)


def fit(
    method: Annotated[str, typer.Argument(help="A method of `bench list methods`.", autocompletion=complete_methods)],
    scenario: Annotated[
        str,
        typer.Option("--scenario", "-s", help="What to fit on: bgl, or bgl+tbird.", autocompletion=complete_scenarios),
    ],
    save: Annotated[Path, typer.Option("--save", help="Folder of the saved detector.")],
    settings: Set = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED)] = 0,
    split: Annotated[str, typer.Option("--split", help=HELP)] = "chronological",
    threshold: Annotated[str, typer.Option("--threshold", help="Rule of the threshold.")] = "conformal:0.01",
    window_size: Annotated[int, typer.Option("--window-size", help="Lines per window, without sessions.")] = 20,
    window_step: Annotated[int | None, typer.Option("--window-step", help="Lines between window starts.")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of torch, BLAS and polars.")] = 1,
    data: Data = None,
) -> None:
    """Fit one method on a data set's training part and save it, to score new lines with `bench score`."""
    from bench._files import anchored, cache_dir
    from bench.cli._progress import Steps
    from bench.data.cards.catalogue import catalogue
    from bench.data.sequences.grouping import Grouping
    from bench.deploy.fitting import fit as fit_it
    from bench.deploy.saved import save as keep
    from bench.experiment.cell import Settings
    from bench.experiment.scenario import parse_scenario
    from bench.experiment.settings import read_rule
    from bench.experiment.spec import plan, resolve_one

    folder, known = anchored(save), catalogue(data)
    parsed = parse_scenario(scenario, known)
    if parsed.is_transfer:
        raise BenchError(f"'{scenario}' is a transfer: name what to fit on, such as {scenario.partition('2')[0]}")
    resolved = resolve_one(method, settings or [], cache_dir())
    grouping = Grouping(window_size, window_size if window_step is None else window_step)
    (cell,) = plan([parsed], [resolved], splits=[split], seeds=[seed], grouping=grouping)
    with Steps():
        fitted = fit_it(cell, known, Settings(device=device, threads=threads), read_rule(threshold))
        keep(fitted, folder)
    typer.echo(f"{cell.method.label} fitted on {parsed.key} ({split}, seed {seed}): saved in {save}")
    typer.echo(f"  {fitted.rule} from {fitted.threshold.n} {fitted.threshold.fitted_on}: {fitted.threshold.value:.6g}")
