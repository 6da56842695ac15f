"""A method that writes into its inputs fails, and changes nothing for the others of its run."""

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.experiment.cell import Settings
from bench.experiment.runner import run
from bench.experiment.scenario import parse_scenario
from bench.experiment.seal import Seal
from bench.experiment.spec import plan, resolve_methods
from bench.records.store import Store
from bench.types import Sequences

WRITERS = '''
"""Detectors that write into what they are given."""
import warnings
from dataclasses import dataclass
import numpy as np
import torch
from bench.detector import Detector, DetectorTags

warnings.filterwarnings("ignore", message=".*not writable")

@dataclass(frozen=True)
class Config:
    pass

class Quiet(Detector):
    Config = Config
    tags = DetectorTags(told={"source": "unlabelled"})
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return np.zeros(len(sequences))
class SortsInFit(Quiet):
    def fit(self, train, labels=None, *, evidence=None):
        train.log_keys.sort()
        return self
class WritesInScore(Quiet):
    def score(self, sequences):
        sequences.log_keys[sequences.log_keys < 0] = 0
        return super().score(sequences)
class Unlocks(Quiet):
    def fit(self, train, labels=None, *, evidence=None):
        train.log_keys.setflags(write=True)
        train.log_keys.sort()
        return self
class UnlocksTheBase(Quiet):
    def score(self, sequences):
        for array in (sequences.log_keys.base, sequences.text_ids.base):
            array.setflags(write=True)
            array[:] = 0
            array.setflags(write=False)
        return super().score(sequences)
class WritesByTorch(Quiet):
    def fit(self, train, labels=None, *, evidence=None):
        torch.from_numpy(train.log_keys).zero_()
        raise RuntimeError("and then it fails")
class WritesLabels(Quiet):
    tags = DetectorTags(told={"source": "labels"})
    def fit(self, train, labels=None, *, evidence=None):
        labels[:] = 0
        return self
class WritesKnownLabels(WritesLabels):
    tags = DetectorTags(told={"source": "first-normals"})
class SortsNormals(SortsInFit):
    tags = DetectorTags(told={"source": "normals"})
class ReplacesTexts(Quiet):
    def score(self, sequences):
        object.__setattr__(sequences, "texts", ("other",) * len(sequences.texts))
        return super().score(sequences)
class ReplacesIds(Quiet):
    def score(self, sequences):
        object.__setattr__(sequences, "ids", ())
        return super().score(sequences)
class TakesAway(Quiet):
    def score(self, sequences):
        object.__setattr__(sequences, "elapsed_s", None)
        return super().score(sequences)
class Deletes(Quiet):
    def score(self, sequences):
        object.__delattr__(sequences, "start_time")
        return super().score(sequences)
class AddsLines(Quiet):
    def score(self, sequences):
        object.__setattr__(sequences, "raw", ["a line"])
        return super().score(sequences)
'''
REFUSED = ("SortsInFit", "WritesInScore", "Unlocks", "WritesLabels", "WritesKnownLabels", "SortsNormals")
FOUND = {
    "UnlocksTheBase": "the method wrote into its inputs (validation.log_keys, validation.text_ids, test.log_keys, "
    "test.text_ids)",
    **{
        name: f"the method wrote into its inputs (validation.{field}, test.{field})"
        for name, field in {
            "ReplacesTexts": "texts",
            "ReplacesIds": "ids",
            "TakesAway": "elapsed_s",
            "Deletes": "start_time",
            "AddsLines": "raw",
        }.items()
    },
    "WritesByTorch": "the method wrote into its inputs (train.log_keys, train.text_ids)",
}
HONEST = ("pca", "ngram", "new-event")


@pytest.fixture(scope="module")
def data():
    return catalogue(None)


def cells_of(methods, data):
    scenarios = [parse_scenario("bgl@simulated", data)]
    return plan(scenarios, methods, splits=["chronological"], seeds=[0], grouping=Grouping())


