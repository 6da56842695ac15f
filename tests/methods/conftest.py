"""What tests of several methods share: vectors of texts without the sentence encoder."""

import numpy as np
import pytest

from methods.shared import text_inputs


def random_vectors(texts):
    """A random direction for each text, always the same one; (n, 384) float32."""
    rows = [np.random.default_rng(list(text.encode())).standard_normal(384) for text in texts]
    rows = np.reshape(rows, (-1, 384))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def no_sentence_encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_inputs, "embed", random_vectors)
        yield
