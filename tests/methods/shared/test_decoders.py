"""Decoders and encoders from folders: padding in front, updates beside frozen weights, and a method that tunes both."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bench.types import Sequences
from methods.logllm import AFTER, ANSWERS, BEFORE, Config, LogLLM, Network
from methods.shared.decoders import (
    FolderDecoder,
    FolderEncoder,
    LowRank,
    TinyDecoder,
    is_learned,
    missing_decoder,
    with_low_rank,
)
from methods.shared.training import seeded

pytestmark = pytest.mark.trains

TEXTS = ("job failed", "job started", "node with code")
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def decoder_folder(tmp_path_factory):
    """A Llama of 16 dimensions with random weights, as transformers saves it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    where = tmp_path_factory.mktemp("tiny-llama")
    words = sorted({word for text in (BEFORE, AFTER, *ANSWERS) for word in _pieces(text)})
    numbers = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *words])}
    made = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(where)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(numbers), **SIZES)).save_pretrained(where)
    return str(where)


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A BERT of 16 dimensions with random weights."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    where = tmp_path_factory.mktemp("tiny-bert")
    vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *" ".join(TEXTS).split())
    (where / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)), "utf-8")
    BertTokenizerFast(vocab={word: i for i, word in enumerate(dict.fromkeys(vocabulary))}).save_pretrained(where)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), **SIZES)).save_pretrained(where)
    return str(where)


def _pieces(text):
    from tokenizers import pre_tokenizers

    return [piece for piece, _ in pre_tokenizers.Whitespace().pre_tokenize_str(text)]


def decoders(folder):
    return [FolderDecoder(folder, "float32"), TinyDecoder([BEFORE, AFTER, *ANSWERS])]


def test_what_stands_in_front_as_padding_reaches_no_logit(decoder_folder):
    for decoder in decoders(decoder_folder):
        x, seen = torch.randn(1, 5, decoder.width), torch.ones(1, 5, dtype=torch.bool)
        padded = torch.cat([torch.randn(1, 3, decoder.width), x], 1)
        with torch.inference_mode():
            alone = decoder(x, seen, 2)
            behind = decoder(padded, torch.cat([torch.zeros(1, 3, dtype=torch.bool), seen], 1), 2)
        torch.testing.assert_close(alone, behind, atol=1e-5, rtol=1e-4)
        assert alone.shape[:2] == (1, 2)


