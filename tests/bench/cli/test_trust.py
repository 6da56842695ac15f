"""Files that came from elsewhere run no code and choose no address: real processes, a real server on loopback."""

import json
import os
import subprocess
import sys

import pytest

KEY = "sk-canary-0123456789abcdef"
EVIL = 'open({mark!r}, "w").close()\nfrom methods.controls import NewEvent as X\n'
FIT = ("--scenario", "bgl@simulated")


def process(folder, *arguments, **environment):
    """Run `bench` in a folder; returns exit code, stdout, stderr."""
    names = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "BENCH_LLM", "BENCH_LLM_STORE")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def one_sentence(found):
    code, _, err = found
    assert code == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def rewrite(folder, change):
    """Alter `detector.json` in place."""
    path = folder / "detector.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "new.log"
    path.write_text("".join(f"- 1 2005.06.03 a b c RAS KERNEL INFO line {i}\n" for i in range(40)))
    return path


@pytest.fixture
def fitted(call, tmp_path):
    def make(method="new-event", *arguments):
        code, _, err = call("fit", method, *FIT, "--save", tmp_path / "m", "--threshold", "native", *arguments)
        assert code == 0, err
        return tmp_path / "m"

    return make


@pytest.fixture
def own(tmp_path):
    """A detector in a local file that leaves a mark when its code runs."""
    mark = tmp_path / "RAN"
    path = tmp_path / "mine.py"
    path.write_text(EVIL.format(mark=str(mark)))
    return path, mark


# ------------------------------------------------------------------------------------------------ code


@pytest.mark.parametrize("form", ["m/evil.py:X", "{tmp}/m/evil.py:X", "../{name}/m/evil.py:X"])
def test_a_saved_detector_runs_no_code(fitted, log, tmp_path, form):
    folder = fitted()
    (folder / "evil.py").write_text(EVIL.format(mark=str(tmp_path / "RAN")))
    name = form.format(tmp=tmp_path, name=tmp_path.name)
    rewrite(folder, lambda facts: facts["method"].update(name=name))
    assert "--method path.py:Class" in one_sentence(process(tmp_path, "score", "m", log))
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("name", ["os:system", "no-such", "methods.controls:NewEvent", "\x1b[2Jx", None, 3])
def test_only_installed_names_are_taken(fitted, log, call, name):
    folder = fitted()
    rewrite(folder, lambda facts: facts["method"].update(name=name))
    err = one_sentence(call("score", folder, log))
    assert "install what provides it" in err
    assert "\x1b" not in err


def test_a_local_file_is_named_by_whoever_scores(fitted, own, log, tmp_path):
    path, mark = own
    folder = fitted(f"{path}:X")
    mark.unlink()
    assert "mine.py:X" in one_sentence(process(tmp_path, "score", folder, log))
    assert not mark.exists()
    code, out, err = process(tmp_path, "score", folder, log, "--method", "mine.py:X")
    assert (code, len(out.splitlines())) == (0, 2), err
    assert mark.exists()


def test_a_changed_local_file_is_not_run(fitted, own, log, tmp_path):
    path, mark = own
    folder = fitted(f"{path}:X")
    mark.unlink()
    path.write_text(path.read_text() + "\n")
    assert "another SHA-256" in one_sentence(process(tmp_path, "score", folder, log, "--method", "mine.py:X"))
    assert "not the class" in one_sentence(process(tmp_path, "score", folder, log, "--method", "mine.py:Y"))
    assert "not the class" in one_sentence(process(tmp_path, "score", folder, log, "--method", "ngram"))
    assert not mark.exists()


def test_an_installed_method_is_not_replaced_by_a_file(fitted, own, log, call):
    path, mark = own
    assert "leave out --method" in one_sentence(call("score", fitted(), log, "--method", f"{path}:X"))
    assert not mark.exists()


# ------------------------------------------------------------------------------------------------ addresses


@pytest.fixture
def other(stub):
    """A second server: whoever altered a file listens there."""
    server = type(stub)()
    yield server
    server.close()


def test_a_saved_detector_chooses_no_address(fitted, log, tmp_path, stub, other):
    folder = fitted("chatgpt", "--set", f"chatgpt.base_url={other.url}", "--set", "chatgpt.concurrency=3")
    other.headers.clear()
    config = json.loads((folder / "detector.json").read_text())["method"]["config"]
    assert not {"base_url", "store", "mode", "concurrency"} & config.keys()
    theirs = {"base_url": other.url, "store": str(tmp_path / "planted"), "mode": "live"}
    rewrite(folder, lambda facts: facts["method"]["config"].update(theirs))
    code, out, err = process(
        tmp_path, "score", folder, log, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=stub.url, BENCH_LLM_STORE="answers"
    )
    assert (code, len(out.splitlines())) == (0, 2), err
    assert {headers["authorization"] for headers in stub.headers} == {f"Bearer {KEY}"}
    assert other.headers == []
    assert not (tmp_path / "planted").exists()
    assert (tmp_path / "answers").is_dir()


def test_whoever_scores_may_type_an_address(fitted, log, tmp_path, stub):
    typed = ("--set", f"chatgpt.base_url={stub.url}")
    folder = fitted("chatgpt", *typed)
    stub.headers.clear()
    code, _, err = process(tmp_path, "score", folder, log, *typed, OPENAI_API_KEY=KEY)
    assert code == 0, err
    assert {headers["authorization"] for headers in stub.headers} == {f"Bearer {KEY}"}
    fixed = one_sentence(process(tmp_path, "score", folder, log, "--set", "chatgpt.model=other"))
    assert "chatgpt.model belongs to what was fitted" in fixed


