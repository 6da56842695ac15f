"""Whatever a user gets wrong is one sentence on stderr that says what to do, exit code 2, and nothing is lost."""

import gzip
import hashlib
import json

import pytest

DETECTORS = """
from dataclasses import dataclass
import numpy as np
from bench.detector import Detector, DetectorTags

@dataclass(frozen=True)
class Config:
    alpha: float = 1.0
    depth: int = 1
    def __post_init__(self):
        if self.alpha < 0:
            raise ValueError(f"alpha is {self.alpha}: choose a number from 0")

class Toy(Detector):
    tags = DetectorTags(told={"source": "normals"})
    Config = Config
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return np.zeros(len(sequences))

class NoDetector:
    pass
"""

SYSTEM = """
title = "Mine"
licence = "MIT"
citation = "none"
[format]
label = "{label}"
"""

EDITION = """
title = "Mine"
tier = "evaluation"
rank = 1
kind = "lines"
[[files]]
name = "{file}"
sha256 = "{sha256}"
"""


@pytest.fixture(autouse=True)
def _toy(call, tmp_path):
    (tmp_path / "toy.py").write_text(DETECTORS)


def refused(result):
    """The one sentence of a refusal."""
    code, out, err = result
    assert code == 2, err
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith(("using ", "training on "))]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in err
    return lines[0]


RUN = ("run", "--methods", "random", "--scenario", "bgl@simulated", "--seeds", "1")


