"""`bench score LOG --fit`: a log without labels, its page, and what each number on it must be."""

import datetime
import json
import random
import re

import pytest

START = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
TEXTS = (
    "job {n} started on queue main",
    "job {n} ended after {n} ms",
    "cache of shard {n} flushed",
    "connection from 10.0.0.{n} closed",
    "user {n} logged in",
)
STEP_S = 60


def write_log(path, n_lines=4000, planted=(), text="disk sdb not answering", step_s=STEP_S):
    """Syslog with ISO times, a line a minute; the planted lines say something that nobody said before."""
    rng = random.Random(5)
    rows = []
    for i in range(n_lines):
        message = text if i in planted else rng.choice(TEXTS)
        while "{n}" in message:
            message = message.replace("{n}", str(rng.randrange(200)), 1)
        moment = START + datetime.timedelta(seconds=i * step_s)
        rows.append(f"{moment:%Y-%m-%dT%H:%M:%S}+00:00 web{i % 3} app[{i}]: {message}\n")
    path.write_text("".join(rows))
    return path


@pytest.fixture
def page(call, tmp_path):
    """The page of a log in JSON."""

    def make(log, *arguments, fit="new-event"):
        code, out, err = call("score", log, "--fit", fit, "--json", *arguments)
        assert code == 0, err
        return json.loads(out)

    return make


PLANTED = (2900, 3100, 3101, 3500)
"""Lines, from 0, in three windows of the later part, which begins at 2,400."""


def test_the_page_of_a_log_without_labels(call, tmp_path):
    log = write_log(tmp_path / "app.log", planted=PLANTED)
    code, out, err = call("score", log, "--fit", "new-event,ecvc")
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    assert "fitted on the first 1,800, all taken as normal" in " ".join(out.split())
    assert "later part, scored: 80 windows of 20 lines" in out
    assert "Nothing says that it is an anomaly" in " ".join(out.split())
    # No label, no accuracy.
    assert not re.search(r"(?i)\b(recall|precision|F1|AUROC|accura|caught)\b", out)
    first = out.partition("\n1. ")[2].partition("\n2. ")[0]
    assert first.startswith("2026-11-03 03:40:00  web1  line 3,101")
    assert "no such message before; flagged by new-event" in first
    assert "> 2026-11-03T03:40:00+00:00 web1 app[3100]: disk sdb not answering" in " ".join(first.split())
    assert "app[3099]" in first
    assert "app[3101]" in first
    rows = [line.split() for line in out.splitlines() if line.startswith("new-event ")]
    assert rows[0][1] == "n/e"  # 30 windows held out allow no threshold at 0.1 %


def test_numbers_of_the_page(page, tmp_path):
    found = page(write_log(tmp_path / "app.log", planted=PLANTED))
    strict, loose = found["loud"][0]["at"]
    assert (found["n_lines"], found["n_fitted"], found["n_earlier"]) == (4000, 1800, 2400)
    assert (found["n_held_out"], found["n_scored"]) == (30, 80)
    assert (strict["threshold"], loose["alpha"]) == (None, pytest.approx(1 / 31))
    assert (loose["n_alerts"], loose["n_kinds"]) == (3, 3)
    assert found["days"] == pytest.approx(1599 * STEP_S / 86_400)
    assert loose["per_day"] == pytest.approx(3 / found["days"])
    assert found["unlike"]["lines"] == pytest.approx(4 / 1600)
    assert found["unlike"]["n_texts"] == 1
    assert found["unlike"]["by_stretch"] == pytest.approx([0, 3 / 400, 1 / 400, 0])
    assert found["judged"] is None
    first = found["surprises"][0]
    assert (first["line"]["number"], first["sequence"], first["is_new"]) == (3101, "3101-3120", True)
    assert first["n_alike"] == 2
    assert first["last_time"] == "2026-11-03 10:20:00"
    assert [line["number"] for line in first["around"]] == [3099, 3100, 3101, 3102]
    assert found["agreement"]["methods"] == ["new-event", "ecvc", "ngram"]
    assert 3 <= sum(found["agreement"]["counts"]) <= 80


