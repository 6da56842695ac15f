"""Prepared data: what detectors see, and that nothing of the test part reaches training."""

import dataclasses
import gzip
import hashlib
import io
import random

import numpy as np
import pytest

from bench.data.cards.card import DataFile
from bench.data.cards.catalogue import Catalogue, catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import DataSpec, Loader
from bench.errors import BenchError
from bench.types import ABNORMAL, UNKNOWN_KEY

EPOCH = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
PAIRS = Grouping(2, 2)

# 20 lines, windows of 2: six train (lines 0-11), two validate (12-15), two test (16-19).
TOY = [
    *[("-", "start job 1"), ("-", "stop job 2")] * 5,
    *[("BAD", "start job 3"), ("-", "stop job 3")],
    *[("-", "start job 4"), ("-", "stop job 4")],
    *[("-", "start job 5"), ("-", "fan 7 is slow")],
    *[("-", "start job 6"), ("-", "stop job 6")],
    *[("BAD", "disk 5 broken"), ("-", "disk 6 broken")],
]


def text_of(rows, start=100, step=10):
    lines = (f"{label} {start + step * i} {message}\n" for i, (label, message) in enumerate(rows))
    return "".join(lines).encode()


@pytest.fixture
def system(own_system):
    """A user's system of such rows: (loader, card)."""

    def make(rows, **fields):
        content = rows if isinstance(rows, bytes) else text_of(rows)
        name = fields.get("name", "app")
        found = own_system({"a.log": content}, format=EPOCH, parser={"masks": ["[0-9]+"]}, **fields)
        return Loader(found), found.resolve(f"{name}@mine")

    return make


def prepare(loader, sources, targets=None, grouping=PAIRS, **fields):
    return loader.prepare(DataSpec(tuple(sources), tuple(targets or sources), grouping=grouping, **fields))


