"""Labels that do not stand in the line: tables and lists of sessions, and time ranges of incidents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.reading import streams
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


def session_labels(card: Card, content: bytes) -> SessionLabels:
    """Read the content of a label file as the card's format says."""
    form = card.format
    if form.label == "session-list":
        table, unnamed = _listed(card, content), UNLABELLED if form.section else NORMAL
    else:
        table, unnamed = _tabled(card, content), UNLABELLED
    abnormal = pl.col("value") != form.normal
    alerts = table.filter(abnormal)["value"].value_counts().sort("count", "value", descending=[True, False])
    return SessionLabels(
        table.select("session", abnormal.cast(pl.Int8).alias("label")),
        unnamed,
        tuple(alerts.rows()),
    )


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
    notes = []
    if found.unnamed == UNLABELLED and (labels == UNLABELLED).any():
        first = joined.filter(pl.Series(labels == UNLABELLED))["session"][0]
        notes.append(f"{(labels == UNLABELLED).sum():,} sessions have no label and take no part, such as '{first}'")
    unknown = found.values.filter(~pl.col("session").is_in(log["session"].implode()))["session"]
    if len(unknown):
        notes.append(f"{len(unknown):,} sessions of the label file are not in the log, such as '{unknown[0]}'")
    return labels, tuple(notes)


def session_id(match: re.Match[str]) -> str:
    """The session that a pattern found: its group `session`, or all that matched."""
    return match["session"] if "session" in match.re.groupindex else match[0]


def label_incidents(times: NDArray[np.float64], incidents: Sequence[tuple[float, float]]) -> NDArray[np.int8]:
    """A line within any incident (both ends included) is abnormal, others are normal, those without time unlabelled."""
    labels = np.full(len(times), NORMAL, np.int8)
    for start, end in incidents:
        labels[(times >= start) & (times <= end)] = ABNORMAL
    labels[np.isnan(times)] = UNLABELLED
    return labels


def _tabled(card: Card, content: bytes) -> pl.DataFrame:
    form = card.format
    table = read_csv(content, card)
    require_columns(table, (form.label_key, form.label_value), card)
    table = table.select(session=pl.col(form.label_key), value=pl.col(form.label_value))
    table = table.filter(pl.col("session").is_not_null())
    return _one_label_each(table, card)


def _one_label_each(table: pl.DataFrame, card: Card) -> pl.DataFrame:
    labels = table.filter(pl.col("value").is_not_null()).unique(maintain_order=True)
    twice = labels.filter(labels["session"].is_duplicated())
    if len(twice):
        values = twice.filter(pl.col("session") == twice["session"][0])["value"].to_list()
        raise BenchError(
            f"the label file of '{card.key}' gives session '{twice['session'][0]}' the labels {', '.join(values)}: "
            "give each session one label"
        )
    # A row without a label says nothing against one that has it.
    return pl.concat([labels, table]).unique("session", keep="first", maintain_order=True)


def _listed(card: Card, content: bytes) -> pl.DataFrame:
    """Sessions below headings, or without headings a list of the abnormal ones."""
    form = card.format
    session, section = re.compile(form.listed or form.session), re.compile(form.section) if form.section else None
    heading, rows = "" if section else "listed", list[tuple[str, str]]()
    for line in content.decode("utf-8", errors="replace").splitlines():
        if section and (match := section.match(line)):
            heading = match[1] if match.re.groups else match[0]
        elif heading and (match := session.search(line)):
            rows.append((session_id(match), heading))
    if not rows:
        raise BenchError(f"the label file of '{card.key}' names no session: correct `session` or `section` in its card")
    table = pl.DataFrame(rows, schema={"session": pl.String, "value": pl.String}, orient="row")
    return _one_label_each(table, card)


def read_csv(content: bytes, card: Card) -> pl.DataFrame:
    """A table of text: a session called 007 keeps its zeros, and nothing is spent on guessing types."""
    try:
        return pl.read_csv(content, infer_schema=False, encoding="utf8-lossy")
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise BenchError(f"a table of '{card.key}' is no CSV file ({first}): fetch it again") from None


def require_columns(table: pl.DataFrame, columns: tuple[str, ...], card: Card) -> None:
    """Refuse a table without these columns."""
    for column in columns:
        if column not in table.columns:
            raise BenchError(
                f"a table of '{card.key}' has no column '{column}': it has {', '.join(table.columns)}; correct the card"
            )
