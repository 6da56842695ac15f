"""Bytes become pieces of whole windows, however they come."""

import itertools
import os
import random
import threading
import time

import numpy as np
import pytest

from bench.data.sequences.grouping import Grouping
from bench.deploy.arriving import Cutter, file_blocks, pipe_blocks
from bench.deploy.windows import Windows, parse_span, parse_windows
from bench.errors import BenchError


def times_of(content):
    return np.array(
        [float(line.split()[0]) if line[:1].isdigit() else np.nan for line in content.decode().splitlines()]
    )


def scored(windows, parts, flush_s=None, *, has_sessions=False):
    """(first, last) line of each window as `score` would number them, from 1, and how many lines were left."""
    cutter = Cutter(windows, has_sessions, times_of, flush_s)
    found, first = [], 0
    for piece in cutter.pieces(iter(parts)):
        n_lines = piece.content.count(b"\n") + (not piece.content.endswith(b"\n"))
        size, step = piece.windows.lines.window_size, piece.windows.lines.window_step
        found += [(first + start + 1, first + start + size) for start in range(0, n_lines - size + 1, step)]
        first += piece.n_passed
    return found, cutter.n_unscored


def in_blocks(lines, seed):
    """Whole lines in blocks of odd sizes, now and then an empty one."""
    rng = random.Random(seed)
    start = 0
    while start < len(lines):
        size = rng.choice((0, 1, 2, 3, 7, 30))
        yield b"".join(lines[start : start + size])
        start += size


@pytest.mark.parametrize(("size", "step"), [(5, 5), (5, 2), (5, 1), (5, 8), (1, 1), (3, 20)])
def test_windows_do_not_depend_on_how_lines_come(size, step):
    for n_lines in (0, 1, size - 1, size, size + 1, 47, 60):
        lines = [b"%d x\n" % i for i in range(n_lines)]
        expected = [(start + 1, start + size) for start in range(0, n_lines - size + 1, step)]
        for seed in range(10):
            assert scored(Windows(Grouping(size, step)), in_blocks(lines, seed))[0] == expected, (n_lines, seed)


def test_lines_behind_the_last_window_are_counted_or_scored():
    lines = [b"%d x\n" % i for i in range(13)]
    assert scored(Windows(Grouping(5, 5)), in_blocks(lines, 1)) == ([(1, 5), (6, 10)], 3)
    assert scored(Windows(Grouping(5, 5)), in_blocks(lines, 1), flush_s=60) == ([(1, 5), (6, 10), (11, 13)], 0)
    assert scored(Windows(Grouping(20, 20)), [b"".join(lines)]) == ([], 13)
    # Of an overlapping window the lines that were scored are no rest.
    assert scored(Windows(Grouping(5, 3)), [b"".join(lines[:11])]) == ([(1, 5), (4, 8), (7, 11)], 0)


def test_a_last_line_without_an_end_completes_a_window():
    assert scored(Windows(Grouping(2, 2)), [b"1 a\n", b"2 b"]) == ([(1, 2)], 0)


@pytest.mark.parametrize("seed", range(20))
def test_windows_of_time_do_not_depend_on_how_lines_come(seed):
    rng = random.Random(seed)
    moments = sorted(rng.randrange(100, 400) for _ in range(50))
    lines = [b"%d x\n" % moment if rng.random() < 0.9 else b"no time\n" for moment in moments]
    whole, last = [], None
    for line in lines:
        number = int(line.split()[0]) // 10 if line[:1].isdigit() else last
        if number == last or last is None:
            whole = [*whole[:-1], (whole[-1] if whole else b"") + line]
        else:
            whole.append(line)
        last = number if number is not None else last
    # Windows of a piece are told apart again by the same numbers, so only pieces must not cut through one.
    pieces = list(Cutter(Windows(seconds=10), False, times_of).pieces(in_blocks(lines, seed)))
    assert b"".join(piece.content for piece in pieces) == b"".join(lines)
    cuts = set(itertools.accumulate(len(piece.content) for piece in pieces))
    assert cuts <= set(itertools.accumulate(map(len, whole)))


def test_what_waited_long_enough_is_scored():
    def parts():
        yield b"1 a\n2 b\n"
        time.sleep(0.06)
        yield b""
        yield b"3 c\n4 d\n5 e\n"

    for windows in (Windows(Grouping(5, 5)), Windows(seconds=60)):
        pieces = [piece.content for piece in Cutter(windows, False, times_of, 0.05).pieces(parts())]
        assert pieces == [b"1 a\n2 b\n", b"3 c\n4 d\n5 e\n"]
    sessions = [piece.content for piece in Cutter(Windows(), True, times_of, 0.05).pieces(parts())]
    assert sessions == pieces


def test_a_quiet_pipe_is_looked_at():
    read, write = os.pipe()

    def feed():
        os.write(write, b"one\ntw")
        time.sleep(0.3)
        os.write(write, b"o\n")
        os.close(write)

    threading.Thread(target=feed).start()
    with os.fdopen(read, "rb") as stream:
        parts = list(pipe_blocks(stream, 0.2))
    assert b"".join(parts) == b"one\ntwo\n"
    assert parts[0] == b"one\n"
    assert parts.count(b"") >= 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1f\x8b\x08\x00rest", "`zcat FILE | bench score MODEL -`"),
        (b"\x28\xb5\x2f\xfd\x00", "zstdcat"),
        ("some line\n".encode("utf-16"), "iconv -f UTF-16"),
        ("some line of it\n".encode("utf-16-le"), "iconv -f UTF-16"),
        ("\u65e5\u5fd7\u8bb0\u5f55\u5185\u5bb9\u5f88\u957f\u7684\u4e00\u884c\n".encode("utf-16"), "iconv -f UTF-16"),
    ],
)
def test_what_is_packed_or_of_another_encoding_is_refused(content, said):
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    with os.fdopen(read, "rb") as stream, pytest.raises(BenchError, match="standard input is") as error:
        list(pipe_blocks(stream))
    assert said in str(error.value)


def test_a_byte_order_mark_is_taken_off(tmp_path):
    file = tmp_path / "a.log"
    file.write_bytes(b"\xef\xbb\xbfone\ntwo\n")
    assert list(file_blocks(file)) == [b"one\ntwo\n"]


def test_windows_as_typed():
    assert parse_windows("30") == Windows(Grouping(30, 30))
    assert [str(parse_windows(text)) for text in ("30", "5m", "90s", "120s", "24h", "0.5s")] == [
        "30 lines",
        "5m",
        "90s",
        "2m",
        "1d",
        "0.5s",
    ]
    for text in ("", "0", "0s", "5 m", "-3", "m", "5w"):
        with pytest.raises(BenchError):
            parse_windows(text)
    with pytest.raises(BenchError, match="--flush 60 is no number with s, m, h or d"):
        parse_span("60", "--flush", "60s")
