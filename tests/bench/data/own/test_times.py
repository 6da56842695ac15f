"""Times of one's own logs are read right or said not to be: drawn layouts, clocks, zones and orders against the truth.

Many of the ways drawn here are known to no layout, and some cannot be read at all: what is asked is that no line gets
another time than the one that was written, unless a note says that the digits leave the order open.
"""

import datetime
import math
import os
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data.own.format import Given, adapted
from bench.data.own.guess import guess
from bench.data.own.heads import glance, head
from bench.data.reading.builder import Clock
from bench.data.reading.header import cut

N = 30
HOUR = 3600


def plain(pattern):
    return lambda moment: moment.strftime(pattern)


def without_zeros(moment, pattern):
    return moment.strftime(pattern).replace("~0", "").replace("~", "")


READ_DATES = {
    "iso": plain("%Y-%m-%d"),
    "slashes": plain("%Y/%m/%d"),
    "dots": plain("%Y.%m.%d"),
    "packed": plain("%Y%m%d"),
    "day of month by name": plain("%d/%b/%Y"),
    "hyphens": plain("%d-%b-%Y"),
    "upper case": lambda moment: moment.strftime("%d-%b-%y").upper(),
    "spaces": plain("%d %b %Y"),
    "long month": plain("%d %B %Y"),
    "comma": plain("%b %d, %Y"),
    "weekday": plain("%A, %d %b %Y"),
    "month first, no year": lambda moment: f"{moment:%b} {moment.day:2}",
}
OPEN_DATES = {
    "american": plain("%m/%d/%Y"),
    "american without zeros": lambda moment: without_zeros(moment, "~%m/~%d/%Y"),
    "british": plain("%d/%m/%Y"),
    "german": plain("%d.%m.%Y"),
    "dutch": plain("%d-%m-%Y"),
    "short": plain("%y/%m/%d"),
    "short american": plain("%m/%d/%y"),
    "short british": plain("%d/%m/%y"),
    "six digits": plain("%y%m%d"),
    "month and day": plain("%m-%d"),
    "day and month": plain("%d/%m"),
}
ODD_DATES = {
    "day of the year": plain("%Y-%j"),
    "week": plain("%G-W%V-%u"),
    "year in front of a month": plain("%Y, %b %d"),
    "another language": lambda moment: (
        moment.strftime("%d. ") + "MaiJunJul"[moment.month % 3 * 3 :][:3] + moment.strftime(". %Y")
    ),
    "ordinal": lambda moment: f"{moment.day}th of {moment:%B %Y}",
    "no date": lambda moment: "",
    "short year with a mark": plain("%d %b '%y"),
    "year behind": plain("%d/%m %Y"),
}
FRACTIONS = {"none": "", ".ms": ".%ms", ",ms": ",%ms", ":ms": ":%ms", ".us": ".%us", ",one": ",%1"}
CLOCKS = {
    "24": "%H:%M:%S",
    "24 without zeros": "~%H:%M:%S",
    "minutes": "%H:%M",
    "dots": "%H.%M.%S",
    "12": "%I:%M:%S",
    "12 without zeros": "~%I:%M:%S",
    "packed": "%H%M%S",
    "hyphens": "%H-%M-%S",
}
HALVES = (" %p", "%p", " %p lower", " p.m.", " P")
SEPARATORS = (" ", "T", "_", ", ", " - ", "  ", ":", "\t", " at ", "-")


ZONES = {
    "none": (0, ""),
    "Z": (0, "Z"),
    "UTC": (0, " UTC"),
    "GMT": (0, " GMT"),
    "CEST": (2 * HOUR, " CEST"),
    "PST": (-8 * HOUR, " PST"),
    "in brackets": (-7 * HOUR, " (PDT)"),
    "unclear": (5 * HOUR + 1800, " IST"),
    "not known": (6 * HOUR, " XYT"),
    "of a place": (2 * HOUR, " Africa/Cairo"),
    "GMT+2": (2 * HOUR, " GMT+2"),
    "UTC+02:00": (2 * HOUR, " UTC+02:00"),
    "one digit": (-3 * HOUR, " -3"),
    "hours": (-3 * HOUR, " -03"),
    "+02:00": (2 * HOUR, "+02:00"),
    " +0200": (2 * HOUR, " +0200"),
    "+02": (2 * HOUR, "+02"),
    "-05:00": (-5 * HOUR, "-05:00"),
    " -0500": (-5 * HOUR, " -0500"),
    "-05": (-5 * HOUR, "-05"),
    "half an hour": (5 * HOUR + 1800, "+05:30"),
}  # fmt: skip
FRAMES = (
    "{t} {m}",
    "[{t}] {m}",
    "({t}) {m}",
    "{t} INFO tea.pot: {m}",
    "{t} [main] WARN  tea.Pot - {m}",
    "INFO {t} {m}",
    "{t} | {m}",
    "{t}: {m}",
    "{t},{m}",
    "{t};{m}",
    "<13>{t} cup7 tead[71]: {m}",
    "{t} cup7 tead: {m}",
    "cup7 {t} {m}",
    '10.0.0.7 - - [{t}] "GET /cup" 200 7 {m}',
    '"{t}","{m}"',
    "cup7 | {t} {m}",
    "{m} since {t} and on",
    'time="{t}" level=info msg="{m}"',
    'started=2001-02-03T04:05:06Z time="{t}" msg="{m}"',
    '{{"level":"info","time":"{t}","msg":"{m}"}}',
    '{{"msg":"{m}","job":{{"time":"2001-02-03T04:05:06Z"}},"time":"{t}"}}',
    '{{"job":{{"time":"2001-02-03T04:05:06Z","msg":"x"}},"time":"{t}","msg":"{m}"}}',
    "seq=7 {t} {m}",
)
MESSAGES = (
    "poured {i} ml",
    "2024 cups",
    "AM radio on",
    "-12 degrees",
    "PM2 restarted",
    "UTC is a zone",
    "17:05 is tea",
    "x",
)


