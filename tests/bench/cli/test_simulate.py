"""`bench data simulate`: an edition of any length, with its truth and card, whole or not at all."""

import json
import resource
import shutil
import tomllib
from pathlib import Path

import polars as pl
import pytest

from bench.data.simulation.grammar import KINDS

DATASETS = Path(__file__).parents[3] / "datasets"


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def complaint(call):
    def make(*arguments):
        code, out, err = call("data", "simulate", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        return err

    return make


def made(call, *arguments):
    code, out, err = call("data", "simulate", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("name", ["bgl", "hdfs", "tbird"])
def test_the_edition_is_what_its_card_says(name, call, data):
    facts = made(call, name, "--lines", 3000, "--seed", 1, "--data", data)
    assert facts["edition"] == f"{name}@sim-3000-s1"
    files = sorted(path.name for path in (data / name).iterdir())
    labels = ["sim-3000-s1_labels.csv"] if name == "hdfs" else []
    assert files == sorted(["sim-3000-s1.log", *labels, "sim-3000-s1.toml", "sim-3000-s1.truth.parquet"])
    shutil.copy(DATASETS / name / "_system.toml", data / name)
    assert call("data", "verify", f"{name}@sim-3000-s1", "--data", data)[:2] == (0, f"{name}@sim-3000-s1: ok\n")
    card = tomllib.loads((data / facts["card"]).read_text("utf-8"))
    assert (card["kind"], card["tier"], card["counts"]["lines"]) == ("lines", "development", facts["lines"])
    assert call("data", "info", name, "--data", data, "--json")[1].startswith(f'{{\n "edition": "{name}@')
    assert f'"{name}@sim-' not in call("data", "info", name, "--data", data, "--json")[1]


def test_the_truth_has_a_row_for_each_line(call, data):
    facts = made(call, "bgl", "--lines", 3000, "--data", data)
    truth = pl.read_parquet(data / facts["truth"])
    labels = [line.split()[0] for line in (data / "bgl" / "sim-3000-s0.log").read_text().splitlines()]
    assert truth["line"].to_list() == list(range(facts["lines"]))
    assert [kind == "normal" for kind in truth["kind"]] == [label == "-" for label in labels]
    counts = {kind: (truth["kind"] == kind).sum() for kind in KINDS}
    assert facts["abnormal lines"] == counts


def test_the_truth_names_the_session_by_its_row_of_the_label_file(call, data):
    facts = made(call, "hdfs", "--lines", 3000, "--data", data)
    truth = pl.read_parquet(data / facts["truth"])
    rows = (data / "hdfs" / "sim-3000-s0_labels.csv").read_text().splitlines()[1:]
    lines = (data / "hdfs" / "sim-3000-s0.log").read_text().splitlines()
    assert facts["sessions"] == len(rows)
    for line, session, kind in zip(lines, truth["session"], truth["kind"], strict=True):
        block, label = rows[session].split(",")
        assert block in line
        assert label == ("Normal" if kind == "normal" else "Anomaly")


def test_kinds_can_be_chosen_and_left_out(call, data):
    only = made(call, "bgl", "--lines", 4000, "--kinds", "slow, wrong-order", "--data", data)
    assert sorted(only["abnormal lines"]) == ["slow", "wrong-order"]
    rest = made(call, "bgl", "--lines", 4000, "--without", "slow", "--edition", "rest", "--data", data)
    assert set(rest["abnormal lines"]) == set(KINDS) - {"slow"}
    none = made(call, "bgl", "--lines", 4000, "--kinds", "", "--edition", "none", "--data", data)
    assert none["abnormal lines"] == {}
    assert set(pl.read_parquet(data / none["truth"])["kind"]) == {"normal"}


def test_people_read_what_was_made(call, data):
    code, out, _ = call("data", "simulate", "thunderbird", "--lines", 2000, "--data", data)
    assert code == 0
    assert out.startswith(f"tbird@sim-2000-s0 is in {data}\n")
    assert " a second\n" in out
    assert all(kind in out for kind in KINDS)


def test_an_edition_is_replaced_only_with_force(call, complaint, data):
    arguments = ("bgl", "--lines", 1000, "--edition", "mine", "--data", data)
    first = made(call, *arguments)
    assert "exists: give --force to replace it" in complaint(*arguments, "--seed", 4)
    assert made(call, *arguments, "--seed", 4, "--force")["files"] != first["files"]


def test_a_full_disk_leaves_nothing(call, complaint, data):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        err = complaint("bgl", "--lines", 5000, "--data", data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written" in err
    assert "nothing was kept; make room" in err
    assert list((data / "bgl").iterdir()) == []


def test_bad_input_has_one_sentence(complaint, data):
    assert "needs a data folder to be written to: set BENCH_DATA or give --data DIR" in complaint("bgl")
    with_data = ("--data", data)
    assert "unknown data set 'bgi': did you mean bgl?" in complaint("bgi", *with_data)
    assert "'spirit' has no grammar to simulate it: choose one of bgl, hdfs, tbird" in complaint("spirit", *with_data)
    assert "'fast' is no kind of anomaly" in complaint("bgl", "--kinds", "fast", *with_data)
    assert "exclude each other" in complaint("bgl", "--kinds", "slow", "--without", "slow", *with_data)
    assert "'My log' is no name of an edition" in complaint("bgl", "--edition", "My log", *with_data)
    assert "'bgl@full' is a shipped edition" in complaint("bgl", "--edition", "full", *with_data)


def test_the_data_folder_is_made_and_a_refused_command_leaves_none(call, complaint, tmp_path):
    fresh = tmp_path / "fresh"
    assert "unknown data set 'bgi'" in complaint("bgi", "--data", fresh)
    assert not fresh.exists()
    made(call, "bgl", "--lines", 100, "--data", fresh)
    assert (fresh / "bgl").is_dir()
    assert "cannot be made" in complaint("bgl", "--data", tmp_path / "no" / "such")
