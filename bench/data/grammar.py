"""The declarative grammar of a simulated log: the `[simulate]` table of a card, read and checked into frozen records.

A grammar holds only what JSON holds. It names parameters (what a placeholder is drawn from), messages (a text and the
header fields that go with it), processes (steps of normal operation) and anomalies (steps that deviate). Every mistake
is a BenchError that names the table, the value and the way out. `datasets/bgl/simulated.toml` explains the keys.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from bench.errors import BenchError

KINDS: Final = ("new-message", "sequential", "quantitative")
MILLION: Final = 1_000_000

Value = str | int

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_T = TypeVar("_T")


class Parameter(NamedTuple):
    """What a placeholder is drawn from: the first that is given of a text, a list of values and a range."""

    text: str
    values: tuple[str, ...]
    range: tuple[int, int]
    """Both ends can be drawn."""
    per_episode: bool
    """Drawn once for an episode; else anew for every line."""


class Message(NamedTuple):
    """One kind of line."""

    layout: str
    """Header and text with their placeholders."""
    fields: Mapping[str, str]
    """Header fields that are the same in every line of this message."""


class Step(NamedTuple):
    """One step of a process: one of the messages, so many times."""

    messages: tuple[str, ...]
    times: tuple[int, int]
    chance_ppm: int
    """How often the step is taken at all, in parts per million."""
    normal: bool
    """In an anomaly: the step comes before or after what deviates."""
    values: Mapping[str, str]
    """Placeholder -> the parameter it is drawn from in this step."""


class Process(NamedTuple):
    """A kind of episode; an anomaly where `kind` is not empty."""

    name: str
    steps: tuple[Step, ...]
    weight: int
    step_gap_us: tuple[int, int]
    """Microseconds between two lines."""
    during_ppm: tuple[int, int]
    """The part of the log in which it can start, in lines per million lines."""
    kind: str
    alert: str
    """The label of the lines that deviate, where lines are labelled."""

    def messages(self) -> set[str]:
        """Return the names of all messages it can log."""
        return {name for step in self.steps for name in step.messages}


class Labels(NamedTuple):
    """How labels are printed."""

    normal: str
    abnormal: str
    header: str
    """First line of the label file."""
    session: str
    """The parameter that names the session; empty where lines are labelled."""


class Grammar(NamedTuple):
    """A whole grammar; times are whole microseconds."""

    lines: int
    start_us: int
    episode_gap_us: tuple[int, int]
    anomaly_gap_lines: tuple[int, int]
    labels: Labels
    parameters: Mapping[str, Parameter]
    messages: Mapping[str, Message]
    processes: tuple[Process, ...]
    anomalies: tuple[Process, ...]

    def of_kind(self, kind: str) -> tuple[Process, ...]:
        """Return the anomalies of a kind; of the empty kind the normal processes."""
        return tuple(anomaly for anomaly in self.anomalies if anomaly.kind == kind) if kind else self.processes


@lru_cache(maxsize=4096)
def time_fields(epoch: int) -> Mapping[str, Value]:
    """Return the placeholders of a time, given in Unix seconds."""
    # Not strftime: its month names follow the locale.
    time = datetime.fromtimestamp(epoch, UTC)
    date = {"yyyy": f"{time.year}", "yy": f"{time.year % 100:02d}", "mm": f"{time.month:02d}", "dd": f"{time.day:02d}"}
    clock = {"HH": f"{time.hour:02d}", "MM": f"{time.minute:02d}", "SS": f"{time.second:02d}"}
    return {"epoch": epoch, "mon": _MONTHS[time.month - 1], "d": time.day, **date, **clock}


def read_grammar(raw: Mapping[str, Any]) -> Grammar:
    """Read and check the `[simulate]` table of a card.

    Raises:
        BenchError: a key is missing, unknown or of a wrong type, a name is not defined, or an anomaly not of its kind.
    """
    top = _Table(raw, "simulate")
    parameters = _read_parameters(top.table("parameters"))
    step_gap_s = top.take("step_gap_s", list)
    grammar = Grammar(
        lines=top.take("lines", int),
        start_us=top.take("start_epoch", int) * MILLION,
        episode_gap_us=top.span("episode_gap_s", scale=MILLION),
        anomaly_gap_lines=top.span("anomaly_gap_lines"),
        labels=_read_labels(top.table("labels"), parameters),
        parameters=parameters,
        messages=_read_messages(top.table("messages"), top.take("header", str), parameters),
        processes=tuple(_read_process(entry, step_gap_s) for entry in top.tables("processes")),
        anomalies=tuple(_read_process(entry, step_gap_s, KINDS) for entry in top.tables("anomalies")),
    )
    top.done()
    _check_names(grammar)
    _check_kinds(grammar)
    return grammar


class _Table:
    """One table of the grammar: values are taken with a check of their type, and none may be left over."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, Mapping):
            raise BenchError(f"[{where}] is {raw!r}: make it a table of key = value pairs")
        self.where, self.left, self._known = where, dict(raw), list[str]()

    def take(self, key: str, kind: type[_T], default: _T | None = None) -> _T:
        """Return the value of a key, or the default; without a default the key must be there."""
        self._known.append(key)
        value = self.left.pop(key, default)
        if value is None:
            raise BenchError(f"[{self.where}] has no '{key}': add it (a {kind.__name__})")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BenchError(f"[{self.where}] {key} = {value!r} has the wrong type: make it a {kind.__name__}")
        return value

    def table(self, key: str) -> _Table:
        """Return the table under a key."""
        return _Table(self.take(key, dict), f"{self.where}.{key}")

    def tables(self, key: str) -> Iterator[_Table]:
        """Yield the tables of a list; a lone message name stands for { of = name }."""
        for i, raw in enumerate(self.take(key, list)):
            yield _Table({"of": raw} if isinstance(raw, str) else raw, f"{self.where}.{key}[{i}]")

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of one string or more; a lone string stands for a list of one."""
        if isinstance(self.left.get(key), str):
            self.left[key] = [self.left[key]]
        values = self.take(key, list)
        if not values or not all(isinstance(value, str) for value in values):
            raise BenchError(f"[{self.where}] {key} = {values!r} is no list of strings: write one string or more")
        return tuple(values)

    def choice(self, key: str, options: Sequence[str], default: str | None = None) -> str:
        """Return one of the options."""
        if (value := self.take(key, str, default)) not in options:
            raise BenchError(f"[{self.where}] {key} = {value!r} is unknown: use one of {', '.join(options)}")
        return value

    def span(self, key: str, default: list[float] | None = None, *, scale: int = 1) -> tuple[int, int]:
        """Return a pair 0 <= low <= high in whole units, scale of which make one unit of the grammar."""
        pair = self.take(key, list, default)
        if len(pair) != 2 or not all(type(end) in (int, float) for end in pair) or not 0 <= pair[0] <= pair[1]:
            raise BenchError(f"[{self.where}] {key} = {pair!r} is no range: write [low, high] with 0 <= low <= high")
        return round(pair[0] * scale), round(pair[1] * scale)

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for key in self.left:
            raise BenchError(f"[{self.where}] has the unknown key '{key}': use only {', '.join(self._known)}")


def _read_parameters(table: _Table) -> dict[str, Parameter]:
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


def _read_messages(table: _Table, header: str, parameters: Mapping[str, Parameter]) -> dict[str, Message]:
    messages: dict[str, Message] = {}
    known = {**_examples(parameters), **time_fields(0), "ffffff": "", "label": ""}
    for name in list(table.left):
        entry = table.table(name)
        layout = header + entry.take("text", str)
        fields = {field: entry.take(field, str) for field in list(entry.left)}
        _check_layout(layout, {**known, **fields}, entry.where)
        messages[name] = Message(layout, fields)
    return messages


def _check_layout(layout: str, examples: Mapping[str, Value], where: str) -> None:
    try:
        layout.format_map(examples)
    except KeyError as error:
        name = error.args[0]
        ways = f"add [simulate.parameters.{name}], or use one of {', '.join(sorted(examples))}"
        raise BenchError(f"[{where}] uses the unknown placeholder {{{name}}}: {ways}") from None
    except (ValueError, AttributeError, IndexError) as error:
        raise BenchError(f"[{where}] has the bad text {layout!r} ({error}): write placeholders as {{name}}") from None


def _read_labels(table: _Table, parameters: Mapping[str, Parameter]) -> Labels:
    normal, abnormal, header, session = table.take("normal", str), "", "", ""
    if "session" in table.left:
        session = table.choice("session", [name for name, parameter in parameters.items() if parameter.per_episode])
        abnormal, header = table.take("abnormal", str), table.take("header", str)
    table.done()
    return Labels(normal, abnormal, header, session)


def _read_process(entry: _Table, step_gap_s: list[float], kinds: Sequence[str] = ()) -> Process:
    process = Process(
        name=entry.take("name", str),
        steps=tuple(_read_step(step) for step in entry.tables("steps")),
        weight=entry.take("weight", int, 1),
        step_gap_us=entry.span("step_gap_s", step_gap_s, scale=MILLION),
        during_ppm=entry.span("during", [0, 1], scale=MILLION),
        kind=entry.choice("kind", kinds) if kinds else "",
        alert=entry.take("alert", str, "") if kinds else "",
    )
    entry.done()
    if process.weight < 1 or not any(step.times[0] and step.chance_ppm == MILLION for step in process.steps):
        raise BenchError(f"'{process.name}' may log nothing: give it a weight from 1 and a step that is always taken")
    return process


def _read_step(entry: _Table) -> Step:
    step = Step(
        messages=entry.texts("of"),
        times=entry.span("times", [1, 1]),
        chance_ppm=round(entry.take("chance", float, 1.0) * MILLION),
        normal=entry.take("normal", bool, False),
        values=entry.take("with", dict, {}),
    )
    entry.done()
    return step


def _check_names(grammar: Grammar) -> None:
    for process in (*grammar.processes, *grammar.anomalies):
        pairs = [pair for step in process.steps for pair in step.values.items()]
        for what, used, known in (
            ("message", process.messages(), grammar.messages),
            ("parameter", set(itertools.chain(*pairs)), grammar.parameters),
        ):
            for name in sorted(used - set(known)):
                raise BenchError(f"'{process.name}' uses the unknown {what} '{name}': add [simulate.{what}s.{name}]")


def _check_kinds(grammar: Grammar) -> None:
    """Make sure that each kind can always start, and that every anomaly is of the kind it says."""
    for kind in ("", *(anomaly.kind for anomaly in grammar.anomalies)):
        if not any(process.during_ppm == (0, MILLION) for process in grammar.of_kind(kind)):
            raise BenchError(f"no {kind or 'normal'} process spans the whole log: leave 'during' out of one")
    normal = {name for process in grammar.processes for name in process.messages()}
    for anomaly in grammar.anomalies:
        own = sorted(anomaly.messages() - normal)
        if bool(own) != (anomaly.kind == "new-message"):
            rule = "new-message needs one at least, the other kinds have none"
            raise BenchError(f"the anomaly '{anomaly.name}' is {anomaly.kind} with the new messages {own}: {rule}")
        if not (anomaly.alert or grammar.labels.session):
            raise BenchError(f"the anomaly '{anomaly.name}' has no alert: add the label of its lines")
