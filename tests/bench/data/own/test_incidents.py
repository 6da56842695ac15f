"""Time ranges of failures as people write them."""

import numpy as np
import pytest

from bench.data.own.incidents import notes_of, read_incidents
from bench.errors import BenchError

START, END = 1_714_558_140.0, 1_714_558_199.0
ISO = "2024-05-01T10:09:00Z", "2024-05-01T10:09:59Z"


@pytest.fixture
def incidents(tmp_path):
    def make(content, columns=None):
        path = tmp_path / "i.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_incidents(path, columns)

    return make


RIGHT = {
    "names": "start,end\n{0},{1}\n",
    "no names": "{0},{1}\n",
    "a word behind": "{0},{1},disk\n",
    "a word in front": "disk;{0};{1}\n",
    "names in another order": "end,start\n{1},{0}\n",
    "a number in front": "id,start,end\n7,{0},{1}\n",
    "a number in front, no names": "7,{0},{1}\n",
    "names with a zone": "start (UTC+0);end (UTC+0)\n{0};{1}\n",
    "other names": "name\tbegin_time\tend_time\ndisk\t{0}\t{1}\n",
    "from and to": "from|to\n{0}|{1}\n",
    "unknown names": "t0,t1\n{0},{1}\n",
    "bars": "{0}|{1}\n",
    "tabs": "{0}\t{1}\n",
    "blanks": "{0} {1}\n",
    "quotes": '"{0}","{1}"\n',
    "single quotes": "'{0}','{1}'\n",
    "remarks": "# disk, at 10\n\n{0},{1} # it was full\n",
    "another zone": "2024-05-01T12:09:00+02:00,2024-05-01 12:09:59+02:00\n",
    "no zone": "2024-05-01 10:09:00,2024-05-01 10:09:59\n",
    "seconds": "1714558140,1714558199\n",
    "seconds with an id": "id,start,end\n100,1714558140,1714558199\n",
    "seconds with decimal commas": "start;end\n1714558140,0;1714558199,0\n",
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("which", RIGHT)
def test_incidents_as_people_write_them(incidents, which, end):
    content = RIGHT[which].format(*ISO).replace("\n", end)
    assert incidents(content) == ((START, END),)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(incidents, encoding):
    assert incidents("start;end\n{};{}\n".format(*ISO).encode(encoding)) == ((START, END),)


def test_a_day_ends_with_it(incidents):
    ((start, end),) = incidents("2024-05-01,2024-05-02\n")
    assert start == 1_714_521_600
    assert 1_714_694_399.9 < end < 1_714_694_400


def test_columns_by_name(incidents):
    content = "seen;broken;mended\n1714000000;{};{}\n".format(*ISO)
    assert incidents(content, ("broken", "mended")) == ((START, END),)
    with pytest.raises(BenchError, match="no row with the names broken, healed of --columns"):
        incidents(content, ("broken", "healed"))


WRONG = {
    "several numbers": ("100,1714558140,1714558199\n", "line 1 of"),
    "a length": ("start,duration\n{0},59\n", "line 2 of"),
    "milliseconds": ("1714558140000,1714558199000\n", "'1714558140000'"),
    "a date without hyphens": ("20240501,20240502\n", "'20240501'"),
    "a moment without hyphens": ("202405011009,202405011010\n", "'202405011009'"),
    "the day first": ("01/05/2024 10:09,01/05/2024 10:10\n", "'01/05/2024 10:09'"),
    "an open end": ("{0},\n", "no start or no end"),
    "one moment": ("start;end\n{0}\n", "line 2 of"),
    "the wrong way round": ("{1},{0}\n", "ends before it starts"),
    "a clock apart": ("2024-05-01,10:09:00,2024-05-01,10:10:00\n", "a clock in a column of its own"),
    "a clock apart, with names": (
        "start_date,start_time,end_date,end_time\n2024-05-01,10:09:00,2024-05-01,10:10:00\n",
        "a clock in a column of its own",
    ),
    "blanks in both": ("2024-05-01 10:09:00 2024-05-01 10:10:00\n", "no start or no end"),
    "JSON": ('[{{"start": "{0}", "end": "{1}"}}]', "is JSON"),
    "names alone": ("start,end\n", "names no incident"),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_may_be_read_wrongly_is_refused(incidents, which):
    content, expected = WRONG[which]
    with pytest.raises(BenchError) as refused:
        incidents(content.format(*ISO))
    assert expected in str(refused.value)
    assert "i.csv" in str(refused.value)


def test_incidents_without_a_line_are_said():
    times = np.array([START, np.nan, START + 600])
    missed = notes_of(((START, END), (1.0, 2.0)), times, is_whole=True)[-1]
    assert missed.startswith("1 of 2 incidents meet no line, such as 1970-01-01T00:00:01Z to 1970-01-01T00:00:02Z")
    later = ((START, END), (START + 10_000, START + 10_001))
    assert "1 of 2" in notes_of(later, times, is_whole=True)[-1]
    assert len(notes_of(later, times, is_whole=False)) == 1
    assert "none is normal" in notes_of(((0.0, 2e9),), times, is_whole=True)[-1]
