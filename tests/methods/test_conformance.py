"""Every detector of the project passes every check of the conformance kit."""

import pytest

from bench import registry
from bench.testing import check_detector, conforms, summarise


@pytest.mark.usefixtures("chat_server")
@pytest.mark.parametrize(
    "name", [ref.name for ref in registry.available().values() if ref.distribution == "mlad-bench"]
)
def test_conformance(name):
    results = check_detector(registry.load(registry.find(name)))
    failed = [f"{result.name}: {result.detail}" for result in results if result.status in ("failed", "xpass")]
    assert conforms(results), "\n".join([summarise(results), *failed])
