"""Text of a plugin whose detectors have an accident each; honest ones beside them."""

ACCIDENTS = '''
"""Detectors that have accidents."""
import ctypes
import os
import signal
import sys
import threading
import time
import warnings
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    pass

class Length(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        self.go(train)
        return self
    def go(self, train):
        pass
    def score(self, sequences):
        return sequences.lengths.astype(np.float64)
class Exits(Length):
    def go(self, train):
        sys.exit("enough")
class OsExits(Length):
    def go(self, train):
        os._exit(0)
class Segfaults(Length):
    def go(self, train):
        ctypes.string_at(0)
class KillsItself(Length):
    def go(self, train):
        os.kill(os.getpid(), signal.SIGKILL)
class Hangs(Length):
    def go(self, train):
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                pass
class SwallowsTheLimit(Length):
    def score(self, sequences):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                time.sleep(0.1)
            except BaseException:
                pass
        return super().score(sequences)
class EatsMemory(Length):
    def go(self, train):
        np.ones(10**15)
class Interrupts(Length):
    def go(self, train):
        raise KeyboardInterrupt
class HalfASurrogate(Length):
    def go(self, train):
        raise RuntimeError("cannot open \\ud800.log")
class UnreadableMessage(Length):
    def go(self, train):
        class Odd(Exception):
            def __str__(self):
                raise ValueError("no")
        raise Odd
class SortsInputs(Length):
    def go(self, train):
        train.log_keys.sort()
class Unlocks(Length):
    def go(self, train):
        train.log_keys.base.setflags(write=True)
class WritesByAddress(Length):
    def go(self, train):
        ctypes.memset(train.log_keys.ctypes.data, 0, train.log_keys.nbytes)
class WritesByTorch(Length):
    def go(self, train):
        import torch
        warnings.simplefilter("ignore")
        torch.from_numpy(train.log_keys).zero_()
class Forks(Length):
    def go(self, train):
        if os.fork() == 0:
            return
class ForksAndDies(Length):
    def go(self, train):
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(3)
class PatchesMetrics(Length):
    def go(self, train):
        from bench.evaluation import metrics, thresholds
        from bench.experiment import measure
        for module in (metrics, thresholds, measure):
            for name in list(vars(module)):
                if callable(getattr(module, name)):
                    setattr(module, name, lambda *a, **k: 1.0)
        np.sort = lambda *a, **k: 1 / 0
class ChangesFolder(Length):
    def go(self, train):
        os.makedirs("elsewhere", exist_ok=True)
        os.chdir("elsewhere")
class ClearsTheEnvironment(Length):
    def go(self, train):
        os.environ.clear()
class LeavesAThread(Length):
    def go(self, train):
        threading.Thread(target=lambda: [time.sleep(1) for _ in range(3600)]).start()
class Prints(Length):
    def go(self, train):
        print("| a row | of a table |")
        os.write(1, bytes(range(256)) * 300)
        os.system("echo from a child")
class ReplacesTexts(Length):
    def score(self, sequences):
        object.__setattr__(sequences, "texts", ())
        object.__setattr__(sequences, "offsets", sequences.offsets[:2])
        return super().score(sequences)
class OutOfMemoryError(RuntimeError):
    pass
class SmallDevice(Length):
    def score(self, sequences):
        if len(sequences) > 60:
            raise OutOfMemoryError("CUDA out of memory")
        return super().score(sequences)
    def abstained(self, sequences):
        return sequences.lengths > 20 if sequences.lines[0] % 2 else None
@dataclass(frozen=True)
class Batched:
    batch_size: int = 512
class TooSmallToTrain(Length):
    Config = Batched
    def go(self, train):
        raise OutOfMemoryError("CUDA out of memory")
class LooksForLabels(Length):
    def score(self, sequences):
        frame, found = sys._getframe(), []
        while frame is not None:
            found += [value for value in frame.f_locals.values() if hasattr(value, "labels")]
            found += [value for value in frame.f_locals.values() if type(value).__name__ in ("Prepared", "Part")]
            frame = frame.f_back
        if found:
            raise RuntimeError("labels are within reach")
        return super().score(sequences)
'''

