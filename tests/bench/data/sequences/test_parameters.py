"""Message parameters: which places of a text count, that values and events line up, that nothing is read unasked."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.reading import lines
from bench.data.reading import numbers as values
from bench.data.reading.log import Log
from bench.data.reading.prepared import forget, prepared_folder
from bench.data.sequences import parameters
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import DataSpec, Loader
from bench.data.sequences.parameters import NumberedLog, parameters_of
from bench.errors import BenchError
from bench.types import NORMAL, UNKNOWN_KEY, Parameters, Sequences

NAN = np.nan
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


def text_of(rows):
    return "".join(f"{label} {1000 + i} {message}\n" for i, (label, message) in enumerate(rows)).encode()


@pytest.fixture
def system(own_system, tmp_path, monkeypatch):
    """A system of such rows, of which the last is abnormal, and an empty cache: (catalogue, card)."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))

    def make(rows=ROWS, masks=MASKS, **fields):
        content = text_of([*rows[:-1], ("BAD", rows[-1][1])])
        found = own_system({"a.log": content}, format=EPOCH, parser={"masks": masks}, **fields)
        return found, found.resolve(f"{fields.get('name', 'app')}@mine")

    return make


def prepare(found, *cards):
    return Loader(found).prepare(DataSpec(cards, cards, grouping=Grouping(2, 2)))


def by_event(sequences):
    """(text, its values) of each event."""
    given = sequences.parameters
    spans = zip(given.offsets, given.offsets[1:], strict=False)
    texts = [sequences.texts[i] for i in sequences.text_ids]
    return [(text, given.values[a:b].tolist()) for text, (a, b) in zip(texts, spans, strict=True)]


def same(found, expected):
    return [text for text, _ in found] == [text for text, _ in expected] and all(
        np.array_equal(a, b, equal_nan=True) for (_, a), (_, b) in zip(found, expected, strict=True)
    )


def test_values_of_a_hand_computed_log(system):
    data = prepare(*system()).with_parameters
    took, sent = "took <*> s for <*>", "sent <*> bytes to <*>"
    train = [(took, [i + 0.5, NAN]) if i % 2 else (sent, [10.0 * i, NAN]) for i in range(12)]
    assert same(by_event(data.train.sequences), train)
    # `many` and `b` stand where the parser made a wildcard; `7` is a number; the last line matches no template.
    later = [(took, [40.0, NAN]), (sent, [NAN, NAN]), (took, [41.0, 7.0]), ("fan <*> at <*> %", [-3.0, 12.0])]
    assert same(by_event(data.validation.sequences), later)
    assert data.validation.sequences.log_keys[3] == UNKNOWN_KEY
    # No mask fits 1e3, but it stands where the template has a wildcard.
    test = [(took, [42.25, NAN]), (sent, [5.0, NAN]), (took, [1000.0, NAN]), (sent, [6.0, 99.0])]
    assert same(by_event(data.test.sequences), test)


def test_labels_and_header_fields_are_no_values(system):
    rows = [(str(7000 + i), f"step {i}") for i in range(12)] + [("-", "step 1")] * 200
    found, card = system(rows)
    for part in (numbers := values.open_values(card, found, Loader(found).log(card))).values, numbers.values:
        assert part.max() == 11
    assert len(numbers.values) == len(rows)


def test_a_word_that_the_parser_made_a_wildcard_is_a_value_where_it_is_a_number(system):
    rows = [("-", f"read {word} now") for word in ("5", "7", "x9", "8.25", "-1", "nan", "inf", "6ms", "0x10", "12")] * 5
    data = prepare(*system(rows, masks=[])).with_parameters
    assert set(data.train.sequences.texts) == {"read <*> now"}
    expected = [5, 7, NAN, 8.25, -1, NAN, NAN, NAN, NAN, 12]
    assert np.array_equal(data.train.sequences.parameters.values[:10], expected, equal_nan=True)


