"""Packed answers: they replay as they were recorded, and whatever was changed since is found."""

import json

import pytest

from bench.errors import BenchError
from bench.llm.answers import CallStore, call_key
from bench.llm.exchange import MANIFEST, pack, verify

MODEL = "some/model:1"


def call_of(question, answer="Yes", *, model=MODEL, sample=0, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0.0}
    key = call_key(body, sample)
    return {"hash": key, "answer": answer, "model": "model-1-2026", "request": body, "redacted": False, **fields}


@pytest.fixture
def store(tmp_path):
    """Answers of two models, one line with what else ends a line than the end of a call."""
    folder = tmp_path / "llm"
    own, other = CallStore(folder, MODEL), CallStore(folder, "other")
    for question in ("is it down?", "is it up\u2028or\x85not?", "third"):
        own.append(call_of(question, internal="stays here"))
    own.append(call_of("third", "No", sample=2))
    other.append(call_of("is it down?", model="other", redacted=True))
    return folder


def packed_file(folder):
    (path,) = folder.glob("some_model*.jsonl")
    return path


def test_a_pack_is_a_store_of_the_same_answers(store, tmp_path):
    files = pack(store, tmp_path / "given")
    assert [(one.model, one.reported, one.answers, one.redacted) for one in files] == [
        ("other", ("model-1-2026",), 1, 1),
        (MODEL, ("model-1-2026",), 4, 0),
    ]
    assert verify(tmp_path / "given") == (files, [])
    recorded, given = CallStore(store, MODEL), CallStore(tmp_path / "given", MODEL)
    for question, sample in (("is it down?", 0), ("is it up\u2028or\x85not?", 0), ("third", 0), ("third", 2)):
        key = call_of(question, sample=sample)["hash"]
        assert given.get(key)["answer"] == recorded.get(key)["answer"]
        assert "internal" not in given.get(key)


def test_two_packs_of_the_same_answers_are_equal_in_whatever_order_they_came(store, tmp_path):
    pack(store, tmp_path / "one")
    path = packed_file(store)
    lines = path.read_bytes().decode().removesuffix("\n").split("\n")
    path.write_text("".join(f"{line}\n" for line in reversed(lines)))
    pack(store, tmp_path / "two")
    assert packed_file(tmp_path / "one").read_bytes() == packed_file(tmp_path / "two").read_bytes()


def test_one_model_can_be_chosen(store, tmp_path):
    assert [one.model for one in pack(store, tmp_path / "given", ["other"])] == ["other"]
    with pytest.raises(BenchError, match=r"no answer of 'gpt' is recorded .*other, some/model:1.*--from"):
        pack(store, tmp_path / "again", ["gpt"])
    with pytest.raises(BenchError, match=r"no answer is recorded .*none"):
        pack(tmp_path / "nowhere", tmp_path / "again")
    with pytest.raises(BenchError, match="not empty"):
        pack(store, tmp_path / "given")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda call: call["request"]["messages"][0].update(content="another"), "its request does not have its hash"),
        (lambda call: call.update(sample=7), "its request does not have its hash"),
        (lambda call: call.pop("request"), "its request does not have its hash"),
        (lambda call: call.update(answer=None), "it has no answer"),
        (lambda call: call.update(answer="the key is sk-abcdefgh1234"), "it holds what looks like a key"),
    ],
)
def test_what_was_changed_is_found_and_not_packed(store, tmp_path, change, fault):
    folder = tmp_path / "given"
    pack(store, folder, [MODEL])
    path = packed_file(folder)
    lines = path.read_bytes().decode().removesuffix("\n").split("\n")
    call = json.loads(lines[1])
    change(call)
    lines[1] = json.dumps(call)
    path.write_text("\n".join(lines) + "\n")
    _, faults = verify(folder)
    assert faults == [f"{path.name}: it is not the file that was packed (SHA-256)", f"{path.name}, line 2: {fault}"]
    with pytest.raises(BenchError, match=f"line 2: {fault}"):
        pack(folder, tmp_path / "again")


def test_an_answer_that_was_changed_is_found_by_the_digest(store, tmp_path):
    pack(store, tmp_path / "given", [MODEL])
    path = packed_file(tmp_path / "given")
    path.write_bytes(path.read_bytes().replace(b'"answer":"No"', b'"answer":"Yes"'))
    assert verify(tmp_path / "given")[1] == [f"{path.name}: it is not the file that was packed (SHA-256)"]


def test_files_that_are_missing_or_not_named_are_said(store, tmp_path):
    folder = tmp_path / "given"
    pack(store, folder)
    packed_file(folder).rename(folder / "more.jsonl")
    name = packed_file(store).name
    assert verify(folder)[1] == [f"{name}: the file is missing", "more.jsonl: the manifest does not name it"]
    (folder / MANIFEST).unlink()
    with pytest.raises(BenchError, match=f"has no {MANIFEST}"):
        verify(folder)
