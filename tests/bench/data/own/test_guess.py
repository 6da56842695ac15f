"""Guessing the format of a log: what each family of formats is read as, and what happens to anything else."""

import bz2
import gzip
import io
import lzma
import re
import zipfile

import polars as pl
import pytest
import zstandard

from bench.data.cards.card import Format
from bench.data.cards.catalogue import catalogue
from bench.data.own.guess import guess
from bench.data.own.heads import HEAD_BYTES, count_lines, head
from bench.data.own.layouts import MASKS, NUMBERS, SESSIONS, UNKNOWN, layout_files
from bench.data.own.moments import time_shapes
from bench.data.reading.header import cut
from bench.data.reading.streams import content as decompress
from bench.errors import BenchError

EPOCH = 1_700_000_000  # 2023-11-14T22:13:20Z
DAY = 86_400
YEARS_2000_TO_2023 = (23 * 365 + 5) * DAY  # from a November to the other; the leap days of 2004 to 2020
ITEMS = ["kettle", "teapot", "saucer", "spoon"]


def brewed(n=40):
    """Messages of a made-up tea kitchen."""
    return [f"poured {i * 7 % 90} ml into {ITEMS[i % 4]} {i}" for i in range(n)]


def clock(i):
    return f"22:{13 + (20 + i) // 60:02}:{(20 + i) % 60:02}"


def lines_as(template):
    """One line per message; fields: i, m(essage), t(ime of day), e(poch), d(ay padded with a space)."""
    return [template.format(i=i, m=m, t=clock(i), e=EPOCH + i) for i, m in enumerate(brewed())]


FORMATS = {
    "bgl": (
        "BGL-like",
        "{e} 2023.11.14 R07-M0-N2 2023-11-14-{t}.000123 R07-M0-N2 TEA KITCHEN INFO {m}",
    ),
    "thunderbird": ("Thunderbird-like (epoch, date, node, syslog)", "{e} 2023.11.14 cup7 Nov 14 {t} cup7/cup7 {m}"),
    "epoch": ("epoch first", "{e} {m}"),
    "epoch with fraction": ("epoch first", "{e}.000 {m}"),
    "rfc 5424": ("syslog (RFC 5424)", '<34>1 2023-11-14T{t}Z cup7 tead 71 ID{i} [x@9 a="b]" c="\\"d"] {m}'),
    "rfc 5424 bare": ("syslog (RFC 5424)", "<34>1 2023-11-14T{t}.000+00:00 cup7 tead - - - {m}"),
    "iso, level, class": ("log4j-like", "2023-11-14T{t}Z INFO tea.Pot: {m}"),
    "bars": ("log4j-like", "2023-11-14 {t}.000 | INFO     | tea.pot:pour:7 - {m}"),
    "level in the bracket": ("log4j-like", "[2023-11-14T{t}Z INFO  tea::pot] {m}"),
    "comma": ("log4j-like", "2023-11-14 {t}, Info     {m}"),
    "month by name": ("time first", "[14/Nov/2023 {t}] {m}"),
    "zookeeper": ("log4j-like", "2023-11-14 {t},000 - INFO  [worker[id=1]/cup:Pot@77] - {m}"),
    "log4j thread": ("log4j-like", "2023-11-14 {t},000 - WARN [main] {m}"),
    "hadoop": ("log4j-like", "2023-11-14 {t},000 INFO [pot 0 on 77] org.tea.Pot: {m}"),
    "hdfs": ("log4j-like", "231114 {t} 71 INFO tea.Pot$Lid: {m}"),
    "spark": ("log4j-like", "23/11/14 {t} ERROR tea.Pot: {m}"),
    "spring": ("log4j-like", "2023-11-14 {t}.000  INFO 71 --- [main] o.tea.Pot      : {m}"),
    "logback": ("log4j-like", "2023-11-14 {t}.000 [main] DEBUG o.tea.Pot - {m}"),
    "python": ("log4j-like", "2023-11-14 {t},000 - tea.pot - INFO - {m}"),
    "openstack": ("log4j-like", "tea.log.1 2023-11-14 {t}.000 71 INFO tea.pot {m}"),
    "bracketed": ("log4j-like", "[2023-11-14T{t}Z] [error] {m}"),
    "apache error": ("Apache error log", "[Tue Nov 14 {t} 2023] [notice] {m}"),
    "level first": ("log4j-like", "INFO: 2023/11/14 {t} {m}"),
    "zoned": ("log4j-like", "2023-11-14 {t} +0000 INFO {m}"),
    "time only": ("time first", "2023-11-14T{t} {m}"),
    "json": ("JSON lines", '{{"level":"info","ts":"2023-11-14T{t}.000Z","msg":"{m}","n":{i}}}'),
    "json, time last": ("JSON lines", '{{"message": "{m}", "id": {i}, "timestamp": {e}}}'),
    "json, ms": ("JSON lines", '{{"time":{e}000,"pid":7,"msg":"{m}"}}'),
    "json, float": ("JSON lines", '{{"ts":{e}.5,"msg":"{m}"}}'),
    "logfmt": ("logfmt", 'ts=2023-11-14T{t}Z level=info msg="{m}" n={i}'),
    "logfmt, time last": ("logfmt", 'level=info msg="{m}" n={i} time="2023-11-14T{t}Z"'),
}
NO_YEAR = {
    "rfc 3164": ("syslog (RFC 3164)", "Nov 14 {t} cup7 tead[71]: {m}", "tead[71]: "),
    "rfc 3164 with priority": ("syslog (RFC 3164)", "<13>Nov 14 {t} cup7 tead: {m}", "tead: "),
    "rfc 3164, day of one digit": ("syslog (RFC 3164)", "Nov  4 {t} cup7 tead: {m}", "tead: "),
    "android": ("log4j-like", "11-14 {t}.000 71 INFO Pot: {m}", ""),
    "level": ("log4j-like", "Nov 14 {t} INFO tea.Pot: {m}", ""),
    "month and day only": ("time first", "11-14 {t} {m}", ""),
}
NO_TIME = {
    "time of day": ("log4j-like", "{t}.250 [main] INFO  o.tea.Pot - {m}"),
    "no known form": ("JSON lines", '{{"at":"teatime","msg":"{m}"}}'),
}