def complaint(call, *arguments, **fields):
    with pytest.raises(BenchError) as caught:
        call(*arguments, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_contract(part, n_keys):
    """What the docstring of `Sequences` promises."""
    sequences = part.sequences
    types = {
        "log_keys": np.int32,
        "text_ids": np.int32,
        "offsets": np.int64,
        "elapsed_s": np.float64,
        "start_time": np.float64,
        "system": np.uint8,
        "lines": np.int64,
    }
    assert {name: getattr(sequences, name).dtype for name in types} == types
    assert part.labels.dtype == np.int8
    assert len(part.labels) == len(sequences) == len(sequences.ids) == len(sequences.system)
    assert (sequences.lengths > 0).all()
    known = sequences.log_keys != UNKNOWN_KEY
    assert np.array_equal(sequences.text_ids[known], sequences.log_keys[known])
    assert (sequences.text_ids[~known] >= n_keys).all()
    assert sequences.log_keys.min() >= UNKNOWN_KEY
    assert sequences.log_keys.max() < n_keys
    assert sequences.text_ids.max() < len(sequences.texts)


def same_sequences(one, other):
    for field in dataclasses.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        else:
            assert left == right, field.name


def same_part(one, other):
    same_sequences(one.sequences, other.sequences)
    np.testing.assert_array_equal(one.labels, other.labels)


# --- One system, by hand ---------------------------------------------------------------------------------------------


def test_training_part_by_hand(system):
    loader, card = system(TOY)
    train = prepare(loader, [card]).train
    assert train.sequences.texts == ("start job <*>", "stop job <*>")
    assert train.sequences.log_keys.tolist() == [0, 1] * 6
    assert train.sequences.text_ids.tolist() == [0, 1] * 6
    assert train.sequences.lines.tolist() == list(range(12))
    assert train.sequences.offsets.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert train.labels.tolist() == [0, 0, 0, 0, 0, 1]
    assert train.sequences.ids == ("0", "2", "4", "6", "8", "10")
    assert train.sequences.elapsed_s.tolist() == [0, 10] * 6
    assert train.sequences.start_time.tolist() == [100, 120, 140, 160, 180, 200]
    assert train.sequences.system.tolist() == [0] * 6
    assert len(train.normals) == 5
    check_contract(train, 2)


def test_unseen_lines_have_no_key_but_a_text_of_their_own(system):
    loader, card = system(TOY)
    made = prepare(loader, [card])
    assert made.test.sequences.log_keys.tolist() == [0, 1, -1, -1]
    assert made.test.sequences.text_ids.tolist() == [0, 1, 2, 2]
    assert made.test.sequences.texts == ("start job <*>", "stop job <*>", "disk <*> broken")
    assert made.test.labels.tolist() == [0, 1]
    assert made.validation.sequences.log_keys.tolist() == [0, 1, 0, -1]
    assert made.validation.sequences.texts == ("start job <*>", "stop job <*>", "fan <*> is slow")
    assert made.target_validation is None
    assert made.skip_reason is None


def test_facts_by_hand(system):
    loader, card = system(TOY)
    facts = prepare(loader, [card]).facts
    assert facts == {
        "n_train": 6,
        "n_train_abnormal": 1,
        "n_validation": 2,
        "n_validation_abnormal": 0,
        "n_test": 2,
        "n_test_abnormal": 1,
        "n_log_keys": 2,
        "known_keys_share": 0.5,
        "seen_in_training_share": 0.5,
        "split": {"app@mine": {"cut": [0.6, 0.8], "cut_lines": [12, 16]}},
        "n_lines": {"app@mine": 20},
        "n_replaced_lines": {},
        "n_headerless_lines": {},
        "ceiling_f1": 1.0,
        "n_alert_types": {"app@mine": 1},
        "licences": {"app@mine": "MIT"},
    }


def test_seen_means_seen_in_a_normal_training_sequence(system):
    rows = list(TOY)
    rows[10] = ("BAD", "halt now")  # an abnormal training window: halt, stop
    rows[18:20] = [("BAD", "halt now"), ("-", "stop job 8")]
    loader, card = system(rows)
    made = prepare(loader, [card])
    assert made.test.sequences.log_keys.tolist() == [0, 1, 2, 1]
    assert (made.facts["known_keys_share"], made.facts["seen_in_training_share"]) == (1.0, 0.5)


def test_equal_test_sequences_with_both_labels_lower_the_ceiling(system):
    rows = list(TOY)
    rows[16:20] = [("-", "start job 1"), ("-", "stop job 2"), ("BAD", "start job 3"), ("-", "stop job 4")]
    loader, card = system(rows)
    made = prepare(loader, [card])
    assert made.test.labels.tolist() == [0, 1]
    assert made.facts["ceiling_f1"] == 0.666667


def test_odd_bytes_and_headers_are_counted(system):
    rows = text_of(TOY).replace(b"- 100 start", b"- st\xe9rt")
    loader, card = system(rows)
    facts = prepare(loader, [card]).facts
    assert facts["n_replaced_lines"] == {"app@mine": 1}
    assert facts["n_headerless_lines"] == {"app@mine": 1}


def test_a_log_without_time(own_system):
    rows = "".join(f"{label} {message}\n" for label, message in TOY).encode()
    found = own_system({"a.log": rows}, format={"label": "first-token"}, parser={"masks": ["[0-9]+"]})
    train = prepare(Loader(found), [found.resolve("app")]).train.sequences
    assert np.isnan(train.elapsed_s).all()
    assert np.isnan(train.start_time).all()


def test_sessions(own_system):
    # Ten lines: the cuts stand before lines 6 and 8. b3 begins in training and ends in validation.
    lines = [
        "take b1",
        "take b2",
        "drop b1 and b2",
        "take b3",
        "take b4",
        "drop b4",
        "drop b3",
        "fan",
        "take b5",
        "lose b6",
    ]
    found = own_system(
        {
            "a.log": "\n".join(f"{100 + i * i} {line}" for i, line in enumerate(lines)).encode(),
            ("l.csv", "labels"): b"Id,Label\nb1,ok\nb2,bad\nb3,ok\nb5,ok\nb6,bad\n",
        },
        format={
            **EPOCH,
            "label": "label-file",
            "session": "b[0-9]+",
            "label_key": "Id",
            "label_value": "Label",
            "normal": "ok",
        },
        parser={"masks": ["b[0-9]+"]},
    )
    made = prepare(Loader(found), [found.resolve("app")])
    assert made.train.sequences.ids == ("b1", "b2")  # b4 has no label
    assert made.train.labels.tolist() == [0, 1]
    assert made.train.sequences.lines.tolist() == [0, 2, 1, 2]
    assert made.train.sequences.elapsed_s.tolist() == [0, 4, 0, 3]
    assert made.train.sequences.start_time.tolist() == [100, 101]
    assert made.train.sequences.texts == ("take <*>", "drop <*> and <*>", "drop <*>")
    assert made.validation.sequences.ids == ("b3",)
    assert made.validation.sequences.log_keys.tolist() == [0, 2]
    assert made.validation.sequences.elapsed_s.tolist() == [0, 27]
    assert made.test.sequences.ids == ("b5", "b6")
    assert made.test.sequences.log_keys.tolist() == [0, -1]
    assert made.test.labels.tolist() == [0, 1]


def test_permuting_training_lines_is_noticed(system):
    # The guard of the guards below: a change before the cut does change training.
    loader, card = system(TOY)
    before = prepare(loader, [card]).train
    rows = [TOY[1], TOY[0], *TOY[2:]]
    loader, card = system(rows)
    with pytest.raises(AssertionError):
        same_part(before, prepare(loader, [card]).train)


# --- Nothing of later lines reaches training -------------------------------------------------------------------------


def random_rows(seed, n=400):
    rng = random.Random(seed)
    verbs, things = ["start", "stop", "poll", "move"], ["disk one", "job 7", "link up now", "fan"]
    rows = []
    for _ in range(n):
        message = f"{rng.choice(verbs)} {rng.choice(things)} {rng.choice(['ok', 'late', '9'])}"
        rows.append(("BAD" if rng.random() < 0.05 else "-", message))
    return rows


def garbage(seed, n):
    rng = random.Random(seed)
    return [(rng.choice(["-", "BAD"]), " ".join(rng.choices(["zap", "start", "0", "qux"], k=4))) for _ in range(n)]


@pytest.mark.parametrize("seed", range(4))
def test_garbage_after_a_cut_changes_nothing_before_it(system, seed):
    rows = random_rows(seed)
    made = []
    for poisoned in (rows, rows[:240] + garbage(seed, 160), rows[:320] + garbage(seed, 80)):
        loader, card = system(poisoned)
        made.append(prepare(loader, [card]))
    clean, from_first_cut, from_second_cut = made
    same_part(clean.train, from_first_cut.train)
    same_part(clean.train, from_second_cut.train)
    same_part(clean.validation, from_second_cut.validation)
    assert clean.facts["n_log_keys"] == from_first_cut.facts["n_log_keys"]
    assert clean.test.sequences.texts != from_first_cut.test.sequences.texts
    check_contract(from_first_cut.test, from_first_cut.facts["n_log_keys"])


def test_the_order_of_test_lines_changes_nothing_before_them(system):
    rows = random_rows(9)
    loader, card = system(rows)
    clean = prepare(loader, [card])
    later = rows[320:]
    random.Random(1).shuffle(later)
    loader, card = system(rows[:320] + later)
    mixed = prepare(loader, [card])
    same_part(clean.train, mixed.train)
    same_part(clean.validation, mixed.validation)
    assert clean.test.sequences.log_keys.tolist() != mixed.test.sequences.log_keys.tolist()


def test_paper_learns_from_training_windows_only(system):
    rows = random_rows(2)
    loader, card = system(rows)
    clean = prepare(loader, [card], split="paper", seed=4)
    inside = set(clean.train.sequences.lines.tolist())
    # Messages outside training become garbage; labels stay, because they decide the draw.
    poisoned = [row if i in inside else (row[0], f"zap {i} qux") for i, row in enumerate(rows)]
    loader, card = system(poisoned)
    dirty = prepare(loader, [card], split="paper", seed=4)
    same_part(clean.train, dirty.train)
    assert dirty.facts["known_keys_share"] == 0
    assert not np.isin(clean.test.sequences.lines, clean.train.sequences.lines).any()


def test_garbage_after_the_cut_of_real_lines(real_data, tmp_path):
    card = catalogue(real_data).resolve("tbird@raw29k")
    lines = b"".join(gzip.decompress((real_data / file.name).read_bytes()) for file in card.files).splitlines(True)
    cut = len(lines) * 6 // 10
    poison = [f"{'ZAP' if i % 100 == 0 else '-'} {i} qux zap qux\n".encode() for i in range(len(lines) - cut)]
    made = []
    for content in (b"".join(lines), b"".join(lines[:cut] + poison)):
        (tmp_path / "a.log").write_bytes(content)
        one = dataclasses.replace(card, files=(DataFile("a.log", hashlib.sha256(content).hexdigest()),))
        made.append(prepare(Loader(Catalogue((one,), tmp_path)), [one], grouping=Grouping()))
    clean, dirty = made
    assert len(clean.train.labels) == cut // 20
    same_part(clean.train, dirty.train)
    assert (clean.facts["known_keys_share"] > 0.5, dirty.facts["known_keys_share"]) == (True, 0)


@pytest.fixture
def stream(own_system):
    """An id stream: (loader, card)."""

    def make(events, labels, templates, **fields):
        rows = "".join(f"{event},{label}\n" for event, label in zip(events, labels, strict=True))
        files = {("e.csv", "events"): f"event_id,label\n{rows}".encode()}
        if templates is not None:
            texts = "".join(f"{event},{text}\n" for event, text in templates.items())
            files["t.csv", "templates"] = f"event_id,template\n{texts}".encode()
        found = own_system(files, kind="id-stream", **fields)
        return Loader(found), found.resolve(f"{fields.get('name', 'app')}@mine")

    return make


STREAM = [5, 7, 5, 9, 5, 7, 5, 7, 5, 9, 5, 7, 7, 5, 5, 5, 5, 7, 3, 5]
STREAM_LABELS = [0] * 18 + [1, 0]


def test_id_stream(stream):
    loader, card = stream(STREAM, STREAM_LABELS, {5: "start", 7: "stop", 3: "burn"})
    made = prepare(loader, [card])
    # Log keys are numbered by the event id: 5, 7 and 9 occur in training.
    assert made.train.sequences.texts == ("start", "stop", "unknown event 9")
    assert made.train.sequences.log_keys.tolist() == [0, 1, 0, 2, 0, 1, 0, 1, 0, 2, 0, 1]
    assert made.test.sequences.log_keys.tolist() == [0, 1, -1, 0]
    assert made.test.sequences.texts == ("start", "stop", "unknown event 9", "burn")
    assert made.test.sequences.text_ids.tolist() == [0, 1, 3, 0]
    assert made.facts["n_log_keys"] == 3
    assert made.facts["known_keys_share"] == 0.75


def test_later_ids_change_nothing_in_the_training_of_a_stream(stream):
    loader, card = stream(STREAM, STREAM_LABELS, {5: "start"})
    clean = prepare(loader, [card])
    loader, card = stream([*STREAM[:16], 1, 2, 8, 11], [*STREAM_LABELS[:16], 1, 1, 0, 0], {5: "start"})
    dirty = prepare(loader, [card])
    same_part(clean.train, dirty.train)
    same_part(clean.validation, dirty.validation)
    assert dirty.test.sequences.log_keys.tolist() == [-1] * 4


# --- Transfer and combination ----------------------------------------------------------------------------------------

OTHER = [
    *[("-", "start job 1"), ("-", "beat 1 of heart")] * 8,
    *[("-", "start job 1"), ("-", "beat 1 of heart"), ("BAD", "disk 3 broken"), ("-", "stop job 1")],
]


def test_transfer_parses_the_whole_target_frozen(system):
    _, source = system(TOY)
    loader, target = system(OTHER, name="web")
    made = prepare(loader, [source], [target])
    alone = prepare(loader, [source])
    same_part(made.train, alone.train)
    same_part(made.validation, alone.validation)
    assert made.systems == ("app@mine", "web@mine")
    assert made.facts["n_log_keys"] == 2
    assert made.test.sequences.system.tolist() == [1, 1]
    assert made.test.sequences.log_keys.tolist() == [0, -1, -1, 1]
    assert made.test.sequences.texts == ("start job <*>", "stop job <*>", "beat <*> of heart", "disk <*> broken")
    assert made.test.sequences.text_ids.tolist() == [0, 2, 3, 1]
    assert made.target_validation is not None
    assert made.target_validation.sequences.log_keys.tolist() == [0, -1, 0, -1]
    assert made.target_validation.sequences.system.tolist() == [1, 1]
    assert set(made.facts["split"]) == {"app@mine", "web@mine"}
    assert made.facts["known_keys_share"] == 0.5
    # Content counts, whichever system it comes from; here no target window equals a window of the source.
    assert made.facts["seen_in_training_share"] == 0
    assert made.skip_reason is None


def test_target_lines_change_nothing_in_training(system):
    _, source = system(TOY)
    loader, target = system(OTHER, name="web")
    clean = prepare(loader, [source], [target])
    loader, target = system([*garbage(1, 16), *OTHER[16:]], name="web")
    dirty = prepare(loader, [source], [target])
    same_part(clean.train, dirty.train)
    same_part(clean.test, dirty.test)


def test_combined_systems_share_one_vocabulary(system):
    _, one = system(TOY)
    loader, two = system(OTHER, name="web")
    made = prepare(loader, [one, two])
    assert made.systems == ("app@mine", "web@mine")
    assert made.train.sequences.texts == ("start job <*>", "stop job <*>", "beat <*> of heart")
    assert made.train.sequences.system.tolist() == [0] * 6 + [1] * 6
    assert made.train.sequences.log_keys.tolist() == [0, 1] * 6 + [0, 2] * 6
    assert made.train.sequences.lines.tolist() == [*range(12), *range(12)]
    assert made.train.sequences.offsets.tolist() == list(range(0, 25, 2))
    assert made.test.sequences.system.tolist() == [0, 0, 1, 1]
    assert made.test.sequences.text_ids.tolist() == [0, 1, 3, 3, 0, 2, 4, 1]
    assert made.test.labels.tolist() == [0, 1, 0, 1]
    assert made.target_validation is None
    for part in (made.train, made.validation, made.test):
        check_contract(part, 3)


def test_combined_source_of_a_transfer(system):
    _, one = system(TOY)
    _, two = system(OTHER, name="web")
    loader, three = system(OTHER, name="lab")
    made = prepare(loader, [one, two], [three])
    assert set(made.train.sequences.system.tolist()) == {0, 1}
    assert made.test.sequences.system.tolist() == [2, 2]
    assert made.test.sequences.log_keys.tolist() == [0, 2, -1, 1]


def test_a_stream_beside_raw_lines(system, stream):
    _, raw = system(TOY)
    loader, events = stream(STREAM, STREAM_LABELS, {5: "start", 7: "stop"}, name="web")
    made = prepare(loader, [raw, events])
    assert made.train.sequences.texts == ("start job <*>", "stop job <*>", "start", "stop", "unknown event 9")
    assert made.train.sequences.log_keys.tolist() == [0, 1] * 6 + [2, 3, 2, 4, 2, 3, 2, 3, 2, 4, 2, 3]
    check_contract(made.test, 5)


def test_a_transfer_of_a_stream_without_texts_is_skipped(system, stream):
    _, raw = system(TOY)
    loader, events = stream(STREAM, STREAM_LABELS, None, name="web")
    for sources, targets in (([raw], [events]), ([events], [raw])):
        made = prepare(loader, sources, targets)
        assert made.skip_reason is not None
        assert "web@mine is an id stream without texts" in made.skip_reason
        assert made.facts["known_keys_share"] == 0
    assert prepare(loader, [events]).skip_reason is None


def test_a_stream_takes_part_in_a_transfer_by_its_texts(system, stream):
    """As raw lines do: no log key is known, and what reads texts reads those of its table."""
    _, raw = system(TOY)
    loader, events = stream(STREAM, STREAM_LABELS, {5: "begin", 7: "end"}, name="web")
    own = {"stop job <*>", "disk <*> broken"}
    for sources, targets, texts in (([raw], [events], {"begin", "end"}), ([events], [raw], own)):
        made = prepare(loader, sources, targets)
        assert made.skip_reason is None
        test = made.test.sequences
        assert set(test.log_keys.tolist()) == {UNKNOWN_KEY}
        assert texts <= {test.texts[i] for i in test.text_ids.tolist()}


def test_a_transfer_of_a_stream_whose_texts_match(system, stream):
    _, raw = system(TOY)
    loader, events = stream(STREAM, STREAM_LABELS, {5: "start job <*>", 7: "end"}, name="web")
    made = prepare(loader, [raw], [events])
    assert made.skip_reason is None
    assert made.test.sequences.log_keys.tolist() == [0, -1, -1, 0]
    back = prepare(loader, [events], [raw])
    assert back.test.sequences.log_keys.tolist() == [0, -1, -1, -1]
    assert back.skip_reason is None


@pytest.mark.parametrize("name", ["export", "network3_multi", "shutdown_multi", "compaction_multi"])
def test_no_node_tells_the_label_of_real_nodes(real_loader, real_data, name):
    """A node with abnormal test windows has more normal ones: cut in each node's file, node 1 had no other."""
    card = catalogue(real_data).resolve(f"iotdb_multilog@{name}")
    test = prepare(real_loader, [card], grouping=Grouping()).test
    log = real_loader.log(card)
    last = test.sequences.lines[test.sequences.offsets[1:] - 1]
    node = np.searchsorted(log.file_starts, last, side="right")
    for number in np.unique(node[test.labels == ABNORMAL]):
        assert (test.labels[node == number] == ABNORMAL).mean() < 0.5


# --- What cannot be prepared -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "label", "expected"),
    [
        (range(0, 12), "BAD", "no normal sequence for train"),
        (range(12, 16), "BAD", "no normal sequence for validation"),
        (range(16, 20), "BAD", "no normal sequence in the test part"),
        (range(16, 20), "-", "no abnormal sequence in the test part"),
    ],
)
def test_a_part_without_its_normals_or_abnormals(system, lines, label, expected):
    loader, card = system([(label if i in lines else old, text) for i, (old, text) in enumerate(TOY)])
    text = complaint(prepare, loader, [card])
    assert "app@mine" in text
    assert expected in text
    assert "--split" in text


