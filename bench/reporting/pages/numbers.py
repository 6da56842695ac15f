"""Numbers in prose: where they stand, and what counts as one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_COMMENT: Final = re.compile(r"<!--.*?-->", re.S)
_CODE_BLOCK: Final = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.M | re.S)
_CODE: Final = re.compile(r"`[^`\n]+`")
_LINK: Final = re.compile(r"(?<=\])\([^)\n]*\)|https?://\S+")
_HEADING: Final = re.compile(r"^#+ .*$", re.M)
_LIST_NUMBER: Final = re.compile(r"^ *[0-9]+\. ", re.M)
_NAMED: Final = re.compile(
    r"\b(?:[Tt]ables?|[Ff]ig(?:ure|\.)s?|[Ss]ections?|[Pp]rotocols?|[Cc]ontract|[Ee]quations?|[Vv]ersion)"
    r" [0-9]+(?:\.[0-9]+)*(?:(?:, | and | to )[0-9]+(?:\.[0-9]+)*)*"
)
_YEAR: Final = re.compile(r"(?<![\d.,+-])(?:19|20)[0-9]{2}(?![\d.,]\d|\d)")
_NUMBER: Final = re.compile(
    r"(?<![\w.#@])(?<![A-Za-z]-)[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+|(?<=[0-9]))(?!\w|-[a-z])"
)
_PERCENT: Final = re.compile(r" ?%")


class Number(NamedTuple):
    """A number as it is printed."""

    text: str
    line: int
    """From 1."""
    is_percent: bool
    place: int
    """Of its first character in the page."""


def numbers_of(page: str) -> Iterator[Number]:
    """The numbers of a page that say something: not those of code, links, headings, names such as `Table 2`, or years.

    page: with what is not to be read (generated blocks) blank
    """
    text = _blanked(page)
    for found in _NUMBER.finditer(text):
        percent = bool(_PERCENT.match(text, found.end()))
        yield Number(found[0], text.count("\n", 0, found.start()) + 1, percent, found.start())


def _blanked(page: str) -> str:
    """The page with all that holds no statement replaced by blanks, character by character."""
    for pattern in (_COMMENT, _CODE_BLOCK, _CODE, _LINK, _HEADING, _LIST_NUMBER, _NAMED, _YEAR):
        page = pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), page)
    return page
