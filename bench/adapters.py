"""Estimators of other libraries as detectors: `sklearn:IsolationForest`, `pyod:ECOD`, `sklearn:xgboost.XGBClassifier`.

A sequence is what it counts: how often each log key of training occurs in it, and in the last column how many of its
events have a key that training did not have. Outlier detectors learn from normal sequences, classifiers from labels.
The settings of a detector are the arguments of its estimator; the seed of a run is the estimator's `random_state`.

The classes are made when they are asked for: `bench.adapters:sklearn.IsolationForest` is an attribute of this module.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import functools
import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError
from bench.errors import BenchError
from bench.types import ABNORMAL, Sequences

_DISTRIBUTIONS: Final = {"sklearn": "scikit-learn", "pyod": "pyod"}
_INSTALL: Final = {"sklearn": "pip install scikit-learn", "pyod": "pip install 'mlad-bench[pyod]'"}
_SEEDS: Final = ("random_state", "random_seed", "seed")
_NOT_OURS: Final = frozenset({*_SEEDS, "n_jobs", "verbose", "novelty", "device"})
"""Arguments that belong to the run, or change no score."""
_WITHIN: Final = "sklearn:"
"""An estimator within an estimator is written as its name behind this, with arguments `{name: arguments}`."""
_PIPELINE: Final = "labels"
"""The setting that tells a pipeline labels."""


def from_sklearn(estimator: Any) -> Detector:
    """A detector of an outlier detector, a density, a classifier, or a pipeline of scikit-learn or of its like.

    estimator: not fitted; it stays as it is. Its arguments become the detector's settings, so that a run of it has the
    same identity as `sklearn:NAME` with `--set`. BenchError for what cannot be written down, or scores nothing.
    """
    return _detector_of("sklearn", estimator)


def from_pyod(model: Any) -> Detector:
    """A detector of a model of PyOD; as `from_sklearn`."""
    return _detector_of("pyod", model)


class Adapted(Detector):
    """What all detectors of estimators do; a class for each of them is made by `adapted_class`."""

    reference = ""
    """The name by which the command line gives it."""
    library = ""
    estimator: type

    def fit(self, train: Sequences, labels: NDArray[np.int8] | None = None, *, evidence: Evidence = Evidence()) -> Self:
        """Fit the estimator to the counts of the training sequences."""
        self.n_keys_ = int(train.log_keys.max(initial=-1)) + 1
        self.model_ = self._new()
        counts = counts_of(train, self.n_keys_)
        if labels is None:
            self.model_.fit(counts)
        else:
            self.model_.fit(counts, (labels == ABNORMAL).astype(np.int64))
        return self

    def score(self, sequences: Sequences) -> NDArray[np.float64]:
        """How abnormal the estimator finds the counts; equal sequences are asked about once."""
        if not hasattr(self, "model_"):
            raise NotFittedError("fit it first")
        if not len(sequences):
            return np.empty(0)
        distinct = sequences.without_parameters().unique()
        found = self._scores(counts_of(distinct.sequences, self.n_keys_))
        return np.asarray(found, np.float64).ravel()[distinct.inverse]

    def _new(self) -> Any:
        settings = vars(self.config)
        fields = {name: _built(value, self.seed) for name, value in settings.items() if name != _PIPELINE}
        fields |= _seeds_of(self.estimator, self.seed)
        taken = inspect.signature(self.estimator).parameters
        fields |= {"device": self.device} if "device" in taken and self.library == "pyod" else {}
        fields |= {"novelty": True} if "novelty" in taken else {}
        return self.estimator(**fields)

    def _scores(self, counts: NDArray[np.float64]) -> Any:
        """Higher is more abnormal; scikit-learn's outlier detectors have it the other way round."""
        model = self.model_
        if self.library == "pyod":
            return copy.deepcopy(model).decision_function(counts)  # some keep what they were asked about
        if hasattr(model, "classes_"):
            return _of_classifier(model, counts)
        return -(model.score_samples(counts) if hasattr(model, "score_samples") else model.decision_function(counts))


def _of_classifier(model: Any, counts: NDArray[np.float64]) -> Any:
    if not hasattr(model, "predict_proba"):
        return model.decision_function(counts)
    known = list(model.classes_)
    return model.predict_proba(counts)[:, known.index(1)] if 1 in known else np.zeros(len(counts))


