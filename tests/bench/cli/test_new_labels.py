"""`bench data new` with labels, years and second files: what is given goes into the cards and comes out of a run."""

import bz2
import datetime
import json
import os
import tomllib

import pytest
import zstandard

EPOCH = 1_700_000_000  # 2023-11-14T22:13:20Z
N = 400
BAD = [i for i in range(N) if i % 9 == 8]


@pytest.fixture
def complaint(call):
    def make(*arguments):
        code, out, err = call("data", "new", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        return err

    return make


@pytest.fixture
def orders(tmp_path):
    """A log of N orders of five lines each; a bad one has a message of its own."""

    def make(name="orders.log", first=0, text="order-{i} step {k}"):
        lines = []
        for i in range(first, first + N):
            for k in range(5):
                message = text.format(i=i, k=k) if k < 4 or i - first not in BAD else text.format(i=i, k="failed")
                lines.append(f"{EPOCH + 10 * i + k} {message}")
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return make


def runs(call, data, key):
    code, out, err = call("run", "--methods", "new-event", "--scenario", key, "--seeds", 1, "--data", data)
    assert code == 0, err
    return out


def facts(call, data, key):
    code, out, err = call("data", "info", key, "--data", data, "--json")
    assert code == 0, err
    return json.loads(out)


def card(path):
    return tomllib.loads(path.read_text())


TABLES = {
    "plain": ("session,label\n", "order-{i},{word}\n", ("abnormal", "normal")),
    "other columns": ("n,order,fine?,label\n", "{i},order-{i},x,{word}\n", ("1", "0")),
    "unusual words": ("order,outcome\n", "order-{i},{word}\n", ("burnt", "served")),
}


@pytest.mark.parametrize("which", TABLES)
def test_a_table_of_sessions(call, orders, tmp_path, which):
    head, row, (bad, good) = TABLES[which]
    labels = tmp_path / "labels.csv"
    labels.write_text(head + "".join(row.format(i=i, word=bad if i in BAD else good) for i in range(N)))
    code, out, err = call("data", "new", "shop", orders(), "--labels", labels)
    assert code == 0, err
    assert f"normal is '{good}'" in out
    found = facts(call, tmp_path, "shop")
    assert (found["sequences"], found["abnormal sequences"]) == (N, f"{len(BAD)} (11.00%)")
    if which == "plain":
        assert "shop@orders" in runs(call, tmp_path, "shop")
    assert call("data", "verify", "shop", "--data", tmp_path)[0] == 0
    files = card(tmp_path / "shop/orders.toml")["files"]
    assert [file["role"] for file in files] == ["log", "labels"]
    assert all(len(file["sha256"]) == 64 for file in files)


def test_a_list_of_abnormal_sessions_and_a_pattern_with_a_group(call, orders, tmp_path):
    log = orders(text="order={i} step {k}")
    listed = tmp_path / "bad.txt"
    listed.write_text("".join(f"{i}\n" for i in BAD))
    session = "order=(?P<session>[0-9]+)"
    code, out, err = call("data", "new", "shop", log, "--labels", listed, "--session", session)
    assert code == 0, err
    assert f"the {len(BAD)} sessions listed in bad.txt are abnormal" in out
    found = facts(call, tmp_path, "shop")
    assert (found["sequences"], found["abnormal sequences"]) == (N, f"{len(BAD)} (11.00%)")


def test_a_table_of_bare_ids_and_a_pattern_with_a_group(call, orders, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n" + "".join(f"{i},{'Anomaly' if i in BAD else 'Normal'}\n" for i in range(N)))
    session = "order=(?P<session>[0-9]+)"
    log = orders(text="order={i} step {k}")
    assert call("data", "new", "shop", log, "--labels", labels, "--session", session)[0] == 0
    assert facts(call, tmp_path, "shop")["abnormal sequences"] == f"{len(BAD)} (11.00%)"


def iso(second):
    return datetime.datetime.fromtimestamp(EPOCH + second, datetime.UTC).isoformat()


@pytest.mark.parametrize("write", [iso, lambda second: f"{EPOCH + second}", lambda second: iso(second)[:19]])
def test_incidents(call, orders, tmp_path, write):
    incidents = tmp_path / "incidents.csv"
    rows = [f"{write(10 * i)},{write(10 * i + 4)},note\n" for i in BAD]
    incidents.write_text("start,end,why\n\n# a remark\n" + "".join(rows))
    code, out, err = call("data", "new", "shop", orders(), "--incidents", incidents, "--json")
    assert code == 0, err
    assert json.loads(out)["read"][-1]["label"] == "abnormal"
    made = card(tmp_path / "shop/orders.toml")["incidents"]
    assert len(made) == len(BAD)
    assert made[0]["start"] == datetime.datetime.fromtimestamp(EPOCH + 80, datetime.UTC)
    if write is iso:
        assert "shop@orders" in runs(call, tmp_path, "shop")
    # Windows of 20 lines are four orders.
    n_bad = len({i // 4 for i in BAD})
    assert facts(call, tmp_path, "shop")["abnormal sequences"].startswith(f"{n_bad} (")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "names no incident"),
        ("start,end\n", "names no incident"),
        ("2024-01-01\n", "line 1 of"),
        ("2024-01-01,later\n", "'later'"),
        ("1700000000,1600000000\n", "ends before it starts"),
        ("1700000000000,1700000001000\n", "'1700000000000'"),
    ],
)
def test_mistakes_in_incidents(complaint, orders, tmp_path, text, expected):
    path = tmp_path / "incidents.csv"
    path.write_text(text)
    assert expected in complaint("shop", orders(), "--incidents", path)
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("session,label\nx-1,0\nx-2,1\n", (), "names a session of the first lines"),
        ("session,label\norder-1,bad\norder-2,bad\n", (), "every session"),
        ("session,label\norder-1,a\norder-2,b\n", ("--normal", "c"), "no row of"),
        ("words\nof\nno use\n", (), "no row of it has a session id"),
        ("session,label\norder-1,0\n", ("--session", "("), "--session '('"),
        ("session,label\norder-1,0\n", ("--session", "(?=o)"), "--session '(?=o)'"),
        ("session,label\norder-1,0\n", ("--session", "cup-[0-9]+"), "holds a session id like"),
        ("session,label\norder-1,0\n", ("--incidents", "x"), "--labels and --incidents both"),
        ("session,label\norder-1,0\n", ("--label", "none"), "--label and --labels both"),
        ("session,label\norder-1,0\n", ("--year", "2020"), "not read without one"),
    ],
)
def test_mistakes_in_labels(complaint, orders, tmp_path, text, options, expected):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    assert expected in complaint("shop", orders(), "--labels", path, *options)
    assert not (tmp_path / "shop").exists()


