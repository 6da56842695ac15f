"""`--split given`: pre-split files through the command line, with numbers found by hand."""

import json

import numpy as np
import pytest

from bench.records.store import Store


@pytest.mark.slow
def test_a_run_has_an_oracle_but_no_estimated_threshold(own_system, call, tmp_path):
    """The frequencies of `1 2` and `1 2 3` differ by 2/3 in all; the closed form of the distance is 2d / (2 + d)."""
    files = {
        ("t", "train"): b"1 2 3\n1 2 3\n",
        ("n", "test-normal"): b"1 2 3\n3 2 1\n",
        ("a", "test-abnormal"): b"1 2\n7 7\n",
    }
    own_system(files, kind="id-splits")
    arguments = ("--methods", "ecvc", "--scenario", "app", "--split", "given", "--seeds", 1, "--json")
    code, out, err = call("run", *arguments, "--data", tmp_path / "data", "--out", tmp_path / "results")
    assert code == 0, err
    run_id = next(row["run_ids"][0] for row in json.loads(out) if row["method"] == "ecvc")
    record = Store(tmp_path / "results").read(run_id)
    assert record["spec"]["split"] == "given"
    assert record["metrics"]["all"]["rules"]["oracle"]["f1"] == 1
    assert record["thresholds"]["conformal:0.01"]["value"] is None
    scores = np.load(next((tmp_path / "results" / "scores").glob(f"{record['run_id']}*")))
    distance = 2 * (2 / 3) / (2 + 2 / 3)
    assert scores["test"] == pytest.approx([0, 0, distance, 1])
