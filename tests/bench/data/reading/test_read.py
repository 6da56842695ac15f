"""Readers: label, time and message of each line, whatever stands in the file."""

import dataclasses
import gzip
import hashlib
import io
import lzma
import re
import zipfile

import numpy as np
import pytest

from bench.data.cards.card import Card, DataFile, Format, ParserSettings
from bench.data.cards.catalogue import Catalogue, catalogue
from bench.data.reading.raw import open_raw
from bench.data.reading.read import read
from bench.data.reading.streams import content as decompress
from bench.errors import BenchError

RAW = ["bgl@raw12k", "tbird@raw29k", "spirit@lines-a", "hdfs@blocks-a"]
EPOCH = {"label": "first-token", "header": "^(?P<time>[0-9.]+) (?P<message>.*)$", "time": "epoch"}
BLOCKS = {
    "label": "label-file",
    "session": "blk_[0-9]+",
    "label_key": "BlockId",
    "label_value": "Label",
    "normal": "Normal",
}


@pytest.fixture
def log_of(own_system):
    """Read lines (bytes or text) as a user's system."""

    def make(content, form=EPOCH, masks=(), **extra):
        files = content if isinstance(content, dict) else {"a.log": content}
        files = {key: value.encode() if isinstance(value, str) else value for key, value in files.items()}
        found = own_system(files, format=dict(form), parser={"masks": list(masks)}, **extra)
        return read(found.resolve("app@mine"), found)

    return make


@pytest.fixture
def complaint(log_of):
    """The one sentence of what reading this complains about."""

    def make(*arguments, **fields):
        with pytest.raises(BenchError) as caught:
            log_of(*arguments, **fields)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return make


def lines_of(log):
    """The masked message of each line."""
    return [log.messages[message] for message in log.message_ids.tolist()]


def rebuilt(card, folder, content):
    """A real edition's card on other lines, in one file, and its catalogue."""
    (folder / "a.log").write_bytes(content)
    card = dataclasses.replace(card, files=(DataFile("a.log", hashlib.sha256(content).hexdigest()),))
    return card, Catalogue((card,), folder)


def raw_lines(card, data):
    for file in card.files_of("log"):
        yield from gzip.decompress((data / file.name).read_bytes()).decode(errors="replace").split("\n")[:-1]


# --- Lines -----------------------------------------------------------------------------------------------------------


def test_label_time_and_message(log_of):
    log = log_of("- 10 up\nBAD 12.5 down hard\n- 11 up\n")
    assert lines_of(log) == ["up", "down hard", "up"]
    assert log.messages == ("up", "down hard")
    assert log.labels.tolist() == [0, 1, 0]
    assert log.times.tolist() == [10, 12.5, 11]
    assert (log.message_ids.dtype, log.labels.dtype, log.times.dtype) == (np.int32, np.int8, np.float64)
    assert log.file_starts.tolist() == [0]
    assert (log.n_headerless, log.n_replaced, log.is_parsed) == (0, 0, False)
    assert log.session_codes is None


@pytest.mark.parametrize("line", ["CANARY 1 up", "CANARY no header", "CANARY", "CANARY\t1 up", "CANARY  1 up"])
def test_the_label_is_in_no_message(log_of, line):
    log = log_of(f"- 1 up\n{line}\n")
    assert not any("CANARY" in message for message in log.messages)
    assert log.labels.tolist() == [0, 1]


def test_a_line_whose_header_does_not_match_is_kept_without_its_label(log_of):
    log = log_of("- 1 up\nCANARY no header here\n- odd one\n- 2 up\n")
    assert lines_of(log) == ["up", "no header here", "odd one", "up"]
    assert log.labels.tolist() == [0, 1, 0, 0]
    assert log.n_headerless == 2
    assert np.isnan(log.times).tolist() == [False, True, True, False]


def test_a_label_that_is_a_word_of_the_message_stays_there(log_of):
    assert lines_of(log_of("BAD 1 BAD thing\n")) == ["BAD thing"]


def test_a_line_without_a_first_token_is_unlabelled(log_of):
    log = log_of("- 1 up\n\n 2 down\n- 3 up\n")
    assert log.labels.tolist() == [0, -1, -1, 0]
    assert lines_of(log)[1] == ""


def test_another_word_for_normal(log_of):
    log = log_of("ok 1 a\n- 2 b\n", {**EPOCH, "normal": "ok"})
    assert log.labels.tolist() == [0, 1]