def records_of(names, tmp_path, data):
    methods = resolve_methods(list(names), [], tmp_path / "facts")
    cells = cells_of(methods, data)
    done = run(cells, Store(tmp_path / "out"), data, Settings(), lambda *told: None).records
    return {record["method"].rpartition(":")[2]: record for record in done}


def test_a_writer_is_an_error_and_the_others_are_measured_as_without_it(tmp_path, data):
    file = tmp_path / "writers.py"
    file.write_text(WRITERS)
    writers = [f"{file}:{name}" for name in (*REFUSED, *FOUND)]
    order = [writers[0], "pca", *writers[1:6], "ngram", *writers[6:], "new-event"]
    (tmp_path / "alone").mkdir()
    alone = records_of(HONEST, tmp_path / "alone", data)
    beside = records_of(order, tmp_path, data)
    for name in HONEST:
        assert beside[name]["metrics"] == alone[name]["metrics"], name
        assert beside[name]["counts"] == alone[name]["counts"], name
    for name in REFUSED:
        assert beside[name]["status"] == "error", name
        assert "ValueError" in beside[name]["reason"], name
    for name, reason in FOUND.items():
        assert (beside[name]["status"], beside[name]["reason"]) == ("error", reason)


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory):
    methods = resolve_methods(["new-event"], [], tmp_path_factory.mktemp("facts"))
    cell = cells_of(methods, data)[0]
    return Loader(data).prepare(cell.data)


def arrays(sequences: Sequences):
    found = [value for name in sequences.__slots__ if isinstance(value := getattr(sequences, name), np.ndarray)]
    numbers, words = sequences.parameters, sequences.words
    found += [] if numbers is None else [numbers.values, numbers.offsets]
    return found + ([] if words is None else [words.ids, words.offsets])


def test_every_array_of_every_part_is_locked_and_cannot_be_unlocked(prepared):
    for whole in (prepared, prepared.with_parameters, prepared.with_words):
        for part in (whole.train, whole.validation, whole.test):
            chosen = part.sequences.select(np.arange(3))
            keyed = part.sequences.with_log_keys(part.sequences.log_keys.copy())
            for sequences in (part.sequences, part.normals, chosen, chosen.unique().sequences, keyed):
                assert sequences.is_read_only
                assert not any(array.flags.writeable for array in arrays(sequences))
            for array in [*arrays(part.sequences), part.labels]:
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.setflags(write=True)


def test_the_seal_finds_a_change_of_words_whatever_was_read_before_them(prepared):
    for whole in (prepared.with_words, prepared.with_parameters.with_words):
        seal = Seal(prepared)
        ids = whole.train.sequences.words.ids.base
        ids.setflags(write=True)
        ids[0] += 1
        found = seal.changed()
        ids[0] -= 1
        assert found == ["train.words.ids"]


@pytest.mark.parametrize(("held", "name"), [("words", "values"), ("raw", "values"), ("parameters", "offsets")])
def test_the_seal_finds_another_column_in_place_of_what_was_read(prepared, held, name):
    whole = getattr(prepared, f"with_{held}")
    seal = Seal(prepared)
    assert seal.changed() == []
    values = getattr(whole.test.sequences, held)
    before = getattr(values, name)
    object.__setattr__(values, name, before[:1])
    found = seal.changed()
    object.__setattr__(values, name, before)
    assert f"test.{held}.{name}" in found


def test_own_keys_stay_as_their_owner_has_them(prepared):
    keys = prepared.test.sequences.log_keys.copy()
    keyed = prepared.test.sequences.with_log_keys(keys)
    keys[0] += 1
    assert keyed.log_keys[0] == keys[0]


def test_sequences_that_can_be_written_to_give_such_selections():
    sequences = Sequences.from_lists([[0, 1], [1]], ["a", "b"])
    assert not sequences.is_read_only
    assert sequences.select(np.array([1])).log_keys.flags.writeable
    assert not sequences.read_only().log_keys.flags.writeable
