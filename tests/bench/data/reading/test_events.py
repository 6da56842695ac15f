"""Lines -> events: traces and blank lines are none, and fields stand in front of the message, whatever the blocks."""

import functools
import gzip
import hashlib

import numpy as np
import polars as pl
import pytest

from bench.data.cards.card import Card, DataFile, Format, ParserSettings
from bench.data.cards.catalogue import Catalogue, slice_of
from bench.data.reading import streams
from bench.data.reading.event_lines import EventLines
from bench.data.reading.events import event_texts
from bench.data.reading.numbers import places_of, read_values
from bench.data.reading.prepared import open_prepared
from bench.data.reading.raw import open_raw, read_raw
from bench.data.reading.read import line_sources, read
from bench.data.reading.words import read_words
from bench.errors import BenchError

HEADER = "^(?P<time>[0-9]+) (?:[A-Z]+) (?P<message>.*)$"
TRACED = Format(header=HEADER, time="epoch", skip=r"^\s*$", begins="^[0-9]+ ")
LINES = [
    "  File x.py, line 7",
    "100 INFO up 1",
    "",
    "101 ERROR lost 2",
    "Traceback (most recent call last):",
    "  File x.py, line 8",
    "   ",
    "ValueError: 9",
    "102 odd",
    "103 INFO up 3",
]
"""The file begins inside a trace; one line looks like the first of an event but has no header."""
EVENTS = [LINES[i] for i in (0, 1, 3, 8, 9)]
NUMBERS = [1, 2, 4, 9, 10]


def edition(folder, lines, form=TRACED, masks=("[0-9]+",), **fields):
    content = "\n".join(lines).encode() + b"\n"
    (folder / "a.log").write_bytes(content)
    files = (DataFile("a.log", hashlib.sha256(content).hexdigest()),)
    values = {"files": files, "format": form, "parser": ParserSettings(masks), **fields}
    card = Card("app", "mine", "t", "smoke", 1, "lines", "MIT", "nobody", **values)
    return card, Catalogue((card,), folder)


def texts(log):
    return [log.messages[i] for i in log.message_ids]


@pytest.mark.parametrize("size", [1, 8, 30, 60, 10_000])
def test_lines_that_continue_an_event_and_blank_ones_are_none(tmp_path, monkeypatch, size):
    monkeypatch.setattr(streams, "blocks", functools.partial(streams.blocks, size=size))
    card, known = edition(tmp_path, LINES)
    log = read(card, known)
    assert texts(log) == ["  File x.py, line <*>", "up <*>", "lost <*>", "<*> odd", "up <*>"]
    assert log.first_lines.tolist() == NUMBERS
    assert log.numbers_of(np.array([2])).tolist() == [4]
    assert (len(log), log.n_lines, log.other_lines) == (5, 10, 5)
    assert log.notes == ("3 lines continue the event before them", "2 lines are skipped, as the card says")
    assert [(d.kind, d.count, d.first_line) for d in log.defects] == [("headerless", 2, 1)]
    assert read_raw(card, line_sources(card, known)).to_list() == EVENTS
    assert read_values(card, line_sources(card, known), log).values.tolist() == [7, 1, 2, 102, 3]
    words = read_words(card, line_sources(card, known), log)
    assert words.values.gather(words.ids).to_list() == ["7", "1", "2", "102", "3"]


@pytest.mark.parametrize("size", [8, 10_000])
def test_a_defect_is_told_with_its_line_in_the_file(tmp_path, monkeypatch, size):
    monkeypatch.setattr(streams, "blocks", functools.partial(streams.blocks, size=size))
    log = read(*edition(tmp_path, LINES[1:]))
    assert [(d.kind, d.count, d.first_line) for d in log.defects] == [("headerless", 1, 8)]


def test_a_day_that_its_year_has_not_is_told_with_its_line(tmp_path):
    header = "^(?P<time>[A-Z][a-z]{2} [0-9]{2} [0-9:]+) (?P<message>.*)$"
    form = Format(header=header, time="%b %d %H:%M:%S", year=2023, skip="^$")
    log = read(*edition(tmp_path, ["Feb 28 10:00:00 a", "", "", "Feb 29 10:00:00 b"], form))
    assert [(d.kind, d.count, d.first_line) for d in log.defects] == [("timeless", 1, 4)]


