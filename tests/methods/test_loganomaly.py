"""LogAnomaly after its sheet: matching of templates, the count branch, ranks, exactness of the fast path."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.data.embedding import FALLBACK_ENCODER, embed, project
from bench.detector import NotFittedError
from bench.types import UNKNOWN_KEY, Sequences
from methods import loganomaly
from methods.loganomaly import Config, LogAnomaly, Network, most_similar
from methods.shared import histories, text_inputs

pytestmark = pytest.mark.trains

OPEN, WORK, CLOSE = 0, 1, 2
TEXTS = (
    "session opened for user <*>",
    "request of <*> bytes was answered in <*> ms by the server",
    "session closed for user <*>",
    "checkpoint written to <*>",
    "request of <*> bytes was answered in <*> ms by a server",
    "kernel panic: fatal machine check",
)
PARAPHRASE, FOREIGN = 4, 5
QUICK = Config(
    history=4,
    hidden=12,
    layers=2,
    steps=None,
    max_epochs=15,
    batch_size=64,
    learning_rate=0.01,
    dropout=0.0,
)
CYCLE = [[(start + i) % 3 for i in range(12)] for start in range(3)] * 20


def hashed(texts):
    return embed(texts, encoder=FALLBACK_ENCODER)


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    for module in (loganomaly, text_inputs):
        monkeypatch.setattr(module, "embed", hashed)


def of(log_keys, **fields):
    return Sequences.from_lists(log_keys, TEXTS, **fields)


def unknown(text_ids):
    """One sequence of events whose keys training never had."""
    log = of([[UNKNOWN_KEY] * len(text_ids)])
    return replace(log, text_ids=np.array(text_ids, np.int32))


def random_lists(seed, n, n_keys=4, low=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(low, n_keys, rng.integers(0, 15)).tolist() for _ in range(n)]


@pytest.fixture(scope="module")
def fitted():
    """Trained on the cycle 0 1 2 0 1 2, from each of its starts."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (loganomaly, text_inputs):
            patch.setattr(module, "embed", hashed)
        return LogAnomaly(QUICK, seed=0).fit(of(CYCLE))


def test_a_learned_cycle_has_rank_zero_and_a_swapped_key_has_not(fitted):
    assert fitted.explain(of([[0, 1, 2, 0, 1, 2, 0]]))[1:].tolist() == [0] * 6
    assert fitted.explain(of([[0, 1, 2, 0, 2, 1]]))[4] >= 1


def test_the_same_text_is_itself_with_similarity_one():
    vectors = hashed(list(TEXTS))
    assert most_similar(vectors, vectors, 1 - 1e-7).tolist() == list(range(len(TEXTS)))


def test_a_paraphrase_is_the_known_template_and_another_text_is_none(fitted):
    known, same, paraphrase = of([[0, 1, 2]]), unknown([0, 1, 2]), unknown([0, PARAPHRASE, 2])
    assert fitted.score(same) == fitted.score(known)
    assert fitted.score(paraphrase) == fitted.score(known)
    assert np.ceil(fitted.score(unknown([0, FOREIGN, 2]))) == len(fitted.keys_)


def test_the_threshold_of_similarity_is_the_configs(fitted):
    vectors = hashed([TEXTS[PARAPHRASE]])
    cosine = float((vectors @ hashed([TEXTS[1]]).T)[0, 0])
    known = hashed(list(TEXTS[:3]))
    assert most_similar(vectors, known, cosine - 1e-3).tolist() == [1]
    assert most_similar(vectors, known, cosine + 1e-3).tolist() == [-1]


def test_the_most_similar_template_is_taken_not_the_first():
    known = np.array([[1, 0.3, 0], [1, 0.05, 0], [1, 0.2, 0]], np.float32)
    assert most_similar(np.array([[1, 0, 0]], np.float32), known, 0.9).tolist() == [1]


def test_a_template_without_words_is_unknown():
    zeros = np.zeros((1, 3), np.float32)
    assert most_similar(zeros, np.eye(3, dtype=np.float32), 0.9).tolist() == [-1]
    assert most_similar(np.eye(3, dtype=np.float32)[:1], zeros, 0.9).tolist() == [-1]


def test_templates_of_the_test_part_are_no_candidates(fitted):
    """The foreign text stands in `texts` with a key of its own, which is not one of training."""
    assert np.ceil(fitted.score(of([[0, 1, FOREIGN]]))) == len(fitted.keys_)


