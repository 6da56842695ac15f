"""`make gpu-check` covers every network and prints one JSON; what needs no GPU of it is shown on the CPU."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from bench.data import embedding
from tests.networks import NETWORKS

_SPEC = importlib.util.spec_from_file_location("gpu_check", Path(__file__).parent / "benchmarks" / "gpu_check.py")
gpu_check = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gpu_check)


@pytest.fixture
def check(tmp_path, capsys, monkeypatch):
    """Run the check on this machine's processor; returns its exit code and its JSON."""
    gpu_check.networks()
    for module in list(sys.modules.values()):
        if vars(module).get("embed") is embedding.embed:
            monkeypatch.setattr(module, "embed", embedding.embed)  # so that it is put back afterwards

    def run(*arguments):
        small = ("--device", "cpu", "--windows", "60", "--steps", "2", "--suite", "none")
        code = gpu_check.main([*small, "--file", str(tmp_path / "found.json"), *arguments])
        printed = capsys.readouterr().out
        assert (tmp_path / "found.json").read_text() == printed
        return code, json.loads(printed)

    return run


def test_every_network_is_covered():
    assert set(gpu_check.networks()) == NETWORKS


@pytest.mark.trains
def test_parity_and_speed_of_a_network(check):
    code, report = check("--networks", "dagmm")
    found = report["networks"]["dagmm"]
    assert code == 0
    assert found["parity_with_cpu"]["float32"]["largest_difference_in_standard_deviations"] == 0
    assert found["parity_with_cpu"]["bf16"]["correlation"] > 0.9
    assert set(found["steps_per_second"]["cpu"]) == {"float32", "bf16"}
    assert report["environment"]


@pytest.mark.trains
@pytest.mark.slow
def test_parity_of_every_network(check):
    code, report = check()
    assert code == 0
    assert set(report["networks"]) == NETWORKS
    assert not [name for name, found in report["networks"].items() if "error" in found]


def test_a_network_that_fails_hides_no_other(check, monkeypatch):
    def broken(cls, n):
        raise RuntimeError("no such device")

    monkeypatch.setattr(gpu_check, "told_to", broken)
    code, report = check("--networks", "mlad", "cat")
    assert code == 1
    assert report["networks"]["mlad"] == {"error": "RuntimeError: no such device"}
    assert list(report["networks"]) == ["mlad", "cat"]
