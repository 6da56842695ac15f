"""A stranger's path: an empty folder, files made by recipe from where they came from, one command, the same table."""

import csv
import gzip
import io

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.cards.origin import Origin

EDITIONS = {"bgl@raw12k": "paper", "openstack_ids@ait": "given"}
"""Two real editions, whose recipes change lines and number templates, and the split that each allows."""
MEASURED = ("fit s", "score", "+MiB")
"""Columns that a second run may have otherwise."""


def as_published(file, folder):
    """The bytes that the repository holds, from ours: its steps taken back. The recipe knows their SHA-256."""
    content = (folder / file.name).read_bytes()
    for step in reversed(file.origin.steps):
        content = BACK[step.name](content)
    return content


def lines_of_templates(content):
    rows = list(csv.reader(io.StringIO(content.decode())))[1:]
    return "".join(f"{text}\n" for _, text in rows).encode()


BACK = {
    "gzip": gzip.decompress,
    "line_ends": lambda content: content.replace(b"\n", b"\r\n"),
    "final_newline": lambda content: content.removesuffix(b"\n"),
    "number": lines_of_templates,
}


def table_of(folder):
    """The cells of a run's one table that are no measure of time or memory."""
    (page,) = (folder / "tables").glob("*.md")
    rows, kept = [], []
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            kept = []
            rows.append(line)
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        kept = kept or [i for i, cell in enumerate(cells) if cell not in MEASURED]
        rows.append([cells[i] for i in kept if not set(cells[i]) <= set(":-")])
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("edition", EDITIONS)
def test_the_same_table_from_nothing(call, web, real_data, tmp_path, monkeypatch, edition):
    monkeypatch.setattr(Origin, "address", property(lambda origin: f"{web.url}/{origin.commit}/{origin.path}"))
    card = catalogue(real_data).find(edition)
    for file in card.files:
        web.files[f"/{file.origin.commit}/{file.origin.path}"] = as_published(file, real_data)
    empty = tmp_path / "data"
    empty.mkdir()
    code, _, err = call("data", "fetch", edition, "--data", empty)
    assert (code, len(web.requests)) == (0, len(card.files)), err
    assert all((empty / file.name).is_file() for file in card.files)
    run = ("run", "--methods", "logcluster", "--scenario", edition, "--split", EDITIONS[edition], "--seeds", 1)
    for data, out in ((empty, "stranger"), (real_data, "ours")):
        code, _, err = call(*run, "--data", data, "--out", out)
        assert code == 0, err
    stranger, ours = (table_of(tmp_path / out) for out in ("stranger", "ours"))
    assert stranger == ours
    assert any(row[:1] == ["logcluster"] for row in ours)
