"""Drain: the cached parser gives exactly what line-by-line drain3 gives, and once frozen it learns nothing."""

import gzip
import itertools
import random
import re

import numpy as np
import pytest
from drain3.drain import Drain
from drain3.masking import LogMasker, MaskingInstruction

from bench.data.cards.card import ParserSettings
from bench.data.cards.catalogue import catalogue
from bench.data.sequences.drain import DrainParser


def line_by_line(settings, ids, messages):
    """Log keys and final templates of plain drain3."""
    drain = Drain(depth=settings.depth, sim_th=settings.similarity, max_children=settings.max_children, param_str="<*>")
    keys = [drain.add_log_message(messages[message])[0].cluster_id - 1 for message in ids.tolist()]
    return keys, [cluster.get_template() for cluster in drain.clusters]


def check_equal(settings, ids, messages):
    parser = DrainParser(settings)
    keys = parser.learn(ids, messages)
    expected, templates = line_by_line(settings, ids, messages)
    assert keys.dtype == np.int32
    assert keys.tolist() == expected
    assert parser.templates == templates
    return parser


@pytest.mark.parametrize(
    ("key", "n_lines", "n_keys"),
    [
        ("bgl@raw12k", 12_000, 108),
        ("tbird@raw29k", 29_569, 681),
        ("hdfs@blocks-a", 125_942, 21),
        ("spirit@lines-a", 60_000, 89),
    ],
)
def test_real_lines(real_data, real_loader, key, n_lines, n_keys):
    card = catalogue(real_data).resolve(key)
    log = real_loader.log(card)
    ids = log.message_ids[:n_lines]
    assert len(ids) == n_lines
    parser = check_equal(card.parser, ids, log.messages)
    assert len(parser.templates) == n_keys
    check_frozen(parser, log.messages)


@pytest.mark.parametrize(
    ("key", "n_lines"),
    [
        ("bgl@raw12k", 12_000),
        ("tbird@raw29k", 29_569),
        ("tbird@sampled2k", 2_000),
        ("hdfs@blocks-a", 60_000),
        ("spirit@lines-a", 60_000),
    ],
)
def test_real_lines_equal_drain3_with_its_own_masker(real_data, real_loader, key, n_lines):
    """Python cuts each raw line, drain3 masks and learns it: its clusters are the log keys."""
    card = catalogue(real_data).resolve(key)
    masks = "|".join(f"(?:{mask})" for mask in card.parser.masks)
    masker = LogMasker([MaskingInstruction(masks, "*")], "<", ">")
    drain = Drain(depth=card.parser.depth, sim_th=card.parser.similarity, max_children=card.parser.max_children)
    drain.param_str = "<*>"
    header = re.compile(card.format.header)
    expected = []
    for line in itertools.islice(raw_lines(card, real_data), n_lines):
        rest = line.split(" ", 1)[1] if card.format.label == "first-token" else line
        message = header.match(rest.rstrip("\r"))["message"]
        expected.append(drain.add_log_message(masker.mask(message))[0].cluster_id - 1)
    assert len(expected) == n_lines
    log, parser = real_loader.log(card), DrainParser(card.parser)
    assert parser.learn(log.message_ids[:n_lines], log.messages).tolist() == expected
    assert parser.templates == [cluster.get_template() for cluster in drain.clusters]


def raw_lines(card, folder):
    for file in card.files_of("log"):
        yield from gzip.decompress((folder / file.name).read_bytes()).decode(errors="replace").split("\n")[:-1]


def test_a_later_line_changes_no_earlier_key(real_data, real_loader):
    card = catalogue(real_data).resolve("tbird@raw29k")
    log = real_loader.log(card)
    whole = DrainParser(card.parser).learn(log.message_ids, log.messages)
    for n in (1, 5_000, 20_000):
        # Messages of later lines alone are not even there.
        known = int(log.message_ids[:n].max()) + 1
        alone = DrainParser(card.parser).learn(log.message_ids[:n], list(log.messages)[:known])
        assert alone.tolist() == whole[:n].tolist()


