"""Words: the texts behind each `<*>`, in the places of the numbers; read on request, never a label among them."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.reading import words
from bench.data.reading.lines import Source
from bench.data.reading.log import Log
from bench.data.reading.prepared import forget, prepared_folder
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import DataSpec, Loader
from bench.data.sequences.words import WordedLog, words_of
from bench.errors import BenchError
from bench.types import NORMAL, Sequences, Words

EPOCH = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
MASKS = ["blk_[0-9]+", r"-?\b[0-9]+(?:\.[0-9]+)?\b"]

# Windows of 2: six train (lines 0-11), two validate (12-15), two test (16-19).
ROWS = [
    *[("-", f"took {i}.5 s for blk_{i}") if i % 2 else ("-", f"sent {10 * i} bytes to a{i}") for i in range(12)],
    *[("-", "took 40 s for blk_4"), ("-", "sent many bytes to b")],
    *[("-", "took 41 s for 7"), ("-", "fan -3 at 12 %")],
    *[("-", "took 42.25 s for blk_4"), ("-", "sent 5 bytes to a2")],
    *[("7", "took 1e3 s for blk_4"), ("8", "sent 6 bytes to 99")],
]


@pytest.fixture
def system(own_system, tmp_path, monkeypatch):
    """A system of such rows, of which the last is abnormal, and an empty cache: (catalogue, card)."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))

    def make(rows=ROWS, masks=MASKS, **fields):
        rows = [*rows[:-1], ("BAD", rows[-1][1])]
        content = "".join(f"{label} {1000 + i} {message}\n" for i, (label, message) in enumerate(rows)).encode()
        found = own_system({"a.log": content}, format=EPOCH, parser={"masks": masks}, **fields)
        return found, found.resolve(f"{fields.get('name', 'app')}@mine")

    return make


def prepare(found, *cards):
    return Loader(found).prepare(DataSpec(cards, cards, grouping=Grouping(2, 2)))


def by_event(sequences):
    """(text, its words) of each event."""
    return [(sequences.texts[k], sequences.words[e]) for e, k in enumerate(sequences.text_ids)]


def test_words_of_a_hand_computed_log(system):
    data = prepare(*system()).with_words
    took, sent = "took <*> s for <*>", "sent <*> bytes to <*>"
    train = [(took, (f"{i}.5", f"blk_{i}")) if i % 2 else (sent, (f"{10 * i}", f"a{i}")) for i in range(12)]
    assert by_event(data.train.sequences) == train
    later = [(took, ("40", "blk_4")), (sent, ("many", "b")), (took, ("41", "7")), ("fan <*> at <*> %", ("-3", "12"))]
    assert by_event(data.validation.sequences) == later
    test = [(took, ("42.25", "blk_4")), (sent, ("5", "a2")), (took, ("1e3", "blk_4")), (sent, ("6", "99"))]
    assert by_event(data.test.sequences) == test


def test_a_word_of_which_a_mask_replaced_a_part_stands_as_it_was_written(system):
    rows = [("-", f"memory of node {'size' if i % 2 else 'used'}={i}/-{i}.5 left {i}") for i in range(50)]
    train = prepare(*system(rows)).with_words.train.sequences
    assert train.texts == ("memory of node <*> left <*>",)
    expected = [(f"{'size' if i % 2 else 'used'}={i}/-{i}.5", str(i)) for i in range(30)]
    assert [own for _, own in by_event(train)] == expected


def test_texts_are_kept_once_and_only_those_of_the_part(system):
    data = prepare(*system()).with_words
    for part in (data.train, data.validation, data.test):
        texts = part.sequences.words.values.to_list()
        assert len(texts) == len(set(texts))
        assert set(texts) == {word for _, own in by_event(part.sequences) for word in own}
        assert part.sequences.words.ids.dtype == np.int32
    assert "42.25" not in data.train.sequences.words.values.to_list()


def test_labels_and_header_fields_are_no_words(system):
    rows = [(str(7000 + i), f"step {i}") for i in range(12)] + [("-", "step 1")] * 200
    found, card = system(rows)
    read = words.open_words(card, found, Loader(found).log(card))
    assert set(read.values.to_list()) == {"", *map(str, range(12))}
    assert len(read.ids) == len(rows)


def test_a_mask_that_cuts_a_wildcard_of_the_message_leaves_its_line_without_words(system):
    rows = [("-", f"glob <*> of {i} files") if i % 2 else ("-", f"took {i} s") for i in range(50)]
    data = prepare(*system(rows, masks=[*MASKS, r"\*", ">"])).with_words
    for text, own in by_event(data.train.sequences):
        assert len(own) == text.count("<*>")
        assert any(own) == text.startswith("took")


@st.composite
def messages(draw):
    """Messages of few shapes, so that Drain makes templates of them."""
    word = st.sampled_from(["up", "down", "blk_7", "12", "-3.5", "a/9", "<*>", "x=4", "99%", "4:blk_1:5"])
    tail = draw(st.lists(word, min_size=3, max_size=3))
    return " ".join([draw(st.sampled_from(["disk", "fan"])), "state", *tail])


