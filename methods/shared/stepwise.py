"""Next-key LSTMs in eval mode, stepping over histories that share what they begin with.

`nn.LSTM` computes every history by itself. Here rows in lexicographic order are a tree of prefixes: a step is taken
once for all rows that agree so far. The first layer's input times its weight is a table with a row per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

Integers = NDArray[np.int64]


class Branch(NamedTuple):
    """One stack of LSTMs and what it reads."""

    lstm: nn.LSTM
    projected: Tensor
    """(n_tokens, 4 * hidden): the input of each token times the first layer's weight, without bias."""
    summed: bool = False
    """Whether it reads the sum of the inputs so far in place of the last one."""


class Stack:
    """The weights of a branch in the order input, forget, output, cell, so that three gates are one sigmoid."""

    def __init__(self, branch: Branch, dtype: torch.dtype) -> None:
        lstm, size = branch.lstm, branch.lstm.hidden_size
        self.size, self.layers, self.summed = size, lstm.num_layers, branch.summed
        order = torch.cat([torch.arange(2 * size), torch.arange(3 * size, 4 * size), torch.arange(2 * size, 3 * size)])
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []
        for layer, (inner, recurrent, *biases) in enumerate(lstm.all_weights):
            weight = recurrent if layer == 0 else torch.cat([inner, recurrent], 1)
            self.weights.append(weight[order].T.contiguous().to(dtype))
            self.biases.append((biases[0] + biases[1])[order].to(dtype))
        # A sum of inputs takes the bias once, at each step.
        table = branch.projected[:, order.to(branch.projected.device)]
        self.table = table.to(dtype) if branch.summed else (table + self.biases[0]).to(dtype)

    def start(self) -> list[Tensor]:
        """The state before the first event, for one row: hidden and cell of all layers, and the sum of the inputs."""
        widths = [self.layers * self.size, self.layers * self.size, *([4 * self.size] if self.summed else [])]
        return [self.table.new_zeros(1, width) for width in widths]

    def step(self, tokens: Tensor, state: list[Tensor]) -> None:
        """One event in every row, in place; tokens: (B,), state: (B, layers * hidden) and so on."""
        size, (hidden, cell, *sums) = self.size, state
        inputs = self.table.index_select(0, tokens)
        for total in sums:
            inputs = total.add_(inputs) + self.biases[0]
        for layer in range(self.layers):
            # The layer below is new already, the layer itself still has the state of the event before.
            below = hidden[:, max(0, layer - 1) * size : (layer + 1) * size]
            if layer == 0:
                gates = inputs.addmm_(below, self.weights[0])
            else:
                gates = torch.addmm(self.biases[layer], below, self.weights[layer])
            gate_in, forget, out = gates[:, : 3 * size].sigmoid_().chunk(3, 1)
            own = slice(layer * size, (layer + 1) * size)
            kept = cell[:, own].mul_(forget).addcmul_(gate_in, gates[:, 3 * size :].tanh_())
            torch.mul(kept.tanh(), out, out=hidden[:, own])


class StepwisePredictor:
    """Logits of what follows a history, from the last states of one or more branches; call it without gradients."""

    def __init__(
        self, branches: Sequence[Branch], outlet: nn.Linear, dtype: torch.dtype, *, padding: int | None
    ) -> None:
        """padding: the token that stands behind a history's end, None where every row is read to its last column."""
        self.stacks = [Stack(branch, dtype) for branch in branches]
        self.weight, self.bias = outlet.weight.to(dtype), outlet.bias.to(dtype)
        self.padding = padding

    def __call__(self, histories: Integers) -> Tensor:
        """histories: (B, h) tokens, best in lexicographic order -> logits (B, n_classes)."""
        return F.linear(self.last_states(histories), self.weight, self.bias)

    def last_states(self, histories: Integers) -> Tensor:
        """histories: (B, h) -> (B, sum of hidden sizes), the top layer of each branch after the last event."""
        n, width = histories.shape
        lengths = np.full(n, width) if self.padding is None else (histories != self.padding).sum(1)
        differs = histories[1:] != histories[:-1]
        branching = np.zeros(n, np.int64)
        branching[1:] = np.where(differs.any(1), differs.argmax(1), width)
        final = self.weight.new_zeros(n, self.weight.shape[1])
        states, node = [stack.start() for stack in self.stacks], np.zeros(n, np.int64)
        for place in range(int(lengths.max(initial=0))):
            new = (lengths > place) & (branching <= place)
            parent, tokens = node[new], torch.as_tensor(histories[new, place], device=final.device)
            node = np.cumsum(new) - 1
            ended = np.flatnonzero(lengths == place + 1)
            for number, stack in enumerate(self.stacks):
                states[number] = _children(states[number], parent)
                stack.step(tokens, states[number])
            if len(ended):
                tops = [state[0][:, -stack.size :] for stack, state in zip(self.stacks, states, strict=True)]
                rows = torch.as_tensor(node[ended], device=final.device)
                last = torch.cat([top.index_select(0, rows) for top in tops], 1)
                final[torch.as_tensor(ended, device=final.device)] = last
        return final


def _children(state: list[Tensor], parent: Integers) -> list[Tensor]:
    """The state of each parent, copied only where nodes branch or end."""
    if len(parent) == len(state[0]) and np.array_equal(parent, np.arange(len(parent))):
        return state
    rows = torch.as_tensor(parent, device=state[0].device)
    return [part.index_select(0, rows) for part in state]
