"""`bench probe`: what altered texts do to a detector."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from bench.api.chat import LlmOptions
from bench.cli._options import (
    EXIT_FAILED_CELL,
    RESULTS,
    AsJson,
    Data,
    Out,
    Set,
    complete_methods,
    complete_scenarios,
    say,
)
from bench.cli._probed import show_probes
from bench.cli._probing import Prober, What, Where, items_of, requests_of, show_plan
from bench.cli.llm import DryRun, Llm, MaxCalls, MaxCost, Price, llm_service, tell_calls
from bench.data.sequences.protocols import HELP
from bench.errors import BenchError
from bench.experiment.settings import MAX_SEED


class ProbeKind(StrEnum):
    """What is done to the sequences."""

    injection = "injection"
    memorisation = "memorisation"
    shortcut = "shortcut"
    router = "router"
    permuted_labels = "permuted-labels"
    words = "words"


KindArgument = Annotated[
    ProbeKind,
    typer.Argument(
        metavar="KIND",
        help="injection: plant instructions, see how far recall falls and how many false alarms they raise. "
        "memorisation: score twins that say the same in other words; is the public wording easier? "
        "shortcut: make normal sequences anomalous by grades; does the score rise with the grade? "
        "router: how much of a target does the source know, and how good is a method on either side? "
        "permuted-labels: fit again on permuted labels of the source; what keeps its score learned nothing from them. "
        "words: fit again with one word taken out of the source's texts; which word does the ranking hang on?",
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        "--methods", "-m", help="Methods that read texts, or log keys (shortcut).", autocompletion=complete_methods
    ),
]
Scenario = Annotated[
    str, typer.Option("--scenario", "-s", help="What to train and test on.", autocompletion=complete_scenarios)
]
Sample = Annotated[
    int | None,
    typer.Option(
        "--sample",
        "--limit",
        min=2,
        help="Test sequences: half abnormal where there are, for shortcut normal ones.",
        show_default="100, for router and words all",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of the detector and of the draw.")]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Several, as in `bench run`, in place of --seed: 3 or 0,4")]
Split = Annotated[str, typer.Option("--split", help=HELP)]
Threshold = Annotated[
    str | None,
    typer.Option("--threshold", help="Rule.", show_default="native where it asks a model, else conformal:0.01"),
]
Phrasings = Annotated[
    str | None, typer.Option("--phrasings", help="Some of the planted lines, for injection.", show_default="all")
]
Positions = Annotated[
    str | None, typer.Option("--positions", help="first, middle, last, for injection.", show_default="all")
]
Words = Annotated[
    str | None,
    typer.Option(
        "--words",
        help="Words that are taken out, or how many of those that tell most of a source's label.",
        show_default="5",
    ),
]
WindowSize = Annotated[int, typer.Option("--window-size", help="Lines per window, where a log has no sessions.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of torch, BLAS and polars.")]


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("probe")(probe)


def probe(
    kind: KindArgument,
    methods: Methods,
    scenario: Scenario,
    sample: Sample = None,
    phrasings: Phrasings = None,
    positions: Positions = None,
    words: Words = None,
    settings: Set = None,
    seed: Seed = 0,
    seeds: Seeds = None,
    split: Split = "chronological",
    threshold: Threshold = None,
    window_size: WindowSize = 20,
    llm: Llm = None,
    dry_run: DryRun = False,
    price: Price = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    device: Device = "cpu",
    threads: Threads = 1,
    data: Data = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Alter the texts of test sequences and see what a detector makes of them, or what a router does."""
    drawn = sample or (0 if kind in (ProbeKind.router, ProbeKind.words) else 100)
    what = What(kind.value, _altered(kind, phrasings, positions, words), drawn, threshold or "")
    where = Where(methods, scenario, settings, seeds or f"{seed},", split, window_size, device, threads, data, out)
    _run(what, where, LlmOptions(llm, dry_run, price, max_cost, max_calls), as_json)


def _altered(kind: ProbeKind, phrasings: str | None, positions: str | None, words: str | None) -> dict[str, Any]:
    if words is not None and kind is not ProbeKind.words:
        raise BenchError("--words belongs to `bench probe words`: leave it out")
    if kind is ProbeKind.injection:
        from bench.probes.injection import injection_options

        return injection_options(items_of(phrasings), items_of(positions))
    from bench.probes.memorisation import memory_options
    from bench.probes.router import router_options
    from bench.probes.shortcut import shortcut_options
    from bench.probes.shuffled import label_options

    if phrasings is not None or positions is not None:
        raise BenchError("--phrasings and --positions belong to `bench probe injection`: leave them out")
    if kind is ProbeKind.words:
        from bench.probes.words import word_options

        return word_options(items_of(words))
    options: dict[str, Callable[[], dict[str, Any]]] = {
        "memorisation": memory_options,
        "shortcut": shortcut_options,
        "router": router_options,
        "permuted-labels": label_options,
    }
    return options[kind.value]()


def _run(what: What, where: Where, calls: LlmOptions, as_json: bool) -> None:
    from bench.data.cards.catalogue import catalogue
    from bench.data.sequences.loader import Loader
    from bench.experiment.cell import Settings
    from bench.records.store import Store

    known, settings = catalogue(where.data), Settings(device=where.device, threads=where.threads)
    Store(where.out).require_writable()
    requests = requests_of(what, where, known)
    with llm_service(calls, where.out):
        probe = Prober(Loader(known), settings, where.out, calls)
        if calls.dry_run:
            show_plan(probe, requests, as_json=as_json)
            return
        records = [record for request in requests if (record := probe.record(request)) is not None]
    if as_json:
        say(json.dumps(records, indent=1))
    else:
        show_probes(records)
    tell_calls(records)
    if len(records) < len(requests):
        raise typer.Exit(EXIT_FAILED_CELL)
