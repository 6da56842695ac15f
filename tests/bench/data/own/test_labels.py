"""Label files of one's own, as people write them: read right, or refused in one sentence."""

import csv
import io

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.cards.card import Format
from bench.data.own.labels import describe_label_file
from bench.data.reading.labels import labels_in
from bench.errors import BenchError

N = 40
IDS = [f"order-{i}" for i in range(N)]
BAD = {f"order-{i}" for i in range(9, N, 10)}
SESSION = "order-[0-9]+"


def table(separator=",", head="session,label", bad="anomaly", good=("normal",), form="{}", above="", below=""):
    """A row for each order; spellings of the normal word take turns."""
    cells = [(name, bad if name in BAD else good[i % len(good)]) for i, name in enumerate(IDS)]
    rows = [head.split(",")] * bool(head) + [[form.format(cell) for cell in row] for row in cells]
    return above + "".join(separator.join(row) + "\n" for row in rows) + below


@pytest.fixture
def described(tmp_path):
    """What is found of a file, and the labels that the reader takes from it."""

    def make(content, *, name="l.csv", ids=IDS, session=SESSION, normal=None, columns=None):
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(content)
        found = describe_label_file(path, session, pl.Series(ids), normal, columns)
        read = labels_in(content, Format(**found.form), "it")
        labels = dict(read.values.rows())
        return found, {session: labels.get(session, read.unnamed) for session in ids}

    return make


def abnormal(labels):
    return {session for session, label in labels.items() if label == 1}


RIGHT = {
    "comma": table(),
    "semicolon": table(";"),
    "tab": table("\t"),
    "bar": table("|"),
    "blank": table(" "),
    "blanks": table("   "),
    "colon": table(": "),
    "equals": table("=", head=""),
    "no names": table(head=""),
    "no names, semicolon": table(";", head=""),
    "no names, tab": table("\t", head=""),
    "a remark above": table(above="# exported by me\n"),
    "a remark with a comma above": table(above="# exported by me, on Monday\n"),
    "a remark above, semicolon": table(";", above="# exported by me, on Monday\n\n"),
    "a title above": table(above="Labels of May\n"),
    "a title above, semicolon": table(";", above="Labels of May\n"),
    "what a spreadsheet begins with": table(";", above="sep=;\n"),
    "names in a remark": table(head="# session,label"),
    "names behind a hash": table(head="#session,label"),
    "a remark between": table(below="# order-1 was checked\n// order-2, normal\n"),
    "a remark with an open quote": table(below='# order-1 is "odd\n'),
    "blank lines": table().replace("\n", "\n\n"),
    "blanks around": table(" , "),
    "quotes": table(form='"{}"'),
    "quotes, semicolon": table(";", form='"{}"'),
    "single quotes": table(form="'{}'"),
    "Markdown": "| session | label |\n|:--|---|\n"
    + table(" | ", head="").replace("order", "| order").replace("\n", " |\n"),
    "Windows": table().replace("\n", "\r\n"),
    "Mac": table().replace("\n", "\r"),
    "Mac, semicolon": table(";").replace("\n", "\r"),
    "mark": table().encode("utf-8-sig"),
    "mark, semicolon": table(";").encode("utf-8-sig"),
    "UTF-16": table().encode("utf-16"),
    "UTF-16, tab": table("\t").encode("utf-16"),
    "UTF-16 without a mark": table(";").encode("utf-16-le"),
    "UTF-16, the other way": table(";").encode("utf-16-be"),
    "UTF-32": table().encode("utf-32"),
    "Latin-1": table(head="session,étiquette").encode("latin-1"),
    "spellings": table(good=("normal", "Normal", "NORMAL ", " normal")),
    "spellings of zero": table(bad="1", good=("0", "0.0", "0.00", "-0")),
    "numbers with points": table(bad="1.0", good=("0.0", "0")),
    "True and False": table(bad="True", good=("False", "false")),
    "yes and no": table(bad="y", good=("n", "N")),
    "the word for abnormal is known": table(bad="anomaly", good=("usual",)),
    "a column that says yes": table(head="session,is_normal", bad="0", good=("1",)),
    "a column that says true": table(head="session,normal", bad="false", good=("true", "True")),
    "a constant beside": "session,host,verdict\n"
    + "".join(f"{name},web1,{'bad' if name in BAD else 'fine'}\n" for name in IDS),
    "two words beside": "host,session,n,verdict\n"
    + "".join(f"web{i % 2},{name},{i},{'bad' if name in BAD else 'fine'}\n" for i, name in enumerate(IDS)),
    "a status beside": "session,status,label\n"
    + "".join(f"{name},{200 if i % 2 else 404},{'bad' if name in BAD else 'normal'}\n" for i, name in enumerate(IDS)),
    "a quoted remark beside": 'session,why,label\n'
    + "".join(f'{name},"so, or so",{"bad" if name in BAD else "normal"}\n' for name in IDS),
    "list": "".join(f"{name}\n" for name in sorted(BAD)),
    "list with a mark": "".join(f"{name}\n" for name in BAD).encode("utf-8-sig"),
    "list in UTF-16": "".join(f"{name}\n" for name in BAD).encode("utf-16"),
    "list of a Mac": "".join(f"{name}\r" for name in BAD),
    "list on one line": ",".join(BAD),
    "list between blanks": " ".join(BAD),
    "list with remarks": "# order-1 was checked and is fine\n; order-2, too\n// order-3\n" + "\n".join(BAD),
    "list with remarks behind": "".join(f"{name} # as order-1\n" for name in BAD),
    "list with words": "these failed: \n" + "".join(f" * {name} failed\n" for name in BAD),
}  # fmt: skip