def test_without_labels(log_of):
    log = log_of("1 a\n2 b\n", {**EPOCH, "label": "none"})
    assert log.labels.tolist() == [-1, -1]
    assert lines_of(log) == ["a", "b"]


def test_windows_line_ends(log_of):
    log = log_of("- 1 up\r\nBAD 2 down\r\n")
    assert lines_of(log) == ["up", "down"]
    assert log.n_headerless == 0


def test_last_line_without_newline(log_of):
    assert lines_of(log_of("- 1 up\n- 2 down")) == ["up", "down"]


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\r", "\x00"])
def test_only_a_newline_ends_a_line(log_of, mark):
    log = log_of(f"- 1 left{mark}right\n- 2 up\n")
    assert lines_of(log) == [f"left{mark}right", "up"]
    assert log.n_headerless == 0


def test_bytes_that_are_no_utf8_are_replaced_and_counted(log_of):
    log = log_of(b"- 1 caf\xe9\n- 2 caf\xc3\xa9\n- 3 \xff\xfe\n")
    assert lines_of(log) == ["caf\ufffd", "caf\xe9", "\ufffd\ufffd"]
    assert log.n_replaced == 2
    assert len(log) == 3


def test_empty_file(log_of):
    log = log_of({"a.log": b"", "b.log": b"- 1 up\n", "c.log": b""})
    assert len(log) == 1
    assert log.file_starts.tolist() == [0, 0, 1]


def test_files_without_any_line(complaint):
    assert "'app@mine' holds no line" in complaint({"a.log": b"", "b.log.gz": gzip.compress(b"")})


def test_files_follow_each_other_as_in_the_card(log_of):
    log = log_of({"z.log": "- 5 z\n- 6 z\n", "a.log": "- 1 a\n"})
    assert lines_of(log) == ["z", "z", "a"]
    assert log.file_starts.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("pattern", "text", "seconds"),
    [
        ("%y%m%d %H%M%S", "081109 203615", 1226262975),
        ("%Y-%m-%d %H:%M:%S,%3f", "2008-11-09 20:36:15,250", 1226262975.25),
        ("%Y-%m-%dT%H:%M:%S%z", "2008-11-09T21:36:15+0100", 1226262975),
        ("%Y-%m-%d", "2008-11-09", 1226188800),
    ],
)
def test_times_by_pattern(log_of, pattern, text, seconds):
    form = {"header": r"^\[(?P<time>[^\]]+)\] (?P<message>.*)$", "time": pattern}
    log = log_of(f"[{text}] up\n[soon] up\nup\n", form)
    assert log.times[0] == seconds
    assert np.isnan(log.times[1:]).all()
    assert lines_of(log) == ["up", "up", "up"]


def test_no_time_declared(log_of):
    assert np.isnan(log_of("- 1 up\n", {**EPOCH, "time": ""}).times).all()
    assert np.isnan(log_of("- up\n", {"label": "first-token"}).times).all()


def test_a_time_pattern_that_fits_no_line(complaint):
    text = complaint("- 1 up\n- 2 up\n", {**EPOCH, "time": "%Y-%m-%d"})
    assert "app@mine" in text
    assert "'%Y-%m-%d'" in text


def test_a_pattern_only_python_understands(complaint):
    text = complaint("- 1 up\n", {**EPOCH, "header": "^(?=1)(?P<message>.*)$", "time": ""})
    assert "app@mine" in text
    assert "look-around" in text
    assert "look-around" in complaint("- 1 up\n", masks=["(?<=u)p"])


def test_masks_are_one_alternation(log_of):
    # One after the other, `a1` would give `<*>` and then `<<*>>` or lose the second mask's match.
    log = log_of("- 1 a1 1 b <*> $1\n", masks=["a[0-9]", "[0-9]+|[*]"])
    assert lines_of(log) == ["<*> <*> b <<*>> $<*>"]


def test_masked_messages_are_distinct_in_order_of_first_occurrence(log_of):
    log = log_of("- 1 b 7\n- 2 a\n- 3 b 8\n- 4 a\n", masks=["[0-9]+"])
    assert log.messages == ("b <*>", "a")
    assert log.message_ids.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("key", RAW)
