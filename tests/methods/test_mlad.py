"""MLAD after its sheet (section 14): invariances, numerics, switches, reproducibility."""

import functools
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bench.detector import NotFittedError
from bench.types import Sequences
from methods import mlad
from methods.mlad import MLAD, Config, Network, objective
from methods.shared import bags as _bags
from methods.shared import layers as _layers
from methods.shared import text_inputs

pytestmark = pytest.mark.trains

TEXTS = tuple(f"template {key}" for key in range(30))
QUICK = Config(width=20, heads=2, ffn_width=16, k=3, steps=None, max_epochs=4, batch_size=64, dropout=0.1)


def fake_embed(texts):
    """A unit vector per text that depends on nothing else."""
    vectors = [
        np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)).standard_normal(384)
        for text in texts
    ]
    vectors = np.array(vectors).reshape(-1, 384)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch, request):
    if "real_encoder" not in request.fixturenames:
        monkeypatch.setattr(text_inputs, "embed", fake_embed)


@pytest.fixture
def real_encoder(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))


def of(log_keys, texts=TEXTS, **fields):
    return Sequences.from_lists(log_keys, texts, **fields)


def random_lists(seed, n, n_keys=20, longest=12):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, n_keys, rng.integers(1, longest)).tolist() for _ in range(n)]


TRAIN = of(random_lists(0, 200))
TEST = of(random_lists(1, 60, n_keys=30))


@pytest.fixture(scope="module")
def fitted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_inputs, "embed", fake_embed)
        return MLAD(QUICK, seed=0).fit(TRAIN)


def same_state(a, b):
    return all(np.array_equal(value, b.state()[name]) for name, value in a.state().items())