@settings(max_examples=25, deadline=None)
@given(st.lists(messages(), min_size=4, max_size=40), st.randoms())
def test_words_equal_the_definition_for_any_template(rows, random):
    masks, held = re.compile("|".join(MASKS)), re.compile("|".join([*MASKS, re.escape("<*>")]))
    masked = [masks.sub("<*>", row) for row in rows]
    distinct = list(dict.fromkeys(masked))
    # A text of each line: its masked message, or what a parser that joins two lines would make of it.
    texts, expected = [], []
    for row, one in zip(rows, masked, strict=True):
        other = random.choice(masked).split()
        pattern = [a if a == b else "<*>" for a, b in zip(one.split(), other, strict=True)]
        texts.append(" ".join(pattern))
        own = [held.findall(w) if held.sub("<*>", w) == p else [w] for w, p in zip(row.split(), pattern, strict=True)]
        expected.append(tuple(word for some in own for word in some))
    names = tuple(dict.fromkeys(texts))
    log = Log(np.array([distinct.index(m) for m in masked], np.int32), distinct, *[np.zeros(len(rows))] * 3)
    lists = [held.findall(row) for row in rows]
    column, ids = words.distinct_texts(pl.Series([word for own in lists for word in own], dtype=pl.String))
    read = Words(column, ids.astype(np.int32), np.cumsum([0, *map(len, lists)]))
    order = np.array(random.sample(range(len(rows)), len(rows)))
    sequences = replace(
        Sequences.from_lists([[names.index(texts[i]) for i in order]], names), lines=order.astype(np.int64)
    )
    found = words_of(sequences, {0: WordedLog(log, read)})
    assert [found[e] for e in range(len(order))] == [expected[i] for i in order]


def test_several_systems_keep_their_own_words(system):
    system(name="one")
    found, other = system([("-", f"took {i + 0.25} s for blk_1") for i in range(40)], name="two")
    part = prepare(found, found.resolve("one@mine"), other).with_words.train.sequences
    system_of = np.repeat(part.system, part.lengths)
    for (text, own), line, index in zip(by_event(part), part.lines, system_of, strict=True):
        if index == 1 and text.startswith("took"):
            assert own[0] == str(line + 0.25)
        if index == 0 and text.startswith("sent"):
            assert own == (str(10 * line), f"a{line}")
    assert set(system_of) == {0, 1}


def test_selected_sequences_keep_their_words_and_the_lock(system):
    part = prepare(*system()).with_words.test
    assert (part.labels == NORMAL).sum() == len(part.normals) == 1
    own = [("took <*> s for <*>", ("42.25", "blk_4")), ("sent <*> bytes to <*>", ("5", "a2"))]
    assert by_event(part.normals) == own
    for words_ in (part.sequences.words, part.normals.words):
        with pytest.raises(ValueError, match="read-only"):
            words_.ids[0] = 1


def test_a_column_that_one_method_writes_to_is_nobody_elses(system):
    data = prepare(*system()).with_words
    before = by_event(data.train.sequences)
    given_to = data.with_own_texts().train.sequences
    given_to.words.values[0] = "changed"
    assert given_to.words[0] != before[0][1]
    assert by_event(data.train.sequences) == before


def test_sequences_of_other_words_are_not_equal():
    rows = [[0, 1], [0, 1], [0, 1]]
    texts = pl.Series(["a", "b"])
    same = Words(texts, np.array([0, 1, 0, 1, 0, 0], np.int32), np.arange(7))
    sequences = Sequences.from_lists(rows, ("x <*>", "y <*>"), words=same)
    found = sequences.unique()
    assert found.inverse.tolist() == [0, 0, 1]
    assert [found.sequences.words[e] for e in range(4)] == [("a",), ("b",), ("a",), ("a",)]
    assert len(sequences.without_parameters().unique().sequences) == 1


def test_nothing_is_read_unless_asked_for_and_then_once(system, monkeypatch):
    found, card = system()
    data, folder = prepare(found, card), prepared_folder(card)
    assert data.train.sequences.words is None
    assert not list(folder.glob("word*"))
    first = data.with_words
    assert data.with_words is first
    assert data.train.sequences.words is None
    assert len(list(folder.glob("word*"))) == 4
    monkeypatch.setattr(words, "words_behind_masks", lambda *_: pytest.fail("the lines are read again"))
    assert by_event(prepare(found, card).with_words.test.sequences) == by_event(first.test.sequences)
    monkeypatch.undo()
    forget(card)
    assert by_event(prepare(found, card).with_words.test.sequences) == by_event(first.test.sequences)


@pytest.mark.parametrize("name", [words._TEXTS, words._IDS, words._OFFSETS])
def test_files_that_are_not_whole_are_made_anew(system, name):
    found, card = system()
    log = Loader(found).log(card)
    whole = words.open_words(card, found, log)
    kept = [whole[line] for line in range(len(log))]
    path = prepared_folder(card) / name
    path.write_bytes(path.read_bytes()[:-8])
    again = words.open_words(card, found, log)
    assert [again[line] for line in range(len(log))] == kept


def test_a_full_disk_is_one_sentence(system, monkeypatch):
    found, card = system()
    log = Loader(found).log(card)
    monkeypatch.setattr(words.Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(BenchError, match=r"No space left.*make room"):
        words.open_words(card, found, log)


def test_event_ids_have_no_words(own_system):
    rows = "".join(f"{i},{i % 3},{int(i == 119)}\n" for i in range(120))
    found = own_system({("ids.csv", "events"): b"pos,event_id,label\n" + rows.encode()}, kind="id-stream")
    data = prepare(found, found.resolve("app@mine")).with_words
    assert data.train.sequences.words is None
    assert data.test.sequences.words is None


def test_blocks_change_nothing(system):
    found, card = system()
    log = Loader(found).log(card)
    whole = words.open_words(card, found, log)
    content = found.path(card.files[0]).read_bytes()
    cut = content.rfind(b"\n", 0, 301) + 1
    again = words.read_words(card, [Source("x", iter([content[:cut], content[cut:]]))], log)
    assert [again[line] for line in range(len(log))] == [whole[line] for line in range(len(log))]
