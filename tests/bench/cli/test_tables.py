"""`bench table` and `bench run` as a reader meets them: on a terminal, in a pipe, in the formats of others."""

import csv
import errno
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from bench.records.store import Store

RUN = ("run", "--methods", "ngram,pca", "--scenario", "bgl@simulated,hdfs@simulated", "--seeds", "1")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two tables of two methods and the controls, made once."""
    folder = tmp_path_factory.mktemp("stored")
    environment = {k: v for k, v in os.environ.items() if k != "BENCH_DATA"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench", *RUN]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "printed.md").write_text(done.stdout)
    return folder


@pytest.fixture
def table(call, monkeypatch, stored):
    """`bench table` where these tables are."""

    def run(*arguments):
        monkeypatch.chdir(stored)
        return call("table", *arguments)

    return run


def on_terminal(folder, width, *arguments):
    """What a terminal of this width shows, and the exit code."""
    here, there = pty.openpty()
    ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "BENCH_DATA")}
    environment |= {"TERM": "xterm", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench", *arguments]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=there, stderr=subprocess.DEVNULL) as process:
        os.close(there)
        shown = b""
        while chunk := _read(here):
            shown += chunk
    os.close(here)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError as error:  # the other end was closed
        if error.errno != errno.EIO:
            raise
        return b""


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_shows_what_fits_it_with_the_best_first(stored, width):
    code, shown = on_terminal(stored, width, "table", "--scenario", "bgl")
    assert code == 0
    assert "\x1b[1m" in shown
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("|" in line for line in lines)
    controls = lines[lines.index("control (* the best control, by AP)") + 1 :][:7]
    assert controls[0].split()[1] == "*"
    values = [float(line.replace("*", "").split()[3]) for line in controls]
    assert values == sorted(values, reverse=True)
    assert "Reading" in lines


def test_elsewhere_it_is_the_markdown_of_the_files(table, stored):
    code, out, _ = table()
    assert code == 0
    assert out.count("### ") == 2
    for path in (stored / "results" / "tables").iterdir():
        assert path.read_text().partition("**Reading**")[0] in out
    assert out == (stored / "printed.md").read_text()


def test_what_is_printed_was_compared_and_the_files_name_the_command(table, stored):
    (_, out, _) = table("--scenario", "bgl")
    assert "Not tested yet" not in out
    assert "the best control, " in out
    assert not (stored / "results" / "comparisons").exists()
    text = (stored / "results" / "tables" / "bgl@simulated--chronological.md").read_text()
    assert re.search(r"Not tested yet .*: `bench compare \S+ --against all --scenario bgl@simulated --split", text)
    assert table("--check")[0] == 0


def test_formats_for_others(table):
    code, out, _ = table("--format", "csv", "--columns", "f1,ap")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(rows)) == (0, 18)
    assert {"f1", "f1_low", "f1_high", "ap", "ap_low", "ap_high"} <= rows[0].keys()
    assert "auroc" not in rows[0]
    assert table("--format", "json")[1] == table("--json")[1]
    assert len(json.loads(table("--format", "json", "--methods", "pca")[1])) == 16
    assert table("--format", "latex")[1].count(r"\begin{table}") == 2
    assert table("--format", "html")[1].count("<h3>") == 2
    text = table("--format", "text", "--methods", "pca", "--top", "2")[1]
    assert "\x1b" not in text
    assert "ngram" not in text


def test_the_matrix_sets_methods_beside_data_sets(table):
    code, out, _ = table("--matrix")
    assert code == 0
    heads = next(line for line in out.splitlines() if line.startswith("| source normals"))
    assert "bgl@simulated (simulated)" in heads
    assert "hdfs@simulated (simulated)" in heads
    rows = json.loads(table("--matrix", "--json", "--columns", "ap")[1])
    assert {row["method"] for row in rows} >= {"ngram", "pca", "gaussian"}
    assert set(rows[0]) == {"split", "told", "method", *(f"{n}@simulated (simulated) ap" for n in ("bgl", "hdfs"))}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--columns", "f1,aurok"], "there is no column 'aurok': did you mean auroc? else choose one of "),
        (["--methods", "ngrm"], "there is no method 'ngrm': did you mean ngram? else choose one of ngram, pca"),
        (["--sort", "recal"], "there is no column 'recal': did you mean recall? else choose one of "),
        (["--format", "htm"], "there is no format 'htm': did you mean html? else choose one of text, md, csv, "),
        (["--json", "--format", "csv"], "--json and --format csv ask for two things: leave one out"),
        (["--write", "--top", "3"], "--write is about whole tables: leave --methods, "),
        (["--matrix", "--top", "3"], "--matrix sets methods by name: leave --sort and --top out"),
        (["--matrix", "--columns", "fit"], "fit is no metric, and a matrix shows metrics: choose one as f1 or ap"),
        (["--published", "--format", "csv"], "--published is a page for readers: leave --json and --format out"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(table, stored, arguments, said):
    before = sorted(path.name for path in (stored / "results" / "tables").iterdir())
    code, out, err = table(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(path.name for path in (stored / "results" / "tables").iterdir()) == before


def test_a_comparison_renews_what_the_files_say(call, tmp_path):
    assert call("run", "--methods", "pca", "--scenario", "bgl@simulated", "--seeds", "1")[0] == 0
    path = tmp_path / "results" / "tables" / "bgl@simulated--chronological.md"
    before = path.read_text()
    best = re.search(r"beats the best control, (\S+) \(AP", before)[1]
    code, _, err = call("compare", best, "--against", "all")
    assert code == 0
    assert f"written: {path.relative_to(tmp_path)}" in err
    assert "Not tested yet" not in path.read_text()
    assert path.read_text().partition("**Reading**")[0] == before.partition("**Reading**")[0]
    assert call("table", "--check")[0] == 0
    assert len(list(Store(Path("results")).records())) == 8
