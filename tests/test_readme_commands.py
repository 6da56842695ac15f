"""Each command of the README and of docs has a run in tests/user_commands.py, which CI runs without the test tools."""

import importlib.util
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("user_commands", Path(__file__).with_name("user_commands.py"))
user_commands = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(user_commands)
README = user_commands.text()


def test_every_command_of_the_readme_has_a_run_and_no_run_is_left_over():
    assert user_commands.not_run(README) == ([], [])
    assert len(user_commands.block_commands(README)) > 15
    assert len(user_commands.table_commands(README)) > 15


def test_a_new_command_of_the_table_is_found():
    changed = README.replace(
        "| `bench results show RUN_ID` |", "| `bench conquer` | the world |\n| `bench results show RUN_ID` |"
    )
    assert user_commands.not_run(changed) == (["bench conquer"], [])


def test_a_run_whose_command_went_is_found():
    changed = README.replace("`bench results cite`", "`bench results site`")
    assert user_commands.not_run(changed) == (["bench results site"], ["bench results cite"])


@pytest.mark.parametrize("added", ["bench conquer --scenario bgl", "bench run --methods pca --scenario hdfs"])
def test_a_new_command_of_a_block_runs_as_it_stands(added):
    changed = README.replace("bench compare mlad  ", f"{added}  # new\nbench compare mlad  ")
    assert user_commands.quick(added) in user_commands.runs(changed)


def test_the_pages_of_every_day_and_the_long_ones_are_all_there_are():
    shown = {*user_commands.PAGES, *user_commands.LONG_PAGES}
    assert shown == {user_commands.ROOT / "README.md", *user_commands.DOCS.rglob("*.md")}
    assert set(user_commands.PAGES).isdisjoint(user_commands.LONG_PAGES)


def test_every_block_of_the_long_pages_runs_and_no_run_is_left_over():
    there = user_commands.block_commands(user_commands.text(user_commands.LONG_PAGES))
    assert [command for command in user_commands.LONG_BLOCKS if command not in there] == []
    lines = user_commands.long_runs()
    for command in there:
        assert {*user_commands.instead(command)} <= {*lines, *user_commands.runs(README)}, command


def test_a_command_in_a_list_or_over_two_lines_or_behind_a_variable_is_found():
    page = "1. Do\n\n    ```\n    A=b bench run \\\n      --json   # now\n    ```\n\n```text\nbench said this\n```\n"
    assert user_commands.block_commands(page) == ["A=b bench run --json"]


@pytest.mark.slow
@pytest.mark.trains
def test_every_command_of_the_long_pages_runs():
    assert user_commands.main(Path(sys.executable).parent, "--all") == 0
