"""One store of sentence vectors for all tests of a session, whatever cache folder a test has."""

import os
from pathlib import Path

from bench.data.embedding import SENTENCE_ENCODER

VARIABLE = "BENCH_TEST_VECTORS"
"""Where the store lies; parallel workers share it."""


def lend_vectors(cache):
    """Let a cache folder use the shared store, so that the encoder is loaded once and not by each command."""
    store = Path(os.environ[VARIABLE])
    cache.mkdir(parents=True, exist_ok=True)
    lent = cache / f"vectors-{SENTENCE_ENCODER}.sqlite"
    if not lent.is_symlink():
        lent.symlink_to(store)
    return cache