SWITCHES = [
    {},
    {"alpha": 1.0},
    {"alpha": 1.2},
    {"alpha": 2.0},
    {"k": 1},
    {"first_term": "bce0"},
    {"first_term": "none"},
    {"penalty": "dagmm", "penalty_weight": 0.005},
    {"mixture_dim": 8},
    {"use_gmm": False},
    {"use_gmm": False, "first_term": "bce0"},
    {"embedding": "learned"},
    {"projection": "learned"},
    {"positional": "sinusoidal"},
    {"pooling": "cls"},
    {"merge_repeats": False},
    {"attention_scale": "width"},
    {"celu": 0.5},
    {"head_alpha": 1.0},
    {"min_share": 0.0},
    {"first_term": "literal"},
    {"rec_target": "positions"},
    {"rec_error": "mean", "input_scale": "norm"},
    {"rec_target": "positions", "pooling": "cls", "mixture_dim": 8, "use_gmm": False},
    {"shrinkage": 0.5},
    {"em_steps": 3},
    {"projection": "pca"},
    {"precision": "bf16"},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_switch_trains_scores_and_survives_saving(switches):
    config = replace(QUICK, max_epochs=1, **switches)
    detector = MLAD(config).fit(TRAIN)
    scores = detector.score(TEST)
    assert scores.dtype == np.float64
    assert scores.shape == (60,)
    assert np.isfinite(scores).all()
    state = {name: value.copy() for name, value in detector.state().items()}
    assert MLAD(config).load_state(state).score(TEST).tolist() == scores.tolist()
    json.dumps(detector.monitor())


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_network_and_objective_run_on_meta(switches):
    config = replace(QUICK, **switches)
    with torch.device("meta"):
        net, width = Network(config, 9), config.width
        tokens = torch.randn(4, 5, width)
        encoded = net(tokens, torch.ones(4, 5))
        objective(net, encoded, torch.full((4,), 0.25), config)["loss"].backward()
    assert encoded.vectors.is_meta
    assert net.blocks[0].attention.inner.weight.grad.is_meta


def test_order_of_events_does_not_matter_without_positions(fitted):
    shuffled = of([list(reversed(keys)) for keys in random_lists(1, 60, n_keys=30)])
    assert fitted.score(shuffled).tolist() == fitted.score(TEST).tolist()


def test_order_of_events_matters_with_positions():
    detector = MLAD(replace(QUICK, positional="sinusoidal", max_epochs=1)).fit(TRAIN)
    a, b = detector.score(of([[0, 1, 2, 3], [3, 2, 1, 0]]))
    assert a != b


@pytest.mark.parametrize("switches", [{}, {"pooling": "cls"}, {"positional": "sinusoidal"}, {"alpha": 1.0}])
def test_padding_does_not_change_the_vector(switches):
    net = Network(replace(QUICK, **switches), 9).double().eval()
    tokens = torch.randn(2, 4, 20, generator=torch.Generator().manual_seed(0)).double()
    multiplicity = torch.tensor([[1.0, 2, 1, 1], [3, 1, 1, 1]]).double()
    padded = torch.cat([tokens, 50 * torch.ones(2, 3, 20)], 1)
    more = torch.cat([multiplicity, torch.zeros(2, 3)], 1)
    for ours, theirs in zip(net(tokens, multiplicity), net(padded, more), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


def test_equal_events_as_one_token_change_nothing(fitted):
    net, table = fitted.net_, torch.as_tensor(fake_embed(TEXTS)[:, :20]).double()
    expanded = net(table[[0, 1, 1, 1, 2]][None], torch.ones(1, 5).double())
    merged = net(table[[0, 1, 2]][None], torch.tensor([[1.0, 3, 1]]).double())
    torch.testing.assert_close(expanded.vectors, merged.vectors, atol=1e-12, rtol=0)


def test_company_and_chunks_do_not_change_scores(fitted, monkeypatch):
    scores = fitted.score(TEST)
    alone = [fitted.score(TEST.select(np.array([i])))[0] for i in range(len(TEST))]
    np.testing.assert_allclose(alone, scores, rtol=0, atol=1e-6)
    monkeypatch.setattr(_bags, "length_chunks", lambda lengths: iter(np.arange(len(lengths))[:, None]))
    monkeypatch.setattr(_layers, "MAX_CELLS", 40)
    monkeypatch.setattr(mlad, "_BLOCK", 7)
    np.testing.assert_allclose(fitted.score(TEST), scores, rtol=0, atol=1e-6)


def test_recomputing_activations_changes_no_gradient(monkeypatch):
    net = Network(replace(QUICK, dropout=0.0), 9)
    data = _bags.DeviceBags(_layers.unique_bags(TRAIN.text_ids.astype(np.int64), TRAIN.offsets).bags, "cpu")
    features, (plan,) = torch.randn(30, 20), data.plan([np.arange(50)])
    gradients = []
    for limit in (2**14, 10):
        monkeypatch.setattr(_bags, "MAX_TOKENS", limit)
        net.zero_grad()
        net.encode(features, data, plan).vectors.square().sum().backward()
        gradients.append(net.blocks[0].attention.inner.weight.grad.clone())
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 100])
def test_identical_sequences_train_to_finite_scores(n):
    detector = MLAD(QUICK).fit(of([[0, 1, 1]] * n))
    assert np.isfinite(detector.score(TEST)).all()


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("switches", [{}, {"penalty": "dagmm", "penalty_weight": 0.005}])
def test_loss_and_gradient_are_finite_in_a_collapsed_batch(k, switches):
    config = replace(QUICK, k=k, **switches)
    net = Network(config, 9)
    vectors = torch.ones(3, 20, requires_grad=True)  # fewer than K, and identical
    parts = objective(net, mlad.Encoded(vectors, vectors.square().sum(1)), torch.full((3,), 1 / 3), config)
    parts["loss"].backward()
    assert all(torch.isfinite(value) for value in parts.values())
    assert torch.isfinite(vectors.grad).all()


def test_one_component_collapse_is_finite():
    config = replace(QUICK, k=3)
    net = Network(config, 9)
    with torch.no_grad():
        net.responsibility.bias.copy_(torch.tensor([50.0, 0, 0]))
    vectors = torch.randn(10, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert net.responsibilities(vectors)[:, 1:].sum() == 0
    objective(net, mlad.Encoded(vectors, vectors.square().sum(1)), torch.full((10,), 0.1), config)["loss"].backward()
    assert torch.isfinite(vectors.grad).all()


def test_responsibilities_and_shares_sum_to_one(fitted):
    gamma = fitted.net_.responsibilities(torch.randn(7, 20).double())
    torch.testing.assert_close(gamma.sum(1), torch.ones(7).double(), atol=1e-6, rtol=0)
    assert fitted.mixture_.log_share.exp().sum() == pytest.approx(1)
    assert torch.equal(fitted.mixture_.covariance, fitted.mixture_.covariance.transpose(1, 2))
    assert (torch.linalg.eigvalsh(fitted.mixture_.covariance) > 0).all()


def test_the_objective_is_equation_7():
    config = replace(QUICK, dropout=0.0)
    net = Network(config, 9)
    parts = objective(net, mlad.Encoded(torch.randn(30, 20), torch.rand(30)), torch.full((30,), 1 / 30), config)
    expected = parts["first_term"] + 0.1 * parts["energy"] - 0.005 * parts["penalty"]
    torch.testing.assert_close(parts["loss"], expected)


def test_weights_stand_for_repeats():
    net = Network(QUICK, 9)
    vectors, errors = torch.randn(4, 20), torch.rand(4)
    index = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3])
    weights = torch.bincount(index) / 8
    a = objective(net, mlad.Encoded(vectors, errors), weights, QUICK)
    b = objective(net, mlad.Encoded(vectors[index], errors[index]), torch.full((8,), 1 / 8), QUICK)
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], atol=1e-5, rtol=1e-5)