def changed(**options):
    """The arguments of a good run with these changed (or added, or with None left out)."""
    given = dict(zip(RUN[1::2], RUN[2::2], strict=True)) | {
        f"--{key.replace('_', '-')}": v for key, v in options.items()
    }
    return ["run", *(text for key, value in given.items() if value is not None for text in (key, value))]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (changed(seeds="x"), "--seeds x cannot be read"),
        (changed(seeds="0"), "--seeds 0 cannot be read"),
        (changed(seeds="9" * 20), "are more than 1000 runs of each method: give fewer"),
        (changed(seeds="9" * 20 + ","), "a seed is a number from 0 to 4294967295"),
        (["fit", "pca", "--scenario", "bgl", "--save", "x", "--seed", "9" * 20], "--seed"),
        (changed(methods="nope"), "unknown method 'nope': choose one of"),
        (changed(methods="mlda"), "unknown method 'mlda': did you mean mlad? else choose one of"),
        (changed(methods="toy.py:Toi"), "no class 'Toi': did you mean Toy?"),
        (changed(methods=","), "--methods is empty"),
        (changed(methods=None), "--methods is empty"),
        (changed(methods="random+far"), "unknown variant '+far'"),
        (changed(methods="missing.py:Toy"), "the file 'missing.py'"),
        (changed(methods="toy.py:Nope"), "no class 'Nope'"),
        (changed(methods="toy.py:NoDetector"), "not a subclass"),
        (
            changed(scenario="bgl3tbird"),
            "unknown scenario 'bgl3tbird': did you mean bgl2tbird? else write a data set (bgl,",
        ),
        (changed(scenario="nope"), "unknown scenario 'nope'"),
        (changed(scenario="bgl2tbrid"), "unknown scenario 'bgl2tbrid': did you mean bgl2tbird?"),
        (changed(scenario="Tbird@simulated"), "did you mean tbird@simulated?"),
        (changed(scenario="bgl@simlated"), "unknown edition 'bgl@simlated': did you mean bgl@simulated?"),
        (changed(scenario="bgl@nope"), "unknown edition 'bgl@nope': choose one of bgl@"),
        (changed(scenario="bgl@simulated2tbird@nope"), "unknown edition 'tbird@nope'"),
        (changed(scenario="bgl@raw12k"), "set BENCH_DATA or give --data"),
        (changed(scenario="bgl+bgl"), "twice"),
        (changed(scenario="bgl+tbird2bgl"), "train and test on 'bgl'"),
        (changed(scenario=None), "--scenario bgl2tbird"),
        (changed(train="bgl"), "either --scenario"),
        (changed(scenario=None, test="bgl"), "either --scenario"),
        (changed(scenario=None, train="nope"), "unknown scenario 'nope'"),
        (changed(set="random.alpha=1"), "'random' has no setting 'alpha'"),
        (changed(set="nonsense"), "--set nonsense cannot be read"),
        (changed(set="mlad.alpha=1.3"), "'mlad', which is not among the methods"),
        (changed(methods="toy.py:Toy", set="toy.py:Toy.alpha=abc"), "'abc' is no finite number"),
        (changed(methods="toy.py:Toy", set="toy.py:Toy.depth=1.5"), "'1.5' is no whole number"),
        (changed(methods="toy.py:Toy", set="toy.py:Toy.nope=1"), "choose one of alpha, depth"),
        (changed(methods="toy.py:Toy", set="toy.py:Toy.alpha=-1"), "alpha is -1.0: choose a number from 0"),
        (changed(methods="toy.py:Toy", set="toy.py:Toy.alpha=2:1:1"), "empty range"),
        (changed(threshold="foo"), "threshold rule 'foo' is not known"),
        (changed(threshold="conformel:0.1"), "rule 'conformel:0.1' is not known: did you mean conformal?"),
        (
            changed(threshold="conformal:0.1@target-normal"),
            "'@target-normal' is not known: did you mean target-normals?",
        ),
        (changed(threshold="conformal:2"), "alpha must lie between"),
        (changed(split="foo"), "unknown split 'foo': choose one of chronological, paper"),
        (changed(split="chronologicl"), "unknown split 'chronologicl': did you mean chronological?"),
        (changed(split=""), "--split is empty"),
        (changed(split="chronological:80,60"), "write chronological:60,80"),
        (changed(split="paper,rolling:0"), "a whole number of origins from 2 to 31"),
        (changed(split="prequential:5,6"), "names no block from 1 to 5"),
        (changed(split="transfer"), "needs a source and a target"),
        (changed(window_size="0"), "--window-size is 0"),
        (changed(window_step="0"), "--window-step is 0"),
        (changed(window_size="x"), "--window-size"),
        (changed(window_size="100000"), "no window of 100000 lines fits"),
        (changed(window_step="5", split="paper"), "overlapping windows"),
        (changed(device="cuda"), "the device 'cuda' cannot be used"),
        (changed(device="toaster"), "the device 'toaster' cannot be used"),
        (changed(threads="0"), "--threads"),
        (changed(timeout="0"), "--timeout"),
        (changed(data="/nonexistent"), "the data folder '/nonexistent' does not exist"),
        (changed(data="toy.py"), "the data folder 'toy.py' does not exist"),
        (changed(out="toy.py"), "cannot be written"),
        (changed(out="/proc/nope"), "cannot be written"),
        ([*RUN, "--nope"], "No such option"),
        (["run", "--suite", "nope"], "unknown suite 'nope': choose one of"),
        ([*RUN, "--suite", "smoke"], "--suite names its own"),
        (["run", "--suite", "smoke", "--seeds", "1"], "--suite names its own"),
        (["run", "--suite", "smoke", "--window-size", "0"], "--suite names its own"),
        (["run", "--scenario", "bgl"], "--methods is empty"),
        (["sweep", "--set", "random.x=1:2:1"], "give `bench run` the range"),
        (["show", "abc"], "it is `bench results show` now"),
        (["nope"], "No such command 'nope'"),
        (["list", "nope"], "there is no 'nope': choose one of methods, datasets, scenarios, suites"),
        (["results", "show", "abc"], "no record 'abc'"),
        (["table"], "there is no record in results: run something first"),
        (["table", "--check"], "no record in results"),
        (["table", "--threshold", "foo"], "threshold rule 'foo'"),
        (["tabel"], "No such command 'tabel'. Did you mean 'table'?"),
        (["list", "method"], "there is no 'method': did you mean methods? else choose one of methods, datasets"),
        (["probe", "injecton"], "there is no 'injecton': did you mean injection? else choose one of injection"),
        (["run", "--suite", "smok"], "unknown suite 'smok': did you mean smoke?"),
        (["run", "--metods", "mlad"], "No such option: --metods (Possible options: --methods"),
        (["data", "info", "bgll"], "unknown data set 'bgll': did you mean bgl?"),
        (["data", "export", "bgl", "--out", "x", "--told", "source=normal"], "'normal': did you mean normals?"),
        (["gate", "--baseline", "."], "the baseline '.' cannot be read (Is a directory): give a file"),
        (["gate"], "'results/baseline.json' does not exist"),
        (["gate", "--update"], "no finished record"),
        (["gate", "--suite", "nope"], "unknown suite"),
        (["check", "nope"], "unknown method 'nope'"),
        (["check", "missing.py:Toy"], "the file 'missing.py'"),
        (["data", "info", "nope"], "unknown data set 'nope'"),
        (["data", "info", "b@!"], "no data set"),
        (["data", "verify", "bgl@nope"], "unknown edition"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence(call, arguments, words):
    assert words in refused(call(*arguments))


def test_without_a_command_there_is_the_help_and_exit_code_2(call):
    for arguments in ((), ("data",)):
        code, out, err = call(*arguments)
        assert code == 2
        assert "Usage: bench" in out + err
        assert "error: " not in err


def test_bad_input_loses_nothing(call, tmp_path):
    call(*RUN)
    kept = {path: path.read_bytes() for path in (tmp_path / "results" / "records").iterdir()}
    assert kept
    refused(call(*changed(methods="random,toy.py:Toy", set="toy.py:Toy.alpha=-1")))
    refused(call(*changed(scenario="bgl@simulated,bgl@nope")))
    assert {path: path.read_bytes() for path in (tmp_path / "results" / "records").iterdir()} == kept


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 99}'])
def test_a_damaged_record_is_one_sentence_and_is_kept(call, tmp_path, content):
    call(*RUN, "--no-pack")
    runs = sorted((tmp_path / "results" / "inbox").iterdir())
    runs[0].write_text(content)
    for arguments in (RUN, ["table"], ["results", "pack"], ["results", "show", runs[0].stem], ["gate", "--update"]):
        assert runs[0].name in refused(call(*arguments))
    for arguments in (["table", "--check"], ["results", "verify"]):
        code, out, _ = call(*arguments)
        assert (code, out.count("\n")) == (1, 1)
        assert runs[0].name in out
    assert runs[0].read_text() == content
    assert len(list((tmp_path / "results" / "inbox").iterdir())) == len(runs)


