"""A log without labels to its page, and a live pipe through a saved detector: seconds, memory, lines a second.

    python tests/benchmarks/bench_triage.py --lines 200000
    python tests/benchmarks/bench_triage.py --lines 200000 --rate 5000 --seconds 20

A program of its own writes syslog lines of five services: daily load, messages with numbers and addresses, a new
release whose messages nobody has seen, a failure. `bench score LOG --fit` is then timed as a user starts it, on one
thread. With --rate the same lines are fed into `bench score MODEL -` at that speed; it keeps up where the last row
comes at once behind the last line. Ends with 1 where a bound of --most-seconds or --most-mib is passed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SERVICES = {
    "sshd": ("Accepted publickey for {word} from {ip} port {n}", "Connection closed by {ip} port {n}"),
    "cron": ("({word}) CMD (run-parts /etc/cron.{word})", "session opened for user {word}"),
    "shop": ("order {n} received from {word}", "order {n} paid in {n} ms", "order {n} shipped to {word}"),
    "db": ("checkpoint complete: wrote {n} buffers", "slow query of {n} ms on table {word}", "connection from {ip}"),
    "kernel": ("eth0: link up at {n} Mbps", "[{n}] TCP: request_sock_TCP: possible SYN flooding on port {n}"),
}
RELEASE = ("order {n} routed by planner {word}", "planner {word} answered in {n} ms")
FAILURE = ("disk sd{word} not answering, retry {n}", "write to volume {word} abandoned after {n} s")
WORDS = [f"{first}{last}" for first in ("al", "be", "cor", "dan", "el") for last in ("a", "an", "io", "ra", "to")]


def make_log(path: Path, n_lines: int) -> None:
    """Write n_lines of syslog over four weeks: a release at 80 %, a failure at 90 %."""
    rng = random.Random(0)
    texts = [(service, text) for service, some in SERVICES.items() for text in some]
    start = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
    step = 28 * 86_400 / n_lines
    with path.open("w", encoding="utf-8") as stream:
        for i in range(n_lines):
            service, text = texts[min(rng.randrange(len(texts)), rng.randrange(len(texts)))]
            if i > 0.8 * n_lines and rng.random() < 0.03:
                service, text = "shop", rng.choice(RELEASE)
            if 0.9 * n_lines < i < 0.9 * n_lines + 60:
                service, text = "kernel", FAILURE[i % 2]
            while "{n}" in text:
                text = text.replace("{n}", str(rng.randrange(100_000)), 1)
            text = text.replace("{word}", rng.choice(WORDS)).replace("{ip}", f"10.0.{rng.randrange(9)}.{i % 250}")
            moment = start + datetime.timedelta(seconds=i * step)
            stream.write(f"{moment:%b %d %H:%M:%S} host{i % 7} {service}[{1000 + i % 50}]: {text}\n")


def environment(folder: Path) -> dict[str, str]:
    """One thread, and a cache of its own."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    return os.environ | one | {"BENCH_CACHE": str(folder / "cache")}


def timed(arguments: list[str], folder: Path) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds and what was printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, spent, done.stdout


def feed(model: Path, log: Path, rate: int, seconds: int, folder: Path) -> float:
    """Feed lines at a rate; returns by how many seconds the last row came behind the last line."""
    command = [sys.executable, "-m", "bench", "score", str(model), "-"]
    lines = log.read_bytes().splitlines(keepends=True)
    lines = (lines * (rate * seconds // len(lines) + 1))[: rate * seconds]
    last = [0.0]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(folder)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        rows = process.stdout

        def listen() -> None:
            for row in rows:
                if row[:1] != b" ":
                    last[0] = time.monotonic()

        listener = threading.Thread(target=listen)
        listener.start()
        process.stdin.write(b"".join(lines[:20]))
        process.stdin.flush()
        while not last[0]:  # it has started
            time.sleep(0.1)
        began = time.monotonic()
        for first in range(20, len(lines), rate // 10):
            process.stdin.write(b"".join(lines[first : first + rate // 10]))
            process.stdin.flush()
            time.sleep(max(0.0, began + (first + rate // 10) / rate - time.monotonic()))
        ended = time.monotonic()
        process.stdin.close()
        listener.join()
    return last[0] - ended


def main() -> int:
    """Print what was measured; 1 where a bound is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--fit", default="new-event,ecvc")
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--most-seconds", type=float, default=20.0)
    parser.add_argument("--most-mib", type=float, default=600.0)
    parser.add_argument("--show", action="store_true", help="print the page too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        log = folder / "app.log"
        make_log(log, given.lines)
        wall, spent, page = timed(["score", str(log), "--fit", given.fit], folder)
        mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        sys.stdout.write(page if given.show else "")
        size = log.stat().st_size / 1e6
        sys.stdout.write(
            f"{given.lines:,} lines ({size:.1f} MB) to the page: {wall:.1f} s, {spent:.1f} CPU s, {mib:.0f} MiB\n"
        )
        if given.rate:
            timed(["score", str(log), "--fit", "new-event", "--save", str(folder / "model")], folder)
            behind = feed(folder / "model", log, given.rate, given.seconds, folder)
            sys.stdout.write(f"a pipe of {given.rate:,} lines/s: the last row {behind:.1f} s behind the last line\n")
    return int(spent > given.most_seconds or mib > given.most_mib)


if __name__ == "__main__":
    sys.exit(main())