def counts_of(sequences: Sequences, n_keys: int) -> NDArray[np.float64]:
    """float64 (n_sequences, n_keys + 1): how often each log key occurs; in the last column all others together."""
    width = n_keys + 1
    keys = sequences.log_keys.astype(np.int64)
    columns = np.where((keys < 0) | (keys >= n_keys), n_keys, keys)
    flat = np.bincount(sequences.sequence_of_event * width + columns, minlength=len(sequences) * width)
    return flat.reshape(len(sequences), width).astype(np.float64)


@functools.cache
def adapted_class(library: str, path: str) -> type[Adapted]:
    """The detector class of an estimator; BenchError where there is none of that name, or where it scores nothing.

    path: `IsolationForest`, or with the package in front of it (`xgboost.XGBClassifier`)
    """
    estimator = _find(library, path)
    if library == "sklearn" and not any(map(functools.partial(hasattr, estimator), _SCORING)):
        raise BenchError(
            f"'{library}:{path}' scores nothing: it has none of {', '.join(_SCORING)}, so it cannot be a detector"
        )
    is_classifier = _is_classifier(estimator)
    is_pipeline = "steps" in inspect.signature(estimator).parameters and not is_classifier
    taken = inspect.signature(estimator).parameters
    return type(
        path.rpartition(".")[2],
        (Adapted,),
        {
            "__doc__": f"{path} of {library} on counts of log keys.",
            "__module__": __name__,
            "tags": DetectorTags(
                told={"source": "labels" if is_classifier else "normals"},
                told_with={_PIPELINE: {"source": "labels"}} if is_pipeline else {},
                uses=frozenset({"log_keys"}),
                seeded=any(name in taken for name in _SEEDS) or is_pipeline,
            ),
            "Config": _config_of(estimator, is_pipeline=is_pipeline),
            "reference": f"{library}:{path}",
            "library": library,
            "estimator": estimator,
        },
    )


_SCORING: Final = ("score_samples", "decision_function", "predict_proba")


def __getattr__(name: str) -> Any:
    """`sklearn.IsolationForest`: the class for it."""
    library, dot, path = name.partition(".")
    if not dot or library not in _DISTRIBUTIONS:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return adapted_class(library, path)


def _is_classifier(estimator: type) -> bool:
    return any(base.__name__ == "ClassifierMixin" for base in estimator.__mro__)


