"""The conformance kit passes a good detector and names exactly what is wrong with a broken one."""

import dataclasses
import inspect
import re
from typing import ClassVar, get_args

import numpy as np
import pytest

from bench import registry, testing
from bench.contract import fault_of
from bench.detector import ContractError, Detector, DetectorTags, ExternalFile, Grade, NotFittedError, Role
from bench.errors import BenchError
from bench.testing import (
    CHECKS,
    CheckResult,
    check_detector,
    checks,
    conforms,
    failures,
    parametrize_with_checks,
    summarise,
)
from bench.testing.trial import same_arrays, toy_log
from bench.types import UNKNOWN_KEY

NAMES = [check.__name__ for check in CHECKS]


@dataclasses.dataclass(frozen=True)
class GoodConfig:
    smoothing: float = 0.5
    hidden: tuple[int, ...] = (4, 2)


class Good(Detector):
    """Mean surprise of the keys. The broken detectors below differ from it in one thing each."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, seeded=False)
    Config = GoodConfig

    def fit(self, train, labels=None, *, evidence=None):
        counts = np.append(np.bincount(train.log_keys[train.log_keys >= 0], minlength=20), 0)
        self.surprise_ = -np.log((counts + self.config.smoothing) / (counts.sum() + self.config.smoothing))
        return self

    def score(self, sequences):
        if not hasattr(self, "surprise_"):
            raise NotFittedError
        total = np.bincount(sequences.sequence_of_event, self.surprise_[sequences.log_keys], minlength=len(sequences))
        return total / np.maximum(sequences.lengths, 1)

    def state(self):
        return {"surprise": self.surprise_}

    def load_state(self, state):
        self.surprise_ = state["surprise"]
        return self

    def explain(self, sequences):
        return self.surprise_[sequences.log_keys].astype(np.float32)


def with_score(change):
    """A detector whose score is `change(self, sequences, good_scores)`."""
    return type(change.__name__, (Good,), {"score": lambda self, s: change(self, s, Good.score(self, s))})


def with_uses(change, *parts):
    """The same, where its tags name these parts too."""
    tags = DetectorTags(told={"source": "normals"}, uses=frozenset({"log_keys", *parts}))
    return type(change.__name__, (with_score(change),), {"tags": tags})


class StateInInit(Good):
    def __init__(self, config=None, *, seed=0, device="cpu"):
        super().__init__(config, seed=seed, device=device)
        self.model = None


@dataclasses.dataclass
class ThawedConfig:
    smoothing: float = 0.5


class Thawed(Good):
    Config = ThawedConfig


class UnknownPart(Good):
    tags = DetectorTags(told={"source": "normals"}, uses=frozenset({"log_keys", "colour"}))


class UsesMoreThanItsTags(Good):
    def uses(self):
        return self.tags.uses | {"lines"}


class HidesWhatItsTagsName(Good):
    tags = DetectorTags(told={"source": "normals"}, uses=frozenset({"log_keys", "elapsed_s"}))

    def uses(self):
        return frozenset({"log_keys"})

    def score(self, sequences):
        return super().score(sequences) + np.bincount(
            sequences.sequence_of_event, np.nan_to_num(sequences.elapsed_s), minlength=len(sequences)
        )


class SkipsEverything(Good):
    def skip(self, train):
        return "not today"


class FitReturnsNone(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)


class PeeksAtLabels(Good):
    def fit(self, train, labels=None, *, evidence=None):
        return super().fit(train if labels is None else train.select(labels == 0))


class UsesEvidence(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_ * (1 + len(evidence.incidents))
        return self


class AsksWithoutSayingSo(Good):
    def fit(self, train, labels=None, *, evidence=None):
        if evidence.teacher is not None:
            evidence.teacher.ask(["is this normal?"])
        return super().fit(train)


class UsesRoles(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_ * len(evidence.roles)
        return self


class KnowsItsSystemsOnly(Good):
    def fit(self, train, labels=None, *, evidence=None):
        self.systems_ = np.bincount(train.system)
        return super().fit(train)

    def score(self, sequences):
        return super().score(sequences) + 0.0 * self.systems_[sequences.system]

    def state(self):
        return {**super().state(), "systems": self.systems_}

    def load_state(self, state):
        self.systems_ = state["systems"]
        return super().load_state(state)


class FitsToWords(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_ * (1 + sum(word.startswith("node") for word in train.words[0]))
        return self


class FitsToNumbers(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_ * (1 + np.abs(train.parameters.values).mean())
        return self


class FitsToRaw(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_ * (1 + train.raw.values.str.starts_with("session").sum())
        return self


class FitWritesTexts(Good):
    def fit(self, train, labels=None, *, evidence=None):
        train.words.values[0] = "changed"
        return super().fit(train)


class FitsToTexts(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_ * (1 + sum(text.startswith("session") for text in train.texts))
        return self


class IndexesByUnknown(Good):
    """Its table ends with the last key of training, so key -1 is that one."""

    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_[: train.log_keys.max() + 1]
        return self

    def score(self, sequences):
        if not hasattr(self, "surprise_"):
            raise NotFittedError
        keys, n = sequences.log_keys, len(self.surprise_)
        surprise = np.where(keys < n, self.surprise_[np.minimum(keys, n - 1)], 9.0)
        total = np.bincount(sequences.sequence_of_event, surprise, minlength=len(sequences))
        return total / np.maximum(sequences.lengths, 1)

    explain = Detector.explain


class Lines(Good):
    tags = DetectorTags(told={"source": "normals"}, unit="line")
    score = Detector.score

    def score_lines(self, sequences):
        if not hasattr(self, "surprise_"):
            raise NotFittedError
        return self.surprise_[sequences.log_keys]


class MeanOfLines(Lines):
    score = Good.score


class FitWrites(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        train.log_keys[:] = 0
        return self


class Unseeded(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ *= np.random.default_rng().uniform(1, 2)
        return self


class DrawsAndDeniesIt(Good):
    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_ + np.random.default_rng(self.seed).random(len(self.surprise_))
        return self


class Remembers(Good):
    def fit(self, train, labels=None, *, evidence=None):
        before = getattr(self, "surprise_", 0.0)
        super().fit(train)
        self.surprise_ = self.surprise_ + before
        return self


class LearnsFromScored(Good):
    """Class-wide memory of what was scored: no attribute of the instance shows it."""

    scored: ClassVar[list[int]] = []

    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.surprise_ = self.surprise_ * (1 + len(set(self.scored)))
        return self

    def score(self, sequences):
        scores = super().score(sequences)
        self.scored.append(len(sequences))
        return scores


class RemembersScored(Good):
    """Keeps the lengths of what it scored in an object of a foreign class, which no fingerprint looks into."""

    state, load_state = Detector.state, Detector.load_state

    class Archive:
        def __init__(self):
            self.lengths = set()

    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.archive_ = getattr(self, "archive_", None) or self.Archive()
        self.surprise_ = self.surprise_ * (1 + len(self.archive_.lengths))
        return self

    def score(self, sequences):
        scores = super().score(sequences)
        self.archive_.lengths |= set(sequences.lengths.tolist())
        return scores


class MixesDevices(Good):
    """Its network makes a tensor where torch does by default, not where its input is."""

    state, load_state = Detector.state, Detector.load_state

    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.net_ = shifting_network()
        return self

    def score(self, sequences):
        import torch

        scores = super().score(sequences)
        return self.net_(torch.from_numpy(scores)).numpy()


def shifting_network(like_input=False):
    import torch

    class Shift(torch.nn.Module):
        def forward(self, x):
            return x + torch.ones(len(x), device=x.device if like_input else None)

    return Shift()


class NeedsLongSequences(Good):
    def fit(self, train, labels=None, *, evidence=None):
        if train.lengths.min() < 2:
            raise ValueError("no window fits")
        return super().fit(train)


class ObjectState(Good):
    def state(self):
        return {"surprise": self.surprise_.astype(object)}


class LosesItsThreshold(Good):
    def fit(self, train, labels=None, *, evidence=None):
        self.native_threshold_ = 3.0
        return super().fit(train)


class WideWeights(Good):
    def explain(self, sequences):
        return np.zeros((sequences.n_events, 2), dtype=np.float32)


class InfiniteWeights(Good):
    def explain(self, sequences):
        return np.where(sequences.log_keys < 0, np.inf, 0).astype(np.float32)


class CountsExplanations(Good):
    def explain(self, sequences):
        self.n_ = getattr(self, "n_", 0) + 1
        return Good.explain(self, sequences)


class ExplainsByWriting(Good):
    def explain(self, sequences):
        sequences.log_keys[:] = 0
        return np.zeros(sequences.n_events, np.float32)


class WeighsByCompany(Good):
    def explain(self, sequences):
        return Good.explain(self, sequences) / len(sequences)


class FloatVectors(Good):
    def represent(self, sequences):
        return np.zeros((len(sequences), 2))


class UnwritableMonitor(Good):
    def monitor(self):
        return {"loss": np.zeros(2)}


class ScoresUnfitted(Good):
    def score(self, sequences):
        return Good.score(self, sequences) if hasattr(self, "surprise_") else np.zeros(len(sequences))


def not_a_number(self, s, scores):
    return np.where(s.lengths == 10, np.nan, scores)


def short_precision(self, s, scores):
    return scores.astype(np.float32)


def inverted(self, s, scores):
    return -scores


def remembers_scores(self, s, scores):
    self.last_ = scores
    return scores


def drifts(self, s, scores):
    self.surprise_ += 1e-9
    return scores


def writes_into_keys(self, s, scores):
    s.log_keys[s.log_keys == UNKNOWN_KEY] = 0
    return scores


def sorts_in_place(self, s, scores):
    s.elapsed_s.sort()
    return scores


def counts_from_the_top(self, s, scores):
    return scores + 1e-3 * np.arange(len(s))


def divided_by_the_longest(self, s, scores):
    return scores / max(1, s.lengths.max())


def standardised(self, s, scores):
    return (scores - scores.mean()) / (scores.std() or np.nan)


def later_is_worse(self, s, scores):
    return scores + np.nan_to_num(s.start_time) * 1e-9


def reads_texts(self, s, scores):
    return scores + 0.1 * (len(s.texts[0]) > 0)


def reads_words(self, s, scores):
    known = 0 if s.words is None else np.bincount(s.sequence_of_event, np.diff(s.words.offsets), minlength=len(s))
    return scores + known


def numbers_words(self, s, scores):
    event = np.repeat(s.sequence_of_event, np.diff(s.words.offsets))
    return scores + np.bincount(event, s.words.ids % 7 == 3, minlength=len(s))


def numbers_texts(self, s, scores):
    last = np.zeros(len(s))
    np.maximum.at(last, s.sequence_of_event, s.text_ids * (s.text_ids > 13))
    return scores + last


def nan_where_nothing_is_known(self, s, scores):
    unknown = np.bincount(s.sequence_of_event, s.log_keys < 0, minlength=len(s))
    return np.where((unknown == s.lengths) & (s.lengths > 0), np.nan, scores)


def nan_for_empty(self, s, scores):
    return np.where(s.lengths == 0, np.nan, scores)


def nan_for_one_event(self, s, scores):
    return np.where(s.lengths == 1, np.nan, scores)


def position_table_of_512(self, s, scores):
    np.zeros(512)[s.lengths - 1]
    return scores


def all_at_once(self, s, scores):
    return scores + 0 * np.ones((len(s), 700)).sum(1)


BROKEN = {
    StateInInit: {"check_init_stores_only"},
    Thawed: {"check_config"},
    UnknownPart: {"check_contract"},
    UsesMoreThanItsTags: {"check_contract"},
    HidesWhatItsTagsName: {"check_declared_uses"},
    SkipsEverything: {"check_skip"},
    ScoresUnfitted: {"check_not_fitted"},
    FitReturnsNone: {"check_fit_returns_self"},
    # A NaN on ordinary sequences is seen wherever ordinary sequences must have finite scores.
    with_score(not_a_number): {"check_scores", "check_fit_short_sequences", "check_untold_roles"},
    with_score(inverted): {"check_direction"},
    with_score(remembers_scores): {"check_score_is_pure"},
    with_score(drifts): {"check_score_is_pure"},
    with_score(writes_into_keys): {"check_inputs_untouched"},
    with_score(sorts_in_place): {"check_inputs_untouched"},
    FitWrites: {"check_inputs_untouched"},
    Unseeded: {"check_same_seed"},
    DrawsAndDeniesIt: {"check_seed"},
    Remembers: {"check_refit", "check_test_invisible"},
    NeedsLongSequences: {"check_fit_short_sequences"},
    with_score(counts_from_the_top): {"check_permutation", "check_parts"},
    with_score(divided_by_the_longest): {"check_parts"},
    with_score(standardised): {"check_parts", "check_single_sequence"},
    with_score(later_is_worse): {"check_duplicates"},
    with_score(reads_texts): {"check_declared_uses"},
    with_score(numbers_texts): {"check_text_numbering"},
    with_score(nan_where_nothing_is_known): {"check_unseen_events", "check_one_event"},
    with_score(nan_for_empty): {"check_empty_sequence"},
    with_score(nan_for_one_event): {"check_one_event"},
    with_score(position_table_of_512): {"check_long_sequence"},
    PeeksAtLabels: {"check_labels_invisible"},
    UsesEvidence: {"check_evidence_invisible"},
    AsksWithoutSayingSo: {"check_evidence_invisible"},
    FitsToTexts: {"check_training_uses"},
    FitsToWords: {"check_training_uses"},
    FitsToNumbers: {"check_training_uses"},
    FitsToRaw: {"check_training_uses"},
    FitWritesTexts: {"check_inputs_untouched"},
    UsesRoles: {"check_untold_roles"},
    KnowsItsSystemsOnly: {"check_untold_roles"},
    with_score(reads_words): {"check_declared_uses"},
    with_uses(numbers_words, "words"): {"check_text_numbering"},
    IndexesByUnknown: {"check_unknown_key"},
    MeanOfLines: {"check_lines"},
    # Whatever is fitted after the first scores differs from the first fit, so no two fits can be compared.
    LearnsFromScored: {"check_same_seed"},
    RemembersScored: {"check_test_invisible"},
    with_score(all_at_once): {"check_memory"},
    MixesDevices: {"check_meta_forward"},
    ObjectState: {"check_state"},
    LosesItsThreshold: {"check_state"},
    WideWeights: {"check_explanations"},
    InfiniteWeights: {"check_explanations"},
    CountsExplanations: {"check_explain_is_pure"},
    ExplainsByWriting: {"check_explain_is_pure"},
    WeighsByCompany: {"check_explain_is_pure"},
    FloatVectors: {"check_explanations"},
    UnwritableMonitor: {"check_explanations"},
}


def failed(results):
    return {result.name for result in results if result.status in {"failed", "xpass"}}


def skipped(cls):
    return {result.name: result.reason for result in check_detector(cls) if result.status == "skipped"}


@dataclasses.dataclass(frozen=True)
class Shares(GoodConfig):
    source_share: float = 0.25


def tagged(told, config=GoodConfig, **tags):
    return type("Tagged", (Good,), {"tags": DetectorTags(told=told, **tags), "Config": config})


class GoodNetwork(MixesDevices):
    state = Good.state

    def fit(self, train, labels=None, *, evidence=None):
        super().fit(train)
        self.net_ = shifting_network(like_input=True)
        return self

    def load_state(self, state):
        self.net_ = shifting_network(like_input=True)
        return Good.load_state(self, state)


@parametrize_with_checks([GoodNetwork])
def test_good_detector(check):
    check()


def test_good_detector_runs_every_check():
    results = check_detector(GoodNetwork)
    assert [result.name for result in results] == NAMES
    assert {result.name for result in results if result.status != "passed"} == {"check_lines"}
    assert conforms(results)
    assert summarise(results).endswith(f"ran {len(NAMES) - 1} of {len(NAMES)} checks, 0 failed")


def test_good_line_detector():
    results = check_detector(Lines)
    assert conforms(results), summarise(results)
    assert "check_lines" not in skipped(Lines)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_broken_detector_fails_exactly_its_check(broken):
    results = check_detector(broken)
    assert failed(results) == BROKEN[broken], summarise(results)
    assert not conforms(results)


def test_every_check_can_fail():
    assert set().union(*BROKEN.values()) == set(NAMES)


def test_wrong_dtype_is_found():
    assert "check_scores" in failed(check_detector(with_score(short_precision)))


def test_every_check_has_a_reason_and_a_short_body():
    for check in CHECKS:
        assert check.__doc__.strip().endswith("."), check.__name__
        assert len(check.__doc__.splitlines()) == 1
        assert len(inspect.getsource(check).splitlines()) <= 25, check.__name__


ALL_TOLD = [
    *({"source": grade} for grade in get_args(Grade)),
    *({"source": "labels", "target": grade} for grade in get_args(Grade)),
    {"source": "normals", "target": "unlabelled", "auxiliary": "labels"},
]


@pytest.mark.parametrize("told", ALL_TOLD, ids=str)
def test_whatever_is_told_has_a_toy_log(told):
    log = toy_log(told)
    assert len(log.test) == len(log.test_labels)
    assert log.labels is None or (len(log.labels) == len(log.train) and log.labels.dtype == np.int8)
    assert set(log.train.system) == set(range(len(told)))
    assert log.evidence.roles == tuple(told)


@pytest.mark.parametrize("grade", get_args(Grade))
def test_a_good_detector_passes_whatever_it_is_told(grade):
    results = check_detector(tagged({"source": grade}, Shares))
    assert conforms(results), summarise(results)


def test_labels_are_given_only_as_far_as_the_tags_say():
    assert toy_log({"source": "normals"}).labels is None
    assert toy_log({"source": "unlabelled"}).labels is None
    assert toy_log({"source": "normals", "target": "first-normals"}).labels is None
    assert len(toy_log({}).train) == 0
    assert len(toy_log({"source": "labels"}, incidents=True).evidence.incidents) == 20
    assert toy_log({"source": "labels"}).evidence.incidents == ()
    assert set(toy_log({"source": "labels"}).labels) == {0, 1}
    assert set(toy_log({"source": "abnormal"}).labels) == {1}
    assert set(toy_log({"source": "first-normals"}).labels) == {-1, 0}
    zero = toy_log({"source": "labels", "target": "unlabelled"})
    assert set(zero.labels[zero.train.system == 1]) == {-1}
    assert set(zero.labels[zero.train.system == 0]) == {0, 1}
    few = toy_log({"source": "labels", "target": "few"})
    assert 0 < np.mean(few.labels[few.train.system == 1] >= 0) < 0.5
    foreign = toy_log({"source": "labels", "target": "normals"})
    assert set(foreign.labels[foreign.train.system == 1]) == {0}
    assert set(foreign.labels[foreign.train.system == 0]) == {0, 1}


@pytest.mark.parametrize("told", ALL_TOLD, ids=str)
def test_editions_of_roles_that_are_not_told_stand_in_no_toy_log(told):
    alone, beside = toy_log(told), toy_log(told, strangers=True)
    assert same_arrays(beside.train, alone.train)
    assert (beside.labels is None) == (alone.labels is None)
    assert alone.labels is None or np.array_equal(alone.labels, beside.labels)
    assert set(beside.evidence.roles) == set(get_args(Role))


def test_a_method_without_its_file_is_told_so_once(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    file = ExternalFile("w.bin", "https://example.org/w.bin", "0" * 64, 3, "MIT")
    wants = tagged({"source": "normals"}, files=(file,))
    results = check_detector(wants)
    assert failed(results) == {"check_contract"}
    assert "w.bin (https://example.org/w.bin)" in results[0].detail
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "w.bin").write_bytes(b"abc")
    assert conforms(check_detector(wants))


def test_a_method_that_asks_is_given_somebody_to_ask():
    class Asks(Good):
        tags = DetectorTags(told={"source": "normals"}, teacher=True)

        def fit(self, train, labels=None, *, evidence=None):
            self.answers_ = evidence.teacher.ask(["is this normal?", "and this?"])
            return super().fit(train)

    results = check_detector(Asks)
    assert conforms(results), summarise(results)


def test_a_method_that_draws_need_not_differ_by_the_seed():
    class DrawsAndSaysSo(DrawsAndDeniesIt):
        tags = DetectorTags(told={"source": "normals"})

    assert conforms(check_detector(DrawsAndSaysSo))
    (found,) = [result for result in check_detector(DrawsAndDeniesIt) if result.name == "check_seed"]
    assert "tags.seeded is False, but seed 1 gives other scores" in found.detail


def test_skipped_checks_say_why():
    no_network = {
        "check_meta_forward": "its scores call no torch module that it holds",
        "check_lines": "it scores sequences",
        "check_seed": "tags.seeded says that its scores may depend on the seed",
    }
    assert skipped(tagged({"source": "normals"})) == no_network
    length = registry.load(registry.find("length"))
    assert skipped(length)["check_direction"] == "a control's job is to be trivial"
    fits_compared = {f"check_{name}" for name in ("same_seed", "refit", "labels_invisible", "test_invisible")}
    fits_compared |= {
        f"check_{name}" for name in ("evidence_invisible", "training_uses", "unknown_key", "untold_roles")
    }
    assert skipped(tagged({"source": "normals"}, deterministic=False)).keys() == fits_compared | no_network.keys()
    assert skipped(tagged({"source": "labels"})).keys() == {"check_labels_invisible"} | no_network.keys()
    asking = skipped(tagged({}, teacher=True))
    assert "ask a model" in asking.pop("check_memory")
    assert asking.pop("check_fit_short_sequences") == "it is told nothing"
    assert asking.pop("check_unknown_key") == "its scores depend on no log keys of training"
    assert asking == no_network


def test_a_slow_detector_is_not_kept_busy_for_hours(monkeypatch):
    sizes = []

    def notes_sizes(self, s, scores):
        sizes.append(len(s))
        return scores

    monkeypatch.setattr(checks, "_MAX_SECONDS", 0.0)
    assert "would take too long" in skipped(with_score(notes_sizes))["check_memory"]
    assert max(sizes) == 1_000


def test_detector_without_state_is_not_failed_for_it():
    cls = type("Unsaved", (Good,), {"state": Detector.state, "load_state": Detector.load_state})
    results = check_detector(cls)
    assert conforms(results)
    assert f"ran {len(NAMES) - 3} of {len(NAMES)} checks, 0 failed" in summarise(results)
    assert skipped(cls).keys() == {"check_state", "check_meta_forward", "check_lines"}


def test_transposed_state_survives_saving():
    class Transposed(Good):
        def state(self):
            return {"surprise": np.stack([self.surprise_, -self.surprise_]).T}

        def load_state(self, state):
            self.surprise_ = state["surprise"][:, 0]
            return self

    assert conforms(check_detector(Transposed))


def test_expected_failure_is_kept_with_its_reason():
    broken = with_score(inverted)
    results = check_detector(broken, expected_failures={"check_direction": "lower is worse in its paper"})
    result = next(r for r in results if r.name == "check_direction")
    assert (result.status, result.reason) == ("xfail", "lower is worse in its paper")
    assert "AUROC" in result.detail
    assert conforms(results)
    assert summarise(results).endswith(f"ran {len(NAMES) - 2} of {len(NAMES)} checks, 0 failed")


def test_unexpected_pass_is_a_failure():
    results = check_detector(Good, expected_failures={"check_direction": "was wrong once"})
    assert failed(results) == {"check_direction"}
    assert not conforms(results)
    assert summarise(results).endswith(f"ran {len(NAMES) - 2} of {len(NAMES)} checks, 1 failed")


@pytest.mark.parametrize("expected", [{"check_nonsense": "because"}, {"check_state": " "}])
def test_bad_expectations_are_refused(expected):
    with pytest.raises(BenchError):
        check_detector(Good, expected_failures=expected)
    with pytest.raises(BenchError):
        parametrize_with_checks([Good], expected_failures={Good: expected})


def test_a_kit_that_ran_nothing_is_not_green(monkeypatch):
    assert not conforms([])
    assert not conforms([CheckResult("check_state", "skipped", "no state")])
    assert not conforms([CheckResult("check_state", "xfail", "no state")])
    assert "nothing was shown" in summarise([CheckResult("check_state", "skipped", "no state")])
    with pytest.raises(BenchError):
        parametrize_with_checks([])
    monkeypatch.setattr(testing, "CHECKS", ())
    assert not conforms(check_detector(Good))
    with pytest.raises(BenchError):
        parametrize_with_checks([Good])


def test_crashing_fit_fails_the_checks_and_runs_once():
    calls = []

    class Crashes(Good):
        def fit(self, train, labels=None, *, evidence=None):
            calls.append(len(train))
            raise RuntimeError("out of ideas")

    results = check_detector(Crashes)
    assert len(failed(results)) > 15
    assert "out of ideas" in next(r for r in results if r.name == "check_scores").detail
    assert len(calls) <= 2


class FitXY(Good):
    def fit(self, X, y):
        return self


class TakesIncidents(Good):
    def fit(self, train, labels=None, *, incidents=None):
        return self


class NoTags(Good):
    tags = None


class UnknownGrade(Good):
    tags = DetectorTags(told={"source": "everything"})


class NoShare(Good):
    tags = DetectorTags(told={"source": "few"})


class ScoresNoLines(Good):
    tags = DetectorTags(told={"source": "normals"}, unit="line")


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (FitXY, "its fit(X, y) is not the contract's: write fit(self, train, labels=None, *, evidence=Evidence())"),
        (TakesIncidents, "written for contract 0.1"),
        (NoTags, "it has no tags"),
        (UnknownGrade, "tags.told gives source as 'everything': choose one of normals, unlabelled"),
        (NoShare, "tags.told gives source as 'few', but Config has no number between 0 and 1 `source_share`"),
        (ScoresNoLines, "tags.unit is 'line': write score_lines(self, sequences)"),
    ],
)
def test_what_the_harness_refuses_fails_once_with_one_sentence(cls, sentence):
    results = check_detector(cls)
    assert failed(results) == {"check_contract"}
    assert sentence in results[0].detail
    assert "\n" not in results[0].detail
    assert {result.status for result in results[1:]} == {"skipped"}
    assert fault_of(cls) in results[0].detail


@pytest.mark.parametrize("tags", [{"supervision": "supervised"}, {"supervision": "weak"}])
def test_tags_of_contract_0_1_are_refused_by_what_to_write(tags):
    with pytest.raises(ContractError, match=r"written for contract 0\.1: write DetectorTags\(told=\{'source': "):
        DetectorTags(**tags)


def test_fits_are_few():
    sizes = []

    class Counts(Good):
        def fit(self, train, labels=None, *, evidence=None):
            sizes.append(len(train))
            return super().fit(train)

    assert conforms(check_detector(Counts))
    assert sorted(sizes) == [20, 20, 20, 20, 60, 60, 60, 60, 60, 60, 60, 60, 60]


def test_config_reaches_the_detector():
    seen = set()

    class Reports(Good):
        def fit(self, train, labels=None, *, evidence=None):
            seen.add(self.config.smoothing)
            return super().fit(train)

    assert conforms(check_detector(Reports, config=GoodConfig(smoothing=2.0)))
    assert seen == {2.0}


def outcome_in_pytest(cls, name, expected=None):
    mark = parametrize_with_checks([cls], expected_failures={cls: expected or {}})
    check = next(param.values[0] for param in mark.args[1] if param.id == f"{cls.__name__}-{name}")
    try:
        check()
    except (pytest.skip.Exception, pytest.fail.Exception, pytest.xfail.Exception) as outcome:
        return type(outcome)
    return None


def test_pytest_sees_the_same_outcomes():
    broken = with_score(inverted)
    assert outcome_in_pytest(Good, "check_direction") is None
    assert outcome_in_pytest(broken, "check_direction") is pytest.fail.Exception
    assert outcome_in_pytest(broken, "check_direction", {"check_direction": "known"}) is pytest.xfail.Exception
    assert outcome_in_pytest(Good, "check_direction", {"check_direction": "known"}) is pytest.fail.Exception
    length = registry.load(registry.find("length"))
    assert outcome_in_pytest(length, "check_direction") is pytest.skip.Exception


def test_torch_modules_count_as_state():
    torch = pytest.importorskip("torch")

    class UpdatesStatistics(Good):
        """Scores in training mode, so that batch norm goes on learning from the test data."""

        state, load_state = Detector.state, Detector.load_state

        def fit(self, train, labels=None, *, evidence=None):
            super().fit(train)
            self.norm_ = torch.nn.BatchNorm1d(1)
            return self

        def score(self, sequences):
            scores = Good.score(self, sequences)
            self.norm_(torch.from_numpy(np.append(scores, [0.0, 1.0])).float()[:, None])
            return scores

    assert failed(check_detector(UpdatesStatistics)) == {"check_score_is_pure"}


def test_causes_that_differ_in_numbers_alone_are_told_once():
    details = {
        "check_scores": "scores have shape (4,), not (3,)",
        "check_refit": "other",
        "check_memory": "scores have shape (9,), not (1,)",
    }
    results = [CheckResult(name, "failed", "why", detail) for name, detail in details.items()]
    assert failures(results) == [
        "failed  check_scores: scores have shape (4,), not (3,)",
        "        1 check more fails for this reason: check_memory",
        "failed  check_refit: other",
    ]


def test_a_cause_names_the_line_of_the_detector_not_that_of_the_kit():
    def fit(self, train, labels=None, *, evidence=None):
        raise ValueError("one\ntwo")

    results = check_detector(type("Unfit", (Good,), {"fit": fit}))
    first, more = failures(results)
    assert re.fullmatch(r"failed  check_\w+: ValueError: one two \(test_testing\.py, line \d+, in fit\)", first)
    assert more.count("check_") > 10
    assert summarise(results).count("ValueError") == 1
    assert sum("ValueError: one" in result.detail for result in results) > 10
