"""Run by test_ray_cluster.py in namespaces of its own: a Ray cluster of two nodes, and what is done to it.

Prints what was found as JSON. When this process ends, so does every other one in its namespace.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

PATIENCE_S = 150
SLOW = '''
import json, os, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class Slow(Detector):
    """Notes what it begins and ends, and takes a while."""
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        self.note("begin")
        time.sleep(float(Path("seconds").read_text()))
        return self
    def note(self, what):
        with Path("log").open("a") as stream:
            stream.write(json.dumps([self.seed, what, os.getpid()]) + "\\n")
    def score(self, sequences):
        return sequences.lengths.astype(np.float64) + self.seed
'''
SAME = ("run_id", "status", "reason", "metrics", "thresholds", "validation", "counts", "scores_sha256", "monitor")


class Cluster:
    """Two nodes on the loopback interface, each with one CPU."""

    def __init__(self, folder):
        self.folder = folder
        self.temporary = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        common = ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=80000000"]
        self._start("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={self.temporary}", *common)
        before = self.raylets()
        self._start("--address=127.0.0.1:6379", *common)
        (self.second,) = [raylet for raylet in self.raylets() if raylet not in before]

    def _start(self, *options):
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats", *options]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def raylets(self):
        return [process for process in psutil.process_iter() if process.name() == "raylet"]

    def kill_second(self):
        """SIGKILL to a node: its raylet and all below it, first the raylet so that it cannot clean up."""
        doomed = [self.second, *self.second.children(recursive=True)]
        for process in doomed:
            process.kill()
        return [process.pid for process in doomed]


class Command:
    """`bench run` in a folder of its own."""

    def __init__(self, folder, cluster=None):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "slow.py").write_text(SLOW)
        self.options = ["--executor", "ray", "--address", "127.0.0.1:6379"] if cluster else []

    def start(self, seconds):
        arguments = ["-m", "slow.py:Slow,pca", "-s", "hdfs@simulated", "--seeds", "6", "--no-pack", *self.options]
        (self.folder / "seconds").write_text(seconds)
        return subprocess.Popen(
            [sys.executable, "-m", "bench", "run", *arguments],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def log(self):
        file = self.folder / "log"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def records(self):
        """What must be equal, of all records by run."""
        files = (self.folder / "results" / "inbox").glob("*.json")
        found = [json.loads(file.read_text()) for file in files]
        return {record["run_id"]: [record.get(name) for name in SAME] for record in found}

    def kept_seeds(self):
        """Seeds of the slow method that have a record."""
        files = (self.folder / "results" / "inbox").glob("*.json")
        found = [json.loads(file.read_text()) for file in files]
        return sorted(record["spec"]["seed"] for record in found if "Slow" in record["method"])

    def found(self, process):
        _, err = process.communicate(timeout=PATIENCE_S)
        fits = [seed for seed, what, _ in self.log() if what == "begin"]
        left = [str(path) for path in self.folder.rglob("*") if path.suffix in (".tmp", ".new")]
        return {
            "code": process.returncode, "err": err[-3000:], "records": self.records(), "fits": fits, "left": left,
        }  # fmt: skip


def wait(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # nobody collects orphans in this namespace
    except psutil.NoSuchProcess:
        return False


def under(pid, process):
    """Whether a process runs below another one."""
    try:
        return any(parent.pid == process.pid for parent in psutil.Process(pid).parents())
    except psutil.NoSuchProcess:
        return False


def worker_is_lost(folder, cluster):
    command = Command(folder, cluster)
    running = command.start("3")
    wait(command.log)
    above = psutil.Process(command.log()[0][2]).parents()
    worker = next(process for process in above if process.name().startswith("ray::"))
    assert worker.parent() in cluster.raylets()
    worker.kill()
    return command.found(running)


def driver_is_lost(folder, cluster):
    command = Command(folder, cluster)
    running = command.start("3")
    wait(lambda: len(command.kept_seeds()) >= 2)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    wait(lambda: not any(is_alive(pid) for _, _, pid in command.log()))
    kept, slow_kept = command.records(), len(command.kept_seeds())
    began = [seed for seed, what, _ in command.log() if what == "begin"]
    found = command.found(command.start("0"))
    return found | {"kept": kept, "slow_kept": slow_kept, "began_before": began}


def interrupted_twice(folder, cluster):
    command = Command(folder, cluster)
    running = command.start("3600")
    wait(lambda: len(command.log()) >= 2)
    running.send_signal(signal.SIGINT)
    time.sleep(1)
    is_waiting = running.poll() is None
    running.send_signal(signal.SIGINT)
    found = command.found(running)
    wait(lambda: not any(is_alive(pid) for _, _, pid in command.log()))
    return found | {"waited_after_one": is_waiting}


def node_is_lost(folder, cluster):
    command = Command(folder, cluster)
    running = command.start("3")
    wait(lambda: any(under(pid, cluster.second) for _, _, pid in command.log()))
    gone = cluster.kill_second()
    return command.found(running) | {"were_there": any(pid in gone for _, _, pid in command.log())}


def main(folder):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # What Ray and bench keep below the home folder stays in this one.
    os.environ |= {"HOME": str(folder), "BENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    local = Command(folder / "local")
    found = {"local": local.found(local.start("0"))}
    cluster = Cluster(folder)
    try:
        for happens in (worker_is_lost, interrupted_twice, driver_is_lost, node_is_lost):
            found[happens.__name__] = happens(folder / happens.__name__, cluster)
    finally:
        shutil.rmtree(cluster.temporary, ignore_errors=True)
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
