"""What the simulated editions promise: the same bytes everywhere, honest labels, every kind of anomaly all along."""

import copy
import csv
import hashlib
import io
import re
import string
import tomllib
from itertools import islice, pairwise
from pathlib import Path

import pytest

from bench.data.catalogue import catalogue
from bench.data.grammar import KINDS
from bench.data.parsing import DrainParser
from bench.data.readers import read
from bench.data.simulate import iter_lines, simulate
from bench.errors import BenchError

DATASETS = Path(__file__).parents[3] / "datasets"
HEADERS = {
    "bgl": re.compile(r"^(\S+) (\d+) \S+ \S+ \S+ \S+ (\S+) (\S+) (\S+) (.*)$"),
    "tbird": re.compile(r"^(\S+) (\d+) \S+ \S+ \S+ +\d+ \S+ \S+ (.*)$"),
    "hdfs": re.compile(r"^(\d{6}) (\d{6}) (\d+) (\S+) (\S+): (.*)$"),
}
NAMES = tuple(HEADERS)
LINE_LABELLED = ("bgl", "tbird")
CARDS = {name: tomllib.loads((DATASETS / name / "simulated.toml").read_text("utf-8")) for name in NAMES}


@pytest.fixture(scope="module")
def logs():
    return {name: simulate(card["simulate"], seed=card["seed"]) for name, card in CARDS.items()}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def lines_of(log):
    return log.lines.decode().splitlines()


def block_of(line):
    return re.search(r"blk_-?\d+", line).group()


