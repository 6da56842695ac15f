"""`bench report` as a user types it; how many commands there are."""

import json
import shutil

import pytest
import typer.main

from bench.cli import app


@pytest.mark.slow  # without a cache every method that papers report is looked at
def test_a_run_becomes_a_page(call, tmp_path):
    assert call("run", "--methods", "ngram", "--scenario", "bgl@simulated", "--seeds", "1")[0] == 0
    code, out, err = call("report", "--scenario", "bgl", "--mistakes", "1")
    assert (code, out) == (0, "")
    assert "written: results/report.html" in err
    text = (tmp_path / "results" / "report.html").read_text()
    assert "bgl@simulated, chronological (simulated), protocol 2" in text
    assert "false positive 1" in text or "false negative 1" in text
    shutil.rmtree(tmp_path / "results" / "scores")
    assert call("report", "--to", "page.html")[0] == 0
    assert "not in this folder" in (tmp_path / "page.html").read_text()
    (tmp_path / "pages").mkdir()
    code, out, err = call("report", "--to", "pages", "--methods", "ngram", "--json")
    told = json.loads(out)
    assert (code, told["file"], told["tables"]) == (0, "pages/report.html", 1)
    assert told["bytes"] == (tmp_path / "pages" / "report.html").stat().st_size
    assert told["runs"] >= 8
    assert "The scores of" in told["notes"][0]
    code, out, err = call("report", "--methods", "ngrm")
    assert (code, out) == (2, "")
    assert "did you mean ngram" in err


def test_mistakes_are_one_sentence(call, tmp_path):
    (tmp_path / "results" / "inbox").mkdir(parents=True)
    for arguments, message in (
        ((), "no record in"),
        (("--out", "nowhere"), "is no results folder"),
        (("--mistakes", "-1"), "--mistakes is -1: give a whole number from 0"),
        (("--threshold", "conform"), "threshold rule 'conform' is not known"),
        (("--scenario", "nothing"), "no record in"),
    ):
        code, out, err = call("report", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert message in err
    assert not list(tmp_path.rglob("report.html"))


def test_the_surface_is_seventeen_commands():
    assert len(typer.main.get_command(app).commands) == 17
