"""What the reader takes from labels that stand beside the log, and what it says of them."""

import pytest

from bench.data.cards.card import Card, Format
from bench.data.reading.label_words import ABNORMAL_WORDS, NORMAL_WORDS, folded, meaning
from bench.data.reading.labels import session_labels
from bench.data.reading.prepared import prepared_folder
from bench.data.reading.read import read
from bench.errors import BenchError

TABLE = {"label": "label-file", "session": "s[0-9]+", "label_key": "id", "label_value": "state", "normal": "ok"}
LIST = {"label": "session-list", "session": "s[0-9]+"}
LOG = "s1 a\ns2 b\ns3 c\n"


@pytest.fixture
def log_of(own_system):
    def make(files, form, **fields):
        files = {key: value.encode() if isinstance(value, str) else value for key, value in files.items()}
        found = own_system(files, format=form, **fields)
        return read(found.resolve("app@mine"), found)

    return make


@pytest.fixture
def labelled(log_of):
    return lambda table, form=TABLE, log=LOG: log_of({"a.log": log, ("l.csv", "labels"): table}, form)


@pytest.mark.parametrize(
    "content",
    [
        "id;state\ns1;ok\ns2;bad\ns3;ok\n",
        "n\tstate\tid\n1\tOK\ts1\n2\tbad\ts2\n3\t ok\ts3\n",
        "# of May\nLabels\n\nid | state\n---|---\ns1 | ok\ns2 | bad\ns3 | Ok\n",
        "sep=;\nid;state\ns1;ok\ns2;bad\ns3;ok",
        "#id,state\ns1,ok\ns2,bad\ns3,ok\n# s1,bad\n",
        "id state\rs1 ok\rs2   bad\rs3 ok\r",
        '"id","state"\n"s1","ok"\n"s2","b, or so"\n"s3","ok"\n',
        "id;state\ns1;ok\ns2;bad\ns3;ok\n".encode("utf-16"),
    ],
)
def test_columns_are_found_by_their_names(labelled, content):
    log = labelled(content)
    assert log.session_labels.tolist() == [0, 1, 0]
    assert log.notes == ()


def test_columns_without_names_by_their_numbers(labelled):
    form = TABLE | {"label_key": "column 2", "label_value": "column 1"}
    assert labelled("ok;s1\nbad;s2\nok;s3\n", form).session_labels.tolist() == [0, 1, 0]
    # A comma in another column parts the rows evenly, too.
    form = TABLE | {"label_key": "column 1", "label_value": "column 2"}
    assert labelled("s1;ok;1,5\ns2;bad;2,5\ns3;ok;0,5\n", form).session_labels.tolist() == [0, 1, 0]
    with pytest.raises(BenchError, match="no rows with a session in column 1 and a label in column 2"):
        labelled("s1;ok\ns2;bad;x\n", form)


def test_words_for_no_value_are_unlabelled(labelled):
    log = labelled("id,state\ns1,NaN\ns2,bad\ns3,None\ns3,ok\n")
    assert log.session_labels.tolist() == [-1, 1, 0]
    assert log.alerts == (("bad", 1),)


def test_spellings_of_one_word_are_one_kind_and_agree(labelled):
    log = labelled("id,state\ns1,Bad\ns1,bad\ns2,bad\ns3,BAD\n")
    assert log.session_labels.tolist() == [1, 1, 1]
    assert [n for _, n in log.alerts] == [3]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,state\ns1,ok\ns2\n", "has 1 cells in line 3 ('s2')"),
        ("id,state\ns1,ok,for, no reason\n", "has 4 cells in line 2"),
        ('id,state\ns1,"ok\n', "cannot be read at line 2"),
        ("id,state,state\ns1,ok,bad\n", "2 columns called 'state'"),
        ("name;state\ns1;ok\n", "'id' and 'state'"),
    ],
)
def test_a_table_that_may_be_read_wrongly_is_refused(labelled, content, expected):
    with pytest.raises(BenchError) as refused:
        labelled(content)
    assert expected in str(refused.value)
    assert "'app/l.csv' of 'app@mine'" in str(refused.value)


def test_sessions_that_are_all_strangers_are_said(labelled):
    log = labelled("id,state\nS1,ok\nS2,bad\n")
    assert (
        "none of the 2 sessions of the label file is in the log: they look like 'S1', those of the log like 's1'"
        in (log.notes)
    )


def test_bytes_of_another_encoding_are_said(labelled):
    log = labelled("id,state\ns1,ok\ns2,müde\ns3,ok\n".encode("latin-1"))
    assert log.notes == ("1 lines of the label file have bytes that are no UTF-8; they are read as U+FFFD",)


def test_remarks_in_a_list_name_nobody(labelled):
    log = labelled("# s1 is fine\n; s1\n// s1\n#s1\ns2 # as s1\n", LIST)
    assert log.session_labels.tolist() == [0, 1, 0]


