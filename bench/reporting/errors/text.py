"""Errors as text for a terminal."""

from __future__ import annotations

import datetime
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from bench.errors import harmless
from bench.experiment.behind import LogLine
from bench.reporting.errors.find import Errors, Mistake

_FOLDED: Final = 3
"""Rows that one log line may take."""


def render_errors(errors: Errors, width: int = 80) -> str:
    """All of it, in lines of at most `width` characters."""
    record, counts = errors.record, errors.counts
    spec = record["spec"]
    seeds = f"seed {spec['seed']} of {errors.n_seeds} runs" if errors.n_seeds > 1 else f"seed {spec['seed']}"
    abnormal, normal = counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]
    lines = [
        f"{record['method']} on {record['scenario']}",
        f"{spec['split']}, protocol {spec['protocol_version']}, {seeds}, run {record['run_id'][:8]}",
        f"{_threshold(errors)}: {counts['tp']:,} of {abnormal:,} abnormal sequences found,",
        f"{counts['fp']:,} of {normal:,} normal ones flagged",
        *errors.notes,
        "",
        *_section("FALSE POSITIVES by score, the highest first", errors.false_positives, counts["fp"], width),
        "",
        *_section("FALSE NEGATIVES by score, the lowest first", errors.false_negatives, counts["fn"], width),
    ]
    return "\n".join(cut_off(line, width) for line in lines)


def cut_off(line: str, width: int) -> str:
    """A line of at most so many characters; what is cut off is marked."""
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _threshold(errors: Errors) -> str:
    if len(errors.thresholds) > 1:
        return f"{errors.rule}, a threshold for each system"
    return f"{errors.rule} = {next(iter(errors.thresholds.values())):.6g}"


def _section(title: str, mistakes: Sequence[Mistake], total: int, width: int) -> Iterator[str]:
    yield f"{title} ({len(mistakes)} of {total:,})" if total else f"{title}: none"
    with_system = len({mistake.system for mistake in mistakes}) > 1
    for mistake in mistakes:
        yield _head(mistake, with_system=with_system)
        for line in mistake.lines:
            yield from _folded(line, width)


def _folded(line: LogLine, width: int) -> list[str]:
    """A log line with its number, in a few rows at most."""
    head = f"{line.number:>12}  "
    return textwrap.wrap(
        harmless(line.text.replace("\t", " ")),
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        max_lines=_FOLDED,
        placeholder=" …",
        drop_whitespace=True,
    ) or [head.rstrip()]


def _head(mistake: Mistake, *, with_system: bool) -> str:
    parts = [f"{mistake.rank:>3}. {mistake.score:.6g}"]
    if mistake.time is not None:
        parts.append(_time(mistake.time))
    if mistake.first_line is not None:
        if mistake.sequence != str(mistake.first_line - 1):
            parts.append(harmless(mistake.sequence))
        apart = mistake.n_lines is not None and mistake.n_lines != _span(mistake)
        span = f"{mistake.first_line}-{mistake.last_line}"
        parts.append(f"{mistake.n_lines} lines from {mistake.first_line}" if apart else f"lines {span}")
    return "  ".join([*parts, *([mistake.system] if with_system else [])])


def _span(mistake: Mistake) -> int:
    assert mistake.first_line is not None
    assert mistake.last_line is not None
    return mistake.last_line - mistake.first_line + 1


def _time(seconds: float) -> str:
    """UTC; what no calendar holds stays a number."""
    try:
        found = datetime.datetime.fromtimestamp(math.floor(seconds), datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"time {seconds:g}"
    return f"{found:%Y-%m-%d %H:%M:%S}"
