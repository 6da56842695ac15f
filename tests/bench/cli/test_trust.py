"""Files that came from elsewhere run no code and choose no address: real processes, a real server on loopback."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from bench.records.record import content_digest

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
    """Alter `detector.json` in place, and give it the digest of what it then holds, as who means harm would."""
    path = folder / "detector.json"
    facts = json.loads(path.read_text())
    change(facts)
    facts.pop("digest", None)
    path.write_text(json.dumps({**facts, "digest": content_digest(facts)}))


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
    rows = [row for row in out.splitlines() if not row.startswith(" ")]
    assert (code, len(rows)) == (0, 2), err
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
    assert (code, len([row for row in out.splitlines() if not row.startswith(" ")])) == (0, 2), err
    assert {headers["authorization"] for headers in stub.headers} == {f"Bearer {KEY}"}
    assert other.headers == []
    assert not (tmp_path / "planted").exists()
    assert (tmp_path / "answers").is_dir()


@pytest.mark.slow
def test_whoever_scores_may_type_an_address(fitted, log, tmp_path, stub):
    typed = ("--set", f"chatgpt.base_url={stub.url}")
    folder = fitted("chatgpt", *typed)
    stub.headers.clear()
    code, _, err = process(tmp_path, "score", folder, log, *typed, OPENAI_API_KEY=KEY)
    assert code == 0, err
    assert {headers["authorization"] for headers in stub.headers} == {f"Bearer {KEY}"}
    fixed = one_sentence(process(tmp_path, "score", folder, log, "--set", "chatgpt.model=other"))
    assert "chatgpt.model belongs to what was fitted" in fixed


@pytest.mark.slow
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
    "another name of the arrays": lambda facts: facts.update(arrays_sha256="../" * 20 + "abcd"),
    "arrays that are gone": lambda facts: facts.update(arrays_sha256="0" * 64),
    "list as digest": lambda facts: facts.update(arrays_sha256=[]),
    "list as threshold": lambda facts: facts.update(threshold=[1]),
    "text as threshold": lambda facts: facts["threshold"].update(value="many"),
    "negative n": lambda facts: facts["threshold"].update(n=-1),
    "no grouping": lambda facts: facts.pop("grouping"),
    "another grouping": lambda facts: facts["grouping"].update(more=1),
    "no parser": lambda facts: facts["systems"][0].pop("parser"),
    "masks that are a number": lambda facts: facts["systems"][0]["parser"].update(masks=3),
    "texts that are numbers": lambda facts: facts["vocabulary"].update(texts=[1, 2]),
    "half a surrogate": lambda facts: facts["method"]["config"].update({"\ud800": 1}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_description_is_one_sentence(fitted, log, call, damage):
    folder = fitted("ngram")
    if damage is DAMAGE["half a surrogate"]:
        path = folder / "detector.json"
        path.write_text(path.read_text().replace('"seed"', '"\\ud800": 1, "seed"'))
    else:
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
    path = folder / "detector.json"
    tree = '[[], {"1": ' * depth + "[[], {}]" + "}]" * depth
    try:
        rewrite(folder, lambda facts: facts["vocabulary"]["drain"].update(tree=json.loads(tree)))
    except RecursionError:  # too deep to be given its digest
        rewrite(folder, lambda facts: facts["vocabulary"]["drain"].update(tree="TREE"))
        path.write_text(path.read_text().replace('"TREE"', tree))
    code, _, err = call("score", folder, log)
    assert code == 0 or (code == 2 and err.count("\n") == 1 and "fit it again" in err)


def test_the_two_files_belong_together(fitted, log, call, tmp_path):
    folder = fitted("ngram")
    (arrays,) = folder.glob("*.safetensors")
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "not those that detector.json was saved with" in one_sentence(call("score", folder, log))
    arrays.write_bytes(whole)
    assert call("score", folder, log)[0] == 0
    arrays.unlink()
    assert "are gone" in one_sentence(call("score", folder, log))


@pytest.mark.parametrize("place", ["threshold", "seed", "provenance"])
def test_an_edited_description_is_not_believed(fitted, log, call, place):
    folder = fitted("ngram")
    path = folder / "detector.json"
    facts = json.loads(path.read_text())
    edits = {"threshold": {"value": 1e9}, "provenance": {"run_id": "00"}}
    facts[place] = {**facts[place], **edits[place]} if place in edits else 7
    path.write_text(json.dumps(facts))
    assert "was changed after it was saved" in one_sentence(call("score", folder, log))


def test_a_detector_of_a_newer_version_says_what_to_do(fitted, log, call):
    folder = fitted("ngram")
    rewrite(folder, lambda facts: facts.update(version=99))
    assert "the format 99, not 3: update bench" in one_sentence(call("score", folder, log))


def odd(kind, n):
    """An answer that is none: of another shape or type, or without a number."""
    import numpy as np

    answers = {
        "NaN": np.full(n, np.nan),
        "endless": np.full(n, -np.inf),
        "short": np.zeros(n - 1),
        "float16": np.zeros(n, np.float16),
        "list": [0.0] * n,
        "column": np.zeros((n, 1)),
    }
    return answers[kind]


@pytest.mark.parametrize("kind", ["NaN", "endless", "short", "float16", "list", "column"])
def test_scores_that_are_not_as_the_contract_says_are_one_sentence(fitted, log, call, monkeypatch, kind):
    """As in a run, where they are an error row."""
    from methods.controls import NewEvent

    folder = fitted()
    with monkeypatch.context() as patch:
        patch.setattr(NewEvent, "score", lambda self, sequences: odd(kind, len(sequences)))
        assert "'new-event' cannot score these lines" in one_sentence(call("score", folder, log))
        err = one_sentence(call("fit", "new-event", *FIT, "--save", folder))
    assert "score() returned" in err
    assert call("score", folder, log)[0] == 0


@pytest.mark.parametrize("kind", ["NaN", "endless", "short", "float16", "list", "column"])
@pytest.mark.parametrize("part", ["explain", "attention"])
def test_weights_that_are_not_as_the_contract_says_are_one_sentence(fitted, log, call, monkeypatch, kind, part):
    from methods.controls import NewEvent

    folder = fitted()
    assert call("score", folder, log, "--explain", 1)[0] == 0
    answer = lambda self, sequences: odd(kind, sequences.n_events)  # noqa: E731
    monkeypatch.setattr(NewEvent, part, answer, raising=False)
    assert f"{part}() returned" in one_sentence(call("score", folder, log, "--explain", 1))


def test_a_fit_whose_scores_are_no_numbers_saves_nothing(call, tmp_path, monkeypatch):
    from methods.controls import NewEvent

    monkeypatch.setattr(NewEvent, "score", lambda self, sequences: odd("NaN", len(sequences)))
    err = one_sentence(call("fit", "new-event", *FIT, "--save", tmp_path / "m"))
    assert "scores that are not finite" in err
    assert not (tmp_path / "m").exists()


SAVE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from bench.deploy import saved

step, place = int(sys.argv[1]), Path(sys.argv[3])
fitted = saved.load(Path(sys.argv[2]))
object.__setattr__(fitted, "facts", {**fitted.facts, "method_ref": "ngram", "config": {"n": 3}, "seed": 0})
calls = []

def dying(name):
    plain = getattr(os, name)
    def call(*arguments, **options):
        calls.append(name)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments, **options)
    return call

for name in ("fsync", "replace", "unlink"):
    setattr(os, name, dying(name))
saved.save(fitted, place)
"""


