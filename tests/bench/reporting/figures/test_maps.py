"""Maps of sequences: what is sampled, and that it is as many of both kinds."""

import numpy as np
import pytest

from bench.reporting.figures.maps import balanced_sample, t_sne


def test_a_sample_has_as_many_of_both_kinds():
    labels = np.array([0] * 90 + [1] * 10 + [-1] * 5, np.int8)
    assert np.bincount(labels[balanced_sample(labels, 12, 0)]).tolist() == [6, 6]
    assert np.bincount(labels[balanced_sample(labels, 800, 0)]).tolist() == [10, 10]
    assert np.array_equal(balanced_sample(labels, 12, 3), balanced_sample(labels, 12, 3))
    assert not np.array_equal(balanced_sample(labels, 12, 3), balanced_sample(labels, 12, 4))


def test_t_sne_keeps_groups_apart_and_repeats():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(0, 0.1, (30, 5)), rng.normal(9, 0.1, (30, 5))]).astype(np.float32)
    xy = t_sne(vectors, 0)
    assert xy.shape == (60, 2)
    assert np.array_equal(xy, t_sne(vectors, 0))
    centres = xy[:30].mean(0), xy[30:].mean(0)
    nearest = np.argmin([np.linalg.norm(xy - centre, axis=1) for centre in centres], axis=0)
    assert nearest.tolist() == [0] * 30 + [1] * 30


@pytest.mark.parametrize("n", [4, 7])
def test_a_few_sequences_can_be_mapped(n):
    vectors = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    assert np.isfinite(t_sne(vectors, 0)).all()
