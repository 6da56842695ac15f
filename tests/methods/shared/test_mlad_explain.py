"""Which line? MLAD's weights of events, and the attention they receive."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.detector import NotFittedError
from bench.types import Sequences
from methods.mlad import MLAD, Config
from methods.shared import layers, occlusion, text_inputs

pytestmark = pytest.mark.trains

TEXTS = tuple(f"template {key}" for key in range(30))
QUICK = Config(width=20, heads=2, ffn_width=16, k=3, steps=None, max_epochs=8, batch_size=64, dropout=0.1)
SWITCHES = [
    {},
    {"use_gmm": False},
    {"use_gmm": False, "first_term": "bce0"},
    {"positional": "sinusoidal"},
    {"pooling": "cls"},
    {"merge_repeats": False},
    {"embedding": "learned"},
    {"alpha": 1.0},
]


def fake_embed(texts):
    """A unit vector per text that depends on nothing else."""
    vectors = np.array([np.random.default_rng(list(text.encode())).standard_normal(384) for text in texts])
    return (vectors.reshape(-1, 384) / 384**0.5).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def no_sentence_encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_inputs, "embed", fake_embed)
        yield


def of(log_keys, texts=TEXTS, **fields):
    return Sequences.from_lists(log_keys, texts, **fields)


def normal_lists(seed, n):
    """Two of ten known events, one of them more often."""
    rng = np.random.default_rng(seed)
    return [[a] * m + [b] * (8 - m) for a, b, m in rng.integers([0, 0, 3], [10, 10, 9], (n, 3)).tolist()]


TRAIN = of(normal_lists(0, 400))
TEST = of([*normal_lists(1, 20), [3], [], [25, 3, 25, 4], [4, 25, 3, 25]])


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return MLAD(QUICK, seed=0).fit(TRAIN)


def rows_of(values, sequences):
    return np.split(values, sequences.offsets[1:-1])


def test_a_planted_abnormal_line_is_the_strongest(fitted):
    rng = np.random.default_rng(2)
    lists, places = normal_lists(3, 50), rng.integers(0, 9, 50)
    planted = [
        [*keys[:place], int(rng.integers(20, 30)), *keys[place:]] for keys, place in zip(lists, places, strict=True)
    ]
    tested = of(planted)
    found = [int(weights.argmax()) for weights in rows_of(fitted.explain(tested), tested)]
    assert np.mean(found == places) > 0.9
    strongest = [float(weights.max()) for weights in rows_of(fitted.explain(tested), tested)]
    assert min(strongest) > 0


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_a_weight_is_what_the_score_loses(switches):
    """Against the plain way: one sequence after the other, one event taken out, scored anew."""
    detector = MLAD(replace(QUICK, max_epochs=1, **switches), seed=0).fit(TRAIN)
    lists = rows_of(TEST.log_keys, TEST)
    weights = rows_of(detector.explain(TEST), TEST)
    if switches.get("positional"):
        assert not np.allclose(weights[-1][[1, 3]], weights[-2][[0, 2]])  # other places, other weights
        return
    for keys, found in zip(lists[-8:], weights[-8:], strict=True):
        for key in np.unique(keys):
            whole, rest = detector.score(of([keys.tolist(), keys[keys != key].tolist()]))
            assert found[keys == key] == pytest.approx((whole - rest) / (keys == key).sum(), rel=1e-4, abs=1e-5)


def test_with_positions_the_others_keep_their_places():
    detector = MLAD(replace(QUICK, max_epochs=1, positional="sinusoidal"), seed=0).fit(TRAIN)
    features = torch.as_tensor(detector.inputs_.features(TEXTS))[[7, 3, 5]][None]
    encode = detector.net_
    with torch.inference_mode():
        whole, rest = (
            detector.mixture_.energy(encode(features, torch.tensor([m]).double()).vectors).item()
            for m in ([1, 1, 1], [0, 1, 1])
        )
    assert detector.explain(of([[7, 3, 5]]))[0] == pytest.approx(whole - rest, rel=1e-4)


def test_one_event_is_compared_with_the_empty_sequence(fitted):
    one, empty = fitted.score(of([[3], []]))
    assert fitted.explain(of([[3]])) == pytest.approx([one - empty], rel=1e-5)
    assert fitted.explain(of([[3, 3, 3]])) == pytest.approx(
        3 * [(fitted.score(of([[3, 3, 3]]))[0] - empty) / 3], rel=1e-5
    )


def test_equal_events_weigh_the_same_wherever_they_stand(fitted):
    before, after = rows_of(fitted.explain(TEST), TEST)[-2:]  # [25, 3, 25, 4] and [4, 25, 3, 25]
    assert before[0] == before[2]
    assert after[[1, 2, 3, 0]] == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("method", ["explain", "attention"])
def test_company_blocks_and_padding_change_nothing(fitted, monkeypatch, method):
    call = getattr(fitted, method)
    together = call(TEST)
    assert together.dtype == np.float32
    assert together.shape == (TEST.n_events,)
    alone = np.concatenate([call(TEST.select(np.array([i]))) for i in range(len(TEST))])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    long = np.concatenate(
        [call(of([list(range(30)) * 3, keys.tolist()]))[90:] for keys in rows_of(TEST.log_keys, TEST)]
    )
    np.testing.assert_allclose(long, together, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(occlusion, "MOST_EVENTS", 11)
    monkeypatch.setattr(layers, "MAX_CELLS", 40)
    np.testing.assert_allclose(call(TEST), together, rtol=1e-5, atol=1e-6)
    monkeypatch.undo()
    np.testing.assert_array_equal(call(TEST), together)


def test_each_distinct_event_of_each_distinct_sequence_is_taken_out_once(fitted, monkeypatch):
    bags, plain = [], MLAD._scores

    def counted(self, given, features):
        bags.append(len(given.lengths))
        return plain(self, given, features)

    monkeypatch.setattr(MLAD, "_scores", counted)
    fitted.explain(of([[1, 1, 2], [2, 1, 1], [4, 4]] * 100))
    assert bags == [2, 3]


def test_an_unseen_text_has_a_weight_of_its_own(fitted):
    texts = (*TEXTS, "disk is on fire")
    weights = fitted.explain(of([[1, 1, 1, 2, 30]], texts))
    assert weights.argmax() == 4
    blind = of([[1, 1, 1, 2, 30]], texts).with_log_keys(np.full(5, -1, np.int32))
    assert fitted.explain(blind).tolist() == weights.tolist()


@pytest.mark.parametrize(
    "switches", [{}, {"merge_repeats": False}, {"alpha": 1.0}, {"positional": "sinusoidal"}], ids=str
)
def test_attention_received_sums_to_one(switches):
    detector = MLAD(replace(QUICK, max_epochs=1, **switches), seed=0).fit(TRAIN)
    received = rows_of(detector.attention(TEST), TEST)
    assert [row.sum() for row in received if len(row)] == pytest.approx([1] * (len(TEST) - 1), abs=1e-5)
    assert min(row.min() for row in received if len(row)) >= 0


def test_attention_by_hand(fitted):
    """The mean over layers, heads and queries, from a sequence of distinct events in one plain pass."""
    keys = [2, 5, 25, 9]
    x = torch.as_tensor(fitted.inputs_.features([TEXTS[key] for key in keys]))[None]
    m = torch.ones(1, 4).double()
    total = torch.zeros(4).double()
    with torch.inference_mode():
        for block in fitted.net_.blocks:
            total += block.attention.weights(x, m)[0].mean((0, 1)) / len(fitted.net_.blocks)
            x = block(x, m)
    assert fitted.attention(of([keys])) == pytest.approx(total.numpy(), abs=1e-6)


def test_a_first_token_takes_attention_but_is_no_event():
    detector = MLAD(replace(QUICK, max_epochs=1, pooling="cls"), seed=0).fit(TRAIN)
    sums = [row.sum() for row in rows_of(detector.attention(TEST), TEST) if len(row)]
    assert max(sums) < 1
    assert min(sums) > 0


def test_a_saved_detector_explains_alike(fitted):
    state = {name: value.copy() for name, value in fitted.state().items()}
    again = MLAD(QUICK).load_state(state)
    assert again.explain(TEST).tolist() == fitted.explain(TEST).tolist()
    assert again.attention(TEST).tolist() == fitted.attention(TEST).tolist()


def test_nothing_to_explain_and_not_fitted(fitted):
    for call in (fitted.explain, fitted.attention):
        assert call(of([])).shape == (0,)
        assert call(of([[], []])).shape == (0,)
    for call in (MLAD().explain, MLAD().attention, MLAD().represent):
        with pytest.raises(NotFittedError):
            call(TEST)