def test_many_held_out_windows_allow_the_strict_threshold(page, tmp_path):
    found = page(write_log(tmp_path / "app.log", n_lines=10_000), "--window", "1")
    strict, loose = found["loud"][0]["at"]
    assert (strict["alpha"], loose["alpha"], strict["n_alerts"]) == (0.001, 0.01, 0)
    assert found["n_held_out"] == 1500


def test_the_later_part_begins_where_it_is_told(page, call, tmp_path):
    log = write_log(tmp_path / "app.log", planted=PLANTED)
    found = page(log, "--before", "2026-11-03T02:00")
    assert (found["n_earlier"], found["cut"]) == (3000, "2026-11-03 02:00:00")
    # Line 2,900 sets the threshold now: one new message is nothing, two in a window are an alert.
    assert found["loud"][0]["at"][1]["n_alerts"] == 1
    for time in ("2026-10-01", "2027-01-01"):
        code, _, err = call("score", log, "--fit", "ecvc", "--before", time)
        assert code == 2
        assert "does not lie within the log, 2026-11-01 00:00:00 to 2026-11-03 18:39:00" in err
    code, _, err = call("score", log, "--fit", "ecvc", "--before", "yesterday")
    assert (code, err.count("\n")) == (2, 1)
    assert "write e.g. 2026-11-20T12:00" in err


def test_windows_of_time(page, tmp_path):
    found = page(write_log(tmp_path / "app.log", planted=PLANTED), "--window", "30m")
    assert found["unit"] == "windows of 30m"
    # The window 01:30 of the third day is the first that ends behind line 2,400, and 2,400 begins one.
    assert found["n_scored"] == 54
    # 2900 and 3500 lie in windows of their own, 3100 and 3101 in one.
    assert found["loud"][0]["at"][1]["n_alerts"] == 3


def test_incidents_say_what_would_have_been_caught(page, call, tmp_path):
    log = write_log(tmp_path / "app.log", planted=PLANTED)
    start, end = (START + datetime.timedelta(seconds=STEP_S * line) for line in (3060, 3130))
    quiet = [START + datetime.timedelta(seconds=STEP_S * line) for line in (3700, 3720)]
    incidents = tmp_path / "incidents.csv"
    rows = [f"{a.isoformat()},{b.isoformat()}\n" for a, b in ((start, end), quiet)]
    incidents.write_text("start,end\n" + "".join(rows))
    found = page(log, "--incidents", incidents)
    judged = found["judged"]
    assert (judged["n_incidents"], judged["n_abnormal_fitted"]) == (2, 0)
    (catch,) = [catch for catch in judged["catches"] if catch["method"] == "new-event"]
    # Line 3,060 begins a window, 3,100 lies 40 minutes behind it; 2,900 and 3,500 lie in no incident.
    assert (catch["n_caught"], catch["delay_s"], catch["n_false"]) == (1, 40 * 60, 2)
    _, out, _ = call("score", log, "--fit", "new-event", "--incidents", incidents)
    assert "1 of 2" in out
    assert max(map(len, out.splitlines())) <= 80
    # Labels judge, they do not train: all else on the page is the same without them.
    plain = page(log)
    assert {key: value for key, value in found.items() if key != "judged"} == {
        key: value for key, value in plain.items() if key != "judged"
    }


def test_columns_of_incidents_are_named(page, call, tmp_path):
    log = write_log(tmp_path / "app.log", planted=PLANTED)
    start, end = (START + datetime.timedelta(seconds=STEP_S * line) for line in (3060, 3130))
    table = tmp_path / "outages.csv"
    table.write_text(f"opened,began,ceased\n2026-11-01,{start.isoformat()},{end.isoformat()}\n")
    found = page(log, "--incidents", table, "--columns", "began,ceased")
    assert found["judged"]["catches"][0]["n_caught"] == 1
    code, _, err = call("score", log, "--fit", "ecvc", "--incidents", table, "--columns", "began")
    assert (code, err.count("\n")) == (2, 1)
    assert "write two names of columns" in err


