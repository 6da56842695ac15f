"""What is exported is what a method would be given, and no label more."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest

import bench
from bench.data.cards.catalogue import catalogue
from bench.errors import BenchError
from bench.exchange.export import export
from bench.exchange.outsider import parse_told
from bench.types import ABNORMAL, NORMAL

PARTS = ("train", "validation", "test")


def lines_of(folder, part):
    return [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]


def told(folder, scenario="bgl@simulated", text="source=normals", **options):
    manifest = export(scenario, folder, catalogue(), told=parse_told(text), **options)
    return manifest, pl.read_parquet(folder / "train.parquet")


def test_every_sequence_is_there_as_methods_see_it(exported):
    folder, manifest = exported
    parts = bench.load_sequences("bgl@simulated")
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        found, log = lines_of(folder, name), part.sequences
        assert len(found) == len(log) == manifest["parts"][name]["sequences"]
        assert np.array_equal([key for row in found for key in row["keys"]], log.log_keys)
        assert [text for row in found for text in row["texts"]] == [log.texts[i] for i in log.text_ids]
        assert np.array_equal([line for row in found for line in row["lines"]], log.lines)
        assert np.array_equal([row["start"] for row in found], log.start_time)
        assert np.array_equal([second for row in found for second in row["elapsed"]], log.elapsed_s)
        assert [row["session"] for row in found] == list(log.ids)
        assert [row["id"] for row in found] == [f"{manifest['export']}.{name}.{i}" for i in range(len(log))]
        assert {row["system"] for row in found} == {"bgl@simulated"}


def test_both_formats_say_the_same_and_have_the_digests_of_the_manifest(exported):
    folder, manifest = exported
    for part in PARTS:
        assert pl.read_parquet(folder / f"{part}.parquet").to_dicts() == lines_of(folder, part)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert manifest["files"] == {name: d for name, d in digests.items() if name != "manifest.json"}
    assert json.loads((folder / "manifest.json").read_text()) == manifest


def test_no_label_is_exported_but_those_that_are_told(exported, tmp_path):
    folder, _ = exported
    truth = bench.load_sequences("bgl@simulated").train.labels
    for part in ("validation", "test"):
        assert "label" not in pl.read_parquet(folder / f"{part}.parquet").columns
    assert set(pl.read_parquet(folder / "train.parquet")["label"]) == {NORMAL}
    assert pl.read_parquet(folder / "train.parquet").height == int((truth == NORMAL).sum())

    _, frame = told(tmp_path / "labels", text="source=labels")
    assert frame["label"].to_list() == truth.tolist()
    _, frame = told(tmp_path / "unlabelled", text="source=unlabelled")
    assert frame["label"].to_list() == [-1] * len(truth)
    _, frame = told(tmp_path / "abnormal", text="source=abnormal")
    assert frame["label"].to_list() == [ABNORMAL] * int((truth == ABNORMAL).sum())
    _, frame = told(tmp_path / "few", text="source=few:0.1")
    known = frame["label"].to_numpy()
    assert (known == ABNORMAL).sum() == np.ceil(0.1 * (truth == ABNORMAL).sum())
    assert ((known == -1) | (known == truth)).all()
    manifest, frame = told(tmp_path / "nothing", text="nothing")
    assert (frame.height, manifest["told"]) == (0, {})
    assert manifest["to_score"] == ["validation", "test"]


def test_no_label_stands_in_the_manifest_or_in_raw_lines(tmp_path):
    manifest, frame = told(tmp_path / "raw", raw=True)
    first = frame["raw"][0][0]
    assert first
    assert not first.startswith("- ")  # the label of this log is the first token of a line
    assert "abnormal" not in json.dumps(manifest)


def test_a_transfer_has_the_targets_validation_and_what_is_told_of_its_pool(tmp_path):
    text = "source=labels,target=first-normals:20"
    manifest, frame = told(tmp_path / "transfer", "bgl@simulated2tbird@simulated", text, split="transfer")
    assert manifest["to_score"] == ["validation", "target-validation", "test"]
    assert manifest["told"] == {"source": "labels", "target": "first-normals:20"}
    target = frame.filter(pl.col("system") == "tbird@simulated")
    assert target["label"].to_list() == [NORMAL] * 20
    assert not (tmp_path / "transfer" / "test.jsonl").read_text().count('"label"')


def test_the_name_of_an_export_says_what_it_is_of(exported, tmp_path):
    _, manifest = exported
    ways = [{}, {"split": "chronological:50,70"}, {"told": {"source": "labels"}}, {"seed": 3}]
    names = [
        export("bgl@simulated", tmp_path / str(number), catalogue(), formats=["jsonl"], **way)["export"]
        for number, way in enumerate(ways)
    ]
    assert names[0] == names[3] == manifest["export"]  # under this split the seed draws nothing
    assert len(set(names)) == 3
    drawn = [
        export("hdfs@simulated", tmp_path / f"h{seed}", catalogue(), split="paper", seed=seed, formats=["jsonl"])
        for seed in (0, 1)
    ]
    assert drawn[0]["export"] != drawn[1]["export"]


def test_sessions_without_times_have_nulls(tmp_path):
    manifest = export("hdfs@simulated", tmp_path / "h", catalogue(), formats=["parquet"])
    frame = pl.read_parquet(tmp_path / "h" / "test.parquet")
    assert frame["session"].n_unique() == manifest["parts"]["test"]["sequences"]
    assert not (tmp_path / "h" / "test.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("labels", "write role=grade, e.g. source=normals"),
        ("source=all", "there is no grade 'all': choose one of normals, unlabelled"),
        ("sauce=normals", "there is no role 'sauce': did you mean source?"),
        ("source=few", "write source=few:0.1"),
        ("source=labels:3", "write source=labels, for so much"),
        ("target=first-normals", "write target=first-normals:200"),
        ("target=normals", "names the target, and bgl@simulated has none: it has source"),
        ("source=few:x", "write source=few:0.1"),
    ],
)
def test_what_cannot_be_told_is_a_sentence(text, sentence, tmp_path):
    with pytest.raises(BenchError, match=sentence):
        told(tmp_path / "export", text=text)
    assert not (tmp_path / "export").exists()


def test_what_no_method_is_told_under_a_split_is_not_exported(tmp_path):
    with pytest.raises(BenchError, match="cannot run on hdfs@simulated, paper: the split 'paper' draws its pools"):
        told(tmp_path / "e", "hdfs@simulated", "source=labels", split="paper")
    with pytest.raises(BenchError, match="--format csv is not known: choose one of parquet, jsonl"):
        told(tmp_path / "e", formats=["csv"])


def test_another_folder_is_not_written_over_and_a_half_export_is_none(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(BenchError, match="holds something else than an export"):
        told(tmp_path / "mine")
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="is no folder"):
        told(tmp_path / "file")
    told(tmp_path / "export")
    monkeypatch.setattr("bench.exchange.export.frame_of", None)
    with pytest.raises(TypeError):
        told(tmp_path / "export")
    assert not (tmp_path / "export" / "manifest.json").exists()