def read_with(found, lines):
    return cut(pl.DataFrame({"line": lines}), found.form)


@pytest.mark.parametrize("which", FORMATS)
def test_format_times_and_messages(which):
    name, template = FORMATS[which]
    # HDFS writes its time of day without colons.
    lines = [line.replace(":", "", 2) if which == "hdfs" else line for line in lines_as(template)]
    found = guess(lines)
    table = read_with(found, lines)
    assert (found.name, found.matched, found.timed, found.form.label) == (name, 1.0, 1.0, "none")
    assert table["message"].to_list() == brewed()
    assert [int(time) for time in table["time"]] == [EPOCH + i for i in range(40)]


@pytest.mark.parametrize("which", NO_YEAR)
def test_format_without_a_year(which):
    name, template, before = NO_YEAR[which]
    lines = lines_as(template)
    found = guess(lines)
    assert (found.name, found.matched, found.timed) == (name, 1.0, 1.0)
    table = read_with(found, lines)
    assert table["message"].to_list() == [before + message for message in brewed()]
    start = 10 * DAY if "one digit" in which else 0
    # In the year 2000, until a year is given.
    assert [int(time) for time in table["time"]] == [EPOCH + i - YEARS_2000_TO_2023 - start for i in range(40)]


@pytest.mark.parametrize("which", NO_TIME)
def test_format_without_a_whole_time_says_so(which):
    name, template = NO_TIME[which]
    lines = lines_as(template)
    found = guess(lines)
    assert (found.name, found.matched, found.form.time) == (name, 1.0, "")
    assert [m.split(": ")[-1] for m in read_with(found, lines)["message"]] == brewed()
    assert any("time" in note for note in found.notes)


@pytest.mark.parametrize("which", FORMATS)
@pytest.mark.parametrize("word", ["SPILL", "-"])
def test_label_never_stands_in_the_message(which, word):
    name, template = FORMATS[which]
    lines = [line.replace(":", "", 2) if which == "hdfs" else line for line in lines_as(template)]
    labelled = [f"{word if i % 10 == 3 else '-'} {line}" for i, line in enumerate(lines)]
    for label in (None, "none"):
        found = guess(labelled, label)
        table = read_with(found, labelled)
        assert found.name == name
        assert table["message"].to_list() == brewed()
        expected = [int(word != "-" and i % 10 == 3) for i in range(40)] if label is None else [-1] * 40
        assert table["label"].to_list() == expected