def slow_ranks(detector, keys):
    """The definition, event by event, by torch's own LSTM over each history."""
    net, h, n = detector.net_, detector.config.history, len(detector.keys_)
    table = torch.tensor(project(detector.vectors_, detector.config.width)).double() * 384**0.5
    ranks = []
    for t, key in enumerate(keys):
        past = keys[max(0, t - h) : t]
        states = torch.zeros(1, 2 * detector.config.hidden, dtype=torch.float64)
        if past:
            counts = [np.bincount(past[: i + 1], minlength=n) for i in range(len(past))]
            with torch.no_grad():
                meanings = net.meanings(table[past][None])[0][:, -1]
                counted = net.counts(torch.tensor(np.array(counts)).double()[None])[0][:, -1]
            states = torch.cat([meanings, counted], 1)
        with torch.no_grad():
            logits = net.outlet(states)[0]
        ranks.append(n if key >= n or key < 0 else int((logits > logits[key]).sum()))
    return ranks


def slow_scores(detector, lists):
    """The worst rank, equal ones in order of their mean; with unlike templates those alone count."""
    n, scores = len(detector.keys_), []
    for ranks in (slow_ranks(detector, keys) for keys in lists):
        worst = max(ranks, default=0)
        total = sum(rank for rank in ranks if worst < n or rank == n)
        scores.append(worst - (1 - total / len(ranks) / worst) / 2 if worst else 0)
    return scores


def test_scores_equal_the_plain_loop(monkeypatch):
    detector = LogAnomaly(replace(QUICK, max_epochs=2), seed=1).fit(of(random_lists(0, 60)))
    tested = random_lists(2, 40)
    expected = slow_scores(detector, tested)
    assert detector.score(of(tested)).tolist() == expected
    monkeypatch.setattr(histories, "BLOCK", 7)
    monkeypatch.setattr(histories, "MAX_EVENTS", 30)
    assert detector.score(of(tested)).tolist() == expected


def test_the_fast_path_in_single_precision_equals_the_plain_loop(monkeypatch):
    monkeypatch.setattr(histories, "SAMPLE", 8)
    detector = LogAnomaly(replace(QUICK, max_epochs=2), seed=1).fit(of(random_lists(0, 60)))
    tested = random_lists(7, 150)
    fast = detector.score(of(tested)).tolist()
    assert fast == slow_scores(detector, tested)


def test_training_predicts_from_the_states_that_scoring_uses(fitted):
    tokens = np.array([[2, 3, 4, 3, 2]])
    with torch.no_grad():
        trained = fitted.net_(torch.as_tensor(tokens))[0]
        scored = fitted.net_.stepwise(torch.float64)(
            np.array([[0, 0, 0, 0], [2, 0, 0, 0], [2, 3, 0, 0], [2, 3, 4, 0], [2, 3, 4, 3]])
        )
    assert torch.allclose(trained, scored)


def without_meanings(detector):
    """The same detector with its branch of meanings cut off, so that only the counts can tell histories apart."""
    state = detector.state()
    state["net.outlet.weight"] = state["net.outlet.weight"].copy()
    state["net.outlet.weight"][:, : QUICK.hidden] = 0
    return LogAnomaly(QUICK).load_state(state)


def test_a_missing_close_changes_the_prediction_through_the_counts_alone(fitted):
    """Two histories that end alike."""
    cut = without_meanings(fitted)
    closed, open_ = np.array([[OPEN, CLOSE, WORK, WORK], [OPEN, OPEN, WORK, WORK]]) + 2
    with torch.no_grad():
        a, b = cut.net_.stepwise(torch.float64)(np.array([closed, open_]))
    assert (a - b).abs().max() > 1e-3


def test_a_missing_close_changes_the_score_through_the_counts_alone():
    """A session that was closed is opened again, one that is open is closed; the work before tells nothing."""
    lists = [[OPEN, CLOSE, WORK, WORK, OPEN], [OPEN, OPEN, WORK, WORK, CLOSE]]
    detector = LogAnomaly(replace(QUICK, max_epochs=40)).fit(of(lists * 60))
    cut = without_meanings(detector)
    last = [int(cut.explain(of([keys]))[-1]) for keys in lists]
    swapped = [int(cut.explain(of([[*keys[:-1], OPEN + CLOSE - keys[-1]]]))[-1]) for keys in lists]
    assert last == [0, 0]
    assert min(swapped) >= 1


