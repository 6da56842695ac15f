"""What a method's process frees serves its next block, and does not hide what the next method needs."""

import platform
import resource
import subprocess
import sys

import pytest

from bench.records.store import Store

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")
PAGES = 10 * (48 << 20) // resource.getpagesize()
LOOP = """
import resource
from bench._memory import keep_freed_memory, reset_peak_memory

if {keeps}:
    keep_freed_memory()
size = 48 << 20
for block in range(12):
    if block == 2:
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
before = reset_peak_memory()
blocks = [b"x" * size for _ in range(4)]
del blocks
print(round(reset_peak_memory() - before))
"""


def played(keeps):
    done = subprocess.run([sys.executable, "-c", LOOP.format(keeps=keeps)], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@glibc_only
def test_freed_memory_serves_the_next_block():
    assert played(keeps=True)[0] < PAGES / 20


@glibc_only
def test_a_new_measurement_starts_without_what_was_freed():
    assert played(keeps=True)[1] < 40


PLUGIN = """
import resource
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class Touches(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        size = 48 << 20
        for block in range(12):
            if block == 2:
                start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            b"x" * size
        self.faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start
        return self
    def score(self, sequences):
        return sequences.lengths.astype(np.float64)
    def monitor(self):
        return {"faults": self.faults}
"""


@glibc_only
def test_a_methods_process_keeps_what_it_frees(tmp_path):
    plugin = tmp_path / "touches.py"
    plugin.write_text(PLUGIN)
    command = [sys.executable, "-m", "bench", "run", "--methods", f"{plugin}:Touches", "--scenario", "hdfs@simulated"]
    subprocess.run([*command, "--seeds", "0,", "--out", str(tmp_path / "out")], check=True, capture_output=True)
    (found,) = [record for record in Store(tmp_path / "out").records() if record["method"].endswith(":Touches")]
    assert found["monitor"]["faults"] < PAGES / 20