def gradients_of_a_batch(merge, config):
    """Loss and gradients of one batch with repeats, computed once each or one by one."""
    config = replace(config, dropout=0.0, batch_size=64, merge_repeats=merge)
    log = of(random_lists(3, 40, n_keys=6, longest=6) * 3)
    bags, _, distinct = _bags.unique_bags(log.text_ids.astype(np.int64), log.offsets, merge_repeats=merge)
    items, repeats = np.unique(distinct, return_counts=True) if merge else (distinct, np.ones(len(distinct)))
    torch.manual_seed(0)
    net, features = Network(config, 1).double(), torch.randn(30, 20, dtype=torch.float64)
    data = _bags.DeviceBags(bags, "cpu")
    (plan,) = data.plan([items])
    parts = objective(net, net.encode(features, data, plan), torch.as_tensor(repeats / repeats.sum()), config)
    parts["loss"].backward()
    return len(items), parts, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("switches", [{}, {"alpha": 1.0}, {"pooling": "cls"}, {"rec_target": "positions"}], ids=str)
def test_a_merged_batch_has_the_loss_and_gradients_of_the_unmerged_one(switches):
    config = replace(QUICK, **switches)
    (fewer, merged, ours), (all_of_them, single, theirs) = (gradients_of_a_batch(m, config) for m in (True, False))
    assert fewer < all_of_them / 2
    for name, value in merged.items():
        torch.testing.assert_close(value, single[name], atol=1e-9, rtol=1e-9)
    assert ours.keys() == theirs.keys() >= {"decoder.weight", "blocks.0.attention.inner.weight"}
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize(
    "switches", [{}, {"alpha": 1.0}, {"alpha": 1.3, "head_alpha": 2.0}, {"pooling": "cls"}], ids=str
)
def test_the_entmax_of_the_package_gives_the_loss_and_gradients_of_ours(switches, monkeypatch):
    config = replace(QUICK, merge_repeats=False, **switches)
    _, ours, our_gradients = gradients_of_a_batch(False, config)
    asked = []
    known = mlad.package_entmax
    monkeypatch.setattr(mlad, "package_entmax", lambda x, alpha, m=None: (asked.append(alpha), known(x, alpha, m))[1])
    _, theirs, their_gradients = gradients_of_a_batch(False, replace(config, entmax="package"))
    assert set(asked) == {config.alpha, config.head_alpha or config.alpha}
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-6, rtol=1e-6)
    for name, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, their_gradients[name], atol=1e-6, rtol=1e-5)


def test_the_entmax_of_the_package_refuses_merged_events():
    with pytest.raises(ValueError, match="entmax 'package' cannot work with merge_repeats true: set merge_rep"):
        replace(QUICK, entmax="package")


