"""What `bench data new` proposes as the event of a log: seen on lines as programs write them."""

import json

import polars as pl
import pytest

from bench.data.own.events import BLANK, REQUESTS, likely_first, with_events
from bench.data.own.guess import guess
from bench.data.reading.events import event_rows, event_texts
from bench.data.reading.header import cut

TRACE = [
    "Traceback (most recent call last):",
    '  File "shop.py", line 7, in buy',
    "    raise ValueError(amount)",
    "ValueError: 7",
]
JAVA = ["java.lang.IllegalStateException: full", "\tat shop.Buy.run(Buy.java:7)", "Caused by: java.io.IOException: x"]


def proposed(lines):
    return with_events(guess(likely_first(lines)), lines)


def events(lines):
    form = proposed(lines).form
    frame = pl.DataFrame({"line": lines})
    frame = frame[event_rows(frame, form, starts=True)]
    return event_texts(frame, form, cut(frame, form)["message"]).to_list()


def minute(i):
    return f"2024-05-01 10:{i // 60:02}:{i % 60:02}"


@pytest.mark.parametrize(("trace", "n"), [(TRACE, 1), (TRACE, 8), (JAVA, 8), (["state {", '  "a": 1', "}"], 1)])
def test_a_trace_continues_its_line_however_long_it_is(trace, n):
    lines = []
    for i in range(40):
        lines += [f"{minute(i)},123 {'ERROR' if i % 2 else 'INFO'} shop.buy: order {i} seen"]
        lines += trace * n if i % 2 else ["", " "]
    found = proposed(lines)
    assert (found.form.skip, found.matched, found.timed) == (BLANK, 1.0, 1.0)
    assert events(lines) == [f"{'ERROR' if i % 2 else 'INFO'} order {i} seen" for i in range(40)]
    assert any("continue the line before" in note for note in found.notes)


def test_the_level_of_a_header_becomes_a_field_of_it():
    form = proposed([f"{minute(i)},123 {('INFO', 'warn')[i % 2]} shop.buy: order {i}" for i in range(30)]).form
    assert (form.fields, form.event, form.header.count("(?P<level>")) == ((), ("level", "message"), 1)


def test_lines_of_another_layout_continue_nothing():
    lines = [f"{minute(i)} INFO up {i}" if i % 5 else f"-- rotated part {i}" for i in range(50)]
    assert proposed(lines).form.begins == ""
    assert len(events(lines)) == 50


def test_indented_lines_of_a_log_without_header_continue_it():
    lines = [line for i in range(20) for line in (f"step {i} done", "  it took long", "")]
    assert events(lines) == [f"step {i} done" for i in range(20)]
    assert proposed([f"  step {i}" for i in range(20)]).form.begins == ""


def access(path, i, status=200):
    time = f"01/May/2024:10:{i // 60 % 60:02}:{i % 60:02} +0000"
    return f'10.0.0.1 - - [{time}] "GET {path} HTTP/1.1" {status} {i} "-" "curl"'


def test_access_logs():
    lines = [access(("/", f"/api/users/{i}?a={i}", "/health")[i % 3], i, (200, 404)[i % 2]) for i in range(90)]
    assert set(events(lines)) == {
        f"GET {route} {status}" for route in ("/", "/api/users/<*>", "/health") for status in ("2xx", "4xx")
    }
    assert proposed(lines).form.time


def test_paths_of_which_each_is_another_are_cut_to_their_first_parts():
    names = ["".join(chr(97 + (i // 26**k) % 26) for k in range(3)) for i in range(300)]
    lines = [access(f"/people/at-{names[i % 3]}/{names[i]}", i) for i in range(300)]
    assert proposed(lines).form.fields == (REQUESTS[1],)
    assert len(set(events(lines))) == 3
    lines = [access(f"/people/{names[i]}/{names[i]}", i) for i in range(300)]
    assert set(events(lines)) == {"GET /people 2xx"}


def test_json_lines_keep_level_and_source():
    lines = [
        json.dumps(
            {
                "ts": f"2024-05-01T10:00:{i % 60:02}Z",
                "level": ("info", "error")[i % 2],
                "logger": ("db", "web")[i % 3 == 0],
                "msg": f"job {i} done",
            }
        )
        for i in range(30)
    ]
    assert proposed(lines).form.event == ("level", "logger", "message")
    assert events(lines)[:2] == ["info web job 0 done", "error db job 1 done"]


def test_a_source_of_one_value_and_one_of_many_are_no_fields():
    lines = [json.dumps({"level": "info", "logger": "x", "name": f"n{i}", "msg": f"job {i}"}) for i in range(60)]
    assert proposed(lines).form.event == ("level", "message")
    lines = [json.dumps({"msg": f"job {i}"}) for i in range(60)]
    assert proposed(lines).form.event == ("message",)


def test_json_of_requests():
    lines = [json.dumps({"method": "GET", "uri": f"/u/{i}", "status": 200 + i % 2 * 300, "ms": i}) for i in range(30)]
    assert set(events(lines)) == {"GET /u/<*> 2xx", "GET /u/<*> 5xx"}


def test_journald():
    lines = [
        json.dumps({"PRIORITY": str(3 + i % 4), "SYSLOG_IDENTIFIER": ("sshd", "cron")[i % 2], "MESSAGE": f"m {i}"})
        for i in range(30)
    ]
    assert events(lines)[:2] == ["3 sshd m 0", "4 cron m 1"]


def test_logfmt_keeps_the_level():
    lines = [
        f'ts=2024-05-01T10:00:{i % 60:02}Z level={("info", "warn")[i % 2]} msg="scrape {i} done"' for i in range(30)
    ]
    assert events(lines)[:2] == ["info scrape 0 done", "warn scrape 1 done"]


def test_klog_keeps_level_and_file():
    lines = [f"{'IWE'[i % 3]}0501 10:00:{i % 60:02}.{i:06}    1234 sync.go:12] Syncing pod {i}" for i in range(30)]
    assert [text[:9] for text in events(lines)[:3]] == ["I sync.go", "W sync.go", "E sync.go"]


def test_a_level_that_the_message_has_needs_no_field():
    assert proposed([f"{minute(i)} an error of disk {i}" for i in range(30)]).form.event == ("message",)
    assert proposed([f"order {i} sent" for i in range(30)]).form.event == ("message",)
