"""Lines -> log: the same whatever the blocks, the threads and the slice, and every defect counted where it first is."""

import bz2
import dataclasses
import functools
import gzip
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.cards.card import Card, DataFile, Format, ParserSettings
from bench.data.cards.catalogue import Catalogue, slice_of
from bench.data.reading import streams
from bench.data.reading.read import read
from bench.errors import BenchError

EPOCH = Format(label="first-token", header="^(?P<time>[0-9.]+) (?P<message>.*)$", time="epoch")
BLOCKS = Format(header=EPOCH.header, time="epoch", session="blk_[0-9]+")
MASKS = ("[0-9]+",)
_BLOCKS = streams.blocks


def card_of(folder, files, form=EPOCH, **fields):
    """A card whose log files are these contents, in their order, and its catalogue."""
    rows = []
    for name, content in files.items():
        (folder / name).write_bytes(content)
        rows.append(DataFile(name, hashlib.sha256(content).hexdigest()))
    values = {"files": tuple(rows), "format": form, "parser": ParserSettings(MASKS), **fields}
    card = Card("app", "mine", "t", "smoke", 1, "lines", "MIT", "nobody", **values)
    return card, Catalogue((card,), folder)


@pytest.fixture
def log_of(tmp_path):
    """Read files, or the lines of one."""

    def make(files, form=EPOCH, **fields):
        files = files if isinstance(files, dict) else {"a.log": files}
        return read(*card_of(tmp_path, files, form, **fields))

    return make


def in_blocks(monkeypatch, size):
    """Have all files read in blocks of this size."""
    monkeypatch.setattr(streams, "blocks", functools.partial(_BLOCKS, size=size))


def contents(log):
    """All that a log holds, as comparable values; times as text, since NaN is not equal to itself."""
    values = {field.name: getattr(log, field.name) for field in dataclasses.fields(log)}
    return {
        name: (str(value.dtype), list(map(str, value.tolist()))) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def messages_of(log):
    return [log.messages[i] for i in log.message_ids.tolist()]


def defects_of(log):
    return {defect.kind: (defect.count, defect.first_line) for defect in log.defects}


# --- Blocks and threads ----------------------------------------------------------------------------------------------

PIECES = [b"-", b"BAD", b"WORSE", b"10", b"9", b"11.5", b"inf", b"x", b"x^", b"blk_1", b"blk_22", b"up", b"\xc3\xa9"]
PIECES += [b"\xff", b"\xef\xbb\xbf", b"\0", b"\r", b"\t", b"", b"7" * 40]
SEPARATORS = st.sampled_from([b"\n", b"\n", b"\r\n"])
LINE = st.lists(st.sampled_from(PIECES), max_size=6).map(b" ".join)
FILE = st.lists(st.tuples(LINE, SEPARATORS).map(b"".join), max_size=12).map(b"".join)


@given(st.lists(FILE, min_size=1, max_size=3), st.integers(1, 60), st.sampled_from([EPOCH, BLOCKS]), st.booleans())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_the_size_of_a_block_changes_nothing(tmp_path_factory, files, size, form, ends):
    folder = tmp_path_factory.getbasetemp()
    files = {f"{i}.log": content if ends else content.rstrip(b"\n") for i, content in enumerate(files)}
    card, known = card_of(folder, files, form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "MAX_LINE_BYTES", 30)
        whole = outcome(card, known)
        in_blocks(patch, size)
        assert outcome(card, known) == whole


def outcome(card, known):
    """What a log holds, or the complaint."""
    try:
        return contents(read(card, known))
    except BenchError as error:
        return str(error)


def test_ties_of_alerts_have_one_order(log_of, monkeypatch):
    content = b"".join(b"%s 1 up\n" % token for token in (b"B", b"A", b"C", b"A", b"D", b"-"))
    assert log_of(content).alerts == (("A", 2), ("B", 1), ("C", 1), ("D", 1))
    in_blocks(monkeypatch, 5)
    assert log_of(content).alerts == (("A", 2), ("B", 1), ("C", 1), ("D", 1))


READ = """
import json, sys
from pathlib import Path
import numpy as np
import polars as pl
from bench.data.reading import streams
from bench.data.cards.catalogue import catalogue
from bench.data.reading.read import read
size = int(sys.argv[2])
blocks = streams.blocks
streams.blocks = lambda path, member="": blocks(path, member, size=size)
found = catalogue(Path(sys.argv[1]))
log = read(found.resolve("app@mine"), found)
arrays = [a.tolist() for a in (log.message_ids, log.labels, log.session_lines, log.session_codes)]
texts = [list(log.messages), list(log.session_ids), log.notes, log.alerts, [str(d) for d in log.defects]]
print(json.dumps([pl.thread_pool_size(), [arrays, [str(t) for t in log.times.tolist()], texts]]))
"""


def test_the_number_of_threads_changes_nothing(own_system):
    rng = np.random.default_rng(0)
    rows = [f"{'-' if i % 9 else 'BAD'} {i} blk_{rng.integers(50)} word{'abc'[i % 3]} \u00e9\n" for i in range(3000)]
    rows[1234] = "no header\n"
    files = {"a.log": "".join(rows[:2000]).encode(), "b.log": "".join(rows[2000:]).encode()}
    form = {"label": "first-token", "header": EPOCH.header, "time": "epoch", "session": "blk_[0-9]+"}
    folder = own_system(files, format=form).data_dir
    answers = []
    for threads, size in (("1", 1 << 24), ("2", 700), ("2", 1 << 24)):
        environment = {**os.environ, "POLARS_MAX_THREADS": threads}
        command = [sys.executable, "-c", READ, folder, str(size)]
        found = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
        assert found[0] == int(threads)
        answers.append(found[1])
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0][0][0]) == 3000
    assert answers[0][2][4] == ["1 lines without the card's header (kept whole as message), the first is line 1,235"]


