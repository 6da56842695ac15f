"""What the simulated editions promise: the same bytes in any chunks, honest labels, each kind as it says, all along."""

import copy
import csv
import hashlib
import io
import re
import string
import tomllib
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.reading.read import read
from bench.data.sequences.drain import DrainParser
from bench.data.simulation.grammar import KINDS
from bench.data.simulation.simulate import iter_chunks, simulate
from bench.errors import BenchError

DATASETS = Path(__file__).parents[4] / "datasets"
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


@pytest.fixture(scope="module")
def without():
    """The same logs with one kind of anomaly switched off."""
    made = {}

    def make(name, kind):
        if (name, kind) not in made:
            card = CARDS[name]
            kinds = [other for other in KINDS if other != kind]
            made[name, kind] = simulate(card["simulate"], seed=card["seed"], kinds=kinds)
        return made[name, kind]

    return make


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def lines_of(log):
    return log.lines.decode().splitlines()


def block_of(line):
    return re.search(r"blk_-?\d+", line).group()


def message(name, line):
    return HEADERS[name].match(line).groups()[-1]


def time_of(name, line):
    found = HEADERS[name].match(line)
    return int(found[2]) if name != "hdfs" else found[1] + found[2]


def masked(text):
    return re.sub(r"\w*\d\w*", "#", text)


def episodes(log):
    """The lines of each episode in order, and its kind."""
    found = {}
    for line, episode, kind in zip(lines_of(log), log.sessions.tolist(), log.kinds.tolist(), strict=True):
        lines, kinds = found.setdefault(episode, ([], set()))
        lines.append(line)
        kinds.add(kind)
    return {episode: (lines, KINDS[max(kinds) - 1] if max(kinds) else "") for episode, (lines, kinds) in found.items()}


def is_subsequence(short, long):
    rest = iter(long)
    return all(item in rest for item in short)