def test_a_token_sees_nothing_that_follows(decoder_folder):
    for decoder in decoders(decoder_folder):
        x, seen = torch.randn(1, 6, decoder.width), torch.ones(1, 6, dtype=torch.bool)
        changed = torch.cat([x[:, :5], torch.randn(1, 1, decoder.width)], 1)
        with torch.inference_mode():
            one, other = decoder(x, seen, 3), decoder(changed, seen, 3)
        torch.testing.assert_close(one[:, :2], other[:, :2], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(one[:, 2], other[:, 2])


def test_the_question_begins_as_the_model_expects_and_the_answers_part_at_one_word(decoder_folder):
    decoder = FolderDecoder(decoder_folder, "float32")
    prompt = decoder.prompt(BEFORE, AFTER, ANSWERS)
    assert prompt.before[0] == decoder.tokenizer.bos_token_id
    assert prompt.end == decoder.tokenizer.eos_token_id
    assert decoder.tokenizer.decode(list(prompt.deciding)).split() == ["normal", "anomalous"]
    assert decoder.tokenizer.decode(list(prompt.answers[0][: prompt.n_shared])) == "The sequence is"


def test_an_update_starts_as_nothing_and_is_all_that_learns():
    base = nn.Linear(6, 4)
    x = torch.randn(3, 6)
    net = nn.ModuleDict({"q_proj": base})
    with_low_rank(net, ("q_proj",), 2, 4.0, 0.0)
    update = net["q_proj"]
    assert isinstance(update, LowRank)
    torch.testing.assert_close(update(x), base(x))
    assert not base.weight.requires_grad
    with torch.no_grad():
        update.up.fill_(1.0)
    expected = base(x) + 4.0 / 2 * (x @ update.down.T) @ update.up.T
    torch.testing.assert_close(update(x), expected)
    with pytest.raises(ValueError, match="no layer named k_proj"):
        with_low_rank(nn.ModuleDict({"q_proj": nn.Linear(2, 2)}), ("k_proj",), 1, 1.0, 0.0)


def test_an_update_learns_behind_frozen_weights_of_16_bits():
    update = LowRank(nn.Linear(6, 4).bfloat16(), 2, 4.0, 0.0)
    found = update(torch.randn(3, 6, dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    assert update.up.grad is not None
    assert update.up.grad.dtype == torch.float32


def test_without_a_folder_the_way_out_is_named(decoder_folder):
    assert missing_decoder("tiny", "", "decoder_weights") is None
    assert missing_decoder("llama", decoder_folder, "decoder_weights") is None
    assert "set `decoder_weights`" in missing_decoder("llama", "", "decoder_weights")


def both(decoder_folder, encoder_folder, **others):
    """Settings of a method that tunes both, and a small log with its labels."""
    config = Config(
        decoder="tiny-llama", decoder_weights=decoder_folder, decoder_precision="float32", encoder="tiny-bert",
        weights=encoder_folder, width=16, lines="masked", learning_rate=0.02, validation_fraction=0.0,
        dropout=0.0, encoder_dropout=0.0, **others,
    )  # fmt: skip
    lists = [[0, 1], [1, 1, 2], [0], [1, 2], [2, 1, 1], [0, 2]]
    return config, Sequences.from_lists(lists, TEXTS), np.array([1, 0, 1, 0, 0, 1], np.int8)


@pytest.mark.parametrize(
    ("stage", "moved"),
    [(0, {"decoder"}), (1, {"projector"}), (2, {"encoder", "projector"}), (3, {"decoder", "encoder", "projector"})],
)
def test_each_stage_moves_its_updates_and_no_weight_of_the_user(decoder_folder, encoder_folder, stage, moved):
    shares = tuple(float(number == stage) for number in range(4))
    config, log, labels = both(decoder_folder, encoder_folder, shares=shares, steps=3)
    with seeded(0):
        before = Network(config).state_dict()
    after = LogLLM(config).fit(log, labels).net_.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert {name.partition(".")[0] for name in changed} == moved
    assert all(is_learned(name) or name.startswith("projector") for name in changed)


def test_queries_and_values_are_what_is_tuned_at_the_published_ranks(decoder_folder, encoder_folder):
    config, *_ = both(decoder_folder, encoder_folder)
    net = Network(config)
    updates = {name: part for name, part in net.named_modules() if isinstance(part, LowRank)}
    assert {name.rpartition(".")[2] for name in updates} == {"q_proj", "v_proj", "query", "value"}
    found = {name.partition(".")[0]: (len(part.down), part.scale) for name, part in updates.items()}
    assert found == {"decoder": (8, 16 / 8), "encoder": (4, 32 / 4)}


def test_a_message_has_the_pooled_state_of_its_first_words(encoder_folder):
    encoder = FolderEncoder(encoder_folder, 4)
    tokens = encoder.tokenizer(["job failed"], return_tensors="pt")
    with torch.inference_mode():
        found = encoder(["job failed", "job failed node with code", "job started"])
        torch.testing.assert_close(found[:1], encoder.model(**tokens).pooler_output)
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_a_method_tunes_both_models_of_the_user_and_keeps_only_what_it_learned(decoder_folder, encoder_folder):
    config, log, labels = both(decoder_folder, encoder_folder, steps=40)
    detector = LogLLM(config).fit(log, labels)
    state = detector.state()
    learned = [name for name in state if not name.startswith("net.projector")]
    assert all(is_learned(name) for name in learned)
    assert {name.split(".")[1] for name in learned} == {"encoder", "decoder"}
    moved = {name.split(".")[1] for name in learned if name.endswith(".up") and np.abs(state[name]).max() > 0}
    assert moved == {"encoder", "decoder"}
    np.testing.assert_array_equal(LogLLM(config).load_state(state).score(log), detector.score(log))
    checks = detector.monitor()["epochs"]
    assert checks[-1]["train_loss"] < checks[0]["train_loss"]
    with pytest.raises(ValueError, match="set width=16"):
        LogLLM(replace(config, width=17)).fit(log, labels)
