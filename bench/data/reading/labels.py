"""Labels that do not stand in the line: tables and lists of sessions, and time ranges of incidents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Card, Format
from bench.data.cards.catalogue import Catalogue
from bench.data.reading import streams
from bench.data.reading.label_rows import labelled_sessions, listed_sessions
from bench.data.reading.label_words import folded, meaning
from bench.data.reading.tables import decoded
from bench.errors import BenchError
from bench.types import ABNORMAL, NORMAL, UNLABELLED


class SessionLabels(NamedTuple):
    """What a label file says."""

    values: pl.DataFrame
    """Columns `session` (distinct) and `label` (int8)."""
    unnamed: int
    """The label of a session that the file does not name."""
    alerts: tuple[tuple[str, int], ...]
    """The values that mean abnormal, with their number of sessions."""
    notes: tuple[str, ...] = ()
    """What was odd about the file."""


def session_labels(card: Card, content: bytes) -> SessionLabels:
    """Read the content of a label file as the card's format says."""
    files = card.files_of("labels")
    name = f" '{files[0].name}'" if files else ""
    return labels_in(content, card.format, f"the label file{name} of '{card.key}'")


def labels_in(content: bytes, form: Format, called: str) -> SessionLabels:
    """Read the content of a label file.

    called: what a message calls the file
    """
    text, n_replaced = decoded(content)
    if form.label == "session-list":
        table, unnamed = listed_sessions(text, form, called), UNLABELLED if form.section else NORMAL
    else:
        table, unnamed = labelled_sessions(text, form, called), UNLABELLED
    table = _one_label_each(table, form.normal, called)
    alerts = table.filter(pl.col("label") == ABNORMAL).group_by("word").agg(pl.len(), pl.col("value").first())
    alerts = alerts.select("value", "len").sort("len", "value", descending=[True, False])
    replaced = f"{n_replaced:,} lines of the label file have bytes that are no UTF-8; they are read as U+FFFD"
    notes = (replaced,) if n_replaced else ()
    return SessionLabels(table.select("session", "label"), unnamed, tuple(alerts.rows()), notes)


def label_file(card: Card, catalogue: Catalogue) -> bytes:
    """The content of the card's label file."""
    files = card.files_of("labels")
    if not files:
        raise BenchError(f"the card '{card.key}' says labels stand in a file but names none: add role = \"labels\"")
    path, inside = catalogue.path(files[0]), files[0].inside
    if "*" in inside:
        found = streams.matching(path, inside)
        if len(found) > 1:
            raise BenchError(
                f"'{path.name}' holds {len(found)} files that match '{inside}', such as '{found[0]}' and '{found[1]}': "
                "name the label file alone as `inside` in the card"
            )
        inside = found[0]
    return streams.content(path, inside)


def label_sessions(ids: Sequence[str], found: SessionLabels) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """The label of each session, int8 (n_sessions,), and what a user should know of the file."""
    log = pl.DataFrame({"session": list(ids)}, schema={"session": pl.String})
    joined = log.join(found.values, on="session", how="left", maintain_order="left")
    is_named = joined["session"].is_in(found.values["session"].implode())
    labels = joined["label"].fill_null(UNLABELLED).to_numpy().copy()
    labels[~is_named.to_numpy()] = found.unnamed
    notes = list(found.notes)
    if found.unnamed == UNLABELLED and (labels == UNLABELLED).any():
        first = joined.filter(pl.Series(labels == UNLABELLED))["session"][0]
        notes.append(f"{(labels == UNLABELLED).sum():,} sessions have no label and take no part, such as '{first}'")
    unknown = found.values.filter(~pl.col("session").is_in(log["session"].implode()))["session"]
    if len(unknown) and len(unknown) == len(found.values):
        notes.append(
            f"none of the {len(unknown):,} sessions of the label file is in the log: they look like '{unknown[0]}', "
            f"those of the log like '{log['session'][0]}'"
        )
    elif len(unknown):
        notes.append(f"{len(unknown):,} sessions of the label file are not in the log, such as '{unknown[0]}'")
    return labels, tuple(notes)


def label_incidents(times: NDArray[np.float64], incidents: Sequence[tuple[float, float]]) -> NDArray[np.int8]:
    """A line within any incident (both ends included) is abnormal, others are normal, those without time unlabelled."""
    labels = np.full(len(times), NORMAL, np.int8)
    for start, end in incidents:
        labels[(times >= start) & (times <= end)] = ABNORMAL
    labels[np.isnan(times)] = UNLABELLED
    return labels


def _one_label_each(table: pl.DataFrame, normal: str, called: str) -> pl.DataFrame:
    """Columns session (distinct), value, word (one for all spellings of a value) and label."""
    values = table["value"].unique().to_list()
    words = pl.DataFrame(
        {"value": values, "word": [folded(v) for v in values], "label": [meaning(v, normal) for v in values]},
        schema={"value": pl.String, "word": pl.String, "label": pl.Int8},
    )
    table = table.join(words, on="value", how="left", maintain_order="left")
    labels = table.filter(pl.col("label") != UNLABELLED).unique(["session", "word"], maintain_order=True)
    twice = labels.filter(labels["session"].is_duplicated())
    if len(twice):
        values = twice.filter(pl.col("session") == twice["session"][0])["value"].to_list()
        raise BenchError(
            f"{called} gives session '{twice['session'][0]}' the labels {', '.join(values)}: give each session one "
            "label"
        )
    # A row without a label says nothing against one that has it.
    return pl.concat([labels, table.select(labels.columns)]).unique("session", keep="first", maintain_order=True)


def read_csv(content: bytes, card: Card) -> pl.DataFrame:
    """A table of text: a session called 007 keeps its zeros, and nothing is spent on guessing types."""
    try:
        return pl.read_csv(content, infer_schema=False, encoding="utf8-lossy")
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise BenchError(f"a table of '{card.key}' is no CSV file ({first}): correct it, or fetch it again") from None


def require_columns(table: pl.DataFrame, columns: tuple[str, ...], card: Card) -> None:
    """Refuse a table without these columns."""
    for column in columns:
        if column not in table.columns:
            raise BenchError(
                f"a table of '{card.key}' has no column '{column}': it has {', '.join(table.columns)}; correct the card"
            )
