"""Disks that are full or read-only: one sentence, nothing half, what was finished is kept, and the rest is done later.

Where the system lets nobody mount a small disk these tests fail.
"""

import json
import subprocess

import pytest

from tests.bench.faults.conftest import ended

MOUNTED = """
mount -t tmpfs -o size=%(size)s none "$1" || exit 99
cp -a "$2"/. "$1"/ 2>/dev/null
%(before)s
shift 2
"$@" >&2
code=$?
%(after)s
exit $code
"""
FULL = "No space left on device"
READ_ONLY = "Read-only file system"


def run_on(place, disk, *, size="64m", before="", seeds=1, more=(), methods="Quick"):
    """A run whose folder `disk` is a disk of its own, with what was in it; what it holds afterwards is copied out."""
    disk.mkdir(parents=True, exist_ok=True)
    saved = place.folder / "saved"
    subprocess.run(["rm", "-rf", saved], check=True)
    subprocess.run(["cp", "-a", disk, saved], check=True)
    after = f'rm -f "{disk}/ballast"; rm -rf "{saved}"/*; cp -a "{disk}"/. "{saved}"/'
    script = MOUNTED % {"size": size, "before": before, "after": after}
    command = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        script,
        "-",
        disk,
        saved,
        *place.command(*more, methods=methods, seeds=seeds),
    ]
    process = subprocess.Popen(
        command, cwd=place.folder, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    code, _, err = ended(process)
    assert code != 99, f"no disk can be mounted here: {err}"
    subprocess.run(["cp", "-a", f"{saved}/.", disk], check=True)
    return code, err


def fill(place, but):
    """Shell words that leave so many bytes free."""
    return f'''
free=$(df --output=avail -B1 "{place.out}" | tail -1)
head -c $((free - {but})) /dev/zero > "{place.out}/ballast"
'''


@pytest.mark.slow_cases("32768")
@pytest.mark.parametrize(
    "but",
    [
        0,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (4096, 8192, 16384)),
        32768,
        pytest.param(65536, marks=pytest.mark.slow),
    ],
)
def test_a_full_results_folder(place, undisturbed, but):
    """Whatever is written first where no room is left: claims, scores, records, the archive or tables."""
    code, err = run_on(place, place.out, size="4m", before=fill(place, but), seeds=3, methods="Quick,Other")
    assert code == 2
    assert f"cannot be written ({FULL})" in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    kept = place.check_whole()
    place.check_nothing_runs()
    code, _, err = place.run()
    assert code == 0, err
    assert {run_id: place.check_whole()[run_id] for run_id in kept} == kept
    assert place.comparable() == undisturbed
    place.check_tidy()


@pytest.mark.slow
def test_a_folder_that_fills_up_when_tables_are_written(place, undisturbed):
    assert place.run("--no-pack")[0] == 0
    kept = place.check_whole()
    for path in (place.out / "tables").iterdir():
        path.unlink()
    for written, more in (("tables", ["--no-pack"]), ("records", [])):
        # Room for claims and the rest that is small, none for the table, or for the archive.
        folder = f'"{place.out}/{written}"'
        block = f"rm -rf {folder}; mkdir {folder}; mount -t tmpfs -o size=4k none {folder}; "
        block += f"head -c 4096 /dev/zero > {folder}/ballast"
        code, err = run_on(place, place.out, before=block, seeds=3, more=more, methods="Quick,Other")
        assert code == 2, err
        assert f"cannot be written ({FULL})" in err
        for path in place.out.rglob("ballast"):
            path.unlink()
        assert place.check_whole() == kept
    assert place.run()[0] == 0
    assert place.check_whole() == kept
    assert place.comparable() == undisturbed


def test_a_read_only_results_folder(place):
    code, err = run_on(place, place.out, before=f'mount -o remount,ro "{place.out}"')
    assert code == 2
    assert READ_ONLY in err
    assert "choose another folder" in err
    assert place.fits() == []


@pytest.mark.slow
def test_a_results_folder_that_becomes_read_only(place, undisturbed):
    """From the second fit on: what was finished before is kept."""
    assert place.run(methods="Quick", seeds=1)[0] == 0
    kept = place.check_whole()
    code, err = run_on(
        place,
        place.out,
        before=f'(sleep 2; mount -o remount,ro "{place.out}") & export FIT_S=4',
        methods="Other",
        seeds=3,
    )
    assert code == 2, err
    assert READ_ONLY in err
    found = place.check_whole()
    assert {run_id: found[run_id] for run_id in kept} == kept
    assert place.run()[0] == 0
    assert place.comparable() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("options", ["remount,ro", "remount,size=4k"])
def test_a_cache_that_cannot_be_written(place, options):
    """What only saves time is done without; what is needed is one sentence. Either way nothing is half."""
    cache = place.folder / "cache"
    place.environment["BENCH_CACHE"] = str(cache)
    code, err = run_on(place, cache, before=f'mount -o {options} "{cache}"', methods="Quick")
    assert code in (0, 2), err
    if code == 2:
        assert "cannot be written" in err
    place.check_whole()
    place.environment["BENCH_CACHE"] = str(place.folder / "another")
    assert place.run(methods="Quick", seeds=1)[0] == 0


@pytest.mark.slow
def test_what_is_on_a_disk_is_json(place):
    """The disks of these tests hold what a folder holds."""
    code, err = run_on(place, place.out, more=["--no-pack"])
    assert code == 0, err
    assert all(json.loads(path.read_text())["status"] == "ok" for path in (place.out / "inbox").glob("*.json"))
    assert len(place.check_whole()) == 8
