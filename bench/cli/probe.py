"""`bench probe`: what altered texts do to a detector."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

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
from bench.cli._probed import plain, print_table, show_probes
from bench.cli.llm import DryRun, Llm, LlmOptions, MaxCalls, MaxCost, Price, llm_service, tell_calls
from bench.data.sequences.protocols import HELP
from bench.errors import BenchError
from bench.experiment.settings import MAX_SEED

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.data.sequences.loader import Loader
    from bench.experiment.cell import Settings
    from bench.probes.probe import Kind, ProbeRecord, ProbeRequest


class ProbeKind(StrEnum):
    """What is done to the sequences."""

    injection = "injection"
    memorisation = "memorisation"
    shortcut = "shortcut"
    router = "router"
    permuted_labels = "permuted-labels"


KindArgument = Annotated[
    ProbeKind,
    typer.Argument(
        metavar="KIND",
        help="injection: plant instructions, see how far recall falls and how many false alarms they raise. "
        "memorisation: score twins that say the same in other words; is the public wording easier? "
        "shortcut: make normal sequences anomalous by grades; does the score rise with the grade? "
        "router: how much of a target does the source know, and how good is a method on either side? "
        "permuted-labels: fit again on permuted labels of the source; what keeps its score learned nothing from them.",
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
        show_default="100, for router all",
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
WindowSize = Annotated[int, typer.Option("--window-size", help="Lines per window, where a log has no sessions.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of torch, BLAS and polars.")]

_CALLS: Final = {"recorded": "replayed", "calls": "calls", "tokens in": "tokens_in", "tokens out": "tokens_out"}


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
    drawn = sample or (0 if kind is ProbeKind.router else 100)
    what = _What(kind.value, _altered(kind, phrasings, positions), drawn, threshold or "")
    where = _Where(methods, scenario, settings, seeds or f"{seed},", split, window_size, device, threads, data, out)
    _run(what, where, LlmOptions(llm, dry_run, price, max_cost, max_calls), as_json)


def _altered(kind: ProbeKind, phrasings: str | None, positions: str | None) -> dict[str, Any]:
    if kind is ProbeKind.injection:
        from bench.probes.injection import injection_options

        return injection_options(_items(phrasings), _items(positions))
    from bench.probes.memorisation import memory_options
    from bench.probes.router import router_options
    from bench.probes.shortcut import shortcut_options
    from bench.probes.shuffled import label_options

    if phrasings is not None or positions is not None:
        raise BenchError("--phrasings and --positions belong to `bench probe injection`: leave them out")
    options: dict[str, Callable[[], Any]] = {
        "memorisation": memory_options,
        "shortcut": shortcut_options,
        "router": router_options,
        "permuted-labels": label_options,
    }
    return options[kind.value]()


@dataclass(frozen=True)
class _What:
    """How texts are altered, and by how many sequences and which rule that is judged."""

    kind: Kind
    altered: dict[str, Any]
    sample: int
    rule: str


@dataclass(frozen=True)
class _Where:
    """The options that name runs, as typed."""

    methods: str
    scenario: str
    settings: list[str] | None
    seeds: str
    split: str
    window_size: int
    device: str
    threads: int
    data: Path | None
    out: Path


def _run(what: _What, where: _Where, calls: LlmOptions, as_json: bool) -> None:
    from bench.data.cards.catalogue import catalogue
    from bench.data.sequences.loader import Loader
    from bench.experiment.cell import Settings
    from bench.records.store import Store

    known, settings = catalogue(where.data), Settings(device=where.device, threads=where.threads)
    Store(where.out).require_writable()
    requests = _requests(what, where, known)
    with llm_service(calls, where.out):
        probe = _Prober(Loader(known), settings, where.out, calls)
        if calls.dry_run:
            _show_plan(probe, requests, as_json=as_json)
            return
        records = [record for request in requests if (record := probe.record(request)) is not None]
    if as_json:
        say(json.dumps(records, indent=1))
    else:
        show_probes(records)
    tell_calls(records)
    if len(records) < len(requests):
        raise typer.Exit(EXIT_FAILED_CELL)


def _requests(what: _What, where: _Where, known: Catalogue) -> list[ProbeRequest]:
    """A request for each method and scenario; whatever cannot be probed is a BenchError before anything is fitted."""
    from bench.experiment.planning import plan_parts
    from bench.experiment.suites import SuitePart
    from bench.probes.probe import ProbeRequest, require_reads
    from bench.probes.shuffled import require_told_labels
    from bench.records.store import Store

    names, scenarios = _items(where.methods), _items(where.scenario)
    if not names or not scenarios:
        raise BenchError("say what to probe: --methods chatgpt --scenario bgl")
    part = SuitePart(
        scenarios=scenarios,
        methods=names,
        splits=(where.split,),
        seeds=where.seeds,
        settings=tuple(where.settings or ()),
        window_size=where.window_size,
    )
    cells = plan_parts([part], known, Store(where.out).cache).cells
    chosen = [cell for cell in cells if not cell.method.ref.is_control or cell.method.ref.name in names]
    requests = [ProbeRequest(what.kind, cell, what.sample, what.rule, what.altered) for cell in chosen]
    for request in requests:
        if what.kind == "permuted-labels":
            require_told_labels(request.cell)
        else:
            require_reads(what.kind, request.cell)
        request.spec()
    return requests


class _Prober:
    """Makes records one after the other, or finds those that were made already."""

    def __init__(self, loader: Loader, settings: Settings, out: Path, calls: LlmOptions) -> None:
        self.loader, self.settings, self.out, self.calls = loader, settings, out, calls

    def make(self, request: ProbeRequest) -> ProbeRecord:
        """The record of a request, not stored."""
        from bench.cli._progress import Steps
        from bench.probes.injection import measure_injection
        from bench.probes.memorisation import measure_memory
        from bench.probes.probe import run_probe
        from bench.probes.router import measure_router
        from bench.probes.shortcut import measure_shortcut
        from bench.probes.shuffled import measure_labels

        measures = {
            "injection": measure_injection,
            "memorisation": measure_memory,
            "shortcut": measure_shortcut,
            "router": measure_router,
            "permuted-labels": measure_labels(self.settings),
        }
        measure = measures[request.kind]
        with Steps():
            return run_probe(request, self.loader.prepare(request.cell.data), self.settings, measure)

    def record(self, request: ProbeRequest) -> ProbeRecord | None:
        """The stored record; None, with a line that says why, where the probe failed."""
        from bench.probes.probe import NotProbedError, read_probe, write_probe

        kept = None if self.calls.mode == "live" else read_probe(self.out, request.probe_id)
        if kept is not None:
            say(f"taken from {self.out / 'probes' / request.probe_id}.json", err=True)
            return kept
        try:
            record = self.make(request)
        except NotProbedError:
            raise
        except Exception as error:  # of a method or an endpoint, which must not end the other probes
            kind = "" if isinstance(error, BenchError) else f"{type(error).__name__}: "
            say(f"{request.label} on {request.cell.scenario.key} failed: {kind}{error}", err=True)
            return None
        path, stored = write_probe(self.out, record)
        say(f"written: {path}", err=True)
        return stored


def _show_plan(probe: _Prober, requests: Sequence[ProbeRequest], *, as_json: bool) -> None:
    """Print calls, tokens and cost of every probe that asks a chat model; nothing is sent and no record written."""
    rows = []
    for request in requests:
        if not request.cell.method.asks_a_model:
            continue
        facts = probe.make(request)["monitor"]
        row = {"method": request.label, "scenario": request.cell.scenario.key}
        row |= {shown: facts[name] for shown, name in {**_CALLS, "cost": "cost"}.items() if name in facts}
        rows.append(row)
    if as_json:
        say(json.dumps(rows, indent=1))
        return
    if not rows:
        say("no method of this probe asks a chat model")
        return
    print_table(list(rows[0]), [[plain(value) for value in row.values()] for row in rows])
    say(
        "nothing was sent (tokens in are estimated without the model's own tokeniser; answers are counted at their "
        "greatest length)"
    )


def _items(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in (text or "").split(",") if item.strip()))
