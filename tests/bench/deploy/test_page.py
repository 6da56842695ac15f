"""The text of the page: 80 columns, and nothing of a log that a terminal obeys, whatever the log holds."""

from bench.deploy.context import LogLine
from bench.deploy.loudness import Agreement, Loud, Loudness
from bench.deploy.page import page_of
from bench.deploy.surprises import Surprise
from bench.deploy.triage import Triage
from bench.deploy.unlike import Unlike


def made(text, **fields):
    line = LogLine(7, "2026-11-29 10:00:00", text, text, text)
    values = {
        "log": text,
        "layout": "syslog",
        "notes": (text,),
        "n_lines": 1000,
        "n_events": 1000,
        "n_fitted": 450,
        "n_earlier": 600,
        "begins": "2026-11-29 00:00:00",
        "cut": "2026-11-29 12:00:00",
        "ends": "2026-11-30 00:00:00",
        "unit": "windows of 20 lines",
        "n_held_out": 7,
        "n_scored": 20,
        "days": 0.5,
        "loud": (Loud(text, (Loudness(0.001, None, 0, None, 0), Loudness(0.125, 1.0, 123_456, 1e7, 12_345))),),
        "agreement": Agreement(("a", "b", "c"), (1, 2, 3)),
        "unlike": Unlike(0.6, (0.5, 0.6, 0.7, 0.6), 3, 1.0, 1),
        "surprises": (Surprise(line, (line, LogLine(8, "", "", text, text)), text, ("a",), True, 3, ""),),
        "n_kinds": 1,
        "judged": None,
    }
    return page_of(Triage(**(values | fields)))


def test_what_a_log_holds_is_shown_and_not_obeyed():
    for text in ("\x1b[31mred", "bell\x07", "back\rspace", "wide\u200f", "word " * 200, "x" * 5000):
        page = made(text)
        assert max(map(len, page.splitlines())) <= 80
        assert not any(sign in page for sign in "\x1b\x07\r\u200f")
        assert text[-5:].strip("\x1b\x07\r\u200f") in page or len(text) > 900


def test_what_is_said_of_a_later_part_that_is_another_log():
    page = " ".join(made("app.log").split())
    assert "Most of it is another log than the one fitted on" in page
    assert "There is one template only" in page
    assert "6 windows are flagged by a, b, c at 12 %: 3 by all 3, 2 by 2 of them, 1 by one alone." in page
    assert "7 windows held out allow no threshold below 12 %" in page
    assert "A day is reckoned from 12.0 hours." in page
