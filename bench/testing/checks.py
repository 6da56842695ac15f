"""The checks of the conformance kit, one promise of `bench.detector` each; the docstring is its reason."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench._memory import peak_memory_mib, reset_peak_memory
from bench.contract import ROLES
from bench.detector import Detector, NotFittedError, largest_lines
from bench.testing.placement import calls_during, run_on_meta
from bench.testing.poison import poisoned_evidence, renamed, renumbered, scrubbed
from bench.testing.trial import (
    LAST_NORMAL_KEY,
    TEMPLATES,
    SkipCheck,
    Trial,
    alike,
    copy_of,
    fingerprint,
    many_sequences,
    require,
    require_scores,
    require_unchanged,
    require_vectors,
    require_weights,
    same_arrays,
    sequences_of,
)
from bench.types import ABNORMAL, NORMAL, UNKNOWN_KEY

_MAX_ADDED_MIB: Final = 512
"""For 100,000 sequences of 4 to 8 events; the detectors of this project take up to 220."""

_MAX_SECONDS: Final = 10.0
"""For 1,000 of these, or all would take a quarter of an hour; the detectors of this project take up to 0.2."""


def check_contract(trial: Trial) -> None:
    """The harness decides by tags and signatures what a detector is told, so it refuses those that it cannot serve."""
    require(trial.fault is None, f"{trial.cls.__name__} cannot be used: {trial.fault}")
    more = sorted(trial.make().uses() - trial.cls.tags.uses)
    require(not more, f"uses() names parts that tags.uses does not: {more}")


def check_init_stores_only(trial: Trial) -> None:
    """Sweeps and records make detectors only to read their config, so __init__ must store and do nothing else."""
    given = trial.cls.Config() if trial.config is None else trial.config
    detector = trial.cls(given, seed=3, device="cpu")
    extra = sorted(vars(detector).keys() - {"config", "seed", "device"})
    require(not extra, f"__init__ also sets {', '.join(extra)}: learn in fit, into names that end in _")
    require(detector.config is given and detector.seed == 3 and detector.device == "cpu", "an argument is not stored")
    require(trial.cls().config == trial.cls.Config(), "without a config the detector has no Config()")


def check_config(trial: Trial) -> None:
    """The config is part of the run's identity: frozen, complete by default and the same after JSON."""
    config_class: Any = trial.cls.Config
    require(dataclasses.is_dataclass(config_class), "Config is no dataclass")
    require(config_class.__dataclass_params__.frozen, "Config is not frozen")
    for config in (config_class(), trial.make().config):
        text = json.dumps(dataclasses.asdict(config), allow_nan=False, sort_keys=True)
        again = dataclasses.asdict(config_class(**json.loads(text)))
        require(json.dumps(again, allow_nan=False, sort_keys=True) == text, "the config differs after JSON")


def check_skip(trial: Trial) -> None:
    """A skipped cell needs a reason; a detector that skips the toy log would be green without being checked."""
    reason = trial.make().skip(copy_of(trial.log.train))
    require(reason is None or (isinstance(reason, str) and bool(reason.strip())), f"skip() returned {reason!r}")
    require(reason is None, f"the detector skips the toy log: {reason}; give check_detector a config that runs")


def check_not_fitted(trial: Trial) -> None:
    """A score before fit must be an error that callers can tell from a crash."""
    try:
        trial.make().score(copy_of(trial.log.test))
    except NotFittedError:
        return
    if trial.told:
        raise AssertionError("score before fit raises no NotFittedError")


def check_fit_returns_self(trial: Trial) -> None:
    """`Detector(config).fit(train).score(test)` is one expression."""
    detector, returned, *_ = trial.first_fit
    require(returned is detector, f"fit returned {type(returned).__name__}, not self")


def check_scores(trial: Trial) -> None:
    """Thresholds and metrics need one finite float64 per sequence."""
    require_scores(trial.score(trial.log.test), len(trial.log.test))


def check_direction(trial: Trial) -> None:
    """Higher means more anomalous: planted anomalies rank no worse than chance."""
    if trial.is_control:
        raise SkipCheck("a control's job is to be trivial")
    scores, labels = trial.score(trial.log.test), trial.log.test_labels
    abnormal, normal = scores[labels == ABNORMAL][:, None], scores[labels == NORMAL]
    auroc = float(np.mean((abnormal > normal) + 0.5 * (abnormal == normal)))
    require(auroc >= 0.5, f"AUROC {auroc:.3f} on planted anomalies: are the scores upside down?")


def check_score_is_pure(trial: Trial) -> None:
    """A score that changes the detector makes every number depend on what was scored before."""
    detector, _, _, before = trial.first_fit
    first, second = trial.score(trial.log.test), trial.score(trial.log.test)
    require_unchanged(detector, before, "score")
    require(alike(first, second), "scoring twice gives different scores")


