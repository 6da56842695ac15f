"""`bench data new`: from a log of one's own to a data set, as a user does it."""

import errno
import gzip
import json
import shutil
import tomllib

import pytest

from bench.data.own.card import edition_of

EPOCH = 1_700_000_000


@pytest.fixture
def tea_log(tmp_path):
    """A labelled log of a made-up kitchen: every 97th line is a spill, in words unseen before."""

    def make(name="data/Tea Log.log", n=4000, label=True):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{EPOCH + i} poured {i % 83} ml into cup {i % 7}" for i in range(n)]
        if label:
            spills = [f"SPILL {EPOCH + i} spilled tea on the {('floor', 'sofa')[i % 2]}" for i in range(n)]
            lines = [spills[i] if i % 97 == 0 and i > n / 2 else f"- {line}" for i, line in enumerate(lines)]
        content = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return make


@pytest.fixture
def complaint(call):
    def make(*arguments):
        code, out, err = call("data", "new", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        return err

    return make


def test_from_a_log_to_a_table(call, tea_log, tmp_path):
    log = tea_log()
    code, out, _ = call("data", "new", "kitchen", log)
    assert code == 0
    assert "kitchen@tea-log" in out
    assert "epoch first: 100.0% of the first 2,000 lines match" in out
    assert "poured 3 ml into cup 3" in out
    assert f"bench data info kitchen --data {log.parent}" in out
    assert f"export BENCH_DATA={log.parent}" in out
    assert "No labels?" not in out
    data = ("--data", log.parent)
    code, out, _ = call("data", "info", "kitchen", *data, "--json")
    facts = json.loads(out)
    assert (code, facts["lines"], facts["distinct masked messages"]) == (0, 4000, 3)
    assert facts["defects"] == []
    assert call("data", "verify", "kitchen", *data)[:2] == (0, "kitchen@tea-log: ok\n")
    code, out, _ = call("run", "--methods", "new-event", "--scenario", "kitchen", *data, "--seeds", 1)
    assert code == 0
    assert "kitchen@tea-log" in out


def test_without_labels_info_works(call, tea_log, monkeypatch):
    log = tea_log("logs/plain.txt.gz", label=False)
    monkeypatch.setenv("BENCH_DATA", str(log.parent))
    code, out, _ = call("data", "new", "kitchen", log)
    assert code == 0
    assert "none found" in out
    assert "\nNext: bench data info kitchen\n" in out
    assert "export" not in out
    assert f"No labels? bench score {log} --fit new-event,ecvc\n" in out
    assert "  --incidents FILE " in out
    assert len(out.splitlines()) <= 32
    code, out, _ = call("data", "info", "kitchen@plain", "--json")
    assert (code, json.loads(out)["abnormal sequences"]) == (0, "no labels")


def test_json_names_everything(call, tea_log):
    log = tea_log()
    code, out, _ = call("data", "new", "kitchen", log, "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["edition"], facts["format"], facts["label"]) == ("kitchen@tea-log", "epoch first", "first-token")
    assert (facts["matched"], facts["timed"], facts["lines"]) == (1.0, 1.0, 4000)
    first = {"number": 1, "time": "2023-11-14T22:13:20Z", "label": "normal", "message": "poured 0 ml into cup 0"}
    assert (len(facts["read"]), facts["read"][0]) == (10, first)
    assert set(facts["ways to label"]) == {
        "the first token of each line",
        "a file with one row for each session",
        "a list of the abnormal sessions",
        "time ranges of incidents",
        "none",
    }


def test_disk_that_fills_up_leaves_nothing_half_written(call, tea_log, complaint, monkeypatch, tmp_path):
    log, data = tea_log("elsewhere/tea.log"), tmp_path / "data"
    data.mkdir()

    def full(source, target, length):
        target.write(source.read(10))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        assert "cannot be written (No space left on device)" in complaint("kitchen", log, "--data", data, "--copy")
    assert list((data / "kitchen").iterdir()) == []
    assert call("data", "new", "kitchen", log, "--data", data, "--copy")[0] == 0


def test_abnormal_lines_are_among_those_shown(call, tmp_path):
    log = tmp_path / "a.log"
    log.write_text("".join(f"{'SPILL' if i % 50 == 49 else '-'} {EPOCH + i} cup {i}\n" for i in range(400)))
    read = json.loads(call("data", "new", "kitchen", log, "--json")[1])["read"]
    assert [row["number"] for row in read] == [1, 2, 3, 4, 5, 6, 7, 50, 100, 150]
    assert {row["label"] for row in read[7:]} == {"abnormal"}
    assert not any("SPILL" in row["message"] for row in read)


def test_label_can_be_overridden(call, tea_log):
    log = tea_log()
    facts = json.loads(call("data", "new", "kitchen", log, "--label", "none", "--json")[1])
    assert (facts["label"], facts["timed"]) == ("none", 1.0)
    assert facts["read"][0]["message"] == "poured 0 ml into cup 0"
    assert call("data", "info", "kitchen", "--data", log.parent)[0] == 0


def test_existing_card_is_kept_unless_forced(call, tea_log, complaint):
    log = tea_log()
    assert call("data", "new", "kitchen", log)[0] == 0
    card = log.parent / "kitchen" / "_system.toml"
    card.write_text("# mine\n" + card.read_text())
    assert f"the card {card} exists: give --force" in complaint("kitchen", log)
    assert card.read_text().startswith("# mine")
    assert call("data", "new", "kitchen", log, "--force")[0] == 0
    assert not card.read_text().startswith("# mine")


def test_log_from_elsewhere_is_copied_when_asked(call, tea_log, complaint, tmp_path):
    log, data = tea_log("elsewhere/tea.log"), tmp_path / "data"
    data.mkdir()
    assert call("data", "new", "kitchen", log, "--data", data, "--copy")[0] == 0
    assert (data / "kitchen" / "tea.log").read_bytes() == log.read_bytes()
    assert sorted(path.name for path in (data / "kitchen").iterdir()) == ["_system.toml", "tea.log", "tea.toml"]
    assert call("data", "verify", "kitchen", "--data", data)[0] == 0
    (data / "kitchen" / "tea.toml").unlink()
    (data / "kitchen" / "_system.toml").unlink()
    assert "tea.log exists: give --force" in complaint("kitchen", log, "--data", data, "--copy")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bgl", "name of a shipped data set"),
        ("thunderbird", "name of a shipped data set"),
        ("Kitchen", "is no name for a data set"),
        ("../kitchen", "is no name for a data set"),
        ("a@b", "is no name for a data set"),
        ("kitchen2hdfs", "would be read as a transfer"),
    ],
)
def test_bad_names(complaint, tea_log, name, reason):
    log = tea_log()
    message = complaint(name, log)
    assert reason in message
    assert f"'{name}'" in message
    assert list(log.parent.iterdir()) == [log]


