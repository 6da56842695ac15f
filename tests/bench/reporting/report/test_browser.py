"""`bench report` in a real browser: nothing that others wrote runs, and sorting, filters and keys work."""

import shutil
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from bench.data.cards.catalogue import catalogue
from bench.records.store import Store
from bench.reporting.report import page as page_module
from bench.reporting.report.page import Asked, write_report

RESULTS = Path(__file__).parents[4] / "results"
REPORT = Path(page_module.__file__).parent
RULE = "conformal:0.01"
HANDLERS = (
    "return [...document.querySelectorAll('*')].flatMap((e) => [...e.attributes].map((a) => a.name))"
    ".filter((name) => name.startsWith('on') || name === 'style' || name === 'srcdoc')"
)
WIDTHS = "return [document.documentElement.scrollWidth, window.innerWidth]"


def interactive(page):
    """Seconds until the page answers, in time of its own thread: other programs run beside the browser."""
    page.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    page.refresh()
    metrics = page.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def names(table):
    return [cell.text for cell in table.find_elements(By.CSS_SELECTOR, "tbody th")]


def values(table, heading):
    heads = [th.text for th in table.find_elements(By.CSS_SELECTOR, "thead th")]
    (at,) = [i for i, head in enumerate(heads) if head.startswith(heading)]
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[at].text for row in rows]


def sorter(table, heading):
    buttons = table.find_elements(By.CSS_SELECTOR, "thead button")
    return next(button for button in buttons if button.text.startswith(heading))


def board(page, words):
    boards = page.find_elements(By.CSS_SELECTOR, ".board")
    return next(board for board in boards if board.get_attribute("data-words").startswith(words))


def test_a_hostile_store_makes_a_page_on_which_nothing_runs_and_everything_works(opened, hostile):
    page = opened(hostile)
    for check in CHECKS:
        check(page)


def nothing_runs(page):
    assert page.execute_script("return typeof window.pwned") == "undefined"
    assert page.execute_script("return document.scripts.length") == 1
    assert page.execute_script("return document.images.length") == 0
    assert page.execute_script(HANDLERS) == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    text = page.execute_script("return document.body.textContent")
    for markup in ("<script>window.pwned=1</script>", "onerror=window.pwned=2", "{{ 7 * 7 }}", "</pre></textarea>"):
        assert markup in text
    assert "\u202e" not in text
    lines = [pre.text for pre in page.find_elements(By.CSS_SELECTOR, "#mistakes pre")]
    assert lines
    assert all("window.pwned=1</script>" in text for text in lines)


def sorting_works(page):
    table = board(page, "<b onmouseover").find_element(By.CSS_SELECTOR, "table")
    button = sorter(table, "AP")
    button.click()
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    assert [text[:5] for text in values(table, "AP")] == ["0.900", "0.400", "0.300", "0.200", "0.100", "-"]
    button.click()
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    assert [text[:5] for text in values(table, "AP")] == ["0.100", "0.200", "0.300", "0.400", "0.900", "-"]
    sorter(table, "FPR").click()
    assert values(table, "FPR")[0] == "0.100"
    assert len(table.find_elements(By.CSS_SELECTOR, "[aria-sort]")) == 1


def filters_work(page):
    words = page.find_element(By.ID, "words")
    words.send_keys("plain ONMOUSEOVER")
    shown = [row for row in page.find_elements(By.CSS_SELECTOR, ".board tbody tr") if row.is_displayed()]
    assert [row.find_element(By.TAG_NAME, "th").text for row in shown] == ["plain"]
    assert page.find_element(By.ID, "found").text == "1 row"
    assert len([b for b in page.find_elements(By.CSS_SELECTOR, ".board") if b.is_displayed()]) == 1
    words.clear()
    words.send_keys("nothing has this")
    assert page.find_element(By.ID, "found").text == "0 rows"
    words.clear()
    words.send_keys(" ", Keys.BACKSPACE)
    assert page.find_element(By.ID, "found").text == ""
    page.find_element(By.CSS_SELECTOR, "#told option[value=control], #told option:last-child").click()
    chosen = page.execute_script("return document.getElementById('told').value")
    grids = [g for g in page.find_elements(By.CSS_SELECTOR, ".told") if g.is_displayed()]
    assert {grid.get_attribute("data-told") for grid in grids} == {chosen}
    page.find_element(By.CSS_SELECTOR, "#told option").click()