def test_real_lines_equal_what_python_reads(real_data, real_loader, key):
    card = catalogue(real_data).resolve(key)
    log = real_loader.log(card)
    header = re.compile(card.format.header)
    masks = re.compile("|".join(f"(?:{mask})" for mask in card.parser.masks))
    found = lines_of(log)
    for number, line in enumerate(raw_lines(card, real_data)):
        if number == 40_000:
            break
        label, rest = line.split(" ", 1) if card.format.label == "first-token" else (None, line)
        match = header.match(rest.rstrip("\r"))
        assert match, line
        assert found[number] == masks.sub("<*>", match["message"])
        assert label is None or log.labels[number] == (label != "-")
        assert card.format.time != "epoch" or log.times[number] == int(match["time"])


@pytest.mark.parametrize("key", ["bgl@raw12k", "tbird@raw29k", "spirit@lines-a"])
def test_real_labels_change_nothing_but_labels(real_data, tmp_path, key):
    card = catalogue(real_data).resolve(key)
    lines = list(raw_lines(card, real_data))[-15_000:]
    hidden = ["CANARY9" + line[line.index(" ") :] for line in lines]
    logs = []
    for content in (lines, hidden):
        logs.append(read(*rebuilt(card, tmp_path, "\n".join(content).encode())))
    assert logs[0].messages == logs[1].messages
    assert np.array_equal(logs[0].message_ids, logs[1].message_ids)
    assert np.array_equal(logs[0].times, logs[1].times)
    assert logs[1].labels.all()
    assert 0 < logs[0].labels.sum() < len(lines)


HEADERLESS = {"openstack_kalaki@sample": 313, "nezha_trainticket@d0129": 45}
"""Lines of broken dumps and rows of broken times."""
FURTHER = ["bgl@text-stream-a", "openstack_kalaki@sample"]
FURTHER += ["openstack_ids@ait", "hadoop_ids@ait", "trainticket_deeptralog@dev", "nezha_trainticket@d0129"]
FURTHER += [f"iotdb_multilog@{name}" for name in ("export", "network3_multi", "shutdown_multi", "compaction_multi")]


@pytest.mark.slow_cases("nezha_trainticket@d0129")
@pytest.mark.parametrize("key", [*RAW, "bgl@stream-a", "hdfs@sessions-345k", "tbird@sampled2k", *FURTHER])
def test_real_editions_hold_what_their_cards_say(real_loader, real_data, key):
    check_counts(catalogue(real_data).resolve(key), real_loader)


@pytest.mark.parametrize("key", ["bgl@simulated", "tbird@simulated", "hdfs@simulated"])
def test_simulated_editions_hold_what_their_cards_say(key):
    from bench.data.sequences.loader import Loader

    found = catalogue()
    check_counts(found.resolve(key), Loader(found))


def check_counts(card, loader):
    log = loader.log(card)
    counts = {"lines": len(log), "abnormal_lines": int((log.labels == 1).sum())}
    if card.has_sessions:
        counts |= {"sessions": len(log.session_ids), "abnormal_sessions": int((log.session_labels == 1).sum())}
    assert {name: counts[name] for name in card.counts} == dict(card.counts)
    assert log.n_headerless == HEADERLESS.get(card.key, 0)


def test_a_changed_grammar_is_noticed():
    card = dataclasses.replace(catalogue().resolve("bgl@simulated"), seed=16)
    with pytest.raises(BenchError, match="bgl@simulated"):
        read(card, catalogue())


# --- Packed files ----------------------------------------------------------------------------------------------------


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.log", b"- 1 up\n"),
        ("a.gz", gzip.compress(b"- 1 up\n", mtime=0)),
        ("a.xz", lzma.compress(b"- 1 up\n")),
        ("a.zip", zipped({"a.log": b"- 1 up\n"})),
    ],
)
def test_packed_files(log_of, name, content):
    assert lines_of(log_of({name: content})) == ["up"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.gz", b"- 1 up\n"),
        ("a.gz", gzip.compress(b"- 1 up\n" * 99, mtime=0)[:-9]),
        ("a.gz", gzip.compress(b"- 1 up\n" * 99, mtime=0)[:15] + b"\xff" * 9),
        ("a.xz", b"- 1 up\n"),
        ("a.xz", lzma.compress(b"- 1 up\n")[:-5]),
        ("a.zip", b"- 1 up\n"),
    ],
)
def test_damaged_files(complaint, name, content):
    text = complaint({name: content})
    assert f"'{name}'" in text
    assert "unpacked" in text


