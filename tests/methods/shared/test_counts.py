"""What the methods on event counts share, and what holds for each of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from bench.detector import NotFittedError
from bench.testing import check_detector, conforms, summarise
from bench.types import UNKNOWN_KEY, Sequences
from methods.ecvc_idf import ECVCIdf
from methods.edit_distance import EditDistance
from methods.invariants import Invariants
from methods.isolation_forest import IsolationForest
from methods.knn_embedding import KNNEmbedding
from methods.logcluster import LogCluster
from methods.logistic_regression import LogisticRegression
from methods.ngram import NGram
from methods.ocsvm import OCSVM
from methods.pca import PCA
from methods.random_forest import RandomForest
from methods.shared import counts as _counts

TOLD = {
    PCA: "unlabelled",
    IsolationForest: "unlabelled",
    Invariants: "unlabelled",
    LogCluster: "normals",
    OCSVM: "normals",
    NGram: "normals",
    EditDistance: "normals",
    ECVCIdf: "normals",
    KNNEmbedding: "normals",
    LogisticRegression: "labels",
    RandomForest: "labels",
}
KEY_BASED = [method for method in TOLD if method is not KNNEmbedding]
HAVE_OOV = [PCA, Invariants, LogCluster, OCSVM, NGram, EditDistance, ECVCIdf]
TEXTS = tuple(f"template {key}" for key in range(60))


def of(*log_keys, **fields):
    return Sequences.from_lists(log_keys, TEXTS, **fields)


def random_sequences(seed, n=60, n_keys=8, low=0):
    rng = np.random.default_rng(seed)
    return of(*(rng.integers(low, n_keys, rng.integers(1, 12)).tolist() for _ in range(n)))


def fitted(method, train, config=None):
    labels = (np.arange(len(train)) % 4 == 0).astype(np.int8) if TOLD[method] == "labels" else None
    return method(config).fit(train, labels)


@pytest.mark.parametrize("method", TOLD)
def test_what_it_is_told_is_that_of_the_sheet(method):
    assert method.tags.told == {"source": TOLD[method]}


@pytest.mark.parametrize("method", [method for method in TOLD if "original" in method.profiles])
def test_the_published_settings_pass_the_conformance_kit(method):
    config = method.Config(**method.profiles["original"])
    relative = "published form: every score is divided by the largest of those scored together"
    expected = {"check_parts": relative} if method is NGram else {}
    results = check_detector(method, config=config, expected_failures=expected)
    assert conforms(results), summarise(results)


@pytest.mark.parametrize("method", KEY_BASED)
def test_without_a_known_key_in_training_there_is_a_reason_to_skip(method):
    empty = of([], [UNKNOWN_KEY])
    assert method().skip(empty) == "no training sequence has an event with a known log key"
    assert method().skip(of([0])) is None
    with pytest.raises(ValueError, match="no training sequence has an event"):
        method().fit(empty, np.array([0, 1], np.int8))


@pytest.mark.parametrize("method", TOLD)
def test_unfitted_cannot_be_saved(method):
    with pytest.raises(NotFittedError):
        method().state()


@pytest.mark.parametrize("method", KEY_BASED)
def test_texts_and_the_numbers_of_unseen_keys_play_no_part(method):
    detector = fitted(method, random_sequences(0))
    keys = [[0, 40, 3, 41], [0, UNKNOWN_KEY, 3, 50], [0, 50, 3, 50]]
    tested = of(*keys, text_ids=np.arange(12, dtype=np.int32), system=np.array([0, 1, 2], np.uint8))
    assert len(set(detector.score(tested))) == 1


@pytest.mark.parametrize("method", KEY_BASED)
def test_scores_no_sequence_at_all(method):
    assert fitted(method, random_sequences(0)).score(of()).shape == (0,)


@pytest.mark.parametrize("method", HAVE_OOV)
def test_unseen_events_raise_the_score(method):
    train = of(*[[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 5], [1, 2, 3, 4]] * 10)
    config = method.Config(oov=True) if method is PCA else None
    scores = fitted(method, train, config).score(of([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 9, 9, 9]))
    assert scores[1] > scores[0]


@pytest.mark.parametrize("method", [IsolationForest, LogisticRegression, RandomForest])
def test_unseen_events_are_invisible_where_the_docstring_says_so(method):
    scores = fitted(method, random_sequences(0)).score(of([0, 1, 2], [0, 1, 2, 9, 9]))
    assert scores[0] == scores[1]


@pytest.mark.parametrize("method", [PCA, IsolationForest, Invariants, LogCluster, OCSVM])
def test_without_oov_unseen_events_are_dropped(method):
    train = random_sequences(0)
    detector = fitted(method, train, method.Config(oov=False))
    assert detector.score(of([0, 9, 3])) == detector.score(of([0, 3]))


def test_count_matrix_by_hand():
    known = _counts.known_keys(of([7, 2], [2, UNKNOWN_KEY]))
    assert known.tolist() == [2, 7]
    rows = _counts.distinct_counts(of([2, 2, 7], [7, 2, 2], [5, UNKNOWN_KEY], []), known)
    assert rows.matrix.toarray().tolist() == [[2, 1, 0], [0, 0, 2], [0, 0, 0]]
    assert rows.counts.tolist() == [2, 1, 1]
    assert rows.inverse.tolist() == [0, 0, 1, 2]
    dropped = _counts.distinct_counts(of([2, 5], [2], [5]), known, oov=False)
    assert dropped.matrix.toarray().tolist() == [[1, 0, 0], [0, 0, 0]]
    assert dropped.counts.tolist() == [2, 1]


def test_idf_by_hand():
    weights = _counts.idf(csr_matrix(np.array([[2.0, 1, 0], [1, 0, 0]])), np.array([1, 3]))
    assert weights == pytest.approx([0.0, np.log(4), np.log(5)])


def test_scale_counts_repeats_and_a_constant_column_as_if_one_more_differed():
    rows, counts = np.array([[1.0, 3, 0], [5, 3, 0]]), np.array([3, 1])
    scale = _counts.scale_of(csr_matrix(rows), counts)
    expanded = np.repeat(rows, counts, axis=0)
    assert scale.mean == pytest.approx(expanded.mean(axis=0))
    assert scale.deviation[0] == pytest.approx(expanded[:, 0].std())
    assert scale.deviation[1:] == pytest.approx([np.std([0, 0, 0, 0, 1])] * 2)


def test_weighted_quantile_is_that_of_the_expanded_values():
    rng = np.random.default_rng(0)
    values, counts = rng.normal(size=50), rng.integers(1, 9, 50)
    expanded = np.sort(np.repeat(values, counts))
    for q in (0.01, 0.5, 0.97, 0.999, 1.0):
        assert _counts.weighted_quantile(values, counts, q) == expanded[int(np.ceil(q * len(expanded))) - 1]


def test_sampled_rows_keep_their_share():
    train = of(*[[0]] * 900, *[[1]] * 90, *[[key] for key in range(2, 12)])
    rows = _counts.distinct_counts(train, _counts.known_keys(train))
    matrix, counts = _counts.sample_rows(rows, 10, seed=0)
    assert counts.sum() == 10
    assert counts[np.flatnonzero(matrix.toarray()[:, 0])] >= 6
    assert _counts.sample_rows(rows, 12, seed=0)[1] is rows.counts


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_overlaps_are_sums_of_minima(size, monkeypatch):
    monkeypatch.setattr("methods.shared.counts.BLOCK_VECTORS", size)
    rng = np.random.default_rng(0)
    rows, train = (rng.integers(0, 3, (n, 6)).astype(float) for n in (5, 7))
    found = np.full((5, 7), np.nan)
    for i, block, shared in _counts.overlaps(csr_matrix(rows), csr_matrix(train)):
        found[i, block] = shared
    assert np.array_equal(found, np.minimum(rows[:, None], train[None]).sum(axis=2))


def test_oracle_on_the_grid_is_the_published_search_of_thresholds():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.random(200), rng.integers(0, 101, 100) / 100])
    labels = (scores + rng.normal(scale=0.3, size=300) > 0.7).astype(np.int8)

    def f1(flagged):
        return 2 * (flagged & (labels == 1)).sum() / (flagged.sum() + labels.sum())

    published = max(f1(scores >= hundredth / 100) for hundredth in range(100))
    rounded = _counts.on_grid(scores)
    assert max(f1(rounded > threshold) for threshold in [-1.0, *np.unique(rounded)]) == published
    assert _counts.on_grid(np.array([0.0, 0.29, 0.2899, 1.0])).tolist() == [0, 0.29, 0.28, 0.99]


@pytest.mark.parametrize("table", [0, 2**20])
@given(known=st.lists(st.integers(0, 9), unique=True), keys=st.lists(st.integers(UNKNOWN_KEY, 12), max_size=20))
def test_columns_are_places_among_the_known_keys(table, known, keys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_counts, "_TABLE", table)
        found = _counts.columns_of(of(keys), np.array(sorted(known), np.int32))
    assert found.dtype == np.int64
    assert found.tolist() == [sorted(known).index(key) if key in known else len(known) for key in keys]