def test_a_mask_within_a_word_counts_while_the_template_keeps_the_word(system):
    rows = [("-", f"size={i}, rest {i}%") for i in range(50)]
    data = prepare(*system(rows)).with_parameters
    assert data.train.sequences.texts == ("size=<*>, rest <*>%",)
    assert data.train.sequences.parameters.values.tolist() == [float(i // 2) for i in range(60)]
    mixed = [("-", f"memory of node {'size' if i % 2 else 'used'}={i} left {i}") for i in range(50)]
    data = prepare(*system(mixed, name="other")).with_parameters
    assert data.train.sequences.texts == ("memory of node <*> left <*>",)
    first = data.train.sequences.parameters.values.reshape(-1, 2)
    assert np.isnan(first[:, 0]).all()
    assert first[:, 1].tolist() == list(range(30))


def test_a_wildcard_in_the_raw_message_shifts_nothing(system):
    rows = [("-", f"glob <*> of {i} files") for i in range(50)]
    data = prepare(*system(rows)).with_parameters
    assert by_event(data.train.sequences)[3][1][1] == 3
    assert np.isnan(data.train.sequences.parameters.values[::2]).all()


def test_a_mask_that_cuts_such_a_wildcard_leaves_its_line_without_values(system):
    rows = [("-", f"glob <*> of {i} files") if i % 2 else ("-", f"took {i} s") for i in range(50)]
    data = prepare(*system(rows, masks=[*MASKS, r"\*", ">"])).with_parameters
    for text, own in by_event(data.train.sequences):
        assert len(own) == text.count("<*>")
        assert np.isfinite(own).all() == text.startswith("took")


@st.composite
def messages(draw):
    """Messages of few shapes, so that Drain makes templates of them."""
    word = st.sampled_from(["up", "down", "blk_7", "12", "-3.5", "a/9", "<*>", "x=4", "99%"])
    tail = draw(st.lists(word, min_size=3, max_size=3))
    return " ".join([draw(st.sampled_from(["disk", "fan"])), "state", *tail])


def slow_values(message, text):
    """The definition, word by word."""
    masked = re.compile("|".join([*MASKS, re.escape("<*>")]))
    result = []
    for word, pattern in zip(message.split(), text.split(), strict=True):
        if masked.sub("<*>", word) == pattern:
            result += masked.findall(word)
        else:
            result.append(word)
    return [float(one) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", one) else NAN for one in result]


@settings(max_examples=25, deadline=None)
@given(st.lists(messages(), min_size=4, max_size=40), st.randoms())
def test_values_equal_the_definition_for_any_template(rows, random):
    masks = re.compile("|".join(MASKS))
    masked = [masks.sub("<*>", row) for row in rows]
    distinct = list(dict.fromkeys(masked))
    # A text of each line: its masked message, or what a parser that joins two lines would make of it.
    texts = []
    for one in masked:
        other = random.choice(masked).split()
        texts.append(" ".join(a if a == b else "<*>" for a, b in zip(one.split(), other, strict=True)))
    names = tuple(dict.fromkeys(texts))
    log = Log(np.array([distinct.index(m) for m in masked], np.int32), distinct, *[np.zeros(len(rows))] * 3)
    card = type("Card", (), {"parser": type("P", (), {"masks": MASKS})})
    series = lines.pl.Series(rows).str.extract_all("|".join([*MASKS, re.escape("<*>")]))
    lengths = series.list.len().to_numpy().astype(np.int64)
    read = lines.LineValues(lines.numbers(series.filter(lengths > 0).explode()), lengths)
    assert card.parser.masks == MASKS
    numbered = NumberedLog(log, Parameters(read.values, np.concatenate([[0], np.cumsum(lengths)])))
    order = np.array(random.sample(range(len(rows)), len(rows)))
    sequences = replace(
        Sequences.from_lists([[names.index(texts[i]) for i in order]], names), lines=order.astype(np.int64)
    )
    found = replace(sequences, parameters=parameters_of(sequences, {0: numbered}))
    assert same(by_event(found), [(texts[i], slow_values(rows[i], texts[i])) for i in order])


def test_several_systems_keep_their_own_values(own_system, system):
    system(name="one")
    found, other = system([("-", f"took {i + 0.25} s for blk_1") for i in range(40)], name="two")
    data = prepare(found, found.resolve("one@mine"), other).with_parameters
    for part in (data.train, data.validation):
        for (text, own), line, system_ in zip(
            by_event(part.sequences),
            part.sequences.lines,
            np.repeat(part.sequences.system, part.sequences.lengths),
            strict=True,
        ):
            if system_ == 1 and text.startswith("took"):
                assert own[0] == line + 0.25
            if system_ == 0 and text.startswith("sent") and line < 12:
                assert own[0] == 10 * line
    assert set(np.unique(data.train.sequences.system)) == {0, 1}


def test_blocks_and_threads_change_nothing(system, monkeypatch):
    found, card = system()
    log = Loader(found).log(card)
    whole = values.open_values(card, found, log)
    parts = [text_of(ROWS)[:301], text_of(ROWS)[301:]]
    cut = parts[0].rfind(b"\n") + 1
    blocks = [parts[0][:cut], parts[0][cut:] + parts[1]]
    monkeypatch.setattr(lines.pl, "thread_pool_size", lambda: 3)
    again = values.read_values(card, [lines.Source("x", iter(blocks))], log)
    monkeypatch.setattr(parameters, "_CHUNK", 3)
    assert np.array_equal(again.values, whole.values, equal_nan=True)
    assert again.offsets.tolist() == whole.offsets.tolist()
    data = prepare(found, card)
    chunked = data.with_parameters.train.sequences.parameters
    monkeypatch.undo()
    assert np.array_equal(
        chunked.values, prepare(found, card).with_parameters.train.sequences.parameters.values, equal_nan=True
    )


def test_nothing_is_read_unless_asked_for_and_then_once(system, monkeypatch):
    found, card = system()
    data = prepare(found, card)
    folder = prepared_folder(card)
    assert data.train.sequences.parameters is None
    assert not list(folder.glob("value*"))
    first = data.with_parameters
    assert data.with_parameters is first
    assert data.train.sequences.parameters is None
    assert first.facts == data.facts
    assert len(list(folder.glob("value*"))) == 3
    monkeypatch.setattr(values, "values_behind_masks", lambda *_: pytest.fail("the lines are read again"))
    again = prepare(found, card).with_parameters
    assert np.array_equal(
        again.test.sequences.parameters.values, first.test.sequences.parameters.values, equal_nan=True
    )
    monkeypatch.undo()
    forget(card)
    assert len(prepare(found, card).with_parameters.train.sequences.parameters.values) == 24


@pytest.mark.parametrize("name", [values._VALUES, values._OFFSETS])
def test_files_that_are_not_whole_are_made_anew(system, name):
    found, card = system()
    log = Loader(found).log(card)
    whole = values.open_values(card, found, log)
    kept = whole.values.copy()
    path = prepared_folder(card) / name
    path.write_bytes(path.read_bytes()[:-8])
    assert np.array_equal(values.open_values(card, found, log).values, kept, equal_nan=True)


def test_a_full_disk_is_one_sentence(system, monkeypatch):
    found, card = system()
    log = Loader(found).log(card)

    def full(*_):
        raise OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(values, "values_behind_masks", full)
    with pytest.raises(BenchError, match=r"No space left on device.*make room"):
        values.open_values(card, found, log)


def test_event_ids_have_no_parameters(own_system):
    rows = "".join(f"{i},{i % 3},{int(i == 119)}\n" for i in range(120))
    found = own_system({("ids.csv", "events"): b"pos,event_id,label\n" + rows.encode()}, kind="id-stream")
    data = prepare(found, found.resolve("app@mine")).with_parameters
    assert data.train.sequences.parameters is None
    assert data.test.sequences.parameters is None


def test_selection_of_normals_keeps_lines_and_values_together(system):
    found, card = system()
    part = prepare(found, card).with_parameters.test
    normals = part.normals
    assert (part.labels == NORMAL).sum() == len(normals) == 1
    assert same(by_event(normals), [("took <*> s for <*>", [42.25, NAN]), ("sent <*> bytes to <*>", [5.0, NAN])])