def check_inputs_untouched(trial: Trial) -> None:
    """The harness hands the same arrays to every detector, some of them read-only memory maps."""
    detector, _, train_untouched, _ = trial.first_fit
    require(train_untouched, "fit writes into its training sequences")
    given = copy_of(trial.log.test)
    detector.score(given)
    require(same_arrays(given, trial.log.test), "score writes into its sequences")
    read_only = detector.score(copy_of(trial.log.test, writable=False))
    require(alike(read_only, trial.score(trial.log.test)), "read-only arrays give other scores")


def check_same_seed(trial: Trial) -> None:
    """Same data, config and seed, same scores: or no number can be reproduced."""
    if not trial.cls.tags.deterministic:
        raise SkipCheck("tagged as not deterministic")
    require(trial.reproducible, "two instances of the same seed give different scores")


def check_seed(trial: Trial) -> None:
    """With the tag seeded=False it is fitted once for all seeds of a run, so another seed must change nothing."""
    if trial.cls.tags.seeded:
        raise SkipCheck("tags.seeded says that its scores may depend on the seed")
    trial.need_reproducible()
    log = trial.log
    detector = trial.fit(log.train, log.labels, into=trial.make(seed=1))
    same = alike(trial.score(log.test, detector), trial.score(log.test))
    require(same, "tags.seeded is False, but seed 1 gives other scores than seed 0: leave the tag out")


