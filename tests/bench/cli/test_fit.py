"""`bench fit` and `bench score`: a saved detector scores new lines as the run scored them."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import DataSpec, Loader
from bench.data.sequences.vocabulary import Vocabulary

FORM = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
WORDS = ["open door", "close door", "read meter of room", "send report to head office", "sleep"]


def line(i):
    if i % 97 == 96:
        return f"BAD {i} explosion in room {i}"
    return f"- {i} {WORDS[(i * i) % 5]} {i % 7}"


@pytest.fixture
def data(own_system):
    """A system of 1,000 lines with an alert now and then, and its folder."""
    text = "".join(f"{line(i)}\n" for i in range(1000))
    return own_system({"a.log": text.encode()}, format=FORM, parser={"masks": ["[0-9]+"]}).data_dir


@pytest.fixture
def saved(data, call, tmp_path):
    def make(method="ecvc", *arguments):
        if "--threshold" not in arguments:
            arguments += ("--threshold", "conformal:0.2")  # eight normal windows validate
        code, out, err = call("fit", method, "--scenario", "app", "--data", data, "--save", tmp_path / "m", *arguments)
        assert code == 0, err
        assert "saved in" in out
        return tmp_path / "m"

    return make


def rows(out):
    return [json.loads(row) for row in out.splitlines()]


@pytest.mark.slow_cases("deeplog")
@pytest.mark.trains
@pytest.mark.parametrize("method", ["ecvc", "new-event", "length", "deeplog"])
def test_new_lines_get_the_scores_of_the_run(saved, call, data, tmp_path, method):
    """The windows of the test part stand in the file as they stood in the run."""
    settings = ("--set", "deeplog.steps=20") if method == "deeplog" else ()
    folder = saved(method, *settings)
    code, out, err = call("score", folder, data / "app" / "a.log", "--json")
    assert code == 0, err
    found = rows(out)
    assert [(row["first_line"], row["last_line"]) for row in found[:2]] == [(1, 20), (21, 40)]
    arguments = ("--methods", method, "--scenario", "app", "--seeds", 1, *settings, "--data", data, "--json")
    _, out, _ = call("run", *arguments, "--out", tmp_path / "r")
    row = next(row for row in json.loads(out) if row["method"].startswith(method))
    with np.load(tmp_path / "r" / "scores" / f"{row['run_ids'][0]}.npz") as scores:
        assert [row["score"] for row in found[40:]] == pytest.approx(scores["test"].tolist(), rel=1e-9)
    provenance = json.loads((folder / "detector.json").read_text())["provenance"]
    assert provenance["run_id"] == row["run_ids"][0]


@pytest.mark.slow
@pytest.mark.trains
def test_new_lines_get_the_scores_of_the_run_with_message_parameters(saved, call, data, tmp_path):
    settings = [part for text in ("parameter_model=true", "steps=20") for part in ("--set", f"deeplog.{text}")]
    folder = saved("deeplog", *settings)
    _, out, _ = call("score", folder, data / "app" / "a.log", "--json")
    found = [row["score"] for row in rows(out)]
    arguments = ("--methods", "deeplog", "--scenario", "app", "--seeds", 1, *settings, "--data", data, "--json")
    _, out, _ = call("run", *arguments, "--out", tmp_path / "r")
    (row,) = [row for row in json.loads(out) if row["method"].startswith("deeplog")]
    with np.load(tmp_path / "r" / "scores" / f"{row['run_ids'][0]}.npz") as scores:
        assert found[40:] == pytest.approx(scores["test"].tolist(), rel=1e-9)
    # The numbers decide some of these scores: a rank is whole, an error is not.
    assert any(score % 1 for score in found[40:])


def test_a_method_that_cannot_run_on_the_data_is_one_sentence(call, data, tmp_path):
    code, _, err = call("fit", "logtad", "--scenario", "app", "--data", data, "--save", tmp_path / "m")
    assert code == 2
    assert err.startswith("error: 'logtad' cannot be fitted: LogTAD aligns at least two systems")
    assert err.count("\n") == 1


def test_sessions_are_scored_by_their_names(call, tmp_path):
    folder = tmp_path / "m"
    assert call("fit", "ecvc", "--scenario", "hdfs@simulated", "--save", folder)[0] == 0
    from bench.data.reading.read import simulated_files

    log = tmp_path / "new.log"
    log.write_bytes(simulated_files(catalogue().resolve("hdfs@simulated"))["lines"])
    code, out, err = call("score", folder, log, "--json")
    assert code == 0, err
    assert len(rows(out)) == catalogue().resolve("hdfs@simulated").counts["sessions"]
    assert all(row["id"].startswith("blk_") for row in rows(out))


def test_a_pipe_is_scored_as_its_windows_fill(saved):
    """A real process: the first rows come while the pipe is still open."""
    folder = saved("new-event", "--threshold", "native")
    command = [sys.executable, "-m", "bench", "score", str(folder), "-", "--json", "--explain", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        process.stdin.write("".join(f"{line(i)}\n" for i in range(60, 110)).encode())
        process.stdin.flush()
        first, second = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
        assert (first["last_line"], second["first_line"]) == (20, 21)
        (event,) = second["events"]  # 97 of the log is line 37 of the pipe
        assert (event["line"], event["weight"]) == (37, 1)
        process.stdin.write("".join(f"{line(i)}\n" for i in [*range(110, 115), 96, *range(116, 125)]).encode())
        process.stdin.close()
        (third,) = rows(process.stdout.read().decode())
        assert (third["first_line"], third["last_line"], process.wait()) == (41, 60, 0)
        assert third["events"][0]["line"] == 56


def test_a_pipe_in_odd_pieces_equals_the_file(saved, data):
    folder = saved("ecvc", "--window-size", 10, "--window-step", 7)
    file = data / "app" / "a.log"
    command = [sys.executable, "-m", "bench", "score", str(folder)]
    whole = subprocess.run([*command, str(file)], capture_output=True, check=True).stdout
    piece = "import sys,time\nfor i in range(0, 1 << 20, 997):\n b = open(sys.argv[1], 'rb').read()[i:i + 997]\n"
    piece += " if not b: break\n sys.stdout.buffer.write(b); sys.stdout.flush(); time.sleep(0.002)"
    with subprocess.Popen([sys.executable, "-c", piece, str(file)], stdout=subprocess.PIPE) as feeder:
        piped = subprocess.run([*command, "-"], stdin=feeder.stdout, capture_output=True, check=True).stdout
    assert whole == piped
    rows = [row for row in whole.decode().splitlines() if not row.startswith(" ")]
    assert len(rows) == (1000 - 10) // 7 + 1


def test_flagged_only(saved, call, data):
    folder = saved("new-event", "--threshold", "native")
    _, everything, _ = call("score", folder, data / "app" / "a.log")
    _, flagged, summary = call("score", folder, data / "app" / "a.log", "--flagged")
    rows = [row for row in everything.splitlines() if not row.startswith(" ")]
    shown = [row for row in flagged.splitlines() if not row.startswith(" ")]
    assert 0 < len(shown) < len(rows)
    assert shown == [row for row in rows if row.endswith("\tflagged")]
    assert f"{len(rows)} sequences, {len(shown)} flagged" in summary


def test_explain_names_the_line(saved, call, data):
    """Every 97th line explodes; a window names that line first, with its text, and each other text once."""
    folder = saved("new-event", "--threshold", "native")
    code, out, err = call("score", folder, data / "app" / "a.log", "--json", "--explain", 2)
    assert code == 0, err
    found = rows(out)
    assert sum(row["flagged"] for row in found) == 10
    for row in found:
        strongest, second = row["events"]
        assert strongest["attention"] is None
        assert row["first_line"] <= second["line"] <= row["last_line"]
        assert strongest["text"] != second["text"]
        if row["flagged"]:
            assert strongest["line"] % 97 == 0
            assert (strongest["weight"], strongest["n_lines"], second["weight"]) == (1, 1, 0)
            assert "explosion" in strongest["text"]


def test_explained_rows_to_read(saved, call, data):
    folder = saved("new-event", "--threshold", "native")
    _, everything, _ = call("score", folder, data / "app" / "a.log", "--explain", 2)
    shown = everything.splitlines()
    assert shown[12].startswith("81-100\t")
    assert shown[13] == "    1970-01-01 00:01:36 | 96 explosion in room 96"
    assert shown[14].startswith("    line 97\t1\t")
    assert " x" in shown[15].split("\t")[1]  # a text that several lines of the window have
    _, flagged, _ = call("score", folder, data / "app" / "a.log", "--explain", 2, "--flagged")
    assert flagged.splitlines()[:4] == shown[12:16]
    assert len(flagged.splitlines()) == 4 * 10


def test_control_characters_of_a_log_do_not_reach_the_terminal(saved, call, tmp_path):
    log = tmp_path / "new.log"
    log.write_text("".join(f"- {i} \x1b[2J\x07wiped\n" for i in range(20)))
    _, out, _ = call("score", saved("new-event", "--threshold", "native"), log, "--explain", 1)
    assert "wiped" in out
    assert not any(sign in out for sign in "\x1b\x07")


def test_only_flagged_sequences_are_explained_where_only_they_are_shown(saved, call, data, monkeypatch):
    from methods.controls import NewEvent

    explained, plain = [], NewEvent.explain
    monkeypatch.setattr(NewEvent, "explain", lambda self, given: explained.append(len(given)) or plain(self, given))
    folder = saved("new-event", "--threshold", "native")
    call("score", folder, data / "app" / "a.log", "--flagged", "--explain", 1)
    assert explained == [10]


@pytest.mark.trains
def test_mlad_names_the_line_and_its_attention(saved, call, data):
    folder = saved("mlad", "--set", "mlad.steps=100", "--set", "mlad.batch_size=8")
    code, out, err = call("score", folder, data / "app" / "a.log", "--json", "--explain", 20)
    assert code == 0, err
    planted = [row for row in rows(out) if any("explosion" in event["text"] for event in row["events"])]
    assert len(planted) == 10
    assert np.mean([row["events"][0]["line"] % 97 == 0 for row in planted]) > 0.8
    for row in rows(out):
        weights = [event["weight"] for event in row["events"]]
        assert weights == sorted(weights, reverse=True)
        assert sum(event["attention"] * event["n_lines"] for event in row["events"]) == pytest.approx(1, abs=1e-4)


def test_labels_of_new_lines_change_nothing(saved, call, data, tmp_path):
    folder = saved()
    hidden = tmp_path / "hidden.log"
    text = (data / "app" / "a.log").read_text()
    hidden.write_text("".join(f"CANARY{row[row.index(' ') :]}\n" for row in text.splitlines()))
    assert call("score", folder, hidden)[1] == call("score", folder, data / "app" / "a.log")[1]


@pytest.mark.parametrize("key", ["bgl@simulated", "tbird@simulated"])
def test_a_stored_vocabulary_gives_the_same_log_keys(key):
    """Matching goes through the tree, so the tree is stored, not the templates alone."""
    found = catalogue()
    card = found.resolve(key)
    loader = Loader(found)
    vocabulary = loader.prepare(DataSpec((card,), (card,))).vocabulary
    again = Vocabulary.from_state(json.loads(json.dumps(vocabulary.state())), card.parser)
    messages = list(loader.log(card).messages)
    assert again._drain.match(messages).tolist() == vocabulary._drain.match(messages).tolist()
    assert again.texts == vocabulary.texts


def test_mistakes(saved, call, data, tmp_path):
    def complaint(*arguments):
        code, _, err = call(*arguments)
        assert code == 2
        assert err.count("\n") == 1
        return err

    folder = saved()
    assert "does not exist" in complaint("score", folder, tmp_path / "no.log")
    assert "no saved detector" in complaint("score", tmp_path / "nowhere", data / "app" / "a.log")
    (tmp_path / "new.log").write_bytes(gzip.compress(b"- 1 open door\n"))
    assert "rename it to 'new.log.gz'" in complaint("score", folder, tmp_path / "new.log")
    assert "does not know 'bgl'" in complaint("score", folder, data / "app" / "a.log", "--system", "bgl")
    arguments = ("--data", data, "--save", tmp_path / "x")
    assert "transfer" in complaint("fit", "ecvc", "--scenario", "app2bgl", *arguments)
    assert "several values" in complaint(
        "fit", "deeplog", "--scenario", "app", "--set", "deeplog.history=3,4", *arguments
    )
    length = saved("length")
    assert "'length' cannot say which events" in complaint("score", length, data / "app" / "a.log", "--explain", 3)
    next(folder.glob("*.safetensors")).write_bytes(b"x")
    assert "damaged" in complaint("score", folder, data / "app" / "a.log")
