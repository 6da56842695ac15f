"""Every detector of the project passes every check of the kit."""

import pytest

from bench import registry
from bench.testing import check_detector, conforms, summarise

pytestmark = pytest.mark.trains


@pytest.mark.usefixtures("chat_server")
@pytest.mark.parametrize(
    "name", [ref.name for ref in registry.available().values() if ref.distribution == "mlad-bench"]
)
def test_conformance(name):
    found = check_detector(registry.load(registry.find(name)))
    failed = [f"{result.name}: {result.detail}" for result in found if result.status in ("failed", "xpass")]
    assert conforms(found), "\n".join([summarise(found), *failed])