def test_all_sessions_of_a_row_are_listed(labelled):
    assert labelled("- s2, s3\n", LIST).session_labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("s1;ok", "'ok'"),
        ("s1 Normal", "'normal'"),
        ("s1\t0", "'0'"),
        ("normal,s1", "'normal'"),
        ("s1,web,-", "'-'"),
        ("s1: false", "'false'"),
        ("s1 is as s2", "names 2 sessions among other words"),
    ],
)
def test_a_row_that_is_none_of_a_list_is_refused(labelled, row, expected):
    with pytest.raises(BenchError) as refused:
        labelled(f"s3\n{row}\n", LIST)
    assert expected in str(refused.value)
    assert "line 2 of the label file 'app/l.csv'" in str(refused.value)


def test_ids_that_are_numbers_are_no_words(labelled):
    form = LIST | {"session": "[0-9]+"}
    assert labelled("0\n2\n", form, log="0 a\n1 b\n2 c\n").session_labels.tolist() == [1, 0, 1]


def test_usual_words_are_folded_and_apart():
    assert not NORMAL_WORDS & ABNORMAL_WORDS
    assert all(folded(word) == word for word in NORMAL_WORDS | ABNORMAL_WORDS)
    assert [folded(word) for word in (" Normal", "0.00", "-0", "1.", "0.5", "1e3", "NaN")] == [
        "normal", "0", "0", "1", "0.5", "1e3", "nan",
    ]  # fmt: skip
    assert [meaning(word, "NA") for word in ("na", "n/a", "x")] == [0, -1, 1]


TOKENS = {"label": "first-token", "header": "^(?P<message>.*)$"}


@pytest.mark.parametrize(
    ("normal", "words", "expected"),
    [
        ("ok", ("ok", "OK", "Ok", "x", "okay"), [0, 0, 0, 1, 1]),
        ("0", ("0", "0.0", "1", "x", "00"), [0, 0, 1, 1, 0]),
        ("-", ("-", "--", "x"), [0, 1, 1]),
        ("[OK]", ("[ok]", "[x]"), [0, 1]),
    ],
)
def test_first_tokens_in_any_spelling(log_of, normal, words, expected):
    log = log_of({"a.log": "".join(f"{word} up\n" for word in words)}, TOKENS | {"normal": normal})
    assert log.labels.tolist() == expected


TIMED = {"header": r"^(?P<time>\S+) (?P<message>.*)$", "time": "epoch"}


@pytest.mark.parametrize("label", ["incidents", "none"])
def test_incidents_that_meet_no_line_are_said(log_of, label):
    ranges = [{"start": 10, "end": 20}, {"start": 50, "end": 60}]
    log = log_of({"a.log": "9 up\n15 up\n30 up\n"}, TIMED | {"label": label}, incidents=ranges)
    assert len(log.notes) == 1
    assert log.notes[0].startswith(
        "1 of 2 incidents meet no line, such as 1970-01-01T00:00:50Z to 1970-01-01T00:01:00Z"
    )
    assert "the lines are of 1970-01-01T00:00:09Z to 1970-01-01T00:00:30Z" in log.notes[0]


def test_a_day_of_a_card_ends_with_it(log_of):
    times = [1_714_521_599, 1_714_521_600, 1_714_607_999, 1_714_608_000]
    for day in ("2024-05-01",):
        log = log_of(
            {"a.log": "".join(f"{time} up\n" for time in times)},
            TIMED | {"label": "incidents"},
            incidents=[{"start": day, "end": day}],
        )
        assert log.labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("number", [20240501, 1_714_521_600_000])
def test_a_number_that_is_no_second_is_no_incident(log_of, number):
    with pytest.raises(BenchError, match="has the incident"):
        log_of({"a.log": "1 up\n"}, TIMED | {"label": "incidents"}, incidents=[{"start": number, "end": number}])


def test_an_id_stream_knows_three_labels(own_system):
    def stream(*labels):
        rows = "".join(f"{i % 2},{label}\n" for i, label in enumerate(labels))
        found = own_system({("e.csv", "events"): f"event_id,label\n{rows}".encode()}, kind="id-stream")
        return read(found.resolve("app@mine"), found)

    assert stream(0, 1, "", -1).labels.tolist() == [0, 1, -1, -1]
    with pytest.raises(BenchError, match="has the label 2: write 0 normal, 1 abnormal"):
        stream(0, 2)


def test_what_was_prepared_by_other_rules_is_left_aside():
    """Cards whose labels have one spelling keep what was prepared of them."""
    changed = []
    for form in (Format(**TABLE), Format(**LIST), Format(**TOKENS, normal="ok"), Format(**TOKENS), Format()):
        card = Card("app", "mine", "t", "smoke", 1, "lines", "MIT", "nobody", format=form)
        with pytest.MonkeyPatch.context() as patch:
            before = prepared_folder(card)
            patch.setattr("bench.data.reading.prepared.LABELS_VERSION", 99)
            changed.append(prepared_folder(card) != before)
    assert changed == [True, True, True, False, False]


def test_a_card_without_files_has_a_name_for_them():
    card = Card("app", "mine", "t", "smoke", 1, "lines", "MIT", "nobody", format=Format(**TABLE))
    with pytest.raises(
        BenchError, match="the label file of 'app@mine' is no CSV file with the columns 'id' and 'state'"
    ):
        session_labels(card, b"")