def test_zip_of_several_files(complaint):
    assert "2 files" in complaint({"a.zip": zipped({"a": b"- 1 up\n", "b": b"- 2 up\n"})})


def test_unpacking_what_is_not_there(tmp_path):
    with pytest.raises(BenchError, match=r"'gone\.log'"):
        decompress(tmp_path / "gone.log")


# --- Sessions --------------------------------------------------------------------------------------------------------


def pairs(log):
    """(session id, line) of all pairs."""
    assert log.session_codes is not None
    return sorted(
        (log.session_ids[c], n) for c, n in zip(log.session_codes.tolist(), log.session_lines.tolist(), strict=True)
    )


def test_a_line_belongs_to_every_session_it_names_once(log_of):
    log = log_of(
        {
            "a.log": "take blk_1\nask blk_2 and blk_1\nnothing\nblk_2 blk_2 blk_2\ntake blk_3\n",
            ("l.csv", "labels"): "BlockId,Label\nblk_2,Anomaly\nblk_1,Normal\nblk_9,Anomaly\n",
        },
        BLOCKS,
        masks=["blk_[0-9]+"],
    )
    assert pairs(log) == [("blk_1", 0), ("blk_1", 1), ("blk_2", 1), ("blk_2", 3), ("blk_3", 4)]
    assert log.session_ids == ("blk_1", "blk_2", "blk_3")
    assert log.session_labels.tolist() == [0, 1, -1]
    assert log.labels.tolist() == [-1] * 5
    assert lines_of(log)[1] == "ask <*> and <*>"


def test_session_ids_keep_their_zeros(log_of):
    log = log_of(
        {"a.log": "007 a\n7 b\n", ("l.csv", "labels"): "BlockId,Label\n007,1\n7,0\n"},
        {**BLOCKS, "session": "[0-9]+", "normal": "0"},
    )
    assert log.session_ids == ("007", "7")
    assert log.session_labels.tolist() == [1, 0]


def test_an_empty_label_cell_is_unlabelled(log_of):
    log = log_of({"a.log": "blk_1\nblk_2\n", ("l.csv", "labels"): "BlockId,Label\nblk_1,\nblk_2,Normal\n"}, BLOCKS)
    assert log.session_labels.tolist() == [-1, 0]


def test_mistakes_with_sessions(complaint):
    labels = b"BlockId,Label\nblk_1,Normal\n"
    assert "names a session" in complaint({"a.log": b"x\n", ("l.csv", "labels"): labels}, BLOCKS)
    assert "names none" in complaint({"a.log": b"blk_1\n"}, BLOCKS)
    wrong = complaint({"a.log": b"blk_1\n", ("l.csv", "labels"): b"Block,Label\nblk_1,Normal\n"}, BLOCKS)
    assert "'BlockId'" in wrong
    assert "Block, Label" in wrong
    assert "CSV" in complaint({"a.log": b"blk_1\n", ("l.csv", "labels"): b""}, BLOCKS)


def test_real_blocks_equal_what_python_finds(real_data, real_loader):
    card = catalogue(real_data).resolve("hdfs@blocks-a")
    log = real_loader.log(card)
    expected = [
        (block, number)
        for number, line in enumerate(raw_lines(card, real_data))
        for block in set(re.findall(r"blk_-?[0-9]+", line))
    ]
    assert pairs(log) == sorted(expected)
    rows = gzip.decompress((real_data / card.files_of("labels")[0].name).read_bytes()).decode().split()[1:]
    truth = dict(row.split(",") for row in rows)
    assert log.session_labels.tolist() == [truth[name] == "Anomaly" for name in log.session_ids]


# --- Pre-parsed editions ---------------------------------------------------------------------------------------------


@pytest.fixture
def stream_of(own_system):
    def make(events, templates="event_id,template\n9,nine\n30,  thirty \n12,\n,orphan\n", **fields):
        files = {("e.csv", "events"): events.encode(), ("t.csv", "templates"): templates.encode()}
        found = own_system(files, kind="id-stream", **fields)
        return read(found.resolve("app"), found)

    return make


