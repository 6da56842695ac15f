"""Write a simulated log as an edition of its own: log, label file, ground truth and card, whole or not at all."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.data.cards.card import Card
from bench.data.cards.catalogue import Catalogue
from bench.data.simulation.grammar import read_grammar
from bench.data.simulation.records import KINDS, Labels
from bench.data.simulation.simulate import Chunk, choose_kinds, iter_chunks, label_header, label_rows
from bench.errors import BenchError

Report = Callable[[int, int], None]
"""Called with the lines made so far and the lines asked for."""

_EDITION: Final = re.compile("[a-z0-9][a-z0-9._-]*")
_NAMES: Final = ("normal", *KINDS)


@dataclass(frozen=True)
class Made:
    """What was written."""

    key: str
    data_dir: Path
    n_lines: int
    seconds: float
    kinds: dict[str, int]
    """Abnormal lines of each kind that may occur; of sessions all lines."""
    session_kinds: dict[str, int] | None
    """Abnormal sessions of each kind; None where lines are labelled."""
    n_sessions: int
    files: tuple[dict[str, str | int], ...]
    """Name below the data folder, bytes and sha256 of the files that the card names."""
    truth: str
    card: str
    """Names below the data folder."""


def simulated_card(known: Catalogue, name: str) -> Card:
    """Return the card whose grammar simulates a system.

    Raises:
        BenchError: the system is unknown, or has no grammar.
    """
    for card in known.editions(name):
        if card.kind == "simulated":
            return card
    able = sorted({card.name for card in known.cards if card.kind == "simulated"})
    raise BenchError(f"'{name}' has no grammar to simulate it: choose one of {', '.join(able)}")


def write_edition(
    card: Card,
    known: Catalogue,
    *,
    seed: int,
    n_lines: int | None = None,
    kinds: Collection[str] | None = None,
    edition: str | None = None,
    force: bool = False,
    report: Report = lambda done, total: None,
) -> Made:
    """Simulate with the grammar of `card` into the data folder; nothing of it is there before all is.

    Raises:
        BenchError: no data folder, a name that is taken, a kind that the grammar has not, or no room.
    """
    rules = read_grammar(card.simulate)
    wanted = [kind for kind in rules.kinds if kind in choose_kinds(rules, kinds)]
    n_lines = rules.lines if n_lines is None else n_lines
    edition = edition or f"sim-{n_lines}-s{seed}"
    folder = _folder(card, known, edition, force=force)
    begin = time.monotonic()
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".simulating-", dir=folder) as place:
            with _Writer(Path(place), edition, rules.labels) as writer:
                for chunk in iter_chunks(card.simulate, seed=seed, n_lines=n_lines, kinds=wanted):
                    writer.add(chunk)
                    report(min(writer.n_lines, n_lines), n_lines)
            writer.join_truth()
            files = writer.files(card.name)
            kinds_text = ", ".join(wanted) or "none"
            origin = f"from the grammar of `{card.key}`, seed {seed}, with these kinds of anomaly:\n{kinds_text}"
            text = _card_text(card, edition, origin, writer, files)
            (Path(place) / f"{edition}.toml").write_text(text, encoding="utf-8")
            _move(Path(place), folder, edition)
    except OSError as error:
        raise BenchError(
            f"'{card.name}@{edition}' cannot be written to {folder} ({error.strerror or error}): "
            "nothing was kept; make room, or use another data folder"
        ) from None
    return Made(
        key=f"{card.name}@{edition}",
        data_dir=folder.parent,
        n_lines=writer.n_lines,
        seconds=time.monotonic() - begin,
        kinds={kind: int(writer.line_kinds[KINDS.index(kind) + 1]) for kind in wanted},
        session_kinds={kind: int(writer.session_kinds[KINDS.index(kind) + 1]) for kind in wanted}
        if rules.labels.session
        else None,
        n_sessions=int(writer.session_kinds.sum()),
        files=files,
        truth=f"{card.name}/{edition}.truth.parquet",
        card=f"{card.name}/{edition}.toml",
    )


def _folder(card: Card, known: Catalogue, edition: str, *, force: bool) -> Path:
    if known.data_dir is None:
        raise BenchError("a simulated edition needs a data folder to be written to: set BENCH_DATA or give --data DIR")
    if _EDITION.fullmatch(edition) is None:
        raise BenchError(f"'{edition}' is no name of an edition: use lower-case letters, digits, '.', '_' and '-'")
    folder = known.data_dir / card.name
    path = folder / f"{edition}.toml"
    if any(other.edition == edition for other in known.editions(card.name)) and not path.exists():
        raise BenchError(f"'{card.name}@{edition}' is a shipped edition: give another --edition NAME")
    there = [p for p in (path, *(folder / name for name in _names(edition))) if p.exists()]
    if there and not force:
        raise BenchError(f"{there[0]} exists: give --force to replace it, or another --edition NAME")
    return folder


def _names(edition: str) -> tuple[str, str, str]:
    return f"{edition}.log", f"{edition}_labels.csv", f"{edition}.truth.parquet"


class _Writer:
    """Appends chunks to the files of an edition in a temporary folder, hashing and counting on the way."""

    def __init__(self, place: Path, edition: str, labels: Labels) -> None:
        self._place, self._labels = place, labels
        self._log_name, self._labels_name, self._truth_name = _names(edition)
        self._parts = place / "truth"
        self._streams: dict[str, IO[bytes]] = {}
        self._hashes = {name: hashlib.sha256() for name in self._written()}
        self.n_lines, self._n_parts = 0, 0
        self.line_kinds = np.zeros(len(_NAMES), np.int64)
        self.session_kinds = np.zeros(len(_NAMES), np.int64)

    def __enter__(self) -> _Writer:
        self._parts.mkdir()
        for name in self._written():
            self._streams[name] = (self._place / name).open("wb")
        if self._labels.session:
            self._append(self._labels_name, label_header(self._labels))
        return self

    def __exit__(self, *ignored: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def add(self, chunk: Chunk) -> None:
        """Append one chunk."""
        self._append(self._log_name, chunk.lines)
        if self._labels.session:
            self._append(self._labels_name, label_rows(self._labels, chunk))
        self._truth(chunk).write_parquet(self._parts / f"{self._n_parts:09d}.parquet", compression="lz4")
        self._n_parts += 1
        self.n_lines += len(chunk.kinds)
        self.line_kinds += _count(chunk.kinds)
        self.session_kinds += _count(chunk.session_kinds)

    def join_truth(self) -> None:
        """Make one file of the parts, without having them in memory at once."""
        parts = sorted(self._parts.glob("*.parquet"))
        pl.scan_parquet(parts).sink_parquet(self._place / self._truth_name, row_group_size=1 << 18)

    def files(self, system: str) -> tuple[dict[str, str | int], ...]:
        """Name, bytes and sha256 of the files that a card names."""
        return tuple(
            {"name": f"{system}/{name}", "bytes": (self._place / name).stat().st_size, "sha256": digest.hexdigest()}
            for name, digest in self._hashes.items()
        )

    def _written(self) -> list[str]:
        return [self._log_name, self._labels_name] if self._labels.session else [self._log_name]

    def _append(self, name: str, content: bytes) -> None:
        self._hashes[name].update(content)
        self._streams[name].write(content)

    def _truth(self, chunk: Chunk) -> pl.DataFrame:
        unit = "session" if self._labels.session else "episode"
        number = np.arange(self.n_lines, self.n_lines + len(chunk.kinds))
        kinds = pl.Series(_NAMES).gather(chunk.kinds.astype(np.int64))
        return pl.DataFrame({"line": number, "kind": kinds, unit: chunk.sessions})


def _count(kinds: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(kinds, minlength=len(_NAMES))


def _move(place: Path, folder: Path, edition: str) -> None:
    """Put the files in their place, the card last: an edition is known only when all of it is there."""
    (folder / f"{edition}.toml").unlink(missing_ok=True)
    for name in (*_names(edition), f"{edition}.toml"):
        if (place / name).exists():
            (place / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def _card_text(card: Card, edition: str, origin: str, writer: _Writer, files: tuple[dict[str, str | int], ...]) -> str:
    by_session = len(files) > 1
    if by_session:
        sessions = writer.session_kinds
        counts = {"sessions": int(sessions.sum()), "abnormal_sessions": int(sessions[1:].sum())}
    else:
        counts = {"abnormal_lines": int(writer.line_kinds[1:].sum())}
    tables = "\n".join(
        f'[[files]]\nname = "{file["name"]}"\nsha256 = "{file["sha256"]}"\nrole = "{role}"\n'
        for file, role in zip(files, ("log", "labels"), strict=False)
    )
    numbers = "".join(f"{name} = {value}\n" for name, value in {"lines": writer.n_lines, **counts}.items())
    return f'''title = "Simulated lines in the layout of {card.name}, {writer.n_lines} of them"
tier = "development"
rank = -1
kind = "lines"
licence = "{card.licence}"
citation = "{card.citation}"
notes = """Made by `bench data simulate` {origin}.
No line of a real log is in it; scores on it say nothing about real systems. The kind and the
{"session" if by_session else "episode"} of each line stand in `{edition}.truth.parquet`."""

{tables}
[counts]
{numbers}'''
