"""Which column of a table holds labels, and which of its words means normal."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from bench.data.reading.label_words import ABNORMAL_WORDS, EMPTY_WORDS, NORMAL_WORDS, folded
from bench.data.reading.tables import Row
from bench.errors import BenchError

_NAMES: Final = (
    "label", "labels", "class", "anomaly", "anomalous", "is_anomaly", "abnormal", "is_abnormal", "verdict", "target",
    "outcome", "status", "result",
)  # fmt: skip
"""Usual names of a column of labels, the plainest first."""
_NAMES_OF_NORMAL: Final = frozenset(("normal", "is_normal", "isnormal", "ok", "is_ok", "healthy", "benign", "good"))
"""Names of columns that say yes where others say no."""
_PLAIN: Final = frozenset(("normal", "abnormal", "anomaly", "anomalous", "benign", "malicious"))
"""Words that stand in no column but that of labels."""
_YES: Final = frozenset(("1", "true", "yes", "y", "t"))
_NO: Final = frozenset(("0", "false", "no", "n", "f"))
_MAX_WORDS: Final = 20
"""A column with more words is no column of labels, unless it is called so."""
_TIME: Final = re.compile(
    r"[0-9]{4}[-/.][0-9]{2}[-/.][0-9]{2}.*|[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}.*)?|[0-9]{9,}(?:\.[0-9]+)?"
)
_DECIMAL: Final = re.compile(r"[+-]?[0-9]*[.,][0-9]+(?:e[+-]?[0-9]+)?")


class Sheet(NamedTuple):
    """A table with a row for each session."""

    names: list[str]
    rows: list[Row]
    key: int
    """The column of session ids."""

    def words(self, column: int) -> Counter[str]:
        """How often each word of a column stands there, folded and without those for no value."""
        found = Counter[str]()
        for cell, n in Counter(self.cells(column)).items():
            found[folded(cell)] += n
        del found[""]
        return found

    def cells(self, column: int) -> list[str]:
        """What a column holds, a cell a row."""
        return [row.cells[column] if column < len(row.cells) else "" for row in self.rows]

    def spelling(self, column: int, word: str) -> str:
        """The most frequent spelling of a folded word."""
        return Counter(cell for cell in self.cells(column) if folded(cell) == word).most_common(1)[0][0]


class Normal(NamedTuple):
    """The word that means normal."""

    word: str
    notes: tuple[str, ...] = ()


def looks_like_a_time(word: str) -> bool:
    """Whether a word is a date, a clock or seconds since 1970: never a label."""
    return bool(_TIME.fullmatch(word))


def value_column(sheet: Sheet, path: Path) -> int:
    """The column with the labels: by its name, else the one whose words can be labels; doubt is a BenchError."""
    others = [i for i in range(len(sheet.names)) if i != sheet.key and sheet.words(i)]
    called = sorted((i for i in others if _rank(sheet.names[i]) < len(_NAMES) + 1), key=lambda i: _rank(sheet.names[i]))
    readable = [i for i in called if _has_both(sheet.words(i))] or called[:1]
    if not called:
        readable = [i for i in others if _can_be_labels(sheet.words(i))]
        plain = [i for i in readable if _PLAIN & set(sheet.words(i))]
        readable = plain or readable
        if len(others) > 1 and not any(_has_usual(sheet.words(i)) for i in readable):
            readable = []
    if len({_sides(sheet, i) for i in readable}) == 1:
        return readable[0]
    if not readable and len(others) == 1:
        return others[0]
    names = " and ".join(f"'{sheet.names[i]}'" for i in (readable or others)[:4])
    why = "say different things" if readable else "hold no words that are labels"
    raise BenchError(
        f"the columns {names or 'beside the sessions'} of '{path}' {why}: say which is meant by "
        f"--columns '{sheet.names[sheet.key]}',NAME"
    )


def _rank(name: str) -> int:
    text = re.sub(r"[\s-]+", "_", name.strip().lower())
    if text in _NAMES:
        return _NAMES.index(text)
    return len(_NAMES) if text in _NAMES_OF_NORMAL else len(_NAMES) + 1


def _has_both(words: Counter[str]) -> bool:
    """Whether some word usually means normal, and another is there."""
    return any(word in NORMAL_WORDS for word in words) and 1 < len(words) <= _MAX_WORDS


def _has_usual(words: Counter[str]) -> bool:
    return any(word in NORMAL_WORDS or word in ABNORMAL_WORDS for word in words)


def _can_be_labels(words: Counter[str]) -> bool:
    is_measure = any(looks_like_a_time(word) or _DECIMAL.fullmatch(word) for word in words)
    return 1 < len(words) <= _MAX_WORDS and not is_measure


def _sides(sheet: Sheet, column: int) -> tuple[bool, ...]:
    """Per row whether the column says something else than its usual word for normal; columns that agree are one."""
    inverted = _rank(sheet.names[column]) == len(_NAMES)
    words = sheet.words(column)
    usual = {word for word in words if word in (_YES if inverted else NORMAL_WORDS)} or {words.most_common(1)[0][0]}
    return tuple(folded(cell) in usual for cell in sheet.cells(column))


def normal_word(sheet: Sheet, column: int, path: Path, given: str | None) -> Normal:
    """The word that means normal; a BenchError where it can only be guessed wrongly."""
    words = sheet.words(column)
    name, many = sheet.names[column], _counted(words, [word for word, _ in words.most_common(5)])
    if given is not None:
        if folded(given) not in words:
            raise BenchError(f"no row of '{path}' has the label '{given}' of --normal: column '{name}' has {many}")
        return Normal(sheet.spelling(column, folded(given)))
    words = Counter({word: n for word, n in words.items() if word not in EMPTY_WORDS or word == "none"})
    if _rank(name) == len(_NAMES) and set(words) <= _YES | _NO:
        return _word_of_yes(sheet, column, words, path)
    usual = [word for word in words if word in NORMAL_WORDS]
    usual = [word for word in usual if word != "none"] or usual  # beside another it is an empty cell
    if len(usual) > 1:
        raise BenchError(
            f"column '{name}' of '{path}' has several words for normal ({_counted(words, usual)}), and a card has one: "
            "write the same word for all of them, or give --normal WORD, and the others are abnormal"
        )
    if usual:
        _require_no_remark(usual[0], words, path, name)
        return _said(sheet.spelling(column, usual[0]), words, path)
    return _unusual(sheet, column, words, path, many)


def _counted(words: Counter[str], which: list[str]) -> str:
    return ", ".join(f"'{word}' ({words[word]:,})" for word in which)


def _word_of_yes(sheet: Sheet, column: int, words: Counter[str], path: Path) -> Normal:
    """Of a column called `is_normal` or the like."""
    yes = [word for word in words if word in _YES]
    if len(yes) != 1:
        raise BenchError(f"column '{sheet.names[column]}' of '{path}' has no single word for yes: give --normal WORD")
    word = sheet.spelling(column, yes[0])
    return Normal(
        word, (f"The column is called '{sheet.names[column]}', so '{word}' is taken as normal; else --normal.",)
    )


def _require_no_remark(word: str, words: Counter[str], path: Path, name: str) -> None:
    """Refuse `normal (late)` beside `normal`: it would count as abnormal."""
    found = [w for w in words if word.isalpha() and re.match(rf"{re.escape(word)}\s*[^\w\s]", w)]
    if found:
        raise BenchError(
            f"column '{name}' of '{path}' has '{found[0]}' beside '{word}', which would be abnormal: write '{word}' "
            f"alone, or give --normal '{word}' if it is"
        )


def _said(word: str, words: Counter[str], path: Path) -> Normal:
    if set(words) <= {folded(word)}:
        return Normal(word, (f"No session of {path.name} is abnormal, so nothing can be evaluated by it.",))
    return Normal(word)


def _unusual(sheet: Sheet, column: int, words: Counter[str], path: Path, many: str) -> Normal:
    """No word usually means normal: what is not abnormal, or stands in most rows."""
    name = sheet.names[column]
    where = f"column '{name}' of '{path}'"
    if len(words) < 2:
        raise BenchError(
            f"every session of '{path}' has the label '{next(iter(words), '')}': give --normal if that is normal, add "
            "the normal sessions, or leave a single column with the abnormal ones"
        )
    if odd := next((word for word in words if looks_like_a_time(word) or _DECIMAL.fullmatch(word)), None):
        raise BenchError(f"{where} holds '{odd}', a time or a measure and no label: give --columns SESSION,LABEL")
    rest = [word for word in words if word not in ABNORMAL_WORDS]
    if len(words) == 2 and len(rest) == 1:
        word = sheet.spelling(column, rest[0])
        return Normal(word, (f"'{word}' is taken as normal, as the other word is not; else --normal.",))
    common, n = words.most_common(1)[0]
    if common in ABNORMAL_WORDS or 2 * n <= words.total():
        raise BenchError(f"{where} has no usual word for normal (its words are {many}): give --normal WORD")
    word = sheet.spelling(column, common)
    return Normal(
        word, (f"No label is a usual word for normal, so the most frequent one, '{word}', is taken; else --normal.",)
    )