# --- Lines that are not as they should be ----------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"x^", b"x\x01", b"x\x5e 1 2", b"PAR1"])
def test_a_text_that_looks_packed(log_of, start):
    log = log_of(start + b" 1 up\n- 2 up\n")
    assert len(log) == 2
    assert messages_of(log)[1] == "up"
    assert log.labels.tolist() == [1, 0]


def test_a_byte_order_mark_is_no_part_of_the_first_line(log_of):
    log = log_of({"a.log": b"\xef\xbb\xbf- 1 up\n\xef\xbb\xbf- 2 up\n", "b.log": b"\xef\xbb\xbf", "c.log": b"- 3 up"})
    assert log.labels.tolist() == [0, 1, 0]
    assert log.times.tolist() == [1, 2, 3]
    assert log.file_starts.tolist() == [0, 2, 2]


def test_windows_line_ends_in_some_lines(log_of):
    log = log_of(b"- 1 up\r\n- 2 up\n- 3 do\rwn\r\n")
    assert messages_of(log) == ["up", "up", "do\rwn"]
    assert log.defects == ()


@pytest.mark.parametrize("size", [1, 9, 1 << 24])
def test_defects_with_their_first_line_over_blocks_and_files(log_of, monkeypatch, size):
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 30)
    in_blocks(monkeypatch, size)
    log = log_of(
        {
            "a.log": b"- 1 up\n- 2 up\n- 3.. up\n",  # line 3: no time
            "b.log": b"- 4 \xff\n- five\n",  # 4: bytes, 5: no header
            "c.log": b"- 6 \0\n- 7 \xe9 \0\n- 8 " + b"z" * 40 + b"\n- nine\n",  # 6 and 7: NUL, 7: bytes, 8: long
        }
    )
    assert defects_of(log) == {
        "replaced": (2, 4),
        "headerless": (2, 5),
        "cut": (1, 8),
        "nul": (2, 6),
        "timeless": (1, 3),
    }
    assert [defect.kind for defect in log.defects] == ["replaced", "headerless", "cut", "nul", "timeless"]
    assert log.defective_share == 8 / 9
    assert len(log) == 9
    assert messages_of(log)[7] == "z" * 26
    assert "first is line 4" in str(log.defects[0])


