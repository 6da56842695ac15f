"""Lines as words: what is left of a line, equal lines once, words that training never had."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bench.types import RawLines, Sequences
from methods.shared import line_tokens
from methods.shared.line_tokens import Vocabulary, words_of


def log_of(lines):
    texts = tuple(dict.fromkeys(lines)) or ("",)
    ids = [texts.index(line) for line in lines]
    return replace(Sequences.from_lists([ids], texts), raw=RawLines(pl.Series(lines, dtype=pl.String)))


def words(lines, paths="words", kind="line"):
    found = words_of(log_of(lines), kind, paths)
    rows = [found.words[a:b].to_list() for a, b in zip(found.offsets, found.offsets[1:], strict=False)]
    return [rows[i] for i in found.inverse]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("2005.06.03 R02-M1-N0-C:J12-U11 RAS KERNEL INFO parity error", "ras kernel info parity error"),
        ("sshd[1234]: Failed password for root from 10.0.0.1 port 22", "sshd failed password root port"),
        ("dfs.DataNode$PacketResponder: Received block blk_-160899 of size 91178", "dfs datanode packetresponder"
         " received block size"),
        ("ciod: failed to read /bgl/apps/x.rts (0x1A)", "ciod failed read"),
        ("link is down, no response", "link down no response"),
        ("Ärger über alles", "ärger über alles"),
        ("12 0x3f ... --", ""),
    ],
)  # fmt: skip
def test_what_is_left_of_a_line(line, left):
    assert words([line]) == [left.split()]


def test_as_in_the_code_a_slash_takes_all_up_to_the_end_of_the_line():
    assert words(["cannot open /etc/passwd for reading"], paths="rest") == [["cannot", "open"]]
    assert words(["cannot open /etc/passwd for reading"]) == [["cannot", "open", "reading"]]


def test_equal_lines_are_one_also_across_parts(monkeypatch):
    lines = ["job 1 done", "job 2 done", "job failed", "12", "job 77 done", "13"]
    for size in (2, 3, 100):
        monkeypatch.setattr(line_tokens, "_PART", size)
        found = words_of(log_of(lines), "line", "words")
        assert found.inverse.tolist() == [0, 0, 1, 2, 0, 2]
    assert words(lines) == [["job", "done"], ["job", "done"], ["job", "failed"], [], ["job", "done"], []]


def test_lines_or_texts_as_it_is_set():
    log = log_of(["disk one full", "disk two full"])
    log = replace(log, texts=("disk <*> full",) * 2)
    assert words_of(log, "masked", "words").words.to_list() == ["disk", "full"]
    assert words_of(log, "masked", "words").inverse.tolist() == [0, 0]
    with pytest.raises(ValueError, match="set lines to masked"):
        words_of(replace(log, raw=None), "line", "words")


def test_unknown_words_are_row_0_and_long_lines_are_cut():
    vocabulary = Vocabulary.learn(words_of(log_of(["alpha beta", "gamma"]), "line", "words"), 3)
    assert vocabulary.n_rows == 4
    reading = vocabulary.read(words_of(log_of(["gamma delta", "gamma zeta", "beta alpha beta alpha"]), "line", "words"))
    assert reading.bags.ids.tolist() == [3, 0, 2, 1, 2]
    assert reading.inverse.tolist() == [0, 0, 1]
    assert reading.counts(np.array([True, True, False])).tolist() == [2, 0]


def test_without_lines_or_words_there_is_nothing_to_fail_on():
    nothing = words_of(log_of([]), "line", "words")
    assert Vocabulary.learn(nothing, 5).read(nothing).inverse.tolist() == []
    empty = words_of(log_of(["1", "2"]), "line", "words")
    vocabulary = Vocabulary.learn(empty, 5)
    assert vocabulary.n_rows == 1
    assert vocabulary.read(words_of(log_of(["1", "word"]), "line", "words")).bags.ids.tolist() == [0]
