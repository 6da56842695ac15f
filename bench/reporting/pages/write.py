"""Pages on disk: filled from the records, and compared with them."""

from __future__ import annotations

from pathlib import Path

from bench._files import replace_text
from bench.records.store import Store
from bench.reporting.pages.blocks import filled
from bench.reporting.pages.facts import method_pages
from bench.reporting.pages.gather import gather
from bench.reporting.pages.results import result_pages


def write_pages(store: Store, docs: Path) -> list[Path]:
    """Write the pages that are not what the records say; returns their paths."""
    written = []
    for path, text in _fresh(store, docs).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, text)
            written.append(path)
    return written


def outdated_pages(store: Store, docs: Path) -> dict[Path, str]:
    """Pages that are not what records and methods say, and what is wrong with each."""
    wrong = {}
    fresh = _fresh(store, docs)
    for path, text in fresh.items():
        if not path.is_file():
            wrong[path] = "is not written: run `bench results pages`"
        elif path.read_text(encoding="utf-8") != text:
            wrong[path] = "differs from the records: run `bench results pages`"
    for name in ("results", "methods"):
        extra = set((docs / name).glob("*.md")) - fresh.keys()
        wrong |= dict.fromkeys(sorted(extra), "is a page of nothing: delete it")
    return wrong


def _fresh(store: Store, docs: Path) -> dict[Path, str]:
    """The text that each page should have."""
    results = gather(store)
    pages = result_pages(results, docs / "results") | method_pages(results, docs / "methods", store.cache)
    return {path: filled(old, texts, path) for path, (old, texts) in pages.items()}
