"""Blocks -> one log: years, incidents, labels of sessions; and which of it belongs to the identity of a run."""

import dataclasses
import datetime
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.cards.card import Card, Format, load_folder
from bench.data.cards.catalogue import Catalogue, catalogue, slice_of
from bench.data.reading import streams
from bench.data.reading.builder import Clock
from bench.data.reading.labels import label_sessions, session_labels
from bench.data.reading.prepared import prepared_folder
from bench.data.reading.read import read
from bench.errors import BenchError
from bench.experiment.spec import edition_facts

SYSLOG = {"header": r"^(?P<time>\S+ +[0-9]+ [0-9:]+) (?P<message>.*)$", "time": "%b %d %H:%M:%S"}
MINE = Card("app", "mine", "t", "smoke", 1, "lines", "MIT", "nobody")
_BLOCKS = streams.blocks


@pytest.fixture
def log_of(own_system):
    """Read lines (bytes or text) as a user's system."""

    def make(files, form, **fields):
        files = files if isinstance(files, dict) else {"a.log": files}
        files = {key: value.encode() if isinstance(value, str) else value for key, value in files.items()}
        found = own_system(files, format=form, **fields)
        return read(found.resolve("app@mine"), found)

    return make


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


# --- Times without a year --------------------------------------------------------------------------------------------


def syslog(*times):
    return "".join(f"{time} up\n" for time in times)


@pytest.mark.parametrize("size", [1, 40, 1 << 24])
def test_the_year_is_counted_through_new_year(log_of, monkeypatch, size):
    monkeypatch.setattr(streams, "blocks", lambda path, member="": _BLOCKS(path, member, size=size))
    times = ["Dec 30 23:59:59", "Dec 31 23:59:59", "Jan  1 00:00:00", "Feb 28 12:00:00", "Mar  1 12:00:00"]
    log = log_of(syslog(*times, "Dec 31 01:00:00", "Jan  1 00:00:01"), {**SYSLOG, "year": 2022})
    assert log.times.tolist() == [
        moment("2022-12-30 23:59:59"),
        moment("2022-12-31 23:59:59"),
        moment("2023-01-01 00:00:00"),
        moment("2023-02-28 12:00:00"),
        moment("2023-03-01 12:00:00"),
        moment("2023-12-31 01:00:00"),
        moment("2024-01-01 00:00:01"),
    ]
    assert log.notes == ()


@pytest.mark.parametrize(
    ("year", "text", "expected"),
    [
        (2024, "Feb 29 06:00:00", "2024-02-29 06:00:00"),
        (2024, "Dec 31 06:00:00", "2024-12-31 06:00:00"),
        (2000, "Feb 29 06:00:00", "2000-02-29 06:00:00"),
        (1900, "Mar  1 00:00:00", "1900-03-01 00:00:00"),
        (2023, "Jan  1 00:00:00", "2023-01-01 00:00:00"),
        (1970, "Jan  1 00:00:00", "1970-01-01 00:00:00"),
    ],
)
def test_days_of_leap_years(log_of, year, text, expected):
    assert log_of(syslog(text), {**SYSLOG, "year": year}).times.tolist() == [moment(expected)]


@pytest.mark.parametrize("size", [1, 40, 1 << 24])
def test_a_line_of_the_old_year_that_comes_late(log_of, monkeypatch, size):
    monkeypatch.setattr(streams, "blocks", lambda path, member="": _BLOCKS(path, member, size=size))
    times = ["Dec 31 23:59:58", "Jan  1 00:00:01", "Dec 31 23:59:59", "Jan  1 00:00:02", "Jan  1 00:00:01"]
    log = log_of(syslog(*times), {**SYSLOG, "year": 2023})
    assert np.diff(log.times).tolist() == [3, -2, 3, -1]
    assert log.times[0] == moment("2023-12-31 23:59:58")
    assert log.notes == ("time goes back at 2 lines; the order of the lines is kept",)


def test_a_log_that_begins_in_january_and_rests_for_months(log_of):
    log = log_of(syslog("Jan  3 00:00:00", "Nov  9 00:00:00"), {**SYSLOG, "year": 2023})
    assert log.times.tolist() == [moment("2023-01-03"), moment("2023-11-09")]


def test_lines_without_time_change_no_year(log_of):
    content = syslog("Dec 31 10:00:00") + "no time\n" + "Foo 99 99:99:99 up\n" + syslog("Jan  1 10:00:00")
    log = log_of(content, {**SYSLOG, "year": 2023})
    assert np.isnan(log.times).tolist() == [False, True, True, False]
    assert log.times[3] - log.times[0] == 86_400
    assert {defect.kind: defect.first_line for defect in log.defects} == {"headerless": 2, "timeless": 3}


