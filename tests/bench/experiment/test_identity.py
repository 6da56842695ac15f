"""No change of the code may move a run id: every stored record is resolved anew from what was typed."""

import json
from pathlib import Path

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.experiment.scenario import Scenario
from bench.experiment.spec import PROTOCOL_VERSION, Cell, resolve_methods, run_id
from bench.records.record import SCORES_ONLY
from bench.records.store import Store

RESULTS = Path(__file__).parents[3] / "results"
FOLDERS = [RESULTS, *sorted(path.parent for path in RESULTS.glob("studies/*/records"))]


def stored_records():
    return [record for folder in FOLDERS for record in Store(folder).records()]


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    """Methods by what a record says of them; settings are those typed, and what was a default on that day only."""
    cache, known = tmp_path_factory.mktemp("detectors"), {}

    def resolve(name, settings, profile):
        key = (name, tuple(settings), profile)
        if key not in known:
            known[key] = resolve_methods([name], list(settings), cache, profile)[0]
        return known[key]

    def method_of(record):
        detector, facts = record["spec"]["detector"], record["detector"]
        variant = f"+{detector['variant']['name']}" if detector["variant"] else ""
        name, profile = detector["name"] + variant, facts.get("profile", "paper")
        typed = {key: str(value) for key, value in facts["config_passed"].items()}
        today = resolve(name, settings_of(detector["name"], typed), profile)
        then = {
            key: "none" if value is None else json.dumps(value).strip('"')
            for key, value in detector["config"].items()
            if json.loads(json.dumps(today.config[key])) != value
        }
        return resolve(name, settings_of(detector["name"], then | typed), profile), bool(then)

    return method_of


def settings_of(name, values):
    return [f"{name}.{key}={value}" for key, value in values.items()]


def cell_of(record, method, known):
    spec = record["spec"]
    train, test = (tuple(known.find(side["edition"]) for side in spec[role]) for role in ("train", "test"))
    helpers = tuple(known.find(side["edition"]) for side in spec.get("auxiliary", []))
    given = spec.get("incidents", ())
    incidents = given if isinstance(given, str) else tuple(map(tuple, given))
    grouping = Grouping(**spec.get("grouping", {"window_size": 20, "window_step": 20}))
    scenario = Scenario(train, test, helpers)
    return Cell(scenario, method, spec["split"], grouping, spec["seed"], spec.get("sample", 0), incidents)


def test_every_stored_record_of_this_protocol_has_the_run_id_of_what_was_typed(resolved):
    known, wrong = catalogue(None), []
    for record in stored_records():
        ran_here = record["detector"].get("division") != SCORES_ONLY
        if record["spec"]["protocol_version"] == PROTOCOL_VERSION and ran_here:
            method, _had_another_default = resolved(record)
            if cell_of(record, method, known).run_id != record["run_id"]:
                wrong.append((record["run_id"], record["method"], record["scenario"]))
    assert wrong == []


def test_a_run_id_is_the_hash_of_its_spec():
    assert [r["run_id"] for r in stored_records() if run_id(r["spec"]) != r["run_id"]] == []
