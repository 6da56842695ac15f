"""CPU seconds of whole fits by the optimiser's step, here and in a state that counted epochs.

    BENCH_DATA=DIR python tests/benchmarks/bench_steps.py --before STATE [--edition bgl@stream-a]

Every network is fitted in both states on the same training part with the same sequences a step, in turn, each fit in a
fresh process on one thread. `before` makes whole epochs as long as that state makes them with this batch, until about
--steps are done; this checkout then makes as many steps as were counted there. Measured is all of `fit`: what is done
once, the steps, and the looks at the held-out part that each state takes. What is kept between runs, the parsed log and
the vectors of its texts, is made first. STATE is a checkout, or a commit of this one. Prints milliseconds a step of
each network, in brackets those in `train_network` alone and those of its looks, and the ratio; then their sums.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

METHODS = ("mlad", "deeplog", "loganomaly", "logbert", "dagmm", "logrobust", "plelog", "cat")
STATES = ("before", "now")
FIELDS = ("fit", "training", "looks")
HERE = Path(__file__).resolve().parents[2]

WORKER = r"""
import json, os, sys, time
from pathlib import Path

checkout, edition, name, size, steps = Path(sys.argv[1]), *sys.argv[2:4], *map(int, sys.argv[4:])

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

torch.set_num_threads(1)
import bench
import methods.shared.training as training
for module in (bench, training):
    assert Path(module.__file__).resolve().is_relative_to(checkout), module.__file__
from bench import registry
from bench.data.cards.catalogue import catalogue
from bench.data.embedding import embed
from bench.data.sequences.loader import DataSpec, Loader

cards = catalogue(Path(os.environ["BENCH_DATA"]))
card = cards.resolve(edition)
part = Loader(cards).prepare(DataSpec((card,), (card,))).train
if not name:
    embed(part.sequences.texts)
    sys.exit()

cls = registry.load(registry.find(name))
normals = np.flatnonzero(part.labels == 0)
told, labels = part.sequences.select(normals), None
if name == "logrobust":
    told, labels = part.sequences, part.labels
if name == "plelog":
    told, labels = part.sequences, np.full(len(part.labels), -1, np.int8)
    labels[normals[: len(normals) // 2]] = 0

def before(events=20):
    # A step of the two next-key methods counted predictions, and those of one came in stretches of a history.
    batch = size * {"deeplog": events, "loganomaly": getattr(cls.Config(), "history", 0)}.get(name, 1)
    drawn, settings = len(told) * (events if batch > size else 1), cls.Config(batch_size=batch)
    epoch = -(-int(min(settings.max_draws, (1 - settings.validation_fraction) * drawn)) // batch)
    return cls.Config(batch_size=batch, max_epochs=max(1, round(steps / epoch)))

counts_steps = "steps" in training.TrainingSettings.__dataclass_fields__
config = cls.Config(batch_size=size, steps=steps) if counts_steps else before()
module = sys.modules[cls.__module__]
assert Path(module.__file__).resolve().is_relative_to(checkout), module.__file__
found = {"fit": 0.0, "training": 0.0, "looks": 0.0, "steps": 0, "told": [len(told), told.n_events]}

def count(optimiser, args, kwargs):
    found["steps"] += 1

register_optimizer_step_post_hook(count)

def timed(function, field, when=lambda *args, **kwargs: True):
    def call(*args, **kwargs):
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            if when(*args, **kwargs):
                found[field] += time.process_time() - start
    return call

module.train_network = timed(module.train_network, "training")
look = "_values" if counts_steps else "_run"
setattr(training, look, timed(getattr(training, look), "looks", lambda *a, phase, **k: phase == "held_out"))
timed(cls(config, seed=0).fit, "fit")(told, labels)
print("RESULT" + json.dumps(found))
"""


def main() -> None:
    """Fit all networks in both states and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="a checkout, or a commit of this one")
    parser.add_argument("--edition", default="bgl@stream-a", help="(default: %(default)s)")
    parser.add_argument("--methods", default=",".join(METHODS), help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="sequences a step (default: 128)")
    parser.add_argument("--steps", type=int, default=200, help="about so many (default: 200)")
    options = parser.parse_args()
    totals = {state: dict.fromkeys(FIELDS, 0.0) for state in STATES}
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {"before": _checkout_of(options.before, Path(folder)), "now": HERE}
        for state, checkout in checkouts.items():
            _work(checkout, Path(folder) / state, options.edition, "", 0, 0)
        for name in options.methods.split(","):
            steps, found, told = options.steps, {}, set()
            for state, checkout in checkouts.items():
                cache = Path(folder) / state
                made = _work(checkout, cache, options.edition, name, options.batch, steps)
                steps = made["steps"]
                told.add(tuple(made["told"]))
                found[state] = {field: 1000 * made[field] / steps for field in FIELDS}
                for field in FIELDS:
                    totals[state][field] += found[state][field]
            if len(told) > 1:
                sys.exit(f"{name} is told other sequences there: {told}")
            _tell(name, found, steps)
    _tell("together", totals, None)


def _checkout_of(state: str, folder: Path) -> Path:
    """The folder of a checkout, or of the files of a commit."""
    if Path(state).is_dir():
        return Path(state).resolve()
    made, packed = folder / "checkout", folder / "checkout.tar"
    command = ["git", "-C", str(HERE), "archive", f"--output={packed}", state]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        sys.exit(f"'{state}' is neither a folder nor a commit of {HERE}: give --before one of both")
    shutil.unpack_archive(packed, made, filter="data")
    return made.resolve()


def _work(checkout: Path, cache: Path, edition: str, name: str, size: int, steps: int) -> dict[str, Any]:
    """What a fit took in a process of its own; without a name what is kept is made."""
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(checkout),
        "BENCH_CACHE": str(cache),
    }
    command = [sys.executable, "-c", WORKER, str(checkout), edition, name, str(size), str(steps)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        sys.exit(f"{name or 'preparing'} in {checkout} failed: {done.stderr[-600:]}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT")) if lines else {}
    return found


def _tell(name: str, found: dict[str, dict[str, float]], steps: int | None) -> None:
    """Print milliseconds a step of both states, and how many times as fast this one is."""
    texts = {field: " -> ".join(f"{found[state][field]:.1f}" for state in STATES) for field in FIELDS}
    ratio = found["before"]["fit"] / found["now"]["fit"]
    counted = "" if steps is None else f", {steps} steps"
    sys.stdout.write(
        f"{name:11}{texts['fit']} ms a step, {ratio:.2f} times as fast "
        f"(training {texts['training']}, looks {texts['looks']}{counted})\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
