"""What `examples/` and docs/other-languages.md show is run: scripts, the notebook, and a method in awk."""

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.trains  # the control that reads texts loads a model
NOTEBOOK = EXAMPLES / "first_steps.ipynb"


def run(folder, *command):
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_DATA"}
    environment |= {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown_by(cells):
    """What a notebook shows: of each cell the value of its last expression, as HTML or text."""
    names, shown = {}, []
    for number, source in enumerate(cells):
        body = ast.parse(source, f"cell {number}").body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), f"cell {number}", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
            shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    return shown


@pytest.mark.slow_cases("scikit_learn.py")
@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_a_script_runs(script, tmp_path):
    said = run(tmp_path, sys.executable, str(EXAMPLES / script))
    assert "shape: (" in said


def test_the_notebook_runs_and_shows_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    with contextlib.redirect_stdout(sys.stderr):
        shown = shown_by(cells)
    assert "<table" in shown[0]
    assert "sklearn:OneClassSVM" in shown[0]
    assert len(shown) == len(cells)
    assert [cell for cell in notebook["cells"] if cell.get("outputs")] == []  # they would not stay true


def test_a_cell_that_fails_is_found():
    with pytest.raises(ZeroDivisionError):
        shown_by(["x = 1", "x / 0"])


def test_from_awk_to_a_row_in_a_table(tmp_path):
    page = (ROOT / "docs" / "other-languages.md").read_text(encoding="utf-8")
    commands = re.search(r"^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1].splitlines()
    assert [command.split()[0] for command in commands] == ["bench", "awk", "bench", "bench", "bench"]
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    said = [run(tmp_path, "sh", "-c", command) for command in commands][-1]
    group, _, rows = said.partition("| scores only, told source normals ")[2].partition("\n")
    row = next(line for line in rows.splitlines() if line.startswith("| rarest-key-awk "))
    assert "AP" in group
    assert float(row.split("|")[7].split()[0]) > 0.138  # the share of abnormal sequences, which chance has


def test_the_awk_script_scores_as_the_python_example(tmp_path):
    import bench
    from bench.data.cards.catalogue import catalogue
    from bench.exchange.export import export

    export("bgl@simulated", tmp_path / "export", catalogue(), formats=["jsonl"])
    files = [str(tmp_path / "export" / f"{part}.jsonl") for part in ("train", "test")]
    said = run(tmp_path, "awk", "-f", str(EXAMPLES / "rarest_key.awk"), *files)
    found = [float(line.partition(",")[2]) for line in said.splitlines()]
    names = {}
    exec((EXAMPLES / "rare_keys.py").read_text().partition("\nif __name__")[0], names)
    parts = bench.load_sequences("bgl@simulated")
    scores = names["RareKeys"]().fit(parts.train.normals).score(parts.test.sequences)
    order = [sorted(range(len(found)), key=lambda i: (round(values[i], 2), i)) for values in (found, scores)]
    assert len(found) == len(scores)
    agree = sum(a == b for a, b in zip(*order, strict=True)) / len(found)
    assert agree > 0.9
