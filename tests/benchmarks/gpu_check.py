"""Does a GPU give what the CPU gives, and how fast? Run: make gpu-check (or python tests/benchmarks/gpu_check.py)

Prints one JSON, and writes it to gpu-check.json to send back: the environment; for every network the parity of its
scores after the same training steps on CPU and device (dropout off, so that both see the same); steps per second on
both, by precision; and the outcome of the suite `smoke` on the device. Nothing in it comes from a log.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import bench.data.embedding
from bench import registry
from bench.contract import needs_labels, reveal
from bench.detector import Evidence, Incident
from bench.experiment.environment import describe_environment
from bench.types import RawLines, Sequences, Words
from methods.shared.training import TrainingSettings

LENGTH, TEXTS, ABNORMAL_SHARE = 20, 40, 0.1
PRECISIONS = ("float32", "bf16")


def networks():
    """Name -> class of every installed method that is trained under the common budget."""
    found = {}
    for name, ref in registry.available().items():
        cls = registry.load(ref) if ref.target.startswith("methods.") else None
        if cls is not None and issubclass(cls.Config, TrainingSettings):
            found[name] = cls
    return found


def made_up_vectors(texts):
    """A unit vector per text in the place of the sentence encoder's, which needs no device of its own here."""
    made = [np.random.default_rng(int(hashlib.sha256(t.encode()).hexdigest()[:8], 16)).normal(size=384) for t in texts]
    vectors = np.array(made).reshape(-1, 384)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def without_encoder():
    """Let every module that took the encoder's function use made-up vectors."""
    real = bench.data.embedding.embed
    for module in list(sys.modules.values()):
        if vars(module).get("embed") is real:
            module.embed = made_up_vectors


def windows(n, seed):
    """Windows of random events; abnormal ones, of which there are few, hold events of their own: (sequences, truth)."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < ABNORMAL_SHARE).astype(np.int8)
    events = rng.integers(0, TEXTS - 4, (n, LENGTH))
    events[truth == 1, :3] = TEXTS - 1 - rng.integers(0, 4, (int(truth.sum()), 3))
    texts = tuple(f"event {chr(97 + i // 26)}{chr(97 + i % 26)} of part {i}" for i in range(TEXTS))
    made = Sequences.from_lists(events.tolist(), texts)
    lines = pl.Series(texts).gather(made.text_ids)
    words = Words(pl.Series(["user a", "user b", "user c"]), made.text_ids % 3, np.arange(made.n_events + 1))
    return replace(made, raw=RawLines(lines), words=words), truth


def told_to(cls, n):
    """What a method is told of n windows, as the harness would hand it out: (train, labels, evidence)."""
    roles = list(cls.tags.told)
    sequences, truth = windows(n * len(roles), 0)
    sequences = sequences if "words" in cls.tags.uses else sequences.without_parameters()
    system = np.arange(len(sequences)) % len(roles)
    keep, labels = np.zeros(len(truth), bool), np.full(len(truth), -1, np.int8)
    for index, role in enumerate(roles):
        here = system == index
        keep[here], labels[here] = reveal(role, cls.tags.told[role], truth[here])
    starts = 60.0 * np.arange(len(sequences))
    timed = replace(sequences, start_time=starts, elapsed_s=np.zeros(sequences.n_events))
    train = replace(timed, system=system.astype(np.uint8)).select(keep)
    failures = tuple(Incident(start, start) for start in starts[truth == 1].tolist()) if cls.tags.incidents else ()
    evidence = Evidence(roles=tuple(roles), incidents=failures)
    return train, labels[keep] if needs_labels(dict(cls.tags.told)) else None, evidence


def config_of(cls, budget, **values):
    """A config of so many steps, or of so many epochs where there is no setting of steps; nothing is dropped out."""
    names = {field.name for field in fields(cls.Config)}
    wanted = {("steps" if "steps" in names else "max_epochs"): budget, "dropout": 0.0, "batch_size": 128, **values}
    wanted["teacher"] = "embedding"  # no model is asked: the network is what is checked
    wanted["decoder"] = "tiny"  # no weights of a user's are needed
    return cls.Config(**{name: value for name, value in wanted.items() if name in names})


def fitted(cls, told, device, config):
    """A fitted detector, the seconds it took and the optimiser's steps that it made."""
    steps = []
    hook = register_optimizer_step_post_hook(lambda *ignored: steps.append(1))
    try:
        start = time.perf_counter()
        train, labels, evidence = told
        detector = cls(config, device=device).fit(train, labels, evidence=evidence)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return detector, time.perf_counter() - start, len(steps)
    finally:
        hook.remove()


def parity(cls, told, device, steps):
    """Largest difference of scores in standard deviations of the CPU's, and how they correlate, by precision."""
    test, _ = windows(200, 1)
    ours = fitted(cls, told, "cpu", config_of(cls, steps))[0].score(test)
    found = {}
    for precision in PRECISIONS:
        theirs = fitted(cls, told, device, config_of(cls, steps, precision=precision))[0].score(test)
        spread = float(ours.std()) or 1.0
        found[precision] = {
            "largest_difference_in_standard_deviations": float(np.abs(ours - theirs).max() / spread),
            "correlation": float(np.corrcoef(ours, theirs)[0, 1]) if ours.std() and theirs.std() else None,
        }
    return found


def steps_per_second(cls, told, device, steps):
    """Optimiser steps of one batch a second, by precision: of a longer fit less a shorter one."""
    found = {}
    for precision in PRECISIONS:
        budgets = (max(1, steps // 4), steps)
        (_, short, few), (_, long, many) = (
            fitted(cls, told, device, config_of(cls, budget, precision=precision)) for budget in budgets
        )
        found[precision] = round((many - few) / (long - short), 1) if many > few and long > short else None
    return found


def of_network(cls, device, n, steps):
    """Parity and speed of one network; or what went wrong, so that one that fails hides no other."""
    try:
        told = told_to(cls, n)
        rates = {where: steps_per_second(cls, told, where, steps) for where in dict.fromkeys(("cpu", device))}
        return {"parity_with_cpu": parity(cls, told, device, steps), "steps_per_second": rates}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


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


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--networks", nargs="+", help="default: all")
    parser.add_argument("--windows", type=int, default=2000, help="that train (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="of the longer fit (default: %(default)s)")
    parser.add_argument("--suite", default="smoke", help="default: %(default)s; none: leave it out")
    parser.add_argument("--file", type=Path, default=Path("gpu-check.json"))
    args = parser.parse_args(arguments)
    try:
        torch.empty(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        sys.exit(f"the device '{args.device}' cannot be used ({str(error).splitlines()[0]})")
    is_cuda = torch.device(args.device).type == "cuda"
    known = networks()
    without_encoder()
    names = args.networks or sorted(known)
    report = {
        "environment": describe_environment(),
        "device": torch.cuda.get_device_name(args.device) if is_cuda else args.device,
        "cuda": torch.version.cuda,
        "windows": args.windows,
        "networks": {name: of_network(known[name], args.device, args.windows, args.steps) for name in names},
        "suite": None if args.suite == "none" else suite(args.suite, args.device),
    }
    text = json.dumps(report, indent=1) + "\n"
    args.file.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.stderr.write(f"written: {args.file}\n")
    failed = [name for name, found in report["networks"].items() if "error" in found]
    return 1 if failed or (report["suite"] or {}).get("exit_code") else 0


if __name__ == "__main__":
    sys.exit(main())
