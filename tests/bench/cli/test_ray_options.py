"""What is said of a cluster on the command line: what does not go together is one sentence, before anything runs."""

import subprocess
import sys

import pytest

RUN = ("run", "--methods", "pca", "--scenario", "hdfs@simulated", "--seeds", "1")


@pytest.mark.parametrize(
    "options, said",
    [
        ("--address auto", "--address is auto, which only a cluster knows: add --executor ray, or leave it out"),
        (
            "--gpus-per-cell 1",
            "--gpus-per-cell is 1.0, which only a cluster knows: add --executor ray, or leave it out",
        ),
        ("--executor slurm", "unknown executor 'slurm': choose one of local, ray"),
        ("--executor ray --gpus-per-cell 1.5", "--gpus-per-cell is 1.5: give a share below 1, or a whole number"),
        ("--executor ray --device cuda:1", "--device is cuda:1, and the cluster chooses which GPU: write cuda"),
        (
            "--executor ray --device cuda --gpus-per-cell 0",
            "--gpus-per-cell is 0 with --device cuda: give a share such as 0.25, or leave it out",
        ),
        (
            "--executor ray --address here",
            "--address is 'here', which is no address of a Ray cluster: write host:port, or auto",
        ),
        (
            "--executor ray --address 127.0.0.1:1",
            "no Ray cluster answers at '127.0.0.1:1' (Connection refused): start one by `ray start --head`, give "
            "--address host:port, or leave --address out",
        ),
    ],
)
def test_what_does_not_go_together_is_one_sentence(call, options, said):
    code, out, err = call(*RUN, *options.split())
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"error: {said}"


@pytest.mark.slow
def test_a_plan_needs_no_cluster(call):
    code, out, _ = call(*RUN, "--executor", "ray", "--plan")
    assert code == 0
    assert out.splitlines()[-1] == "nothing was run"


@pytest.mark.slow
def test_a_cluster_of_the_command_ends_with_it_and_leaves_nothing(tmp_path):
    """The home folder is another one: there Ray would keep a token."""
    environment = {
        "HOME": str(tmp_path), "BENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin",
        "RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION": "0.01",
    }  # fmt: skip
    code = """
import sys, psutil, subprocess
from pathlib import Path
from bench.cli import main
known = set(Path("/tmp").glob("ray*"))
try:
    main()
except SystemExit as stopped:
    assert not stopped.code, stopped.code
left = [process.cmdline() for process in psutil.Process().children(recursive=True)]
assert not [line for line in left if "site-packages/ray/" in " ".join(line)], left
assert not set(Path("/tmp").glob("ray*")) - known
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *RUN, "--executor", "ray", "--jobs", "1"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "### hdfs@simulated, chronological (simulated)" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "results"]
