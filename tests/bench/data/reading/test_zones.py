"""Zones: what a text says of its zone is read, and clocks of a card's zone become UTC."""

import datetime
import zoneinfo

import numpy as np
import polars as pl
import pytest

from bench.data.cards.card import parse_card
from bench.data.reading.builder import Clock
from bench.data.reading.zones import UNCLEAR_NAMES, ZONE_NAMES, seconds, to_utc
from bench.errors import BenchError

MAY = 1_714_557_600  # 2024-05-01T10:00:00Z


def read(text, time):
    return pl.DataFrame({"text": [text]}).select(seconds(pl.col("text"), time)).item()


@pytest.mark.parametrize(
    ("text", "time", "expected"),
    [
        ("1714557600.25", "epoch", MAY + 0.25),
        ("1714557600250", "epoch-ms", MAY + 0.25),
        ("1714557600000250", "epoch-us", MAY + 0.00025),
        ("1714557600000000000", "epoch-ns", MAY),
        ("2024-05-01 10:00:00 UTC", "%Y-%m-%d %H:%M:%S %Z", MAY),
        ("2024-05-01 12:00:00.5 CEST", "%Y-%m-%d %H:%M:%S%.f %Z", MAY + 0.5),
        ("2024-05-01 06:00:00 EDT", "%Y-%m-%d %H:%M:%S %Z", MAY),
        ("Wed May  1 12:00:00 CEST 2024", "%a %b %d %H:%M:%S %Z %Y", MAY),
        ("2024-05-01 12:00:00 XYZ", "%Y-%m-%d %H:%M:%S %Z", None),
        ("2024-05-01 12:00:00", "%Y-%m-%d %H:%M:%S %Z", None),
        ("2024-05-01 12:00:00+0200", "%Y-%m-%d %H:%M:%S%#z", MAY),
        ("05/01/2024 12:00:00 AM", "%m/%d/%Y %I:%M:%S %p", MAY - 36_000),
    ],
)
def test_a_text_is_read_with_its_zone(text, time, expected):
    assert read(text, time) == expected


def test_names_of_zones_are_those_of_the_database():
    """Where the time zone database knows a name, it has this offset somewhere."""
    known = {}
    for name in zoneinfo.available_timezones() - {"localtime"}:
        for year, month in ((2000, 1), (2000, 7), (2008, 1), (2008, 7), (2024, 1), (2024, 7)):
            moment = datetime.datetime(year, month, 1, tzinfo=zoneinfo.ZoneInfo(name))
            known.setdefault(moment.tzname(), set()).add(moment.utcoffset().total_seconds())
    for name in ZONE_NAMES:
        offset = MAY - read(f"2024-05-01 10:00:00 {name}", "%Y-%m-%d %H:%M:%S %Z")
        assert offset in known[name], name
    assert not set(ZONE_NAMES) & set(UNCLEAR_NAMES)


def local(*texts):
    moments = [datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC) for text in texts]
    return np.array([moment.timestamp() for moment in moments])


def shown(times):
    return [
        datetime.datetime.fromtimestamp(t, datetime.UTC).strftime("%H:%M") if not np.isnan(t) else "" for t in times
    ]


def test_clocks_of_a_zone():
    assert shown(to_utc(local("2024-05-01 12:00", "2024-12-01 12:00"), "Europe/Berlin", -np.inf)) == ["10:00", "11:00"]
    assert shown(to_utc(local("2024-05-01 12:00"), "+05:30", -np.inf)) == ["06:30"]
    assert shown(to_utc(local("2024-05-01 12:00"), "-03:00", -np.inf)) == ["15:00"]
    # The clock went from two to three: half past two was never shown.
    assert shown(to_utc(local("2024-03-31 01:59", "2024-03-31 02:30", "2024-03-31 03:00"), "Europe/Berlin", 0)) == [
        "00:59",
        "",
        "01:00",
    ]


def test_an_hour_that_comes_twice_follows_the_order_of_lines():
    times = local("2024-10-27 02:10", "2024-10-27 02:59", "2024-10-27 02:00", "2024-10-27 02:50", "2024-10-27 03:00")
    whole = Clock(0, "Europe/Berlin").read(times)
    assert shown(whole) == ["00:10", "00:59", "01:00", "01:50", "02:00"]
    clock = Clock(0, "Europe/Berlin")
    assert [clock.read(times[i : i + 1])[0] for i in range(5)] == whole.tolist()


def test_a_day_that_a_year_has_not_is_no_time():
    leap = local("2000-02-29 10:00", "2000-03-01 10:00")
    assert np.isnan(Clock(2023).read(leap)).tolist() == [True, False]
    assert Clock(2024).read(leap)[0] == local("2024-02-29 10:00")[0]


SYSTEM = 'licence = "x"\ncitation = "x"\n[format]\nheader = "^(?P<time>\\\\S+) (?P<message>.*)$"\n'
EDITION = 'title = "x"\ntier = "development"\nrank = 1\nkind = "lines"\n[[files]]\nname = "a"\nsha256 = "unpublished"\n'


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ('time = "%Y-%m-%d"\nzone = "Berlin"', "zone = 'Berlin': write"),
        ('time = "epoch"\nzone = "Europe/Berlin"', "says the zone of each time: leave zone out"),
        ('zone = "+05:30"', "reads no time: leave zone out"),
    ],
)
def test_a_zone_that_cannot_be_meant(tmp_path, form, complaint):
    with pytest.raises(BenchError, match=complaint):
        parse_card(tmp_path / "shop/a.toml", SYSTEM + form, EDITION)
    assert (
        parse_card(tmp_path / "shop/a.toml", SYSTEM + 'time = "%Y"\nzone = "+05:30"', EDITION).format.zone == "+05:30"
    )