def test_every_tested_system_needs_abnormals(system):
    _, one = system(TOY)
    loader, two = system([("-", text) for _, text in OTHER], name="web")
    assert "web@mine" in complaint(prepare, loader, [one, two])
    assert "web@mine" in complaint(prepare, loader, [one], [two])


def test_no_label_at_all_names_the_edition(own_system):
    found = own_system({"a.log": b"one\n" * 100}, format={"label": "none"})
    assert complaint(prepare, Loader(found), [found.resolve("app")]).startswith("app@mine: ")


def test_overlapping_windows_under_paper_name_the_edition(system):
    loader, card = system(TOY)
    assert complaint(prepare, loader, [card], split="paper", grouping=Grouping(2, 1)).startswith("app@mine: ")


def test_real_edition_without_abnormal_lines(real_data, real_loader):
    card = catalogue(real_data).resolve("tbird@sampled2k")
    assert "tbird@sampled2k" in complaint(prepare, real_loader, [card], grouping=Grouping())


# --- Real editions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["chronological", "paper"])
@pytest.mark.parametrize("key", ["bgl@raw12k", "hdfs@blocks-a", "spirit@lines-a", "bgl@stream-a"])
def test_real_editions_keep_the_contract(real_data, real_loader, key, split):
    card = catalogue(real_data).resolve(key)
    made = prepare(real_loader, [card], split=split, seed=1, grouping=Grouping())
    for part in (made.train, made.validation, made.test):
        check_contract(part, made.facts["n_log_keys"])
    assert (made.train.sequences.log_keys >= 0).all()
    if split == "paper":
        assert not made.train.labels.any()
        assert made.test.labels.mean() == 0.5


