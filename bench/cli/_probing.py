"""The probes that a command line of `bench probe` names, and how each is made or found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.api.chat import LlmOptions
from bench.cli._options import say
from bench.cli._probed import plain, print_table
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.cards.catalogue import Catalogue
    from bench.data.sequences.loader import Loader
    from bench.experiment.cell import Settings
    from bench.probes.probe import Kind, ProbeRequest
    from bench.records.probes import ProbeRecord

_CALLS: Final = {"recorded": "replayed", "calls": "calls", "tokens in": "tokens_in", "tokens out": "tokens_out"}


@dataclass(frozen=True)
class What:
    """How texts are altered, and by how many sequences and which rule that is judged."""

    kind: Kind
    altered: dict[str, Any]
    sample: int
    rule: str


@dataclass(frozen=True)
class Where:
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


def requests_of(what: What, where: Where, known: Catalogue) -> list[ProbeRequest]:
    """A request for each method and scenario; whatever cannot be probed is a BenchError before anything is fitted."""
    from bench.experiment.planning import plan_parts
    from bench.experiment.suites import SuitePart
    from bench.probes.probe import ProbeRequest, require_reads, require_told_labels
    from bench.records.store import Store

    names, scenarios = items_of(where.methods), items_of(where.scenario)
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
        if what.kind != "permuted-labels":
            require_reads(what.kind, request.cell)
        if what.kind in ("permuted-labels", "words"):
            require_told_labels(what.kind, request.cell)
        request.spec()
    return requests


class Prober:
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
        from bench.probes.words import measure_words, require_words

        measures = {
            "injection": measure_injection,
            "memorisation": measure_memory,
            "shortcut": measure_shortcut,
            "router": measure_router,
            "permuted-labels": measure_labels(self.settings),
            "words": measure_words(self.settings),
        }
        measure = measures[request.kind]
        with Steps():
            prepared = self.loader.prepare(request.cell.data)
            if request.kind == "words":
                require_words(request, prepared, self.settings)
            return run_probe(request, prepared, self.settings, measure)

    def record(self, request: ProbeRequest) -> ProbeRecord | None:
        """The stored record; None, with a line that says why, where the probe failed."""
        from bench.probes.probe import NotProbedError
        from bench.records.probes import read_probe, write_probe

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


def show_plan(probe: Prober, requests: Sequence[ProbeRequest], *, as_json: bool) -> None:
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


def items_of(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in (text or "").split(",") if item.strip()))
