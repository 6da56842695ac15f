"""Formats as files: each sample is read as its file says; odd encodings, years, nested fields are read or said."""

import codecs
import datetime
import os
import tomllib

import polars as pl
import pytest

from bench.data.own.format import Given, adapted
from bench.data.own.guess import guess
from bench.data.own.heads import glance, head
from bench.data.own.layouts import UNKNOWN
from bench.data.own.moments import FORMATS
from bench.data.reading.builder import Clock
from bench.data.reading.header import cut
from bench.errors import BenchError

CARDS = {path.stem: tomllib.loads(path.read_text()) for path in sorted(FORMATS.glob("*.toml"))}
SAMPLES = [(stem, i) for stem, card in CARDS.items() for i in range(len(card.get("samples", ())))]
NAMES = {"json": "JSON lines", "logfmt": "logfmt"}


def iso(seconds):
    if seconds != seconds:  # noqa: PLR0124
        return ""
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z").replace(".000Z", "Z")


@pytest.mark.parametrize(("stem", "i"), SAMPLES)
def test_a_sample_is_read_as_its_file_says(stem, i):
    sample = CARDS[stem]["samples"][i]
    found = guess([sample["line"]] * 3)
    table = cut(pl.DataFrame({"line": [sample["line"]]}), found.form)
    assert found.name == CARDS[stem].get("name", NAMES.get(stem))
    assert (iso(table["time"][0]), table["message"][0]) == (sample.get("time", ""), sample["message"])


def test_every_format_has_a_sample():
    assert not [stem for stem, card in CARDS.items() if stem != "times" and not card.get("samples")]
    assert len(CARDS) > 35


@pytest.mark.parametrize("date", CARDS["times"]["dates"], ids=lambda date: date["times"][0])
def test_a_way_of_writing_dates_is_read(date):
    for text in date["sample"]:
        moment = f"{text} 10:00:00" if len(text) != 8 or not text.isdigit() else f"{text} 100000"
        form = guess([f"{moment} kettle boils"]).form
        read = cut(pl.DataFrame({"line": [f"{moment} kettle boils"]}), form)
        day = datetime.datetime.fromtimestamp(read["time"][0], datetime.UTC)
        assert (day.month, day.day) in {(5, 31), (5, 1), (6, 1), (9, 1)}
        assert day.year in (2024, 2000)


def seen(folder, content, *, changed=None, given=None):
    """The guess for a file of this content, the times and messages of its first lines."""
    log = folder / "tea.log"
    log.write_bytes(content if isinstance(content, bytes) else content.encode())
    if changed is not None:
        os.utime(log, (changed, changed))
    lines, notes = head(log)
    further = glance(log).behind(len(lines))
    found = guess(lines, more=further, changed=log.stat().st_mtime)
    found, _ = adapted(found, [*lines, *further], log, given or Given())
    table = cut(pl.DataFrame({"line": lines}), found.form)
    times = Clock(found.form.year, found.form.zone).read(table["time"].to_numpy())
    return found, [iso(time) for time in times], table["message"].to_list(), (*notes, *found.notes)


BGL = "".join(
    f"- {1_714_557_600 + i} 2024.05.01 R07-M0 2024-05-01-10.00.00.1 R07-M0 TEA POT INFO cup {i}\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("content", "name", "first"),
    [
        (BGL, "BGL-like", "cup 0"),
        ('{"time":"2024-05-01T10:00:00Z","msg":"cup 0"}\n', "JSON lines", "cup 0"),
        ("2024-05-01 10:00:00,000 - INFO  [main] - cup 0\n", "log4j-like", "cup 0"),
        ("<13>May  1 10:00:00 cup7 tead: cup 0\n", "syslog (RFC 3164)", "tead: cup 0"),
    ],
)
def test_a_byte_order_mark_hides_no_format(tmp_path, content, name, first):
    found, times, messages, _ = seen(tmp_path, codecs.BOM_UTF8 + content.encode())
    assert (found.name, found.matched, messages[0], times[0][4:]) == (name, 1.0, first, "-05-01T10:00:00Z")
    assert found.form.label == ("first-token" if name == "BGL-like" else "none")


