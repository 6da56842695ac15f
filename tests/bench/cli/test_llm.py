"""`bench run` with methods that ask a chat model."""

import json
import os
import re

import pytest

RUN = ("run", "--methods", "chatgpt", "--scenario", "bgl@simulated", "--seeds", "2", "--json")


@pytest.fixture
def bench(call, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BENCH_LLM", "BENCH_LLM_STORE", "BENCH_LLM_PRICE"):
        monkeypatch.delenv(name, raising=False)
    return call


def chat_records(folder, out="results", method="chatgpt"):
    records = [json.loads(path.read_text()) for path in (folder / out / "runs").glob("*.json")]
    return [record for record in records if record["method"] == method]


def test_a_row_skipped_for_want_of_an_endpoint_runs_once_there_is_one(bench, stub, monkeypatch, tmp_path):
    monkeypatch.delenv("BENCH_LLM_STORE")
    assert bench(*RUN)[0] == 0
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


def test_a_dry_run_counts_what_would_be_asked(bench, stub, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    monkeypatch.delenv("BENCH_LLM_STORE")
    code, out, _ = bench(*RUN, "--dry-run", "--price", "1,2")
    assert (code, stub.prompts) == (0, [])
    (row,) = json.loads(out)
    assert not (tmp_path / "results" / "runs").exists() or not chat_records(tmp_path)
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
