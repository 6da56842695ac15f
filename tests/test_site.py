"""docs/_site/hooks.py: what is written for a checkout becomes what the site needs. `make docs` builds all of it."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "_site" / "hooks.py"
_SPEC = importlib.util.spec_from_file_location("site_hooks", SCRIPT)
hooks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hooks)
PAGES = {
    "index.md",
    "data.md",
    "reading.md",
    "reference/cards.md",
    "reference/cli.md",
    "project/contributing.md",
    "ci/github.yml",
}


@pytest.mark.parametrize(
    ("page", "written", "turned"),
    [
        ("index.md", "[a](docs/data.md)", "[a](data.md)"),
        ("index.md", "[a](datasets/README.md#labels)", "[a](reference/cards.md#labels)"),
        ("index.md", "[a](#here)", "[a](#here)"),
        ("data.md", "[a](../README.md#the-first-table)", "[a](index.md#the-first-table)"),
        ("reference/cli.md", "[a](../data.md)", "[a](../data.md)"),
        ("reference/cli.md", "[a](../../CONTRIBUTING.md)", "[a](../project/contributing.md)"),
        ("project/contributing.md", "[a](docs/data.md)", "[a](../data.md)"),
        ("ci/README.md", "[a](github.yml)", "[a](github.yml)"),
        ("data.md", "[a](../examples/rare_keys.py)", "a"),
        ("data.md", "[a](../bench/data/own/formats)", "a"),
        ("data.md", "[a](nowhere.md)", "[a](nowhere.md)"),
        ("data.md", "[a](https://b.c/d)", "[a](https://b.c/d)"),
        ("data.md", "![a](b.png)", "![a](b.png)"),
        ("data.md", "[reading.md](reading.md#compare)", "[Reading a table](reading.md#compare)"),
        ("index.md", "[docs/reading.md](docs/reading.md)", "[Reading a table](reading.md)"),
    ],
)
def test_a_link_of_the_checkout_leads_to_the_page_of_the_file(page, written, turned):
    assert hooks.prose(written, page, PAGES) == turned


def test_a_bar_in_a_table_needs_no_backslash_within_code():
    assert hooks.prose("| `a\\|b` | c\\|d |\n`e\\|f`", "data.md", PAGES) == "| `a|b` | c\\|d |\n`e\\|f`"


def test_a_folder_of_the_navigation_stands_for_its_pages(tmp_path):
    (tmp_path / "methods").mkdir()
    for name in ("b.md", "index.md", "a.md"):
        (tmp_path / "methods" / name).touch()
    assert hooks.unfolded({"M": "methods/"}, tmp_path) == {"M": ["methods/index.md", "methods/a.md", "methods/b.md"]}
    assert hooks.unfolded({"M": "a.md"}, tmp_path) == {"M": "a.md"}


def test_a_list_that_became_prose_is_found():
    assert hooks.lost_lists("<p>these <em>two</em>:\n- one\n- two</p>\n<p>a - b</p>") == ["- one"]
    assert hooks.lost_lists("<p>these:</p>\n<ul>\n<li>one</li>\n</ul>") == []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://a.b/c.js"></script>',
        '<link rel="stylesheet" href="https://a.b/c.css">',
        '<img alt="" src="http://a.b">',
    ],
)
def test_what_another_host_is_asked_for_is_found(html):
    assert len(hooks.from_elsewhere(html)) == 1
    assert hooks.from_elsewhere(html.replace("https://a.b/", "").replace("http://a.b", "x")) == []
    assert hooks.from_elsewhere('<a href="https://a.b">c</a>') == []