@pytest.mark.parametrize("which", RIGHT)
def test_labels_as_people_write_them(described, which):
    found, labels = described(RIGHT[which])
    assert abnormal(labels) == BAD, found.notes
    assert set(labels.values()) == {0, 1}


def test_words_for_no_value_are_no_label(described):
    found, labels = described(table(good=("normal", "", "NaN", "null", "NA", "n/a", "None", "<NA>", "#N/A", "?")))
    assert abnormal(labels) == BAD
    unlabelled = {name for name, label in labels.items() if label == -1}
    assert unlabelled == {name for i, name in enumerate(IDS) if i % 10 and name not in BAD}
    assert "32 rows have no label ('', 'NaN', 'null'" in " ".join(found.notes)


def test_none_alone_is_the_normal_word(described):
    assert abnormal(described(table(bad="disk", good=("none", "None")))[1]) == BAD


def test_what_counts_as_what_is_said(described):
    found, _ = described(table(";", bad="burnt", good=("served",)))
    assert found.notes[0] == (
        "Labels: column 'label' of l.csv, by 'session'; normal is 'served', abnormal are 4 of 40 rows ('burnt' 4)."
    )
    assert "most frequent one, 'served', is taken" in found.notes[1]


def test_sessions_without_a_row_are_said(described):
    ids = [*IDS, "order-77", "order-78"]
    found, labels = described(table(), ids=ids)
    assert "2 of the 42 sessions of the first lines have no row in l.csv, such as 'order-77'" in found.notes[-1]
    assert labels["order-78"] == -1


def test_no_abnormal_session_is_said(described):
    assert "No session of l.csv is abnormal" in described(table(bad="normal"))[0].notes[-1]


def test_a_list_of_all_or_of_none_is_said(described):
    found, _ = described("\n".join(IDS), ids=IDS[:3])
    assert "All 3 sessions of the first lines are listed" in found.notes[-1]
    with pytest.raises(BenchError, match=r"lists all 40 sessions of the first lines, such as 'order-0', as abnormal"):
        described("\n".join(IDS))
    found, labels = described("order-98\norder-99\n")
    assert "None of them is among the 40 sessions of the first lines" in found.notes[-1]
    assert set(labels.values()) == {0}


def test_columns_by_name(described):
    content = "disk;order;net\n" + "".join(f"{'x' if name in BAD else '-'};{name};-\n" for name in IDS)
    assert abnormal(described(content, columns=("order", "disk"))[1]) == BAD
    with pytest.raises(BenchError, match="no row with the names order and tape of --columns"):
        described(content, columns=("order", "tape"))


def test_a_word_for_normal_in_any_spelling(described):
    assert abnormal(described(table(good=("Normal",)), normal="normal")[1]) == BAD
    assert abnormal(described(table(bad="1", good=("0.0",)), normal="0")[1]) == BAD


def test_ids_that_begin_as_a_remark(described):
    ids = [f"#{i}" for i in range(N)]
    content = "id;label\n" + "".join(f"{name};{'bad' if name in ids[9::10] else 'ok'}\n" for name in ids)
    assert abnormal(described(content, ids=ids, session="#[0-9]+")[1]) == set(ids[9::10])
    assert abnormal(described("#9\n#19 # late\n", ids=ids, session="#[0-9]+")[1]) == {"#9", "#19"}


@pytest.mark.parametrize("listed", ["9\n19\n29\n39\n", "9, 19, 29, 39\n", "# these\n9 # as 3\n19\n29\n39\n"])
def test_a_list_of_bare_ids(described, listed):
    ids = [str(i) for i in range(N)]
    found, labels = described(listed, ids=ids, session="order=(?P<session>[0-9]+)")
    assert abnormal(labels) == {"9", "19", "29", "39"}, found.notes