@pytest.mark.slow_cases("False")
@pytest.mark.parametrize("is_new", [False, True])
def test_a_kill_at_any_step_of_a_save_leaves_one_detector_or_the_other(fitted, log, call, tmp_path, is_new):
    import signal

    new = fitted("ngram", "--set", "ngram.n=3").rename(tmp_path / "new")
    old = fitted("ngram").rename(tmp_path / "old")
    seen = []
    for step in range(1, 20):
        place = tmp_path / f"place-{step}"
        if not is_new:
            shutil.copytree(old, place)
        command = [sys.executable, "-c", SAVE_AND_DIE, str(step), str(new), str(place)]
        ended = subprocess.run(command, check=False, timeout=120).returncode
        code, out, err = call("score", place, log, "--json")
        if is_new and code == 2:
            assert "holds no saved detector" in err
            seen.append("none")
        else:
            assert (code, len(out.splitlines())) == (0, 2), err
            config = json.loads((place / "detector.json").read_text())["method"]["config"]
            seen.append({2: "old", 3: "new"}[config["n"]])
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert ended == 0
    assert seen[-1] == "new"
    assert len(seen) > 4
    assert seen == sorted(seen, key=["none", "old", "new"].index)
    assert [path.suffix for path in sorted(place.iterdir())] == [".safetensors", ".json"]


@pytest.mark.parametrize("room", [0, 700, 3000])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_save_that_finds_no_room_keeps_what_was_there(fitted, log, call, tmp_path, room, is_new):
    """A limit of the size of files stands for the end of the disk: the kernel refuses what is beyond."""
    import resource

    place = tmp_path / "place" if is_new else fitted("ngram")
    before = {path.name: path.read_bytes() for path in place.iterdir()} if place.exists() else None
    main = "import resource, sys\nfrom bench.deploy import saved\nplain = saved.put\nroom = int(sys.argv.pop(1))\n"
    main += "def put(*given):\n    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))\n    plain(*given)\n"
    main += "saved.put = put\nfrom bench.cli import main\nmain()\n"
    arguments = [room, "fit", "ngram", *FIT, "--save", place, "--threshold", "native", "--set", "ngram.n=3"]
    done = subprocess.run(
        [sys.executable, "-c", main, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert "cannot be saved" in one_sentence((done.returncode, done.stdout, done.stderr))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert ({path.name: path.read_bytes() for path in place.iterdir()} if place.exists() else None) == before