IMPORTS = {
    "exits": "import sys\nsys.exit(0)",
    "os_exits": "import os\nos._exit(0)",
    "segfaults": "import ctypes\nctypes.string_at(0)",
    "prints": "print('| imported |')\n",
    "raises": "raise ImportError('no module named x')",
}

STRAYS = """
import subprocess

def stray(**options):
    return subprocess.Popen(["sleep", "36001"], **options)

def double(x):
    return 2 * x

class LeavesAChild(Length):
    def go(self, train):
        stray()
class LeavesADaemon(Length):
    def go(self, train):
        stray(start_new_session=True)
class LeavesAnOrphan(Length):
    def go(self, train):
        leave = "import subprocess as s; s.Popen(['sleep', '36001'], start_new_session=True)"
        subprocess.run([sys.executable, "-c", leave])
class LeavesAGroup(Length):
    def go(self, train):
        stray(process_group=0)
class LeavesADaemonAndDies(Length):
    def go(self, train):
        stray(start_new_session=True)
        os._exit(5)
class LeavesADaemonAndWaits(Length):
    def go(self, train):
        stray(start_new_session=True)
        time.sleep(3600)
class ClosesItsOutputAndDies(Length):
    def go(self, train):
        os.close(1)
        os.close(2)
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "36001"])
        os._exit(4)
class ClosesAllFiles(Length):
    def go(self, train):
        os.closerange(0, 256)
class KillsItsParent(Length):
    def go(self, train):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(3600)
class StopsItsParent(Length):
    def go(self, train):
        os.kill(os.getppid(), signal.SIGSTOP)
class KillsItsGroup(Length):
    def go(self, train):
        os.killpg(0, signal.SIGKILL)
class StopsItself(Length):
    def go(self, train):
        os.kill(os.getpid(), signal.SIGSTOP)
class PrintsForEver(Length):
    def go(self, train):
        while True:
            os.write(1, b"x\\n" * 32768)
class PrintsALot(Length):
    def go(self, train):
        piece = (b"x" * 99 + b"\\n") * 10000
        for _ in range(250):
            os.write(1, piece)
class FailsToBeMade(Length):
    def __init__(self, *given, **named):
        raise RuntimeError("it cannot be made")
class DeletesItsSource(Length):
    def go(self, train):
        os.unlink(__file__)
class SetsHandlers(Length):
    def go(self, train):
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.alarm(1)
class LeadsASession(Length):
    def go(self, train):
        os.setsid()
class StartsThreads(Length):
    def go(self, train):
        for _ in range(5):
            threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()
class WritesToStdin(Length):
    def go(self, train):
        os.write(0, b"x")
class ReadsStdin(Length):
    def go(self, train):
        input()
class WaitsInSkip(Length):
    def skip(self, train):
        time.sleep(3600)
class WaitsInMonitor(Length):
    def monitor(self):
        time.sleep(3600)
class WaitsWhenMade(Length):
    def __init__(self, *given, **named):
        time.sleep(3600)
class Multiprocesses(Length):
    def go(self, train):
        import multiprocessing
        for how in ("fork", "spawn", "forkserver"):
            with multiprocessing.get_context(how).Pool(2) as pool:
                assert pool.map(double, [1, 2, 3]) == [2, 4, 6]
class UsesExecutors(Length):
    def go(self, train):
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2) as pool:
            assert list(pool.map(double, [1, 2, 3])) == [2, 4, 6]
class UsesJoblib(Length):
    def go(self, train):
        from joblib import Parallel, delayed
        assert Parallel(n_jobs=2)(delayed(double)(x) for x in (1, 2, 3)) == [2, 4, 6]
class RunsPrograms(Length):
    def go(self, train):
        command = [sys.executable, "-c", "print(6)"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "6\\n"
        assert subprocess.run("cat", shell=True, check=True).returncode == 0
class UsesTorch(Length):
    def go(self, train):
        import torch
        torch.set_num_threads(2)
        matrix = torch.ones(300, 300)
        for _ in range(5):
            matrix = matrix @ matrix / 300
        loader = torch.utils.data.DataLoader(list(range(10)), num_workers=2, batch_size=5)
        assert sum(int(batch.sum()) for batch in loader) == 45
"""