def test_syslog_with_iso_times_keeps_the_program():
    lines = lines_as("2023-11-14T{t}.000001+00:00 cup7 tead[71]: {m}")
    found = guess(lines)
    table = read_with(found, lines)
    assert (found.name, found.matched, found.timed) == ("syslog (RFC 5424)", 1.0, 1.0)
    assert table["message"].to_list() == [f"tead[71]: {message}" for message in brewed()]
    assert table["time"][7] == pytest.approx(EPOCH + 7.000001)


def test_syslog_line_without_a_program_keeps_its_header_out():
    lines = [*lines_as("Nov 14 {t} cup7 tead[71]: {m}"), "Nov 14 22:15:00 cup7 last message repeated 3 times"]
    found = guess(lines)
    assert found.matched == 1.0
    assert read_with(found, lines)["message"][-1] == "last message repeated 3 times"


def test_access_log():
    lines = lines_as('10.0.0.{i} - - [14/Nov/2023:{t} +0000] "GET /cup/{i} HTTP/1.1" 200 {i}')
    combined = [f'{line} "-" "browser {i}"' for i, line in enumerate(lines)]
    for sample in (lines, combined, [f"cup.example:80 {line}" for line in combined]):
        found = guess(sample)
        table = read_with(found, sample)
        assert (found.name, found.matched, found.timed) == ("access log", 1.0, 1.0)
        assert table["message"][5] == '"GET /cup/5 HTTP/1.1" 200 5'
        assert table["time"][5] == EPOCH + 5


def test_escaped_quotes_stay_inside_the_message():
    lines = [f'{{"ts":{EPOCH},"msg":"lid \\"{i}\\" fell","x":"msg"}}' for i in range(9)]
    assert read_with(guess(lines), lines)["message"][3] == 'lid \\"3\\" fell'
    lines = [f'ts={EPOCH} msg="lid \\"{i}\\" fell" x=msg' for i in range(9)]
    assert read_with(guess(lines), lines)["message"][3] == 'lid \\"3\\" fell'


def test_logfmt_with_bare_and_quoted_messages():
    lines = [f"ts={EPOCH} msg={'poured' if i % 2 else chr(34) + 'poured again' + chr(34)} cup={i}" for i in range(20)]
    assert read_with(guess(lines), lines)["message"].unique().sort().to_list() == ["poured", "poured again"]
    lines = [f'ts={EPOCH} msg="set cup={i} now" n=1' for i in range(20)]
    assert read_with(guess(lines), lines)["message"][4] == '"set cup=4 now"'


def test_fields_in_changing_order_lose_the_time_and_say_so():
    lines = [
        f'{{"ts":{EPOCH},"msg":"poured {i}"}}' if i % 2 else f'{{"msg":"poured {i}","ts":{EPOCH}}}' for i in range(20)
    ]
    found = guess(lines)
    assert read_with(found, lines)["message"].to_list() == [f"poured {i}" for i in range(20)]
    assert found.form.time == ""
    assert any("no fixed order" in note for note in found.notes)


@pytest.mark.parametrize("line", ['{{"tea":"green","cups":{i}}}', "tea=green cups={i}"])
def test_fields_without_a_message_are_kept_whole(line):
    lines = [line.format(i=i) for i in range(20)]
    found = guess(lines)
    assert read_with(found, lines)["message"].to_list() == lines
    assert "the whole line is the message" in " ".join(found.notes)


def test_nested_message_is_not_taken_for_the_outer_one():
    lines = [f'{{"a":{{"msg":"inner {i}"}},"msg":"outer {i}"}}' for i in range(20)]
    assert read_with(guess(lines), lines)["message"].to_list() == [f"outer {i}" for i in range(20)]
    deep = '{"a":{"a":{"a":{"a":{"msg":"inner"}}}},"msg":"outer"}'
    found = guess([deep] * 9)
    assert read_with(found, [deep])["message"].to_list() == [deep]
    assert "cannot be cut out" in " ".join(found.notes)


