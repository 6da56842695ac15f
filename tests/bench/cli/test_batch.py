"""Questions as a batch file, answers as recorded ones."""

import json

import pytest

from bench.records.store import Store


@pytest.fixture
def bench(call, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BENCH_LLM", "BENCH_LLM_STORE", "BENCH_LLM_PRICE"):
        monkeypatch.delenv(name, raising=False)
    return call


def what(method, *settings):
    wanted = ("--methods", method, "--scenario", "bgl@simulated", "--seeds", "1", "--sample", "20")
    return (*wanted, *(word for setting in settings for word in ("--set", f"{method}.{setting}")))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def answer(stub, requests, answers):
    """What a service returns: in another order, under the exact name of its model."""
    made = []
    for line in reversed(lines_of(requests)):
        text = stub.behave(line["body"]["messages"][-1]["content"], 0)
        body = stub.completion(text, model="stub-1-2026", yes=-0.1 if text == "Yes" else -4.0)
        made.append({"id": "b", "custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}})
    answers.write_text("".join(f"{json.dumps(line)}\n" for line in made))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings", "rounds"),
    [
        ("chatgpt", [], 1),
        ("chatgpt", ["samples=3", "temperature=1", "request_seed=none"], 1),
        ("chatgpt-cot", [], 2),
        ("logprompt", [], 1),
    ],
)
def test_answers_of_a_batch_are_those_of_calls(bench, stub, monkeypatch, tmp_path, method, settings, rounds):
    monkeypatch.delenv("BENCH_LLM_STORE")
    typed = what(method, *settings)
    n_asked = 0
    for _ in range(rounds):
        code, _, err = bench("llm", "batch", "write", "ask.jsonl", *typed)
        assert code == 0, err
        lines = lines_of(tmp_path / "ask.jsonl")
        assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
        assert len({line["custom_id"] for line in lines}) == len(lines) > 5
        n_asked += len(answer(stub, tmp_path / "ask.jsonl", tmp_path / "answered.jsonl"))
        code, _, err = bench("llm", "batch", "read", "ask.jsonl", "answered.jsonl")
        assert (code, f"{len(lines)} answers were kept, 0 were known, 0 requests" in err) == (0, True)
    bench("llm", "batch", "write", "ask.jsonl", *typed)
    assert lines_of(tmp_path / "ask.jsonl") == []
    code, _, err = bench("run", *typed, "--llm", "replay")
    assert code == 0, err
    assert stub.prompts == []
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    direct = (f"{method}.redact=on", f"{method}.store={tmp_path / 'direct'}")
    assert bench("run", *typed, "--set", direct[0], "--set", direct[1], "--out", "other")[0] == 0
    assert len(stub.prompts) == n_asked
    of_batch, of_calls = (
        [record for record in Store(tmp_path / out).records() if record["method"].startswith(method)]
        for out in ("results", "other")
    )
    assert [record["thresholds"] for record in of_batch] == [record["thresholds"] for record in of_calls]
    assert of_batch[0]["monitor"]["models"] == {"stub-1-2026": n_asked}


def test_what_failed_is_said_and_asked_again(bench, stub, tmp_path):
    bench("llm", "batch", "write", "ask.jsonl", *what("chatgpt"))
    made = answer(stub, tmp_path / "ask.jsonl", tmp_path / "answered.jsonl")
    made[0] |= {"response": None, "error": {"message": "expired"}}
    made[1]["response"] = {"status_code": 429, "body": {"error": {"message": "slow"}}}
    made[2]["response"]["body"] = {"choices": []}
    failed = {line["custom_id"] for line in made[:3]}
    (tmp_path / "answered.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in made[:-1]))
    for kept, known in ((len(made) - 4, 0), (0, len(made) - 4)):
        code, _, err = bench("llm", "batch", "read", "ask.jsonl", "answered.jsonl")
        assert code == 2
        assert f"{kept} answers were kept, {known} were known, 1 requests have no answer" in err
        assert "3 requests failed, the first because: expired" in err
    bench("llm", "batch", "write", "again.jsonl", *what("chatgpt"))
    assert {line["custom_id"] for line in lines_of(tmp_path / "again.jsonl")} == failed | {made[-1]["custom_id"]}


def test_files_that_do_not_belong_together_are_refused(bench, stub, tmp_path):
    bench("llm", "batch", "write", "ask.jsonl", *what("chatgpt"))
    made = answer(stub, tmp_path / "ask.jsonl", tmp_path / "answered.jsonl")
    (tmp_path / "strange.jsonl").write_text(json.dumps(made[0] | {"custom_id": "x"}))
    (tmp_path / "broken.jsonl").write_text('{"custom_id": ')
    changed = (tmp_path / "ask.jsonl").read_text().replace("gpt-3.5-turbo", "gpt-9")
    (tmp_path / "changed.jsonl").write_text(changed)
    for requests, answers, reason in (
        ("ask.jsonl", "strange.jsonl", "answers 'x', which 'ask.jsonl' does not ask"),
        ("ask.jsonl", "broken.jsonl", "line 1 of 'broken.jsonl' is no JSON object"),
        ("ask.jsonl", "none.jsonl", "the batch file 'none.jsonl' cannot be read"),
        ("changed.jsonl", "answered.jsonl", "'changed.jsonl' was changed at"),
    ):
        code, _, err = bench("llm", "batch", "read", requests, answers)
        assert (code, reason in err) == (2, True), err


def test_a_batch_asks_one_model(bench, tmp_path):
    code, _, err = bench("llm", "batch", "write", "ask.jsonl", *what("chatgpt", "model=a,b"))
    assert (code, "these are a and b: write one for each" in err) == (2, True)
    code, _, err = bench("run", "--batch", "ask.jsonl", *what("chatgpt"))
    assert (code, "add --dry-run" in err) == (2, True)
    assert not (tmp_path / "ask.jsonl").exists()


def row_of(out):
    return next(record for record in Store(out).records() if record["method"] == "chatgpt")


@pytest.mark.slow
def test_packed_answers_are_replayed_elsewhere(bench, stub, monkeypatch, tmp_path):
    monkeypatch.delenv("BENCH_LLM_STORE")
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    typed = ("run", *what("chatgpt"))
    code, _, err = bench(*typed)
    assert code == 0, err
    code, out, err = bench("llm", "pack", "given")
    assert (code, "prompts hold log lines as they are, unmasked" in err) == (0, True)
    assert "which the server called" in out
    assert bench("llm", "verify", "given")[0] == 0
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("BENCH_LLM_STORE", str(tmp_path / "given"))
    code, _, err = bench(*typed, "--llm", "replay", "--out", "elsewhere")
    assert code == 0, err
    one, other = (row_of(tmp_path / name) for name in ("results", "elsewhere"))
    assert one["metrics"] == other["metrics"]
    assert other["monitor"]["calls"] == 0 < other["monitor"]["replayed"]
    (file,) = (tmp_path / "given").glob("*.jsonl")
    file.write_text(file.read_text().replace('"answer":"', '"answer":"Not ', 1))
    code, out, _ = bench("llm", "verify", "given")
    assert (code, "it is not the file that was packed" in out) == (1, True)
