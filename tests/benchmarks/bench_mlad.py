"""How fast does MLAD train? Run: python tests/benchmarks/bench_mlad.py [training|merging|mixture]

Everything in one process on one thread, taking turns; CPU seconds, medians. `training`: whole steps at d = 100, 2
layers, 20 distinct events a window, batch 512, beside an nn.TransformerEncoder of the same size with softmax and no
mixture, and the share of this machine's sgemm rate that goes into the model's matrix products. `merging`: steps per
second on HDFS sessions (BENCH_DATA; else on made-up ones with as many repeats) with equal events and equal sequences
computed once, and without. `mixture`: the update of the mixture with gradients, beside a loop of outer products.
"""

import argparse
import os
import statistics
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from methods.mlad import Config, Network, objective
from methods.shared import mixture as mixture_module
from methods.shared import training as training_module
from methods.shared.bags import DeviceBags, unique_bags
from methods.shared.draws import batches_of

BATCH, LENGTH, WIDTH = 512, 20, 100


def turns(functions, rounds):
    """Median CPU seconds of each; the first round does not count."""
    seconds = {name: [] for name in functions}
    for i in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if i:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def mlad_step(config, ids, offsets, n_texts, counts=None):
    """A function that makes one training step of MLAD, from the draw to the update."""
    bags, multiplicities, _ = unique_bags(ids, offsets, merge_repeats=config.merge_repeats)
    torch.manual_seed(0)
    net, features = Network(config, 1).train(), torch.randn(n_texts, WIDTH, dtype=torch.float64)
    data, update = DeviceBags(bags, "cpu"), training_module._updater(net, config, [0])
    rng = np.random.default_rng(0)
    counts = multiplicities if counts is None else counts
    batches = batches_of(counts, BATCH, rng, config.merge_repeats)

    def step():
        (batch,) = training_module._staged(islice(batches, 1), data.plan, torch.device("cpu"))
        parts = objective(net, net.encode(features, data, batch.items), batch.weights, config)
        update(parts["loss"])
        return batch.items.n_tokens

    return step