def check_refit(trial: Trial) -> None:
    """A second fit forgets what was learned before, so that an instance can be used again."""
    trial.need_reproducible()
    log, part = trial.log, np.arange(len(trial.log.train) // 3)
    detector = trial.fit(log.train.select(part), None if log.labels is None else log.labels[part])
    trial.fit(log.train, log.labels, into=detector)
    require(alike(trial.score(log.test, detector), trial.score(log.test)), "a second fit remembers the first")


def check_fit_short_sequences(trial: Trial) -> None:
    """Real sessions may be empty or have one event, in training too."""
    if not trial.told:
        raise SkipCheck("it is told nothing")
    log, part = trial.log, np.arange(len(trial.log.train) // 3)
    keys = [log.train.log_keys[a:b].tolist() for a, b in zip(log.train.offsets, log.train.offsets[1:], strict=False)]
    rows = [[], [0], *keys[2 : len(part)]]
    train = replace(sequences_of(rows, seed=1), system=log.train.system[part], texts=TEMPLATES)
    detector = trial.fit(train, None if log.labels is None else log.labels[part])
    require_scores(trial.score(log.test, detector), len(log.test))


def check_permutation(trial: Trial) -> None:
    """A sequence's score depends on the sequence, not on its place among the others."""
    order = np.random.default_rng(0).permutation(len(trial.log.test))
    permuted = trial.score(trial.log.test.select(order))
    require(alike(permuted, trial.score(trial.log.test)[order]), "permuting the sequences changes their scores")


def check_parts(trial: Trial) -> None:
    """Padding, batches and statistics of the test set must not leak from one sequence into another's score."""
    test, together = trial.log.test, trial.score(trial.log.test)
    for size in (1, 7):
        parts = [np.arange(a, min(a + size, len(test))) for a in range(0, len(test), size)]
        apart = np.concatenate([trial.score(test.select(part)) for part in parts])
        worst = int(np.argmax(np.abs(apart - together)))
        require(alike(apart, together), f"scored {size} at a time, sequence {worst} gets another score than together")


def check_duplicates(trial: Trial) -> None:
    """Equal sequences at other places of the log score alike, which the harness relies on when it scores each once."""
    if "lines" in trial.cls.tags.uses:
        raise SkipCheck("tags.uses has lines: its scores depend on the place in the log")
    test = trial.log.test
    moved = replace(test, lines=test.lines + 1_000_000, start_time=test.start_time + 1e6, ids=())
    require(alike(trial.score(moved), trial.score(test)), "the same sequences later in the log get other scores")


def check_declared_uses(trial: Trial) -> None:
    """The tags tell readers what the scores are based on: what they do not name must not matter."""
    test, uses = trial.log.test, trial.make().uses()
    for part, without in scrubbed(test).items():
        if part not in uses:
            same = alike(trial.score(without), trial.score(test))
            require(same, f"the scores depend on {part}, which tags.uses or uses() does not name")


def check_unseen_events(trial: Trial) -> None:
    """Logs change: keys that fit never saw and texts without a key are the rule in a test period."""
    rows = [[14, 15, 14, 15], [0, 1, 14, 3, 4], [12, 13, 12], [13] * 9, [15, 15]]
    require_scores(trial.score(sequences_of(rows)), len(rows))


def check_text_numbering(trial: Trial) -> None:
    """The numbers of texts without a key, and of words, follow the order of the test log and carry no meaning."""
    same = alike(trial.score(renumbered(trial.log.test)), trial.score(trial.log.test))
    require(same, "renumbering the unseen texts or the words changes the scores")


def check_empty_sequence(trial: Trial) -> None:
    """A session can lose all its events to a filter; it still is a row of the table."""
    require_scores(trial.score(sequences_of([[], [0, 1, 2, 3], []])), 3)


def check_one_event(trial: Trial) -> None:
    """A sequence shorter than any window or history has a score."""
    require_scores(trial.score(sequences_of([[3], [14]])), 2)


def check_single_sequence(trial: Trial) -> None:
    """A test set of one sequence has a score, of shape (1,)."""
    require_scores(trial.score(sequences_of([[0, 1, 2, 3, 4, 5]])), 1)


def check_long_sequence(trial: Trial) -> None:
    """Real sessions have thousands of events; position tables and quadratic memory must not break."""
    require_scores(trial.score(sequences_of([[i % 12 for i in range(5_000)], [0, 1, 2]])), 2)


def check_labels_invisible(trial: Trial) -> None:
    """A detector that is not told labels must not read them: random ones change nothing."""
    if trial.log.labels is not None:
        raise SkipCheck(f"told {dict(trial.told)}: it may read labels")
    trial.need_reproducible()
    poison = np.random.default_rng(0).integers(0, 2, len(trial.log.train)).astype(np.int8)
    poisoned = trial.fit(trial.log.train, poison)
    require(alike(trial.score(trial.log.test, poisoned), trial.score(trial.log.test)), "labels change the scores")


def check_evidence_invisible(trial: Trial) -> None:
    """Evidence that the tags do not name is not told: failures, labels of lines, files and a model change nothing."""
    trial.need_reproducible()
    poisoned = trial.fit(trial.log.train, trial.log.labels, evidence=poisoned_evidence(trial))
    require(alike(trial.score(trial.log.test, poisoned), trial.score(trial.log.test)), "evidence changes the scores")


def check_untold_roles(trial: Trial) -> None:
    """An edition of a role that is not told never reaches fit and changes nothing there, but can be tested."""
    untold = [role for role in ROLES if role not in trial.told]
    if not untold:
        raise SkipCheck("it is told of every role")
    trial.need_reproducible()
    log, test = trial.log_beside_strangers, trial.log.test
    detector = trial.fit(log.train, log.labels, evidence=log.evidence)
    same = alike(trial.score(test, detector), trial.score(test))
    require(same, f"editions of roles that it is not told ({', '.join(untold)}) change the scores")
    stranger = np.full(len(test), log.evidence.roles.index(untold[0]), np.uint8)
    require_scores(trial.score(replace(test, system=stranger), detector), len(test))


def check_training_uses(trial: Trial) -> None:
    """What the tags do not name must not matter in training either."""
    trial.need_reproducible()
    train, uses = trial.log.train, trial.make().uses()
    changes: dict[str, Any] = {}
    for part, others in renamed(train).items():
        changes |= {} if part in uses else others
    poisoned = trial.fit(replace(train, **changes), trial.log.labels)
    same = alike(trial.score(trial.log.test, poisoned), trial.score(trial.log.test))
    require(same, f"the fit depends on one of {', '.join(changes)}, which tags.uses or uses() does not name")


def check_unknown_key(trial: Trial) -> None:
    """An unknown key is -1: used as an index it means the last key of the vocabulary, and nobody is told."""
    if "log_keys" not in trial.make().uses() or not trial.told:
        raise SkipCheck("its scores depend on no log keys of training")
    trial.need_reproducible()
    train, test, last = trial.log.train, trial.log.test, LAST_NORMAL_KEY
    folded = np.where(train.log_keys > last, train.log_keys - last - 1, train.log_keys).astype(np.int32)
    small = replace(train, log_keys=folded, text_ids=folded, texts=TEMPLATES[: last + 1])
    detector = trial.fit(small, trial.log.labels)

    def scored(key: int) -> NDArray[np.float64]:
        keys = np.where(test.log_keys >= last, key, test.log_keys).astype(np.int32)
        return trial.score(replace(test, log_keys=keys), detector)

    as_last = scored(last)
    like_another = any(alike(scored(key), as_last) for key in range(last))
    require(like_another or not alike(scored(UNKNOWN_KEY), as_last), "the unknown key -1 scores as the last key does")


def check_lines(trial: Trial) -> None:
    """A line method scores each line, and a sequence by its highest one."""
    if trial.cls.tags.unit != "line":
        raise SkipCheck("it scores sequences")
    test, detector = trial.log.test, trial.first_fit[0]
    lines = detector.score_lines(copy_of(test))
    require_scores(lines, test.n_events)
    require(alike(detector.score_lines(copy_of(test)), lines), "scoring lines twice gives different scores")
    largest = largest_lines(lines, test)
    require(alike(trial.score(test), largest), "the score of a sequence is not its largest of score_lines")


def check_test_invisible(trial: Trial) -> None:
    """What was scored is a test part, and must not reach a fit that comes after it."""
    trial.need_reproducible()
    log, part = trial.log, np.arange(len(trial.log.train) // 3)
    train, labels = log.train.select(part), None if log.labels is None else log.labels[part]
    detector = trial.fit(train, labels)
    before = trial.score(log.test, detector)
    trial.score(sequences_of([[12, 14] * 4, [15, 3, 13]] * 50, seed=5), detector)
    again = trial.score(log.test, trial.fit(train, labels, into=detector))
    require(alike(again, before), "fitted again after scoring other sequences, it gives other scores")


def check_state(trial: Trial) -> None:
    """A saved detector holds numeric arrays only (safetensors, never pickle) and scores as before."""
    if trial.cls.state is Detector.state:
        raise SkipCheck("defines no state(), so it cannot be saved")
    from safetensors.numpy import load, save

    detector = trial.first_fit[0]
    state = detector.state()
    bad = sorted(k for k, v in state.items() if not isinstance(v, np.ndarray) or v.dtype.kind not in "biuf")
    require(not bad, f"not numeric numpy arrays: {bad}")
    # safetensors writes the memory of an array without a look at its strides: a transposed one must be laid out first.
    written = save({k: np.array(v, order="C") for k, v in state.items()})
    loaded = trial.make()
    require(loaded.load_state(load(written)) is loaded, "load_state does not return self")
    require(alike(trial.score(trial.log.test, loaded), trial.score(trial.log.test)), "loaded, it scores differently")
    require(loaded.native_threshold_ == detector.native_threshold_, "native_threshold_ is not restored")


def check_explanations(trial: Trial) -> None:
    """Reports rely on them: a weight per event, a vector per sequence, and a monitor that a JSON record can hold."""
    detector, test = trial.first_fit[0], trial.log.test
    for part in (test, sequences_of([[], [3], [14, 0, 14, 15], []])):
        require_weights(detector.explain(copy_of(part)), part.n_events)
    require_vectors(detector.represent(copy_of(test)), len(test))
    json.dumps(detector.monitor())


def check_explain_is_pure(trial: Trial) -> None:
    """A weight belongs to the event and its sequence, whatever was explained before or beside it."""
    detector, test = trial.first_fit[0], trial.log.test.select(np.arange(0, len(trial.log.test), 6))
    before, given = fingerprint(detector), copy_of(test)
    if (together := detector.explain(given)) is None:
        raise SkipCheck("explains nothing")
    alone: list[Any] = [detector.explain(copy_of(test.select(np.array([i])))) for i in range(len(test))]
    require(same_arrays(given, test), "explain writes into its sequences")
    require_unchanged(detector, before, "explain")
    require(alike(np.concatenate(alone), together), "explained alone, events get other weights than together")


def check_meta_forward(trial: Trial) -> None:
    """A network that mixes devices fails on a GPU only; on `meta`, which holds no data, it fails everywhere."""
    detector = trial.first_fit[0]
    calls = calls_during(detector, lambda: trial.score(trial.log.test))
    if not calls:
        raise SkipCheck("its scores call no torch module that it holds")
    for call in calls:
        try:
            run_on_meta(call)
        except Exception as error:
            raise AssertionError(f"{call.name}.forward fails on meta: {error}") from error


def check_memory(trial: Trial) -> None:
    """A test part may hold millions of sequences, so they are computed in blocks, not all at once."""
    if trial.cls.tags.teacher:
        raise SkipCheck("tagged as asking a model: it may ask a model elsewhere about each of 100,000 sequences")
    many, detector = copy_of(many_sequences()), trial.first_fit[0]
    start = time.perf_counter()
    trial.score(many.select(np.arange(1_000)))  # also loads what is loaded once
    if (seconds := time.perf_counter() - start) > _MAX_SECONDS:
        raise SkipCheck(f"1,000 sequences took {seconds:.0f} s, so {len(many):,} would take too long")
    before = reset_peak_memory()
    scores = detector.score(many)
    added = peak_memory_mib() - before
    require_scores(scores, len(many))
    require(added <= _MAX_ADDED_MIB, f"scoring {len(many):,} sequences takes {added:.0f} MiB, above {_MAX_ADDED_MIB}")


CHECKS: Final[tuple[Callable[[Trial], None], ...]] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)
"""All checks, in the order in which they run; the docstring of each is its reason."""
