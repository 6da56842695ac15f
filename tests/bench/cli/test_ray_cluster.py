"""A Ray cluster of two nodes, of which workers, a node and the driver are killed: no record is lost or made twice.

It runs in namespaces of its own, where its ports and processes meet no others and end together; where none can be made
the tests fail, since nothing would have been tested.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

INSIDE = Path(__file__).with_name("inside_ray_cluster.py")
APART = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
N_RUNS = 6 * 9
"""Six seeds of the slow method, pca and seven controls."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of the accidents left."""
    folder = tmp_path_factory.mktemp("cluster")
    made = subprocess.run([*APART, "true"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"no namespace can be made: {made.stderr}"
    done = subprocess.run(
        [*APART, sys.executable, str(INSIDE), str(folder)], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def require_whole(run, found):
    assert run["code"] == 0, run["err"]
    assert len(run["records"]) == N_RUNS
    assert run["records"] == found["local"]["records"]
    assert run["left"] == []


def test_the_undisturbed_run_of_this_machine_is_whole(found):
    require_whole(found["local"], found)
    assert {record[1] for record in found["local"]["records"].values()} == {"ok"}


def test_a_worker_that_is_killed_costs_its_cell_one_more_fit(found):
    run = found["worker_is_lost"]
    require_whole(run, found)
    assert sorted(set(run["fits"])) == list(range(6))
    assert len(run["fits"]) == 7


def test_a_node_that_is_killed_costs_what_ran_there_one_more_fit(found):
    run = found["node_is_lost"]
    require_whole(run, found)
    assert run["were_there"]
    assert sorted(set(run["fits"])) == list(range(6))
    assert len(run["fits"]) == 7


def test_a_driver_that_is_killed_goes_on_where_it_was(found):
    run = found["driver_is_lost"]
    require_whole(run, found)
    assert f"resumed {len(run['kept'])} of {N_RUNS} runs from their records" in run["err"]
    # What was kept is not done again, what only ran is.
    n_running = len(run["began_before"]) - run["slow_kept"]
    assert 0 < n_running <= 2
    assert len(run["fits"]) == 6 + n_running


def test_two_interrupts_end_everything_now(found):
    run = found["interrupted_twice"]
    assert run["waited_after_one"]
    assert run["code"] == 130
    assert "finishing the runs that have begun; Ctrl-C again stops now" in run["err"]
    assert run["err"].splitlines()[-1].endswith("the same command goes on from there")
    assert len(run["fits"]) == 2