def test_the_same_cell_is_prepared_the_same_way(real_data, real_loader):
    found = catalogue(real_data)
    card = found.resolve("bgl@raw12k")
    one, two = (prepare(loader, [card], split="paper", seed=7) for loader in (real_loader, Loader(found)))
    for part in ("train", "validation", "test"):
        same_part(getattr(one, part), getattr(two, part))
    assert one.facts == two.facts


def test_real_transfer_has_few_known_keys(real_data, real_loader):
    found = catalogue(real_data)
    source, target = found.resolve("bgl@raw12k"), found.resolve("tbird@raw29k")
    made = prepare(real_loader, [source], [target], grouping=Grouping())
    assert made.facts["known_keys_share"] < 0.01
    assert made.skip_reason is None
    check_contract(made.test, made.facts["n_log_keys"])


def test_an_edition_is_read_once(system, monkeypatch):
    loader, card = system(TOY)
    prepare(loader, [card])
    monkeypatch.setattr("bench.data.sequences.loader.open_prepared", None)
    assert len(prepare(loader, [card], split="paper").train.labels) > 0


def test_sessions_of_an_npz(own_system):
    buffer = io.BytesIO()
    events = [[1, 2, 0]] * 6 + [[2, 0, 0]] * 2 + [[1, 2, 0], [4, 0, 0]]
    np.savez(buffer, X=np.array(events), y=np.array([0] * 9 + [1]))
    found = own_system({("s.npz", "sessions"): buffer.getvalue()}, kind="id-sessions")
    made = prepare(Loader(found), [found.resolve("app")], split="paper")
    assert made.facts["split"] == {"app@mine": {"m": 1}}
    assert "9" in made.test.sequences.ids
    assert made.test.sequences.texts[: made.facts["n_log_keys"]] == made.train.sequences.texts


