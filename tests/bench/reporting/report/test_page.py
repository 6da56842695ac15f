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
from bench.reporting.published.page import Beside
from bench.reporting.report import boards
from bench.reporting.report.page import Asked, gather, render
from bench.reporting.report.plots import LEFT, WIDTH, Mark, placed, rank_diagram, step_plot
from bench.reporting.tables.choice import Choice

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
    text = parts_of(report()).texts["ranks"]
    assert "Not ranked, since 3 methods on 3 editions are needed" in text
    assert "chronological, told source normals: 4 methods have a value on all of 2 editions." in text
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


def test_labels_stand_on_no_label_and_no_point():
    marks = [("first", 120, 60), ("second", 124, 66), ("x", 200, 120)]
    first, second, third = placed([Mark(x, y, "method", "", name) for name, x, y in marks])
    assert (first.label_x, first.label_y) == (126, 56)
    assert (second.label_x, second.label_y) == (130, 69.5)
    assert (third.is_turned, third.label_x, third.label_y) == (True, 194, 116)
    # What a point stands behind is not covered either: the usual place, right of it and above, is taken here.
    alone, _ = placed([Mark(120, 60, "method", "", "name"), Mark(135, 54, "control", "")])
    assert (alone.label, alone.label_x, alone.label_y) == ("name", 126, 72)


def test_a_label_without_a_place_is_left_out():
    crowd = [Mark(60 + 7 * i, 50 + 7 * j, "method", "") for i in range(12) for j in range(6)]
    assert placed([*crowd, Mark(96, 64, "method", "", "name")])[-1].label == ""
    right = placed([Mark(LEFT + WIDTH, 80, "method", "", "a-name-as-long-as-they-come")])[0]
    assert right.is_turned


def test_each_line_of_optimiser_steps_is_named():
    points = [{"x": n, "mean": 0.5, "low": 0.4, "high": 0.6} for n in (0, 10)]
    curves = [{"method": f"network-{i}", "points": points} for i in range(9)]
    panel = {"scenario": "app@full", "split": "chronological", "curves": curves, "control": None}
    key = step_plot(panel, 10).key
    assert [name for _, name in key] == [f"network-{i}" for i in range(9)]
    assert len({style for style, _ in key}) == 9


def test_an_edition_that_few_methods_ran_on_leaves_none_of_the_others_out(store, make_record, report):
    keep(store, make_record, editions=("app@full", "web@full", "shop@full", "mail@full"))
    keep(store, make_record, editions=("tiny@full",), values={"toy": 0.9, "ecvc": 0.7, "random": 0.2})
    text = parts_of(report()).texts["ranks"]
    assert "late (3.00)" in text
    assert "Editions left out, on which too few of these methods ran: tiny@full." in text


def test_series_stand_together_and_blocks_have_no_board(store, make_record, report):
    for split, f1 in (("chronological:40,60", 0.4), ("chronological:50,70", 0.8)):
        keep(store, make_record, values={"toy": f1, "ecvc": 0.5}, split=split)
    for block in (1, 2, 3):
        keep(store, make_record, values={"toy": block / 10}, split=f"prequential:3,{block}")
    texts = parts_of(report()).texts
    assert "app@full, cuts, protocol 2" in texts["series-1"]
    assert "0.6000.400" in texts["series-1"]
    assert "Above the best control, by mean AP and without a test, of 2 cuts in some: toy (1" in texts["series-1"]
    assert "In each of the cuts" in texts["series-1"]
    assert "AP, told source normals" in texts["series-1"]
    assert "app@full, prequential:3, protocol 2" in texts["series-2"]
    boards = [texts[name] for name in texts if re.fullmatch(r"table-\d+", name)]
    assert len(boards) == 2
    assert not any("prequential" in board for board in boards)
    assert sum("prequential" in texts[name] for name in texts if name.endswith("-runs")) == 3


def test_a_run_says_when_and_on_what_it_ran(store, make_record, report):
    store.write(make_record("toy", threads=4, device="cuda", started_at="2026-11-29T22:20:48+00:00"))
    runs = parts_of(report()).texts["table-1-runs"]
    assert "2026-11-29 22:20" in runs
    assert "cuda, 4 threads" in runs


def test_a_published_row_keeps_its_name_and_what_no_paper_has_is_counted(monkeypatch):
    ours = ["0.5", "0.5", "0.5 [0.4, 0.6]", "0.6", "5"]
    lines = [
        ["2", "DeepLog", "0.9", "0.8", "0.85", "impossible", "deeplog (source normals)", *ours],
        ["", "not published", *["-"] * 4, "pca (source unlabelled)", *ours],
        ["", "control", *["-"] * 4, "ecvc", *ours],
    ]
    found = Beside("app@full: beside a paper", [["data", "a\\|b", "c"]], lines, [])
    never_ran = [["2", "LogLLM", "0.9", "0.8", "0.85", "consistent", *["-"] * 6], lines[2]]
    alone = Beside("app@full: beside another", [], never_ran, [])
    monkeypatch.setattr(boards, "beside_of", lambda *_: [found, alone])
    (made,) = boards.published_of([], RULE, None, [])
    assert [line.name for line in made.sheet.lines] == ["DeepLog", "ecvc (control)"]
    assert made.sheet.headers[:6] == ("table", "P", "R", "F1", "judged", "our row")
    assert made.sheet.lines[0].cells[:6] == ("2", "0.9", "0.8", "0.85", "impossible", "deeplog (source normals)")
    assert made.points == (("data", "a|b", "c"),)
    assert made.notes == ("1 more row of ours is in none of its tables; it stands in the leaderboard.",)


def test_only_the_methods_asked_for_stand_beside_the_controls(store, make_record, report):
    keep(store, make_record)
    texts = parts_of(report(choice=Choice.of("toy"))).texts
    assert "ecvc" in texts["table-1"]
    assert "late" not in texts["table-1"] + texts["table-1-runs"]
    with pytest.raises(BenchError, match="did you mean toy"):
        report(choice=Choice.of("toyy"))


def test_a_screen_reader_tells_the_regions_apart(store, make_record, report):
    keep(store, make_record, editions=("app@full", "web@full", "shop@full"))
    labels = re.findall(r'role="region" tabindex="0" aria-label="([^"]+)"', report())
    assert len(labels) > 10
    assert len(set(labels)) == len(labels)
