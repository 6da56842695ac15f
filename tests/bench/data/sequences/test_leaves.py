"""Leaves as arrays: drain3's clusters, whatever the lines, and no loop over many clusters."""

import random
import time

import numpy as np
import pytest
from drain3.drain import Drain

from bench.data.cards.card import ParserSettings
from bench.data.sequences.drain import DrainParser, TooManyTemplates
from bench.data.sequences.leaves import _MANY, FastDrain


def word(rng, n):
    return "".join(rng.choices("abcdefgh", k=n))


@pytest.mark.parametrize("seed", range(12))
def test_the_clusters_are_those_of_drain3(seed):
    rng = random.Random(seed)
    settings = {
        "depth": rng.choice([3, 4, 5]),
        "sim_th": rng.choice([0.1, 0.3, 0.4, 0.5, 0.7, 1.0]),
        "max_children": rng.choice([1, 2, 10, 100]),
        "param_str": "<*>",
    }
    words = [word(rng, 1 + i % 3) for i in range(rng.choice([8, 200]))] + ["<*>", "7", "x<*>"]
    slow, fast = Drain(**settings), FastDrain(**settings)
    n_tokens = [1, 3, 5] if seed % 2 else [0, 2, 4]
    for i in range(500):
        message = " ".join(rng.choices(words, k=rng.choice(n_tokens)))
        expected, change = slow.add_log_message(message)
        found, found_change = fast.add_log_message(message)
        assert (found.cluster_id, found.log_template_tokens) == (expected.cluster_id, expected.log_template_tokens)
        assert found_change == change
        if i % 5 == 0:
            asked = " ".join(rng.choices(words, k=n_tokens[1]))
            for how in ("never", "fallback", "always"):
                one, other = slow.match(asked, how), fast.match(asked, how)
                assert getattr(one, "cluster_id", None) == getattr(other, "cluster_id", None)
    assert max(map(len, leaves(fast.root_node))) > (_MANY if seed in (1, 2, 3) else 0)


def leaves(node):
    yield node.cluster_ids
    for child in node.key_to_child_node.values():
        yield from leaves(child)


def test_no_loop_over_the_clusters_of_a_large_leaf(monkeypatch):
    rng = random.Random(1)
    compared = 0
    plain = Drain.get_seq_distance

    def counting(self, *arguments):
        nonlocal compared
        compared += 1
        return plain(self, *arguments)

    monkeypatch.setattr(Drain, "get_seq_distance", counting)
    parser = DrainParser(ParserSettings(max_children=2))
    messages = [" ".join(word(rng, 6) for _ in range(8)) for _ in range(600)]
    parser.learn(*numbered(messages))
    assert len(parser.templates) == 600
    assert compared < 600 * _MANY


def numbered(messages):
    return np.arange(len(messages), dtype=np.int32), messages


def test_templates_end_at_the_limit():
    distinct = [" ".join(word(random.Random(i), 6) for _ in range(4)) for i in range(300)]
    with pytest.raises(TooManyTemplates, match=r"more than 100 templates.*max_templates") as stopped:
        DrainParser(ParserSettings(), 100).learn(*numbered(distinct))
    assert stopped.value.n_lines == 101
    DrainParser(ParserSettings(), 300).learn(*numbered(distinct))


def test_clusters_of_one_text_do_not_count_to_the_limit():
    parser = DrainParser(ParserSettings(), 5)
    keys = parser.learn(np.zeros(50, np.int32), ["<*> <*> <*>"])
    assert len(set(keys.tolist())) == 50


def test_a_parser_that_was_stored_searches_alike():
    rng = random.Random(4)
    messages = [" ".join(word(rng, 2) for _ in range(4)) for _ in range(400)]
    parser = DrainParser(ParserSettings(similarity=0.7))
    parser.learn(*numbered(messages))
    again = DrainParser.from_state(ParserSettings(similarity=0.7), parser.state())
    asked = messages + [" ".join(word(rng, 2) for _ in range(4)) for _ in range(200)]
    assert again.match(asked).tolist() == parser.match(asked).tolist()


@pytest.mark.slow
def test_lines_that_share_nothing_take_seconds():
    rng = random.Random(2)
    messages = [" ".join(word(rng, 6) for _ in range(10)) for _ in range(20_000)]
    start = time.process_time()
    DrainParser(ParserSettings()).learn(*numbered(messages))
    assert time.process_time() - start < 15
