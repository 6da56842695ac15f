"""Which rows of a table the installed code did not make."""

from bench.experiment.code import InstalledCode
from bench.reporting.tables.table import make_tables
from bench.reporting.tables.versions import stale_rows

NOW, BEFORE = ({"method": "a" * 16, "engine": digit * 16} for digit in "ab")


class Now(InstalledCode):
    """The code of every method is the same."""

    def of_record(self, record):
        return NOW


def test_rows_with_numbers_are_stale_and_what_was_skipped_is_not(make_record, tmp_path):
    skipped = {"status": "skipped", "reason": "no labels"}

    def without_numbers(method, seed):
        record = make_record(method, seed, code=BEFORE)
        return {key: value for key, value in record.items() if key not in ("metrics", "thresholds")} | skipped

    records = [make_record("old", 0, code=BEFORE), make_record("new", 0, code=NOW)]
    records += [without_numbers("none", 0), make_record("some", 0, code=NOW), without_numbers("some", 1)]
    assert [row.method for row in stale_rows(make_tables(records), Now(tmp_path))] == ["old"]
