"""The public names, for type checkers; `__init__.py` imports them when they are used."""

from bench.adapters import from_pyod as from_pyod
from bench.adapters import from_sklearn as from_sklearn
from bench.api.results import Results as Results
from bench.api.results import load_results as load_results
from bench.api.run import run as run
from bench.api.sequences import load_sequences as load_sequences
from bench.detector import Detector as Detector
from bench.detector import DetectorTags as DetectorTags
from bench.detector import Evidence as Evidence
from bench.errors import BenchError as BenchError
from bench.types import Sequences as Sequences

__version__: str
