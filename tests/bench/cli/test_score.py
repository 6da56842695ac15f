"""`bench score` on new lines: what stands beside an alert, what is counted, refused or said; fits without labels."""

import json
import os
import subprocess
import sys
import time

import pytest

FORM = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
WORDS = ["open door", "close door", "read meter of room", "send report to head office", "sleep"]


def line(i, *, label=True):
    alert = i % 97 == 96
    text = f"explosion in room {i}" if alert else f"{WORDS[(i * i) % 5]} {i % 7}"
    front = ("BAD " if alert else "- ") if label else ""
    return f"{front}{1_000_000_000 + i} {text}\n"


@pytest.fixture
def saved(own_system, call, tmp_path):
    """A saved `new-event`, of 1,000 lines with a new message now and then."""

    def make(*arguments, form=None):
        text = "".join(line(i) for i in range(1000))
        found = own_system({"a.log": text.encode()}, format=form or FORM, parser={"masks": ["[0-9]+"]})
        options = ("--threshold", "native", "--save", tmp_path / "m")
        code, _, err = call("fit", "new-event", "--scenario", "app", "--data", found.data_dir, *options, *arguments)
        assert code == 0, err
        return tmp_path / "m"

    return make


def write(path, numbers, **options):
    path.write_text("".join(line(i, **options) for i in numbers))
    return path


def rows(out):
    return [json.loads(row) for row in out.splitlines()]


def test_time_and_line_stand_beside_an_alert(saved, call, tmp_path):
    log = write(tmp_path / "new.log", range(200))
    code, out, _ = call("score", saved(), log)
    assert code == 0
    shown = out.splitlines()
    place = shown.index("81-100\t81\t1\tflagged")
    assert shown[place + 1] == "    2001-09-09 01:48:16 | 1000000096 explosion in room 96"
    assert len(shown) == 10 + 2
    _, out, _ = call("score", tmp_path / "m", log, "--json")
    found = rows(out)
    assert found[0]["alert"] is None
    assert found[0]["time"] == "2001-09-09 01:46:40"
    assert found[4]["alert"] == {
        "number": 97,
        "time": "2001-09-09 01:48:16",
        "host": "",
        "raw": "1000000096 explosion in room 96",
        "message": "explosion in room 96",
    }


def test_control_characters_beside_an_alert(saved, call, tmp_path):
    log = write(tmp_path / "new.log", range(19))
    log.write_text(log.read_text() + "- 1000000019 \x1b[2Jwiped\n")
    _, out, _ = call("score", saved(), log)
    assert "wiped" in out
    assert "\x1b" not in out


def test_a_log_that_the_model_does_not_know_is_said(saved, call, tmp_path):
    log = tmp_path / "new.log"
    log.write_text("".join(f"- {i} an engine turned {i} times in this second\n" for i in range(60)))
    code, _, err = call("score", saved(), log)
    assert code == 0
    assert "100.0% of the lines match no template of the model" in err
    assert "warning: 100% of the lines match no template of the model: it knows another log, or an old one" in err
    _, _, err = call("score", tmp_path / "m", write(tmp_path / "known.log", range(60)))
    assert "warning" not in err
    log.write_text("".join(f"su[{i}]: session opened\n" for i in range(60)))
    _, _, err = call("score", tmp_path / "m", log)
    assert "100% of the lines do not have the header of the log that the model was fitted on" in err


def test_lines_that_are_not_scored_are_counted(saved, call, tmp_path):
    folder = saved()
    _, out, err = call("score", folder, write(tmp_path / "new.log", range(50)))
    assert len(out.splitlines()) == 2
    assert (
        "10 of 50 lines are not scored: they fill no window of 20 lines (--flush 60s scores the last ones too)" in err
    )
    _, out, err = call("score", folder, tmp_path / "new.log", "--flush", "60s")
    assert [row.split("\t")[0] for row in out.splitlines()] == ["1-20", "21-40", "41-50"]
    assert "not scored" not in err
    _, out, err = call("score", folder, write(tmp_path / "new.log", range(12)))
    assert out == ""
    assert "0 sequences, 0 flagged" in err
    assert "12 of 12 lines are not scored" in err
    (tmp_path / "new.log").write_text("")
    assert call("score", folder, tmp_path / "new.log")[:2] == (0, "")