def test_bad_files_and_folders(complaint, tea_log, tmp_path):
    assert "does not exist" in complaint("kitchen", tmp_path / "no.log")
    assert "is no file" in complaint("kitchen", tmp_path)
    assert "the data folder" in complaint("kitchen", tea_log(), "--data", tmp_path / "nowhere")
    (tmp_path / "empty.log").touch()
    assert "no line to look at" in complaint("kitchen", tmp_path / "empty.log")
    (tmp_path / "pantry").write_text("cup\n")
    assert "pantry is a file, and the cards need a folder" in complaint("pantry", tmp_path / "pantry")
    broken = tmp_path / "cut.log.gz"
    broken.write_bytes(gzip.compress(b"".join(b"%d cup\n" % i for i in range(1_000_000)))[:-100])
    assert "'cut.log.gz' cannot be unpacked" in complaint("kitchen", broken)
    assert not (tmp_path / "kitchen").exists()


def test_card_holds_odd_names_and_markup_is_shown_as_it_is(call, tmp_path):
    log = tmp_path / 'it\'s "odd" [red].log'
    log.write_text("[bold]a[/bold] [/]\x1b[31m 'b' \\d\n" * 3)
    code, out, _ = call("data", "new", "odd", log)
    assert code == 0
    assert "[bold]a[/bold] [/]" in out
    assert "\x1b" not in out
    card = tomllib.loads((tmp_path / "odd" / "it-s-odd-red.toml").read_text())
    assert card["files"][0]["name"] == log.name
    assert call("data", "verify", "odd", "--data", tmp_path)[0] == 0


def test_label_file_as_the_command_explains_it(call, tmp_path):
    log = tmp_path / "orders.log"
    log.write_text("".join(f"{EPOCH + i} order-{i // 4} step {i % 4}\n" for i in range(80)))
    facts = json.loads(call("data", "new", "shop", log, "--json")[1])
    assert facts["session"] == r"\border\-[0-9][0-9_]*\b"
    lines = facts["ways to label"]["a file with one row for each session"].splitlines()
    cut = next(i for i, line in enumerate(lines) if line.startswith("# in") and "orders.toml" in line)
    form = tomllib.loads("\n".join(lines[:cut]))["format"]
    files = tomllib.loads("\n".join(lines[cut:]))["files"]
    assert (form["label"], form["session"], files[0]["role"]) == ("label-file", facts["session"], "labels")


@pytest.mark.parametrize(
    ("file", "edition"),
    [
        ("app.log", "app"),
        ("App 2024.LOG.GZ", "app-2024"),
        ("app-2024-01-02", "app-2024-01-02"),
        ("v1.2.json", "v1.2"),
        ("_system.log", "system"),
        ("日.log", "log"),
        ("app.log.1", "app.log.1"),
    ],
)
def test_edition_is_named_after_the_file(tmp_path, file, edition):
    assert edition_of(tmp_path / file) == edition
