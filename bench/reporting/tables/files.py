"""The table files of a results folder: written from its records, and compared with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from bench._files import replace_text
from bench.evaluation.thresholds import DEFAULT_RULE
from bench.records.store import Store, Wanted, everything
from bench.reporting.tables.rows import TableKey
from bench.reporting.tables.table import make_tables, render, table_key


def write_tables(store: Store, keys: Collection[TableKey], rule: str = DEFAULT_RULE) -> list[Path]:
    """Write the tables of these keys, as `tables/*.md`; records of other scenarios and splits are not read."""
    asked = {(key.scenario, key.split) for key in keys}
    names = {key.file_name for key in keys}
    pages = _pages(store, rule, lambda scenario, split: (scenario, split) in asked, names)
    for path, text in pages.items():
        replace_text(path, text)
    return list(pages)


def outdated_tables(store: Store, rule: str = DEFAULT_RULE) -> dict[Path, str]:
    """Table files that are not what the records say, and what is wrong with each."""
    fresh = _pages(store, rule)
    old = {path: path.read_bytes().decode(errors="replace") for path in (store.root / "tables").glob("*.md")}
    wrong = dict.fromkeys(fresh.keys() - old.keys(), "is not written: run `bench table --write`")
    wrong |= dict.fromkeys(old.keys() - fresh.keys(), "has no record: delete it")
    differing = (path for path in fresh.keys() & old.keys() if fresh[path] != old[path])
    wrong |= dict.fromkeys(differing, "differs from the records: run `bench table --write`")
    return dict(sorted(wrong.items()))


def _pages(
    store: Store, rule: str, wanted: Wanted = everything, names: Collection[str] | None = None
) -> dict[Path, str]:
    """Text of each table file, or of these; where an edition's data changed, the tables before and after share a file.

    Only the records of those files are averaged and laid out: that is most of the work.
    """
    pages: dict[Path, list[str]] = defaultdict(list)
    for _, records in store.by_table(wanted):
        chosen = (record for record in records if names is None or table_key(record).file_name in names)
        for table in make_tables(chosen):
            pages[store.root / "tables" / table.key.file_name].append(render(table, rule))
    return {path: "\n".join(texts) for path, texts in pages.items()}
