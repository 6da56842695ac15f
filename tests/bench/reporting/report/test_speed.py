"""`bench report` of 2,000 records: under 10 CPU seconds, 600 MiB and 5 MB."""

import json
import subprocess
import sys

import pytest

from bench.records.upkeep import pack

MEASURED = """
import json, resource, sys
from bench.cli import app
app(["report", "--out", sys.argv[1]], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024}))
"""


@pytest.mark.slow
def test_two_thousand_records(store, make_record, tmp_path):
    for edition in range(20):
        for method in range(20):
            for seed in range(5):
                group = "control" if method < 7 else "normal-only"
                name, f1 = f"method-{method}", 0.1 + 0.04 * method + 0.001 * seed
                store.write(make_record(name, seed, f1, supervision=group, edition=f"system-{edition}@full"))
    pack(store)
    command = [sys.executable, "-c", MEASURED, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stdout)
    assert used["seconds"] < 10
    assert used["mib"] < 600
    assert (store.root / "report.html").stat().st_size < 5_000_000
    assert "2,000 runs in 20 tables" in (store.root / "report.html").read_text()
