"""Text to and from a chat model: log lines made safe and short enough, answers read strictly, tokens estimated."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

LOG_BEGIN: Final = "<<<LOG"
LOG_END: Final = "LOG>>>"

_SHORTEST_LINE: Final = 24
"""Characters below which lines are left out rather than shortened further."""
_LONGEST_LINE: Final = 4000
"""Characters of a line beyond which its middle is left out before anything else is done with it."""
_REMEMBERED: Final = 1 << 14
"""Texts whose clean form and cost are remembered: a log has few distinct lines, and each stands in many windows."""
_LIMIT: Final = 100.0
"""Scores are kept within this range: a probability that is reported as 0 has no finite logarithm."""

# ------------------------------------------------------------------------------------------------- lines as data

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_FENCE = re.compile(r"(?<!<)<{2,}(?=\s*LOG)|(?<=LOG)\s*>{2,}", re.IGNORECASE)
_TEMPLATE_TOKEN = re.compile(r"<\||\|>|\[(?=/?INST\])|<(?=/?s>)|<(?=/?SYS>)|<(?=/?think(?:ing)?>)")


@functools.lru_cache(_REMEMBERED)
def neutralise(text: str) -> str:
    """One line that can neither leave its fence nor open a turn of a chat template."""
    text = _FENCE.sub("<>", _CONTROL.sub(" ", text))
    return _TEMPLATE_TOKEN.sub(lambda found: " ".join(found[0]) if len(found[0]) > 1 else "( ", text)


def fenced(lines: Sequence[str], budget: int) -> str:
    """Lines between delimiters, shortened until the whole costs at most `budget` estimated tokens."""
    return "\n".join([LOG_BEGIN, *shorten([neutralise(line) for line in lines], budget - 8), LOG_END])


def shorten(lines: Sequence[str], budget: int) -> list[str]:
    """Cut long lines in their middle; only where that does not do, leave out lines from the middle and say how many."""
    if _cost(lines) <= budget:
        return list(lines)
    low, high = _SHORTEST_LINE, max(map(len, lines), default=0)
    while low < high:
        width = (low + high + 1) // 2
        low, high = (width, high) if _cost([_cut(line, width) for line in lines]) <= budget else (low, width - 1)
    short = [_cut(line, low) for line in lines]
    kept = len(short)
    while kept > 2 and _cost(_without_middle(short, kept)) > budget:
        kept = max(2, kept * 9 // 10)
    return _without_middle(short, kept)


def _cut(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    head = (width - 3) * 2 // 3
    return f"{line[:head]}...{line[len(line) - (width - 3 - head) :]}"


def _without_middle(lines: list[str], kept: int) -> list[str]:
    if kept >= len(lines):
        return lines
    head = (kept + 1) // 2
    return [*lines[:head], f"... {len(lines) - kept} lines left out ...", *lines[len(lines) - (kept - head) :]]


def _cost(lines: Sequence[str]) -> int:
    return sum(map(estimate_tokens, lines)) + len(lines)


_TOKEN = re.compile(r"[A-Za-z]{1,7}|\d{1,3}|[^\sA-Za-z\d]|\n")


@functools.lru_cache(_REMEMBERED)
def estimate_tokens(text: str) -> int:
    """Tokens of a byte-pair encoding, estimated without its tables: pieces of words, groups of digits, signs."""
    return len(_TOKEN.findall(text))


# ----------------------------------------------------------------------------------------------------- redaction

_TOP_LEVEL = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|cloud|local|localdomain|internal|intranet|lan|corp|home"
)
_NAME = r"(?!<)[\w.@$\\-]+"
_REDACTIONS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>]+"), "<url>"),
    (re.compile(r"-----BEGIN [^-]*KEY-----.*?(?:-----END [^-]*KEY-----|$)", re.DOTALL), "<secret>"),
    (re.compile(r"(?i)\b((?:proxy-)?authorization\s*[:=]\s*)(?:(?:basic|bearer|digest)\s+)?\S+"), r"\1<secret>"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), r"\1<secret>"),
    (
        re.compile(
            r"(?i)((?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)"
            r"[\"']?\s*(?:[:=]|\bis\b)\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;&]+)"
        ),
        r"\1<secret>",
    ),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|ghs|xox[abp]|glpat)[-_][\w-]{8,}|\bA(?:KIA|SIA)[A-Z0-9]{12,}"), "<secret>"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.?[\w-]*"), "<secret>"),
    (
        re.compile(r"\b[A-Fa-f0-9]{32,}\b|(?<![\w+/])(?=[\w+/]*\d)(?=[\w+/]*[A-Z])(?=[\w+/]*[a-z])[\w+/]{32,}={0,2}"),
        "<secret>",
    ),
    (re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>"),
    (re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)(?::\d+|/\d+)?"), "<address>"),
    (re.compile(r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b"), "<address>"),
    (re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:.]*::|(?:[0-9A-Fa-f]+:){7})[0-9A-Fa-f:]+(?:\.\d+)*(?![\w:])"), "<address>"),
    (
        re.compile(
            rf"(?i)\b((?:(?:user|login|account|logname|ruser|username|user_name|owner)\s*[=:]\s*[\"']?)){_NAME}"
        ),
        r"\1<user>",
    ),
    (re.compile(rf"(?i)\b((?:invalid |illegal |unknown )?(?:user|username|account) [\"']?){_NAME}"), r"\1<user>"),
    (
        re.compile(rf"(?i)\b((?:password|publickey|gssapi\S*) for )(?!(?:invalid|illegal|unknown)\b){_NAME}"),
        r"\1<user>",
    ),
    (re.compile(r"\b[\w.-]+@[\w.-]+"), "<user>@<host>"),
    (re.compile(rf"(?i)\b((?:r?host|hostname|server|node|peer|client|machine)\s*[=:]\s*[\"']?){_NAME}"), r"\1<host>"),
    (re.compile(rf"(?i)(?<![\w.-])(?:[a-z0-9_](?:[\w-]*\w)?\.)+(?:{_TOP_LEVEL})\b\.?"), "<host>"),
    (re.compile(r"(?<![\w<.])(?:[A-Za-z]:)?\\\\?[\w$ .-]+(?:\\[\w$.-]+)+"), "<path>"),
    (re.compile(r"(?<![\w<>.*/])~?(?:/[\w.@%+=:,#$-]+)+/?|(?<![\w<>.*/])\.{1,2}(?:/[\w.@%+=:,#$-]+)+"), "<path>"),
    (
        re.compile(r"(?<![\w<.-])(?:[A-Za-z]+[-_])+[A-Za-z]*\d+(?![\w>])|(?<![\w<.-])[a-z]{1,12}\d{1,5}(?![\w>])"),
        "<host>",
    ),
    (re.compile(r"(?<![\w<])R\d\d(?:-[\w:]+)+"), "<host>"),
)


def shown_part(text: str) -> str:
    """As much of a line as a prompt could hold, so that patterns never work on a line of a megabyte."""
    return _cut(text, _LONGEST_LINE)


def redact(text: str) -> str:
    """The line without addresses, user names, host names, paths and secrets; the wildcards of a template stay."""
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


# ------------------------------------------------------------------------------------------------------- answers


class Parsed(NamedTuple):
    """A decision, and where in the answer its word begins (-1 where it is no word: true, false, 0, 1)."""

    anomalous: bool
    position: int


_THINKING_PARTS: Final = tuple(
    re.compile(pattern, re.DOTALL | re.IGNORECASE)
    for pattern in (
        r"<(think|thinking)>.*?</\1>",
        r"\A.*</think(?:ing)?>",  # opened by the template of the prompt
        r"\A\s*<think(?:ing)?>.*\Z",  # tokens ran out
    )
)


def without_thinking(text: str) -> str:
    """An answer with its thinking blanked, so that what stays keeps its place."""
    for alternative in _THINKING_PARTS:
        text = alternative.sub(lambda found: " " * len(found[0]), text)
    return text


_FILL = r"[\s\"'`*_>#()\[\]{}.-]*"
_WORD = r"(?P<word>yes|no)\b(?!\s*(?:\.\s*)?\d)(?!\s*(?:or|and|/|\|)\s*(?:yes|no)\b)"
_LABELLED = re.compile(rf"\b(?:answer|decision|conclusion|verdict)\s*(?:is)?\s*[:=]?{_FILL}{_WORD}", re.IGNORECASE)
_LEADING = re.compile(rf"^{_FILL}{_WORD}", re.IGNORECASE)
_ALONE = re.compile(rf"^{_FILL}{_WORD}{_FILL}$", re.IGNORECASE)
_KEYS: Final = (
    "answer",
    "anomaly",
    "anomalous",
    "is_anomaly",
    "is_anomalous",
    "abnormal",
    "decision",
    "verdict",
    "result",
)
_VALUES: Final[Mapping[Any, bool]] = {"yes": True, "true": True, "no": False, "false": False, True: True, False: False}


def parse_answer(text: str) -> Parsed | None:
    """Read Yes or No from an answer; None where it is neither, or both, or only part of a sentence.

    Understood are a JSON object, `Answer: Yes` (the last one counts), a Yes or No at the very beginning, and one that
    stands alone on the last line. A `no` within prose is no answer ("there is no doubt").
    """
    if (found := _from_json(text)) is not None:
        return found
    labelled = list(_LABELLED.finditer(text))
    if labelled:
        return _parsed(labelled[-1], 0)
    if found_word := _LEADING.match(text):
        return _parsed(found_word, 0)
    body = text.rstrip()
    start = body.rfind("\n") + 1
    alone = _ALONE.match(body[start:])
    return _parsed(alone, start) if alone else None


def _parsed(found: re.Match[str], start: int) -> Parsed:
    return Parsed(found["word"].lower() == "yes", start + found.start("word"))


def _from_json(text: str) -> Parsed | None:
    begin, end = text.find("{"), text.rfind("}")
    if begin < 0 or end < begin:
        return None
    try:
        values = json.loads(text[begin : end + 1])
    except (ValueError, RecursionError):
        return None
    for key, value in values.items() if isinstance(values, dict) else ():
        plain = value.strip().rstrip(".!").lower() if isinstance(value, str) else value
        if key.lower() in _KEYS and isinstance(plain, str | bool) and plain in _VALUES:
            word = re.compile(rf"\"{re.escape(key)}\"\s*:\s*\"?\s*(yes|no)\b", re.IGNORECASE).search(text, begin)
            return Parsed(_VALUES[plain], word.start(1) if word else -1)
    return None


# ------------------------------------------------------------------------------------------------------- scores

Logprobs = Sequence[Mapping[str, Any]]
"""What the server reports for each token of its answer: token, logprob, top_logprobs."""


def answer_score(parsed: Parsed, logprobs: Logprobs) -> float:
    """Log p(yes) - log p(no) at the answer position; +1 or -1 where the server gave no probabilities.

    A word that is not among the reported alternatives is taken as probable as the least probable of them: it can be no
    more.
    """
    place = _token_at(parsed.position, logprobs)
    if place is None:
        return 1.0 if parsed.anomalous else -1.0
    alternatives = [(str(a["token"]), float(a["logprob"])) for a in place.get("top_logprobs") or ()]
    if not alternatives:
        return 1.0 if parsed.anomalous else -1.0
    least = min(logprob for _, logprob in alternatives)
    yes, no = (_log_sum([p for token, p in alternatives if _begins(word, token)], least) for word in ("yes", "no"))
    return max(-_LIMIT, min(_LIMIT, yes - no))


def _token_at(position: int, logprobs: Logprobs) -> Mapping[str, Any] | None:
    end = 0
    for entry in logprobs if position >= 0 else ():
        end += len(str(entry.get("token", "")))
        if end > position:
            return entry
    return None


def _begins(word: Literal["yes", "no"], token: str) -> bool:
    plain = token.strip(" \t\r\n\"'*`:.,{▁Ġ").lower()
    return bool(plain) and word.startswith(plain)


def _log_sum(values: list[float], otherwise: float) -> float:
    if not values:
        return otherwise
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values)) if math.isfinite(top) else -_LIMIT


def share_score(answers: Sequence[Parsed | None]) -> float | None:
    """Log odds of the share of Yes among several answers to one question; None where none could be read.

    Half an answer is added to either side, so that a share of 0 or 1 has finite odds and more answers say more.
    """
    decisions = [parsed.anomalous for parsed in answers if parsed is not None]
    yes = sum(decisions)
    return math.log((yes + 0.5) / (len(decisions) - yes + 0.5)) if decisions else None