def check_frozen(parser, messages):
    before = parser.templates
    found = parser.match(messages)
    assert parser.templates == before
    assert found.dtype == np.int32
    for key, message in zip(found.tolist(), messages, strict=True):
        if key >= 0:
            template, tokens = before[key].split(), message.split()
            assert len(template) == len(tokens)
            assert all(part in ("<*>", token) for part, token in zip(template, tokens, strict=True))
    assert parser.match(messages).tolist() == found.tolist()


def synthetic(seed):
    """Messages of few words, some masked, so that templates collide and generalise late."""
    rng = random.Random(seed)
    words = ["up", "down", "a1", "b", "<*>", "<*>", "disk", "link"][: rng.randint(3, 8)]
    messages = sorted({" ".join(rng.choices(words, k=rng.randint(0, 6))) for _ in range(60)})
    rng.shuffle(messages)
    # Later lines draw from a wider range, so that an old template changes after thousands of lines.
    ids = [rng.randrange(1 + len(messages) * (1 + i // 200) // 10) % len(messages) for i in range(2_000)]
    return np.array(ids, np.int32), messages


@pytest.mark.parametrize("seed", range(12))
def test_random_logs(seed):
    ids, messages = synthetic(seed)
    settings = ParserSettings(depth=3 + seed % 3, similarity=[0.3, 0.4, 0.7][seed % 3], max_children=[3, 100][seed % 2])
    check_frozen(check_equal(settings, ids, messages), messages)


def test_a_template_that_generalises_late():
    messages = ["send packet to north gate", "send packet to south gate"]
    ids = np.array([0] * 500 + [1] + [0] * 3, np.int32)
    parser = check_equal(ParserSettings(), ids, messages)
    assert parser.templates == ["send packet to <*> gate"]


def test_drain_gives_a_message_of_mostly_wildcards_a_new_cluster_each_time():
    # `<*>` counts as no similarity in drain3, so such a message never matches its own template.
    parser = check_equal(ParserSettings(), np.zeros(3, np.int32), ["sda: <*> <*> <*> <*>"])
    assert parser.templates == ["sda: <*> <*> <*> <*>"] * 3


def test_settings_reach_drain():
    ids, messages = np.arange(2, dtype=np.int32), ["get one two three four", "get 1ne 2wo 3hree four"]
    assert len(check_equal(ParserSettings(similarity=0.3), ids, messages).templates) == 1
    assert len(check_equal(ParserSettings(similarity=0.6), ids, messages).templates) == 2


def test_learning_goes_on_where_it_stopped():
    ids, messages = synthetic(3)
    parser = DrainParser(ParserSettings())
    keys = np.concatenate([parser.learn(part, messages) for part in np.array_split(ids, 3)])
    expected, templates = line_by_line(ParserSettings(), ids, messages)
    assert (keys.tolist(), parser.templates) == (expected, templates)


def test_only_the_lines_given_are_learned():
    parser = DrainParser(ParserSettings())
    parser.learn(np.array([1], np.int32), ["unread words here", "disk full"])
    assert parser.templates == ["disk full"]


def test_frozen_match():
    parser = DrainParser(ParserSettings())
    keys = parser.learn(np.array([0, 1, 2], np.int32), ["disk <*> full now", "disk <*> empty now", "link up"])
    assert keys.tolist() == [0, 0, 1]
    assert parser.templates == ["disk <*> <*> now", "link up"]
    assert parser.match(["disk 9 gone now", "link up", "link down", "disk full", ""]).tolist() == [0, 1, -1, -1, -1]
    assert parser.templates == ["disk <*> <*> now", "link up"]


def test_nothing():
    parser = DrainParser(ParserSettings())
    assert parser.learn(np.zeros(0, np.int32), []).tolist() == []
    assert parser.templates == []
    assert parser.match(["a", ""]).tolist() == [-1, -1]
    assert parser.match([]).dtype == np.int32
