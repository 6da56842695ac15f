"""How much faster is a step of training than in another checkout? Run:

    BENCH_DATA=DIR python tests/benchmarks/bench_fits.py --before CHECKOUT --edition bgl@stream-a

Both checkouts train every network on the same training part, with the same sequences per step, a process each, on one
thread, in turn. Measured are the CPU seconds in `train_network`, looks at the held-out part included, by the number of
steps: neither the embedding of texts nor what is done once before and after. `before` is a checkout whose budget was
counted in epochs; it gets whole epochs, as long as it would have made them with this batch, until it has the steps.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

METHODS = ("deeplog", "loganomaly", "logbert", "dagmm", "mlad", "logtad", "plelog", "logrobust", "cat")

WORKER = r"""
import json, os, sys, time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import numpy as np
import torch

torch.set_num_threads(1)
import bench
assert Path(bench.__file__).resolve().is_relative_to(Path(sys.argv[1]).resolve()), bench.__file__
from bench import registry
from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import DataSpec, Loader
from methods.shared import training

cards = catalogue(Path(os.environ["BENCH_DATA"]))
card = cards.resolve(sys.argv[2])
train = Loader(cards).prepare(DataSpec((card,), (card,))).train
IN_STEPS = "steps" in training.TrainingSettings.__dataclass_fields__
SEQUENCES, EVENTS = 128, 20

def told(name):
    if name == "logrobust":
        return train.sequences, train.labels
    if name == "plelog":
        known = np.flatnonzero(train.labels == 0)
        labels = np.full(len(train.labels), -1, np.int8)
        labels[known[: len(known) // 2]] = 0
        return train.sequences, labels
    normals = train.sequences.select(train.labels == 0)
    if name == "logtad":
        system = np.where(np.arange(len(normals)) < len(normals) // 2, 0, 1).astype(np.uint8)
        normals = replace(normals, system=system)
    return normals, None

def config_of(cls, name, steps, n):
    if IN_STEPS:
        return cls(steps=steps, batch_size=SEQUENCES)
    size = SEQUENCES * EVENTS if name in ("deeplog", "loganomaly") else SEQUENCES
    settings = cls(batch_size=size)
    draws = settings.max_draws
    pool = n * EVENTS if name in ("deeplog",) else n
    if name == "loganomaly":
        draws, size = draws // EVENTS, SEQUENCES
    an_epoch = -(-int(min(draws, 0.9 * pool)) // size)
    return cls(batch_size=settings.batch_size, max_epochs=max(1, round(steps / an_epoch)), patience=10**6)

for line in sys.stdin:
    name, steps = json.loads(line)
    cls = registry.load(registry.find(name))
    sequences, labels = told(name)
    module = sys.modules[cls.__module__]
    spent = {"seconds": 0.0, "steps": 0}
    original = module.train_network
    update_of = training._updater

    def counted(*args):
        update = update_of(*args)
        def step(loss):
            spent["steps"] += 1
            return update(loss)
        return step

    def timed(*args, **kwargs):
        start = time.process_time()
        try:
            return original(*args, **kwargs)
        finally:
            spent["seconds"] += time.process_time() - start

    module.train_network, training._updater = timed, counted
    start = time.process_time()
    cls(config_of(cls.Config, name, steps, len(sequences)), seed=0).fit(sequences, labels)
    spent["fit"] = time.process_time() - start
    module.train_network, training._updater = original, update_of
    print("RESULT" + json.dumps(spent), flush=True)
"""


class Side:
    """A process that fits methods with the code of one checkout."""

    def __init__(self, checkout, edition):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(checkout), edition],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=checkout,
        )

    def fit(self, name, steps):
        """CPU seconds of the training and the whole fit, and the steps."""
        self.process.stdin.write(json.dumps([name, steps]) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("RESULT"):
                return json.loads(line.removeprefix("RESULT"))
        sys.exit(f"{name} failed")

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--edition", default="bgl@stream-a", help="(default: %(default)s)")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--steps", type=int, default=120, help="of each fit (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="(default: %(default)s)")
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[2]
    sides = Side(args.before.resolve(), args.edition), Side(here, args.edition)
    totals = [0.0, 0.0]
    for name in args.methods.split(","):
        best = [float("inf"), float("inf")]
        for _ in range(args.rounds):
            for number, side in enumerate(sides):
                found = side.fit(name, args.steps)
                best[number] = min(best[number], 1000 * found["seconds"] / max(1, found["steps"]))
        totals = [total + value for total, value in zip(totals, best, strict=True)]
        sys.stdout.write(f"{name:11} {best[0]:8.1f} ms {best[1]:8.1f} ms a step, {best[0] / best[1]:5.2f} times\n")
        sys.stdout.flush()
    sys.stdout.write(
        f"{'together':11} {totals[0]:8.1f} ms {totals[1]:8.1f} ms a step, {totals[0] / totals[1]:5.2f} times\n"
    )
    for side in sides:
        side.close()


if __name__ == "__main__":
    main()