class Plain(nn.Module):
    """What MLAD is compared with: the library's encoder, mean pooling, the same reconstruction."""

    def __init__(self, n_texts, dropout):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.randn(n_texts, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 256, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.decoder = nn.Linear(WIDTH, WIDTH)

    def forward(self, ids):
        x = self.table(ids)
        return (self.decoder(self.encoder(x).mean(1)) - x.mean(1)).square().sum(1).mean()


def plain_step(ids, n_texts, config):
    """A function that makes one training step of it."""
    torch.manual_seed(0)
    net = Plain(n_texts, config.dropout).train()
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], config.learning_rate)
    rng = np.random.default_rng(0)

    def step():
        loss = net(torch.as_tensor(ids[rng.choice(len(ids), BATCH, replace=False)]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm)
        optimiser.step()

    return step


def training(rounds):
    """Sequences per second, and the share of the sgemm rate."""
    n_texts, config = 400, Config(merge_repeats=False)
    rng = np.random.default_rng(1)
    ids = rng.random((4096, n_texts)).argsort(1)[:, :LENGTH].copy()
    a, b = torch.randn(2, 2048, 2048)
    seconds = turns(
        {
            "mlad": mlad_step(config, ids.reshape(-1), np.arange(0, ids.size + 1, LENGTH), n_texts),
            "softmax": mlad_step(replace(config, alpha=1.0), ids.ravel(), np.arange(0, ids.size + 1, LENGTH), n_texts),
            "plain": plain_step(ids, n_texts, config),
            "sgemm": lambda: a @ b,
        },
        rounds,
    )
    rate = 2 * 2048**3 / seconds["sgemm"]
    tokens = BATCH * LENGTH
    per_layer = 2 * tokens * (4 * WIDTH**2 + 2 * WIDTH * 256 + 2 * LENGTH * WIDTH)
    flops = 3 * 2 * per_layer  # two layers; the backward pass has twice the products of the forward one
    for name, words in (("mlad", "MLAD"), ("softmax", "MLAD, alpha 1"), ("plain", "nn.TransformerEncoder")):
        share = flops / seconds[name] / rate
        sys.stdout.write(
            f"{words:22} {BATCH / seconds[name]:7.0f} sequences/s, {seconds['plain'] / seconds[name]:.2f} of the plain "
            f"encoder's rate, {100 * share:.0f} % of sgemm ({rate / 1e9:.0f} GFLOP/s)\n"
        )


def hdfs_sessions():
    """Event ids, offsets: all normal sessions of the HDFS stream, or as many made-up ones with as many repeats."""
    path = Path(os.environ.get("BENCH_DATA", ".")) / "hdfs" / "sessions_345k.npz"
    if path.is_file():
        with np.load(path) as content:
            rows, labels = content["X"], content["y"]
        rows, source = rows[labels == 0], path.name
    else:
        rng = np.random.default_rng(0)
        distinct = rng.integers(1, 30, (13_578, 19))
        rows, source = distinct[np.minimum(rng.zipf(1.3, 333_878) - 1, 13_577)], "made-up sessions"
    real = rows > 0
    offsets = np.concatenate([[0], np.cumsum(real.sum(1))]).astype(np.int64)
    return rows[real].astype(np.int64), offsets, source


def merging(rounds):
    """Steps per second with and without merging."""
    ids, offsets, source = hdfs_sessions()
    n_texts = int(ids.max()) + 1
    steps = {merge: mlad_step(Config(merge_repeats=merge), ids, offsets, n_texts) for merge in (True, False)}
    tokens = {merge: step() for merge, step in steps.items()}
    seconds = turns(steps, rounds)
    n, n_bags = len(offsets) - 1, len(unique_bags(ids, offsets).counts)
    sys.stdout.write(
        f"{source}: {n} normal sessions, {n_bags} distinct as bags; batch {BATCH}: {1 / seconds[True]:.1f} steps/s "
        f"merged ({tokens[True]} tokens), {1 / seconds[False]:.1f} without ({tokens[False]}), "
        f"{seconds[False] / seconds[True]:.1f} times\n"
    )


def loop_update(points, gamma, jitter):
    """The same update, sample by sample."""
    means, covariances = [], []
    for k in range(gamma.shape[1]):
        mass = gamma[:, k].sum() + 1e-8
        mean = (gamma[:, k, None] * points).sum(0) / mass
        total = torch.zeros(points.shape[1], points.shape[1])
        for i in range(len(points)):
            difference = points[i] - mean
            total = total + gamma[i, k] * torch.outer(difference, difference)
        means.append(mean)
        covariances.append(total / mass + jitter * torch.eye(points.shape[1]))
    return torch.stack(means), torch.stack(covariances)


def mixture(rounds):
    """The update alone, gradients on."""
    torch.manual_seed(0)
    points, upstream = torch.randn(BATCH, WIDTH), torch.randn(5, WIDTH, WIDTH)
    gamma = torch.softmax(torch.randn(BATCH, 5), 1)

    def closed(x, g):
        m = mixture_module.moments(x, g)
        mass = (m.mass + 1e-8)[:, None]
        mean = m.first / mass
        return mean, m.second / mass[:, None] - mean[:, :, None] * mean[:, None] + 1e-3 * torch.eye(WIDTH)

    def run(function):
        x, g = points.clone().requires_grad_(), gamma.clone().requires_grad_()
        mean, covariance = function(x, g)
        ((covariance * upstream).sum() + mean.sum()).backward()
        return mean.detach(), covariance.detach(), x.grad, g.grad

    def product(x, g):
        found = mixture_module.mixture_of(mixture_module.moments(x, g), jitter=1e-3)
        return found.mean, found.covariance

    def loop(x, g):
        return loop_update(x, g, 1e-3)

    for ours, theirs in zip(run(product), run(loop), strict=True):
        # Gradients of sums over 512 samples and 10,000 entries: relative to their size.
        difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1))
        if difference > 1e-5:
            sys.exit(f"the loop and the closed form differ by {difference:.1e}")
    functions = {"update": closed, "with Cholesky": product, "loop": loop}
    seconds = turns({name: (lambda f=f: run(f)) for name, f in functions.items()}, rounds)
    sys.stdout.write(
        f"mixture update with gradients: {1e3 * seconds['update']:.2f} ms, with Cholesky factors "
        f"{1e3 * seconds['with Cholesky']:.2f} ms, loop {1e3 * seconds['loop']:.0f} ms: "
        f"{seconds['loop'] / seconds['update']:.0f} and {seconds['loop'] / seconds['with Cholesky']:.0f} times\n"
    )


def main():
    parts = {"training": training, "merging": merging, "mixture": mixture}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.parts or parts:
        parts[name](args.rounds)


if __name__ == "__main__":
    main()
