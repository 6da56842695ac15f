"""A text of a log said otherwise: other identifiers, numbers and node names, header moved, words of the same meaning.

Deterministic: what stands for a name or a number follows from it and the seed alone, so one name stays one name in all
texts. Wildcards stay. A number of one digit stays too: it is often a code or a count that carries the meaning.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

CHANGES: Final = ("identifiers", "numbers", "node names", "header", "words")
"""What is changed, in the order in which it is done; `identifiers` are addresses, times and hexadecimal words."""

_IDENTIFIER: Final = re.compile(
    r"(?P<time>(?<![\d:.])(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?![\d:]))"
    r"|(?P<address>(?<![\w.])(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}(?![\w.]))"
    r"|(?P<hex>(?<![\w<])0x[0-9a-fA-F]+\b|(?<![\w<])(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{6,}(?!\w))"
)
_NUMBER: Final = re.compile(r"(?<![\w.<>])(?<!\d:)\d{2,}(?!\w|>|[:.]\d)")
_NODE: Final = re.compile(
    r"(?<![\w<.-])(?!(?:sha|md|ipv|utf|x|ext|int|lib|base|eth|lo|http|ia|amd|rfc|iso|ascii|usb|crc|ecc|l|v)-?\d)"
    r"(?:[A-Za-z]{1,12}[-_]?)+\d{1,5}(?:-[A-Z]\d+)*(?![\w>])"
)
_HEADER: Final = re.compile(r"^(?P<head>[^\s:]{2,48})\s*:\s+(?P<rest>\S.*)$", re.DOTALL)

_WORDS: Final = {
    "unable to": "not able to",
    "not responding": "giving no answer",
    "timed out": "ran out of time",
    "no such": "there is no",
    "error": "fault",
    "errors": "faults",
    "failed to": "did not manage to",
    "failed": "unsuccessful",
    "failure": "breakdown",
    "failures": "breakdowns",
    "cannot": "can not",
    "detected": "found",
    "corrected": "repaired",
    "received": "got",
    "receiving": "getting",
    "sending": "transmitting",
    "sent": "transmitted",
    "terminated": "ended",
    "terminating": "ending",
    "starting": "beginning",
    "started": "begun",
    "stopped": "halted",
    "closed": "shut",
    "closing": "shutting",
    "invalid": "not valid",
    "missing": "absent",
    "deleting": "removing",
    "deleted": "removed",
    "served": "delivered",
    "generating": "producing",
    "timeout": "time limit reached",
    "lost": "missing",
    "successful": "without trouble",
    "successfully": "with success",
    "unexpected": "not foreseen",
    "warning": "caution",
    "total": "sum",
    "enabled": "switched on",
    "disabled": "switched off",
    "connection": "link",
    "refused": "rejected",
    "trying": "attempting",
    "retrying": "attempting again",
    "loading": "reading in",
    "detects": "finds",
    "exited": "ended",
    "abnormally": "in an irregular way",
    "begins": "starts",
    "ends": "finishes",
    "functional": "in working order",
    "succeeded": "went well",
    "exception": "exceptional condition",
    "threshold": "limit",
    "updated": "brought up to date",
    "added to": "entered into",
    "transmitted": "sent",
    "dropped": "discarded",
    "stored": "saved",
    "complete": "finished",
    "completed": "finished",
    "unreachable": "out of reach",
    "unavailable": "not available",
    "interrupt": "interruption",
    "waiting for": "awaiting",
    "instruction address": "address of the instruction",
    "data address": "address of the data",
}
_PHRASE: Final = re.compile(
    rf"(?<![\w.<-])(?:{'|'.join(sorted(map(re.escape, _WORDS), key=len, reverse=True))})(?![\w.>-]*\w)", re.IGNORECASE
)


@dataclass(frozen=True)
class Paraphrased:
    """Texts said otherwise."""

    texts: tuple[str, ...]
    """Each in its place; equal to the given one where nothing in it can be changed."""
    n_changed: dict[str, int]
    """How many texts each of CHANGES altered."""


def paraphrase(texts: Iterable[str], seed: int) -> Paraphrased:
    """Say each text otherwise."""
    given = list(texts)
    counts = dict.fromkeys(CHANGES, 0)
    done = []
    for text in given:
        for name, step in zip(CHANGES, _steps(seed), strict=True):
            changed = step(text)
            counts[name] += changed != text
            text = changed  # noqa: PLW2901  # each step works on what the one before it left
        done.append(text)
    return Paraphrased(tuple(done), counts)


@functools.cache
def _steps(seed: int) -> tuple[Callable[[str], str], ...]:
    other = functools.partial(_another, seed)
    return (
        lambda text: _IDENTIFIER.sub(lambda found: _identifier(found, other), text),
        lambda text: _NUMBER.sub(lambda found: other(found[0]), text),
        lambda text: _NODE.sub(lambda found: other(found[0]), text),
        lambda text: _HEADER.sub(lambda found: f"{found['rest']} [{found['head']}]", text),
        lambda text: _PHRASE.sub(lambda found: _cased(_WORDS[found[0].lower()], found[0]), text),
    )


def _identifier(found: re.Match[str], other: Callable[[str], str]) -> str:
    text = found[0]
    match found.lastgroup:
        case "time":
            return ":".join(f"{value:02d}" for value in _numbers(other(text), (24, 60, 60)))
        case "address":
            return ".".join(str(1 + value) for value in _numbers(other(text), (254,) * 4))
    prefix = "0x" if text.startswith("0x") else ""
    return prefix + other(text.removeprefix("0x"))


def _numbers(text: str, limits: tuple[int, ...]) -> list[int]:
    digest = hashlib.sha256(text.encode()).digest()
    return [int.from_bytes(digest[2 * i : 2 * i + 2], "big") % limit for i, limit in enumerate(limits)]


def _another(seed: int, text: str) -> str:
    """As long and of the same kind: digits for digits, for a name letters for its last letters; never the same."""
    digest = hashlib.shake_256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest(len(text))
    is_hex = not re.search("[g-zG-Z_-]", text) and re.search("[a-fA-F]", text) is not None
    drawn = [
        _shifted(character, byte, is_hex=is_hex, leads=i == 0)
        for i, (character, byte) in enumerate(zip(text, digest, strict=True))
    ]
    return "".join(drawn)


def _shifted(character: str, byte: int, *, is_hex: bool, leads: bool) -> str:
    """Another digit for a digit, never a leading zero; another hexadecimal letter; other characters stay."""
    if character.isdecimal() and character.isascii():
        kept = [d for d in "0123456789" if d != character and not (leads and d == "0" and character != "0")]
        return kept[byte % len(kept)]
    letters = "abcdef" if character.islower() else "ABCDEF"
    return letters[byte % 6] if is_hex and character in letters else character


def _cased(word: str, like: str) -> str:
    if like.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word
