"""The page of a log, in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from bench.deploy.context import LogLine
from bench.deploy.judged import Catch, Judged
from bench.deploy.loudness import LEAST_DAYS, Agreement, Loudness
from bench.deploy.surprises import Surprise
from bench.deploy.triage import Triage
from bench.deploy.unlike import Unlike
from bench.errors import harmless

WIDTH: Final = 79
_MOST_ROWS: Final = 4


def page_of(found: Triage) -> str:
    """The page as text; what comes from the log holds nothing that a terminal obeys."""
    parts = (_heading(found), _loudness(found), _worth(found), _surprises(found), _agreement(found), _unlike(found))
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _heading(found: Triage) -> Iterator[str]:
    span = f", {found.begins} to {found.ends}" if found.begins else ""
    yield from _filled(f"{found.log}: {found.n_lines:,} lines{span}")
    yield from _filled(f"read as {found.layout}", "  ")
    until = f", up to {found.cut}" if found.cut else ""
    n_held = found.n_earlier - found.n_fitted
    yield from _filled(
        f"earlier part: {found.n_earlier:,} {_events(found)}{until}; fitted on the first {found.n_fitted:,}, all "
        f"taken as normal; the other {n_held:,} ({found.n_held_out:,} {_short(found)}) set the thresholds",
        "  ",
    )
    takes = f", {_span(found.days)}" if found.days else ""
    yield from _filled(f"later part, scored: {found.n_scored:,} {found.unit}{takes}", "  ")
    for note in found.notes:
        yield from _filled(f"note: {note}", "  ")
    yield ""


def _events(found: Triage) -> str:
    return "lines" if found.n_events == found.n_lines else "events"


def _loudness(found: Triage) -> Iterator[str]:
    strict, loose = found.loud[0].at
    yield from _title("How loud would it be?")
    yield from _filled(
        f"An alert is one of the {found.unit} that scores above all but {_share(strict)} or {_share(loose)} of those "
        "held out. Nothing says that it is an anomaly, and nothing here says how many anomalies are missed."
    )
    yield ""
    yield f"{'':24}{f'threshold at {_share(strict)}':>27}{f'at {_share(loose)}':>28}"
    columns = f"{'alerts':>8}{'a day':>9}{'distinct':>10}"
    yield f"{'method':24}{columns} {columns}"
    for row in found.loud:
        yield f"{_cropped(row.method, 23):24}" + " ".join(_cell(cell) for cell in row.at)
    yield f"{'if nothing changed':24}" + " ".join(_expected(found, cell) for cell in found.loud[0].at)
    if strict.threshold is None:
        least = 100 / (found.n_held_out + 1)
        yield from _filled(
            f"n/e: {found.n_held_out:,} {_short(found)} held out allow no threshold below {least:.2g} %."
        )
    if not found.begins:
        yield from _filled("No times are read, so nothing is said of days.")
    elif not found.days:
        yield from _filled("All of the later part has one time: nothing is said of days.")
    elif found.days < LEAST_DAYS:
        yield from _filled(f"The later part takes {_span(found.days)}: too little to speak of days.")
    elif found.days < 1:
        yield from _filled(f"A day is reckoned from {_span(found.days)}.")
    yield ""


def _share(cell: Loudness) -> str:
    return f"{100 * cell.alpha:.2g} %"


def _cell(cell: Loudness) -> str:
    if cell.threshold is None:
        return f"{'n/e':>8}{'':19}"
    day = "-" if cell.per_day is None else _number(cell.per_day)
    return f"{cell.n_alerts:>8,}{day:>9}{cell.n_kinds:>10,}"


def _expected(found: Triage, cell: Loudness) -> str:
    alerts = found.n_scored * cell.alpha
    day = _number(alerts / found.days) if found.days and found.days >= LEAST_DAYS else "-"
    return f"{_number(alerts):>8}{day:>9}{'':10}"


def _worth(found: Triage) -> Iterator[str]:
    judged = found.judged
    if judged is None:
        return
    yield from _title("What would have been caught?")
    if not judged.n_abnormal:
        yield from _filled(_nothing_to_catch(judged))
        yield ""
        return
    yield from _filled(
        f"{judged.n_incidents:,} incidents in the later part ({judged.n_abnormal:,} abnormal {_short(found)}); "
        f"labels judge and nothing was fitted on them, so {judged.n_abnormal_fitted:,} abnormal {_short(found)} of the "
        "earlier part were learned as normal."
    )
    yield ""
    yield f"{'method':24}{'at':>7}{'caught':>14}{'after (median)':>17}{'false alerts':>14}"
    for catch in judged.catches:
        yield _caught(catch, judged)
    if judged.n_unlabelled:
        yield from _filled(f"{judged.n_unlabelled:,} {_short(found)} of the later part have no label.")
    yield ""


def _caught(catch: Catch, judged: Judged) -> str:
    delay = "-" if catch.delay_s is None else _span(catch.delay_s / 86_400)
    false = f"{catch.n_false:,}" if catch.false_per_day is None else f"{_number(catch.false_per_day)}/day"
    caught = f"{catch.n_caught:,} of {judged.n_incidents:,}"
    return f"{_cropped(catch.method, 23):24}{100 * catch.alpha:>5.2g} %{caught:>14}{delay:>17}{false:>14}"


def _nothing_to_catch(judged: Judged) -> str:
    if judged.last_abnormal is None:
        return "Labels were read, and none is abnormal: there is nothing to catch."
    return (
        f"Nothing of the later part is abnormal: the last abnormal line lies at {judged.last_abnormal:.0%} of the log. "
        "Give a --before that lies earlier."
    )


def _surprises(found: Triage) -> Iterator[str]:
    shown = found.surprises
    is_quiet = not any(surprise.methods for surprise in shown)
    yield from _title("The strongest distinct surprises")
    if is_quiet:
        yield from _filled("None of the methods asked flags anything; these rank highest.")
    elif found.n_kinds > len(shown):
        yield from _filled(f"{len(shown)} of {found.n_kinds:,} kinds; messages that are mostly equal are one.")
    yield ""
    for number, surprise in enumerate(shown, 1):
        yield from _surprise(number, surprise)


def _surprise(number: int, surprise: Surprise) -> Iterator[str]:
    line = surprise.line
    where = "  ".join(filter(None, (line.time, _cropped(line.host, 24), f"line {line.number:,}")))
    yield f"{number}. {where}"
    facts = ["no such message before" if surprise.is_new else "a known message in unusual company"]
    facts.append(f"flagged by {', '.join(surprise.methods)}" if surprise.methods else "not flagged")
    if surprise.n_alike and surprise.methods:
        last = f", the last {surprise.last_time}" if surprise.last_time else ""
        facts.append(f"{surprise.n_alike:,} more like it{last}")
    yield from _filled("; ".join(facts), "   ")
    for near in surprise.around:
        if near.number == line.number:
            yield from _whole(near)
        else:
            yield _cropped(f"     {harmless(near.message)}", WIDTH)
    yield ""


def _whole(line: LogLine) -> Iterator[str]:
    """The line as it was written, on a few lines."""
    rows = textwrap.wrap(harmless(line.raw), WIDTH - 5, break_on_hyphens=False) or [""]
    more = "\N{HORIZONTAL ELLIPSIS}" if len(rows) > _MOST_ROWS else ""
    for number, row in enumerate(rows[:_MOST_ROWS]):
        is_last = number == _MOST_ROWS - 1
        yield (
            f"   {' ' if number else '>'} {row[: WIDTH - 6]}{more}" if is_last else f"   {' ' if number else '>'} {row}"
        )


def _agreement(found: Triage) -> Iterator[str]:
    agreed: Agreement = found.agreement
    yield from _title("How far do cheap detectors agree?")
    total, names, level = sum(agreed.counts), ", ".join(agreed.methods), _share(found.loud[0].at[1])
    if not total:
        yield from _filled(f"None of {names} flags anything at {level}.")
    else:
        words = {1: "one alone", len(agreed.counts): f"all {len(agreed.counts)}"}
        counted = [f"{count:,} by {words.get(n, f'{n} of them')}" for n, count in enumerate(agreed.counts, 1)]
        yield from _filled(
            f"{total:,} {_short(found)} are flagged by {names} at {level}: {', '.join(reversed(counted))}."
        )
    yield ""


def _unlike(found: Triage) -> Iterator[str]:
    unlike: Unlike = found.unlike
    yield from _title("How much of the later part is unlike the earlier one?")
    quarters = ", ".join(_percent(share) for share in unlike.by_stretch)
    yield from _filled(
        f"{_percent(unlike.lines)} of its lines ({unlike.n_texts:,} distinct) match none of the {unlike.n_templates:,} "
        f"templates of the fitted part; by quarters: {quarters}. {_percent(unlike.sequences)} of its {_short(found)} "
        "did not occur there, event by event."
    )
    if unlike.is_mostly:
        yield from _filled(
            "Most of it is another log than the one fitted on: alerts say that and little else. Cut later with "
            "--before, or fit on newer lines."
        )
    if unlike.n_templates > found.n_fitted / 2:
        yield from _filled(
            f"The {found.n_fitted:,} {_events(found)} fitted on make {unlike.n_templates:,} templates: nearly each is "
            "its own, so nothing is learned. `bench data new` writes a card, whose masks say what varies."
        )
    if unlike.n_templates == 1:
        yield from _filled(
            "There is one template only: the lines of the fitted part cannot be told apart, and no score says much."
        )


def _title(text: str) -> Iterator[str]:
    yield text
    yield "-" * len(text)


def _filled(text: str, indent: str = "") -> Iterator[str]:
    yield from textwrap.wrap(
        harmless(text), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  " if indent else ""
    )


def _short(found: Triage) -> str:
    return "sessions" if found.unit == "sessions" else "windows"


def _cropped(text: str, width: int) -> str:
    text = harmless(text)
    return text if len(text) <= width else f"{text[: width - 1]}\N{HORIZONTAL ELLIPSIS}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _span(days: float) -> str:
    for length, unit in ((1.0, "days"), (1 / 24, "hours"), (1 / 1440, "minutes")):
        if days >= 2 * length:
            return f"{days / length:.1f} {unit}"
    return f"{days * 86_400:.0f} s"