def test_without_a_year_such_times_are_not_read(log_of):
    with pytest.raises(BenchError, match=r"no time in 'app@mine' can be read as '%b %d %H:%M:%S'"):
        log_of(syslog("Dec 31 10:00:00"), SYSLOG)


@given(st.integers(1971, 2100), st.lists(st.integers(0, 150 * 86_400), min_size=1, max_size=12), st.integers(1, 5))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_years_of_any_log_whose_gaps_are_shorter_than_half_a_year(year, gaps, size):
    first = datetime.datetime(year, 3, 1, tzinfo=datetime.UTC).timestamp()
    true = first + np.cumsum([0, *gaps])
    stripped = []
    for seconds in true.tolist():
        moment_ = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        stripped.append(moment_.replace(year=2000).timestamp())
    clock = Clock(year)
    parts = [np.array(stripped[i : i + size], float) for i in range(0, len(stripped), size)]
    assert np.concatenate([clock.read(part) for part in parts]).tolist() == true.tolist()
    assert clock.notes() == ()


# --- Incidents -------------------------------------------------------------------------------------------------------

INCIDENTS = {"header": r"^(?P<time>\S+) (?P<message>.*)$", "time": "epoch", "label": "incidents"}


def test_lines_of_an_incident(log_of):
    content = "".join(f"{t} up\n" for t in (9, 10, 15, 20, 20.5, "soon", 29, 30, 41)) + "headerless\n"
    ranges = [{"start": 10, "end": 20}, {"start": 30.0, "end": 30}, {"start": "1970-01-01T00:00:41", "end": 50}]
    log = log_of(content, INCIDENTS, incidents=ranges)
    assert log.labels.tolist() == [0, 1, 1, 1, 0, -1, 0, 1, 1, -1]


def test_incidents_need_a_time_in_the_header(log_of):
    for form in ({**INCIDENTS, "header": "^(?P<message>.*)$"}, {**INCIDENTS, "time": ""}):
        with pytest.raises(BenchError, match="a time with it"):
            log_of("1 up\n", form, incidents=[{"start": 1, "end": 2}])
    with pytest.raises(BenchError, match=r"\[\[incidents\]\]"):
        log_of("1 up\n", INCIDENTS)


@pytest.mark.parametrize(
    "entry",
    [{"start": 1}, {"start": 5, "end": 1}, {"start": "x", "end": 1}, {"start": True, "end": 2}, 7, "now", [1, 2]],
)
def test_mistakes_in_incidents(log_of, entry):
    with pytest.raises(BenchError, match="incident"):
        log_of("1 up\n", INCIDENTS, incidents=[entry])


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "1" + "0" * 400])
def test_an_incident_is_finite(own_system, number):
    found = own_system({"a.log": b"1 up\n"}, format=INCIDENTS, incidents=[{"start": 1, "end": 77}])
    path = found.data_dir / "app" / "mine.toml"
    path.write_text(path.read_text().replace("end = 77", f"end = {number.replace('1e999', 'inf')}"))
    with pytest.raises(BenchError, match="incident"):
        catalogue(found.data_dir)


# --- Labels of sessions ----------------------------------------------------------------------------------------------

TABLE = {"label": "label-file", "session": "s[0-9]+", "label_key": "id", "label_value": "state", "normal": "ok"}


def labelled(log_of, table, form=TABLE, log="s1 a\ns2 b\ns3 c\n"):
    return log_of({"a.log": log, ("l.csv", "labels"): table}, form)


def test_missing_and_unknown_sessions_are_told(log_of):
    log = labelled(log_of, "id,state\ns2,bad\ns8,ok\ns9,bad\n")
    assert log.session_labels.tolist() == [-1, 1, -1]
    assert log.notes == (
        "2 sessions have no label and take no part, such as 's1'",
        "2 sessions of the label file are not in the log, such as 's8'",
    )
    assert log.alerts == (("bad", 2),)


def test_one_session_with_two_labels(log_of):
    with pytest.raises(BenchError, match=r"'app@mine' gives session 's2' the labels ok, bad"):
        labelled(log_of, "id,state\ns1,ok\ns2,ok\ns2,bad\n")


def test_a_label_that_is_repeated_or_empty(log_of):
    log = labelled(log_of, "id,state\ns1,ok\ns1,ok\ns2,\ns2,bad\ns3,bad\ns3,\n,ok\n,bad\n")
    assert log.session_labels.tolist() == [0, 1, 1]
    assert log.notes == ()


def test_windows_line_ends_and_quotes_in_a_table(log_of):
    log = labelled(log_of, 'id,state\r\ns1,ok\r\n"s2","bad"\r\ns3,ok')
    assert log.session_labels.tolist() == [0, 1, 0]


LIST = {"label": "session-list", "session": "s[0-9]+"}