@pytest.mark.parametrize(
    "lines",
    [
        [
            line
            for pair in zip(*(lines_as(FORMATS[w][1]) for w in ("bgl", "spark", "json")), strict=True)
            for line in pair
        ],
        [f"tea {'!' * (i % 7)} time" for i in range(50)],
        ["{[(\\", '"', "= = =", "- - -", "[", "<34>", "\t", "é" * 100, "{}", "[1]"],
        ["x"],
    ],
    ids=["mixed", "prose", "garbage", "one letter"],
)
def test_anything_else_is_unknown_and_no_match(lines):
    found = guess(lines)
    assert (found.name, found.form, found.matched) == (UNKNOWN, Format(), 0.0)
    assert read_with(found, lines)["message"].to_list() == lines


def test_stack_traces_do_not_hide_the_format():
    lines = [part for line in lines_as(FORMATS["hadoop"][1]) for part in (line, line, "\tat tea.Pot.pour(Pot.java:7)")]
    found = guess(lines)
    assert found.name == "log4j-like"
    assert found.matched == pytest.approx(2 / 3)


def test_label_can_be_given():
    lines = [f"{'bad' if i == 3 else 'good'} {m}" for i, m in enumerate(brewed())]
    found = guess(lines, "first-token")
    assert (found.form.label, found.form.normal) == ("first-token", "good")
    assert read_with(found, lines)["label"].sum() == 1
    assert "'good' is taken as normal" in " ".join(found.notes).replace(",", "")
    assert guess(lines).form.label == "none"


def test_bullets_are_no_labels():
    assert guess([f"- buy {item}" for item in ITEMS]).form.label == "none"


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("pour for user_id=u{0} now", r"\buser_id=[A-Za-z0-9_.:-]+"),
        ("order-{0} brewed", r"\border\-[0-9][0-9_]*\b"),
        ("req-0a1b2c3d-0000-4000-8000-{0:012} brewed", SESSIONS[1]),
        ("task_{0}_7 brewed", r"\btask_[0-9][0-9_]*\b"),
        ("line {0} of prose", ""),
    ],
)
def test_session_suggestion(message, pattern):
    lines = [f"{EPOCH + i} {message.format(i // 4)}" for i in range(40)]
    assert guess(lines).session == pattern
    assert guess([f"{EPOCH + i} {message.format(i)}" for i in range(40)]).session == ""


def test_head_of_packed_files(tmp_path):
    content = "\n".join(brewed()).encode()
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as archive:
        archive.writestr("tea.log", content)
    for name, packed in (
        ("a.log", content),
        ("a.log.gz", gzip.compress(content)),
        ("a.log.xz", lzma.compress(content)),
        ("a.log.bz2", bz2.compress(content)),
        ("a.log.zst", zstandard.compress(content)),
        ("a.log.zip", box.getvalue()),
    ):
        (tmp_path / name).write_bytes(packed)
        assert head(tmp_path / name) == (brewed(), ())
        assert count_lines(tmp_path / name) == 40


