"""`bench run --plan`: it says what a run would do, and does nothing of it."""

import json

import pytest

from bench.records.store import Store

METHODS = """
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags, ExternalFile

@dataclass(frozen=True)
class Config:
    model: str = "some-model"

class Toy(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return sequences.lengths.astype(np.float64)

class Idle(Toy):
    def skip(self, train):
        return "it has no taste for these"

class Lacks(Toy):
    file = ExternalFile("weights.bin", "https://example.org/weights.bin", "0" * 64, 3, "MIT")
    tags = DetectorTags(told={"source": "normals"}, files=(file,))

class Asks(Toy):
    tags = DetectorTags(told={"source": "normals"}, teacher=True)

class Weak(Toy):
    tags = DetectorTags(told={"source": "unlabelled"}, incidents=True)
"""
CONTROLS = 7
RUN = ("run", "--scenario", "hdfs@simulated", "--methods")


@pytest.fixture
def method(tmp_path):
    (tmp_path / "mine.py").write_text(METHODS)
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    return lambda *names: ",".join(f"{'broken' if name == 'Broken' else 'mine'}.py:{name}" for name in names)


def planned(call, *arguments):
    code, out, err = call(*RUN, *arguments, "--plan", "--json")
    assert code == 0, err
    return json.loads(out)


def row(plan, label):
    (found,) = [group for group in plan["groups"] if group["method"] == label]
    return found


def kept(folder):
    """All files of a store but what can be made again."""
    root = folder / "results"
    files = [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] != "cache"]
    return {path: path.read_bytes() for path in files}


def test_a_plan_starts_nothing(call, method, tmp_path):
    code, out, _ = call(*RUN, method("Toy"), "--seeds", "2", "--plan")
    assert code == 0
    assert not kept(tmp_path)
    assert f"{2 * (CONTROLS + 1)} cells: 0 resumed from their records, {2 * (CONTROLS + 1)} to run" in out
    assert "2 cells have no record to go by, and are in no sum" in out
    assert out.splitlines()[-1] == "nothing was run"


def test_what_is_there_is_resumed_and_the_rest_is_estimated_from_it(call, method, tmp_path):
    call(*RUN, method("Toy"), "--seeds", "2")
    before = kept(tmp_path)
    done = planned(call, method("Toy"), "--seeds", "2")
    assert (done["cells"], done["resumed"], done["groups"], done["cpu_seconds"]) == (16, 16, [], 0.0)
    more = planned(call, method("Toy"), "--seeds", "4")
    assert (more["cells"], more["resumed"], more["preparations"], more["without_record"]) == (32, 16, 1, 0)
    assert row(more, "mine.py:Toy")["sources"] == ["same edition"]
    assert row(more, "mine.py:Toy")["cells"] == 2
    assert row(more, "mine.py:Toy")["memory_mib"] > 10
    assert more["wall_seconds"] == pytest.approx(more["cpu_seconds"])
    assert kept(tmp_path) == before


def test_under_paper_each_seed_has_data_of_its_own(call, method):
    assert planned(call, method("Toy"), "--seeds", "3", "--split", "paper,chronological")["preparations"] == 4


def test_a_rule_that_can_be_added_is_resumed_and_not_added_yet(call, method, tmp_path):
    call(*RUN, method("Toy"), "--seeds", "1")
    before = kept(tmp_path)
    rule = ("--threshold", "quantile:0.5")
    assert planned(call, method("Toy"), "--seeds", "1", *rule)["resumed"] == CONTROLS + 1
    assert kept(tmp_path) == before
    for scores in (tmp_path / "results" / "scores").iterdir():
        scores.unlink()
    assert planned(call, method("Toy"), "--seeds", "1", *rule)["resumed"] == 0


def test_what_another_code_made_runs_again(call, method, tmp_path):
    call(*RUN, method("Toy"), "--seeds", "1")
    store = Store(tmp_path / "results")
    record = next(record for record in store.records() if record["method"] == "ecvc")
    store.write(record | {"code": {"method": "0" * 16, "engine": "0" * 16}})
    plan = planned(call, method("Toy"), "--seeds", "1")
    assert (plan["resumed"], plan["stale"]) == (CONTROLS, 1)
    assert row(plan, "ecvc")["sources"] == ["own record"]


def test_what_cannot_run_is_named_with_its_reason(call, method, tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BENCH_LLM", "BENCH_LLM_STORE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "data").mkdir()
    names = method("Toy", "Idle", "Lacks", "Asks", "Weak", "Broken")
    arguments = (names, "--seeds", "1", "--data", "data")
    assert row(planned(call, *arguments), "mine.py:Idle")["reason"] == ""
    call(*RUN, *arguments)
    plan = planned(call, names, "--seeds", "2", "--data", "data")
    reasons = {group["method"]: group["reason"] for group in plan["groups"] if group["reason"]}
    assert reasons.keys() == {f"mine.py:{name}" for name in ("Idle", "Lacks", "Asks", "Weak")} | {"broken.py:Broken"}
    assert reasons["mine.py:Idle"] == "it has no taste for these"
    assert "it needs the file weights.bin, which is not in" in reasons["mine.py:Lacks"]
    assert "no endpoint" in reasons["mine.py:Asks"]
    assert "learns from incidents" in reasons["mine.py:Weak"]
    assert "no_such_module" in reasons["broken.py:Broken"]
    records = {record["method"]: record["reason"] for record in Store(tmp_path / "results").records()}
    assert all(reasons[f"mine.py:{name}"] == records[f"mine.py:{name}"] for name in ("Idle", "Lacks", "Asks", "Weak"))
    code, out, _ = call(*RUN, names, "--seeds", "2", "--data", "data", "--plan")
    assert code == 0
    assert "1 of mine.py:Idle will not run: it has no taste for these" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_long_name_and_many_sources_fit_80_columns(call):
    given = ("max_tokens=160", "reprompts=0", "model=SmolLM2-135M-Instruct", "lines=line")
    settings = [word for setting in given for word in ("--set", f"logprompt.{setting}")]
    scenarios = ("--scenario", "hdfs@simulated,bgl@simulated", "--sample", "16", "--llm", "replay")
    code, out, _ = call("run", "--methods", "pca,logprompt", *scenarios, *settings, "--seeds", "2", "--plan")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "\nlogprompt[lines=line, " in out
    assert "\n  model=SmolLM2-135M-Instruct,\n" in out


def test_a_suite_is_planned_as_it_is_run(call):
    code, out, err = call("run", "--suite", "smoke", "--plan", "--json")
    assert code == 0, err
    assert json.loads(out)["cells"] == 37
    code, _, err = call("run", "--suite", "smoke", "--plan", "--methods", "mlad")
    assert code == 2
    assert "--suite names its own" in err


def test_a_user_s_mistake_is_one_in_a_plan_too(call, method):
    code, _, err = call(*RUN, "nobody", "--plan")
    assert (code, "unknown method 'nobody'" in err) == (2, True)
    code, _, err = call("run", "-s", "bgl@stream-a", "-m", method("Toy"), "--plan")
    assert (code, "needs bgl/stream_a" in err) == (2, True)