def half_of(moment, style):
    if style == " p.m.":
        return " a.m." if moment.hour < 12 else " p.m."
    if style == " P":
        return moment.strftime(" %p")[:2]
    half = moment.strftime(style.replace(" lower", ""))
    return half.lower() if "lower" in style else half


def written(moment, date, separator, clock, fraction, half, zone, year_behind=False):
    """A time as a log has it; the moment is UTC."""
    offset, name = zone
    local = moment + datetime.timedelta(seconds=offset)
    text = without_zeros(local, CLOCKS[clock])
    us = f"{local.microsecond:06}"
    if "%S" in CLOCKS[clock]:
        text += FRACTIONS[fraction].replace("%ms", us[:3]).replace("%us", us).replace("%1", us[:1])
    if "%I" in CLOCKS[clock]:
        text += half_of(local, half)
    day = date(local)
    return f"{day}{separator if day else ''}{text}{name}" + (f" {local.year}" if year_behind else "")


def resolution(clock, fraction):
    if "%S" not in CLOCKS[clock]:
        return 60_000_000
    return {"": 1_000_000, "ms": 1_000, "us": 1, "1": 100_000}[FRACTIONS[fraction].lstrip(".,:%")]


def read(lines, changed):
    """The guess and the times of all lines, as `bench data new` finds them."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "tea.log"
        log.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.utime(log, (changed, changed))
        first, _ = head(log)
        seen = glance(log).behind(len(first))
        found = guess(first, "none", more=seen, changed=changed)
        found, _ = adapted(found, [*first, *seen], log, Given())
        table = cut(pl.DataFrame({"line": first}), found.form)
        times = Clock(found.form.year, found.form.zone).read(table["time"].to_numpy())
    return found, times.tolist(), table["message"].to_list()


def log_from(choose, seconds):
    """Lines of one way of writing times, and their moments; choose: takes one of a list."""
    dates = READ_DATES | OPEN_DATES | ODD_DATES
    date, clock, fraction = choose(sorted(dates)), choose(sorted(CLOCKS)), choose(sorted(FRACTIONS))
    half, zone, separator = choose(HALVES), ZONES[choose(sorted(ZONES))], choose(SEPARATORS)
    frame, message, step = choose(FRAMES), choose(MESSAGES), choose([0.25, 1.0, 97.0, 3601.0, 86_399.5])
    behind = choose([True, False]) and date == "month first, no year"
    size = resolution(clock, fraction)
    lines, truth = [], []
    for i in range(N):
        moment = datetime.datetime.fromtimestamp(seconds + i * step, datetime.UTC)
        time = written(moment, dates[date], separator, clock, fraction, half, zone, behind)
        lines.append(frame.format(t=time, m=message.format(i=i)))
        truth.append(round(moment.timestamp() * 1e6) // size * size / 1e6)
    return lines, truth


def wrong_times(lines, truth):
    """What is wrong with how the lines are read, in words; empty where nothing is."""
    found, times, _ = read(lines, truth[-1] + 60)
    if any("order of day, month and year" in note or "is taken for" in note for note in found.notes):
        return ""
    for line, time, moment in zip(lines, times, truth, strict=True):
        if not math.isnan(time) and abs(time - moment) > 1e-5:
            return f"{line!r} is read as {datetime.datetime.fromtimestamp(time, datetime.UTC)}: {found.form}"
    said = any("cannot be read" in note or "do not match" in note for note in found.notes)
    lost = found.form.time and any(map(math.isnan, times)) and not said
    return f"{lines[0]!r} has times that are not read, and nothing says so" if lost else ""


@given(data=st.data(), seconds=st.integers(1_041_379_200, 1_830_297_600))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_time_is_read_wrongly_in_silence(data, seconds):
    log = log_from(lambda among: data.draw(st.sampled_from(among)), seconds)
    assert wrong_times(*log) == ""


USUAL = [
    (" ", "24", ".ms", "+02:00"),
    ("T", "24", ".us", "Z"),
    (" ", "24", ",ms", "none"),
    (" ", "12", "none", "UTC"),
    ("  ", "24 without zeros", ".ms", " -0500"),
    (" ", "24", "none", "CEST"),
    (", ", "12 without zeros", ",one", "PST"),
]


@pytest.mark.parametrize("date", READ_DATES)
def test_usual_times_are_read_to_the_fraction(date):
    for i, (separator, clock, fraction, zone) in enumerate(USUAL):
        moments = [datetime.datetime.fromtimestamp(1_709_500_000.125 + k * 977, datetime.UTC) for k in range(N)]
        texts = [written(m, READ_DATES[date], separator, clock, fraction, " %p", ZONES[zone]) for m in moments]
        lines = [FRAMES[i % 4].format(t=text, m=f"poured {k} ml") for k, text in enumerate(texts)]
        size = resolution(clock, fraction)
        truth = [round(moment.timestamp() * 1e6) // size * size / 1e6 for moment in moments]
        found, times, messages = read(lines, truth[-1] + 60)
        assert times == pytest.approx(truth, abs=1e-5), (lines[0], found)
        assert all(message.endswith(f"poured {k} ml") for k, message in enumerate(messages))
