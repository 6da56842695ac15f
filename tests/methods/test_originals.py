"""`original` is original: each field is the method's own published value with its source, or said to be nobody's."""

import dataclasses
import json
import re
from typing import ClassVar

import pytest

from bench import registry
from tests.networks import NETWORKS

CLASSES = {
    ref.name: registry.load(ref)
    for ref in registry.available().values()
    if ref.target.startswith("methods.") and not ref.is_control
}
WITHOUT = {"knn-embedding", "random-forest", "source-only"}
"""Controls among the methods: no paper on logs gives them settings."""
ELSEWHERE = {"chatgpt", "chatgpt-cot", "logprompt"}
"""Their published setting is a prompt, which is their default; tests of chat methods hold it to its words."""
TABLES = [name for name in CLASSES if name not in WITHOUT | ELSEWHERE]
PUBLISHED_NETWORKS = NETWORKS - {"source-only"}
SOURCE = re.compile(r"^(section|sections|paper|code|published)\b|^\[R\] ")


def identity_fields(config):
    return {field.name for field in dataclasses.fields(config) if field.metadata.get("identity", True)}


def unset(method):
    """Fields of the Config that the profile leaves to the common budget."""
    return identity_fields(method.Config) - method.profiles.get("original", {}).keys()


@pytest.mark.parametrize("name", TABLES)
def test_every_field_is_set_and_has_its_source(name):
    method = CLASSES[name]
    assert unset(method) == set()
    assert method.sources["original"].keys() == method.profiles["original"].keys()
    for field, source in method.sources["original"].items():
        assert SOURCE.match(source), f"{field}: {source}"


@pytest.mark.parametrize("name", TABLES)
def test_it_is_a_config_also_after_json(name):
    method = CLASSES[name]
    values = method.profiles["original"]
    assert method.Config(**json.loads(json.dumps(values))) == method.Config(**values)
    assert values.keys() <= identity_fields(method.Config)


def test_a_field_that_is_left_out_is_found():
    whole = CLASSES["deeplog"].profiles["original"]

    class Careless(CLASSES["deeplog"]):
        profiles: ClassVar = {"original": {name: value for name, value in whole.items() if name != "dropout"}}

    assert unset(Careless) == {"dropout"}
    assert unset(type("Bare", (CLASSES["mlad"],), {"profiles": {}})) == identity_fields(CLASSES["mlad"].Config)


@pytest.mark.parametrize("name", sorted(PUBLISHED_NETWORKS))
def test_no_network_inherits_the_common_budget(name):
    values = CLASSES[name].profiles["original"]
    assert values["steps"] is None
    assert values["max_epochs"] >= 5


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_what_nobody_published_has_no_such_profile(name):
    assert not CLASSES[name].profiles
    assert not CLASSES[name].sources


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("loganomaly", {"min_cosine": 0.9, "dropout": 0.0}),
        ("logbert", {"g": 15, "mask_ratio": 0.5, "warmup_steps": 10_000}),
        ("logrobust", {"dropout": 0.0, "decay_epochs": (40, 50), "per_class": 6000}),
        ("plelog", {"dropout": 0.33, "dropout_on": "events", "betas": (0.9, 0.9), "decay_steps": 1000}),
        ("dagmm", {"max_epochs": 200, "clip_norm": None, "patience": None}),
        ("logtad", {"weight_decay": 1e-6, "clip_norm": None}),
        ("cat", {"dropout": 0.05, "decay": 0.5}),
        ("mlad", {"batch_size": 512, "max_epochs": 30, "width": 100}),
    ],
)
def test_what_an_examination_found_missing_is_set(name, values):
    assert values.items() <= CLASSES[name].profiles["original"].items()
