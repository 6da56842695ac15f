"""`bench compare` from a real run to the printed verdicts, and `bench table --check` on what it keeps."""

import json

import pytest

RUN = ("run", "--methods", "random", "--scenario", "hdfs@simulated", "--seeds", "2", "--out", "results")


@pytest.fixture
def ran(call):
    assert call(*RUN)[0] == 0
    return call


def test_compare_prints_keeps_prints_again_and_is_checked(ran, tmp_path):
    code, out, err = ran("compare", "ecvc", "--against", "controls")
    assert code == 0
    assert "written: results/comparisons/hdfs@simulated--chronological--ecvc.json" in err
    rows = [line.split() for line in out.splitlines() if line.startswith(("all-positive", "random"))]
    assert [row[:2] for row in rows] == [
        [name, m] for name in ("all-positive", "random") for m in ("AP", "AUROC", "F1")
    ]
    assert rows[0][-1] == "better"
    assert "18 differences, 95 % each: " in out.splitlines()[-1]

    for path in (tmp_path / "results" / "scores").iterdir():
        path.unlink()
    code, out_ap, _ = ran("compare", "ecvc", "--stored", "--metric", "ap")
    assert code == 0
    assert "AUROC" not in out_ap
    assert set(out_ap.splitlines()) & set(out.splitlines()) >= {out.splitlines()[0]}
    assert ran("table", "--check")[0] == 0

    code, out, err = ran("compare", "ecvc")
    assert (code, out) == (2, "")
    assert err.startswith("error: the scores of ")
    assert "--stored" in err

    kept = tmp_path / "results" / "comparisons" / "hdfs@simulated--chronological--ecvc.json"
    content = json.loads(kept.read_text())
    first = next(iter(content["runs"]))
    content["runs"][first]["ap"] += 0.1
    kept.write_text(json.dumps(content))
    code, out, _ = ran("table", "--check")
    assert code == 1
    assert "ecvc.json differs from the records" in out


def test_json_is_for_programs(ran):
    code, out, _ = ran("compare", "random", "--against", "clock,length", "--metric", "auroc", "--json")
    assert code == 0
    found = json.loads(out)
    (comparison,) = found["comparisons"]
    assert [(row["method"], list(row["metrics"])) for row in comparison["rows"]] == [
        ("clock", ["auroc"]),
        ("length", ["auroc"]),
    ]
    assert found["totals"]["differences"] == 2


def test_best_control_is_found_among_what_is_kept(call):
    assert call("run", "--methods", "ngram", "--scenario", "hdfs@simulated", "--seeds", "1", "--out", "results")[0] == 0
    code, out, err = call("compare", "best-control")
    assert code == 0, err
    name = out.partition(" ")[0]
    assert f"--{name}.json" in err
    code, again, _ = call("compare", "best-control", "--stored")
    assert (code, again) == (0, out)
    code, turned, _ = call("compare", "ngram", "--stored")
    assert code == 0
    assert turned.startswith("ngram on hdfs@simulated")
    assert [line.split()[0] for line in turned.splitlines() if "[" in line][1:] == [name] * 3
    code, _, err = call("compare", "best-control", "--stored", "--against", "controls")
    assert (code, "leaves no row: write all or names" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "no table has a row 'nobody'"),
        (["random", "--against", "nobody"], "'nobody' stands in no table of random"),
        (["random", "--metric", "mcc"], "'mcc' is not compared"),
        (["random", "--scenario", "bgl"], "no record in results is of the scenario 'bgl': choose one of hdfs"),
        (["random", "--split", "paper"], "no record in results fits"),
        (["random", "--stored"], "leave --stored out"),
    ],
)
def test_bad_input_is_one_sentence(ran, arguments, words):
    code, out, err = ran("compare", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert len(err.splitlines()) == 1
