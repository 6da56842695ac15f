"""docs/scaling.md says what its script computes from the measurements, and the arithmetic finds what was planted."""

import json
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
import scaling  # noqa: E402
from scaling_model import Cells, Model, Network, wall_h  # noqa: E402

MEASURED = json.loads(scaling.MEASURED.read_text(encoding="utf-8"))
PAGE = scaling.PAGE.read_text(encoding="utf-8")


def run_at(lines, steps, network, other):
    """What bench_moonshot.py writes, of one network and one other method."""
    million = lines / 1e6
    fit = network.start + steps * network.step + network.once * million
    methods = {
        "net": {"fit_s": fit, "score_s": network.score * million, "peak_mib": 500 + 100 * million},
        "other": {"fit_s": 0.0, "score_s": other * million**1.5, "peak_mib": 200},
    }
    spent = sum(found["fit_s"] + found["score_s"] for found in methods.values())
    return {
        "lines": lines, "steps": steps, "cells": 2,
        "cpu_s": spent + 2 * (0.5 + 0.2 * million) + million,
        "driver_mib": 100 + 50 * million, "prepare_s": million, "methods": methods,
    }  # fmt: skip


@pytest.fixture
def planted():
    network = Network(start=2.0, step=0.5, once=4.0, score=6.0)
    sizes = [(100_000, 10), (100_000, 60), (1_000_000, 10), (5_000_000, 10)]
    runs = [run_at(lines, steps, network, 3.0) for lines, steps in sizes]
    return Model(MEASURED | {"runs": runs, "networks": ["net"], "steps": 300}), network


def test_the_page_is_what_the_script_writes():
    assert scaling.page(MEASURED) == PAGE


@pytest.mark.parametrize("number", ["CPU  ", "| BGL | 4,747,963 | "])
def test_another_number_in_the_page_is_found(number, tmp_path, monkeypatch):
    start = PAGE.index(number) + len(number)
    place = next(i for i in range(start, len(PAGE)) if PAGE[i].isdigit())
    changed = tmp_path / "scaling.md"
    changed.write_text(PAGE[:place] + str((int(PAGE[place]) + 1) % 10) + PAGE[place + 1 :], encoding="utf-8")
    monkeypatch.setattr(scaling, "PAGE", changed)
    monkeypatch.setattr("sys.argv", ["scaling.py", "--check"])
    assert scaling.main() == 1


def test_the_commands_of_the_page_print_what_stands_below_them(monkeypatch, capsys):
    blocks = [block for block in PAGE.split("```\n") if block.startswith("$ python")]
    assert len(blocks) == 2
    for block in blocks:
        command, _, output = block.partition("\n")
        monkeypatch.setattr("sys.argv", shlex.split(command.removeprefix("$ python ")))
        assert scaling.main() == 0
        assert capsys.readouterr().out == output


def test_what_training_costs_and_what_grows_are_told_apart(planted):
    model, network = planted
    assert model.networks["net"] == pytest.approx(network)
    assert model.others["other"].power == pytest.approx(1.5)
    assert model.seconds("net", 200.0) == pytest.approx(2 + 300 * 0.5 + 10 * 200)
    assert model.seconds("other", 20.0) == pytest.approx(3 * 20**1.5)


def test_a_short_training_is_predicted_as_it_was_measured(planted):
    model, _ = planted
    assert model.foretold("net") == pytest.approx(model.measured_at_large("net"))


def test_memory_and_the_engine_grow_in_a_line(planted):
    model, _ = planted
    assert model.peak_gib("net", 50.0) == pytest.approx((500 + 100 * 50) / 1024)
    assert model.driver_gib(50.0) == pytest.approx((100 + 50 * 50) / 1024)
    assert model.engine(50.0) == pytest.approx(0.5 + 0.2 * 50)


def test_methods_that_draw_nothing_are_fitted_once_and_skipped_ones_not_at_all():
    times = Model(MEASURED).cells(1.0, seeds=5).times
    assert (times["deeplog"], times["logrobust"], times["pca"], times["logistic-regression"]) == (10, 5, 6, 1)


def test_no_machine_is_quicker_than_the_longest_cell():
    cells = Cells({"long": 3600.0, "short": 36.0}, {"long": 2, "short": 100})
    assert wall_h(cells, 320, 1.0) == pytest.approx(1.0)
    assert wall_h(cells, 1, 0.5) == pytest.approx(6.0)
