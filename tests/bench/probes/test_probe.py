import re
from dataclasses import replace

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.errors import BenchError
from bench.experiment.planning import plan_parts
from bench.experiment.suites import SuitePart
from bench.probes.injection import HARMLESS, PHRASINGS, injection_options, plant
from bench.probes.memorisation import memory_options, twins
from bench.probes.paraphrase import paraphrase
from bench.probes.probe import ProbeRequest, draw, require_reads
from bench.types import UNKNOWN_KEY, Parameters, Sequences

TEXTS = ("user <*> came", "kernel: error at 0x1f3ab0", "all is well")


def log_of(*rows, **fields):
    return Sequences.from_lists(rows, TEXTS, **fields)


def shown(sequences):
    return [
        [sequences.texts[i] for i in sequences.text_ids[a:b]]
        for a, b in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ]


# ------------------------------------------------------------------------------------------------------- planting


def test_a_line_is_planted_where_it_is_told():
    log = log_of([0, 1], [2], [0, 0, 1])
    planted = plant(log, ["one", "two"], np.array([1, -1, 0]), np.array([2, 0, 1]))
    assert shown(planted) == [[TEXTS[0], TEXTS[1], "two"], [TEXTS[2]], [TEXTS[0], "one", TEXTS[0], TEXTS[1]]]
    assert planted.log_keys.tolist() == [0, 1, UNKNOWN_KEY, 2, 0, UNKNOWN_KEY, 0, 1]
    assert planted.lines.tolist() == [0, 1, 1, 2, 3, 4, 4, 5]
    assert planted.text_ids.dtype == planted.log_keys.dtype == np.int32
    assert len(planted.unique().sequences) == 3


def test_what_was_there_stays():
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 3, rng.integers(1, 6)).tolist() for _ in range(30)]
    log = log_of(*rows, elapsed_s=rng.random(sum(map(len, rows))))
    planted = plant(log, ["x"], np.zeros(30, np.int64), rng.integers(0, log.lengths + 1))
    keep = planted.text_ids < len(TEXTS)
    for name in ("log_keys", "text_ids", "elapsed_s", "lines"):
        assert np.array_equal(getattr(planted, name)[keep], getattr(log, name))
    assert np.array_equal(planted.lengths, log.lengths + 1)
    assert planted.texts[: len(TEXTS)] == TEXTS


def test_a_planted_line_has_no_parameters():
    log = log_of([0, 1], [2], parameters=Parameters(np.array([5.0, 6.0, 7.0]), np.array([0, 1, 1, 3])))
    planted = plant(log, ["x"], np.array([0, 0]), np.array([1, 0]))
    assert np.diff(planted.parameters.offsets).tolist() == [1, 0, 0, 0, 2]
    assert planted.parameters.values.tolist() == [5.0, 6.0, 7.0]


def test_the_harmless_phrasing_asks_for_nothing_and_is_always_there():
    assert not re.search(r"answer|\{|normal", PHRASINGS[HARMLESS])
    for name, text in PHRASINGS.items():
        if name != HARMLESS:
            assert text.format(answer="No", state="normal") != text.format(answer="Yes", state="abnormal")
    assert list(injection_options(["plain"], ["last"])["phrasings"]) == [HARMLESS, "plain"]
    assert injection_options(["plain"], ["last"])["positions"] == ["last"]
    with pytest.raises(BenchError, match="unknown phrasing 'rude': choose one of harmless"):
        injection_options(["rude"])


# ------------------------------------------------------------------------------------------------------- the draw


def test_a_draw_is_half_abnormal_and_keeps_the_shares_of_systems():
    strata = np.repeat([0, 1, 2, 3], [600, 30, 300, 10])  # twice the system, plus the label
    drawn = draw(strata, 40, np.ones(940, bool), seed=0)
    assert np.bincount(strata[drawn]).tolist() == [13, 15, 7, 5]
    assert len(set(drawn.tolist())) == 40
    assert np.array_equal(drawn, draw(strata, 40, np.ones(940, bool), seed=0))
    assert not np.array_equal(drawn, draw(strata, 40, np.ones(940, bool), seed=1))


@pytest.mark.parametrize(
    ("normal", "abnormal", "n", "counts"),
    [(100, 3, 20, (17, 3)), (2, 100, 20, (2, 18)), (3, 3, 20, (3, 3)), (9, 9, 3, (2, 1))],
)
def test_a_draw_takes_what_there_is(normal, abnormal, n, counts):
    strata = np.repeat([0, 1], [normal, abnormal])
    assert tuple(np.bincount(strata[draw(strata, n, np.ones(len(strata), bool), seed=0)])) == counts


def test_a_draw_leaves_out_what_is_not_eligible():
    strata, eligible = np.arange(50) % 2, np.arange(50) < 10
    assert draw(strata, 100, eligible, seed=0).tolist() == list(range(10))


