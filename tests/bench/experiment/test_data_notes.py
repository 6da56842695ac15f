"""What records say of the pool, counted by hand, and of labels that bound a score; how tables print it."""

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import DataSpec, Loader
from bench.experiment.data_notes import data_notes, in_pool
from bench.experiment.scenario import parse_scenario
from bench.reporting.tables.headroom import bound_lines, pool_lines
from bench.reporting.tables.table import make_tables


@pytest.fixture(scope="module")
def prepared():
    known = catalogue(None)
    scenario = parse_scenario("bgl@simulated2hdfs@simulated", known)
    return Loader(known).prepare(DataSpec(scenario.train, scenario.test, "transfer"))


def contents(prepared, part):
    """The texts of each sequence, in order; texts of unknown messages are the messages."""
    found = prepared.vocabulary.assemble(list(prepared.targets), part).sequences
    bounds = zip(found.offsets[:-1].tolist(), found.offsets[1:].tolist(), strict=True)
    return [tuple(found.texts[i] for i in found.text_ids[a:b].tolist()) for a, b in bounds]


def test_test_sequences_that_equal_one_of_the_pool(prepared):
    pool = set(contents(prepared, "train")) | set(contents(prepared, "validation"))
    expected = sum(content in pool for content in contents(prepared, "test"))
    assert in_pool(prepared) == expected
    assert 0 < expected < len(prepared.test.labels)


def test_the_systems_own_records_say_nothing_more(prepared):
    assert data_notes(prepared) == {"n_test_in_pool": in_pool(prepared)}


@pytest.mark.parametrize("name", ["openstack", "openstack_ids"])
def test_loghub_s_openstack_has_its_bound_and_the_other_has_none(name):
    bound = catalogue(None).editions(name)[0].bound
    assert ".0046" in bound
    assert ".183" in bound
    assert not catalogue(None).editions("openstack_kalaki")[0].bound


def record(**counts):
    spec = {"train": [{"edition": "a@x"}], "test": [{"edition": "b@x"}], "split": "transfer", "seed": 0}
    spec |= {"protocol_version": 2, "detector": {"name": "m", "config": {}}}
    detector = {"told": {"source": "labels"}, "is_control": False, "config": {}}
    return {"method": "m", "scenario": "a2b", "status": "ok", "spec": spec, "detector": detector, "counts": counts}


def lines(**counts):
    (table,) = make_tables([record(**counts)])
    return [*pool_lines(table), *bound_lines(table)]


def test_a_table_says_both():
    assert lines() == []
    pool, source = lines(n_test=4000, n_test_in_pool=1204, bounds={"a@x": "none\nexceeds .5"})
    assert pool.startswith("- 1,204 of 4,000 test sequences also lie in the pool")
    assert source == "- labels of a@x (trained on): none exceeds .5"
    assert lines(bounds={"b@x": "none"}) == ["- labels of b@x (tested here): none"]
    assert np.all([line.startswith("- ") for line in (pool, source)])
