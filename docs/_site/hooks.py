"""What MkDocs does not do by itself: pages that stand outside of `docs`, and folders whose pages are generated.

`README.md`, `CONTRIBUTING.md`, `CHANGELOG.md` and `datasets/README.md` stay where people look for them and are pages
too. A link is written as it leads in a checkout; here it is turned to the page of the same file. A file that has no
page, as an example, keeps its name and loses its link.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
OUTSIDE: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "datasets/README.md": "reference/cards.md",
}
"""Where a file of the checkout stands among the pages."""

_HOME: Final = {page: file for file, page in OUTSIDE.items()}
_CODE: Final = re.compile(r"`[^`]+`")
_LOST_LIST: Final = re.compile(r"<p>(?:(?!</p>).)*?\n((?:- |\|)[^\n]*)", re.DOTALL)
_LOG: Final = logging.getLogger("mkdocs.hooks.docs")
_FENCED: Final = re.compile(r"^( *```.*?^ *```)", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A folder in the navigation stands for all pages in it, `index.md` first."""
    config.nav = [_unfolded(entry, Path(config.docs_dir)) for entry in config.nav or []]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages that stand outside of `docs`."""
    for file, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns what is written for a checkout into what MkDocs reads; blocks of code stay as they are."""
    pages = {file.src_uri for file in files}
    parts = _FENCED.split(markdown)
    return "".join(
        part if position % 2 else _prose(part, page.file.src_uri, pages) for position, part in enumerate(parts)
    )


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Warns of a list or table that no empty line stands before: GitHub sees it, MkDocs does not."""
    for lost in _LOST_LIST.findall(html):
        _LOG.warning("%s: no empty line before a list or table: %r", page.file.src_uri, lost[:80])
    return html


def _prose(text: str, page: str, pages: set[str]) -> str:
    """Links turned; in rows of tables a bar inside of code stands without the backslash that GitHub needs."""
    lines = (
        _CODE.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line
        for line in text.split("\n")
    )
    return _LINK.sub(lambda found: _turned(found, page, pages), "\n".join(lines))


def _unfolded(entry: Any, docs: Path) -> Any:
    """An entry of the navigation, a folder in it replaced by its pages."""
    if not isinstance(entry, dict):
        return entry
    ((title, target),) = entry.items()
    if not isinstance(target, str) or not target.endswith("/"):
        return entry
    pages = sorted((docs / target).glob("*.md"), key=lambda path: (path.stem != "index", path.stem))
    return {title: [path.relative_to(docs).as_posix() for path in pages]}


def _turned(found: re.Match[str], page: str, pages: set[str]) -> str:
    """A link as it leads from one page to another, or its text alone."""
    text, target = found[1], found[2]
    if re.match(r"[a-z]+:|#", target):
        return found[0]
    file, hash_sign, anchor = target.partition("#")
    written_in = _HOME.get(page, f"docs/{page}")
    there = posixpath.normpath(posixpath.join(posixpath.dirname(written_in), file))
    leads_to = OUTSIDE.get(there, there.removeprefix("docs/"))
    if leads_to not in pages and (ROOT / there).exists():
        return text
    return f"[{text}]({posixpath.relpath(leads_to, posixpath.dirname(page) or '.')}{hash_sign}{anchor})"
