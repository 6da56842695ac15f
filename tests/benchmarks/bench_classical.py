"""How long do the classical detectors take? Run: python tests/benchmarks/bench_classical.py

Fits each on made windows of 20 events, all distinct, and scores 50,000 other ones, on one thread; CPU seconds, and the
ratio to the control `new-event`, measured in the same process. Real logs repeat themselves, so they take a fraction of
this. With --lines N it is the chronological split of a simulated BGL log, whose windows are mostly distinct too. Set
OMP_NUM_THREADS=1 to keep the linear algebra on one thread; PYTHONPATH=CHECKOUT measures another checkout's methods.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench import registry
from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import DataSpec, Loader
from bench.types import Sequences

NAMES = (
    "ecvc,pca,isolation-forest,invariants,logcluster,ocsvm,ngram,edit-distance,ecvc-idf,knn-embedding,"
    "logistic-regression,random-forest"
)


def windows(n, n_keys, n_kinds, unseen, seed):
    """Windows of 20 in which a few of many kinds of work interleave; a share has keys that training never had."""
    world, rng = np.random.default_rng(0), np.random.default_rng(seed)
    kinds = world.zipf(1.5, (n_kinds, 10)) % n_keys
    chosen = kinds[rng.integers(0, n_kinds, (n, 3))].reshape(n, 30)
    keys = np.take_along_axis(chosen, np.sort(rng.permuted(np.tile(np.arange(30), (n, 1)), axis=1)[:, :20]), axis=1)
    noise = rng.random(keys.shape) < 0.05
    keys[noise] = rng.integers(0, n_keys, noise.sum())
    new = (rng.random(keys.shape) < 0.1) & (rng.random((n, 1)) < unseen)
    keys[new] = n_keys + rng.integers(0, 20, new.sum())
    texts = tuple(f"message number {key} of part {key % 7}" for key in range(n_keys + 20))
    return Sequences.from_lists(keys.tolist(), texts), new.any(axis=1).astype(np.int8)


def simulated(lines):
    """Training windows with labels and tested windows of a simulated log."""
    with tempfile.TemporaryDirectory() as folder:
        make = ["data", "simulate", "bgl", "--lines", str(lines), "--edition", "big", "--data", folder]
        subprocess.run([sys.executable, "-m", "bench", *make], check=True, stdout=subprocess.DEVNULL)
        known = catalogue(Path(folder))
        card = known.resolve("bgl@big")
        made = Loader(known).prepare(DataSpec((card,), (card,)))
    return made.train.sequences, made.train.labels, made.test.sequences


def measured(name, train, labels, tested):
    """Seconds of fit and of score."""
    detector = registry.load(registry.find(name))()
    supervised = detector.tags.told["source"] == "labels"
    start = time.process_time()
    detector.fit(train if supervised else train.select(labels == 0), labels if supervised else None)
    fitted = time.process_time()
    detector.score(tested)
    return fitted - start, time.process_time() - fitted


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=NAMES)
    parser.add_argument("--train", type=int, default=6000, help="training windows (default: %(default)s)")
    parser.add_argument("--test", type=int, default=50_000, help="windows to score (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=300, help="size of the vocabulary (default: %(default)s)")
    parser.add_argument("--lines", type=int, help="of a simulated log, in place of made windows")
    args = parser.parse_args()

    if args.lines:
        train, labels, tested = simulated(args.lines)
    else:
        train, labels = windows(args.train, args.keys, 200, 0.05, seed=1)
        tested, _ = windows(args.test, args.keys, 200, 0.2, seed=2)
    registry.load(registry.find("knn-embedding"))().fit(tested.select(np.arange(2)))
    base = measured("new-event", train, labels, tested)[1]
    sys.stdout.write(f"{len(tested)} windows, {len(tested.unique().sequences)} distinct; new-event: {base:.3f} s\n")
    for name in args.methods.split(","):
        fit, score = measured(name, train, labels, tested)
        sys.stdout.write(f"{name:20} fit {fit:7.2f} s   score {score:7.2f} s   {score / base:8.0f} x new-event\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
