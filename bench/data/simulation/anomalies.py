"""The kinds of anomaly: each takes the steps of a normal process and changes one thing.

| kind | what it says | what differs |
|---|---|---|
| new-message | `steps`, `after`, `resumes` | messages that no normal process logs, after so many usual steps |
| semantic-twin | the same and `twin` | as above; the anomaly of another system that it tells in other words |
| wrong-order | `order` | the order of the steps; the lines are the same |
| missing-event | `without` | steps that are always taken are left out |
| wrong-count | `step`, `times` | one step is repeated more or less often than it ever is |
| unusual-parameter | `with` | values outside the usual range; the log keys are the same |
| slow | `before`, `gap_s` | a pause before one step; the lines are the same |

Steps are counted from 1. An anomaly that would not differ from the normal process in its one way is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.data.simulation.checks import Table
from bench.data.simulation.draws import MILLION
from bench.data.simulation.records import KINDS, Anomaly, Message, Parameter, Process, Span, Step
from bench.errors import BenchError

_INSERTED: Final = 100
"""Slot of the first inserted step: behind those of any process."""
_TWIN: Final = re.compile("[a-z0-9_-]+/.+")


@dataclass(frozen=True)
class Context:
    """What an anomaly is read with."""

    processes: Sequence[Process]
    parameters: Mapping[str, Parameter]
    messages: Mapping[str, Message]
    step_gap_us: Span
    read_steps: Callable[[Table, Span, int], tuple[Step, ...]]
    """Reads the key `steps` of a table; the slot of its first step."""


def read_anomaly(entry: Table, context: Context) -> Anomaly:
    """Read one anomaly and make its steps from those of its process."""
    name, kind = entry.take("name", str), entry.choice("kind", KINDS)
    names = [process.name for process in context.processes]
    index = names.index(entry.choice("process", names))
    steps = _CHANGES[kind](entry, context, context.processes[index].steps)
    twin = entry.take("twin", str) if kind == "semantic-twin" else ""
    if kind == "semantic-twin" and _TWIN.fullmatch(twin) is None:
        raise BenchError(f"[{entry.where}] twin = {twin!r} names no anomaly: write 'system/name of the anomaly'")
    anomaly = Anomaly(
        name=name,
        kind=kind,
        alert=entry.take("alert", str, ""),
        process=index,
        steps=steps,
        weight=entry.count("weight", 1),
        during_ppm=entry.span("during", [0, 1], scale=MILLION),
        twin=twin,
    )
    entry.done()
    if not any(step.deviates and step.is_certain for step in steps):
        raise BenchError(f"the anomaly '{name}' may change nothing: let it change a step that is always taken")
    return anomaly


def _insert(entry: Table, context: Context, usual: tuple[Step, ...]) -> tuple[Step, ...]:
    after = entry.count("after", 0, least=0, most=len(usual))
    gap = entry.span("step_gap_s", [end / MILLION for end in context.step_gap_us], scale=MILLION)
    new = [step._replace(deviates=True) for step in context.read_steps(entry, gap, _INSERTED)]
    normal = {message for process in context.processes for step in process.steps for message in step.messages}
    for message in (message for step in new for message in step.messages):
        if message in normal:
            raise BenchError(f"[{entry.where}] logs '{message}', which is normal: use messages of its own in steps")
    rest = usual[after:] if entry.take("resumes", bool, False) else ()
    return (*usual[:after], *new, *rest)


def _reorder(entry: Table, context: Context, usual: tuple[Step, ...]) -> tuple[Step, ...]:
    order = entry.positions("order", len(usual))
    if len(order) < len(usual) or all(usual[i].messages == step.messages for i, step in zip(order, usual, strict=True)):
        raise BenchError(
            f"[{entry.where}] order = {[i + 1 for i in order]} is the usual one or leaves steps out: "
            f"write each of 1 to {len(usual)} once, in another order"
        )
    return tuple(
        usual[i]._replace(deviates=usual[i].messages != step.messages) for i, step in zip(order, usual, strict=True)
    )


def _leave_out(entry: Table, context: Context, usual: tuple[Step, ...]) -> tuple[Step, ...]:
    gone = entry.positions("without", len(usual))
    left = [i for i in range(len(usual)) if i not in gone]
    if not all(usual[i].is_certain for i in gone):
        raise BenchError(f"[{entry.where}] leaves out a step that is not always taken: that would be normal")
    certain = [i for i in left if usual[i].is_certain]
    # The first line that should not come yet tells it; where none follows, the last one before.
    tellers = {next((i for i in certain if i > out), certain[-1] if certain else -1) for out in gone}
    return tuple(usual[i]._replace(deviates=i in tellers) for i in left)


def _recount(entry: Table, context: Context, usual: tuple[Step, ...]) -> tuple[Step, ...]:
    index = entry.count("step", most=len(usual)) - 1
    times, step = entry.span("times"), usual[index]
    if times[0] <= step.times[1] and step.times[0] <= times[1]:
        raise BenchError(
            f"[{entry.where}] times = {list(times)} overlaps {list(step.times)}, which is normal: use other counts"
        )
    changed = step._replace(times=times, chance_ppm=MILLION, deviates=True)
    return (*usual[:index], changed, *usual[index + 1 :])


def _exchange(entry: Table, context: Context, usual: tuple[Step, ...]) -> tuple[Step, ...]:
    values = entry.take("with", dict)
    for name, other in values.items():
        for parameter in (name, other):
            if parameter not in context.parameters:
                raise BenchError(
                    f"[{entry.where}] uses the unknown parameter '{parameter}': add [simulate.parameters.{parameter}]"
                )
        if _overlap(context.parameters[name], context.parameters[other]):
            raise BenchError(f"[{entry.where}] draws '{name}' from '{other}', which overlaps it: use other values")
    users = {step.slot for step in usual if any(_uses(context.messages, step, name) for name in values)}
    return tuple(
        step._replace(values={**step.values, **values}, deviates=True) if step.slot in users else step for step in usual
    )


def _pause(entry: Table, context: Context, usual: tuple[Step, ...]) -> tuple[Step, ...]:
    index, gap = entry.count("before", least=2, most=len(usual)) - 1, entry.span("gap_s", scale=MILLION)
    step = usual[index]
    if gap[0] <= step.first_gap_us[1]:
        raise BenchError(
            f"[{entry.where}] gap_s from {gap[0] / MILLION} is no pause: usual are up to "
            f"{step.first_gap_us[1] / MILLION} s; start above"
        )
    return (*usual[:index], step._replace(first_gap_us=gap, deviates=True), *usual[index + 1 :])


def _overlap(one: Parameter, other: Parameter) -> bool:
    if one.text or other.text:
        return one.text == other.text
    if one.values or other.values:
        return bool(set(one.values) & set(other.values))
    return one.range[0] <= other.range[1] and other.range[0] <= one.range[1]


def _uses(messages: Mapping[str, Message], step: Step, name: str) -> bool:
    pattern = re.compile(rf"{{{re.escape(name)}[:}}]")
    return any(pattern.search(messages[message].text) for message in step.messages if message in messages)


_CHANGES: Final[dict[str, Callable[[Table, Context, tuple[Step, ...]], tuple[Step, ...]]]] = {
    "new-message": _insert,
    "semantic-twin": _insert,
    "wrong-order": _reorder,
    "missing-event": _leave_out,
    "wrong-count": _recount,
    "unusual-parameter": _exchange,
    "slow": _pause,
}
