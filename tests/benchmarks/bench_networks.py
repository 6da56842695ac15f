"""How long do the networks take to score 50,000 windows of 20? Run: python tests/benchmarks/bench_networks.py

Windows that are all distinct are made (`bench_classical.py`); with BENCH_DATA and --edition the windows of a real log
are scored as well, of which few are distinct. One thread. `straightforward` scores a sample of the same windows in
float64 without the fast path of float32, in turn with the fast form; ratios are of CPU seconds on that sample.

`logtad` needs two systems and is measured by `bench run`; the embedding of the texts is not part of the times.
"""

import argparse
import os
import sys
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from bench_classical import windows
from bench_deeplog import prepared

from bench import registry
from methods.shared import histories, masked_keys

STRAIGHTFORWARD = ("deeplog", "loganomaly", "logbert")


@contextmanager
def without_the_fast_path():
    """Everything is computed in float64, histories by torch's own LSTM or one block at a time."""
    saved = histories.SAMPLE, masked_keys.SAMPLE
    histories.SAMPLE = masked_keys.SAMPLE = sys.maxsize
    try:
        yield
    finally:
        histories.SAMPLE, masked_keys.SAMPLE = saved


def seconds(detector, sequences, context):
    """CPU and wall seconds of scoring, and the scores."""
    with context:
        wall, start = time.perf_counter(), time.process_time()
        scores = detector.score(sequences)
        return time.process_time() - start, time.perf_counter() - wall, scores


def fitted(name, train, labels, steps):
    """A detector after a short training: the time of scoring does not depend on its length."""
    found = registry.load(registry.find(name))
    detector = found(found.Config(steps=steps), seed=0)
    normal_only = detector.tags.told["source"] == "normals"
    return detector.fit(train.select(labels == 0) if normal_only else train, None if normal_only else labels)


def report(name, detector, tested, sample, rounds):
    """One line: medians of the rounds."""
    detector.score(tested.select(np.arange(min(300, len(tested)))))
    fast = [seconds(detector, tested, nullcontext())[:2] for _ in range(rounds)]
    cpu, wall = np.median(fast, axis=0)
    line = f"{name:12} {cpu:7.1f} CPU s {wall:7.1f} s"
    if name in STRAIGHTFORWARD:
        part = tested.select(np.sort(np.random.default_rng(0).permutation(len(tested))[:sample]))
        pairs = [
            (seconds(detector, part, without_the_fast_path()), seconds(detector, part, nullcontext()))
            for _ in range(rounds)
        ]
        ratio = np.median([slow[0] / quick[0] for slow, quick in pairs])
        different = max(int((slow[2] != quick[2]).sum()) for slow, quick in pairs)
        line += f"   straightforward {ratio:5.1f} times as long ({len(part)} windows, {different} scores differ)"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="deeplog,loganomaly,logbert,plelog,logrobust,cat")
    parser.add_argument("--test", type=int, default=50_000, help="made windows (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=4000, help="windows scored both ways (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--edition", help="also the windows of a real edition, for example bgl@stream-a")
    args = parser.parse_args()
    torch.set_num_threads(1)

    train, labels = windows(6000, 300, 200, 0.05, seed=1)
    made, _ = windows(args.test, 300, 200, 0.2, seed=2)
    suites = [("made", train, labels, made)]
    if args.edition and "BENCH_DATA" in os.environ:
        normals, _, test = prepared(args.edition, sys.maxsize)
        zeros = np.zeros(len(normals), np.int8)
        suites.append((args.edition, normals, zeros, normals))
        suites.append((f"{args.edition} test", normals, zeros, test.sequences))
    for title, known, truth, tested in suites:
        distinct = len(tested.unique().sequences)
        sys.stdout.write(f"{title}: {len(tested)} windows, {distinct} distinct\n")
        for name in args.methods.split(","):
            told = registry.load(registry.find(name)).tags.told
            if truth.any() or told["source"] == "normals":
                report(name, fitted(name, known, truth, 16), tested, args.sample, args.rounds)


if __name__ == "__main__":
    main()