TEXT = "2024-05-01 10:00:00 cup 0\n" * 9


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (TEXT.encode("utf-16"), "text in UTF-16, not in UTF-8: convert it, as by `iconv -f UTF-16 -t UTF-8`"),
        (TEXT.encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8"),
        (TEXT.encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8"),
        (TEXT.encode("utf-32"), "iconv -f UTF-32 -t UTF-8"),
        (TEXT.replace("\n", "\r").encode(), "9 carriage returns and no line feed"),
        (b"LPKSHHRH" + b"\0\1" * 99, "journalctl -o short-iso-precise"),
        (b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1\nMESSAGE=x\n\n", "write it with `journalctl -o json`"),
        (b"ElfFile\0" + b"\0\1" * 99, "save it as CSV"),
        (b"\x04\x22\x4d\x18" + b"\0\1" * 99, "is packed as lz4: unpack it"),
        (b"x" * 257 + b"ustar" + b"\0" * 300, "archive (tar) of files"),
    ],
)
def test_what_is_no_text_in_utf_8_is_named(tmp_path, content, complaint):
    (tmp_path / "tea.log").write_bytes(content)
    with pytest.raises(BenchError) as caught:
        head(tmp_path / "tea.log")
    assert complaint in str(caught.value)
    assert "'tea.log'" in str(caught.value)


def test_a_hole_of_nul_bytes_is_no_other_encoding(tmp_path):
    found, times, messages, notes = seen(tmp_path, b"\0" * 5000 + TEXT.encode())
    assert (found.name, found.matched, times[0], messages[0]) == ("time first", 1.0, "2024-05-01T10:00:00Z", "cup 0")
    assert "5,000 NUL bytes" in notes[0]


@pytest.mark.parametrize(
    "line",
    [
        '{"job":{"time":"2020-01-01T00:00:00Z"},"time":"2024-05-01T10:00:00Z","msg":"cup 0"}',
        '{"msg":"cup 0","job":{"time":"2020-01-01T00:00:00Z"},"time":"2024-05-01T10:00:00Z"}',
        '{"time":"2024-05-01T10:00:00Z","job":{"time":"2020-01-01T00:00:00Z","msg":"x"},"msg":"cup 0"}',
        '{"x":"time","y":["msg",{"time":"2020-01-01T00:00:00Z"}],"time":"2024-05-01T10:00:00Z","msg":"cup 0"}',
        '{"a":{"b":{"time":"2020-01-01T00:00:00Z"}},"time":1714557600000,"msg":"cup 0"}',
        '{"t":{"$date":"2024-05-01T12:00:00+02:00"},"c":"}","msg":"cup 0"}',
    ],
)
def test_a_nested_field_is_not_the_outer_one(line):
    found = guess([line] * 9)
    table = cut(pl.DataFrame({"line": [line]}), found.form)
    assert (iso(table["time"][0]), table["message"][0]) == ("2024-05-01T10:00:00Z", "cup 0")


def test_a_time_that_cannot_be_reached_is_not_read(tmp_path):
    deep = '{"a":{"a":{"a":{"a":{"time":"2020-01-01T00:00:00Z"}}}},"time":"2024-05-01T10:00:00Z","msg":"cup 0"}\n'
    found, times, _, notes = seen(tmp_path, deep * 9)
    assert (found.form.time, set(times)) == ("", {""})
    assert notes


def feb(day, n=9):
    return "".join(f"Feb {day} 10:00:{i:02} cup7 tead: cup {i}\n" for i in range(n))


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def test_a_29_february_stands_in_a_leap_year(tmp_path):
    found, times, _, notes = seen(tmp_path, feb(29), changed=moment("2026-06-01"))
    assert (found.form.year, times[0]) == (2024, "2024-02-29T10:00:00Z")
    assert any("2024 is taken" in note for note in notes)
    assert seen(tmp_path, feb(29), given=Given(year=2020))[1][0] == "2020-02-29T10:00:00Z"
    with pytest.raises(BenchError, match="--year is 2023, but a line is of 29 February"):
        seen(tmp_path, feb(29), given=Given(year=2023))
    later = feb(28) + "Mar  1 10:00:00 cup7 tead: x\n"
    assert seen(tmp_path, later, changed=moment("2026-06-01"))[0].form.year == 2026


def test_a_log_over_new_year_began_in_the_year_before(tmp_path):
    text = "".join(f"{day} 10:00:00 cup7 tead: x\n" for day in ("Nov 30", "Dec 31", "Jan  2"))
    found, times, _, _ = seen(tmp_path, text, changed=moment("2026-01-03"))
    assert found.form.year == 2025
    assert times == ["2025-11-30T10:00:00Z", "2025-12-31T10:00:00Z", "2026-01-02T10:00:00Z"]


@pytest.mark.parametrize(
    ("days", "changed", "expected", "is_open"),
    [
        (["05/31/2024", "06/01/2024"], None, "2024-05-31", False),
        (["31/05/2024", "01/06/2024"], None, "2024-05-31", False),
        (["05/01/2024", "05/02/2024"], None, "2024-05-01", True),
        (["05/01/2024", "06/01/2024", "07/01/2024"], None, "2024-01-05", True),
        (["17/06/09", "17/06/10"], None, "2017-06-09", True),
        (["01/05/24"], "2024-05-02", "2024-05-01", True),
    ],
)
def test_the_order_of_day_month_and_year(tmp_path, days, changed, expected, is_open):
    text = "".join(f"{day} 09:00:00 PM cup {i}\n" for i, day in enumerate(days))
    _, times, _, notes = seen(tmp_path, text, changed=changed and moment(changed))
    assert times[0] == f"{expected}T21:00:00Z"
    assert any("order of day, month and year" in note for note in notes) == is_open


def test_a_day_further_on_in_the_file_tells_the_order(tmp_path):
    text = "01/05/2024 10:00:00 cup\n" * 3000 + "13/05/2024 10:00:00 cup\n"
    _, times, _, notes = seen(tmp_path, text)
    assert times[0] == "2024-05-01T10:00:00Z"
    assert not any("order of day" in note for note in notes)


def test_lines_that_are_not_read_are_named(tmp_path):
    text = TEXT + "\n  at tea.Pot\n" + "2024-05-01 25:00:00 cup\n"
    notes = " ".join(seen(tmp_path, text)[3])
    assert "1 of these lines do not match and are kept whole, first line 11: '  at tea.Pot'" in notes
    assert "1 of these lines have a time that cannot be read, first line 12: '2024-05-01 25:00:00 cup'" in notes


def test_a_zone_is_given_read_or_said(tmp_path):
    assert seen(tmp_path, TEXT, given=Given(zone="Europe/Berlin"))[1][0] == "2024-05-01T08:00:00Z"
    assert seen(tmp_path, TEXT.replace(" cup", " CEST cup"))[1][0] == "2024-05-01T08:00:00Z"
    found, times, _, notes = seen(tmp_path, TEXT.replace(" cup", " IST cup"))
    assert (found.form.time, times[0]) == ("", "")
    assert any("'IST' with '2024-05-01 10:00:00 IST' is not understood" in note for note in notes)
    with pytest.raises(BenchError, match="name their zone themselves"):
        seen(tmp_path, TEXT.replace(" cup", " UTC cup"), given=Given(zone="Europe/Berlin"))
    with pytest.raises(BenchError, match="--zone is 'Berlin': write"):
        Given(zone="Berlin")


def test_what_is_known_to_no_layout_is_no_match(tmp_path):
    found, _, messages, _ = seen(tmp_path, "poured tea\nbroke a cup\n" * 5)
    assert (found.name, found.matched, messages[0]) == (UNKNOWN, 0.0, "poured tea")


def test_times_of_which_some_have_more_are_said(tmp_path):
    text = TEXT + "2024-05-01 10:00:00 +0200 cup\n"
    notes = " ".join(seen(tmp_path, text)[3])
    assert "Some times have more, as '2024-05-01 10:00:00 +0200' has, which is not read: they may be wrong." in notes
    assert "may be wrong" not in " ".join(seen(tmp_path, TEXT)[3])
