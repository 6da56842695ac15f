"""`bench run` with methods that ask a chat model."""

import json
import os
import re
import socket

import pytest

from bench.records.store import Store

MODEL = "SmolLM2-135M-Instruct.Q4_1"
RUN = ("run", "--methods", "chatgpt", "--scenario", "bgl@simulated", "--seeds", "2", "--json")


@pytest.fixture
def bench(call, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BENCH_LLM", "BENCH_LLM_STORE", "BENCH_LLM_PRICE"):
        monkeypatch.delenv(name, raising=False)
    return call


def chat_records(folder, out="results", method="chatgpt"):
    return [record for record in Store(folder / out).records() if record["method"] == method]


@pytest.mark.slow
def test_a_row_skipped_for_want_of_an_endpoint_runs_once_there_is_one(bench, stub, monkeypatch, tmp_path):
    monkeypatch.delenv("BENCH_LLM_STORE")
    code, _, err = bench(*RUN)
    assert code == 3
    assert "chatgpt was skipped everywhere: no endpoint for the chat model" in err
    assert {record["status"] for record in chat_records(tmp_path)} == {"skipped"}
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    code, _, err = bench(*RUN, "--price", "1,1")
    assert code == 0
    assert {record["status"] for record in chat_records(tmp_path)} == {"ok"}
    (line,) = [line for line in err.splitlines() if "chatgpt on bgl@simulated" in line]
    assert f"answered by stub-1: {len(stub.prompts)} calls" in line
    assert f"cost {len(stub.prompts) * 102 / 1e6:.4f}" in line
    assert "masked" not in line
    assert len(stub.prompts) == len(set(stub.prompts)) > 100


def test_a_recorded_run_is_replayed_without_server(bench, stub, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_LLM_STORE", str(tmp_path / "shared"))
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    stub.behave = lambda prompt, nth: ("Yes", "No", "No idea")[len(prompt) % 3]
    bench(*RUN)
    recorded = sorted(json.dumps(record["thresholds"]) for record in chat_records(tmp_path))
    stub.close()
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert bench(*RUN, "--llm", "replay", "--out", tmp_path / "other")[0] == 0
    replayed = sorted(json.dumps(record["thresholds"]) for record in chat_records(tmp_path, "other"))
    assert replayed == recorded
    assert '"auroc": 0.5,' not in "".join(replayed)
    code, _, _ = bench(*RUN, "--llm", "replay", "--out", tmp_path / "more", "--set", "chatgpt.max_tokens=17")
    assert code == 3
    (reason,) = {record["reason"] for record in chat_records(tmp_path, "more", "chatgpt[max_tokens=17]")}
    assert re.search(r"\d+ calls of \d+ questions are not in", reason)


@pytest.mark.slow_cases("half of it", "of another model")
@pytest.mark.parametrize("store", ["none", "of another model", "half of it"])
def test_a_replay_without_a_needed_answer_is_an_error_row(bench, stub, monkeypatch, tmp_path, store):
    """Never a row that was skipped, nor numbers from the answers that there are."""
    folder = tmp_path / "shared"
    monkeypatch.setenv("BENCH_LLM_STORE", str(folder))
    if store != "none":
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        model = ("--set", "chatgpt.model=other") if store == "of another model" else ()
        bench(*RUN, "--no-pack", "--out", "recorded", *model)
        monkeypatch.delenv("OPENAI_BASE_URL")
    if store == "half of it":
        (path,) = folder.glob("*.jsonl")
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[::2]))
    stub.close()
    code, _, err = bench(*RUN, "--llm", "replay")
    assert code == 3
    records = chat_records(tmp_path)
    assert {record["status"] for record in records} == {"error"}
    for record in records:
        assert "metrics" not in record
        assert re.search(r"\d+ calls of \d+ questions are not in .*: record them with --llm record", record["reason"])
    assert "skipped" not in err