def test_mixed_encodings(log_of):
    text = "- 1 caf\u00e9\n"
    log = log_of(text.encode() + text.encode("latin-1") + text.encode() + text.encode("utf-16-le"))
    assert messages_of(log)[:3] == ["caf\u00e9", "caf\ufffd", "caf\u00e9"]
    assert defects_of(log)["replaced"] == (2, 2)
    assert defects_of(log)["nul"] == (2, 4)


def test_times_that_go_back_keep_the_order_of_the_lines(log_of, monkeypatch):
    content = b"- 5 a\n- 3 b\n- x c\n- 4 d\n- 2 e\n- 9 f\n"
    for size in (1, 1 << 24):
        in_blocks(monkeypatch, size)
        log = log_of(content)
        assert messages_of(log) == ["a", "b", "x c", "d", "e", "f"]
        assert log.notes == ("time goes back at 2 lines; the order of the lines is kept",)


@pytest.mark.parametrize("word", ["inf", "-inf", "nan", "1e999", "soon", "1700000000000"])
def test_a_time_is_a_moment_of_the_calendar(log_of, word):
    form = Format(header=r"^(?P<time>\S+) (?P<message>.*)$", time="epoch")
    log = log_of(f"1 up\n{word} up\n2 up\n".encode(), form)
    assert np.isnan(log.times).tolist() == [False, True, False]
    assert defects_of(log) == {"timeless": (1, 2)}
    assert log.notes == ()


def test_nothing_of_the_name_of_a_file_is_in_the_log(log_of):
    content = b"- 1 up\nBAD 2 down 7\nodd\n"
    assert contents(log_of({"a.log": content})) == contents(log_of({"CANARY-9 BAD.log": content}))


@pytest.mark.parametrize("session", ["(?=b)blk_[0-9]+", "(?<!x)blk"])
def test_a_session_pattern_only_python_understands(log_of, session):
    with pytest.raises(BenchError, match="'app@mine' has a pattern that cannot be used"):
        log_of(b"1 blk_1\n", dataclasses.replace(BLOCKS, session=session))


# --- Slices ----------------------------------------------------------------------------------------------------------


def numbered(first, stop):
    return b"".join(b"%s %d line\n" % (b"BAD" if i % 7 == 0 else b"-", i) for i in range(first, stop))


@pytest.mark.parametrize("size", [1, 40, 1 << 24])
@pytest.mark.parametrize("part", [(0, 1), (0, 30), (5, 10), (9, 11), (10, 20), (10, 11), (12, 29), (29, 30)])
def test_a_slice_is_that_part_of_the_whole(tmp_path, monkeypatch, size, part):
    files = {"a.log": numbered(0, 10), "b.log": b"", "c.log.gz": gzip.compress(numbered(10, 20)), "d": numbered(20, 30)}
    card, known = card_of(tmp_path, files)
    whole = read(card, known)
    in_blocks(monkeypatch, size)
    log = read(slice_of(card, *part, "lines"), known)
    lines = slice(*part)
    assert messages_of(log) == messages_of(whole)[lines]
    assert log.times.tolist() == list(range(*part))
    assert log.labels.tolist() == whole.labels.tolist()[lines]
    starts = {start - part[0] for start in whole.file_starts.tolist() if part[0] < start < part[1]}
    assert set(log.file_starts.tolist()) == {0, *starts}


def test_a_slice_of_a_file_without_a_last_newline(tmp_path):
    card, known = card_of(tmp_path, {"a": b"- 1 a\n- 2 b", "b": b"- 3 c\n- 4 d"})
    assert messages_of(read(slice_of(card, 1, 4, "lines"), known)) == ["b", "c", "d"]
    assert messages_of(read(slice_of(card, 0, 2, "lines"), known)) == ["a", "b"]


def test_a_slice_reads_no_file_behind_it(tmp_path):
    card, known = card_of(tmp_path, {"a": b"- 1 a\n- 2 b\n", "b.gz": b"damaged"})
    assert len(read(slice_of(card, 0, 2, "lines"), known)) == 2
    with pytest.raises(BenchError, match=r"b\.gz"):
        read(slice_of(card, 0, 3, "lines"), known)