WRONG = {
    "two words for normal": (table(good=("normal", "ok")), "several words for normal ('normal' (20), 'ok' (16))"),
    "a dash beside": (table(good=("normal", "-")), "several words for normal"),
    "a word and a remark": (table(good=("normal", "normal (late)")), "'normal (late)' beside 'normal'"),
    "measures": (table(bad="0.93", good=("0.1", "0.2")), "a time or a measure and no label"),
    "dates": (table(bad="2024-05-01", good=("2024-05-02",)), "'2024-05-02', a time or a measure"),
    "clocks": (table(bad="10:00:00", good=("10:00:01",)), "a time or a measure"),
    "grades": (table(bad="critical", good=("info", "warning")), "no usual word for normal"),
    "mostly abnormal": (table(bad="x", good=("failed", "fatal")), "no usual word for normal"),
    "one word": (table(good=("anomaly",)), "every session of"),
    "wide rows": ("session,label\n" + "".join(f"{name},ok,why,more\n" for name in IDS), "line 1 of"),
    "some wide rows": (table(below="order-1,ok,for, no reason\n"), "line 42 of"),
    "a short row": ("session,host,label\norder-0,a,ok\norder-1,bad\norder-2,a,bad\n", "line 3 of"),
    "two columns of a name": ("session,label,label\norder-0,ok,bad\norder-1,ok,ok\n", "a name of its own"),
    "a column without a name": ("session,\norder-0,ok\norder-1,bad\n", "a name of its own"),
    "two that disagree": (
        "session,disk,net\n" + "".join(f"order-{i},{i % 2},{i // 2 % 2}\n" for i in range(8)),
        "--columns 'session',NAME",
    ),
    "a state of unusual words beside a flag": (
        "session,flag,state\n"
        + "".join(f"{name},{i % 2},{'burnt' if name in BAD else 'served'}\n" for i, name in enumerate(IDS)),
        "--columns 'session',NAME",
    ),
    "hosts alone": (
        "session,host,state\n" + "".join(f"{name},web{i % 2},served\n" for i, name in enumerate(IDS)),
        "--columns 'session',NAME",
    ),
    "blanks in some cells": ("".join(f"{name} {'it is ' * (i % 3)}{i % 2}\n" for i, name in enumerate(IDS)), "l.csv"),
    "a table of other sessions": ("session;label\nx-1;0\nx-2;1\n", "names a session of the first lines"),
    "other zeros": (table().replace("order-", "order-00"), "names a session of the first lines"),
    "upper case": (table().replace("order", "ORDER"), "names a session of the first lines"),
    "names alone": ("session;label\n", "names a session of the first lines"),
    "JSON": ('{"order-0": "normal", "order-1": "bad"}', "is JSON"),
    "JSON lines": ('{"session": "order-0", "label": "normal"}\n', "is JSON"),
    "a JSON list": ('[\n"order-0"]', "is JSON"),
    "nothing": ("", "is empty"),
    "blank": (" \n\n", "is empty"),
    "a list with words for normal": ("see order-1 normal\nand that is all\n", "line 1 of"),
    "a list with sessions among words": ("order-3 is like order-4\nthat is all\n", "names 2 sessions among other"),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_what_may_be_read_wrongly_is_refused(described, which):
    content, expected = WRONG[which]
    with pytest.raises(BenchError) as refused:
        described(content)
    assert expected in str(refused.value)
    assert "l.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_sheet_is_no_text(described):
    with pytest.raises(BenchError, match="is no text: save it as CSV"):
        described(b"PK\x03\x04", name="l.xlsx")


def test_a_list_has_no_word_for_normal(described):
    with pytest.raises(BenchError, match="--normal 'fine' means nothing"):
        described("order-9\n", normal="fine")


SPELLINGS = st.sampled_from([("normal", "Normal", " NORMAL"), ("0", "0.0"), ("ok",), ("False", "false"), ("-",)])
EMPTY = st.sampled_from(["", "NaN", "null", "NA", "<NA>"])


@given(
    data=st.data(),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    spellings=SPELLINGS,
    n_beside=st.integers(0, 2),
    above=st.sampled_from(["", "# remark\n", "A title\n", "# a, b; c\n\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    has_head=st.booleans(),
)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_any_table_is_read_as_it_was_meant_or_refused(
    tmp_path_factory, data, separator, encoding, end, spellings, n_beside, above, quoting, has_head
):
    """The truth is drawn first, then written in some way of writing; a label that differs from it is never taken."""
    words = st.one_of(st.just("anomaly"), st.sampled_from(spellings), EMPTY)
    truth = {name: data.draw(words) for name in IDS[:12]} | {"order-12": spellings[0], "order-13": "anomaly"}
    columns = data.draw(st.permutations(["session", "label", *("host", "note, or so")[:n_beside]]))
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end)
    for row in ([columns] if has_head else []) + [
        [{"session": name, "label": word, "host": "web1"}.get(column, f"note {i}") for column in columns]
        for i, (name, word) in enumerate(truth.items())
    ]:
        writer.writerow(row)
    path = tmp_path_factory.mktemp("labels") / "l.csv"
    path.write_bytes((above.replace("\n", end) + stream.getvalue()).encode(encoding))
    try:
        found = describe_label_file(path, SESSION, pl.Series(list(truth)))
        read = labels_in(path.read_bytes(), Format(**found.form), "it")
    except BenchError as error:
        assert "l.csv" in str(error)
        return
    labels = dict(read.values.rows())
    expected = {name: 1 if word == "anomaly" else 0 if word in spellings else -1 for name, word in truth.items()}
    assert {name: labels.get(name, read.unnamed) for name in truth} == expected
