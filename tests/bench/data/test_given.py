"""Sequences that come in files for training and test, and the split that takes them as they are."""

import pytest

from bench.data.sequences.loader import DataSpec, Loader
from bench.errors import BenchError

TRAIN = b"1 2 3\n1 2  2 3\n\n1 2 3\n"
TEST_NORMAL = b"1 2 3\n3 2 1\n"
TEST_ABNORMAL = b"1 2\n7 7 7\n"


@pytest.fixture
def splits_of(own_system):
    def make(train=TRAIN, normal=TEST_NORMAL, abnormal=TEST_ABNORMAL, **more):
        files = {("train.txt", "train"): train, ("n.txt", "test-normal"): normal, ("a.txt", "test-abnormal"): abnormal}
        extra = {(f"{role}.txt", role): content for role, content in more.items()}
        found = own_system(files | extra, kind="id-splits")
        return Loader(found), found.resolve("app")

    return make


def prepared(loader, card, split="given", seed=0):
    return loader.prepare(DataSpec((card,), (card,), split=split, seed=seed))


def rows(part):
    sequences = part.sequences
    texts = [sequences.texts[i] for i in sequences.text_ids]
    return [texts[a:b] for a, b in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)]


def named(*ids):
    return [f"unknown event {i}" for i in ids]


def test_parts_are_those_of_the_files(splits_of):
    made = prepared(*splits_of())
    assert rows(made.train) == [named(1, 2, 3), named(1, 2, 2, 3), named(1, 2, 3)]
    assert rows(made.test) == [named(1, 2, 3), named(3, 2, 1), named(1, 2), named(7, 7, 7)]
    assert made.test.labels.tolist() == [0, 0, 1, 1]
    assert len(made.validation.labels) == 0
    assert made.facts["n_train"] == 3
    # The id 7 was never seen in training.
    assert made.test.sequences.log_keys.tolist()[-3:] == [-1, -1, -1]
    assert made.facts["n_log_keys"] == 3


def test_a_file_for_validation_is_used(splits_of):
    made = prepared(*splits_of(validation=b"3 3\n1 2 3\n"))
    assert rows(made.validation) == [named(3, 3), named(1, 2, 3)]
    assert made.validation.labels.tolist() == [0, 0]


def test_names_and_words(splits_of):
    loader, card = splits_of(b"a1,open close\nb 2 , open\n", b"x,open\n", b"close close\r\n")
    log = loader.log(card)
    assert tuple(log.session_ids) == ("a1", "b 2 ", "x", "")
    assert log.session_parts.tolist() == [0, 0, 2, 2]
    assert set(log.messages) == {"event open", "event close"}
    assert rows(prepared(loader, card).test) == [["event open"], ["event close", "event close"]]


def test_other_splits(splits_of, own_system):
    loader, card = splits_of()
    with pytest.raises(BenchError, match="no order of time: use --split given"):
        prepared(loader, card, "chronological")
    assert len(prepared(loader, card, "paper").test.labels) == 4
    found = own_system({"b.log": b"x\n" * 50}, edition="lines", format={"label": "first-token"})
    with pytest.raises(BenchError, match="do not say what trains"):
        prepared(Loader(found), found.resolve("app@lines"))


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "holds no sequence"), (b"1 2\nlost,\n", "'lost'")])
def test_files_without_sequences(splits_of, content, message):
    loader, card = splits_of(train=content)
    with pytest.raises(BenchError, match=message):
        loader.log(card)
