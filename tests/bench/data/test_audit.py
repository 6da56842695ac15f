"""What a number on an edition can mean: the ceiling, duplicates between parts, incidents, where it comes from."""

import itertools

import numpy as np
import pytest

from bench.data.audit import audit_facts
from bench.data.cards.catalogue import catalogue
from bench.data.facts import edition_facts
from bench.data.reading.prepared import open_prepared
from bench.data.sequences.ceiling import ceiling, flag_all
from bench.data.sequences.grouping import Grouping, group
from bench.data.sequences.loader import DataSpec, Loader
from bench.data.sequences.splits import split

CEILING = "ceiling (best F1 of any function of the event sequence)"


def best_f1(labels, kinds):
    """Every set of kinds tried."""
    found = 0.0
    names = sorted(set(kinds.tolist()))
    for size in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, size):
            flagged = np.isin(kinds, chosen) & (labels >= 0)
            hits = int((flagged & (labels == 1)).sum())
            found = max(found, 2 * hits / (int(flagged.sum()) + int((labels == 1).sum())))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_ceiling_is_the_best_of_all_sets(seed):
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 6, 30)
    labels = rng.choice([-1, 0, 0, 1], 30).astype(np.int8)
    labels[0] = 1
    assert ceiling(labels, kinds) == pytest.approx(best_f1(labels, kinds), abs=1e-12)


def test_ceilings_that_are_known():
    labels = np.array([0, 0, 1, 1], np.int8)
    assert ceiling(labels, np.array([0, 1, 2, 3])) == 1.0
    assert ceiling(labels, np.zeros(4, int)) == flag_all(labels) == pytest.approx(2 / 3)
    assert np.isnan(ceiling(np.zeros(3, np.int8), np.arange(3)))
    assert np.isnan(flag_all(np.zeros(3, np.int8)))


TEXTS = {"a": "walk far out", "b": "swim"}


def windows(*kinds):
    """A log whose windows of 20 equal lines are these, by letter; a capital is abnormal."""
    lines = []
    for i, kind in enumerate(kinds):
        label, text = "BAD" if kind.isupper() else "-", TEXTS[kind.lower()]
        lines += [f"{label} {1000 * i + j} {text}" for j in range(20)]
    return "\n".join(lines).encode() + b"\n"


FORM = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}


@pytest.fixture
def audited(own_system):
    """Ten windows: six train, two validate, of the tested two the abnormal one equals a trained normal one."""
    found = own_system({"a.log": windows(*"aabbAAabaB")}, format=FORM)
    return audit_facts(found.resolve("app"), found)


def test_duplicates_between_training_and_test(audited):
    assert audited["split"] == "chronological"
    assert audited["test sequences that equal a normal one of training"] == "2 of 2 (100.0%)"
    assert audited["abnormal test sequences that equal a normal one of training"] == "1 of 1 (100.0%)"
    assert audited["incidents"] == "none declared; 2 runs of neighbouring abnormal windows"
    assert audited["distinct sequences with both labels"] == 2
    assert audited["F1 of flagging every sequence"] == "0.4615"
    # Flag kind a: 2 of 6 abnormal, 3 in all; flag both: 3 of 10.
    assert audited[CEILING] == "0.4615"
    assert audited["alert types"] == {"BAD": 60}


def test_info_and_audit_agree(own_system):
    found = own_system({"a.log": windows(*"aabbAAabaB")}, format=FORM)
    card = found.resolve("app")
    info, audit = edition_facts(card, found), audit_facts(card, found)
    shared = [name for name in info if name in audit and name != "files"]
    assert len(shared) > 12
    assert [audit[name] for name in shared] == [info[name] for name in shared]
    assert info["origin"] == ["app/a.log: not stated"]


def test_declared_incidents_are_counted(own_system):
    form = FORM | {"label": "incidents"}
    lines = "".join(f"{i} event\n" for i in range(100)).encode()
    ranges = [{"start": 30, "end": 35}, {"start": 5000, "end": 6000}]
    found = own_system({"a.log": lines}, format=form, incidents=ranges)
    assert audit_facts(found.resolve("app"), found)["incidents"] == "2 declared, 1 with lines"


def test_without_files_the_card_is_told():
    known = catalogue()
    facts = audit_facts(known.find("bgl@stream-a"), known)
    stream = facts["files"][0]
    assert "https://github.com/vanhoanglepsa/logdeep @ 53068dc8" in stream["origin"]
    assert "licence: MIT" in stream["origin"]
    assert "backtrack on a dead end" in stream["recipe"]
    assert stream["steps"] == []
    assert "nothing was counted" in facts["counts"]
    spirit = audit_facts(known.find("spirit@lines-a"), known)["files"][0]
    assert "licence: none stated" in spirit["origin"]
    assert spirit["steps"] == ["unpack 'gz'", "columns t, Timestamp, Content", "rows 250000", "gzip 'spirit2_a.log'"]


def test_a_cut_in_each_file(own_system):
    """Two logs of one time, side by side: each has its own part in training, validation and test."""
    kinds = windows(*"ababaBabaB")
    files = {"a.log": kinds, "b.log": kinds}
    found = own_system(files, format=FORM, cut="file")
    log = open_prepared(found.resolve("app"), found)
    groups = group(log, Grouping())
    parts = split(groups, len(log), "chronological", seed=0, file_starts=log.file_starts)
    assert parts.train.tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]
    assert parts.validation.tolist() == [6, 7, 16, 17]
    assert parts.test.tolist() == [8, 9, 18, 19]
    assert parts.parser_lines.tolist() == [*range(120), *range(200, 320)]
    assert parts.facts["cut_lines"] == [[120, 160], [320, 360]]
    prepared = Loader(found).prepare(DataSpec((found.resolve("app"),), (found.resolve("app"),)))
    assert sorted(prepared.test.sequences.lines.tolist()) == [*range(160, 200), *range(360, 400)]
    whole = split(groups, len(log), "chronological", seed=0)
    assert whole.train.tolist() == list(range(12))
    assert whole.facts["cut_lines"] == [240, 320]
    assert audit_facts(found.resolve("app"), found)["abnormal test sequences that equal a normal one of training"] == (
        "2 of 2 (100.0%)"
    )


@pytest.mark.parametrize(("name", "bound"), [("openstack_ids", "0.1829"), ("hadoop_ids", "0.9211")])
def test_bounds_of_the_known_bad(real_data, name, bound):
    found = catalogue(real_data)
    facts = edition_facts(found.resolve(name), found)
    assert facts[CEILING] == bound