@pytest.mark.parametrize("name", ["chronological:50,70", "blind", "prequential:4,2", "transfer"])
def test_no_sequence_that_validates_or_tests_reaches_fit(system, name):
    # A text of its own for each line, so that whatever is learned can be told.
    texts = [f"word{'abcdefghijklmnopqrst'[i % 20]}{'xyz' * (i // 20)}" for i in range(200)]
    rows = [("BAD" if i % 6 == 5 else "-", text) for i, text in enumerate(texts)]
    loader, card = system(rows)
    targets = [card]
    if name == "transfer":
        loader, other = system([(label, f"other {text}") for label, text in rows], name="sun")
        targets = [other]
    found = prepare(loader, [card], targets, split=name, seed=1)
    sources = found.sources[0]
    unseen = [found.validation, *([found.test] if name != "transfer" else [])]
    trained = set(found.train.sequences.lines.tolist())
    for part in unseen:
        assert not trained & set(part.sequences.lines.tolist())
    learned = set(sources.split.parser_lines.tolist())
    assert learned <= trained
    if name == "transfer":
        (target,) = found.targets
        pool = [*target.split.train.tolist(), *target.split.validation.tolist()]
        assert max(pool) < min(target.split.test.tolist())
        assert len(found.train.labels) + len(found.validation.labels) == 100


def test_a_block_without_abnormal_sequences_is_skipped_and_ends_no_run(system):
    rows = [("BAD" if i < 20 else "-", f"start {i}") for i in range(100)]
    loader, card = system(rows)
    found = prepare(loader, [card], split="prequential:4,2")
    assert found.skip_reason == "app@mine: the split prequential:4,2 leaves no abnormal sequence in the test part"
    said = complaint(prepare, loader, [card], split="chronological:50,70")
    assert "no cut in time leaves each part what it needs, use --split blind" in said