def test_a_card_without_these_keys_reads_every_line(tmp_path):
    log = read(*edition(tmp_path, LINES, Format(header=HEADER, time="epoch")))
    assert (len(log), log.n_lines, log.first_lines) == (10, 10, None)
    assert log.count_defects("headerless") == 7


def test_a_prepared_edition_keeps_the_numbers_of_lines(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    card, known = edition(tmp_path, LINES)
    for _ in range(2):
        log = open_prepared(card, known)
        assert (log.first_lines.tolist(), log.n_lines) == (NUMBERS, 10)
    assert open_raw(card, known, log).to_list() == EVENTS
    other, known = edition(tmp_path, LINES, Format(header=HEADER, time="epoch"))
    assert len(open_prepared(other, known)) == 10


def test_a_slice_that_begins_inside_an_event(tmp_path):
    card, known = edition(tmp_path, LINES)
    log = read(slice_of(card, 4, 9, "lines"), known)
    assert texts(log) == ["Traceback (most recent call last):", "<*> odd"]


def test_labels_stand_before_what_begins_an_event(tmp_path):
    lines = ["- 100 INFO up", "  - trace", "BAD 101 INFO down", "at x", "- 102 INFO up"]
    form = Format(label="first-token", header=HEADER, time="epoch", begins="^[0-9]+ ")
    log = read(*edition(tmp_path, lines, form))
    assert (log.labels.tolist(), log.alerts) == ([0, 1, 0], (("BAD", 1),))


@pytest.mark.parametrize("size", [1, 20, 10_000])
def test_events_of_a_stream_know_their_lines(size):
    content = "\n".join(LINES).encode() + b"\n"
    blocks = [block + b"\n" for block in content.splitlines()] if size == 1 else [content]
    events = EventLines(TRACED)
    found = b"".join(events.only_events(iter([*blocks, b""])))
    assert found.decode().splitlines() == EVENTS
    assert [events.number(i) for i in range(1, 6)] == NUMBERS
    plain = EventLines(Format())
    assert (list(plain.only_events(iter([b"a\n\n"]))), plain.number(7)) == ([b"a\n\n"], 7)


def of(lines, form, masks=r"\b[0-9]+\b"):
    frame = pl.DataFrame({"line": lines})
    messages = frame["line"].str.extract(form.header.replace("?P<message>", ""), 1)
    return event_texts(
        frame, form, pl.select(pl.coalesce(messages, frame["line"])).to_series().str.replace_all(masks, "<*>")
    ).to_list()


REQUEST = r'"(?P<method>[A-Z]+) (?P<path>[^ "]+)[^"]*" (?P<status>[0-9]{3})\b'
ACCESS = Format(fields=(REQUEST,), event=("method", "path:route", "status:class"))


@pytest.mark.parametrize(
    ("request_line", "text"),
    [
        ("GET / HTTP/1.1", "GET /"),
        ("GET /api/v1/users/1234?x=7 HTTP/1.1", "GET /api/v1/users/<*>"),
        ("POST /o/3f2504e0-4f89-11d3-9a0c-0305e82c3301/items HTTP/1.1", "POST /o/<*>/items"),
        ("GET /static/app.3f2a9c1b.js HTTP/2.0", "GET /static/app.<*>.js"),
        ("GET /s3/mp3/img_2024_1.jpg HTTP/1.1", "GET /s3/mp3/img_<*>_1.jpg"),
        ("GET http://h.example:80/a/b;jsessionid=1 HTTP/1.1", "GET /a/b"),
        ("HEAD /t/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA HTTP/1.1", "HEAD /t/<*>"),
    ],
)
def test_an_access_log_becomes_method_route_and_class_of_the_status(request_line, text):
    line = f'1.2.3.4 - - [01/May/2024:10:00:00 +0000] "{request_line}" 404 17 "-" "curl/8"'
    assert of([line], ACCESS) == [f"{text} 4xx"]


def test_a_line_without_any_of_the_fields_keeps_its_message():
    assert of(['1.2.3.4 "\\x16\\x03" 400 0'], ACCESS)[0].startswith("- - - ")
    assert of(["shutting down 7"], ACCESS) == ["- - - shutting down <*>"]


JSON = Format(fields=("json",), event=("level", "ctx.unit", "message"))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"level":"info","msg":"m"}', "info -"),
        ('{"msg":"m","level" : 30}', "30 -"),
        ('{"ctx":{"level":"inner","unit":"db"},"level":"warn","msg":"m"}', "warn db"),
        ('{"ctx":{"level":"inner"},"msg":"m"}', "- -"),
        ('{"msg":"{\\"level\\":\\"no\\"}","level":"yes"}', "yes -"),
        ('{"level":"a b","ctx.unit":"flat"}', "a_b flat"),
        ('{"level":null}', "- -"),
        ("no object", "- -"),
    ],
)
def test_members_of_json_lines(line, key):
    form = Format(header='"msg":"(?P<message>m)"', fields=JSON.fields, event=JSON.event)
    assert " ".join(of([line], form)[0].split(" ")[:2]) == key
    # A neighbour that is read the other way changes nothing.
    assert of([line, '{"a":{},"level":"x"}'], form)[0] == of([line], form)[0]