def test_damaged_scores_are_one_sentence(call, tmp_path):
    call(*RUN)
    for path in (tmp_path / "results" / "scores").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert "are damaged" in refused(call(*RUN, "--threshold", "quantile:0.9"))
    assert call(*RUN)[0] == 0


def own_data(folder, lines, *, label="first-token", file="log.txt", content=None, sha256=None, edition=EDITION):
    """A data folder with a card and one file; returns the folder."""
    (folder / "mine").mkdir(parents=True, exist_ok=True)
    data = "\n".join(lines).encode() + b"\n" if content is None else content
    (folder / file).write_bytes(data)
    (folder / "mine" / "_system.toml").write_text(SYSTEM.format(label=label))
    text = edition.format(file=file, sha256=sha256 or hashlib.sha256(data).hexdigest())
    (folder / "mine" / "one.toml").write_text(text)
    return folder


def log_lines(n=2000, abnormal=97):
    return [f"{'FAIL' if i % abnormal == 0 else '-'} message {'abc'[i % 3]} of unit {i}" for i in range(n)]


def own_run(folder):
    return (*changed(scenario="mine"), "--data", folder)


@pytest.mark.slow
def test_own_data_run(call, tmp_path):
    code, out, err = call(*own_run(own_data(tmp_path / "data", log_lines())))
    assert code == 0
    assert err.startswith("using mine@one (evaluation)\n")
    assert "### mine@one, chronological" in out


def test_unreadable_bytes_are_counted_replaced_and_reported(call, tmp_path):
    content = "\n".join(log_lines()).encode() + b"\n- broken \xff\xfe bytes\n- and \xc3 here\n"
    code, out, _ = call(*own_run(own_data(tmp_path / "data", [], content=content)))
    assert code == 0
    assert "lines with bytes that are no UTF-8, replaced: 2 of mine@one" in out


BAD_DATA = {
    "wrong checksum": ({"sha256": "0" * 64}, "wrong checksum"),
    "truncated gz": (
        {"file": "log.gz", "content": gzip.compress("\n".join(log_lines()).encode())[:-20]},
        "'log.gz' cannot be unpacked",
    ),
    "no gz at all": ({"file": "log.gz", "content": b"plain"}, "'log.gz' cannot be unpacked"),
    "no label": ({"label": "none"}, "mine@one: the data has no label at all"),
    "no abnormal line": ({"lines": log_lines(abnormal=10**9)[1:]}, "no abnormal sequence in the test part"),
    "no normal line": ({"lines": log_lines(abnormal=1)}, "no normal sequence for train"),
    "too short": ({"lines": log_lines(10)}, "no window of 20 lines fits"),
    "empty file": ({"content": b""}, "holds no line: its files are empty"),
    "broken card": ({"edition": "title = "}, "cannot be read"),
    "unknown key": ({"edition": "nope = 1\n" + EDITION}, "unknown key 'nope'"),
    "no such tier": ({"edition": EDITION.replace('"evaluation"', '"best"')}, "'best'"),
    "bad expression": ({"edition": EDITION + '[parser]\nmasks = ["("]\n'}, "bad regular expression"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_are_one_sentence(call, tmp_path, name):
    options, words = BAD_DATA[name]
    folder = own_data(tmp_path / "data", **{"lines": log_lines(), **options})
    assert words in refused(call(*own_run(folder)))
    assert not list((tmp_path / "results").rglob("runs/*.json"))


def test_a_file_that_is_missing(call, tmp_path):
    folder = own_data(tmp_path / "data", log_lines())
    (folder / "log.txt").unlink()
    assert "log.txt" in refused(call(*own_run(folder)))
    assert "log.txt" in refused(call(*changed(scenario="mine@one"), "--data", folder))


def test_data_that_change_are_verified_again(call, tmp_path):
    folder = own_data(tmp_path / "data", log_lines())
    assert call(*own_run(folder))[0] == 0
    (folder / "log.txt").write_text("\n".join(log_lines(3000)))
    assert "wrong checksum" in refused(call(*own_run(folder), "--seeds", "2"))
    assert json.loads(call("table", "--json")[1])


def test_a_card_under_a_shipped_key(call, tmp_path):
    folder = own_data(tmp_path / "data", log_lines())
    (folder / "mine").rename(folder / "bgl")
    (folder / "bgl" / "one.toml").rename(folder / "bgl" / "simulated.toml")
    assert "has the key of a shipped one" in refused(call(*own_run(folder)))