def test_a_list_without_headings_names_the_abnormal(log_of):
    log = labelled(log_of, "these failed: \n * s2\ns2\nand s9\r\n", LIST)
    assert log.session_labels.tolist() == [0, 1, 0]
    assert log.notes == ("1 sessions of the label file are not in the log, such as 's9'",)


SECTIONS = {**LIST, "section": r"^#+ *(.*?):?$", "normal": "Normal"}


def test_a_list_with_headings(log_of):
    log = labelled(log_of, "s1 stands above all headings\n# Normal:\ns2\n## Disk full\n+ s3\n", SECTIONS)
    assert log.session_labels.tolist() == [-1, 0, 1]
    assert log.notes == ("1 sessions have no label and take no part, such as 's1'",)
    assert log.alerts == (("Disk full", 1),)


def test_one_session_below_two_headings(log_of):
    with pytest.raises(BenchError, match=r"gives session 's2' the labels Normal, Disk full"):
        labelled(log_of, "# Normal\ns1\ns2\n# Disk full\ns3\ns2\n", SECTIONS)
    assert labelled(log_of, "# Normal\ns1\ns1\ns2\ns3\n# Normal\ns2\n", SECTIONS).session_labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("form", [LIST, SECTIONS])
def test_a_list_that_names_no_session(log_of, form):
    with pytest.raises(BenchError, match="names no session"):
        labelled(log_of, "# Normal\nnobody\n", form)


WORDS = st.sampled_from(["s1", "s2", "s3", "ok", "bad", "", "# ok", '"', "\n", ",", "\r\n", "id,state\n", "\xff", "\0"])
FORMS = [Format(**form) for form in (TABLE, LIST, SECTIONS, {**SECTIONS, "section": "(x)?#"})]


@given(
    st.one_of(st.lists(WORDS, max_size=25).map("".join), st.text(max_size=40)), st.sampled_from(FORMS), st.booleans()
)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_any_label_file_is_read_or_refused(text, form, has_head):
    card = Card("app", "mine", "t", "smoke", 1, "lines", "MIT", "nobody", format=form)
    content = (("id,state\n" if has_head else "") + text).encode("latin-1", errors="replace")
    try:
        labels, notes = label_sessions(["s1", "s2", "s4"], session_labels(card, content))
    except BenchError as error:
        assert "app@mine" in str(error)
        return
    assert len(labels) == 3
    assert set(labels.tolist()) <= {-1, 0, 1}
    assert all(isinstance(note, str) for note in notes)


# --- What belongs to the identity of a run ---------------------------------------------------------------------------


@pytest.fixture
def card(own_system):
    return own_system({"a.log": b"1 up\n"}, format=INCIDENTS, incidents=[{"start": 1, "end": 2}]).resolve("app")


def identity(card):
    return json.dumps(edition_facts(card), sort_keys=True)


def with_format(card, **values):
    return dataclasses.replace(card, format=dataclasses.replace(card.format, **values))


@pytest.mark.parametrize(
    "change",
    [
        lambda card: dataclasses.replace(card, incidents=((1.0, 3.0),)),
        lambda card: dataclasses.replace(card, incidents=()),
        lambda card: slice_of(card, 0, 1, "lines"),
        lambda card: with_format(card, year=2023),
        lambda card: with_format(card, section="#.*"),
        lambda card: with_format(card, session_from="file"),
        lambda card: with_format(card, normal="ok"),
        lambda card: dataclasses.replace(card, parser=dataclasses.replace(card.parser, masks=("x",))),
        lambda card: dataclasses.replace(card, files=(dataclasses.replace(card.files[0], inside="b.log"),)),
    ],
)
def test_what_changes_the_content_changes_a_run_and_what_is_prepared(card, change):
    assert identity(change(card)) != identity(card)
    assert prepared_folder(change(card)) != prepared_folder(card)


def test_slices_differ_from_each_other(card):
    assert len({prepared_folder(slice_of(card, *part, "lines")) for part in ((0, 1), (0, 2), (1, 2))}) == 3


@pytest.mark.parametrize("change", [{"title": "other"}, {"tolerance": 0.5}, {"rank": 3}, {"counts": {"lines": 1}}])
def test_what_does_not_change_the_content_changes_nothing(card, change):
    assert identity(dataclasses.replace(card, **change)) == identity(card)
    assert prepared_folder(dataclasses.replace(card, **change)) == prepared_folder(card)


def test_the_place_inside_an_archive_tells_what_is_prepared_apart(card):
    file = dataclasses.replace(card.files[0], archive="md5:0", member="a.zip", inside="x/*.log")
    one = dataclasses.replace(card, files=(file,))
    other = dataclasses.replace(card, files=(dataclasses.replace(file, inside="y/*.log"),))
    assert prepared_folder(one) != prepared_folder(other)


