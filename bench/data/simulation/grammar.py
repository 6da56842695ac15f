"""The declarative grammar of a simulated log: the `[simulate]` table of a card, read and checked into frozen records.

A grammar holds only what JSON holds. It names parameters (what a placeholder is drawn from), messages (a text and the
header fields that go with it), processes (steps of normal operation) and anomalies (one change of a process each).
Every mistake is a BenchError that names the table, the value and the way out. `docs/simulation.md` explains the keys.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping
from typing import Any, Final

from bench.data.simulation.anomalies import Context, read_anomaly
from bench.data.simulation.checks import Table
from bench.data.simulation.draws import MILLION
from bench.data.simulation.records import (
    KINDS,
    Anomaly,
    Bursts,
    Grammar,
    Labels,
    Message,
    Parameter,
    Process,
    Span,
    Step,
    Storms,
    Value,
)
from bench.errors import BenchError

__all__ = ["KINDS", "Grammar", "read_grammar"]

_TIMES: Final = ("epoch", "yyyy", "yy", "mm", "dd", "mon", "d", "HH", "MM", "SS", "ffffff")
"""Placeholders of the header that are the time of a line."""
_MOST_STEPS: Final = 99
_MOST_REPEATS: Final = 4000


def read_grammar(raw: Mapping[str, Any]) -> Grammar:
    """Read and check the `[simulate]` table of a card.

    Raises:
        BenchError: a key is missing, unknown or of a wrong type, a name is not defined, or an anomaly not of its kind.
    """
    top = Table(raw, "simulate")
    parameters = _read_parameters(top.table("parameters"))
    header, step_gap = top.take("header", str), top.span("step_gap_s", scale=MILLION)
    messages = _read_messages(top.table("messages"), header, parameters)
    processes = tuple(_read_process(entry, step_gap) for entry in top.tables("processes"))
    context = Context(processes, parameters, messages, step_gap, _read_steps)
    bursts, storms = top.table("bursts", {}), top.table("storms", {})
    grammar = Grammar(
        lines=top.count("lines", least=0),
        start_us=top.count("start_epoch", least=0, most=2**33) * MILLION,
        episode_gap_us=top.span("episode_gap_s", scale=MILLION),
        anomaly_every=top.count("anomaly_every", 40),
        bursts=_read_bursts(bursts),
        storms=Storms(storms.span("times", [20, 60]), storms.span("gap_s", [0.01, 0.2], scale=MILLION)),
        header=header,
        labels=_read_labels(top.table("labels"), parameters),
        parameters=parameters,
        messages=messages,
        processes=processes,
        anomalies=tuple(read_anomaly(entry, context) for entry in top.tables("anomalies")),
        turns=_read_turns(top.table("turns", {})),
    )
    storms.done()
    top.done()
    _check_names(grammar)
    _check_starts(grammar)
    _check_counts(grammar)
    return grammar


def _read_parameters(table: Table) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    entries = [(name, table.table(name)) for name in list(table.left)]
    # Texts are put together from parameters read before them, so they come last and cannot run in circles.
    for name, entry in sorted(entries, key=lambda item: "text" in item[1].left):
        per_episode = entry.choice("scope", ("line", "episode"), "line") == "episode"
        text, span = "", (0, 0)
        values: tuple[str, ...] = ()
        if "text" in entry.left:
            text = entry.take("text", str)
            _check_layout(text, _examples(parameters), entry.where)
        elif "values" in entry.left:
            values = entry.texts("values")
        else:
            span = entry.span("range")
        entry.done()
        parameters[name] = Parameter(text, values, span, per_episode)
    return parameters


def _examples(parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    return {name: p.text or (p.values[0] if p.values else p.range[0]) for name, p in parameters.items()}


def _read_messages(table: Table, header: str, parameters: Mapping[str, Parameter]) -> dict[str, Message]:
    messages: dict[str, Message] = {}
    known = {**_examples(parameters), **dict.fromkeys((*_TIMES, "label"), "")}
    for name in list(table.left):
        entry = table.table(name)
        text, later, later_ppm = entry.take("text", str), "", (0, 0)
        if "later" in entry.left:
            change = entry.table("later")
            later, later_ppm = change.take("text", str), change.span("during", scale=MILLION)
            change.done()
        fields = {field: entry.take(field, str) for field in list(entry.left)}
        for layout in filter(None, (text, later)):
            _check_layout(layout, _examples(parameters), entry.where)
            _check_layout(header, {**known, **fields}, entry.where)
        messages[name] = Message(text, later, later_ppm, fields)
    return messages


def _check_layout(layout: str, examples: Mapping[str, Value], where: str) -> None:
    try:
        line = layout.format_map(examples)
        pieces = list(string.Formatter().parse(layout))
    except KeyError as error:
        name = error.args[0]
        ways = f"add [simulate.parameters.{name}], or use one of {', '.join(sorted(examples))}"
        raise BenchError(f"[{where}] uses the unknown placeholder {{{name}}}: {ways}") from None
    except (ValueError, AttributeError, IndexError, TypeError) as error:
        raise BenchError(f"[{where}] has the bad text {layout!r} ({error}): write placeholders as {{name}}") from None
    if "\n" in line or "\r" in line:
        raise BenchError(f"[{where}] has the bad text {layout!r}: a line has no line end in it")
    for _, name, form, conversion in pieces:
        if name is not None and (conversion or name not in examples):
            raise BenchError(f"[{where}] has the bad text {layout!r}: write placeholders as {{name}} or {{name:02d}}")
        if form and not _is_number_format(form):
            raise BenchError(f"[{where}] has the bad text {layout!r}: of formats only d, x, 04d and 08x are known")


def _is_number_format(form: str) -> bool:
    width = form[:-1]
    return form[-1] in "dx" and (not width or (width[0] == "0" and width[1:].isdecimal() and int(width) <= 16))


def _read_labels(table: Table, parameters: Mapping[str, Parameter]) -> Labels:
    normal, abnormal, header, session = table.take("normal", str), "", "", ""
    if "session" in table.left:
        session = table.choice("session", [name for name, parameter in parameters.items() if parameter.per_episode])
        abnormal, header = table.take("abnormal", str), table.take("header", str)
    table.done()
    return Labels(normal, abnormal, header, session)


def _read_bursts(table: Table) -> Bursts:
    every = table.count("every", 1)
    bursts = Bursts(every, table.span("episodes", [0, 0]), table.count("speed", 1))
    table.done()
    if bursts.episodes[1] > every:
        raise BenchError(
            f"[{table.where}] episodes up to {bursts.episodes[1]} are more than every = {every}: use fewer"
        )
    return bursts


def _read_turns(table: Table) -> dict[str, int]:
    turns = {kind: table.count(kind, 1, most=1000) for kind in KINDS}
    table.done()
    return turns


def _read_process(entry: Table, step_gap: Span) -> Process:
    gap = entry.span("step_gap_s", [end / MILLION for end in step_gap], scale=MILLION)
    period = entry.span("period_s", [0, 0], scale=MILLION)
    process = Process(
        name=entry.take("name", str),
        steps=_read_steps(entry, gap, 0),
        weight=0 if period[1] else entry.count("weight", 1),
        during_ppm=entry.span("during", [0, 1], scale=MILLION),
        period_us=period[0],
        jitter_us=period[1] - period[0],
    )
    entry.done()
    if period[1] and (period[0] < MILLION or process.jitter_us >= process.period_us):
        raise BenchError(
            f"'{process.name}' has period_s = {[end / MILLION for end in period]}: write [period, latest], "
            "the period 1 s or more and the latest below two periods"
        )
    if not any(step.is_certain for step in process.steps):
        raise BenchError(f"'{process.name}' may log nothing: give it a weight from 1 and a step that is always taken")
    return process


def _read_steps(entry: Table, gap: Span, first_slot: int) -> tuple[Step, ...]:
    steps = tuple(_read_step(step, gap, first_slot + i) for i, step in enumerate(entry.tables("steps")))
    if len(steps) > _MOST_STEPS:
        raise BenchError(f"[{entry.where}] has {len(steps)} steps: use {_MOST_STEPS} at most")
    return steps


def _read_step(entry: Table, gap: Span, slot: int) -> Step:
    step = Step(
        slot=slot,
        messages=entry.texts("of"),
        times=entry.span("times", [1, 1]),
        chance_ppm=entry.share("chance", 1.0),
        storm_ppm=entry.share("storm", 0.0),
        gap_us=gap,
        first_gap_us=gap,
        values=entry.take("with", dict, {}),
        deviates=False,
    )
    entry.done()
    return step


def _check_names(grammar: Grammar) -> None:
    entries: list[Process | Anomaly] = [*grammar.processes, *grammar.anomalies]
    for process in entries:
        pairs = [pair for step in process.steps for pair in step.values.items()]
        messages = {message for step in process.steps for message in step.messages}
        for what, used, known in (
            ("message", messages, grammar.messages),
            ("parameter", set(itertools.chain(*pairs)), grammar.parameters),
        ):
            for name in sorted(used - set(known)):
                raise BenchError(f"'{process.name}' uses the unknown {what} '{name}': add [simulate.{what}s.{name}]")


def _check_starts(grammar: Grammar) -> None:
    """Make sure that episodes start at any time, and each kind can at any time."""
    always = (0, MILLION)
    if not any(process.weight and process.during_ppm == always for process in grammar.processes):
        raise BenchError("no normal process spans the whole log: leave 'during' and 'period_s' out of one")
    for kind in grammar.kinds:
        if not any(anomaly.kind == kind and anomaly.during_ppm == always for anomaly in grammar.anomalies):
            raise BenchError(f"no {kind} anomaly spans the whole log: leave 'during' out of one")
    for anomaly in grammar.anomalies:
        if not (anomaly.alert or grammar.labels.session):
            raise BenchError(f"the anomaly '{anomaly.name}' has no alert: add the label of its lines")


def _check_counts(grammar: Grammar) -> None:
    entries: list[Process | Anomaly] = [*grammar.processes, *grammar.anomalies]
    steps = [step for entry in entries for step in entry.steps]
    if max(grammar.storms.times[1], *(step.times[1] for step in steps)) > _MOST_REPEATS:
        raise BenchError(f"a step is repeated more than {_MOST_REPEATS} times: use smaller 'times'")
    if grammar.episode_gap_us[0] + grammar.episode_gap_us[1] < 2 * grammar.bursts.speed:
        raise BenchError("[simulate] episode_gap_s is too short: use at least a microsecond after division by 'speed'")
