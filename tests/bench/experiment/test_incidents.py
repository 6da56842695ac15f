"""Incidents of a test part: declared ones by time, else runs of neighbouring abnormal sequences."""

from types import SimpleNamespace

import numpy as np

from bench.experiment import incidents as known
from bench.types import Sequences


def sequences(n, **fields):
    return Sequences.from_lists([[0]] * n, ["a"], **fields)


def system(index=0, incidents=()):
    return SimpleNamespace(index=index, card=SimpleNamespace(incidents=incidents))


def found(labels, systems=None, **fields):
    labels = np.array(labels, np.int8)
    return known.tested_incidents(sequences(len(labels), **fields), labels, systems or [system()]).tolist()


def test_neighbouring_abnormal_sequences_are_one_incident():
    assert found([1, 1, 0, 1, 0, 0, 1, 1]) == [0, 0, -1, 1, -1, -1, 2, 2]
    assert found([0, 0]) == [-1, -1]


def test_neighbours_are_those_in_time():
    assert found([1, 0, 1], lines=np.array([5, 9, 1])) == [0, -1, 0]


def test_incidents_end_where_a_log_ends():
    of = np.array([0, 0, 1, 1], np.uint8)
    first, second, third, _ = found([1, 1, 1, 0], (system(), system(1)), system=of)
    assert first == second != third


def test_a_declared_incident_is_one_however_its_sequences_stand():
    at = np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    both = ((5.0, 30.0), (35.0, 45.0))
    assert found([1, 0, 1, 1, 1], (system(incidents=both),), start_time=at)[:4] == [0, -1, 0, 1]
    last = found([1, 0, 1, 1, 1], (system(incidents=both),), start_time=at)[4]
    assert last not in (0, 1)
