"""A store whose names and log lines are markup, and a real browser that opens pages made of it."""

import shutil
from pathlib import Path

import pytest

import bench
from bench.data.cards.catalogue import catalogue
from bench.data.own.card import new_card
from bench.data.own.format import Given
from bench.records.record import run_id_of
from bench.records.store import Store
from bench.reporting.report.page import Asked, gather, render, write_report

RULE = "conformal:0.01"
SCRIPT = "<script>window.pwned=1</script>"
IMAGE = "\"'><img src=x onerror=window.pwned=2>"
EDITION = "<b onmouseover=window.pwned=3>@x"
LINE = f"{IMAGE}</pre></textarea>{SCRIPT} {{{{ 7 * 7 }}}} \u202eturned"


@pytest.fixture
def make_record(make_record):
    """As in the room above, with the identity that its spec has."""

    def make(*arguments, **changes):
        # No paper reports this system: to find the rows of papers, every method would be looked at.
        record = make_record(*arguments, **{"edition": "app@full"} | changes)
        parts = {edition: {"cut": [0.6, 0.8], "cut_lines": [60, 80]} for edition in record["systems"]}
        counts = {"split": parts} | record["counts"]
        return record | {"run_id": run_id_of(record["spec"]), "counts": counts}

    return make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def report(store, tmp_path):
    """Write the page of the store and return its text."""

    def write(**asked):
        path = tmp_path / "report.html"
        write_report(Asked(store, catalogue(None), RULE, **asked), path)
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture
def hostile(store, make_record, tmp_path):
    """What stands on the page of a store in which everything that others write is markup; log lines too."""
    _run_on_a_hostile_log(store, tmp_path)
    for value, (method, edition) in enumerate(
        [(SCRIPT, EDITION), (IMAGE, EDITION), ("plain", EDITION), ("{{ 7 * 7 }}", EDITION)], 1
    ):
        store.write(make_record(method, f1=value / 10, edition=edition))
    store.write(make_record("toy[a=`$x^{`]", f1=0.9, edition=EDITION, environment={"cpu": IMAGE}))
    store.write(make_record("broken", edition=EDITION, status="error", reason=IMAGE, metrics={}, thresholds={}))
    return gather(Asked(store, catalogue(tmp_path / "logs"), RULE, n_mistakes=3))


def _run_on_a_hostile_log(store, folder):
    """A method without training on a log of one's own whose lines are markup."""
    log = folder / "evil.log"
    line = "{} {} 2005.06.03 node1 RAS KERNEL INFO step {} {}\n"
    lines = [line.format("-" if i % 397 else "FAIL", 1117838570 + 10 * i, i % 5, LINE) for i in range(12_000)]
    log.write_text("".join(lines), encoding="utf-8")
    (folder / "logs").mkdir()
    new_card("evil", log, data_dir=folder / "logs", given=Given("first-token", None, None, None, None, None))
    bench.run(["ngram"], "evil", seeds=1, data=folder / "logs", out=store.root)


@pytest.fixture(scope="session")
def chrome():
    """A browser without a window; where it is not installed the test fails, as CI installs it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert browser and driver, "install Debian's chromium and chromium-driver, as .ci/run does"
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(service=Service(driver), options=options)
    yield found
    found.quit()


@pytest.fixture
def opened(chrome, tmp_path):
    """Open a page from disk, or what stands on one."""

    def open_page(page):
        path = page if isinstance(page, Path) else tmp_path / "page.html"
        if path is not page:
            path.write_text(render(page), encoding="utf-8")
        chrome.get_log("browser")
        chrome.get(path.as_uri())
        return chrome

    return open_page
