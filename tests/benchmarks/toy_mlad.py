"""MLAD on made-up windows whose anomaly is a novel text. Run: python tests/benchmarks/toy_mlad.py [row ...]

40 normal and 20 novel texts with random unit vectors; windows of 20 events; an abnormal window holds 1 or 2 novel ones;
3,000 normal windows train, 500 and 500 test; 12 epochs, no early stopping. It shows numerics, never performance: each
row is a config, and its AUROC says whether the energy ranks although the vectors collapse (`std`).
"""

import argparse
import sys
import time

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from bench.types import Sequences
from methods.mlad import MLAD, Config
from methods.shared import text_inputs

SHEET = {
    "projection": "learned",
    "rec_error": "mean",
    "input_scale": "norm",
    "dropout": 0.1,
    "steps": None,
    "max_epochs": 12,
    "batch_size": 512,
    "validation_fraction": 0.0,
}
DAGMM = {"penalty": "dagmm", "penalty_weight": 0.005}
ROWS = {
    "sheet": {},
    "none": {"first_term": "none"},
    "bce0": {"first_term": "bce0"},
    "dagmm": DAGMM,
    "dim8": {"mixture_dim": 8},
    "dim8-dagmm": {"mixture_dim": 8, **DAGMM},
    "dim16": {"mixture_dim": 16},
    "lambda2-0": {"penalty_weight": 0.0},
    "ours": {"projection": "fixed", "rec_error": "sum", "input_scale": "variance"},
    "ours-dropout.5": {"projection": "fixed", "rec_error": "sum", "input_scale": "variance", "dropout": 0.5},
}


def windows(seed):
    """Training windows, test windows and labels."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 40, (4000, 20))
    for row in rows[3500:]:
        places = rng.choice(20, rng.integers(1, 3), replace=False)
        row[places] = rng.integers(40, 60, len(places))
    texts = tuple(f"text {i}" for i in range(60))
    vectors = rng.standard_normal((60, 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.repeat([0, 1], 500)
    train, test = (Sequences.from_lists(part.tolist(), texts) for part in (rows[:3000], rows[3000:]))
    return train, test, labels, dict(zip(texts, vectors.astype(np.float32), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", default=list(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seed", type=int, default=0, help="of data and network (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    train, test, labels, vectors = windows(args.seed)
    text_inputs.embed = lambda texts: np.array([vectors[text] for text in texts])
    for name in args.rows:
        start = time.process_time()
        detector = MLAD(Config(**{**SHEET, **ROWS[name]}), seed=args.seed).fit(train)
        auroc = roc_auc_score(labels, detector.score(test))
        sys.stdout.write(
            f"{name:15} AUROC {auroc:.3f}  std {detector.monitor()['vector_std']:.4f}  "
            f"{time.process_time() - start:.0f} CPU s\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