def keys_work(page):
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    first = page.switch_to.active_element
    assert first.text == "To the content"
    assert first.is_displayed()
    first.send_keys(Keys.ENTER)
    assert page.current_url.endswith("#main")
    table = board(page, "<b onmouseover").find_element(By.CSS_SELECTOR, "table")
    sorter(table, "method").send_keys(Keys.ENTER)
    rising = names(table)
    assert rising.index("broken") < rising.index("plain")
    sorter(table, "method").send_keys(Keys.SPACE)
    assert names(table) == rising[::-1]
    regions = page.find_elements(By.CSS_SELECTOR, ".scroll")
    assert regions
    assert all(region.get_attribute("tabindex") == "0" and region.get_attribute("aria-label") for region in regions)


def names_lead_to_runs(page):
    link = board(page, "<b onmouseover").find_element(By.CSS_SELECTOR, "tbody a")
    part = page.find_element(By.ID, link.get_attribute("href").partition("#")[2])
    assert part.get_attribute("open") is None
    page.execute_script("arguments[0].click()", link)
    page.implicitly_wait(1)
    assert part.find_element(By.CSS_SELECTOR, "table").is_displayed()


def the_policy_forbids_what_is_not_named(page):
    """Even markup that came past the escaping would not run."""
    page.execute_script(
        "const made = document.createElement('script'); made.textContent = 'window.pwned = 9';"
        "document.body.append(made);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned = 9\">');"
    )
    assert page.execute_script("return typeof window.pwned") == "undefined"
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def a_narrow_window_scrolls_within_tables_alone(page):
    for scheme in ("light", "dark"):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        for width in (400, 1400):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            whole, window = page.execute_script(WIDTHS)
            page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            assert whole <= window


def the_console_is_clean(page):
    assert page.get_log("browser") == []


CHECKS = (
    keys_work,
    nothing_runs,
    sorting_works,
    filters_work,
    names_lead_to_runs,
    a_narrow_window_scrolls_within_tables_alone,
    the_console_is_clean,
    the_policy_forbids_what_is_not_named,
)
FAULTS = (
    ("page.html", '<button type="button">method</button>', "method", keys_work),
    ("page.html", 'role="region" tabindex="0"', 'role="region"', keys_work),
    ("page.html", ">{{ line.name }}</a>", ">{{ line.name | safe }}</a>", nothing_runs),
    ("page.html", "{{ line.text }}", "{{ line.text | safe }}", nothing_runs),
    ("page.js", "falling ? y - x : x - y", "0", sorting_works),
    ("page.js", "if (x === null || y === null) { return x === null ? 1 : -1; }", "", sorting_works),
    ("page.js", 'table.querySelectorAll("th[aria-sort]")', "[]", sorting_works),
    ("page.js", "row.hidden = !(", "row.hidden = false && (", filters_work),
    ("page.js", "board.hidden = here === 0;", "", filters_work),
    ("page.js", "closed.open = true;", "", names_lead_to_runs),
    ("page.css", "overflow-x: auto;", "", a_narrow_window_scrolls_within_tables_alone),
    ("page.js", "open();\n", "open();\nabsent();\n", the_console_is_clean),
    ("page.html", '<meta http-equiv="Content-Security-Policy"', '<meta name="x"', the_policy_forbids_what_is_not_named),
)
"""File, what stands there, what stands there instead, and the check that finds it."""


@pytest.mark.slow
def test_each_check_finds_its_planted_fault(opened, hostile, tmp_path, monkeypatch):
    for name, there, instead, check in FAULTS:
        folder = tmp_path / "planted"
        shutil.copytree(REPORT, folder, dirs_exist_ok=True)
        text = (REPORT / name).read_text(encoding="utf-8")
        assert there in text
        (folder / name).write_text(text.replace(there, instead), encoding="utf-8")
        monkeypatch.setattr(page_module, "_FOLDER", folder)
        page = opened(hostile)
        with pytest.raises((AssertionError, StopIteration, WebDriverException)):
            check(page)


@pytest.mark.slow
def test_the_page_of_the_committed_records_opens_from_disk(opened, tmp_path):
    shutil.copytree(RESULTS / "records", tmp_path / "results" / "records")
    path = tmp_path / "report.html"
    made = write_report(Asked(Store(tmp_path / "results"), catalogue(None), RULE), path)
    assert made.n_records > 1000
    assert path.stat().st_size < 5_000_000
    page = opened(path)
    assert len(page.find_elements(By.CSS_SELECTOR, ".board")) == len(made.tables)
    assert 0.01 < interactive(page) < 1
    assert page.get_log("browser") == []