def test_files_that_are_not_there(complaint, orders, tmp_path):
    assert "does not exist" in complaint("shop", orders(), "--labels", tmp_path / "no.csv")
    assert "does not exist" in complaint("shop", orders(), "--incidents", tmp_path / "no.csv")


def test_incidents_need_times(complaint, tmp_path):
    log, incidents = tmp_path / "a.log", tmp_path / "incidents.csv"
    log.write_text("tea is served\n" * 50)
    incidents.write_text("1700000000,1700000001\n")
    assert "no time of 'a.log' is read" in complaint("tea", log, "--incidents", incidents)


@pytest.mark.parametrize(
    "line",
    ["{t:%b} {t.day:2} {t:%H:%M:%S} cup7 tead[71]: poured {i}", "{t:%m-%d %H:%M:%S}.250 71 INFO Pot: poured {i}"],
)
def test_times_without_a_year(call, tmp_path, line):
    """From December into January, in a file that was changed in the later year."""
    start = datetime.datetime(2021, 12, 31, 12, tzinfo=datetime.UTC)
    log = tmp_path / "sys.log"
    times = [start + datetime.timedelta(minutes=10 * i) for i in range(200)]
    log.write_text("".join(line.format(t=time, i=i) + "\n" for i, time in enumerate(times)))
    changed = times[-1].timestamp() + 60
    os.utime(log, (changed, changed))
    code, out, err = call("data", "new", "pantry", log)
    assert code == 0, err
    assert "The times have no year: 2021 is taken, as the file was last changed on 2022-01-01; else --year." in out
    assert "100.0% read" in out
    assert "2021-12-31T12:00:00" in out
    assert card(tmp_path / "pantry/_system.toml")["format"]["year"] == 2021
    span = facts(call, tmp_path, "pantry")["time range (UTC)"]
    assert span.startswith("2021-12-31T12:00:00")
    assert " to 2022-01-01T21:10:00" in span
    out = call("data", "new", "pantry", log, "--year", "2015", "--force")[1]
    assert "no year" not in out
    assert "2015-12-31T12:00:00" in out
    # A second file of another year has its own, and all else from the system.
    other = tmp_path / "old.log"
    other.write_text(log.read_text())
    assert call("data", "new", "pantry", other, "--year", "2003")[0] == 0
    assert card(tmp_path / "pantry/old.toml")["format"] == {"year": 2003}
    assert facts(call, tmp_path, "pantry@old")["time range (UTC)"].startswith("2003-12-31")


