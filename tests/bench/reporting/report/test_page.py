"""The page of `bench report`: what stands on it, what it says where something is missing, what it needs."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from bench.data.cards.catalogue import catalogue
from bench.errors import BenchError
from bench.records.record import run_id_of
from bench.records.upkeep import pack
from bench.reporting.report.page import Asked, gather, render
from bench.reporting.report.plots import Mark, rank_diagram, without_collisions

RULE = "conformal:0.01"
GROUPS = {"toy": "normal-only", "late": "normal-only", "ecvc": "control", "random": "control"}


class Parts(HTMLParser):
    """The text of each element by its nearest id, and whatever could reach outside."""

    def __init__(self):
        super().__init__()
        self.place, self.texts, self.reaches, self.opened = "", {}, [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.place = found.get("id", self.place) if tag == "section" else self.place
        names = ("src", "srcset", "data", "action", "poster", "background")
        self.reaches += [f"{tag} {name}={found[name]}" for name in names if name in found]
        href = found.get("href", "")
        self.reaches += [] if href.startswith(("#", "data:,")) or not href else [href]
        self.opened.append(tag)

    def handle_data(self, data):
        self.texts[self.place] = self.texts.get(self.place, "") + data


def parts_of(text):
    parts = Parts()
    parts.feed(text)
    return parts


def keep(store, make_record, *, editions=("app@full",), values=None, **changes):
    values = values or {"toy": 0.9, "late": 0.5, "ecvc": 0.7, "random": 0.2}
    for edition in editions:
        for method, f1 in values.items():
            store.write(make_record(method, f1=f1, supervision=GROUPS[method], edition=edition, **changes))


def test_it_needs_nothing_outside_itself(store, make_record, report):
    keep(store, make_record)
    text = report()
    parts = parts_of(text)
    assert parts.reaches == []
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "@import" not in text
    assert "url(" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_the_same_records_give_the_same_bytes_without_a_folder_of_this_machine(store, make_record, report):
    keep(store, make_record)
    text = report()
    assert report() == text
    assert str(store.root) not in text


def test_rows_stand_with_controls_intervals_reading_and_runs(store, make_record, report):
    keep(store, make_record)
    texts = parts_of(report()).texts
    assert "0.900 [.900,.900]" in texts["table-1"]
    assert "the best control, by AP" in texts["table-1"]
    assert "The best control leaves .300 of AP to gain" in texts["table-1"]
    run_id = make_record("toy", f1=0.9).get("run_id")
    assert len(run_id) == 16
    assert "whole" in texts["table-1-runs"]


def test_ranks_need_three_methods_on_three_editions(store, make_record, report):
    keep(store, make_record, editions=("app@full", "web@full"))
    assert "No ranking: 4 methods have a value on all of 2 editions" in parts_of(report()).texts["ranks"]
    keep(store, make_record, editions=("shop@full",))
    text = report()
    assert "critical difference 2.71" in text
    assert "toy (1.00)" in text


def test_transfers_are_a_heat_map(store, make_record, report):
    record = make_record("toy", f1=0.42, edition="app@full")
    spec = record["spec"] | {"test": [{"edition": "web@full", "sha256": "00"}]}
    tiers = dict.fromkeys(("app@full", "web@full"), "evaluation")
    changed = {"spec": spec, "run_id": run_id_of(spec), "scenario": "app@full2web@full", "tiers": tiers}
    store.write(record | changed)
    text = report()
    assert '<td class="h4">.420</td>' in text
    assert "app@<wbr>full \N{RIGHTWARDS ARROW} web@<wbr>full" in text


def test_networks_under_several_budgets_are_curves(store, make_record, report):
    for n, f1 in ((0, 0.2), (150, 0.6), (600, 0.8)):
        config = {"steps": n}
        store.write(make_record(f"toy[steps={n}]" if n != 600 else "toy", f1=f1, config=config))
    texts = parts_of(report()).texts
    assert "The numbers" in texts["steps"]
    for words in ("0 steps", "150 steps", "600 steps", "0.200", "0.600", "0.800"):
        assert words in texts["steps"]
    assert "No network ran under two budgets" not in texts["steps"]


def test_an_empty_folder_is_one_sentence(store, report):
    with pytest.raises(BenchError, match="is no results folder"):
        report()
    store.inbox.mkdir(parents=True)
    with pytest.raises(BenchError, match="run something first"):
        report()


def test_several_protocols_are_never_mixed(store, make_record, report):
    keep(store, make_record, values={"toy": 0.9})
    store.write(make_record("older", f1=0.1237, protocol=1))
    text = report()
    assert "0.124 [" not in text
    assert "Shown is protocol 2; older tables are here too" in text
    shown = report(protocol=1)
    assert "0.124 [" in shown
    assert "0.900 [" not in shown
    with pytest.raises(BenchError, match="those here are of protocol 1 and 2"):
        report(protocol=7)


def test_missing_scores_are_said_and_leave_the_numbers(store, make_record, report):
    keep(store, make_record)
    text = report()
    assert "The scores of 4 of 4 finished runs are not in this folder" in text
    assert "No curves of app@full, chronological: the scores of its best rows are not in this folder." in text


def test_runs_that_failed_are_counted_and_say_why(store, make_record, report):
    store.write(make_record("toy", status="timeout", reason="600 s were not enough", metrics={}, thresholds={}))
    text = report()
    assert "1 of 1 runs failed" in text
    assert "No run finished, so there is no number on this page." in text
    assert "timeout: 600 s were not enough" in text


def test_a_record_that_was_edited_is_named_first(store, make_record, report):
    keep(store, make_record)
    pack(store)
    (file,) = store.archive.files()
    lines = file.read_text().splitlines()
    changed = [line.replace('"f1": 0.9', '"f1": 0.99').replace('"f1":0.9', '"f1":0.99') for line in lines]
    assert changed != lines
    file.write_text("\n".join(changed) + "\n")
    assert "1 record is not what its run left, so believe no row made of it" in report()


def test_a_rule_that_no_record_holds_is_one_sentence(store, make_record):
    keep(store, make_record)
    with pytest.raises(BenchError, match="no record holds the threshold rule"):
        gather(Asked(store, catalogue(None), "conformal:0.05"))


def test_a_page_is_made_of_plain_data_alone(store, make_record):
    """What the page shows can be gathered once and drawn twice."""
    keep(store, make_record)
    found = gather(Asked(store, catalogue(None), RULE))
    assert render(found) == render(found)
    assert json.dumps([board.heading for board in found.boards]) == '["app@full, chronological, protocol 2"]'


def test_bars_join_ranks_that_differ_by_less_than_the_critical_difference():
    panel = {"methods": ["a", "b", "c", "d"], "ranks": [1.0, 2.0, 3.7, 3.9], "critical_difference": 1.6}
    diagram = rank_diagram(panel, "words")
    place = {text: x for x, text in diagram.ticks}
    (first, last, _), (second, end, _) = diagram.bars
    assert first < place["1"] < place["2"] < last < place["3"]
    assert place["3"] < second < end < place["4"]
    assert [label.text for label in diagram.labels] == ["a (1.00)", "b (2.00)", "c (3.70)", "d (3.90)"]


def test_labels_do_not_stand_on_each_other():
    marks = [Mark(50, 40, "method", "", "first"), Mark(55, 42, "method", "", "second"), Mark(50, 80, "method", "", "x")]
    assert [mark.label for mark in without_collisions(marks)] == ["first", "", "x"]