def test_a_quiet_pipe_is_scored_after_a_while(saved):
    command = [sys.executable, "-m", "bench", "score", str(saved()), "-", "--json", "--flush", "0.3s"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:
        process.stdin.write("".join(line(i) for i in range(90, 100)).encode())
        process.stdin.flush()
        (row,) = rows(process.stdout.readline().decode())
        assert (row["first_line"], row["last_line"], row["flagged"], row["alert"]["number"]) == (1, 10, True, 7)
        time.sleep(0.1)
        process.stdin.write("".join(line(i) for i in range(100, 125)).encode())
        process.stdin.close()
        more = rows(process.stdout.read().decode())
        assert [(row["first_line"], row["last_line"]) for row in more] == [(11, 30), (31, 35)]
        assert process.wait() == 0


def test_lines_without_the_label_that_the_model_had(saved, call, tmp_path):
    folder = saved()
    _, with_label, err = call("score", folder, write(tmp_path / "a.log", range(400)))
    assert "label in front" not in err
    code, without, err = call("score", folder, write(tmp_path / "b.log", range(400), label=False))
    assert code == 0
    assert without == with_label
    assert "the lines have no label in front, as those had that the model was fitted on: they are read without" in err


def test_lines_without_the_label_where_the_header_does_not_tell(saved, call, tmp_path):
    folder = saved(form={"label": "first-token"})
    _, with_label, err = call("score", folder, write(tmp_path / "a.log", range(400)))
    assert "label in front" not in err
    _, without, err = call("score", folder, write(tmp_path / "b.log", range(400), label=False))
    assert "label in front" in err
    assert without == with_label


def test_what_is_packed_or_wide_is_refused(saved, call, tmp_path):
    folder = saved()
    log = tmp_path / "new.log"
    log.write_text("".join(line(i) for i in range(40)), encoding="utf-16")
    code, _, err = call("score", folder, log)
    assert (code, err.count("\n")) == (2, 1)
    assert "'new.log' is no UTF-8" in err
    log.write_bytes(b"\xef\xbb\xbf" + "".join(line(i) for i in range(40)).encode())
    code, out, _ = call("score", folder, log)
    assert (code, out.splitlines()[0]) == (0, "1-20\t1\t0\t-")


def test_a_fit_needs_no_labels(own_system, call, tmp_path):
    """All of the log is taken as normal, and the detector is that of the same log labelled normal."""
    text = "".join(line(i, label=False) for i in range(3000) if i % 97 != 96)
    labelled = "".join(line(i) for i in range(3000) if i % 97 != 96)
    own_system({"a.log": text.encode()}, name="bare", format=FORM | {"label": "none"}, parser={"masks": ["[0-9]+"]})
    data = own_system({"a.log": labelled.encode()}, format=FORM, parser={"masks": ["[0-9]+"]}).data_dir
    log = write(tmp_path / "new.log", range(300), label=False)
    found = []
    for name in ("bare", "app"):
        options = ("--data", data, "--save", tmp_path / name, "--threshold", "conformal:0.05")
        code, _, err = call("fit", "ecvc", "--scenario", name, *options)
        assert code == 0, err
        found.append(call("score", tmp_path / name, log, "--json")[1])
    assert found[0] == found[1] != ""
    options = ("--data", data, "--save", tmp_path / "no")
    code, _, err = call("fit", "logistic-regression", "--scenario", "bare", *options)
    assert (code, "no label at all" in err) == (2, True)
    assert not (tmp_path / "no").exists()


def test_a_fit_needs_no_abnormal_test_part_and_a_run_says_which_cut_does(own_system, call, tmp_path):
    text = "".join(line(i) if i % 97 != 96 or i < 600 else line(i - 1) for i in range(3000))
    data = own_system({"a.log": text.encode()}, format=FORM, parser={"masks": ["[0-9]+"]}).data_dir
    options = ("--data", data, "--save", tmp_path / "m", "--threshold", "conformal:0.05")
    code, _, err = call("fit", "ecvc", "--scenario", "app", *options)
    assert code == 0, err
    arguments = ("run", "--methods", "new-event", "--scenario", "app", "--data", data, "--seeds", "1")
    code, _, err = call(*arguments)
    assert code == 2
    assert "leaves no abnormal sequence in the test part: all 6 abnormal sequences end between 3 and 20 %" in err
    cut = err.partition("--split ")[2].partition(", or another")[0]
    assert cut == "chronological:14,19"
    assert call(*arguments, "--split", cut)[0] == 0


def test_times_without_a_year_are_of_the_present_year(own_system, call, tmp_path):
    form = {
        "label": "none",
        "header": r"^(?P<time>\S+ \S+ \S+) (?P<message>.*)$",
        "time": "%b %d %H:%M:%S",
        "year": 2019,
    }
    text = "".join(f"Nov 29 {i // 60:02}:{i % 60:02}:00 step {i % 5}\n" for i in range(1400))
    data = own_system({"a.log": text.encode()}, format=form, parser={"masks": ["[0-9]+"]}).data_dir
    options = ("--data", data, "--save", tmp_path / "m", "--threshold", "conformal:0.2")
    assert call("fit", "ecvc", "--scenario", "app", *options)[0] == 0
    log = tmp_path / "new.log"
    log.write_text(text[:20_000])
    os.utime(log, (1_700_000_000, 1_700_000_000))  # 14 November 2023: the last 29 November is that of 2022
    _, out, _ = call("score", tmp_path / "m", log, "--json")
    assert rows(out)[0]["time"] == "2022-11-29 00:00:00"
