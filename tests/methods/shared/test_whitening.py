"""Whitened inputs: training texts vary alike in each direction, and what none of them has is stretched, but bounded."""

import numpy as np
import pytest

from methods.shared import text_inputs
from methods.shared.text_inputs import TextInputs
from methods.shared.whitening import RIDGE, whitened

WIDTH = 20


def fake_embed(texts):
    """Vectors with a large common part, and the less of the others the later the direction."""
    rows = [np.random.default_rng(list(text.encode())).standard_normal(384) for text in texts]
    rows = np.reshape(rows, (-1, 384)) / np.arange(1, 385) + 1.0
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    monkeypatch.setattr(text_inputs, "embed", fake_embed)


def inputs_of(texts):
    return TextInputs.sentence(texts, WIDTH, centred=True)


def spread(inputs, texts):
    """Ascending variances of the distinct texts over all directions."""
    return np.linalg.eigvalsh(np.cov(inputs.features(sorted(set(texts))).T, bias=True))


def test_variances_become_one_but_for_the_ridge():
    texts = [f"template {number}" for number in range(60)]
    before = spread(inputs_of(texts), texts)
    after = spread(whitened(inputs_of(texts), texts), texts)
    assert before[-1] > 20 * before[0]
    np.testing.assert_allclose(after, before / (before + RIDGE * before.mean()), rtol=1e-6)


def test_each_distinct_text_counts_once_whatever_their_order():
    texts = [f"template {number}" for number in range(30)]
    once = whitened(inputs_of(texts), texts).features(texts)
    again = whitened(inputs_of(texts), texts[::-1] + texts[:5] * 9).features(texts)
    np.testing.assert_allclose(once, again, atol=1e-9)


def test_a_direction_that_no_training_text_has_is_stretched_and_bounded():
    texts = [f"template {number}" for number in range(6)]
    plain = inputs_of(texts)
    inputs = whitened(plain, texts)
    new = ["something else"]
    variances = spread(plain, texts)
    longest = 1 / np.sqrt(RIDGE * variances.mean())
    known = np.square(inputs.features(texts)).sum(1).max()
    assert known < np.square(inputs.features(new)).sum() <= longest**2 * np.square(plain.features(new)).sum()


@pytest.mark.parametrize("texts", [["one"], ["one"] * 3])
def test_texts_that_do_not_vary_are_left_alone(texts):
    plain = inputs_of(texts)
    assert whitened(plain, texts) is plain


def test_the_state_brings_the_axes_back():
    texts = [f"template {number}" for number in range(8)]
    inputs = whitened(inputs_of(texts), texts)
    again = TextInputs.from_state(inputs.state())
    assert np.array_equal(again.features(texts), inputs.features(texts))
