"""What papers report: `results/published.toml` as data. It says what was printed and never repairs it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError

METRICS: Final = ("precision", "recall", "f1")
_NO_SCENARIO: Final = ("table", "method", "detector", "set")


@dataclass(frozen=True)
class Value:
    """One cell of a published table; a Decimal keeps the digits as they were printed."""

    table: str
    method: str
    """As the paper calls it."""
    scenario: str
    precision: Decimal | None
    recall: Decimal | None
    f1: Decimal | None
    detector: str = ""
    """The detector of this project, or nothing."""
    settings: tuple[str, ...] = ()
    """Its settings, as --set takes them."""


@dataclass(frozen=True)
class Paper:
    """The reported values of one paper."""

    key: str
    title: str
    protocol: Mapping[str, str]
    """What must be known to compare, in words."""
    test_is_balanced: bool
    """Whether its test set is said to hold as many normal as abnormal sequences."""
    sizes: Mapping[str, Mapping[str, int]]
    """Counts of each data set, as printed."""
    shared_words: Mapping[str, int]
    """Words that data sets share: `bgl+tbird` -> how many."""
    values: tuple[Value, ...]


def published_file() -> Path:
    """`published.toml`: in the installed package, else in the checkout's `results`."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "_published" / "published.toml"
    return installed if installed.is_file() else package.parent / "results" / "published.toml"


def load_published(path: Path | None = None) -> list[Paper]:
    """All papers of the file; anything wrong with it is a BenchError."""
    path = published_file() if path is None else path
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        papers = [_paper(key, fields) for key, fields in content["paper"].items()]
    except FileNotFoundError:
        raise BenchError(f"'{path}' does not exist: it comes with the package, install that again") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"'{path}' cannot be read ({error}): correct its TOML") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"'{path}' lacks {error} or has it in another form: see the shipped published.toml") from None
    return papers


def _paper(key: str, fields: Mapping[str, Any]) -> Paper:
    return Paper(
        key=key,
        title=fields["title"],
        protocol=fields["protocol"],
        test_is_balanced=fields["test_is_balanced"],
        sizes=fields["sizes"],
        shared_words=fields.get("shared_words", {}),
        values=tuple(
            Value(
                table=row["table"],
                method=row["method"],
                scenario=scenario,
                precision=cell.get("precision"),
                recall=cell.get("recall"),
                f1=cell.get("f1"),
                detector=row.get("detector", ""),
                settings=tuple(row.get("set", ())),
            )
            for row in fields["row"]
            for scenario, cell in row.items()
            if scenario not in _NO_SCENARIO
        ),
    )
