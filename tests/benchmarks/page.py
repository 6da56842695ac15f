"""docs/performance.md from its scripts: each block is what a script printed, with machine, threads, load and date.

    python tests/benchmarks/page.py                 # what there is to measure, and what was measured when
    python tests/benchmarks/page.py entmax ecvc     # run these scripts now and write their blocks; `all` runs every one
    python tests/benchmarks/page.py --check         # exit 1 when the page is not what was measured; --write writes it

What was measured lies in measured.json beside this file. The page has no number outside its blocks: a sentence about
speed that no script prints cannot be made again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.experiment.environment import describe_environment
from bench.reporting.pages.blocks import filled

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MEASURED = HERE / "measured.json"
PAGE = ROOT / "docs" / "performance.md"
SCRIPTS = {
    "parsing": "bench_parsing.py --lines 1000000 --threads 1",
    "prepare": "bench_prepare.py --lines 1000000 3000000",
    "simulate": "bench_simulate.py 1000000",
    "cache": "bench_cache.py --mib 100",
    "classical": "bench_classical.py",
    "networks": "bench_networks.py",
    "deeplog": "bench_deeplog.py --edition hdfs@blocks-a",
    "mlad": "bench_mlad.py",
    "steps": "bench_steps.py --before 576ac93",
    "entmax": "bench_entmax.py",
    "ecvc": "bench_ecvc.py",
    "compare": "bench_compare.py",
    "intervals": "bench_intervals.py",
    "chat": "bench_chat.py",
    "archive": "bench_archive.py",
    "tables": "bench_tables.py",
    "scale": "bench_scale.py --lines 475000",
    "border": "bench_border.py",
    "jobs": "bench_jobs.py --what smoke",
    "twice": "bench_jobs.py --what twice",
    "methods": "bench_jobs.py --what methods",
}
THREADS = "1"


def text_of(name: str, measured: dict[str, Any]) -> str:
    """The block of a script."""
    found = measured.get(name)
    command = f"python tests/benchmarks/{SCRIPTS[name]}"
    if found is None or found["command"] != command:
        return f"Not measured yet on this version: `python tests/benchmarks/page.py {name}` runs `{command}`."
    where = (
        f"{found['date']}, commit {found['commit']}, {found['machine']}, {found['cores']} cores, "
        f"{found['threads']} thread, load {found['load']}, {found['seconds']} s in all."
    )
    return f"`{command}`, {where}\n\n```\n{found['output'].rstrip()}\n```"


def run(name: str) -> dict[str, Any]:
    """What a script prints now; its own failure ends this one."""
    words = shlex.split(SCRIPTS[name])
    began, load = time.monotonic(), os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, str(HERE / words[0]), *words[1:]],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": THREADS},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    facts = describe_environment()
    return {
        "command": f"python tests/benchmarks/{SCRIPTS[name]}",
        "output": done.stdout,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": str(facts.get("git_commit", "unknown"))[:10] + (" with changes" if facts.get("git_dirty") else ""),
        "machine": facts["cpu"],
        "cores": facts["cores"],
        "threads": THREADS,
        "load": f"{load:.1f}",
        "seconds": round(time.monotonic() - began),
    }


def fresh(page: str, measured: dict[str, Any]) -> str:
    """The page as it should be."""
    return filled(page, {name: text_of(name, measured) for name in SCRIPTS}, PAGE)


def main() -> int:
    """Run what was asked for and write, or check, the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"scripts to run now: all, or some of {', '.join(SCRIPTS)}")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    names = list(SCRIPTS) if options.names == ["all"] else options.names
    unknown = [name for name in names if name not in SCRIPTS]
    if unknown:
        parser.error(f"'{unknown[0]}' is no script: choose of {', '.join(SCRIPTS)}")
    measured = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.is_file() else {}
    for name in names:
        measured[name] = run(name)
        MEASURED.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    new = fresh(page, measured)
    if options.check:
        sys.stdout.write("" if new == page else f"{PAGE} is not what was measured: run it with --write\n")
        return int(new != page)
    if names or options.write:
        PAGE.write_text(new, encoding="utf-8")
    for name in SCRIPTS:
        sys.stdout.write(f"{name:10} {text_of(name, measured).splitlines()[0]}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"error: {error}")