def _config_of(estimator: type, *, is_pipeline: bool) -> type:
    """A frozen dataclass with the arguments of an estimator, as far as their defaults can be written down."""
    fields: list[tuple[str, Any, Any]] = []
    for name, taken in inspect.signature(estimator).parameters.items():
        if name in _NOT_OURS or taken.kind in (taken.VAR_POSITIONAL, taken.VAR_KEYWORD):
            continue
        default = None if taken.default is taken.empty else taken.default
        if _is_plain(default):
            value = tuple(default) if isinstance(default, list) else default
            fields.append((name, object | None, dataclasses.field(default=value)))
    if is_pipeline:
        fields.append((_PIPELINE, bool, dataclasses.field(default=False)))
    return dataclasses.make_dataclass("Config", fields, frozen=True)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict | set):
        return False
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _find(library: str, path: str) -> type:
    """The class of an estimator; BenchError with the nearest names where there is none."""
    module, dot, name = path.rpartition(".")
    found = getattr(_module(library, module), name, None) if dot else _by_short_name(library, name)
    if not isinstance(found, type):
        near = difflib.get_close_matches(path, _short_names(library), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "correct the name behind the colon"
        raise BenchError(f"'{library}:{path}' names no class of {library}: {hint}")
    return found


def _module(library: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BenchError(
            f"the package '{name}' cannot be imported ({error}): install it, or correct what stands behind '{library}:'"
        ) from None


def _by_short_name(library: str, name: str) -> Any:
    for home in _homes(library, name):
        with contextlib.suppress(BenchError):  # of scikit-learn's names some are functions
            found = getattr(_module(library, home), name, None)
            if isinstance(found, type):
                return found
    return None


def _homes(library: str, name: str) -> Iterator[str]:
    """The modules in which a class of that name may be."""
    if library == "sklearn":
        yield from (f"sklearn.{part}" for part in _module(library, "sklearn").__all__ if part.islower())
        return
    models = _module(library, "pyod.models")
    wanted = name.lower().replace("_", "")
    yield from (
        f"pyod.models.{found.name}"
        for found in pkgutil.iter_modules(models.__path__)
        if found.name.replace("_", "") == wanted
    )


def _short_names(library: str) -> list[str]:
    """Names for a hint: of scikit-learn's own classes, of PyOD's modules."""
    if library == "pyod":
        return [found.name.upper() for found in pkgutil.iter_modules(_module(library, "pyod.models").__path__)]
    homes = [_module(library, module) for module in ("sklearn.ensemble", "sklearn.svm", "sklearn.neighbors")]
    homes += [_module(library, f"sklearn.{part}") for part in ("covariance", "mixture", "linear_model", "naive_bayes")]
    return [name for home in homes for name in home.__all__ if name[:1].isupper()]


def _detector_of(library: str, estimator: Any) -> Detector:
    cls = type(estimator)
    if isinstance(estimator, type) or not callable(getattr(estimator, "get_params", None)):
        raise BenchError(f"{estimator!r} is no estimator of {library}: give an object, such as IsolationForest()")
    made = adapted_class(library, _path_of(library, cls))
    given = estimator.get_params(deep=False)
    _require_no_seed(estimator)
    known = {field.name: field.default for field in dataclasses.fields(made.Config)}
    changed = {name: value for name, value in given.items() if name not in _NOT_OURS and _differs(value, known, name)}
    if unknown := sorted(changed.keys() - known.keys()):
        raise BenchError(f"{unknown[0]}={changed[unknown[0]]!r} of {cls.__name__} cannot be written down: {_WAY_OUT}")
    written = {name: _written(value, f"{name} of {cls.__name__}") for name, value in changed.items()}
    if _PIPELINE in known and _module("sklearn", "sklearn.base").is_classifier(estimator):
        written[_PIPELINE] = True
    return made(made.Config(**written))


_WAY_OUT: Final = "write a detector in a file of its own, and give path.py:Class"


def _differs(value: Any, known: Mapping[str, Any], name: str) -> bool:
    default = known.get(name)
    if name not in known:
        return not callable(value) and value is not None
    return bool(type(value) is not type(default) or value != default)


def _path_of(library: str, cls: type) -> str:
    """`IsolationForest` where the library finds it so, else with its module."""
    if cls.__module__.partition(".")[0] == library and _by_short_name(library, cls.__name__) is cls:
        return str(cls.__name__)
    if cls.__module__ == "__main__":
        raise BenchError(f"the class '{cls.__name__}' is in no file that another process can import: {_WAY_OUT}")
    return f"{cls.__module__}.{cls.__qualname__}"


def _written(value: Any, what: str) -> Any:
    """A value as JSON; an estimator within it as its name and arguments."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_written(part, what) for part in value]
    if callable(getattr(value, "get_params", None)) and not isinstance(value, type):
        _require_no_seed(value)
        own = value.get_params(deep=False)
        defaults = {name: taken.default for name, taken in inspect.signature(type(value)).parameters.items()}
        changed = {name: _written(part, what) for name, part in own.items() if part is not defaults.get(name)}
        name = f"{_WITHIN}{_path_of('sklearn', type(value))}"
        return {name: changed} if changed else name
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise BenchError(f"{what} is {value!r}, which cannot be written down: {_WAY_OUT}") from None
    return value


def _built(value: Any, seed: int) -> Any:
    """What was written down; estimators within it get the seed too."""
    if isinstance(value, list | tuple):
        return [_built(part, seed) for part in value]
    if isinstance(value, str) and value.startswith(_WITHIN):
        return _built({value: {}}, seed)
    name = next(iter(value), "") if isinstance(value, dict) and len(value) == 1 else ""
    if not isinstance(name, str) or not name.startswith(_WITHIN):
        return value
    estimator = _find("sklearn", name.removeprefix(_WITHIN))
    fields = {key: _built(part, seed) for key, part in value[name].items()}
    return estimator(**fields, **_seeds_of(estimator, seed))


def _seeds_of(estimator: type, seed: int) -> dict[str, int]:
    taken = inspect.signature(estimator).parameters
    return {name: seed for name in _SEEDS if name in taken}


def _require_no_seed(estimator: Any) -> None:
    given = estimator.get_params(deep=False)
    for name in _SEEDS:
        if given.get(name) is not None:
            kind = type(estimator).__name__
            raise BenchError(f"{name}={given[name]!r} of {kind}: leave it out, for it is the seed of the run")


def distribution_of(library: str, path: str) -> tuple[str, str]:
    """Name and version of the distribution that an estimator comes from; empty where that is neither of ours.

    BenchError where the library is not installed.
    """
    if "." in path and path.partition(".")[0] != library:
        return "", ""
    name = _DISTRIBUTIONS[library]
    try:
        return name, version(name)
    except PackageNotFoundError:
        raise BenchError(f"'{library}:{path}' needs {name}, which is not installed: {_INSTALL[library]}") from None