def test_pairs_of_logfmt():
    form = Format(fields=("logfmt",), event=("level", "caller"))
    lines = [
        'ts=1 level=info caller="a b.go" msg="level=no"',
        "sublevel=x level=warn",
        'msg="say level=no, \\" level=no" level=yes',
        'msg="say level=no"',
    ]
    assert of(lines, form) == ["info a_b.go", "warn -", "yes -", '- - msg="say level=no"']


def test_named_groups_of_the_header_are_fields(tmp_path):
    form = Format(
        header="^(?P<time>[0-9]+) (?P<level>[A-Z]+) (?P<message>.*)$", time="epoch", event=("level", "message")
    )
    log = read(*edition(tmp_path, ["1 INFO up 7", "2 WARN up 8", "3 INFO", "x"], form))
    assert texts(log) == ["INFO up <*>", "WARN up <*>", "- <*> INFO", "- x"]


def test_what_stands_behind_the_wildcards_of_a_route(tmp_path):
    form = Format(
        header="^(?P<message>.*)$",
        fields=("(?P<path>/[^ ]*) (?P<note>[a-z]+)",),
        event=("path:route", "note", "message"),
    )
    card, known = edition(tmp_path, ["/u/7/x/8?q=1 a 5", "/u ok", "11"], form)
    log = read(card, known)
    assert texts(log) == ["/u/<*>/x/<*> a /u/<*>/x/<*>?q=<*> a <*>", "/u ok /u ok", "- - <*>"]
    values = read_values(card, line_sources(card, known), log)
    assert values.values.tolist() == [7, 8, 7, 8, 1, 5, 11]
    assert np.diff(values.offsets).tolist() == places_of(log)[log.message_ids].tolist()


@pytest.mark.parametrize("key", ["skip", "begins", "fields"])
def test_a_pattern_that_polars_cannot_read_is_one_sentence(tmp_path, key):
    values = {"fields": ("(?P<a>x)(?=y)",), "event": ("a", "message")} if key == "fields" else {key: "x(?=y)"}
    card, known = edition(tmp_path, ["xy"], Format(**values))
    with pytest.raises(BenchError, match="has a pattern that cannot be used"):
        read(card, known)
    if key != "fields":
        with pytest.raises(BenchError, match="has a pattern that cannot be used"):
            read_raw(card, line_sources(card, known))


def test_the_identity_of_old_cards_stays():
    new = {"skip", "begins", "fields", "event"}
    assert not new & Format().identity().keys()
    assert new <= Format(skip="a", begins="b", fields=("json",), event=("level",)).identity().keys()
    assert Format(event=["message"]) == Format()


def test_packed_files_too(tmp_path):
    content = gzip.compress("\n".join(LINES).encode())
    (tmp_path / "a.log.gz").write_bytes(content)
    files = (DataFile("a.log.gz", hashlib.sha256(content).hexdigest()),)
    card = Card("app", "m", "t", "smoke", 1, "lines", "MIT", "n", files=files, format=TRACED)
    assert len(read(card, Catalogue((card,), tmp_path))) == 5
