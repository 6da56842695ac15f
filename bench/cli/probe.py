"""`bench probe`: what altered texts do to a detector."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
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
    """What is done to the texts."""

    injection = "injection"
    memorisation = "memorisation"


KindArgument = Annotated[
    ProbeKind,
    typer.Argument(
        metavar="KIND",
        help="injection: plant instructions, see how far recall falls and how many false alarms they raise. "
        "memorisation: score twins that say the same in other words; is the public wording easier?",
    ),
]
Methods = Annotated[
    str,
    typer.Option("--methods", "-m", help="Methods that read texts: chatgpt,mlad", autocompletion=complete_methods),
]
Scenario = Annotated[
    str, typer.Option("--scenario", "-s", help="What to train and test on.", autocompletion=complete_scenarios)
]
Sample = Annotated[
    int, typer.Option("--sample", "--limit", min=2, help="Test sequences, half of them abnormal where there are.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of the detector and of the draw.")]
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
_TITLES: Final = {
    "hide": "abnormal sequences told to look normal",
    "accuse": "normal sequences told to look abnormal",
}


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("probe")(probe)


def probe(
    kind: KindArgument,
    methods: Methods,
    scenario: Scenario,
    sample: Sample = 100,
    phrasings: Phrasings = None,
    positions: Positions = None,
    settings: Set = None,
    seed: Seed = 0,
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
    """Alter the texts of test sequences and see what a detector makes of them."""
    what = _What(kind.value, _altered(kind, phrasings, positions), sample, threshold or "")
    where = _Where(methods, scenario, settings, seed, split, window_size, device, threads, data, out)
    _run(what, where, LlmOptions(llm, dry_run, price, max_cost, max_calls), as_json)


def _altered(kind: ProbeKind, phrasings: str | None, positions: str | None) -> dict[str, Any]:
    if kind is ProbeKind.injection:
        from bench.probes.injection import injection_options

        return injection_options(_items(phrasings), _items(positions))
    from bench.probes.memorisation import memory_options

    if phrasings is not None or positions is not None:
        raise BenchError("--phrasings and --positions belong to `bench probe injection`: leave them out")
    return memory_options()


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
    seed: int
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
        for record in records:
            _show(record)
    tell_calls(records)
    if len(records) < len(requests):
        raise typer.Exit(EXIT_FAILED_CELL)


def _requests(what: _What, where: _Where, known: Catalogue) -> list[ProbeRequest]:
    """A request for each method and scenario; whatever cannot be probed is a BenchError before anything is fitted."""
    from bench.experiment.planning import plan_parts
    from bench.experiment.suites import SuitePart
    from bench.probes.probe import ProbeRequest, require_texts
    from bench.records.store import Store

    names, scenarios = _items(where.methods), _items(where.scenario)
    if not names or not scenarios:
        raise BenchError("say what to probe: --methods chatgpt --scenario bgl")
    part = SuitePart(
        scenarios=scenarios,
        methods=names,
        splits=(where.split,),
        seeds=f"{where.seed},",
        settings=tuple(where.settings or ()),
        window_size=where.window_size,
    )
    cells = plan_parts([part], known, Store(where.out).cache).cells
    chosen = [cell for cell in cells if not cell.method.ref.is_control or cell.method.ref.name in names]
    requests = [ProbeRequest(what.kind, cell, what.sample, what.rule, what.altered) for cell in chosen]
    for request in requests:
        require_texts(request.cell)
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

        measure = {"injection": measure_injection, "memorisation": measure_memory}[request.kind]
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
        if not request.cell.method.description.teacher:
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
    _print_table(list(rows[0]), [[_plain(value) for value in row.values()] for row in rows])
    say(
        "nothing was sent (tokens in are estimated without the model's own tokeniser; answers are counted at their "
        "greatest length)"
    )


def _show(record: ProbeRecord) -> None:
    found, population = record["results"], record["population"]
    from bench.records.record import standings
    from bench.reporting.tables.answers import models_of

    tiers = ", ".join(sorted(set(standings(record).values())))
    value, models = record["threshold"]["value"], ", ".join(models_of([record]))
    say(
        f"{record['probe']} of {record['method']}{f' (answered by {models})' if models else ''} on "
        f"{record['scenario']} ({tiers}), {record['split']}, seed {record['seed']}: {found['n_abnormal']} abnormal and "
        f"{found['n'] - found['n_abnormal']} normal test sequences, drawn from {population['n_abnormal']:,} and "
        f"{population['n'] - population['n_abnormal']:,}; flagged above {_plain(value)} ({record['threshold']['rule']})"
    )
    (_show_injection if record["probe"] == "injection" else _show_memory)(found)


def _show_injection(found: dict[str, Any]) -> None:
    for direction, title in _TITLES.items():
        rows = [row for row in found["rows"] if row["direction"] == direction]
        if not rows:
            continue
        say(f"\n{title}: {rows[0]['metric']} {rows[0]['before']:.3f} as they are")
        header = ["planted line", "place", rows[0]["metric"], "change", "95 %", "lost", "gained", "score"]
        _print_table(
            header,
            [
                [
                    row["phrasing"],
                    row["position"],
                    f"{row['after']:.3f}",
                    f"{row['change']:+.3f}",
                    f"{row['low']:+.3f} to {row['high']:+.3f}",
                    str(row["lost"]),
                    str(row["gained"]),
                    f"{row['score_change']:+.3g}",
                ]
                for row in rows
            ],
        )
    say(
        "\nlost and gained: sequences that are no longer, or newly, flagged; score: mean change. `harmless` asks for "
        "nothing: what it changes, any further line does. The intervals hold for one row, not for the worst of all"
    )


def _show_memory(found: dict[str, Any]) -> None:
    altered, moved = found["altered"], found["score_change"]
    say(
        f"altered: {altered['texts_share']:.1%} of {altered['n_texts']:,} distinct texts, "
        f"{altered['events_share']:.1%} of events, {altered['sequences_share']:.1%} of sequences (by "
        + ", ".join(f"{name} {n}" for name, n in altered["texts_altered_by"].items())
        + f"); {altered['n_without_twin']:,} sequences have no twin and were left out. Texts are masked messages: "
        "where names and numbers are wildcards already, there is none left to change"
    )
    columns = ("original", "twin", "difference")
    rows = [[name, *(_interval(values[key]) for key in columns)] for name, values in reversed(found["metrics"].items())]
    _print_table(["", "original", "twin", "original - twin"], rows)
    if any(values[key]["low"] == values[key]["high"] for values in found["metrics"].values() for key in columns[:2]):
        say("an interval without width: every resample ranks or flags alike; take more with --sample")
    say(
        f"mean change of the score: {_interval(moved['absolute'])} without sign, {_interval(moved['signed'])} with it. "
        "A positive difference fits memory of the public wording, and proves none; weights restore the share of "
        "abnormal sequences"
    )


def _print_table(header: list[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 or name == "place" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False, soft_wrap=not sys.stdout.isatty()).print(table)


def _interval(spread: dict[str, float]) -> str:
    return f"{spread['value']:.3f} [{spread['low']:.3f}, {spread['high']:.3f}]"


def _plain(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _items(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in (text or "").split(",") if item.strip()))
