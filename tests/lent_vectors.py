"""One store of sentence vectors, and of facts of installed detectors, for all tests of a session."""

import os
from pathlib import Path

from bench.data.embedding import SENTENCE_ENCODER

VARIABLE = "BENCH_TEST_VECTORS"
"""Where the store lies; parallel workers share it."""


def lend_vectors(cache):
    """Let a cache folder use the shared store, so that encoder and methods are not loaded by each command."""
    store = Path(os.environ[VARIABLE])
    cache.mkdir(parents=True, exist_ok=True)
    lent = cache / f"vectors-{SENTENCE_ENCODER}.sqlite"
    if not lent.is_symlink():
        lent.symlink_to(store)
    facts = store.with_name("detectors")
    facts.mkdir(exist_ok=True)
    if not (cache / "detectors").exists():
        (cache / "detectors").symlink_to(facts)
    return cache
