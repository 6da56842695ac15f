"""What does it save to train DeepLog on distinct histories with counts? And next to the PyPI package `deeplog` 0.0.3?

    BENCH_DATA=DIR python tests/benchmarks/bench_deeplog.py --edition hdfs@sessions-345k --sessions 20000

All arms see the same windows of the same training normals, about as many in a step, Adam 1e-3, the same epochs,
one-hot inputs and two LSTMs of 64, on one thread, one after the other:

  counts    `methods.deeplog`: equal windows of a batch are computed once and weighted
  windows   the same network and loop, every window computed by itself
  package   `deeplog` 0.0.3 in an environment of its own, given by --deeplog-python (pip install deeplog==0.0.3
            torch-train==0.0.3 torch numpy pandas tqdm; it declares no dependencies)
  default   with --default: `methods.deeplog` as configured, with the common budget of steps

F1 is that of the rule "a key outside the top 9" on the test part, and the threshold for 1 % false alarms on the
validation normals.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import DataSpec, Loader
from bench.types import ranges
from methods import deeplog as module
from methods.deeplog import Config, DeepLog
from methods.shared import histories as _histories
from methods.shared.training import train_network

WORKER = """
import sys, time
import numpy as np
import torch
from deeplog import DeepLog

torch.set_num_threads(1)
torch.manual_seed(0)
data = np.load(sys.argv[1])
epochs, batch_size, n_tokens = (int(value) for value in data["settings"])
X, y = torch.as_tensor(data["histories"][data["history_of"]]), torch.as_tensor(data["targets"])
net = DeepLog(input_size=n_tokens, hidden_size=64, output_size=n_tokens, num_layers=2)
start = time.perf_counter()
net.fit(X, y, epochs=epochs, batch_size=batch_size, learning_rate=1e-3, optimizer=torch.optim.Adam)
seconds = time.perf_counter() - start
with torch.no_grad():
    logits = torch.cat([net(part) for part in torch.split(torch.as_tensor(data["tested"]), 2048)])