def test_cards_without_the_later_fields_keep_their_identity():
    for card in catalogue().cards:
        values = edition_facts(card)
        later = {"section", "session_from", "year"} & values["format"].keys()
        assert all(values["format"][name] != getattr(Format(), name) for name in later)
        assert "incidents" not in values or card.incidents
        assert "lines" not in values


# --- Cards -----------------------------------------------------------------------------------------------------------

CARD = {
    "title": '"t"',
    "licence": '"MIT"',
    "citation": '"c"',
    "tier": '"smoke"',
    "rank": "1",
    "kind": '"lines"',
    "format": '{ header = "^(?P<message>.*)$" }',
    "files": '[{ name = "a.log", sha256 = "' + "0" * 64 + '" }]',
}
VALUES = ["5", "-1", "1.5", "nan", "true", '""', '"x"', "[]", "[5]", "[[]]", "{}", "{ a = 1 }", "2024-01-01", "9" * 30]
FORMATS = [f"{{ {key} = {value} }}" for key in ("header", "time", "session", "year", "label") for value in VALUES]
FORMATS += ['{ header = "(?P<message>a{99999999999})" }', '{ session = "((" }', "{ year = 10000 }", "{ year = -1 }"]
PARSERS = [f"{{ {key} = {value} }}" for key in ("masks", "depth", "similarity", "max_children") for value in VALUES]
FILES = [
    f'[{{ name = "a", sha256 = "x", {key} = {value} }}]' for key in ("role", "inside", "member") for value in VALUES
]
KEYS = [
    *CARD,
    "tolerance",
    "incidents",
    "counts",
    "drop_events",
    "aliases",
    "seed",
    "parser",
    "download",
    "sha256",
    "x",
]


def card_file(folder, **changed):
    path = folder / "app" / "mine.toml"
    path.parent.mkdir(exist_ok=True)
    path.with_name("_system.toml").write_text("")
    path.write_text("".join(f"{key} = {value}\n" for key, value in (CARD | changed).items()))
    return folder


def test_the_card_that_is_changed_below_is_good(tmp_path):
    (card,) = load_folder(card_file(tmp_path))
    assert card.key == "app@mine"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", "5"),
        ("tolerance", "true"),
        ("tolerance", "nan"),
        ("drop_events", "-5"),
        ("counts", '{ lines = "x" }'),
        ("files", "[5]"),
        ("files", '[{ name = 5, sha256 = "x" }]'),
        ("format", "{ header = 5 }"),
        ("format", "{ year = 10000 }"),
        ("format", '{ header = "(?P<message>a{99999999999})" }'),
        ("parser", "5"),
        ("parser", "{ depth = 2 }"),
        ("parser", "{ similarity = 1.5 }"),
        ("parser", "{ max_children = 0 }"),
        ("incidents", "[{ start = inf, end = inf }]"),
        ("rank", '"x"'),
        ("rank", "true"),
    ],
)
def test_values_of_another_type_or_size(tmp_path, key, value):
    with pytest.raises(BenchError, match=r"mine\.toml"):
        load_folder(card_file(tmp_path, **{key: value}))


def test_arrays_without_end(tmp_path):
    with pytest.raises(BenchError, match="correct its TOML"):
        load_folder(card_file(tmp_path, files="[" * 5000 + "]" * 5000))


@pytest.mark.slow
@given(st.data(), st.sampled_from(KEYS))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_any_card_is_a_card_or_refused(tmp_path_factory, data, key):
    choices = {"format": FORMATS, "parser": PARSERS, "files": FILES}.get(key, [])
    folder = tmp_path_factory.getbasetemp()
    value = data.draw(st.sampled_from(choices + VALUES))
    try:
        cards = load_folder(card_file(folder, **{key: value}))
    except BenchError as error:
        assert "mine.toml" in str(error)
        return
    assert [card.key for card in cards] == ["app@mine"]
    identity(cards[0])


@given(
    st.one_of(st.text(max_size=30), st.from_regex(r"app@mine(\.lines-[0-9]{0,25}-?[0-9]{0,25}){0,2}", fullmatch=True))
)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_any_name_of_a_slice_is_found_or_refused(name):
    known = Catalogue((MINE,), None)
    try:
        card = known.find(name)
    except BenchError as error:
        assert str(error)
    else:
        assert card.key == "app@mine" or 0 <= card.lines[0] < card.lines[1]


@pytest.mark.parametrize("name", ["app@mine.lines-5-5", "app@mine.lines-9-5", "app@mine.lines-0-5.lines-0-2"])
def test_slices_that_hold_nothing(name):
    with pytest.raises(BenchError):
        Catalogue((MINE,), None).find(name)


def test_a_slice_has_no_more_digits_than_a_file_has_lines():
    with pytest.raises(BenchError, match="unknown edition"):
        Catalogue((MINE,), None).find("app@mine.lines-0-" + "9" * 5000)
