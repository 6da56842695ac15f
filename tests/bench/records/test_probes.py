"""Records of probes on disk."""

import pytest

from bench.errors import BenchError
from bench.records.probes import every_probe, read_probe, take_probes, write_probe


def test_probes_of_another_folder_are_taken_and_those_that_are_here_stay(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    write_probe(here, {"probe_id": "a1", "seconds": 1})
    write_probe(there, {"probe_id": "a1", "seconds": 2})
    write_probe(there, {"probe_id": "b2", "seconds": 3})
    assert take_probes(here, there) == 1
    assert [record["seconds"] for record in every_probe(here)] == [1, 3]
    assert take_probes(here, there) == 0
    assert take_probes(here, tmp_path / "nowhere") == 0


def test_a_damaged_probe_is_told_with_its_path(tmp_path):
    path, record = write_probe(tmp_path, {"probe_id": "a1"})
    assert (read_probe(tmp_path, "a1"), read_probe(tmp_path, "b2")) == (record, None)
    path.write_text("{")
    for read in (lambda: read_probe(tmp_path, "a1"), lambda: list(every_probe(tmp_path))):
        with pytest.raises(BenchError, match=r"a1\.json is damaged"):
            read()