def test_a_second_file_is_a_further_edition(call, orders, tmp_path):
    assert call("data", "new", "shop", orders())[0] == 0
    system = tmp_path / "shop/_system.toml"
    system.write_text(system.read_text().replace('licence = "not stated"', 'licence = "internal"'))
    before = system.read_text()
    code, out, err = call("data", "new", "shop", orders("june.log", first=N))
    assert code == 0, err
    assert "the format of shop: 100.0%" in out
    assert "order-400 step 0" in out
    assert "Next: bench data info shop@june" in out
    assert system.read_text() == before
    assert "format" not in card(tmp_path / "shop/june.toml")
    assert facts(call, tmp_path, "shop")["edition"] == "shop@orders"
    assert facts(call, tmp_path, "shop@june")["licence"] == "internal"
    code, _, err = call("data", "new", "shop", tmp_path / "june.log")
    assert (code, "give --force" in err) == (2, True)


def test_a_second_file_needs_labels_of_the_same_kind(call, complaint, orders, tmp_path):
    incidents = tmp_path / "incidents.csv"
    incidents.write_text(f"{iso(80)},{iso(84)}\n")
    assert call("data", "new", "shop", orders(), "--incidents", incidents)[0] == 0
    june = orders("june.log", first=N)
    assert "give those of this log by --incidents" in complaint("shop", june)
    incidents.write_text(f"{iso(10 * N + 80)},{iso(10 * N + 84)}\n")
    assert call("data", "new", "shop", june, "--incidents", incidents)[0] == 0
    assert facts(call, tmp_path, "shop@june")["abnormal sequences"].startswith("1 (")
    assert "label = 'incidents'" in complaint("shop", orders("july.log"), "--label", "first-token")
    assert call("data", "new", "shop", tmp_path / "july.log", "--label", "none")[0] == 0
    assert facts(call, tmp_path, "shop@july")["abnormal sequences"] == "no labels"


def test_a_second_file_of_another_format_says_so(call, orders, tmp_path):
    assert call("data", "new", "shop", orders())[0] == 0
    other = tmp_path / "other.log"
    other.write_text("tea is served\n" * 50)
    code, out, _ = call("data", "new", "shop", other)
    assert (code, "Only 0.0% of the lines match" in out) == (0, True)


@pytest.mark.parametrize(("ending", "pack"), [("bz2", bz2.compress), ("zst", zstandard.compress)])
def test_packed_logs(call, orders, tmp_path, ending, pack):
    log = orders()
    packed = tmp_path / f"orders.log.{ending}"
    packed.write_bytes(pack(log.read_bytes()))
    assert call("data", "new", "shop", packed)[0] == 0
    assert facts(call, tmp_path, "shop@orders")["lines"] == 5 * N
    assert call("data", "verify", "shop", "--data", tmp_path)[0] == 0


def test_files_from_elsewhere_are_linked_or_copied(call, orders, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    labels = tmp_path / "labels.csv"
    labels.write_text("session,label\n" + "".join(f"order-{i},{int(i in BAD)}\n" for i in range(N)))
    log = orders()
    made = call("data", "new", "shop", log, "--labels", labels, "--data", data)
    assert (made[0], f"{log} stays where it is" in made[1].replace("\n", " ")) == (0, True)
    assert (data / "shop/orders.log").resolve() == log
    assert facts(call, data, "shop")["abnormal sequences"] == f"{len(BAD)} (11.00%)"
    log.write_text(log.read_text() + f"{EPOCH} order-1 step 9\n")
    code, _, err = call("data", "info", "shop", "--data", data)
    assert (code, "wrong checksum" in err) == (2, True)
    log = orders()
    assert call("data", "new", "shop", log, "--labels", labels, "--data", data, "--copy", "--force")[0] == 0
    assert not (data / "shop/orders.log").is_symlink()
    assert sorted(path.name for path in (data / "shop").iterdir()) == [
        "_system.toml",
        "labels.csv",
        "orders.log",
        "orders.toml",
    ]
    assert facts(call, data, "shop")["abnormal sequences"] == f"{len(BAD)} (11.00%)"


def test_the_ways_it_shows_are_cards_that_work(call, orders, tmp_path):
    log = orders()
    ways = json.loads(call("data", "new", "shop", log, "--json")[1])["ways to label"]
    assert len(ways) == 5
    for way, lines in ways.items():
        tomllib.loads(lines)
        assert f"bench data new shop {log} --force" in lines, way


def test_an_edition_from_files_of_a_system_with_incidents(call, orders, tmp_path):
    incidents = tmp_path / "incidents.csv"
    incidents.write_text(f"{iso(80)},{iso(84)}\n")
    assert call("data", "new", "shop", orders(), "--incidents", incidents)[0] == 0
    code, _, err = call("data", "prepare", "shop@june", "--from", orders("june.log"), "--data", tmp_path)
    assert (code, "bench data new shop FILE --incidents" in err) == (2, True)
    # No card that cannot be read is left behind.
    assert facts(call, tmp_path, "shop")["lines"] == 5 * N