def test_a_slice_beyond_the_end(tmp_path):
    card, known = card_of(tmp_path, {"a": b"- 1 a\n- 2 b\n"})
    with pytest.raises(BenchError, match=r"'app@mine\.lines-1-3' ends at line 2"):
        read(slice_of(card, 1, 3, "lines"), known)


def test_defects_of_a_slice_are_its_own(tmp_path):
    card, known = card_of(tmp_path, {"a": b"- odd\n- 2 b\n- odd\n- 4 d\n"})
    assert defects_of(read(slice_of(card, 1, 4, "lines"), known)) == {"headerless": (1, 2)}


def test_a_slice_of_an_id_stream(own_system):
    events = "event_id,label\n" + "".join(f"{i % 5},{int(i % 4 == 0)}\n" for i in range(20))
    found = own_system({("e.csv", "events"): events.encode()}, kind="id-stream", drop_events=2)
    whole, part = (read(found.resolve(key), found) for key in ("app@mine", "app@mine.lines-3-9"))
    assert messages_of(part) == messages_of(whole)[3:9]
    assert part.labels.tolist() == whole.labels.tolist()[3:9]
    with pytest.raises(BenchError, match="has 18 events, not 19"):
        read(found.resolve("app@mine.lines-3-19"), found)


def test_an_id_stream_inside_a_zip(own_system):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("read.me", "words")
        archive.writestr("e.csv", "event_id,label\n3,0\n")
    found = own_system({("e.zip", "events"): buffer.getvalue()}, kind="id-stream")
    card = found.resolve("app")
    card = dataclasses.replace(card, files=(dataclasses.replace(card.files[0], inside="e.csv"),))
    assert messages_of(read(card, found)) == ["unknown event 3"]


@pytest.mark.parametrize("key", ["bgl@raw12k.lines-9000-11000", "hdfs@blocks-a.lines-100-3100"])
def test_a_slice_of_real_files(real_data, real_loader, key):
    from bench.data.cards.catalogue import catalogue

    card = catalogue(real_data).resolve(key)
    whole, part = real_loader.log(catalogue(real_data).resolve(key.partition(".lines")[0])), real_loader.log(card)
    first, stop = card.lines
    assert messages_of(part) == [whole.messages[i] for i in whole.message_ids[first:stop].tolist()]
    assert np.array_equal(part.times, whole.times[first:stop])
    assert np.array_equal(part.labels, whole.labels[first:stop])
    if whole.session_codes is not None:
        inside = (whole.session_lines >= first) & (whole.session_lines < stop)
        assert np.array_equal(part.session_lines, whole.session_lines[inside] - first)
        names = [whole.session_ids[c] for c in whole.session_codes[inside].tolist()]
        assert [part.session_ids[c] for c in part.session_codes.tolist()] == names


# --- Files and sessions ----------------------------------------------------------------------------------------------