@pytest.fixture
def grammar():
    """The smallest grammar that has everything."""
    return {
        "lines": 50,
        "start_epoch": 0,
        "episode_gap_s": [1, 2],
        "step_gap_s": [0.1, 3],
        "anomaly_gap_lines": [10, 10],
        "header": "{label} {epoch} {yyyy}-{mm}-{dd} {mon} {d} {HH}:{MM}:{SS}.{ffffff} {level} ",
        "labels": {"normal": "-"},
        "parameters": {
            "door": {"range": [1, 9], "scope": "episode"},
            "who": {"values": ["ann", "bob"]},
            "badge": {"text": "{who}-{number:02d}"},
            "number": {"range": [0, 7]},
            "huge": {"range": [1000, 1000]},
        },
        "messages": {
            "open": {"level": "LOW", "text": "door {door} opened by {badge}"},
            "shut": {"level": "LOW", "text": "door {door} shut after {number} s"},
            "stuck": {"level": "HIGH", "text": "door {door} stuck"},
        },
        "processes": [{"name": "pass", "steps": ["open", {"of": ["shut"], "times": [1, 1]}]}],
        "anomalies": [
            {"name": "jam", "kind": "new-message", "alert": "JAM", "steps": [{"of": "open", "normal": True}, "stuck"]}
        ],
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_are_those_of_the_card(name, logs):
    assert sha256(logs[name].lines) == CARDS[name]["sha256"]["lines"]
    if name not in LINE_LABELLED:
        assert sha256(logs[name].label_file) == CARDS[name]["sha256"]["labels"]


@pytest.mark.parametrize("name", NAMES)
def test_the_counts_are_those_of_the_card(name, logs):
    log, counts = logs[name], CARDS[name]["counts"]
    assert log.n_lines == len(lines_of(log)) == counts["lines"]
    if name in LINE_LABELLED:
        assert sum(log.abnormal_lines().values()) == counts["abnormal_lines"]
    else:
        assert sum(log.abnormal_sessions().values()) == counts["abnormal_sessions"]


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_other_lines(name, logs):
    assert simulate(CARDS[name]["simulate"], seed=CARDS[name]["seed"] + 1, n_lines=300).lines != logs[name].lines


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_lines_scales_and_every_episode_is_finished(name):
    log = simulate(CARDS[name]["simulate"], seed=0, n_lines=777)
    assert 777 <= log.n_lines < 777 + 20


@pytest.mark.parametrize("name", NAMES)
def test_lines_can_be_streamed(name, logs):
    card = CARDS[name]
    streamed = islice(iter_lines(card["simulate"], seed=card["seed"]), 100)
    assert [line.text for line in streamed] == lines_of(logs[name])[:100]


def test_a_stream_does_not_wait_for_the_end():
    endless = iter_lines(CARDS["hdfs"]["simulate"], seed=0, n_lines=10**15)
    assert len(list(islice(endless, 50))) == 50


@pytest.mark.parametrize("name", NAMES)
def test_the_header_of_every_line_is_the_system_s(name, logs):
    assert all(HEADERS[name].match(line) for line in lines_of(logs[name]))


@pytest.mark.parametrize("name", LINE_LABELLED)
def test_time_never_runs_back(name, logs):
    epochs = [int(line.split()[1]) for line in lines_of(logs[name])]
    assert all(earlier <= later for earlier, later in pairwise(epochs))


@pytest.mark.parametrize("name", LINE_LABELLED)
def test_an_alert_stands_where_an_episode_deviates_and_nowhere_else(name, logs):
    alerts = {anomaly["alert"]: anomaly["kind"] for anomaly in CARDS[name]["simulate"]["anomalies"]}
    labels = [line.split()[0] for line in lines_of(logs[name])]
    assert [alerts.get(label, "") for label in labels] == list(logs[name].kinds)
    assert set(labels) - {"-"} <= set(alerts)


def test_the_label_file_has_each_block_once(logs):
    rows = list(csv.DictReader(io.StringIO(logs["hdfs"].label_file.decode())))
    assert [row["BlockId"] for row in rows] == list(dict.fromkeys(map(block_of, lines_of(logs["hdfs"]))))
    abnormal = {row["BlockId"] for row in rows if row["Label"] == "Anomaly"}
    assert abnormal == {session for session, kind in logs["hdfs"].sessions.items() if kind}
    assert len(rows) >= 500


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_anomaly_stands_in_every_part(name, logs):
    kinds = logs[name].kinds
    cuts = [0, len(kinds) * 6 // 10, len(kinds) * 8 // 10, len(kinds)]
    for start, end in pairwise(cuts):
        assert set(kinds[start:end]) == {"", *KINDS}


@pytest.mark.parametrize("name", LINE_LABELLED)
def test_about_a_tenth_of_the_windows_is_abnormal(name, logs):
    kinds = logs[name].kinds
    windows = [any(kinds[i : i + 20]) for i in range(0, len(kinds) - 19, 20)]
    assert 0.08 <= sum(windows) / len(windows) <= 0.12


def test_about_one_block_in_sixteen_is_abnormal(logs):
    sessions = logs["hdfs"].sessions.values()
    assert 0.05 <= sum(map(bool, sessions)) / len(sessions) <= 0.08


@pytest.mark.parametrize("name", NAMES)
def test_some_normal_messages_appear_only_late(name, logs):
    """Drift: without it the rule "never seen in training" makes no false alarm."""
    grammar = CARDS[name]["simulate"]
    late = [process for process in grammar["processes"] if process.get("during", [0])[0] >= 0.6]
    early = [process for process in grammar["processes"] if "during" not in process]
    known = {message for process in early for message in messages_of(process)}
    new = {message for process in late for message in messages_of(process)} - known
    texts = lines_of(logs[name])
    first = [min(i for i, line in enumerate(texts) if wording(grammar, m).search(line)) for m in new]
    assert first
    assert min(first) > 0.6 * len(texts)


def messages_of(process):
    for step in process["steps"]:
        of = step["of"] if isinstance(step, dict) else step
        yield from [of] if isinstance(of, str) else of


def skeleton(text):
    return "".join(literal + ("<*>" if name else "") for literal, name, _, _ in string.Formatter().parse(text))


def wording(grammar, message):
    return re.compile(".+".join(map(re.escape, skeleton(grammar["messages"][message]["text"]).split("<*>"))) + "$")


@pytest.mark.parametrize("name", NAMES)
def test_drain_tells_all_messages_apart(name):
    """A normal and an abnormal message under one log key would hide the anomaly from every key-based method."""
    known = catalogue()
    card = known.resolve(f"{name}@simulated")
    log = read(card, known)
    parser = DrainParser(card.parser)
    parser.learn(log.message_ids, log.messages)
    assert len(parser.templates) == len(card.simulate["messages"])


def test_the_two_supercomputers_share_words_but_no_template():
    texts = [
        {skeleton(message["text"]) for message in CARDS[name]["simulate"]["messages"].values()}
        for name in LINE_LABELLED
    ]
    assert not texts[0] & texts[1]
    words = [set(re.findall(r"[a-z]{4,}", " ".join(part))) for part in texts]
    assert {"checkpoint", "error", "link", "memory", "network", "node", "power"} <= words[0] & words[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_message_and_every_parameter_is_used(name):
    grammar = CARDS[name]["simulate"]
    used = {m for process in grammar["processes"] + grammar["anomalies"] for m in messages_of(process)}
    assert used == set(grammar["messages"])
    everything = str([grammar["messages"], grammar["parameters"], grammar["labels"], grammar["header"]])
    overrides = str([grammar["processes"], grammar["anomalies"]])
    for parameter in grammar["parameters"]:
        assert re.search(rf"{{{parameter}\W|'session': '{parameter}'", everything) or f"'{parameter}'" in overrides


def test_a_parameter_of_an_episode_keeps_its_value_and_others_do_not(grammar):
    grammar["episode_gap_s"] = [100, 100]
    lines = [line.text for line in iter_lines(grammar, seed=3) if not line.kind]
    doors = [re.search(r"door (\d)", line).group(1) for line in lines]
    pairs = [(i, i + 1) for i in range(len(lines) - 1) if "opened" in lines[i] and "shut" in lines[i + 1]]
    assert all(doors[i] == doors[j] for i, j in pairs)
    assert len(set(doors)) > 1


def test_a_step_can_draw_a_placeholder_from_another_parameter(grammar):
    grammar["processes"][0]["steps"][1]["with"] = {"number": "huge"}
    shut = [line.text for line in iter_lines(grammar, seed=0) if "shut" in line.text]
    assert shut
    assert all("after 1000 s" in line for line in shut)


def test_a_grammar_without_anomalies_gives_a_normal_log(grammar):
    grammar["anomalies"] = []
    assert not any(simulate(grammar, seed=0).kinds)


def test_no_lines_can_be_asked_for(grammar):
    assert simulate(grammar, seed=0, n_lines=0).lines == b""


def change(*path, value=None):
    """Return an edit that sets, or without a value deletes, what stands at the path."""

    def edit(grammar):
        table = grammar
        for key in path[:-1]:
            table = table[key]
        if value is None:
            del table[path[-1]]
        else:
            table[path[-1]] = value

    return edit


MISTAKES = {
    "[simulate] has no 'messages': add it": change("messages"),
    "[simulate] has no 'labels': add it": change("labels"),
    "[simulate] lines = 'many' has the wrong type: make it a int": change("lines", value="many"),
    "[simulate] has the unknown key 'speed': use only": change("speed", value=3),
    "[simulate] labels = 'none' has the wrong type": change("labels", value="none"),
    "[simulate] step_gap_s = 4 has the wrong type": change("step_gap_s", value=4),
    "[simulate] episode_gap_s = [3, 1] is no range": change("episode_gap_s", value=[3, 1]),
    "uses the unknown placeholder {gate}: add [simulate.parameters.gate]": change(
        "messages", "open", "text", value="{gate}"
    ),
    "[simulate.parameters.badge] uses the unknown placeholder {gate}": change(
        "parameters", "badge", "text", value="{gate}"
    ),
    "[simulate.messages.open] has the bad text": change("messages", "open", "text", value="{who:02d}"),
    "[simulate.parameters.who] values = [] is no list of strings": change("parameters", "who", "values", value=[]),
    "[simulate.parameters.door] scope = 'day' is unknown: use one of line, episode": change(
        "parameters", "door", "scope", value="day"
    ),
    "[simulate.parameters.door] has no 'range': add it": change("parameters", "door", "range"),
    "'pass' uses the unknown message 'lock': add [simulate.messages.lock]": change(
        "processes", 0, "steps", 0, value="lock"
    ),
    "'pass' uses the unknown parameter 'gate'": change("processes", 0, "steps", 1, "with", value={"number": "gate"}),
    "'pass' may log nothing": change("processes", 0, "steps", value=[{"of": "open", "chance": 0.5}]),
    "no normal process spans the whole log": change("processes", 0, "during", value=[0.5, 1]),
    "[simulate.anomalies[0]] kind = 'odd' is unknown: use one of new-message,": change(
        "anomalies", 0, "kind", value="odd"
    ),
    "the anomaly 'jam' is sequential with the new messages ['stuck']": change(
        "anomalies", 0, "kind", value="sequential"
    ),
    "the anomaly 'jam' has no alert": change("anomalies", 0, "alert"),
    "[simulate.labels] session = 'who' is unknown: use one of door": change("labels", "session", value="who"),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_bad_grammar_is_refused_with_the_way_out(message, grammar):
    bad = copy.deepcopy(grammar)
    MISTAKES[message](bad)
    with pytest.raises(BenchError) as refusal:
        simulate(bad, seed=0)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