np.savez(sys.argv[2], seconds=seconds, logits=logits.numpy())
"""


def prepared(edition, sessions):
    """Training normals (the first `sessions`), validation normals, and the test part."""
    cards = catalogue(Path(os.environ["BENCH_DATA"]) if "BENCH_DATA" in os.environ else None)
    card = cards.resolve(edition)
    data = Loader(cards).prepare(DataSpec((card,), (card,)))
    normals = data.train.normals
    return normals.select(np.arange(min(sessions, len(normals)))), data.validation.normals, data.test


def f1(scores, labels, threshold):
    """F1 of "score > threshold"."""
    flagged = scores > threshold
    return 2 * (flagged & (labels == 1)).sum() / max(1, flagged.sum() + (labels == 1).sum())


def quality(score, validation, test, g):
    """F1 of the native rule and of the conformal threshold."""
    normal = np.sort(score(validation))
    place = int(np.ceil((len(normal) + 1) * 0.99)) - 1
    scores = score(test.sequences)
    conformal = f1(scores, test.labels, normal[min(place, len(normal) - 1)])
    return f"F1 native {f1(scores, test.labels, g - 1):.3f}, conformal:0.01 {conformal:.3f}"


def trained(config, train, merge):
    """A fitted detector and the seconds of its fit; without merge every window is computed by itself."""

    def every_stretch(net, loss, counts, settings, **arguments):
        return train_network(net, loss, counts, settings, **arguments, merge_repeats=False)

    def every_window(lessons, items, device):
        lengths = lessons.pieces.lengths[items]
        found = lessons.pieces.tokens[ranges(lessons.pieces.offsets[items], lengths)]
        each = np.arange(len(found))
        arrays = (
            lessons.predictions.history_of[found],
            each,
            lessons.predictions.targets[found],
            each,
            np.repeat(np.arange(len(items)), lengths),
        )
        return module.Batch(*(torch.as_tensor(array, device=device) for array in arrays))

    original = module.train_network, module.Stretches.batch
    try:
        if not merge:
            module.train_network, module.Stretches.batch = every_stretch, every_window
        detector = DeepLog(config, seed=0)
        start = time.perf_counter()
        detector.fit(train)
        return detector, time.perf_counter() - start
    finally:
        module.train_network, module.Stretches.batch = original


class Package:
    """The PyPI package on the windows of a training set, in its own environment."""

    def __init__(self, python, config, train):
        self.python, self.config = python, config
        self.keys = np.unique(train.log_keys[train.log_keys >= 0])
        self.train = self.windows(train)
        self.logits = {}

    def windows(self, sequences):
        tokens = _histories.tokens_of(sequences.log_keys, self.keys)
        return _histories.predictions_of(tokens, sequences.offsets, self.config.history)

    def fit(self, parts):
        """Train, keep the logits of every distinct history of these parts, and return the seconds of the training."""
        tested = np.unique(np.concatenate([self.windows(part.unique().sequences).histories for part in parts]), axis=0)
        with tempfile.TemporaryDirectory() as folder:
            inputs, outputs = Path(folder) / "in.npz", Path(folder) / "out.npz"
            np.savez(
                inputs,
                histories=self.train.histories,
                history_of=self.train.history_of[self.train.prediction_of],
                targets=self.train.targets[self.train.prediction_of] + _histories.FIRST_KEY,
                tested=tested,
                settings=[
                    self.config.max_epochs,
                    self.config.batch_size * _histories.STRETCH,
                    len(self.keys) + _histories.FIRST_KEY,
                ],
            )
            command = [self.python, "-c", WORKER, str(inputs), str(outputs)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"the package failed: {done.stderr.strip().splitlines()[-1]}")
            result = np.load(outputs)
            values = result["logits"][:, _histories.FIRST_KEY :]
            self.logits = {row.tobytes(): value for row, value in zip(tested, values, strict=True)}
            return float(result["seconds"])

    def score(self, sequences):
        """Worst rank of a key, as `methods.deeplog` has it."""
        unique, _, inverse = sequences.unique()
        ranks = _histories.ranks_of(self.windows(unique), self.logits_of, len(self.keys))
        worst = np.zeros(len(unique))
        np.maximum.at(worst, unique.sequence_of_event, ranks)
        return worst[inverse]

    def logits_of(self, rows):
        return torch.as_tensor(np.stack([self.logits[row.tobytes()] for row in rows]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edition", default="hdfs@sessions-345k", help="(default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=20_000, help="training normals (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="of all arms but `default` (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=25, help="stretches per step (default: %(default)s)")
    parser.add_argument("--default", action="store_true", help="also fit the default configuration")
    parser.add_argument("--deeplog-python", help="Python of an environment with deeplog 0.0.3")
    args = parser.parse_args()
    torch.set_num_threads(1)

    train, validation, test = prepared(args.edition, args.sessions)
    config = Config(
        inputs="one-hot",
        batch_size=args.batch_size,
        steps=None,
        max_epochs=args.epochs,
        validation_fraction=0.0,
    )
    found = _histories.predictions_of(train.log_keys.astype(np.int64) + 2, train.offsets, config.history)
    sys.stdout.write(
        f"{args.edition}: {len(train)} training normals, {train.n_events} windows, {len(found.targets)} of them "
        f"distinct (factor {train.n_events / len(found.targets):.0f}), "
        f"{args.epochs} epochs, batches of {args.batch_size} stretches of {_histories.STRETCH}\n"
    )
    seconds = {}
    trained(config, train.select(np.arange(10)), merge=True)  # the first steps of a process are slow

    def report(name, value, detail):
        seconds[name] = value
        ratio = f", {value / seconds['counts']:.1f} times counts" if name != "counts" else ""
        sys.stdout.write(f"{name:8} {value:8.1f} s{ratio}; {detail}\n")
        sys.stdout.flush()

    arms = [("counts", config, True), ("windows", config, False)]
    arms += [("default", Config(), True)] if args.default else []
    for name, settings, merge in arms:
        detector, taken = trained(settings, train, merge)
        report(name, taken, quality(detector.score, validation, test, settings.g))
    if args.deeplog_python:
        package = Package(args.deeplog_python, config, train)
        taken = package.fit((validation, test.sequences))
        report("package", taken, quality(package.score, validation, test, config.g))
    else:
        sys.stdout.write("package: not run, --deeplog-python is missing\n")


if __name__ == "__main__":
    main()
