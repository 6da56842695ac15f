"""Vectors of a language model in a folder: padding, pooling, the centre; and the sentence where there is no folder."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from methods.shared import pretrained, text_inputs
from methods.shared.pretrained import EncoderSettings, ModelInputs, inputs_from_state, inputs_of, missing_weights

WORDS = ("job", "node", "failed", "with", "code", "started")
TEXTS = ("job failed", "node failed with code", "job started", "job", "node node node node node node")


@dataclass(frozen=True, kw_only=True)
class Settings(EncoderSettings):
    width: int = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of 16 dimensions with random weights, as transformers saves it."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    where = tmp_path_factory.mktemp("tiny-bert")
    vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
    (where / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(where)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(where)
    return str(where)


@pytest.fixture
def settings(folder):
    return Settings(encoder="tiny-bert", weights=folder)


def test_company_of_another_length_moves_no_vector(folder):
    together = pretrained.mean_states(TEXTS, folder)
    alone = np.concatenate([pretrained.mean_states([text], folder) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(np.unique(together.round(4), axis=0)) == len(TEXTS)


def test_a_vector_is_the_mean_over_the_pieces_of_the_text(folder):
    tokenizer, model = pretrained._model(folder)
    states = model(**tokenizer(["job failed"], return_tensors="pt")).last_hidden_state[0]
    np.testing.assert_allclose(pretrained.mean_states(["job failed"], folder)[0], states.detach().mean(0), atol=1e-6)


def test_each_distinct_text_is_read_once(folder, monkeypatch):
    tokenizer, model = pretrained._model(folder)
    read = []

    def spy(texts, **given):
        read.extend(texts)
        return tokenizer(texts, **given)

    monkeypatch.setattr(pretrained, "_model", lambda folder: (spy, model))
    found = pretrained.mean_states([TEXTS[0], TEXTS[1], TEXTS[0]] * 50, folder)
    assert sorted(read) == sorted(TEXTS[:2])
    assert np.array_equal(found[0], found[2])


def test_inputs_are_centred_where_that_is_set_and_can_be_saved(settings):
    for centred in (False, True):
        chosen = replace(settings, centred=centred)
        inputs = inputs_of(TEXTS, chosen)
        assert isinstance(inputs, ModelInputs)
        expected = pretrained.mean_states(TEXTS, settings.weights) - inputs.centre
        np.testing.assert_allclose(inputs.features(TEXTS), expected, atol=1e-6)
        assert np.allclose(inputs.features(TEXTS).mean(0), 0, atol=1e-6) == centred
        again = inputs_from_state(inputs.state(), chosen)
        assert np.array_equal(again.features(TEXTS), inputs.features(TEXTS))


def test_a_width_that_is_not_the_models_is_one_sentence(settings):
    with pytest.raises(ValueError, match="width 100 is not that of tiny-bert: set width=16"):
        inputs_of(TEXTS, replace(settings, width=100))


def test_without_a_folder_there_is_one_sentence_and_the_way_out(settings):
    assert missing_weights(settings) is None
    assert missing_weights(Settings()) is None
    for weights, said in (("", "no folder is given"), ("nowhere", "'nowhere' is no folder")):
        reason = missing_weights(replace(settings, weights=weights))
        assert said in reason
        assert "encoder=sentence" in reason


def test_by_default_texts_enter_as_for_every_other_method(monkeypatch):
    monkeypatch.setattr(text_inputs, "embed", lambda texts: np.eye(384, dtype=np.float32)[: len(texts)])
    one = inputs_of(TEXTS, Settings())
    other = text_inputs.TextInputs.sentence(TEXTS, 16, centred=False)
    assert np.array_equal(one.features(TEXTS), other.features(TEXTS))
    assert np.array_equal(inputs_from_state(one.state(), Settings()).features(TEXTS), other.features(TEXTS))
