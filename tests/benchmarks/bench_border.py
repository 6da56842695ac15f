"""What the border between engine and method adds to a cell: a no-op detector, in this process and in one of its own.

    python tests/benchmarks/bench_border.py [--scenario hdfs@blocks-a] [--cells 30]

Needs the logs of the scenario (BENCH_DATA). Both ways run in turn in one process, on a warm worker; CPU seconds are
those of this process and of the method's.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.experiment.cell import Data, Elsewhere, Fitter, InThisProcess, Settings, new_record, run_cell
from bench.experiment.code import InstalledCode
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.isolation.lodging import Lodging
from bench.llm.config import Service

NO_OP = '''
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class NoOp(Detector):
    """Scores by length."""
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return sequences.lengths.astype(np.float64)
'''


def main() -> None:
    """Print CPU and wall milliseconds per cell both ways, and the difference."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scenario", default="hdfs@blocks-a")
    arguments.add_argument("--cells", type=int, default=30)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "noop.py"
        file.write_text(NO_OP)
        known = catalogue()
        methods = [m for m in resolve_methods([f"{file}:NoOp"], [], Path(folder)) if not m.ref.is_control]
        cells = plan(
            [parse_scenario(asked.scenario, known)], methods, splits=["chronological"],
            seeds=range(asked.cells), grouping=Grouping(),
        )  # fmt: skip
        data = Data(Loader(known).prepare(cells[0].data), 0.0)
        lodging = Lodging(print)
        ways = {
            "here": Fitter(Settings(), InThisProcess()),
            "elsewhere": Fitter(Settings(), Elsewhere(lodging, Service())),
        }
        code = InstalledCode(Path(folder))
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number, cell in enumerate(cells):
            for name, fitter in ways.items():
                wall, cpu = time.perf_counter(), _cpu_seconds()
                record, _ = run_cell(cell, data, fitter, new_record(cell, data, Settings(), code))
                assert record["status"] == "ok", record["reason"]
                if number:  # the first cell starts the process and describes the class
                    taken[name].append((time.perf_counter() - wall, _cpu_seconds() - cpu))
        lodging.close()
    for name, values in taken.items():
        wall_ms, cpu_ms = (1000 * statistics.median(column) for column in zip(*values, strict=True))
        print(f"{name:10} {wall_ms:7.1f} ms wall {cpu_ms:7.1f} ms CPU a cell")  # noqa: T201
    more = [b[0] - a[0] for a, b in zip(taken["here"], taken["elsewhere"], strict=True)]
    print(f"the border adds {1000 * statistics.median(more):.1f} ms wall (median of {len(more)} pairs)")  # noqa: T201


def _cpu_seconds() -> float:
    """Of this process and of all that live below it."""
    own = psutil.Process(os.getpid())
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(found.user + found.system for found in times)


if __name__ == "__main__":
    main()
