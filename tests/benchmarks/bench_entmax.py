"""How fast is alpha-entmax beside the package `entmax` and softmax? Run: python tests/benchmarks/bench_entmax.py

Forward and backward on (512, 4, 20, 20) float32, one thread, the upstream gradient made beforehand. All functions take
turns in one process, so that other load falls on each; times are medians.
"""

import argparse
import statistics
import sys
import time

import entmax as package
import torch

from methods.shared.entmax import entmax


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each (default: %(default)s)")
    parser.add_argument("--alphas", type=float, nargs="+", default=[1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.75, 2.0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    scores, upstream = torch.randn(2, 512, 4, 20, 20)

    def seconds(function):
        x = scores.clone().requires_grad_()
        start = time.perf_counter()
        function(x).backward(upstream)
        return time.perf_counter() - start

    sys.stdout.write(
        "alpha   ours ms  bisect ms  package's exact ms; ours: times as fast as bisect, exact; to softmax\n"
    )
    for alpha in args.alphas:
        exact = {1.5: package.entmax15, 2.0: package.sparsemax}.get(alpha)
        functions = {
            "ours": lambda x, alpha=alpha: entmax(x, alpha),
            "bisect": lambda x, alpha=alpha: package.entmax_bisect(x, alpha, -1),
            "softmax": lambda x: torch.softmax(x, -1),
        }
        if exact is not None:
            functions["exact"] = lambda x, exact=exact: exact(x, -1)
        difference = (functions["ours"](scores) - functions["bisect"](scores.double())).abs().max()
        if difference > 1e-6:
            sys.exit(f"alpha {alpha}: differs from the package by {difference:.1e}")
        rounds = [{name: seconds(f) for name, f in functions.items()} for _ in range(args.rounds + 1)][1:]
        ms = {name: 1e3 * statistics.median(r[name] for r in rounds) for name in functions}
        own = ms["ours"]
        sys.stdout.write(
            f"{alpha:5.2f} {own:9.1f} {ms['bisect']:10.1f} {ms.get('exact', float('nan')):19.1f}"
            f" {ms['bisect'] / own:8.1f} x {ms.get('exact', float('nan')) / own:6.1f} x"
            f" {own / ms['softmax']:8.1f} x softmax\n"
        )


if __name__ == "__main__":
    main()
