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