def test_id_stream(stream_of):
    log = stream_of("pos,event_id,label\n0,9,\n1,30,\n2,30,0\n3,9,1\n4,12,0\n5,40,\n", drop_events=2)
    assert lines_of(log) == ["thirty", "nine", "unknown event 12", "unknown event 40"]
    assert log.labels.tolist() == [0, 1, 0, -1]
    assert log.is_parsed
    assert np.isnan(log.times).all()
    assert log.message_ids.dtype == np.int32


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("event_id,label\nE5,0\n", "'E5'"),
        ("event_id,label\n5,Normal\n", "'Normal'"),
        ("event_id,label\n,0\n5,0\n", "event_id"),
        ("event,label\n5,0\n", "'event_id'"),
    ],
)
def test_mistakes_in_an_id_stream(stream_of, events, expected):
    with pytest.raises(BenchError) as caught:
        stream_of(events)
    assert expected in str(caught.value)
    assert "app@mine" in str(caught.value)


def test_mistake_in_the_templates(stream_of):
    with pytest.raises(BenchError, match="'inferred'"):
        stream_of("event_id,label\n5,0\n", template_column="inferred")


def test_real_id_stream(real_data, real_loader):
    log = real_loader.log(catalogue(real_data).resolve("bgl@stream-a"))
    rows = gzip.decompress((real_data / "bgl/stream_a.csv.gz").read_bytes()).decode().splitlines()[1:]
    assert all(row.endswith(",") for row in rows[:20])
    assert log.labels.tolist() == [int(row.rpartition(",")[2]) for row in rows[20:]]
    names = lines_of(log)
    events = [row.split(",")[1] for row in rows[20:]]
    by_id = dict(zip(events, names, strict=True))
    assert [by_id[event] for event in events] == names
    assert by_id["169"] == "generating <*>"
    unknown = {event: name for event, name in by_id.items() if name.startswith("unknown event")}
    assert all(name == f"unknown event {event}" for event, name in unknown.items())
    assert (len(by_id), len(unknown)) == (244, 26)


@pytest.fixture
def sessions_of(own_system):
    def make(**arrays):
        buffer = io.BytesIO()
        np.savez(buffer, **{name: np.array(array) for name, array in arrays.items()})
        files = {("s.npz", "sessions"): buffer.getvalue(), ("t.csv", "templates"): b"event_id,template\n3,three\n"}
        found = own_system(files, kind="id-sessions")
        return read(found.resolve("app"), found)

    return make


def test_id_sessions(sessions_of):
    log = sessions_of(X=[[3, 7, 0], [0, 0, 0], [7, 7, 3]], y=[0, 1, 1])
    assert lines_of(log) == ["three", "unknown event 7", "unknown event 7", "unknown event 7", "three"]
    assert log.session_codes.tolist() == [0, 0, 2, 2, 2]
    assert log.session_lines.tolist() == [0, 1, 2, 3, 4]
    assert log.session_ids == ("0", "1", "2")
    assert log.session_labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "arrays", [{"X": [[1]]}, {"X": [[1]], "y": [0, 1]}, {"X": [1, 2], "y": [0, 1]}, {"X": [[None]], "y": [0]}]
)
def test_mistakes_in_id_sessions(sessions_of, arrays):
    with pytest.raises(BenchError, match=r"s\.npz"):
        sessions_of(**arrays)


def test_real_id_sessions(real_data, real_loader):
    log = real_loader.log(catalogue(real_data).resolve("hdfs@sessions-345k"))
    with np.load(real_data / "hdfs/sessions_345k.npz") as arrays:
        events, labels = arrays["X"], arrays["y"]
    lengths = np.bincount(log.session_codes, minlength=len(events))
    assert np.array_equal(lengths, (events != 0).sum(axis=1))
    assert np.array_equal(log.session_labels, labels)
    first = [log.messages[i] for i in log.message_ids[: lengths[0]]]
    assert len(set(first)) == len(set(events[0][events[0] != 0].tolist()))


def test_formats_of_a_card_are_data():
    card = Card("app", "mine", "t", "smoke", 1, "lines", "MIT", "nobody")
    assert card.format == Format()
    assert card.parser == ParserSettings()
    assert not card.has_sessions


def test_no_line_of_a_marked_log_shows_its_mark(real_loader, real_data):
    """Normal lines of IoTDB begin with "- ", abnormal ones do not: whoever saw whole lines would see the label."""
    found = catalogue(real_data)
    card = found.resolve("iotdb_multilog@export")
    lines = open_raw(card, found, real_loader.log(card))
    assert lines is not None
    assert not lines.str.starts_with("- ").any()
