"""Time, host and line beside an alert: the host where the header has one, and nothing that only looks like one."""

import datetime

import numpy as np
import pytest

from bench.data.cards.card import Card, Format
from bench.data.cards.catalogue import catalogue
from bench.data.own.guess import guess
from bench.data.reading.builder import Clock
from bench.deploy.context import bare, host_of, in_present, iso, logline, times_of

LINES = {
    "Nov 29 10:00:00 web7 sshd[12]: Accepted publickey for root": "web7",
    "<34>1 2026-11-29T10:00:00Z db1.example.org su 77 ID47 - failed for root": "db1.example.org",
    "2026-11-29T10:00:00.123+00:00 web7 sshd[12]: Accepted publickey": "web7",
    "- 1117838570 2005.06.03 R02-M1-N0-C:J12-U11 2005-06-03-15.42.50.363779 R02-M1-N0 RAS KERNEL INFO ok": (
        "R02-M1-N0-C:J12-U11"
    ),
    "- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 crond(pam_unix)[2915]: session closed": "dn228",
    '{"time": "2026-11-29T10:00:00Z", "host": "web7", "msg": "started"}': "web7",
    "ts=2026-11-29T10:00:00Z level=info host=web7 msg=started": "web7",
    # Neither a level, a logger nor a client is a host.
    "2026-11-29 10:00:00,123 INFO shop.worker: order 7 done": "",
    "2026-11-29 10:00:00 order 7 done": "",
    '10.0.0.1 - - [29/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 12': "",
    "order host: is down": "",
}


@pytest.mark.parametrize(("line", "host"), LINES.items())
def test_the_host_of_a_line(line, host):
    form = guess([line] * 10).form
    assert host_of(form, bare(form, line)) == host
    assert host_of(form, "something else altogether") == ""


SHIPPED = {
    "bgl": (
        "1117838570 2005.06.03 R02-M1-N0-C:J12-U11 2005-06-03-15.42.50 R02 RAS KERNEL INFO ok",
        "R02-M1-N0-C:J12-U11",
    ),
    "tbird": ("1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 crond[2915]: session closed", "dn228"),
    "hdfs": ("081109 203615 148 INFO dfs.DataNode$PacketResponder: Received block blk_1", ""),
    "hadoop": ("2015-10-17 15:37:56,547 INFO [main] org.apache.hadoop.Master: up", ""),
    "openstack": ("nova-api.log 2017-05-16 00:00:00.008 25746 INFO nova.osapi [-] up", ""),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_host_by_the_headers_of_shipped_cards(name):
    line, host = SHIPPED[name]
    form = catalogue().editions(name)[0].format
    assert host_of(form, line) == host


@pytest.mark.parametrize("word", ["INFO", "warning", "2241", "2030.03.17", "2030-03-17T10:00:00Z", "-"])
def test_what_is_no_host(word):
    form = Format(header=r"^(?P<time>[0-9]+) \S+ \S+ (?P<message>.*)$", time="epoch")
    assert host_of(form, f"1117838570 {word} x y") in ("", "x")
    assert host_of(form, "1117838570 10.0.0.7 x y") == "10.0.0.7"


def test_a_line_with_what_its_header_says():
    form = Format(header="^(?P<time>[0-9]+) (?P<host>[a-z]+) (?P<message>.*)$", time="epoch", label="first-token")
    found = logline(form, 7, 1_000_000_000.0, bare(form, "- 1000000000 web up and running\r\n"))
    assert (found.number, found.time, found.host) == (7, "2001-09-09 01:46:40", "web")
    assert (found.raw, found.message) == ("1000000000 web up and running", "up and running")
    assert iso(float("nan")) == iso(1e30) == ""


def test_times_without_a_year_are_of_the_present():
    """Not of the year in which the model was fitted."""
    form = Format(header=r"^(?P<time>\S+ \S+ \S+) (?P<message>.*)$", time="%b %d %H:%M:%S", year=2020)
    card = Card("a", "b", "", "development", 0, "lines", "", "", format=form)
    now = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC).timestamp()
    for line, year in ((b"Feb 28 10:00:00 x\n", 2026), (b"Dec 31 10:00:00 x\n", 2025)):
        found = in_present(card, line, now)
        assert found.format.year == year
        (seconds,) = times_of(Clock(found.format.year), found.format, line)
        assert iso(float(seconds)).startswith(str(year))
    assert np.isnan(times_of(Clock(0), Format(), b"no time\n")).all()
