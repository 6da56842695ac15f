"""A run, the same data exported, and the scores of the run as a program elsewhere would write them."""

import csv

import pytest

import bench
from bench.data.cards.catalogue import catalogue
from bench.exchange.export import export

SCENARIO = "bgl@simulated"


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """Results of a run with one seed; its store is not to be written to."""
    return bench.run("ngram", SCENARIO, seeds=1, out=tmp_path_factory.mktemp("ran"), progress=False)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Folder of an export, and its manifest."""
    folder = tmp_path_factory.mktemp("exported") / "export"
    return folder, export(SCENARIO, folder, catalogue())


@pytest.fixture
def write_scores(tmp_path, exported, ran):
    """Write the scores that the run gave; change: takes the rows (id, score) and returns others."""
    _, manifest = exported
    (record,) = [r for r in ran.records if r["method"] == "ngram"]
    scores = ran._store.read_scores(record["run_id"])

    def write(change=lambda rows: rows, name="scores.csv"):
        rows = [
            [f"{manifest['export']}.{part}.{number}", repr(float(score))]
            for part in ("validation", "test")
            for number, score in enumerate(scores[part])
        ]
        with (tmp_path / name).open("w", newline="") as stream:
            csv.writer(stream).writerows(change(rows))
        return tmp_path / name

    return write
