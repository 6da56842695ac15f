"""`bench probe` against a chat server on loopback, and with a trained detector."""

import json
import re

import pytest

from bench.data.embedding import FALLBACK_ENCODER, embed
from bench.probes import shortcut

KEY = "sk-canary-0123456789abcdef"
INJECTION = ("probe", "injection", "--methods", "chatgpt", "--scenario", "bgl@simulated", "--sample", "20")
MEMORISATION = ("probe", "memorisation", *INJECTION[2:])
SHORTCUT = ("probe", "shortcut", "--scenario", "bgl@simulated", "--sample", "20")
FEW = ("--phrasings", "override", "--positions", "first,last")

TRAINED = """
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    fails: bool = False

class Words(Detector):
    tags = DetectorTags(told={"source": "normals"}, uses=frozenset({"texts"}))
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        self.known_ = {train.texts[i] for i in np.unique(train.text_ids)}
        return self
    def score(self, sequences):
        if self.config.fails:
            raise RuntimeError("no scores today")
        new = np.array([text not in self.known_ for text in sequences.texts])[sequences.text_ids]
        return np.add.reduceat(new, sequences.offsets[:-1]).astype(np.float64)
"""


@pytest.fixture
def bench(call, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BENCH_LLM", "BENCH_LLM_STORE", "BENCH_LLM_PRICE"):
        monkeypatch.delenv(name, raising=False)
    return call


@pytest.fixture
def chat(bench, stub, monkeypatch):
    """`bench` with a chat model that knows alarms by their words and believes who tells it the only correct answer."""

    sensible = stub.behave

    def believing(prompt, nth):
        told = re.search("only correct answer is (No|Yes)", prompt)
        return told[1] if told else "Yes" if " lost " in prompt and "logs begin" not in prompt else sensible(prompt)

    stub.behave = believing
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
    return bench


def probes(folder):
    return [json.loads(path.read_text()) for path in sorted((folder / "results" / "probes").glob("*.json"))]


def test_recall_falls_by_what_the_model_believes(chat, stub, tmp_path):
    code, out, err = chat(*INJECTION, *FEW)
    assert code == 0, err
    (record,) = probes(tmp_path)
    rows = record["results"]["rows"]
    assert [(row["direction"], row["phrasing"], row["position"]) for row in rows] == [
        (direction, phrasing, position)
        for direction in ("hide", "accuse")
        for phrasing in ("harmless", "override")
        for position in ("first", "last")
    ]
    before = rows[0]["before"]
    assert 0 < before < 1
    for row in rows:
        believed = {"hide": 0.0, "accuse": 1.0}[row["direction"]]
        assert row["after"] == (believed if row["phrasing"] == "override" else row["before"])
        assert row["low"] <= row["change"] <= row["high"]
        assert row["n"] == 10
    assert rows[-1]["low"] > 0
    assert rows[2]["score_change"] < 0 < rows[-1]["score_change"]
    assert f"recall {before:.3f} as they are" in out
    assert "answered by stub-1" in out
    assert len(stub.prompts) == len(set(stub.prompts)) <= 5 * 20
    for prompt in stub.prompts:
        assert prompt.count("<<<LOG") == prompt.count("LOG>>>") == 1


def test_every_phrasing_stays_inside_the_fence(chat, stub, tmp_path):
    assert chat(*INJECTION, "--sample", "4")[0] == 0
    (record,) = probes(tmp_path)
    assert {row["position"] for row in record["results"]["rows"]} == {"first", "middle", "last"}
    assert len(record["results"]["rows"]) == 2 * 3 * len(record["spec"]["options"]["phrasings"]) >= 2 * 3 * 7
    question = stub.prompts[0].rpartition("\n")[2]
    for prompt in stub.prompts:
        assert prompt.endswith(f"\nLOG>>>\n{question}")
        assert prompt.count("<<<LOG") == prompt.count("LOG>>>") == 1
        assert not re.search(r"<\||\|>|\[/?INST\]|</?s>|\u2028", prompt)


def test_a_probe_is_replayed_and_taken_from_its_record(chat, bench, stub, monkeypatch, tmp_path):
    chat(*INJECTION, *FEW)
    (record,) = probes(tmp_path)
    n_asked = len(stub.prompts)
    stub.close()
    monkeypatch.delenv("OPENAI_BASE_URL")
    _, out, err = bench(*INJECTION, *FEW, "--llm", "replay", "--json")
    assert "taken from" in err
    assert json.loads(out) == [record]
    (path,) = (tmp_path / "results" / "probes").iterdir()
    path.unlink()
    code, _, _ = bench(*INJECTION, *FEW, "--llm", "replay")
    assert (code, len(stub.prompts)) == (0, n_asked)
    assert probes(tmp_path)[0]["results"] == record["results"]
    code, _, err = bench(*INJECTION, "--llm", "replay")
    assert code == 3
    assert re.search(r"chatgpt on bgl@simulated failed: \d+ calls of \d+ questions are not in", err)


def test_a_dry_run_counts_what_is_asked_then(chat, stub, tmp_path):
    code, out, _ = chat(*INJECTION, *FEW, "--dry-run", "--price", "1,2", "--json")
    assert (code, stub.prompts, probes(tmp_path)) == (0, [], [])
    (row,) = json.loads(out)
    assert row["cost"] == pytest.approx((row["tokens in"] + 2 * row["tokens out"]) / 1e6)
    chat(*INJECTION, *FEW)
    assert row["calls"] == len(stub.prompts) > 40
    assert "nothing was sent" in chat(*MEMORISATION, "--dry-run")[1]


def test_limits_hold(chat, stub, tmp_path):
    code, _, err = chat(*INJECTION, *FEW, "--max-calls", "5")
    assert (code, len(stub.prompts), probes(tmp_path)) == (3, 5, [])
    assert "the limit of 5 calls is reached" in err
    code, _, err = chat(*INJECTION, *FEW, "--max-cost", "0.01", "--price", "10,10")
    assert (code, probes(tmp_path)) == (3, [])
    assert "the cost limit" in err


def test_twins_are_compared(chat, stub, tmp_path):
    code, out, err = chat(*MEMORISATION)
    assert code == 0, err
    (record,) = probes(tmp_path)
    found = record["results"]
    altered = found["altered"]
    assert 0 < altered["texts_share"] < 1
    assert altered["n_texts_altered"] == round(altered["texts_share"] * altered["n_texts"])
    assert f"altered: {altered['texts_share']:.1%} of {altered['n_texts']} distinct texts" in out
    for values in found["metrics"].values():
        difference = values["original"]["value"] - values["twin"]["value"]
        assert values["difference"]["value"] == pytest.approx(difference, abs=1e-5)
        assert values["difference"]["low"] <= values["difference"]["value"] <= values["difference"]["high"]
    assert found["score_change"]["absolute"]["value"] > 0
    assert set(found["metrics"]) == {"f1", "auroc", "ap"}
    assert len(stub.prompts) <= 40
    again = tmp_path / "again"
    assert chat(*MEMORISATION, "--llm", "replay", "--out", again, "--set", f"chatgpt.store={tmp_path / 'llm'}")[0] == 0
    assert json.loads(next((again / "probes").iterdir()).read_text())["results"] == found


def test_a_sample_too_small_for_an_interval_is_named(chat, tmp_path):
    out = chat(*MEMORISATION[:-1], "4")[1]
    auroc = probes(tmp_path)[0]["results"]["metrics"]["auroc"]["original"]
    assert auroc["low"] == auroc["high"]
    assert "an interval without width" in out


def test_a_trained_detector_is_fitted_first(bench, tmp_path):
    (tmp_path / "mine.py").write_text(TRAINED)
    arguments = ("--methods", "mine.py:Words", "--scenario", "bgl@simulated", "--sample", "20")
    code, out, err = bench("probe", "injection", *arguments, *FEW, "--threshold", "fixed:0.5")
    assert code == 0, err
    (record,) = probes(tmp_path)
    accused = [row for row in record["results"]["rows"] if row["direction"] == "accuse"]
    assert {row["after"] for row in accused} == {1.0}
    assert {row["score_change"] for row in record["results"]["rows"]} == {1.0}
    assert "answered by" not in out
    assert bench("probe", "memorisation", *arguments, "--threshold", "conformal:0.2")[0] == 0
    twin = next(record for record in probes(tmp_path) if record["probe"] == "memorisation")
    assert twin["threshold"]["n"] > 10
    assert twin["results"]["score_change"]["signed"]["low"] > 0
    text = bench("probe", "injection", *arguments, "--dry-run")[1]
    assert "no method of this probe asks a chat model" in text


def test_a_transfer_can_take_its_threshold_from_the_target(bench, tmp_path):
    (tmp_path / "mine.py").write_text(TRAINED)
    arguments = ("--methods", "mine.py:Words", "--scenario", "bgl@simulated2tbird@simulated", "--sample", "10", *FEW)
    for population in ("normals", "unlabelled"):
        rule = f"conformal:0.2@target-{population}"
        code, out, err = bench("probe", "injection", *arguments, "--threshold", rule)
        assert code == 0, err
        assert f"({rule})" in out
    normals, everything = sorted(record["threshold"]["n"] for record in probes(tmp_path))
    assert 0 < normals < everything
    code, _, err = bench("probe", "injection", *arguments, "--threshold", "conformal:0.0001")
    assert code == 3
    assert "gives no threshold (needs at least 9999" in err


def test_what_fails_is_told_and_ends_no_other_probe(chat, tmp_path):
    (tmp_path / "mine.py").write_text(TRAINED)
    methods = ("--methods", "mine.py:Words,chatgpt", "--set", "mine.py:Words.fails=true", "--threshold", "fixed:0")
    code, _, err = chat(*INJECTION, *FEW, *methods)
    assert code == 3
    assert "failed: RuntimeError: no scores today" in err
    assert [record["method"] for record in probes(tmp_path)] == ["chatgpt"]


@pytest.fixture
def hashed(monkeypatch):
    """Texts of graded distance without the sentence encoder."""
    monkeypatch.setattr(shortcut, "embed", lambda texts: embed(texts, encoder=FALLBACK_ENCODER))


def test_the_shortcut_probe_says_whose_score_rises(bench, hashed, tmp_path):
    (tmp_path / "mine.py").write_text(TRAINED)
    methods = ("--methods", "mine.py:Words,new-event,length", "--seeds", "2")
    code, out, err = bench(*SHORTCUT, *methods)
    assert code == 0, err
    last = out[out.index("does the score rise") :].splitlines()
    cells = [line.split() for line in last[2:]]
    found = {(words[0], words[2]): words[3] for words in cells if words[1:2] == ["bgl@simulated"]}
    assert found == {
        ("mine.py:Words", "share"): "yes",
        ("mine.py:Words", "distance"): "yes",
        ("new-event", "share"): "yes",
        ("length", "share"): "flat",
    }
    assert max(len(line) for line in last) <= 80
    records = probes(tmp_path)
    assert sorted(record["seed"] for record in records) == [0, 0, 0, 1, 1, 1]
    assert {record["results"]["n_abnormal"] for record in records} == {0}
    assert "taken from" in bench(*SHORTCUT, *methods)[2]


def test_the_shortcut_probe_as_json(bench, hashed, tmp_path):
    code, out, _ = bench(*SHORTCUT, "--methods", "new-event", "--json")
    (record,) = json.loads(out)
    assert (code, record["probe"], list(record["results"]["ways"])) == (0, "shortcut", ["share"])
    assert record["spec"]["options"]["shares"] == [0.05, 0.1, 0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "clock"), "'clock' reads neither texts nor log keys (lines)"),
        (("--methods", "new-event", "--phrasings", "plain"), "belong to `bench probe injection`"),
        (("--methods", "new-event", "--seeds", "many"), "many"),
    ],
)
def test_what_the_shortcut_probe_refuses(bench, options, message):
    code, _, err = bench(*SHORTCUT, *options)
    assert (code, message in err, "Traceback" in err) == (2, True, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no endpoint for the chat model: set OPENAI_BASE_URL"),
        (("--methods", "ngram"), "'ngram' reads no texts"),
        (("--phrasings", "rude"), "unknown phrasing 'rude'"),
        (("--positions", "top"), "unknown position 'top': choose one of first, middle, last"),
        (("--threshold", "oracle"), "reads no test labels"),
        (("--methods", ","), "say what to probe"),
        (("--set", "chatgpt.budget=3"), "'chatgpt[budget=3]' does not accept its --set"),
        (("--llm", "perhaps"), "record, replay, live"),
        (("--scenario", "nowhere"), "unknown scenario"),
    ],
)
def test_bad_input_is_one_sentence(bench, tmp_path, options, message):
    code, out, err = bench(*INJECTION, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert probes(tmp_path) == []


def test_options_of_the_other_kind_are_refused(bench, tmp_path):
    code, out, err = bench(*MEMORISATION, "--positions", "last")
    assert (code, out) == (2, "")
    assert "belong to `bench probe injection`" in err
    assert probes(tmp_path) == []


# ---------------------------------------------------------------------------------------------------------- safety


def everything_kept(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_key_is_sent_and_nowhere_kept(chat, stub, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = "".join("".join(chat(*command)[1:]) for command in ((*INJECTION, *FEW), MEMORISATION))
    said += "".join(chat("run", "--methods", "chatgpt", "--scenario", "bgl@simulated", "--seeds", "1")[1:])
    stub.behave = lambda prompt, nth: (401, {"error": {"message": f"wrong key {KEY}"}})
    code, *refused = chat(*INJECTION, "--seed", "1")
    assert code == 3
    assert "answered 401" in refused[1]
    kept = everything_kept(tmp_path)
    assert {name.partition("/")[2].partition("/")[0] for name in kept} >= {"records", "probes", "scores"}
    assert {headers["authorization"] for headers in stub.headers} == {f"Bearer {KEY}"}
    assert [name for name, content in kept.items() if KEY.encode() in content] == []
    assert KEY not in said + "".join(refused)


def test_an_endpoint_stays_out_of_a_probes_record(chat, stub, tmp_path):
    assert chat(*INJECTION, *FEW, "--set", f"chatgpt.base_url={stub.url}")[0] == 0
    (record,) = probes(tmp_path)
    assert record["method"] == "chatgpt"
    assert "127.0.0.1" not in json.dumps(record)


@pytest.mark.parametrize("address", ["https://user:hidden-word@host/v1", "https://host/v1?key=hidden-word"])
@pytest.mark.parametrize("command", [INJECTION, ("run", "--methods", "chatgpt", "--scenario", "bgl@simulated")])
def test_a_secret_in_an_address_is_refused_before_it_is_kept(bench, tmp_path, command, address):
    code, _, err = bench(*command, "--set", f"chatgpt.base_url={address}")
    assert code == 2
    assert "OPENAI_API_KEY" in err
    assert [name for name, content in everything_kept(tmp_path).items() if b"hidden-word" in content] == []


@pytest.mark.slow
def test_labels_are_never_in_a_prompt(chat, stub, own_system, tmp_path):
    """The label column of a log of lines holds a canary on every abnormal line."""
    words = ("open door", "close door", "read meter", "send report", "sleep begins")
    lines = [
        f"CANARY{i} {i} explosion in room {i}" if i % 97 == 96 else f"- {i} {words[i * i % 5]} {i % 7}"
        for i in range(2000)
    ]
    form = {"label": "first-token", "header": "^(?P<time>[0-9]+) (?P<message>.*)$", "time": "epoch"}
    made = own_system({"a.log": "\n".join(lines).encode()}, format=form, parser={"masks": ["[0-9]+"]})
    data = ("--scenario", "app", "--data", made.data_dir)
    for command in (("run", "--seeds", "1"), (*INJECTION[:2], *FEW), MEMORISATION[:2]):
        code, _, err = chat(*command, "--methods", "chatgpt,chatgpt-cot,logprompt", *data)
        assert code == 0, err
    sent = json.dumps(stub.bodies)
    assert "explosion in room" in sent
    assert len(stub.bodies) > 100
    assert "CANARY" not in sent


def test_the_output_says_whether_lines_were_masked(chat):
    said = "were masked before lines left this machine"
    assert said not in chat(*INJECTION, *FEW)[2]
    assert said in chat(*INJECTION, *FEW, "--set", "chatgpt.redact=on")[2]


def test_labels_of_the_source_are_permuted(bench, tmp_path):
    asked = ("probe", "permuted-labels", "--scenario", "bgl@simulated2tbird@simulated", "--split", "transfer")
    code, out, err = bench(*asked, "--methods", "logistic-regression", "--sample", "40")
    assert code == 0, err
    (record,) = probes(tmp_path)
    assert len(record["results"]["permuted_auroc"]) == 5
    assert "with the source's labels permuted" in out
    code, _, err = bench(*asked, "--methods", "pca")
    assert (code, "so there are no labels to permute" in " ".join(err.split())) == (2, True), err


WORDS = ("probe", "words", "--scenario", "bgl@simulated2tbird@simulated", "--split", "transfer")
ONE_WORD = """
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    word: str = "fan"

class Reads(Detector):
    tags = DetectorTags(told={"source": "labels"}, uses=frozenset({"texts"}))
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        texts = [train.texts[i].split() for i in np.unique(train.text_ids)]
        self.known_ = any(self.config.word in text for text in texts)
        return self
    def score(self, sequences):
        holds = np.array([self.known_ and self.config.word in text.split() for text in sequences.texts])
        return -np.add.reduceat(holds[sequences.text_ids], sequences.offsets[:-1]).astype(np.float64)
"""


def test_the_word_that_a_ranking_hangs_on_is_found(bench, tmp_path):
    (tmp_path / "one.py").write_text(ONE_WORD)
    code, out, err = bench(*WORDS, "--methods", "one.py:Reads", "--seeds", "2")
    assert code == 0, err
    for record in probes(tmp_path):
        found = record["results"]
        assert (found["n"], record["population"]["n"]) == (400, 400)
        assert len(found["rows"]) == 5
        assert abs(found["auroc"] - 0.5) > 0.05
        for row in found["rows"]:
            assert row["auroc"] == (0.5 if row["word"] == "fan" else found["auroc"])
    assert "without fan" in out
    assert max(len(line) for line in out.splitlines() if not line.startswith("words of")) <= 80
    code, out, err = bench(*WORDS, "--methods", "one.py:Reads", "--words", "rpm", "--sample", "40")
    assert (code, "fan" in out, "of 40" in out) == (0, False, False), err


def test_words_that_are_not_there_are_refused_before_anything_is_fitted(bench, tmp_path):
    (tmp_path / "one.py").write_text(ONE_WORD.replace("self.known_ = any", 'raise SystemExit("fitted")'))
    code, _, err = bench(*WORDS, "--methods", "one.py:Reads", "--words", "fann")
    told = " ".join(err.split())
    assert (code, probes(tmp_path)) == (2, [])
    assert "no text of the source has the word 'fann'" in told
    assert "did you mean fan?" in told
    for asked, said in (
        ((*WORDS, "--methods", "mlad"), "no labels that a word could carry"),
        ((*WORDS, "--methods", "logistic-regression"), "reads no texts"),
        ((*SHORTCUT, "--methods", "gaussian", "--words", "fan"), "--words belongs to `bench probe words`"),
    ):
        code, _, err = bench(*asked)
        assert (code, said in " ".join(err.split())) == (2, True), err