@pytest.mark.parametrize(
    ("settings", "options", "n_sent"),
    [
        (["chatgpt.max_calls=1000000"], ("--max-calls", "7"), 7),
        (["chatgpt.max_cost=1000", "chatgpt.price=0,0"], ("--max-cost", "0.0000001", "--price", "1,1"), 0),
        (["chatgpt.mode=live"], ("--dry-run",), 0),
        (["chatgpt.mode=live"], ("--llm", "replay"), 0),
    ],
)
def test_a_suite_does_not_loosen_the_command(bench, stub, monkeypatch, tmp_path, settings, options, n_sent):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    suite = tmp_path / "theirs.toml"
    lists = {"scenarios": ["bgl@simulated"], "methods": ["chatgpt"], "set": settings}
    blocks = "".join(f"{name} = {json.dumps(values)}\n" for name, values in lists.items())
    suite.write_text(f"[[run]]\nseeds = 1\n{blocks}")
    bench("run", "--suite", suite, *options)
    assert len(stub.prompts) == n_sent


@pytest.mark.slow
def test_a_dry_run_counts_what_would_be_asked(bench, stub, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    monkeypatch.delenv("BENCH_LLM_STORE")
    code, out, _ = bench(*RUN, "--dry-run", "--price", "1,2")
    assert (code, stub.prompts) == (0, [])
    (row,) = json.loads(out)
    assert chat_records(tmp_path) == []
    assert row["cost"] == pytest.approx((row["tokens in"] + 2 * row["tokens out"]) / 1e6)
    bench(*RUN)
    assert row["calls"] == len(stub.prompts)
    assert json.loads(bench(*RUN, "--dry-run")[1])[0]["calls"] == 0
    text = bench(*RUN[:-1], "--dry-run")[1]
    assert re.search(r"nothing was sent: 0 calls", text)


def test_the_limit_of_calls_holds_for_the_whole_command(bench, stub, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    code, _, _ = bench(*RUN, "--max-calls", "7")
    assert (code, len(stub.prompts)) == (3, 7)


@pytest.mark.slow
def test_a_sample_is_counted_before_it_is_paid_and_a_larger_one_asks_only_for_more(bench, stub, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    monkeypatch.delenv("BENCH_LLM_STORE")
    run = ("run", "--methods", "chatgpt", "--scenario", "bgl@simulated", "--seeds", "1", "--sample")
    assert json.loads(bench(*run, "20", "--dry-run", "--json")[1])[0]["calls"] == 20
    code, out, _ = bench(*run, "20", "--price", "1,1")
    assert (code, len(stub.prompts)) == (0, 20)
    assert "sample of 20 of 160 test sequences, weighted" in out
    (row,) = [line for line in out.splitlines() if line.startswith("| chatgpt (stub-1)")]
    assert [cell.strip() for cell in row.split("|")][11:14] == ["20", "2040", "0.0020"]
    assert json.loads(bench(*run, "30", "--dry-run", "--json")[1])[0]["calls"] == 10
    bench(*run, "30")
    assert len(stub.prompts) == len(set(stub.prompts)) == 30
    assert {record["sample"]["drawn"] for record in chat_records(tmp_path)} == {20, 30}


@pytest.mark.slow
def test_the_suite_of_table_4_is_replayed_from_shipped_answers(bench, monkeypatch, tmp_path):
    """End to end without server, key and network, in a folder that holds nothing."""

    def refuse(self, address):
        raise AssertionError(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    code, out, err = bench("run", "--suite", "table4", "--price", "0.5,1.5")
    assert code == 0, err
    records = list(Store(tmp_path / "results").records())
    chats = [record for record in records if record["detector"]["teacher"]]
    assert {(r["spec"]["detector"]["name"], r["scenario"]) for r in chats} == {
        (name, f"{system}@simulated")
        for name in ("chatgpt", "chatgpt-cot", "logprompt")
        for system in ("hdfs", "bgl", "tbird")
    }
    assert {record["status"] for record in records} == {"ok"}
    forms = {(r["scenario"], r["spec"]["detector"]["config"].get("lines", "masked")) for r in chats}
    assert {("hdfs@simulated", "masked"), ("hdfs@simulated", "line"), ("bgl@simulated", "masked")} <= forms
    for record in chats:
        assert record["monitor"]["calls"] == 0
        assert record["monitor"]["replayed"] > 0
        assert record["monitor"]["replayed_cost"] > 0
        assert record["monitor"]["models"].keys() == {MODEL}
    assert f"chatgpt-cot[structured=grammar,template_tokens=64] ({MODEL})" in out
    assert re.search(r"ChatGPT without CoT .*0\.6721", out)
    assert "ChatGPT (" not in out
    assert f"answered by {MODEL}: 0 calls and" in err
    assert sorted(path.name for path in (tmp_path / "results" / "figures").iterdir()) == ["table4.json", "table4.md"]
    assert not (tmp_path / "results" / "llm").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--llm", "sometimes"), "record, replay, live"),
        (("--price", "cheap"), "in,out per million"),
        (("--max-cost", "1"), "add --price"),
        (("--max-cost", "-1", "--price", "1,1"), "more than 0"),
    ],
)
def test_bad_options_are_named(bench, options, message):
    code, _, err = bench(*RUN, *options)
    assert code == 2
    assert message in err


def test_the_environment_is_as_before(bench, stub, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    before = {name: value for name, value in os.environ.items() if name.startswith("BENCH_LLM")}
    bench(*RUN, "--dry-run", "--price", "1,2", "--max-calls", "5")
    assert {name: value for name, value in os.environ.items() if name.startswith("BENCH_LLM")} == before


FUSED = {"model": "SmolLM2-135M-Instruct", "rounds": 1, "prompt_tokens": 600, "retrieved": 2, "max_tokens": 12}


def fused(**settings):
    """A run of fusionlog that trains next to nothing."""
    settings = FUSED | {"steps": 2, "round_steps": 2} | settings
    typed = [word for name, value in settings.items() for word in ("--set", f"fusionlog.{name}={value}")]
    what = ("--methods", "fusionlog", "--scenario", "bgl@simulated2tbird@simulated", "--split", "transfer")
    return ("run", *what, "--seeds", "1", *typed)


@pytest.mark.slow
def test_the_shipped_answers_replay_fusionlog_on_simulated_systems(bench, tmp_path):
    """The local model is near chance, so nothing but that is held; what is asked follows from no training."""
    code, _, err = bench(*fused(), "--llm", "replay")
    assert code == 0, err
    (record,) = [record for record in Store(tmp_path / "results").records() if record["method"].startswith("fusionlog")]
    found = record["monitor"]
    assert (found["mode"], found["calls"], list(found["models"])) == ("replay", 0, [MODEL])
    assert found["replayed"] == found["teacher_questions"] == 14
    assert record["detector"]["teacher"]
    (round_,) = found["rounds"]
    assert sum(round_[name] for name in ("agreed", "disputed", "dropped")) == found["teacher_sequences"]


@pytest.mark.slow
def test_what_a_fit_asks_is_counted_before_it_is_asked_and_replayed_whole_or_not_at_all(
    bench, stub, monkeypatch, tmp_path
):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    stub.behave = lambda prompt, nth: "I am not sure." if nth == 0 else "Answer: No\nConfidence: 90"
    asked = fused(model="tutor", rounds=2)
    (row,) = json.loads(bench(*asked, "--dry-run", "--json")[1])
    # More than the 14 of the first round: what follows from an answer is counted as far as it is known.
    assert (14 < row["calls"] <= 28, stub.prompts) == (True, [])
    code, out, err = bench(*asked)
    assert code == 0, err
    assert 14 <= len(stub.prompts) <= 28
    assert "sequences left to its teacher took over a verdict" in out
    stub.close()
    monkeypatch.delenv("OPENAI_BASE_URL")
    code, _, _ = bench(*fused(model="tutor", rounds=2, retrieved=3), "--llm", "replay", "--out", "other")
    assert code == 3
    (record,) = [found for found in Store(tmp_path / "other").records() if found["method"].startswith("fusionlog")]
    assert (record["status"], "metrics" in record) == ("error", False)
    assert re.search(r"\d+ calls of \d+ questions are not in .*: record them with --llm record", record["reason"])
