"""What MkDocs does not do by itself: pages that stand outside of `docs`, and folders whose pages are generated.

`README.md`, `CONTRIBUTING.md`, `CHANGELOG.md` and `datasets/README.md` stay where people look for them and are pages
too. A link is written as it leads in a checkout; here it is turned to the page of the same file. A file that has no
page, as an example, keeps its name and loses its link.
"""

from __future__ import annotations

import functools
import logging
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
OUTSIDE: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "datasets/README.md": "reference/cards.md",
}
"""Where a file of the checkout stands among the pages."""

_SHIM: Final = "https://unpkg.com/iframe-worker/shim"
"""What the theme takes from elsewhere for a search from disk; `worker.js` is ours."""

_ELSEWHERE: Final = re.compile(r"<(?:script|img|iframe)[^>]* src=\"?https?:[^>]*|<link[^>]*stylesheet[^>]*https?:[^>]*")
_HOME: Final = {page: file for file, page in OUTSIDE.items()}
_CODE: Final = re.compile(r"`[^`]+`")
_LOST_LIST: Final = re.compile(r"<p>(?:(?!</p>).)*?\n((?:- |\|)[^\n]*)", re.DOTALL)
_LOG: Final = logging.getLogger("mkdocs.hooks.docs")
_FENCED: Final = re.compile(r"^( *```.*?^ *```)", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A folder in the navigation stands for all pages in it, `index.md` first."""
    config.nav = [unfolded(entry, Path(config.docs_dir)) for entry in config.nav or []]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages that stand outside of `docs`."""
    from mkdocs.structure.files import File

    for file, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns what is written for a checkout into what MkDocs reads; blocks of code stay as they are."""
    pages = {file.src_uri for file in files}
    parts = _FENCED.split(markdown)
    return "".join(
        part if position % 2 else prose(part, page.file.src_uri, pages) for position, part in enumerate(parts)
    )


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Warns of a list or table that no empty line stands before: GitHub sees it, MkDocs does not."""
    for lost in lost_lists(html):
        _LOG.warning("%s: no empty line before a list or table: %r", page.file.src_uri, lost[:80])
    return html


def lost_lists(html: str) -> list[str]:
    """Lines of lists and tables that became part of a paragraph."""
    return _LOST_LIST.findall(html)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Takes nothing from elsewhere when a page is opened: a site that tells nobody who reads it."""
    whole = output.replace(_SHIM, posixpath.relpath("_site/worker.js", posixpath.dirname(page.file.dest_uri) or "."))
    for found in from_elsewhere(whole):
        _LOG.warning("%s: opening it asks another host: %s", page.file.src_uri, found)
    return whole


def on_post_template(output: str, *, template_name: str, config: MkDocsConfig) -> str:
    """The same of the page for addresses that are not there."""
    return output.replace(_SHIM, "/_site/worker.js")


def from_elsewhere(html: str) -> list[str]:
    """What a browser would ask another host for, to show a page."""
    return _ELSEWHERE.findall(html)


def prose(text: str, page: str, pages: set[str]) -> str:
    """Links turned; in rows of tables a bar inside of code stands without the backslash that GitHub needs."""
    lines = (
        _CODE.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line
        for line in text.split("\n")
    )
    return _LINK.sub(lambda found: _turned(found, page, pages), "\n".join(lines))


def unfolded(entry: Any, docs: Path) -> Any:
    """An entry of the navigation, a folder in it replaced by its pages."""
    if not isinstance(entry, dict):
        return entry
    ((title, target),) = entry.items()
    if not isinstance(target, str) or not target.endswith("/"):
        return entry
    pages = sorted((docs / target).glob("*.md"), key=lambda path: (path.stem != "index", path.stem))
    return {title: [path.relative_to(docs).as_posix() for path in pages]}


@functools.cache
def title_of(file: str) -> str:
    """What a page calls itself, for a link that names its file."""
    path = ROOT / file
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), posixpath.basename(file))


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
    text = title_of(there) if text.endswith(".md") and posixpath.basename(text) == posixpath.basename(file) else text
    return f"[{text}]({posixpath.relpath(leads_to, posixpath.dirname(page) or '.')}{hash_sign}{anchor})"