@pytest.fixture
def grammar():
    """The smallest grammar that has everything."""

    def anomaly(kind, **how):
        return {"name": kind, "kind": kind, "alert": kind.upper(), "process": "pass", **how}

    return {
        "lines": 50,
        "start_epoch": 0,
        "episode_gap_s": [1, 2],
        "step_gap_s": [0.1, 3],
        "anomaly_every": 4,
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
            "flood": {"level": "HIGH", "text": "water behind door {door}"},
        },
        "processes": [{"name": "pass", "steps": ["open", {"of": ["shut"], "times": [1, 1]}]}],
        "anomalies": [
            anomaly("new-message", after=1, steps=["stuck"]),
            anomaly("wrong-order", order=[2, 1]),
            anomaly("missing-event", without=[2]),
            anomaly("wrong-count", step=2, times=[3, 5]),
            anomaly("unusual-parameter", **{"with": {"number": "huge"}}),
            anomaly("slow", before=2, gap_s=[60, 90]),
            anomaly("semantic-twin", twin="house/flood", after=0, resumes=True, steps=["flood"]),
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
    assert 777 <= log.n_lines < 777 + 40
    longer = episodes(simulate(CARDS[name]["simulate"], seed=0, n_lines=777, kinds=()))
    last = max(longer)
    assert all(len(lines) > 0 for lines, _ in longer.values())
    assert set(longer) == set(range(last + 1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk_lines", [40, 700, 10**6])
def test_chunks_of_any_size_are_the_same_log(name, chunk_lines):
    card = CARDS[name]
    whole = simulate(card["simulate"], seed=2, n_lines=4000)
    chunks = list(iter_chunks(card["simulate"], seed=2, n_lines=4000, chunk_lines=chunk_lines))
    assert b"".join(chunk.lines for chunk in chunks) == whole.lines
    np.testing.assert_array_equal(np.concatenate([chunk.kinds for chunk in chunks]), whole.kinds)
    np.testing.assert_array_equal(np.concatenate([chunk.sessions for chunk in chunks]), whole.sessions)
    assert tuple(name for chunk in chunks for name in chunk.session_ids.to_list()) == whole.session_ids


@pytest.mark.parametrize("name", NAMES)
def test_a_chunk_is_as_large_at_the_end_as_at_the_begin(name):
    """Memory: what waits for a later chunk does not pile up."""
    chunks = list(iter_chunks(CARDS[name]["simulate"], seed=0, n_lines=60_000, chunk_lines=3000))
    sizes = [len(chunk.kinds) for chunk in chunks]
    assert len(chunks) >= 15
    assert max(sizes) < 2 * 3000
    assert all(chunk.lines.count(b"\n") == size for chunk, size in zip(chunks, sizes, strict=True))


def test_a_stream_does_not_wait_for_the_end():
    endless = iter_chunks(CARDS["hdfs"]["simulate"], seed=0, n_lines=10**15, chunk_lines=100)
    assert sum(len(chunk.kinds) for chunk in islice(endless, 5)) >= 50


@pytest.mark.parametrize("name", NAMES)
def test_the_header_of_every_line_is_the_system_s(name, logs):
    assert all(HEADERS[name].match(line) for line in lines_of(logs[name]))


@pytest.mark.parametrize("name", NAMES)
def test_time_never_runs_back(name, logs):
    times = [time_of(name, line) for line in lines_of(logs[name])]
    assert all(earlier <= later for earlier, later in pairwise(times))


@pytest.mark.parametrize("name", LINE_LABELLED)
def test_an_alert_stands_where_the_truth_says_so_and_nowhere_else(name, logs):
    alerts = {anomaly["alert"]: anomaly["kind"] for anomaly in CARDS[name]["simulate"]["anomalies"]}
    labels = [line.split()[0] for line in lines_of(logs[name])]
    assert [alerts.get(label, "") for label in labels] == [KINDS[kind - 1] if kind else "" for kind in logs[name].kinds]
    assert set(labels) - {"-"} == set(alerts)


def test_the_label_file_has_each_block_once(logs):
    log = logs["hdfs"]
    rows = list(csv.DictReader(io.StringIO(log.label_file.decode())))
    blocks = [block_of(line) for line in lines_of(log)]
    assert [row["BlockId"] for row in rows] == list(dict.fromkeys(blocks)) == list(log.session_ids)
    assert [row["Label"] == "Anomaly" for row in rows] == [bool(kind) for kind in log.session_kinds]
    assert [log.session_ids[i] for i in log.sessions] == blocks
    np.testing.assert_array_equal(log.session_kinds[log.sessions], log.kinds)
    assert len(rows) >= 500


@pytest.mark.parametrize("name", NAMES)
def test_episodes_interleave(name, logs):
    sessions = logs[name].sessions
    runs = 1 + int((np.diff(sessions) != 0).sum())
    assert runs > 1.2 * len(np.unique(sessions))


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_anomaly_stands_in_every_part(name, logs):
    kinds = logs[name].kinds
    cuts = [0, len(kinds) * 6 // 10, len(kinds) * 8 // 10, len(kinds)]
    for start, end in pairwise(cuts):
        assert set(kinds[start:end].tolist()) == set(range(len(KINDS) + 1))


@pytest.mark.parametrize("name", LINE_LABELLED)
def test_about_a_seventh_of_the_windows_is_abnormal(name, logs):
    kinds = logs[name].kinds
    windows = (kinds[: len(kinds) // 20 * 20].reshape(-1, 20) > 0).any(axis=1)
    assert 0.1 <= windows.mean() <= 0.17


def test_about_one_block_in_fifteen_is_abnormal(logs):
    assert 0.05 <= (logs["hdfs"].session_kinds > 0).mean() <= 0.08


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_switch_removes_exactly_its_kind(name, kind, logs, without):
    full, less = episodes(logs[name]), episodes(without(name, kind))
    both = sorted(set(full) & set(less))
    assert len(both) > 0.98 * len(full)
    changed = [episode for episode in both if full[episode] != less[episode]]
    assert changed == [episode for episode in both if full[episode][1] == kind]
    assert changed
    assert not any(less[episode][1] for episode in changed)
    assert kind not in without(name, kind).abnormal_lines()
    assert set(without(name, kind).abnormal_lines()) == set(KINDS) - {kind}


def deviating(name, kind, logs, without):
    """Pairs of messages of the same episode: as it deviates, and as it normally runs."""
    full, less = episodes(logs[name]), episodes(without(name, kind))
    found = [episode for episode in full if full[episode][1] == kind and episode in less]
    assert len(found) >= 5
    for episode in found:
        lines, usual = full[episode][0], less[episode][0]
        yield lines, usual, [message(name, line) for line in lines], [message(name, line) for line in usual]


@pytest.mark.parametrize("name", NAMES)
def test_slow_changes_only_times(name, logs, without):
    for lines, usual, said, normal in deviating(name, "slow", logs, without):
        assert said == normal
        assert time_of(name, lines[0]) == time_of(name, usual[0])
        assert time_of(name, lines[-1]) > time_of(name, usual[-1])


@pytest.mark.parametrize("name", NAMES)
def test_wrong_order_has_the_same_messages_in_another_order(name, logs, without):
    for _, _, said, normal in deviating(name, "wrong-order", logs, without):
        assert sorted(said) == sorted(normal)
        assert list(map(masked, said)) != list(map(masked, normal))


@pytest.mark.parametrize("name", NAMES)
def test_missing_event_is_a_part_of_the_normal_messages(name, logs, without):
    for _, _, said, normal in deviating(name, "missing-event", logs, without):
        assert len(said) < len(normal)
        assert is_subsequence(said, normal)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_count_repeats_a_message_or_takes_repetitions_away(name, logs, without):
    for _, _, said, normal in deviating(name, "wrong-count", logs, without):
        assert len(said) != len(normal)
        assert is_subsequence(*sorted((said, normal), key=len))
        assert set(map(masked, said)) == set(map(masked, normal))


@pytest.mark.parametrize("name", NAMES)
def test_unusual_parameter_changes_only_numbers(name, logs, without):
    for _, _, said, normal in deviating(name, "unusual-parameter", logs, without):
        assert said != normal
        assert list(map(masked, said)) == list(map(masked, normal))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["new-message", "semantic-twin"])
def test_new_messages_are_in_no_normal_episode(name, kind, logs, without):
    usual = {
        masked(message(name, line)) for lines, found in episodes(logs[name]).values() if not found for line in lines
    }
    for _, _, said, normal in deviating(name, kind, logs, without):
        new = [text for text in said if masked(text) not in usual]
        assert new
        kept = [text for text in said if masked(text) in usual]
        assert is_subsequence(kept, normal)


@pytest.mark.parametrize("name", NAMES)
def test_storms_repeat_one_message_within_seconds(name, logs):
    """Ten times within some seconds is more than any step that is no storm."""
    storms = 0
    for lines, _ in episodes(logs[name]).values():
        texts = [masked(message(name, line)) for line in lines]
        for i in range(len(lines) - 9):
            if len(set(texts[i : i + 10])) == 1:
                storms += int(time_of(name, lines[i + 9])) - int(time_of(name, lines[i])) <= 2
    assert storms > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_changes_over_time(name, logs):
    """In bursts the starts of ten episodes take a fraction of the usual time."""
    starts = {}
    for line, episode in zip(lines_of(logs[name]), logs[name].sessions.tolist(), strict=True):
        starts.setdefault(episode, seconds_of(name, line))
    times = np.array([starts[episode] for episode in sorted(starts)])
    spans = times[10:] - times[:-10]
    assert np.quantile(spans, 0.02) < 0.35 * np.median(spans)


def seconds_of(name, line):
    if name != "hdfs":
        return time_of(name, line)
    date, clock = line.split()[:2]
    return int(date[4:]) * 86_400 + int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:])


@pytest.mark.parametrize("name", LINE_LABELLED)
def test_periodic_processes_come_once_a_period(name, logs):
    period = next(p["period_s"] for p in CARDS[name]["simulate"]["processes"] if p["name"] == "counters")
    times = [time_of(name, line) for line in lines_of(logs[name]) if "error counters" in line]
    assert len(times) > 30
    slack = period[1] - period[0] + 1
    assert all(abs(later - earlier - period[0]) <= slack for earlier, later in pairwise(times))


@pytest.mark.parametrize("name", NAMES)
def test_some_normal_messages_appear_only_late(name, logs):
    """Drift: without it the rule "never seen in training" makes no false alarm."""
    grammar = CARDS[name]["simulate"]
    late = [process for process in grammar["processes"] if process.get("during", [0])[0] >= 0.6]
    early = [process for process in grammar["processes"] if process.get("during", [0])[0] < 0.6]
    new = {m for process in late for m in messages_of(process)} - {m for p in early for m in messages_of(p)}
    texts = lines_of(logs[name])
    first = [min(i for i, line in enumerate(texts) if wording(grammar, m).search(line)) for m in new]
    assert first
    assert min(first) > 0.57 * len(texts)


@pytest.mark.parametrize("name", NAMES)
def test_messages_change_their_wording_one_episode_after_the_other(name, logs):
    changes = [m for m in CARDS[name]["simulate"]["messages"].values() if "later" in m]
    assert changes
    texts = lines_of(logs[name])
    for change in changes:
        old, new = (
            re.compile(re.escape(skeleton(t)).replace(r"<\*>", ".+")) for t in (change["text"], change["later"]["text"])
        )
        is_old = np.array([i for i, line in enumerate(texts) if old.search(line)]) / len(texts)
        is_new = np.array([i for i, line in enumerate(texts) if new.search(line)]) / len(texts)
        start, end = change["later"]["during"]
        assert start - 0.05 < is_new.min() < is_old.max() < end + 0.05


def messages_of(process):
    for step in process.get("steps", ()):
        of = step["of"] if isinstance(step, dict) else step
        yield from [of] if isinstance(of, str) else of


def skeleton(text):
    return "".join(literal + ("<*>" if name else "") for literal, name, _, _ in string.Formatter().parse(text))


def wording(grammar, message):
    return re.compile(".+".join(map(re.escape, skeleton(grammar["messages"][message]["text"]).split("<*>"))) + "$")


def all_texts(grammar):
    messages = grammar["messages"].values()
    return [m["text"] for m in messages] + [m["later"]["text"] for m in messages if "later" in m]


@pytest.mark.parametrize("name", NAMES)
def test_drain_tells_all_messages_apart(name):
    """A normal and an abnormal message under one log key would hide the anomaly from every key-based method."""
    known = catalogue()
    card = known.resolve(f"{name}@simulated")
    log = read(card, known)
    parser = DrainParser(card.parser)
    parser.learn(log.message_ids, log.messages)
    assert len(parser.templates) == len(all_texts(card.simulate))


def test_the_two_supercomputers_share_words_but_no_template():
    texts = [{skeleton(text) for text in all_texts(CARDS[name]["simulate"])} for name in LINE_LABELLED]
    assert not texts[0] & texts[1]
    words = [set(re.findall(r"[a-z]{4,}", " ".join(part))) for part in texts]
    assert {"checkpoint", "barrier", "memory", "network", "coolant", "power", "volume"} <= words[0] | words[1]
    assert len(words[0] & words[1]) > 40


@pytest.mark.parametrize("name", NAMES)
def test_every_twin_is_an_anomaly_of_another_system(name):
    twins = {a["name"]: a["twin"] for a in CARDS[name]["simulate"]["anomalies"] if a["kind"] == "semantic-twin"}
    assert twins
    for own, twin in twins.items():
        system, _, other = twin.partition("/")
        assert system != name
        found = [a for a in CARDS[system]["simulate"]["anomalies"] if a["name"] == other]
        assert [a["kind"] for a in found] == ["semantic-twin"]
        if name in LINE_LABELLED:
            assert found[0]["twin"] == f"{name}/{own}"


@pytest.mark.parametrize("name", NAMES)
def test_no_word_gives_alerts_away(name, logs):
    """Words of failure stand in normal messages as well, and half of the alerts have none."""
    failure = re.compile("error|fail|fault|lost|dead|emergency|refus|unreach", re.IGNORECASE)
    found = {False: [], True: []}
    for line, kind in zip(lines_of(logs[name]), logs[name].kinds.tolist(), strict=True):
        found[kind > 0].append(bool(failure.search(message(name, line))))
    assert sum(found[False]) > 0
    assert np.mean(found[True]) < 0.6


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
    log = simulate(grammar, seed=3, n_lines=400, kinds=())
    runs = [[re.search(r"door (\d)", line).group(1) for line in lines] for lines, _ in episodes(log).values()]
    assert all(len(set(doors)) == 1 for doors in runs)
    assert len({doors[0] for doors in runs}) > 1


def test_values_are_drawn_from_the_whole_of_their_range(grammar):
    log = simulate(grammar, seed=3, n_lines=1000, kinds=())
    assert set(re.findall(r"by (\S+)$", log.lines.decode(), re.MULTILINE)) == {
        f"{who}-{number:02d}" for who in ("ann", "bob") for number in range(8)
    }


def test_large_numbers_and_hex_words_are_printed_as_python_prints_them(grammar):
    grammar["parameters"]["wide"] = {"range": [0, 2**40]}
    grammar["parameters"]["door"] = {"range": [0, 2**40], "scope": "episode"}
    grammar["messages"]["open"]["text"] = "door {door} is {door:x} or {door:016x} or {door:016d}"
    text = simulate(grammar, seed=0, n_lines=300, kinds=()).lines.decode()
    rows = re.findall(r"door (\d+) is (\S+) or (\S+) or (\S+)$", text, re.MULTILINE)
    assert len(rows) > 100
    assert all(row == (n, f"{int(n):x}", f"{int(n):016x}", f"{int(n):016d}") for row in rows for n in row[:1])


def test_a_step_can_draw_a_placeholder_from_another_parameter(grammar):
    grammar["processes"][0]["steps"][1]["with"] = {"number": "huge"}
    del grammar["anomalies"][4]
    shut = [line for line in lines_of(simulate(grammar, seed=0)) if "shut" in line]
    assert shut
    assert all("after 1000 s" in line for line in shut)


def test_the_time_stands_in_the_header_as_utc(grammar):
    grammar["start_epoch"] = 951_782_398  # 2000-02-28 23:59:58 UTC
    lines = lines_of(simulate(grammar, seed=0, n_lines=300))
    assert lines[0].split(" door")[0].startswith("- 951782398 2000-02-28 Feb 28 23:59:58.000000 LOW")
    assert any(" 2000-02-29 Feb 29 00:00:0" in line for line in lines)


def test_a_kind_has_as_many_turns_as_the_grammar_says(grammar):
    grammar["turns"] = {"new-message": 5}
    log = simulate(grammar, seed=1, n_lines=6000)
    found = [kind for _, kind in episodes(log).values() if kind]
    assert found.count("new-message") == pytest.approx(5 * found.count("slow"), rel=0.05)


def test_only_the_kinds_that_were_asked_for_occur(grammar):
    log = simulate(grammar, seed=0, n_lines=500, kinds=["slow", "wrong-order"])
    assert set(log.abnormal_lines()) == {"slow", "wrong-order"}
    with pytest.raises(BenchError, match="'fast' is no kind of anomaly of this grammar: choose from new-message,"):
        simulate(grammar, seed=0, kinds=["fast"])


def test_a_grammar_without_anomalies_gives_a_normal_log(grammar):
    grammar["anomalies"] = []
    assert not simulate(grammar, seed=0).kinds.any()


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
    "[simulate] anomaly_every = 0 is out of range: write 1 to": change("anomaly_every", value=0),
    "[simulate] episode_gap_s = [3, 1] is no range": change("episode_gap_s", value=[3, 1]),
    "uses the unknown placeholder {gate}: add [simulate.parameters.gate]": change(
        "messages", "open", "text", value="{gate}"
    ),
    "[simulate.parameters.badge] uses the unknown placeholder {gate}": change(
        "parameters", "badge", "text", value="{gate}"
    ),
    "[simulate.messages.open] has the bad text": change("messages", "open", "text", value="{who:02d}"),
    "of formats only d, x, 04d and 08x are known": change("messages", "open", "text", value="{number:>9}"),
    "a line has no line end in it": change("messages", "open", "text", value="a\nb"),
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
    "logs 'open', which is normal: use messages of its own": change("anomalies", 0, "steps", value=["open"]),
    "[simulate.anomalies[0]] has no 'process': add it": change("anomalies", 0, "process"),
    "[simulate.anomalies[0]] process = 'fly' is unknown: use one of pass": change(
        "anomalies", 0, "process", value="fly"
    ),
    "[simulate.anomalies[0]] after = 3 is out of range: write 0 to 2": change("anomalies", 0, "after", value=3),
    "order = [1, 2] is the usual one": change("anomalies", 1, "order", value=[1, 2]),
    "order = [1, 3] is no list of steps: write numbers from 1 to 2": change("anomalies", 1, "order", value=[1, 3]),
    "'nothing' may change nothing: let it change a step": change(
        "anomalies",
        2,
        value={"name": "nothing", "kind": "missing-event", "process": "pass", "alert": "A", "without": [1, 2]},
    ),
    "times = [1, 3] overlaps [1, 1], which is normal": change("anomalies", 3, "times", value=[1, 3]),
    "draws 'number' from 'door', which overlaps it": change("anomalies", 4, "with", value={"number": "door"}),
    "uses the unknown parameter 'many'": change("anomalies", 4, "with", value={"number": "many"}),
    "gap_s from 2.0 is no pause: usual are up to 3.0 s": change("anomalies", 5, "gap_s", value=[2, 9]),
    "twin = 'flood' names no anomaly: write 'system/name": change("anomalies", 6, "twin", value="flood"),
    "no slow anomaly spans the whole log: leave 'during' out": change("anomalies", 5, "during", value=[0.5, 1]),
    "episodes up to 9 are more than every = 5: use fewer": change("bursts", value={"every": 5, "episodes": [1, 9]}),
    "'pass' has period_s = [0.5, 0.6]: write [period, latest]": change("processes", 0, "period_s", value=[0.5, 0.6]),
    "[simulate.turns] has the unknown key 'odd'": change("turns", value={"odd": 2}),
    "the anomaly 'new-message' has no alert": change("anomalies", 0, "alert"),
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
