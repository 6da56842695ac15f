"""LogFormer after its sheet: what learns in each stage, adapters that change nothing at first, words, and padding."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional as F

from bench.detector import Evidence, NotFittedError
from bench.types import Sequences, Words
from methods import logformer
from methods.logformer import Config, LogFormer, Network
from methods.shared import adapters
from methods.shared.characters import N_CHARACTERS
from methods.shared.layers import arrays_of
from methods.shared.meta import of_role

pytestmark = [pytest.mark.trains, pytest.mark.usefixtures("no_sentence_encoder")]

TEXTS = tuple(f"template {key}" for key in range(40))
SMALL = {"width": 12, "heads": 2, "ffn_width": 16, "adapter_width": 4, "max_events": 6, "dropout": 0.0}
QUICK = Config(**SMALL, steps=60, batch_size=16, learning_rate=0.01, validation_fraction=0.0)
PLAIN = replace(QUICK, log_attention=False)
BOTH = Evidence(roles=("source", "target"))
CODE = {"width": 768, "heads": 8, "ffn_width": 3072, "log_attention": False}


def with_words(log, faulty):
    """A word behind each event: a name, or a hex word in the sequences at `faulty`."""
    ids = np.arange(log.n_events) % 5 + 5 * np.asarray(faulty)[log.sequence_of_event]
    values = pl.Series([*(f"node-{i}" for i in range(5)), *(f"0xDEAD{i}" for i in range(5))])
    return replace(log, words=Words(values, ids.astype(np.int32), np.arange(log.n_events + 1, dtype=np.int64)))


def two_systems(seed, n):
    """Sequences of a source and a target; of the abnormal third the first event is one of a few."""
    rng = np.random.default_rng(seed)
    system, labels = (np.arange(n) % 2).astype(np.uint8), (np.arange(n) // 2 % 3 == 0).astype(np.int8)
    lists = [(10 * s + rng.integers(0, 10, rng.integers(3, 7))).tolist() for s in system.tolist()]
    for row, s, label in zip(lists, system.tolist(), labels, strict=True):
        row[0] = 30 + s if label else row[0]
    return with_words(Sequences.from_lists(lists, TEXTS, system=system), np.zeros(n, int)), labels


TRAIN, LABELS = two_systems(0, 160)
TEST, TEST_LABELS = two_systems(1, 60)


@pytest.fixture(scope="module")
def fitted(no_sentence_encoder):
    return LogFormer(QUICK).fit(TRAIN, LABELS, evidence=BOTH)


def same_state(a, b):
    return all(np.array_equal(value, b.state()[name]) for name, value in a.state().items())


def batch_of(detector, log):
    reading = detector._read(log)
    return reading, logformer.inputs_of(reading.vectors.float(), reading.batch(np.arange(len(reading.lengths))))


def test_what_the_target_labels_is_found_in_its_other_sequences(fitted):
    target = TEST.system == 1
    flagged = fitted.score(TEST)[target] > fitted.native_threshold_
    assert np.mean(flagged == TEST_LABELS[target]) > 0.9


def test_the_parameters_are_those_of_the_released_code():
    """Addendum of the sheet: 232,066 of 7,316,866 learn on the target with one layer and a window of 20."""
    with torch.device("meta"):
        net = Network(Config(**CODE))
        assert net.begin_tuning("adapters") == {"all": 7_316_866, "tuned": 232_066}
        assert net.begin_tuning("classifier") == {"all": 7_316_866, "tuned": 30_722}
        assert net.begin_tuning("all") == {"all": 7_316_866, "tuned": 7_316_866}


@pytest.mark.parametrize(
    ("tuned", "learns"), [("adapters", ("adapters", "norms", "outlet")), ("classifier", ("outlet",)), ("all", ("",))]
)
def test_only_what_is_tuned_learns_on_the_target(tuned, learns):
    detector = LogFormer(replace(QUICK, tuned=tuned))
    kept = {}
    begin = Network.begin_tuning

    def begin_and_look(net, mode):
        found = begin(net, mode)
        kept.update(arrays_of(net))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "begin_tuning", begin_and_look)
        detector.fit(TRAIN, LABELS, evidence=BOTH)
    moved = {name for name, value in arrays_of(detector.net_).items() if not np.allclose(value, kept[name], atol=1e-7)}
    expected = {name for name in kept if any(part.startswith(learns) for part in name.split(".")[1:])}
    assert moved == expected


def test_adapters_of_zeros_reproduce_the_network_that_was_learned():
    torch.manual_seed(0)
    tokens, lengths = torch.randn(5, 6, 12), torch.tensor([6, 3, 1, 5, 6])
    net = Network(PLAIN).eval()
    outlet = {name: value.clone() for name, value in net.outlet.state_dict().items()}
    before = net(tokens, lengths, None)
    net.begin_tuning("adapters")
    assert not torch.equal(net.outlet.weight, outlet["weight"])  # a new classifier is drawn
    net.outlet.load_state_dict(outlet)
    torch.testing.assert_close(net(tokens, lengths, None), before)
    random = Network(replace(PLAIN, adapter_start="random")).eval()
    outlet = random.outlet.state_dict()
    kept = {name: value.clone() for name, value in outlet.items()}
    before = random(tokens, lengths, None)
    random.begin_tuning("adapters")
    random.outlet.load_state_dict(kept)
    assert not torch.allclose(random(tokens, lengths, None), before, atol=1e-3)


@pytest.mark.parametrize("mended", [True, False])
def test_the_activation_is_the_same_in_both_stages_where_it_is_mended(mended, monkeypatch):
    used = []
    for name in ("gelu", "relu"):
        real = getattr(F, name)
        monkeypatch.setattr(F, name, lambda x, name=name, real=real: used.append((name, x.shape[-1])) or real(x))
    net = Network(replace(PLAIN, mended=mended)).eval()
    tokens, lengths = torch.randn(2, 6, 12), torch.tensor([6, 3])
    net(tokens, lengths, None)
    first = [name for name, width in used if width == 16]
    used.clear()
    net.begin_tuning("adapters")
    net(tokens, lengths, None)
    second = [name for name, width in used if width == 16]
    assert (first, second) == (["gelu" if mended else "relu"], ["gelu"])


def test_a_state_of_other_weights_is_refused(fitted):
    """The released code loads with strict=False, which says nothing of what it did not find."""
    state = fitted.state()
    whole = LogFormer(QUICK).load_state(state)
    assert whole.score(TEST).tolist() == fitted.score(TEST).tolist()
    lacking = {name: value for name, value in state.items() if "inner.weight" not in name}
    with pytest.raises(RuntimeError, match="Missing key"):
        LogFormer(QUICK).load_state(lacking)


def test_padding_says_nothing_unless_it_is_attended():
    torch.manual_seed(0)
    tokens, lengths = torch.randn(3, 4, 12), torch.tensor([4, 2, 3])
    tokens = tokens * (torch.arange(4) < lengths[:, None])[:, :, None]
    longer = F.pad(tokens, (0, 0, 0, 2))
    net = Network(PLAIN).eval()
    torch.testing.assert_close(net(longer, lengths, None), net(tokens, lengths, None))
    as_published = Network(replace(PLAIN, masked=False)).eval()
    assert not torch.allclose(as_published(longer, lengths, None), as_published(tokens, lengths, None))
    detector = LogFormer(replace(PLAIN, masked=False, steps=2)).fit(TRAIN, LABELS, evidence=BOTH)
    alone = np.concatenate([detector.score(TEST.select(np.array([i]))) for i in range(len(TEST))])
    np.testing.assert_allclose(alone, detector.score(TEST), rtol=1e-12, atol=1e-12)


def test_words_reach_the_scores_through_attention_and_only_where_they_are_read(fitted):
    log = Sequences.from_lists([[1, 2, 3], [1, 2, 3]], TEXTS, system=np.ones(2, np.uint8))
    with torch.no_grad():
        fitted.net_.bias.outer.weight.normal_()
    names, hexes = (fitted.score(with_words(log, [faulty] * 2)) for faulty in (0, 1))
    assert abs(names - hexes).min() > 1e-6
    assert fitted.uses() == {"texts", "words"}
    plain = LogFormer(replace(PLAIN, steps=4)).fit(replace(TRAIN, words=None), LABELS, evidence=BOTH)
    assert plain.uses() == {"texts"}
    assert plain.score(with_words(log, [0, 1])).tolist() == plain.score(log).tolist()


def test_words_alone_can_be_learned_from():
    """All texts are the same: only what stands behind them tells which sequence is abnormal."""
    n = 120
    log = Sequences.from_lists([[3, 4, 3, 4]] * n, TEXTS, system=(np.arange(n) % 2).astype(np.uint8))
    labels = (np.arange(n) // 2 % 3 == 0).astype(np.int8)
    ids = np.arange(log.n_events) % 4 // 2 + 2 * (np.arange(log.n_events) % 2) * labels[log.sequence_of_event]
    values = pl.Series(["a", "b", "0x00FF", "0xFFFF"])
    log = replace(log, words=Words(values, ids.astype(np.int32), np.arange(log.n_events + 1, dtype=np.int64)))
    detector = LogFormer(replace(QUICK, steps=400, tuned="all")).fit(log, labels, evidence=BOTH)
    assert np.mean((detector.score(log) > 0) == labels) == 1.0


def test_log_attention_begins_as_plain_attention():
    torch.manual_seed(0)
    net = Network(QUICK).eval()
    tokens, lengths = torch.randn(2, 6, 12), torch.tensor([6, 3])
    torch.testing.assert_close(net(tokens, lengths, torch.rand(2, 6, N_CHARACTERS)), net(tokens, lengths, None))


def test_events_behind_the_first_ones_are_not_read(fitted):
    rows = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 31, 30], []]
    log = with_words(Sequences.from_lists(rows, TEXTS, system=np.ones(3, np.uint8)), np.zeros(3, int))
    words = Words(log.words.values, np.zeros(log.n_events, np.int32), log.words.offsets)
    scores = fitted.score(replace(log, words=words))
    assert scores[0] == scores[1]
    assert np.isfinite(scores).all()
    assert fitted.score(TEST.select(np.zeros(0, np.int64))).shape == (0,)


def test_the_budget_is_shared_by_both_stages():
    for share, source in ((0.5, 30), (0.25, 45), (1.0, 0)):
        config = replace(QUICK, tuning_share=share)
        assert (logformer.pretraining(config).steps, logformer.tuning(config).steps) == (source, 60 - source)
    published = Config(**LogFormer.profiles["original"])
    assert (logformer.pretraining(published).max_epochs, logformer.tuning(published).max_epochs) == (5, 20)
    facts = LogFormer(replace(QUICK, steps=7)).fit(TRAIN, LABELS, evidence=BOTH).monitor()
    assert (facts["steps_run"], facts["pretraining_steps"], facts["kept_step"]) == (7, 3, 7)
    steps = [row["step"] for row in facts["epochs"]]
    assert steps == sorted(steps)
    assert steps[-1] == 7
    assert facts["parameters"]["tuned"] < facts["parameters"]["all"]
    json.dumps(facts)


def test_the_loss_is_that_of_two_separate_logits(fitted):
    _, inputs = batch_of(fitted, TEST)
    net = Network(QUICK).eval()
    share = torch.rand(len(inputs[0]))
    weights = torch.full((len(share),), 1 / len(share))
    lesson = logformer.Lesson(fitted._read(TEST).batch(np.arange(len(share))), share)
    vectors = fitted._read(TEST).vectors.float()
    found = logformer.objective(net, vectors)(lesson, weights)["loss"]
    odds = F.logsigmoid(net(*inputs)), F.logsigmoid(-net(*inputs))
    wanted = torch.stack([1 - share, share], 1)
    torch.testing.assert_close(found, -(wanted * odds[0] + (1 - wanted) * odds[1]).mean())


def test_forward_loss_and_backward_run_on_meta():
    with torch.device("meta"):
        net = Network(QUICK)
        logits = net(torch.randn(4, 6, 12), torch.ones(4, dtype=torch.int64), torch.rand(4, 6, N_CHARACTERS))
        logits.sum().backward()
    assert logits.is_meta
    assert all(p.grad.is_meta for name, p in net.named_parameters() if "adapters" not in name)


def test_what_cannot_be_learned_from_is_refused():
    is_source = of_role(TRAIN, BOTH.roles, "source")
    alone = TRAIN.select(is_source)
    assert "use a transfer such as bgl2tbird" in LogFormer().skip(alone)
    with pytest.raises(ValueError, match="LogFormer cannot be trained"):
        LogFormer(QUICK).fit(alone, LABELS[is_source])
    with pytest.raises(ValueError, match="labels of the target"):
        LogFormer(QUICK).fit(TRAIN, np.where(is_source, LABELS, 0).astype(np.int8), evidence=BOTH)
    for wrong in ({"width": 13}, {"tuning_share": 0.0}, {"heads": 0}, {"max_events": 0}, {"tuning_epochs": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Config(**{"heads": 2, **wrong})
    for call in (lambda: LogFormer().score(TEST), lambda: LogFormer().state()):
        with pytest.raises(NotFittedError):
            call()


def test_same_seed_same_network_another_seed_another(fitted):
    again = LogFormer(replace(QUICK, steps=4)).fit(TRAIN, LABELS, evidence=BOTH)
    assert same_state(LogFormer(replace(QUICK, steps=4)).fit(TRAIN, LABELS, evidence=BOTH), again)
    assert not same_state(LogFormer(replace(QUICK, steps=4), seed=1).fit(TRAIN, LABELS, evidence=BOTH), again)


def test_unseen_things_are_finite_on_both_sides():
    assert np.isfinite(adapters.UNSEEN)