@pytest.mark.parametrize("content", [b"a", b"a\n", b"a\n\nb", b"\n\n", b"a\r\nb\r\n", b"a\rb\n", b" \n\t"])
def test_lines_are_counted_as_the_reader_counts_them(tmp_path, content):
    (tmp_path / "a.log").write_bytes(content)
    assert count_lines(tmp_path / "a.log") == len(pl.read_lines(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.log", b"", "no line to look at"),
        ("a.log", b" \n\n\r\n", "no line to look at"),
        ("a.log", "\u00a0\n\u3000".encode(), "no line to look at"),
        ("a.log", b"\n" * 2000 + b"tea", "no line to look at among its first 2000"),
        ("a.log", b"\x89PNG\0\0\0\0" * 9, "control bytes"),
        ("a.log", "tea".encode("utf-16"), "text in UTF-16, not in UTF-8"),
        ("a.log", gzip.compress("".join(brewed(999)).encode()), "rename it to .a.log.gz"),
        ("a.gz", b"no gzip", "cannot be unpacked"),
        ("a.gz", gzip.compress(b"tea\n" * 9999, mtime=0)[:-12], "cannot be unpacked"),
        ("a.xz", b"no xz", "cannot be unpacked"),
        ("a.zip", b"no zip", "cannot be unpacked"),
        ("a.log.7z", b"x", "unpack it"),
    ],
)
def test_files_that_are_no_log(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BenchError, match=complaint) as caught:
        head(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_giant_line_and_latin_1(tmp_path):
    giant, latin = tmp_path / "giant.log", tmp_path / "latin.log"
    giant.write_bytes(b"tea " * (HEAD_BYTES // 4 + 1000))
    lines, notes = head(giant)
    assert (len(lines), count_lines(giant), guess(lines).name) == (1, 1, UNKNOWN)
    assert "longer than 4 MB" in notes[0]
    latin.write_bytes("\n".join(f"{EPOCH} thé {i}" for i in range(9)).encode("latin-1"))
    lines, notes = head(latin)
    assert notes[0].startswith("9 of these lines have bytes that are no UTF-8")
    assert guess(lines).name == "epoch first"


def test_partial_last_line_is_left_out(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"first\n" + b"x" * HEAD_BYTES)
    assert head(path) == (["first"], ())


def test_patterns_are_read_alike_by_python_and_polars():
    lines = [
        line
        for which, (_, template, *_) in (FORMATS | NO_TIME | NO_YEAR).items()
        for line in [x.replace(":", "", 2) if which == "hdfs" else x for x in lines_as(template)[:5]]
    ]
    shapes = list(dict.fromkeys(shape for line in lines[::5] for shape in time_shapes([line])))
    few = dict.fromkeys(layout.header for file in layout_files() for layout in file.layouts(shapes[::6]))
    headers = [*few, *dict.fromkeys(guess([line] * 3).form.header for line in lines[::5])]
    hits = 0
    for header in headers:
        by_polars = cut(pl.DataFrame({"line": lines}), Format(header=header))
        matches = [re.search(header, line) for line in lines]
        assert by_polars["headerless"].to_list() == [match is None for match in matches], header
        cuts = [line if match is None else match["message"] for line, match in zip(lines, matches, strict=True)]
        assert by_polars["message"].to_list() == cuts, header
        hits += len(lines) - by_polars["headerless"].sum()
    assert hits > len(lines)


@pytest.mark.parametrize("pattern", [m for m, _ in (*MASKS, NUMBERS)] + list(SESSIONS))
def test_small_patterns_are_read_alike(pattern):
    lines = [line for _, template in FORMATS.values() for line in lines_as(template)[:3]]
    assert pl.Series(lines).str.replace_all(pattern, "#").to_list() == [re.sub(pattern, "#", line) for line in lines]


REAL = [
    ("bgl@raw12k", "bgl/first10k.log.gz", "BGL-like", "first-token", ""),
    ("bgl@raw12k", "bgl/sampled2k.log.gz", "BGL-like", "first-token", ""),
    ("hdfs@blocks-a", "hdfs/blocks_a.log.gz", "log4j-like", "none", SESSIONS[0]),
    ("tbird@raw29k", "thunderbird/lines_20051115.log.gz", FORMATS["thunderbird"][0], "first-token", ""),
    ("tbird@sampled2k", "thunderbird/sampled2k.log.gz", FORMATS["thunderbird"][0], "first-token", ""),
    ("spirit@lines-a", "spirit/lines_a.log.gz", "epoch first", "first-token", ""),
]


@pytest.mark.parametrize(("key", "file", "name", "label", "session"), REAL)
def test_real_logs_are_read_as_the_shipped_cards_read_them(real_data, key, file, name, label, session):
    lines, notes = head(real_data / file)
    found = guess(lines)
    assert (found.name, found.form.label, found.session, found.matched, notes) == (name, label, session, 1.0, ())
    raw = pl.read_lines(io.BytesIO(decompress(real_data / file)), name="line")
    shipped = cut(raw, catalogue(real_data).resolve(key).format)
    ours = cut(raw, found.form)
    assert (ours["message"] == shipped["message"]).mean() >= 0.99
    assert (ours["time"] == shipped["time"]).mean() >= 0.99
    assert ours["label"].equals(shipped["label"])
