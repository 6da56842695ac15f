"""Every detector of the project passes every check of the kit, but for what is named here with its reason."""

import pytest

from bench import registry
from bench.testing import check_detector, conforms, summarise
from methods.logtad import Config

EXPECTED_FAILURES = {
    "logtad": {
        "check_direction": "with the study's weight of the distance the vectors of the toy log's 60 short sequences "
        "collapse to a point, and AUROC is .50; with distance_weight 1 it passes (next test)"
    }
}


def failures(name, *, expected_failures=None, config=None):
    found = check_detector(registry.load(registry.find(name)), config=config, expected_failures=expected_failures or {})
    failed = [f"{result.name}: {result.detail}" for result in found if result.status in ("failed", "xpass")]
    return conforms(found), "\n".join([summarise(found), *failed])


@pytest.mark.usefixtures("chat_server")
@pytest.mark.parametrize(
    "name", [ref.name for ref in registry.available().values() if ref.distribution == "mlad-bench"]
)
def test_conformance(name):
    conform, text = failures(name, expected_failures=EXPECTED_FAILURES.get(name))
    assert conform, text


def test_logtad_passes_with_the_weight_before_the_study():
    conform, text = failures("logtad", config=Config(distance_weight=1.0))
    assert conform, text