def test_labels_in_front_are_cut_off_and_judge(page, tmp_path):
    plain = write_log(tmp_path / "plain.log", planted=PLANTED)
    rows = [
        f"{'BAD' if i in PLANTED else '-'} {int((START.timestamp()) + 60 * i)} {line.split(' ', 1)[1]}"
        for i, line in enumerate(plain.read_text().splitlines(keepends=True))
    ]
    log = tmp_path / "labelled.log"
    log.write_text("".join(rows))
    found = page(log)
    assert found["judged"]["n_abnormal"] == 3
    # What stands in front takes no part in the messages: the same lines are new, and no others.
    assert found["unlike"]["lines"] == pytest.approx(4 / 1600)
    assert found["judged"]["catches"][0]["n_caught"] == 3


def test_sessions_by_name_and_their_labels(page, tmp_path):
    rows = []
    for i in range(1440):
        second = "lost the connection" if i == 1200 else "read"
        for n, step in enumerate(("opened", second, "closed")):
            rows.append(f"2026-11-01 {i // 60:02}:{i % 60:02}:{10 + n} INFO app: order-{i} {step}\n")
    log = tmp_path / "shop.log"
    log.write_text("".join(rows))
    found = page(log, "--session", "order-[0-9]+")
    assert found["unit"] == "sessions"
    assert found["surprises"][0]["sequence"] == "order-1200"
    assert found["surprises"][0]["line"]["raw"].endswith("order-1200 lost the connection")
    labels = tmp_path / "labels.csv"
    rows = [f"order-{i},{'quaint' if i in (7, 1200, 1300) else 'plain'}\n" for i in range(1440)]
    labels.write_text("session,label\n" + "".join(rows))
    judged = page(log, "--session", "order-[0-9]+", "--labels", labels, "--normal", "plain")["judged"]
    assert (judged["n_abnormal"], judged["n_incidents"], judged["n_abnormal_fitted"]) == (2, 2, 1)
    assert [catch["n_caught"] for catch in judged["catches"] if catch["method"] == "new-event"] == [1]


def test_a_kept_detector_scores_later_lines_as_the_page_did(page, call, tmp_path):
    log = write_log(tmp_path / "app.log", planted=PLANTED)
    found = page(log, "--window", "30m", "--save", tmp_path / "model")
    code, out, err = call("score", tmp_path / "model", log, "--json")
    assert code == 0, err
    rows = [json.loads(row) for row in out.splitlines()]
    later = [row for row in rows if row["last_line"] > 2400]
    assert len(later) == found["n_scored"]
    assert sum(row["flagged"] for row in later) == found["loud"][0]["at"][1]["n_alerts"]
    (alert,) = [row for row in later if row["first_line"] <= 3101 <= row["last_line"]]
    assert (alert["alert"]["number"], alert["alert"]["host"], alert["time"][:13]) == (3101, "web1", "2026-11-03 03")
    code, _, err = call("score", tmp_path / "model", log, "--window", "5m")
    assert (code, "reads lines as it was fitted" in err) == (2, True)


def test_what_a_log_holds_does_not_reach_the_terminal(call, tmp_path):
    log = write_log(tmp_path / "app.log", planted=PLANTED, text="\x1b[2J\x07wiped")
    code, out, err = call("score", log, "--fit", "new-event")
    assert code == 0, err
    assert "wiped" in out
    assert not any(sign in out for sign in "\x1b\x07")