def test_projecting_texts_once_changes_nothing():
    net = Network(replace(QUICK, dropout=0.0), 1).double()
    data = _bags.DeviceBags(_bags.unique_bags(TRAIN.text_ids.astype(np.int64), TRAIN.offsets).bags, "cpu")
    features, (plan,) = torch.randn(30, 20, dtype=torch.float64), data.plan([np.arange(50)])
    shapes = []
    net.blocks[0].attention.inner.register_forward_hook(lambda layer, given, out: shapes.append(tuple(given[0].shape)))
    once = net.encode(features, data, plan)
    assert shapes == [(30, 20)]  # the table of 30 texts, no tokens
    each = net.encode(features, data, plan._replace(n_tokens=1))
    assert len(shapes) == 1 + len(plan.chunks)
    for a, b in zip(once, each, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_the_literal_first_term_is_the_length_of_the_responsibilities():
    config = replace(QUICK, first_term="literal")
    net, vectors, weights = Network(config, 1), torch.randn(9, 20), torch.full((9,), 1 / 9)
    parts = objective(net, mlad.Encoded(vectors, torch.zeros(9)), weights, config)
    torch.testing.assert_close(parts["first_term"], net.responsibilities(vectors).square().sum(1).mean())


def test_the_responsibilities_may_have_an_alpha_of_their_own():
    net = Network(replace(QUICK, head_alpha=1.0), 1)
    vectors = 100 * torch.randn(9, 20)
    torch.testing.assert_close(net.responsibilities(vectors), torch.softmax(net.responsibility(vectors), 1))
    assert (Network(QUICK, 1).responsibilities(vectors) == 0).any()


def test_attention_may_be_scaled_by_the_whole_width():
    layers = [Network(replace(QUICK, attention_scale=kind), 1).blocks[0].attention for kind in ("head", "width")]
    assert [layer.scale**-2 for layer in layers] == pytest.approx([10, 20])


def test_steps_of_em_raise_the_likelihood_of_training(fitted):
    data = _bags.DeviceBags(_bags.unique_bags(TRAIN.text_ids.astype(np.int64), TRAIN.offsets).bags, "cpu")
    features = torch.as_tensor(fitted.inputs_.features(TEXTS))
    counts, mean_energies = np.ones(len(data.lengths), np.int64), []
    vectors = fitted.net_.encode(features, data, data.plan([np.arange(len(counts))])[0]).vectors
    for steps in (0, 1, 5):
        monkey = replace(QUICK, em_steps=steps)
        fitted.net_.config, before = monkey, fitted.net_.config
        with torch.inference_mode():
            mean_energies.append(float(mlad._final_pass(fitted.net_, features, data, counts)[0].energy(vectors).mean()))
        fitted.net_.config = before
    assert mean_energies[0] > mean_energies[1] > mean_energies[2]


def test_novel_texts_score_higher():
    rng = np.random.default_rng(0)
    normal = [[a] * m + [b] * (10 - m) for a, b, m in rng.integers([0, 0, 5], [10, 10, 11], (600, 3)).tolist()]
    abnormal = [[*keys[:7], *rng.integers(10, 30, 3).tolist()] for keys in normal[:100]]
    detector = MLAD(Config(steps=200, batch_size=64)).fit(of(normal[100:500]))
    scores = detector.score(of(normal[500:] + abnormal))
    assert roc_auc_score([0] * 100 + [1] * 100, scores) > 0.9


def test_scores_depend_on_texts_not_on_keys_or_ids(fitted):
    renumbered = of([[29 - key for key in keys] for keys in random_lists(1, 60, n_keys=30)], TEXTS[::-1])
    np.testing.assert_allclose(fitted.score(renumbered), fitted.score(TEST), rtol=1e-9)
    blind = TEST.with_log_keys(np.full(TEST.n_events, -1, np.int32))
    assert fitted.score(blind).tolist() == fitted.score(TEST).tolist()


def test_the_learned_embedding_has_one_row_for_unseen_texts():
    detector = MLAD(replace(QUICK, embedding="learned", max_epochs=1)).fit(TRAIN)
    a, b, c = detector.score(of([[25], [29], [0]]))
    assert a == pytest.approx(b, rel=1e-12) != c


def test_only_the_learned_embedding_saves_texts(fitted):
    assert all(value.dtype.kind in "if" for value in fitted.state().values())
    learned = MLAD(replace(QUICK, embedding="learned", max_epochs=1)).fit(TRAIN)
    assert text_inputs.array_to_texts(learned.state()["texts.vocabulary"]) == list(TEXTS[:20])


def test_empty_sequences_get_the_energy_of_a_component_mean(fitted):
    empty, normal = fitted.score(of([[], [0, 1]]))
    assert empty == float(fitted.mixture_.energy(fitted.mixture_.mean).min())
    assert np.isfinite(normal)
    assert fitted.score(of([])).shape == (0,)
    assert fitted.score(of([[], []])).tolist() == [empty, empty]


def test_a_long_sequence_of_distinct_texts_is_scored(fitted, monkeypatch):
    monkeypatch.setattr(_layers, "MAX_CELLS", 2**16)
    texts = tuple(f"line {i}" for i in range(700))
    assert np.isfinite(fitted.score(of([list(range(700)), [0]], texts))).all()


def test_same_seed_same_scores_another_seed_others(fitted):
    before = torch.get_rng_state()
    assert same_state(fitted, MLAD(QUICK, seed=0).fit(TRAIN))
    assert torch.equal(torch.get_rng_state(), before)
    assert not same_state(fitted, MLAD(QUICK, seed=1).fit(TRAIN))


def test_fit_twice_is_fit_once(fitted):
    assert same_state(fitted, MLAD(QUICK, seed=0).fit(TEST).fit(TRAIN))


def test_labels_are_not_read(fitted):
    labels = np.random.default_rng(0).integers(0, 2, len(TRAIN)).astype(np.int8)
    assert same_state(fitted, MLAD(QUICK, seed=0).fit(TRAIN, labels))


def test_score_is_pure(fitted):
    first = fitted.score(TEST)
    assert fitted.score(TEST).tolist() == first.tolist()


def test_monitor_watches_the_collapse(fitted):
    facts = fitted.monitor()
    assert len(facts["covariance_traces"]) == 3
    assert 0 <= facts["attention_zeros"] < 1
    assert facts["responsibility_entropy"] >= 0
    watched = {"loss", "first_term", "energy", "penalty", "covariance_trace", "responsibility_entropy"}
    expected = {f"{part}_{name}" for part in ("train", "held_out") for name in watched} | {"step"}
    assert set(facts["epochs"][0]) == expected
    json.dumps(facts)
    assert MLAD().monitor() == {}


def test_represent_gives_a_vector_per_sequence(fitted):
    vectors = fitted.represent(TEST)
    assert vectors.shape == (60, 20)
    assert vectors.dtype == np.float32


def test_before_fit():
    for call in (lambda: MLAD().score(TEST), lambda: MLAD().state()):
        with pytest.raises(NotFittedError):
            call()


def test_training_without_events_is_skipped_with_a_reason():
    assert MLAD().skip(of([[]])) is not None
    assert MLAD().skip(TRAIN) is None
    with pytest.raises(ValueError, match="no training sequence"):
        MLAD().fit(of([[], []]))


@pytest.mark.parametrize(
    ("wrong", "way_out"),
    [
        ({"penalty": "dagmm"}, "0.005"),
        ({"use_gmm": False, "first_term": "none"}, "rec"),
        ({"jitter": 0.0}, "jitter"),
        ({"k": 0}, "k 0"),
        ({"celu": 0.0}, "celu"),
        ({"em_steps": -1}, "em_steps"),
        ({"head_alpha": 2.5}, "head_alpha"),
        ({"alpha": 0.5}, "alpha"),
        ({"head_alpha": 0.0}, "head_alpha"),
        ({"shrinkage": 1.5}, "shrinkage"),
    ],
)
def test_meaningless_configs_are_refused(wrong, way_out):
    with pytest.raises(ValueError, match=way_out):
        Config(**wrong)


def test_defaults_are_those_of_the_sheet():
    config = Config()
    assert (config.layers, config.heads, config.ffn_width, config.k, config.alpha) == (2, 4, 256, 5, 1.5)
    assert (config.energy_weight, config.penalty_weight, config.jitter, config.dropout) == (0.1, -0.005, 1e-3, 0.5)
    assert (config.learning_rate, config.batch_size, config.steps, config.width) == (1e-3, 128, 600, 100)


def test_with_the_real_sentence_encoder(real_encoder):
    texts = ("generating core", "ciod: error loading", "machine check interrupt", "unrelated thing")
    detector = MLAD(replace(QUICK, max_epochs=2)).fit(of([[0, 1], [1, 0, 0], [0]] * 10, texts))
    assert np.isfinite(detector.score(of([[0], [3], [2, 3]], texts))).all()


@pytest.mark.slow
def test_compiled_training_is_one_graph_and_changes_nothing(monkeypatch):
    """Traced as for a real translation but run as written: one graph for all shapes, no piece of it left out."""
    counters = torch._dynamo.utils.counters
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    config = replace(QUICK, layers=1, max_epochs=2)
    compiled, plain = (MLAD(replace(config, compile=flag), seed=0).fit(TRAIN) for flag in (True, False))
    np.testing.assert_allclose(compiled.score(TEST), plain.score(TEST), rtol=1e-4)
    losses = [[epoch["train_loss"] for epoch in detector.monitor()["epochs"]] for detector in (compiled, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert not counters["graph_break"]
    assert 1 <= counters["stats"]["unique_graphs"] <= 2
