"""The workflows of docs/ci, as far as a shell can run them: their own commands, in order, with their own variables."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
INSTALL = "pip install mlad-bench"
PAGE = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
(METHOD,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class MyDetector" in block]


def of_github():
    """Variables, commands, and commands after a failure."""
    (job,) = yaml.safe_load((ROOT / "docs" / "ci" / "github.yml").read_text())["jobs"].values()
    steps = [step for step in job["steps"] if "run" in step]
    return (
        job["env"],
        [step["run"] for step in steps if "if" not in step],
        [step["run"] for step in steps if step.get("if") == "failure()"],
    )


def of_gitlab():
    (job,) = yaml.safe_load((ROOT / "docs" / "ci" / "gitlab.yml").read_text()).values()
    return job["variables"], [*job["before_script"], *job["script"]], job["after_script"]


WORKFLOWS = {"github": of_github, "gitlab": of_gitlab}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_installs_and_then_runs_bench_alone(name):
    variables, commands, after = WORKFLOWS[name]()
    assert commands[0] == INSTALL
    assert all(command.startswith("bench ") for command in [*commands[1:], *after])
    text = (ROOT / "docs" / "ci" / f"{name}.yml").read_text()
    assert all(isinstance(value, str) for value in variables.values())
    assert text.count("bench-gate.xml") >= 2


def test_the_github_workflow_is_one():
    found = yaml.safe_load((ROOT / "docs" / "ci" / "github.yml").read_text())
    # YAML 1.1, which this parser reads, takes `on` for true; GitHub does not.
    assert found[True] == ["push", "pull_request"]
    assert found["permissions"] == {"contents": "read"}
    assert all(("run" in step) != ("uses" in step) for step in found["jobs"]["gate"]["steps"])


class Place:
    """A repository with a method, in a machine of its own."""

    def __init__(self, folder, variables):
        self.folder = folder
        self.summary = folder / "summary.md"
        (folder / "mine.py").write_text(METHOD)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "BENCH_DATA"},
            **variables,
            "SEEDS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }

    def shell(self, command):
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def run(self, commands):
        """As a CI does: up to the first that fails."""
        done = None
        for command in commands:
            done = self.shell(command)
            if done.returncode:
                break
        return done


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_passes_as_committed_and_fails_after_a_loss(name, tmp_path):
    variables, (install, *commands), after = WORKFLOWS[name]()
    assert install == INSTALL
    place = Place(tmp_path, variables)
    page = (ROOT / "docs" / "ci" / "README.md").read_text()
    first = [line.strip() for line in page.splitlines() if line.startswith("    bench ")]
    assert [line.split()[1] for line in first] == ["run", "gate"]
    for command in first:
        done = place.shell(command.replace("--seeds 3", "--seeds 1"))
        assert done.returncode == 0, done.stderr
    done = place.run(commands)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "values hold" in done.stdout
    assert ElementTree.parse(tmp_path / "bench-gate.xml").getroot().attrib["failures"] == "0"
    # What comes with the next push: a method that says nothing, and a machine that starts empty.
    spoilt = "\n\nMyDetector.score = lambda self, sequences: np.zeros(len(sequences))\n"
    (tmp_path / "mine.py").write_text(METHOD + spoilt)
    for folder in ("bench-results", "results"):
        shutil.rmtree(tmp_path / folder)
    kit, *others = commands
    assert kit.startswith("bench check ")  # that stops such a method by itself
    done = place.run(others)
    assert done.returncode == 1, done.stderr + done.stdout
    assert int(ElementTree.parse(tmp_path / "bench-gate.xml").getroot().attrib["failures"]) > 0
    if name == "github":
        assert "::error title=mine.py%3AMyDetector is worse::" in done.stderr
        assert "### Failed: gate: " in place.summary.read_text()
    for command in after:
        assert "mine.py:MyDetector" in place.shell(command).stdout
