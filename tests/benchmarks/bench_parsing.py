"""Raw lines to log keys: this project against drain3 line by line with the same masks, and LogLead's Drain.

    python tests/benchmarks/bench_parsing.py --lines 1000000 --threads 1
    python tests/benchmarks/bench_parsing.py --lines 1000000 --threads 2 --loglead-python OTHER_ENV/bin/python

Makes a BGL-like file whose numbers and hexadecimal words vary in every line, then runs each contestant in fresh
processes on it, in turn, and prints medians, the ratios to drain3, and whether the log keys are equal on every line.
LogLead conflicts with our pins, so it needs an environment of its own (`pip install loglead==2.0.0`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXTS = (
    "link {hex} of board {int} trained after {int} tries",
    "page {hex} scrubbed, {int} words corrected on lane {int}",
    "job {int} started on partition {int} by user {int}",
    "job {int} ended with status {int} after {int} seconds",
    "fan {int} of rack {int} turns at {int} rpm",
    "temperature {int}.{int} degrees at sensor {hex}",
    "cannot open /data/run{int}/part-{int}: no such file",
    "message {hex} from node {int} arrived twice, sequence {int}",
    "registers of core {int} dumped as {hex} then {hex} then {hex}",
    "retry {int} of transfer {hex} to 10.{int}.{int}.7:{int}",
    "program counter {hex}, link register {hex}, count {int}",
    "power supply {int} switched to phase {int}",
)


def make_log(path: Path, n_lines: int) -> None:
    """Write n_lines BGL-like lines, a few in a thousand with an alert label."""
    import numpy as np

    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as stream:
        for start in range(0, n_lines, 100_000):
            size = min(100_000, n_lines - start)
            kinds = rng.integers(0, len(TEXTS), size)
            numbers = rng.integers(0, 100_000, (size, 4)).tolist()
            words = rng.integers(0, 2**32, (size, 4)).tolist()
            for i, kind in enumerate(kinds.tolist()):
                text = TEXTS[kind]
                for j in range(4):
                    text = text.replace("{int}", str(numbers[i][j]), 1).replace("{hex}", f"0x{words[i][j]:08x}", 1)
                label = "ALERT" if (start + i) % 400 == 0 else "-"
                second = 1_900_000_000 + (start + i) // 20
                stream.write(
                    f"{label} {second} 2030.03.17 Q1-S{kind} 2030-03-17-18.00.00.000001 Q1 RAS APP INFO {text}\n"
                )


def ours(path: Path) -> tuple[int, str]:
    """Lines and a digest of their log keys, by the data layer."""
    from bench.data.cards.card import Card, DataFile
    from bench.data.cards.catalogue import Catalogue, catalogue
    from bench.data.cards.checksums import file_sha256
    from bench.data.reading.read import read
    from bench.data.sequences.drain import DrainParser

    model = next(card for card in catalogue().cards if card.key == "bgl@simulated")
    digest = file_sha256(path)
    card = Card(
        name="made", edition="up", title="", tier="development", rank=0, kind="lines", licence="MIT", citation="",
        files=(DataFile(path.name, digest),), format=model.format, parser=model.parser,
    )  # fmt: skip
    log = read(card, Catalogue((card,), path.parent))
    keys = DrainParser(card.parser).learn(log.message_ids, log.messages)
    return len(keys), hashlib.sha256(keys.astype("<i4").tobytes()).hexdigest()


def drain3(path: Path) -> tuple[int, str]:
    """The same by drain3 as it comes: its masker and its tree, line by line."""
    import numpy as np
    from drain3.drain import Drain
    from drain3.masking import LogMasker, MaskingInstruction

    from bench.data.cards.catalogue import catalogue

    settings = next(card for card in catalogue().cards if card.key == "bgl@simulated").parser
    masker = LogMasker([MaskingInstruction(mask, "*") for mask in settings.masks], "<", ">")
    drain = Drain(depth=settings.depth, sim_th=settings.similarity, max_children=settings.max_children)
    keys = []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            message = line.rstrip("\n").split(" ", 9)[9]
            keys.append(drain.add_log_message(masker.mask(message))[0].cluster_id - 1)
    return len(keys), hashlib.sha256(np.array(keys, dtype="<i4").tobytes()).hexdigest()


def loglead(path: Path) -> tuple[int, str]:
    """LogLead's BGL loader, its masking and its Drain; the ids are its own, so there is no digest to compare."""
    from loglead.enhancers import EventLogEnhancer
    from loglead.loaders import BGLLoader

    frame = BGLLoader(filename=str(path)).execute()
    enhancer = EventLogEnhancer(frame)
    enhancer.normalize()
    frame = enhancer.parse_drain()
    return len(frame), ""


CONTESTANTS = {"ours": ours, "drain3": drain3, "loglead": loglead}


def run_once(python: str, name: str, path: Path, threads: int) -> dict[str, float | str]:
    """One contestant in a fresh process; imports are counted for nobody."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    command = [python, __file__, "--worker", name, "--file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    result: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return result


def work(name: str, path: Path) -> None:
    """Run a contestant here and print what it took as JSON."""
    if name == "loglead":
        import loglead.enhancers
        import loglead.loaders  # noqa: F401  # likewise
    else:
        import bench.data.sequences.loader  # noqa: F401  # imports are not what is compared
    cpu, wall = time.process_time(), time.perf_counter()
    lines, digest = CONTESTANTS[name](path)
    print(  # noqa: T201
        json.dumps(
            {
                "lines": lines,
                "digest": digest,
                "cpu_s": time.process_time() - cpu,
                "wall_s": time.perf_counter() - wall,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def report(results: dict[str, list[dict[str, float | str]]]) -> None:
    """Medians, ratios to drain3, equality of keys."""
    median = {
        (name, field): statistics.median(float(run[field]) for run in runs)
        for name, runs in results.items()
        for field in ("cpu_s", "wall_s", "peak_mib", "lines")
    }
    print(f"{'':8} {'wall s':>8} {'CPU s':>8} {'lines/CPU-s':>12} {'peak MiB':>9} {'x CPU':>7} {'x wall':>7}")  # noqa: T201
    for name in results:
        cpu, wall = median[name, "cpu_s"], median[name, "wall_s"]
        print(  # noqa: T201
            f"{name:8} {wall:8.2f} {cpu:8.2f} {median[name, 'lines'] / cpu:12,.0f} {median[name, 'peak_mib']:9.0f} "
            f"{median['drain3', 'cpu_s'] / cpu:7.1f} {median['drain3', 'wall_s'] / wall:7.1f}"
        )
    digests = {str(run["digest"]) for name in ("ours", "drain3") for run in results[name]}
    print("log keys equal on every line:", len(digests) == 1)  # noqa: T201


def main() -> None:
    """Parse arguments; make the file and run all contestants in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--loglead-python", help="python of an environment that has loglead 2.0.0")
    parser.add_argument("--worker", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.file)
        return
    pythons = {"ours": sys.executable, "drain3": sys.executable}
    if arguments.loglead_python:
        pythons["loglead"] = arguments.loglead_python
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.log"
        make_log(path, arguments.lines)
        results: dict[str, list[dict[str, float | str]]] = {name: [] for name in pythons}
        for _ in range(arguments.runs):
            for name, python in pythons.items():
                results[name].append(run_once(python, name, path, arguments.threads))
    print(f"{arguments.lines:,} lines, {arguments.threads} thread(s), medians of {arguments.runs} fresh processes")  # noqa: T201
    report(results)


if __name__ == "__main__":
    main()