# ---------------------------------------------------------------------------------------------------------- twins


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("kernel: panic", r"panic \[kernel\]"),
        ("NFS Mount failed on bglio716", r"NFS Mount unsuccessful on bglio(?!716)\d{3}"),
        ("LINK FAILURE", "LINK BREAKDOWN"),
        ("read at 0x1f3ab0", r"read at 0x(?!1f3ab0)[0-9a-f]{6}"),
        ("peer 10.1.2.3 up", r"peer (?!10\.1\.2\.3)\d+(\.\d+){3} up"),
        ("at 23:59:58 done", r"at (?!23:59:58)([01]\d|2[0-3]):[0-5]\d:[0-5]\d done"),
        ("took 12345 steps", r"took (?!12345)[1-9]\d{4} steps"),
        ("code 0 of sha256 on ext3 <*> x<*>12", r"code 0 of sha256 on ext3 <\*> x<\*>12"),
        ("program halted", "program halted"),
    ],
)
def test_a_text_is_said_otherwise(text, pattern):
    (said,) = paraphrase([text], 0).texts
    assert re.fullmatch(pattern, said), said


def test_one_name_stays_one_name_and_the_seed_decides_which():
    said = paraphrase(["dn228 asks dn229", "dn229 answers", "dn228 ends"], 0).texts
    assert said[0].split()[2] == said[1].split()[0]
    assert said[0].split()[0] == said[2].split()[0] != said[1].split()[0]
    assert paraphrase(["dn228 asks"], 0) == paraphrase(["dn228 asks"], 0)
    assert len({paraphrase(["dn228 asks"], seed).texts for seed in range(20)}) > 5


def test_changes_are_counted():
    said = paraphrase(["kernel: error on dn228", "kernel: up", "quiet"], 0)
    assert said.n_changed == {"identifiers": 0, "numbers": 0, "node names": 1, "header": 2, "words": 1}


def test_a_twin_differs_where_its_texts_do():
    log = log_of([0, 1, 1], [2, 0], [1], [])
    made = twins(log, 0)
    assert made.altered.tolist() == [False, True, True, False, False, True]
    assert made.differs.tolist() == [True, False, True, False]
    assert made.sequences.log_keys.tolist() == [0, UNKNOWN_KEY, UNKNOWN_KEY, 2, 0, UNKNOWN_KEY]
    assert made.sequences.texts[:3] == TEXTS
    assert shown(made.sequences)[2] != [TEXTS[1]]
    assert shown(made.sequences)[1] == [TEXTS[2], TEXTS[0]]
    assert (made.facts["n_texts"], made.facts["n_texts_altered"]) == (3, 1)


# -------------------------------------------------------------------------------------------------------- requests


@pytest.fixture
def cells(tmp_path):
    def make(*methods, **fields):
        part = SuitePart(scenarios=("bgl@simulated",), methods=methods, seeds="0,", **fields)
        return [c for c in plan_parts([part], catalogue(None), tmp_path).cells if not c.method.ref.is_control]

    return make


def test_everything_that_changes_a_number_is_in_the_id(cells):
    (cell,) = cells("chatgpt")
    options = memory_options()
    ids = [
        ProbeRequest("memorisation", cell, 100, "", options).probe_id,
        ProbeRequest("memorisation", cell, 101, "", options).probe_id,
        ProbeRequest("memorisation", cell, 100, "fixed:1", options).probe_id,
        ProbeRequest("injection", cell, 100, "", injection_options()).probe_id,
        ProbeRequest("injection", cell, 100, "", injection_options(["plain"])).probe_id,
        ProbeRequest("memorisation", cells("chatgpt", settings=("chatgpt.model=other",))[0], 100, "", options).probe_id,
    ]
    assert len(set(ids)) == len(ids)
    moved = cells("chatgpt", settings=("chatgpt.base_url=http://elsewhere/v1",))[0]
    assert ProbeRequest("memorisation", moved, 100, "", options).probe_id == ids[0]
    assert ProbeRequest("memorisation", moved).label == "chatgpt"


def test_the_rule_is_the_methods_own_only_where_it_is_training_free(cells):
    rules = [str(ProbeRequest("injection", cell).threshold_rule) for cell in cells("chatgpt", "knn-embedding")]
    assert sorted(rules) == ["conformal:0.01", "native"]
    with pytest.raises(BenchError, match="reads no test labels, not 'oracle'"):
        _ = ProbeRequest("injection", cells("chatgpt")[0], rule="oracle").threshold_rule


def test_a_method_that_reads_no_texts_is_refused_unless_its_variant_does(cells):
    with pytest.raises(BenchError, match="'ngram' reads no texts"):
        require_reads("injection", cells("ngram")[0])
    require_reads("injection", cells("ngram+nearest")[0])


def test_the_shortcut_takes_a_method_that_reads_keys_alone_and_refuses_one_that_reads_neither(cells):
    (ngram,) = cells("ngram")
    require_reads("shortcut", ngram)
    blind = replace(ngram.method.description, uses=frozenset({"lines"}))
    with pytest.raises(BenchError, match="'ngram' reads neither texts nor log keys"):
        require_reads("shortcut", replace(ngram, method=replace(ngram.method, description=blind)))