def test_members_of_a_zip_are_files_in_the_order_of_their_names(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("x/2.log", "x/10.log", "x/1.log", "x/1.txt"):
            archive.writestr(name, f"- 1 {name[2:-4]}a\n- 1 end")
    card, known = card_of(tmp_path, {"a.zip": buffer.getvalue()}, parser=ParserSettings())
    card = dataclasses.replace(card, files=(dataclasses.replace(card.files[0], inside="x/*.log"),))
    log = read(card, known)
    assert messages_of(log) == ["1a", "end", "10a", "end", "2a", "end"]
    assert log.file_starts.tolist() == [0, 2, 4]
    card = dataclasses.replace(card, files=(dataclasses.replace(card.files[0], inside="*.csv"),))
    with pytest.raises(BenchError, match=r"matches '\*\.csv'"):
        read(card, known)


def test_sessions_from_the_names_of_files(tmp_path):
    form = Format(session="run_[0-9]+", session_from="file")
    files = {
        "run_1-a.log": b"up\nrun_9 is a word\n",
        "other.log": b"up\n",
        "run_2.log": b"up\n",
        "run_1-b.log": b"up\n",
    }
    log = read(*card_of(tmp_path, files, form))
    assert log.session_ids == ("run_1", "run_2")
    assert log.session_lines.tolist() == [0, 1, 3, 4]
    assert log.session_codes.tolist() == [0, 0, 1, 0]
    assert log.notes == ("1 sessions continue in a later file; their lines are taken together",)
    assert log.messages == ("up", "run_<*> is a word")


@pytest.mark.parametrize("size", [1, 1 << 24])
def test_sessions_that_continue_in_a_later_file_are_told(tmp_path, monkeypatch, size):
    in_blocks(monkeypatch, size)
    files = {"a": b"1 blk_1\n2 blk_2\n3 blk_1\n", "b": b"4 blk_3\n5 blk_1\n6 blk_1\n", "c": b"7 blk_1 blk_3\n8 blk_4\n"}
    log = read(*card_of(tmp_path, files, BLOCKS))
    assert log.session_ids == ("blk_1", "blk_2", "blk_3", "blk_4")
    assert log.notes == ("2 sessions continue in a later file; their lines are taken together",)
    alone = read(*card_of(tmp_path, {"a": files["a"]}, BLOCKS))
    assert alone.notes == ()


# --- Anything at all -------------------------------------------------------------------------------------------------

HEADERS = ["^(?P<message>.*)$", EPOCH.header, r"^(?P<time>\S+) (?P<message>.*)$", r"(?P<time>.*?)(?P<message>\S*)$"]
HEADERS += ["^(?P<time>[0-9]+) \\S+ (?P<message>.*)$", "(?P<message>)", "^(?P<message>(?:a|b)?)(?P<time>x)?"]
TIMES = ["", "epoch", "%s", "%Y-%m-%d", "%b %d %H:%M:%S", "%", "%Q", "%H:%M:%S%.f", "%Y" * 9, "%z", "%+", "\0", "%j"]
PACKS = {
    "a.log": bytes,
    "a.gz": lambda content: gzip.compress(content, mtime=0),
    "a.bz2": bz2.compress,
    "a.xz": lzma.compress,
    "a.zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.filterwarnings("ignore::polars.exceptions.ChronoFormatWarning")
@given(
    st.lists(st.tuples(st.sampled_from(sorted(PACKS)), st.one_of(FILE, st.binary(max_size=120))), max_size=2),
    st.builds(
        Format,
        label=st.sampled_from(["first-token", "none", "incidents"]),
        header=st.sampled_from(HEADERS),
        time=st.one_of(st.sampled_from(TIMES), st.text("%YmdHMSbjz.:- f3T", max_size=8)),
        session=st.sampled_from(["", "", "blk_[0-9]+", "[0-9]*", "(?=a)b", "a{9999999}"]),
        session_from=st.sampled_from(["message", "file"]),
        year=st.sampled_from([0, 0, 1, 2023, 9999]),
        normal=st.sampled_from(["-", "", "x"]),
    ),
    st.sampled_from([(), ("[0-9]+",), ("",), (".*",), ("(?<=a)b",), ("a|", "$"), (r"\b",)]),
)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_any_bytes_and_formats_give_a_log_or_one_sentence(tmp_path_factory, files, form, masks):
    folder = tmp_path_factory.getbasetemp()
    packed = {f"{i}{name}": PACKS[name](content) for i, (name, content) in enumerate(files)}
    card, known = card_of(folder, packed, form, parser=ParserSettings(masks), incidents=((5.0, 10.0),))
    try:
        log = read(card, known)
    except BenchError as error:
        assert "\n" not in str(error)
    else:
        check_valid(log)


def check_valid(log):
    n = len(log)
    assert len(log.labels) == len(log.times) == n > 0
    assert set(log.labels.tolist()) <= {-1, 0, 1}
    assert not np.isinf(log.times).any()
    assert log.message_ids.min() == 0
    assert log.message_ids.max() == len(log.messages) - 1
    assert len(set(log.messages)) == len(log.messages)
    assert (np.diff(log.file_starts) >= 0).all()
    assert all(defect.count > 0 and 1 <= defect.first_line <= n for defect in log.defects)
    if log.session_codes is not None:
        assert len(log.session_codes) == len(log.session_lines)
        assert 0 <= log.session_lines.min() <= log.session_lines.max() < n
        assert set(log.session_codes.tolist()) == set(range(len(log.session_ids)))
        assert set(log.session_labels.tolist()) <= {-1, 0, 1}
