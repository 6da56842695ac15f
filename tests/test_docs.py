"""The documentation: links lead somewhere, numbers come from somewhere, pages are what they are made from."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.records.store import Store
from bench.reporting.pages.blocks import block_names, emptied
from bench.reporting.pages.check import audit_claims
from bench.reporting.pages.numbers import numbers_of
from bench.reporting.pages.write import outdated_pages

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)


def anchors(page):
    """What `page.md#name` may name: a heading in lower case, its words joined by hyphens."""
    headings = HEADING.findall(re.sub(r"^```.*?^```", "", page, flags=re.M | re.S))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(path):
    """Links of a page to no file of the project, or to no heading of one."""
    text = path.read_text(encoding="utf-8")
    for target in LINK.findall(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (path.parent / file).resolve() if file else path
        is_page = there.suffix == ".md" and there.is_file()
        if not there.exists() or (anchor and is_page and anchor not in anchors(there.read_text(encoding="utf-8"))):
            yield f"{path.name}: {target}"


def pages():
    return [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def test_links_lead_somewhere(tmp_path):
    assert [link for path in pages() for link in dead_links(path)] == []
    (tmp_path / "a.md").write_text("[x](b.md) [y](a.md#two-words) [z](#one) [w](https://a.b/c)\n\n## Two `words`\n")
    assert list(dead_links(tmp_path / "a.md")) == ["a.md: b.md", "a.md: #one"]


def test_the_page_of_options_is_what_the_commands_say():
    script = ROOT / "docs" / "_site" / "cli_page.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_page_has_a_place_in_the_navigation():
    listed = re.findall(r"^ +- (?:.+: )?(\S+(?:\.md|/))$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    named = {page.relative_to(ROOT / "docs").as_posix().replace("README.md", "index.md") for page in pages()[:-2]}
    listed = {place.replace("README.md", "index.md") for place in listed}
    assert [page for page in sorted(named) if page not in listed and f"{page.split('/')[0]}/" not in listed] == []


def test_the_citation_names_the_version_that_is_installed():
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for text, pattern in ((cited, r"^version: (.+)$"), (project, r'^version = "(.+)"$')):
        assert re.findall(pattern, text, re.M) == [bench.__version__]


def test_every_number_is_a_claim_that_holds():
    found = audit_claims(ROOT / "docs", Store(ROOT / "results"))
    assert [judged.sentence for judged in found if judged.is_wrong] == []
    assert sum(judged.verdict == "checked" for judged in found) > 50


@pytest.mark.trains
def test_pages_are_what_records_and_methods_say():
    assert outdated_pages(Store(ROOT / "results"), ROOT / "docs") == {}


def test_performance_is_what_its_scripts_printed():
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert list(numbers_of(emptied(text))) == []
    script = ROOT / "tests" / "benchmarks" / "page.py"
    spec = importlib.util.spec_from_file_location("page", script)
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    assert sorted(block_names(text)) == sorted(page.SCRIPTS)
    assert {words.split()[0] for words in page.SCRIPTS.values()} <= {path.name for path in script.parent.glob("*.py")}
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
