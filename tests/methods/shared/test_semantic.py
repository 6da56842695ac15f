"""What the methods that read texts in order share, compared with torch's own and with plain loops."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bench.types import Sequences
from methods.shared import semantic, text_inputs
from methods.shared.semantic import (
    AttentionPooling,
    AttentiveClassifier,
    BiRecurrent,
    away_from_zero,
    encode,
    read,
    real,
)

TEXTS = tuple(f"template {key}" for key in range(12))
INPUTS = text_inputs.TextInputs.sentence((), 20, centred=False)
LISTS = [[0, 1, 2], [5], [3, 2, 1, 0, 4, 4, 4], [], [0, 1, 2], [2, 1, 0]]


@pytest.fixture(autouse=True)
def no_sentence_encoder(monkeypatch):
    def fake_embed(texts):
        rows = [np.random.default_rng(list(text.encode())).standard_normal(384) for text in texts]
        rows = np.reshape(rows, (-1, 384))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(text_inputs, "embed", fake_embed)


def of(lists):
    return Sequences.from_lists(lists, TEXTS)


def test_reading_keeps_order_and_counts_repeats():
    reading = read(of(LISTS), INPUTS, "cpu")
    assert reading.counts.tolist() == [2, 1, 1, 1, 1]
    assert reading.inverse.tolist() == [0, 1, 2, 3, 0, 4]
    assert reading.vectors.dtype == torch.float64
    for i, row in enumerate(LISTS):
        bag = reading.inverse[i]
        ids = reading.bags.ids[reading.bags.offsets[bag] : reading.bags.offsets[bag + 1]]
        expected = read(of([[key] for key in row]), INPUTS, "cpu") if row else None
        if expected is not None:
            torch.testing.assert_close(
                reading.vectors[ids], expected.vectors[expected.bags.ids[expected.bags.offsets[expected.inverse]]]
            )
    assert read(of([[], []]), INPUTS, "cpu").counts.tolist() == [2]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_bidirectional_layers_are_those_of_packed_sequences(kind):
    torch.manual_seed(0)
    ours = BiRecurrent(kind, 6, 5, 2, dropout=0.0)
    theirs = kind(6, 5, 2, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for layer in range(2):
            for suffix, side in (("", ours.ahead), ("_reverse", ours.behind)):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(theirs, f"{name}_l{layer}{suffix}").copy_(getattr(side[layer], f"{name}_l0"))
    x, lengths = torch.randn(4, 7, 6), torch.tensor([7, 5, 2, 1])
    expected, _ = pad_packed_sequence(theirs(pack_padded_sequence(x, lengths, batch_first=True))[0], batch_first=True)
    torch.testing.assert_close(ours(x, lengths) * real(7, lengths)[:, :, None], expected, atol=1e-6, rtol=1e-5)


def test_attention_ignores_padding_and_sums_to_one():
    pooling = AttentionPooling(6)
    states, lengths = torch.randn(3, 5, 6), torch.tensor([5, 2, 0])
    weights = pooling.weights(states, lengths)
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 1.0, 0.0]))
    assert (weights[1, 2:] == 0).all()
    changed = states.clone()
    changed[1, 2:] = 1e3
    changed[2] = -1e3
    torch.testing.assert_close(pooling(changed, lengths), pooling(states, lengths))
    assert (pooling(states, lengths)[2] == 0).all()


def test_encoding_keeps_the_order_asked_for(monkeypatch):
    reading, net = read(of(LISTS), INPUTS, "cpu"), AttentiveClassifier(nn.GRU, 20, 4, 1, dropout=0.0).double().eval()
    which = np.array([4, 0, 3, 2, 1])
    together = encode(net, reading.vectors, reading.bags, which)
    alone = torch.cat([encode(net, reading.vectors, reading.bags, np.array([i])) for i in which])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_recomputing_activations_changes_no_gradient(monkeypatch):
    reading, net = read(of(LISTS * 3), INPUTS, "cpu"), AttentiveClassifier(nn.LSTM, 20, 4, 2, dropout=0.0).double()
    gradients = []
    for limit in (2**13, 2):
        monkeypatch.setattr(semantic, "MAX_TOKENS", limit)
        net.zero_grad()
        encode(net, reading.vectors, reading.bags, np.arange(5)).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in net.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_no_entry_of_a_centre_is_near_zero():
    moved = away_from_zero(torch.tensor([0.0, 0.05, -0.05, 0.5, -0.5, -1e-9]), 0.1)
    torch.testing.assert_close(moved, torch.tensor([0.1, 0.1, -0.1, 0.5, -0.5, -0.1]))


def test_dropout_on_events_drops_whole_events_and_no_pooled_state():
    torch.manual_seed(0)
    net = AttentiveClassifier(nn.GRU, 4, 3, 1, dropout=0.5, dropout_on="events").train()
    tokens, lengths = torch.ones(1, 400, 4), torch.tensor([400])
    seen = []
    net.states.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    logits = net(tokens, lengths)
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert (seen[0].amin(2) == seen[0].amax(2)).all()
    torch.testing.assert_close(logits, net.outlet(net.vectors(seen[0], lengths)))
    net.eval()
    torch.testing.assert_close(net(tokens, lengths), net.outlet(net.vectors(tokens, lengths)))


def test_mirrored_rows_and_their_gradient_are_those_of_gather():
    lengths = torch.tensor([4, 1, 3])[:, None]
    place = torch.arange(4)
    mirror = torch.where(place < lengths, lengths - 1 - place, place)
    rows = (mirror + 4 * torch.arange(3)[:, None]).flatten()
    x, gradient = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    x.requires_grad_()
    found = semantic._mirrored(x, rows)
    expected = x.gather(1, mirror[:, :, None].expand_as(x))
    assert torch.equal(found, expected)
    assert torch.equal(*(torch.autograd.grad(y, x, gradient)[0] for y in (found, expected)))