def test_a_later_part_that_is_another_log_is_said(call, tmp_path):
    log = write_log(tmp_path / "app.log", n_lines=2400)
    more = write_log(tmp_path / "b.log", n_lines=1600, planted=range(1600), text="another program said {n} things")
    late = more.read_text().replace("2026-11-0", "2026-12-0")
    log.write_text(log.read_text() + late)
    code, out, _ = call("score", log, "--fit", "ecvc")
    assert code == 0
    assert "Most of it is another log than the one fitted on" in out
    assert "100 % of its lines" in out


def test_lines_that_share_nothing_are_said(call, tmp_path):
    rng = random.Random(3)
    words = lambda: " ".join("".join(rng.choices("abcdefgh", k=6)) for _ in range(6))  # noqa: E731
    log = tmp_path / "random.log"
    log.write_text("".join(f"2026-11-01 {i // 60:02}:{i % 60:02}:00 INFO app: {words()}\n" for i in range(1200)))
    code, out, _ = call("score", log, "--fit", "new-event")
    assert code == 0
    assert "The 540 lines fitted on make 540 templates: nearly each is its own" in " ".join(out.split())


def test_lines_that_continue_others_keep_the_numbers_of_lines(page, call, tmp_path):
    """A stack trace is one event with its first line, and alerts name lines as an editor numbers them."""
    rows = []
    for i in range(1200):
        moment = f"2026-11-01 {i // 60:02}:{i % 60:02}:00"
        is_late = i == 1100
        rows.append(f"{moment} {'FATAL' if is_late else 'INFO'} app: {'lost the disk' if is_late else 'job done'}\n")
        if i % 10 == 0:
            rows.append(f"{moment} ERROR app: request failed\nTraceback (most recent call last):\n  File app.py\n\n")
    log = tmp_path / "app.log"
    log.write_text("".join(rows))
    lines = log.read_text().splitlines()
    found = page(log, "--save", tmp_path / "m", "--window", "10")
    assert (found["n_lines"], found["n_events"]) == (len(lines), 1320)
    shown = found["surprises"][0]["line"]
    assert lines[shown["number"] - 1] == shown["raw"] == "2026-11-01 18:20:00 FATAL app: lost the disk"
    _, out, _ = call("score", tmp_path / "m", log, "--json", "--flagged")
    (alert,) = [row["alert"] for row in map(json.loads, out.splitlines()) if "disk" in row["alert"]["raw"]]
    assert (alert["number"], alert["raw"], alert["time"]) == (shown["number"], shown["raw"], shown["time"])


MISTAKES = {
    ("--fit", "logistic-regression"): "is told labels, and here nothing is fitted on labels",
    ("--fit", "no-such-method"): "no-such-method",
    ("--fit", "ecvc", "--set", "pca.x=1"): "--set pca.x=1 is of none of ecvc",
    ("--fit", "ecvc,new-event", "--save", "m"): "--save keeps one detector",
    ("--fit", "ecvc", "--window", "5 minutes"): "write e.g. 20 for lines, or 5m for time",
    ("--fit", "ecvc", "--window", "3000"): "no window of 3,000 lines fits into 1,000 lines: choose a smaller --window",
    ("--fit", "ecvc", "--flush", "60s"): "--fit goes without --flush",
    (): "or `bench score",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_one_sentence(call, tmp_path, arguments):
    code, _, err = call("score", write_log(tmp_path / "app.log", n_lines=1000), *arguments)
    assert (code, err.count("\n")) == (2, 1), err
    assert MISTAKES[arguments] in err


def test_a_log_without_times_says_nothing_of_days(call, page, tmp_path):
    log = tmp_path / "plain.txt"
    log.write_text("".join(f"step {i % 7} of the job\n" for i in range(2000)))
    assert page(log)["days"] is None
    _, out, _ = call("score", log, "--fit", "ecvc")
    assert "No times are read, so nothing is said of days." in out
    code, _, err = call("score", log, "--fit", "ecvc", "--before", "2026-01-01")
    assert (code, "no line has a time" in err) == (2, True)
    code, _, err = call("score", log, "--fit", "ecvc", "--window", "5m")
    assert (code, "there are no windows of time" in err) == (2, True)
