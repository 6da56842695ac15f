"""Does a GPU give what the CPU gives, and how fast? Run: make gpu-check (or python tests/benchmarks/gpu_check.py)

Writes one file, gpu-check.json, to send back: the environment, parity of MLAD's scores after the same training steps
on CPU and GPU (dropout off, so that both see the same), training throughput by precision and batch, and the outcome of
the suite `smoke` on the device. Nothing in it comes from a log.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.experiment.environment import describe_environment
from bench.types import Sequences
from methods.mlad import MLAD, Config, Network, objective
from methods.shared import text_inputs, training
from methods.shared.bags import DeviceBags, unique_bags

WIDTH, LENGTH, TEXTS = 100, 20, 400


def synchronise(device):
    """Wait until the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def made_up(n, seed):
    """Windows of random events, and a vector for each text."""
    rng = np.random.default_rng(seed)
    texts = tuple(f"text {i}" for i in range(TEXTS))
    return Sequences.from_lists(rng.integers(0, TEXTS, (n, LENGTH)).tolist(), texts)


def parity(device):
    """Largest difference of scores, relative to their spread, and how they correlate."""
    vectors = np.random.default_rng(0).standard_normal((TEXTS, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    text_inputs.embed = lambda texts: np.array([vectors[int(text.split()[1])] for text in texts])
    config = Config(dropout=0.0, steps=16)
    found = {}
    for precision in ("float32", "bf16"):
        scores = [
            MLAD(replace(config, precision=chosen), device=where).fit(made_up(1024, 0)).score(made_up(512, 1))
            for where, chosen in (("cpu", "float32"), (device, precision))
        ]
        found[precision] = {
            "largest_difference_in_standard_deviations": float(np.abs(scores[0] - scores[1]).max() / scores[0].std()),
            "correlation": float(np.corrcoef(*scores)[0, 1]),
        }
    return found


def throughput(device, batches, steps):
    """Sequences per second of whole training steps by precision and batch."""
    rows, rng = [], np.random.default_rng(0)
    log = made_up(max(batches) * 2, 2)
    bags, counts, _ = unique_bags(log.text_ids.astype(np.int64), log.offsets)
    data = DeviceBags(bags, device)
    features = torch.randn(TEXTS, WIDTH, dtype=torch.float64).to(device)
    for precision in ("float32", "bf16"):
        for batch in batches:
            config = Config(precision=precision, batch_size=batch)
            net = Network(config, 1).to(device).train()

            def loss(plan, weights, net=net, config=config):
                return objective(net, net.encode(features, data, plan), weights, config)

            loss = training._in_precision(loss, precision, torch.device(device))
            update = training._updater(net, config)
            drawn = [(rng.choice(len(counts), batch), np.ones(batch)) for _ in range(steps)]
            staged = training._staged(iter(drawn), data.plan, torch.device(device))
            training._steps(loss, staged[:1], update=update, where="warm-up")
            synchronise(device)
            start = time.perf_counter()
            training._steps(loss, staged, update=update, where="measured")
            synchronise(device)
            rate = batch * steps / (time.perf_counter() - start)
            rows.append({"precision": precision, "batch": batch, "sequences_per_second": round(rate)})
    return rows


def suite(name, device):
    """Exit code and last lines of the suite on the device."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench", "run", "--suite", name, "--device", device, "--out", folder]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return {
            "suite": name,
            "exit_code": done.returncode,
            "seconds": round(time.perf_counter() - start, 1),
            "table": done.stdout,
            "last_messages": done.stderr.splitlines()[-3:] if done.returncode else [],
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--batches", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--steps", type=int, default=20, help="measured for each rate (default: %(default)s)")
    parser.add_argument("--suite", default="smoke", help="default: %(default)s; none: leave it out")
    parser.add_argument("--file", type=Path, default=Path("gpu-check.json"))
    args = parser.parse_args()
    try:
        torch.empty(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        sys.exit(f"the device '{args.device}' cannot be used ({str(error).splitlines()[0]})")
    is_cuda = torch.device(args.device).type == "cuda"
    report = {
        "environment": describe_environment(),
        "device": torch.cuda.get_device_name(args.device) if is_cuda else args.device,
        "cuda": torch.version.cuda,
        "parity_with_cpu": parity(args.device),
        "throughput": throughput(args.device, args.batches, args.steps),
        "suite": None if args.suite == "none" else suite(args.suite, args.device),
    }
    args.file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"written: {args.file}\n")


if __name__ == "__main__":
    main()