def test_the_counts_do_not_hold_the_event_to_be_predicted(fitted):
    with torch.no_grad():
        logits = fitted.net_(torch.tensor([[2, 3, 4], [2, 3, 2]]))
    assert torch.equal(logits[0], logits[1])


def test_order_duplicates_and_an_empty_sequence(fitted):
    tested = of(random_lists(4, 40))
    order = np.random.default_rng(0).integers(0, 40, 100)
    assert fitted.score(tested.select(order)).tolist() == fitted.score(tested)[order].tolist()
    assert fitted.score(of([[]])).tolist() == [0]
    assert fitted.score(of([])).shape == (0,)


def test_flags_do_not_increase_with_g(fitted):
    scores = fitted.score(of(random_lists(5, 100)))
    flags = [(scores > g - 1).sum() for g in range(1, 6)]
    assert flags == sorted(flags, reverse=True)
    assert fitted.native_threshold_ == QUICK.g - 1


def test_long_sequences_are_learned_in_pieces_with_context():
    detector = LogAnomaly(replace(QUICK, max_epochs=20)).fit(of([[i % 3 for i in range(60)]] * 30))
    assert detector.explain(of([[i % 3 for i in range(30)]]))[1:].tolist() == [0] * 29


def test_labels_are_not_read_and_a_second_fit_forgets(fitted):
    labels = np.random.default_rng(0).integers(0, 2, len(CYCLE)).astype(np.int8)
    again = LogAnomaly(QUICK, seed=0).fit(of(random_lists(0, 20))).fit(of(CYCLE), labels)
    for name, value in fitted.state().items():
        assert np.array_equal(value, again.state()[name])


def test_state_holds_no_text_and_comes_back(fitted):
    state = {name: value.copy() for name, value in fitted.state().items()}
    assert all(value.dtype.kind in "if" for value in state.values())
    loaded = LogAnomaly(QUICK).load_state(state)
    tested = of(random_lists(6, 30, low=-1))
    assert loaded.score(tested).tolist() == fitted.score(tested).tolist()
    assert loaded.native_threshold_ == fitted.native_threshold_


def test_monitor_and_errors(fitted):
    facts = fitted.monitor()
    assert facts["steps_run"] == facts["epochs"][-1]["step"]
    assert LogAnomaly().monitor() == {}
    assert LogAnomaly().skip(of([[]])) is not None
    for call in (lambda: LogAnomaly().score(of([[0]])), lambda: LogAnomaly().state()):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(ValueError, match="history"):
        Config(history=1)


def test_defaults_are_the_papers_and_the_original_profile_is_valid():
    config = Config()
    assert (config.history, config.layers, config.hidden, config.dropout) == (20, 2, 128, 0.5)
    assert Config(**LogAnomaly.profiles["original"]).max_epochs == 370


def test_network_runs_on_meta():
    with torch.device("meta"):
        net = Network(replace(QUICK, dropout=0.3), np.ones((5, 100))).to("meta")
        tokens = torch.randint(7, (4, 6))
        logits = net(tokens)
        F.cross_entropy(logits.transpose(1, 2), torch.randint(5, (4, 6))).backward()
    assert logits.shape == (4, 6, 5)
    assert all(parameter.grad.is_meta for parameter in net.parameters())


def test_a_sequence_is_represented_by_the_states_that_predict_what_follows(fitted):
    log = of([[0, 1, 2, 0, 1, 2], [0, 1], [], [2, 0, 1, 2]])
    vectors = fitted.represent(log)
    assert vectors.shape == (4, 2 * QUICK.hidden)
    assert vectors.dtype == np.float32
    # The last four events are the same; an empty sequence has the zeros from which both LSTMs start.
    assert np.array_equal(vectors[0], vectors[3])
    assert not vectors[2].any()
    tokens = torch.as_tensor(fitted._tokens(of([[0, 1, 0]])))[None]
    with torch.inference_mode():
        logits = fitted.net_.outlet(torch.as_tensor(vectors[1], dtype=torch.float64))
        assert torch.allclose(logits, fitted.net_(tokens)[0, -1], atol=1e-5)
