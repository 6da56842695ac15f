"""What a run hands to methods is locked, and cannot be unlocked."""

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader
from bench.experiment.scenario import parse_scenario
from bench.experiment.spec import plan, resolve_methods
from bench.types import Sequences


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data = catalogue(None)
    methods = resolve_methods(["new-event"], [], tmp_path_factory.mktemp("facts"))
    scenarios = [parse_scenario("bgl@simulated", data)]
    cell = plan(scenarios, methods, splits=["chronological"], seeds=[0], grouping=Grouping())[0]
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
