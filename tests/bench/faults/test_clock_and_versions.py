"""A clock that goes back in mid-run, and records that a newer version wrote."""

import json

import pytest

from bench.records.record import record_digest

BACKWARDS = """
import datetime, itertools, sys, time

now, days = time.time, itertools.count()
time.time = lambda: now() - 86400 * next(days)

class Backwards(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(time.time(), tz)

datetime.datetime = Backwards
from bench.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--no-pack"], []], ids=["inbox", "archive"])
def test_a_clock_that_goes_back_a_day_at_each_look(place, undisturbed, more):
    (place.folder / "backwards.py").write_text(BACKWARDS)
    code, _, err = place.run(*more, program=("backwards.py",))
    assert code == 0, err
    kept = place.check_whole()
    assert len({record["started_at"] for record in kept.values()}) > 3
    assert place.comparable() == undisturbed
    place.check_tidy()
    n_fits = len(place.fits())
    for program in (("backwards.py",), ("-m", "bench")):
        code, _, err = place.run(*more, program=program)
        assert code == 0, err
        assert f"resumed {len(kept)} of {len(kept)} runs" in err
    assert len(place.fits()) == n_fits
    assert place.check_whole() == kept


def raised(record):
    return record | {"schema_version": record["schema_version"] + 1, "from_the_future": {"a": 1}}


@pytest.mark.slow_cases("archive")
@pytest.mark.parametrize("where", ["inbox", "archive"])
def test_a_record_of_a_newer_version_is_left_as_it_is(place, where):
    code, _, err = place.run(*(["--no-pack"] if where == "inbox" else []), methods="Quick", seeds=1)
    assert code == 0, err
    if where == "inbox":
        path = next(path for path in (place.out / "inbox").glob("*.json") if "Quick" in path.read_text())
        newer = raised(json.loads(path.read_text()))
        path.write_text(json.dumps(newer | {"digest": record_digest(newer)}))
    else:
        (path,) = (place.out / "records").glob("*--*.jsonl")
        first, *rest = path.read_text().splitlines(keepends=True)
        path.write_text(json.dumps(raised(json.loads(first)), separators=(",", ":")) + "\n" + "".join(rest))
    content = path.read_bytes()
    n_fits = len(place.fits())
    code, _, err = place.run(methods="Quick,Other", seeds=1)
    assert code == 2
    assert "has schema version" in err
    assert "update bench" in err
    assert path.read_bytes() == content
    assert place.fits()[:n_fits].count(("Quick", 0)) == place.fits().count(("Quick", 0))