@pytest.mark.parametrize("setting", ["base_url={url}", "store=planted"])
def test_a_suite_file_needs_a_yes_for_an_address_or_a_folder(tmp_path, stub, other, setting):
    suite = tmp_path / "theirs.toml"
    text = f"chatgpt.{setting.format(url=other.url)}"
    suite.write_text(
        f'[[run]]\nscenarios = ["bgl@simulated"]\nmethods = ["chatgpt"]\nseeds = 1\nsample = 4\nset = ["{text}"]\n'
    )
    given = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": stub.url}
    for command in (("run", "--suite"), ("plot",)):
        err = one_sentence(process(tmp_path, *command, suite, **given))
        assert "--allow-endpoint" in err
        assert other.url not in err
    assert (stub.headers, other.headers) == ([], [])
    assert not (tmp_path / "planted").exists()
    code, _, err = process(tmp_path, "run", "--suite", suite, "--allow-endpoint", **given)
    assert code == 0, err
    if "store" in setting:
        assert (tmp_path / "planted").is_dir()
    else:
        assert {headers["authorization"] for headers in other.headers} == {f"Bearer {KEY}"}


def test_every_text_setting_that_names_a_place_is_known():
    """A new one must be added to the places that a suite may not choose."""
    from bench import registry
    from bench.experiment.suites import _PLACES

    for name in ("chatgpt", "chatgpt-cot", "logprompt"):
        fields = registry.describe(registry.find(name)).fields
        free = {key for key, info in fields.items() if not info.identity and info.kind == "str" and not info.choices}
        assert free - {"price"} == set(_PLACES)


# ------------------------------------------------------------------------------------------------ damage


DAMAGE = {
    "no method": lambda facts: facts.pop("method"),
    "no config": lambda facts: facts["method"].pop("config"),
    "list as method": lambda facts: facts.update(method=[]),
    "unknown setting": lambda facts: facts["method"]["config"].update(nothing=1),
    "text as n": lambda facts: facts["method"]["config"].update(n="x"),
    "huge n": lambda facts: facts["method"]["config"].update(n=10**9),
    "text as seed": lambda facts: facts.update(seed="x"),
    "no systems": lambda facts: facts.update(systems=[]),
    "null systems": lambda facts: facts.update(systems=None),
    "no format": lambda facts: facts["systems"][0].update(format=None),
    "no vocabulary": lambda facts: facts.update(vocabulary=None),
    "wrong tree": lambda facts: facts["vocabulary"]["drain"].update(tree=[]),
    "window 0": lambda facts: facts["grouping"].update(window_size=0),
    "window 2.5": lambda facts: facts["grouping"].update(window_step=2.5),
    "no threshold": lambda facts: facts["threshold"].pop("value"),
    "null threshold": lambda facts: facts["threshold"].update(value=None),
    "NaN threshold": lambda facts: facts["threshold"].update(value=float("nan")),
    "endless threshold": lambda facts: facts["threshold"].update(value=float("inf")),
    "no provenance": lambda facts: facts.update(provenance=3),
    "old": lambda facts: facts.update(version=1),
    "no digest": lambda facts: facts.pop("arrays_sha256"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_description_is_one_sentence(fitted, log, call, damage):
    folder = fitted("ngram")
    rewrite(folder, damage)
    assert "fit it again" in one_sentence(call("score", folder, log))


@pytest.mark.parametrize("part", [("format", "header", "("), ("parser", "masks", ["("])])
def test_a_damaged_pattern_is_one_sentence(fitted, log, call, part):
    folder, (block, key, value) = fitted("ngram"), part
    rewrite(folder, lambda facts: facts["systems"][0][block].update({key: value}))
    assert "pattern" in one_sentence(call("score", folder, log))


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000])
def test_a_description_that_is_none_is_one_sentence(fitted, log, call, text):
    folder = fitted("ngram")
    (folder / "detector.json").write_text(text)
    assert "fit it again" in one_sentence(call("score", folder, log))


@pytest.mark.parametrize("depth", [200, 480, 3000])
def test_a_deep_tree_is_no_traceback(fitted, log, call, depth):
    folder = fitted("ngram")
    rewrite(folder, lambda facts: facts["vocabulary"]["drain"].update(tree="TREE"))
    path = folder / "detector.json"
    tree = '[[], {"1": ' * depth + "[[], {}]" + "}]" * depth
    path.write_text(path.read_text().replace('"TREE"', tree))
    code, _, err = call("score", folder, log)
    assert code == 0 or (code == 2 and err.count("\n") == 1 and "fit it again" in err)


def test_the_two_files_belong_together(fitted, log, call, tmp_path):
    folder = fitted("ngram")
    arrays = folder / "detector.safetensors"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "not the file" in one_sentence(call("score", folder, log))
    arrays.write_bytes(whole)
    assert call("score", folder, log)[0] == 0


def test_scores_that_are_no_numbers_are_one_sentence(fitted, log, call, monkeypatch):
    import numpy as np

    from methods.controls import NewEvent

    folder = fitted()
    monkeypatch.setattr(NewEvent, "score", lambda self, sequences: np.full(len(sequences), np.nan))
    assert "no finite score" in one_sentence(call("score", folder, log))


def test_a_save_that_fails_keeps_what_was_there(fitted, log, call, monkeypatch, tmp_path):
    import errno
    from pathlib import Path

    folder = fitted("ngram")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self, *arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        arguments = ("--save", folder, "--threshold", "native", "--set", "ngram.n=3")
        assert "cannot be saved" in one_sentence(call("fit", "ngram", *FIT, *arguments))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
