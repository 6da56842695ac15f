"""Estimators of other libraries as detectors."""

import json

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

import bench
from bench import registry
from bench.adapters import adapted_class, counts_of, from_pyod, from_sklearn
from bench.api.asked import Asked
from bench.data.cards.catalogue import catalogue
from bench.errors import BenchError
from bench.experiment.planning import plan_parts
from bench.experiment.spec import resolve_one
from bench.testing import check_detector
from bench.types import Sequences

TRAIN = Sequences.from_lists([[0, 1, 1], [0, 1], [1, 0, 0], [0, 1, 0, 1], [1, 1, 0]], ["a", "b"])
TEST = Sequences.from_lists([[0, 1], [], [1, 1, 1, 1, 1, 1, 1], [-1, 0], [2, 0], [0, 1]], ["a", "b", "c"])
COUNTS = np.array([[1, 1, 0], [0, 0, 0], [0, 7, 0], [1, 0, 1], [1, 0, 1], [1, 1, 0]], np.float64)
_RNG = np.random.default_rng(0)
MANY = Sequences.from_lists([_RNG.integers(0, 5, _RNG.integers(3, 20)).tolist() for _ in range(60)], list("abcde"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache in which the facts of estimators stand, so that no process has to find them out."""
    folder = tmp_path_factory.mktemp("cache")
    for name in ("sklearn:IsolationForest", "sklearn:OneClassSVM"):
        registry.describe(registry.find(name), folder)
    return folder


def test_a_sequence_is_what_it_counts():
    assert np.array_equal(counts_of(TEST, 2), COUNTS)
    assert counts_of(TEST.select(np.array([], np.int64)), 2).shape == (0, 3)


@pytest.mark.parametrize("estimator", [OneClassSVM(nu=0.3), LocalOutlierFactor(n_neighbors=2, novelty=True)])
def test_an_outlier_detector_scores_as_it_does_itself_turned_round(estimator):
    found = from_sklearn(estimator).fit(TRAIN).score(TEST)
    assert np.allclose(found, -estimator.fit(counts_of(TRAIN, 2)).score_samples(COUNTS))
    assert found[2] > found[0] == found[5]


def test_the_seed_of_the_run_is_the_estimators():
    made = type(from_sklearn(IsolationForest(n_estimators=5)))
    one, same, other = (
        made(made.Config(n_estimators=5), seed=seed).fit(MANY).score(MANY).tolist() for seed in (1, 1, 2)
    )
    assert one == same != other
    assert made.tags.seeded
    assert not adapted_class("sklearn", "LocalOutlierFactor").tags.seeded


def test_a_seed_reaches_an_estimator_within_a_pipeline():
    made = from_sklearn(make_pipeline(StandardScaler(), IsolationForest(n_estimators=5)))
    scores = [type(made)(made.config, seed=seed).fit(MANY).score(MANY).tolist() for seed in (1, 1, 2)]
    assert scores[0] == scores[1] != scores[2]


def test_a_classifier_is_told_labels():
    made = from_sklearn(LogisticRegression(C=3.0))
    assert dict(made.tags.told) == {"source": "labels"}
    labels = np.array([0, 0, 1, 0, 1], np.int8)
    expected = LogisticRegression(C=3.0).fit(counts_of(TRAIN, 2), labels).predict_proba(COUNTS)[:, 1]
    assert np.allclose(made.fit(TRAIN, labels).score(TEST), expected)


def test_a_pipeline_is_told_what_its_last_step_needs():
    plain = from_sklearn(make_pipeline(StandardScaler(), OneClassSVM()))
    assert plain.config.labels is False
    labelled = from_sklearn(make_pipeline(StandardScaler(with_mean=False), LogisticRegression()))
    assert labelled.config.labels is True
    assert dict(type(labelled).tags.told_with["labels"]) == {"source": "labels"}
    assert labelled.config.steps == [
        ["standardscaler", {"sklearn:StandardScaler": {"with_mean": False}}],
        ["logisticregression", "sklearn:LogisticRegression"],
    ]
    json.dumps(labelled.config.steps)


def test_only_what_differs_is_a_setting():
    assert vars(from_sklearn(OneClassSVM()).config) == vars(adapted_class("sklearn", "OneClassSVM").Config())
    made = from_sklearn(IsolationForest(n_estimators=np.int64(7), n_jobs=2, verbose=0))
    assert (made.config.n_estimators, type(made.config.n_estimators)) == (7, int)
    assert not hasattr(made.config, "n_jobs")


@pytest.mark.parametrize(
    ("estimator", "sentence"),
    [
        (StandardScaler(), "'sklearn:StandardScaler' scores nothing"),
        (IsolationForest, "give an object, such as"),
        (3, "3 is no estimator of sklearn"),
        (IsolationForest(random_state=3), "random_state=3 of IsolationForest: leave it out"),
        (make_pipeline(IsolationForest(random_state=3)), "random_state=3 of IsolationForest: leave it out"),
        (OneClassSVM(kernel=np.dot), "cannot be written down: write a detector in a file of its own"),
    ],
)
def test_what_is_no_detector_is_refused(estimator, sentence):
    with pytest.raises(BenchError, match=sentence):
        from_sklearn(estimator)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("IsolationForrest", "did you mean IsolationForest"),
        ("clone", "names no class of sklearn"),
        ("", "names no class of sklearn"),
        ("nowhere.X", "the package 'nowhere' cannot be imported"),
        ("sklearn.svm.Nope", "names no class of sklearn"),
    ],
)
def test_a_name_that_is_none_is_a_sentence(path, sentence):
    with pytest.raises(BenchError, match=sentence):
        adapted_class("sklearn", path)


def test_that_sentence_reaches_the_command_line_from_the_process_that_says_it(tmp_path):
    with pytest.raises(BenchError, match="did you mean OneClassSVM"):
        resolve_one("sklearn:OneClasSVM", [], tmp_path)
    with pytest.raises(BenchError, match="unknown method 'keras:X'"):
        resolve_one("keras:X", [], tmp_path)


def test_settings_of_the_command_line_become_arguments(cache):
    texts = ["n_estimators=7", "max_samples=0.5", "max_features=2", "bootstrap=true", "contamination=auto"]
    settings = [f"sklearn:IsolationForest.{text}" for text in texts]
    method = resolve_one("sklearn:IsolationForest", settings, cache)
    config = {"n_estimators": 7, "max_samples": 0.5, "max_features": 2, "bootstrap": True, "contamination": "auto"}
    assert {name: method.config[name] for name in config} == config
    assert method.ref.distribution == "scikit-learn"
    assert method.label == ("sklearn:IsolationForest[bootstrap=true,max_features=2,max_samples=0.5,n_estimators=7]")
    with pytest.raises(BenchError, match="no setting 'trees'"):
        resolve_one("sklearn:IsolationForest", ["sklearn:IsolationForest.trees=3"], cache)


def test_an_object_and_its_name_are_one_run(cache):
    def run_ids(methods, **settings):
        suite = Asked(methods, "bgl@simulated", seeds=1, **settings).suite()
        return [(cell.run_id, cell.method.label) for cell in plan_parts(suite.parts, catalogue(), cache).cells]

    given = run_ids(from_sklearn(OneClassSVM(nu=0.2)))
    assert given == run_ids("sklearn:OneClassSVM", settings={"sklearn:OneClassSVM.nu": 0.2})
    assert given[0][1] == "sklearn:OneClassSVM[nu=0.2]"


@pytest.mark.trains
def test_the_kit_passes():
    results = check_detector(adapted_class("sklearn", "LocalOutlierFactor"))
    assert [result for result in results if result.status == "failed"] == []
    assert sum(result.status == "passed" for result in results) > 25


MODEL = '''
class Toy{name}:
    """Far from the mean; a higher decision is more abnormal, as PyOD has it."""

    def __init__(self, power=1, random_state=None):
        self.power, self.random_state = power, random_state

    def get_params(self, deep=True):
        return {{"power": self.power, "random_state": self.random_state}}

    def fit(self, X, y=None):
        self.mean = X.mean(axis=0)
        return self

    def decision_function(self, X):
        return (abs(X - self.mean) ** self.power).sum(axis=1)
'''


@pytest.fixture
def pyod(tmp_path, monkeypatch):
    """A package that has PyOD's shape and name: the real one is large, and not needed to see what is asked of it."""
    models = tmp_path / "pyod" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("")
    (models / "__init__.py").write_text("")
    (models / "toy_one.py").write_text(MODEL.format(name="One"))
    (tmp_path / "pyod-9.9.dist-info").mkdir()
    (tmp_path / "pyod-9.9.dist-info" / "METADATA").write_text("Name: pyod\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.trains
def test_a_model_of_pyod_is_found_by_its_name_and_keeps_its_direction(pyod, tmp_path):
    from pyod.models.toy_one import ToyOne

    made = from_pyod(ToyOne(power=2))
    assert (made.reference, made.config.power) == ("pyod:ToyOne", 2)
    found = made.fit(TRAIN).score(TEST)
    assert found.argmax() == 2
    ref = registry.find("pyod:ToyOne")
    assert (ref.distribution, ref.version) == ("pyod", "9.9")
    results = bench.run("pyod:ToyOne", "bgl@simulated", seeds=1, out=tmp_path / "out")
    assert results.methods == ["pyod:ToyOne"]
    (record,) = [r for r in results.records if r["method"] == "pyod:ToyOne"]
    assert (record["status"], record["detector"]["version"]) == ("ok", "9.9")
    with pytest.raises(BenchError, match="names no class of pyod"):
        adapted_class("pyod", "ToyTwo")


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def gone(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("bench.adapters.version", gone)
    with pytest.raises(BenchError, match=r"'pyod:ECOD' needs pyod, .* pip install 'mlad-bench\[pyod\]'"):
        registry.find("pyod:ECOD")
