"""`bench data corpus`: what it says, and that `bench data new` makes an edition of what it wrote."""

import json

import pytest

SOURCE = """
LOG.info("opened %s")
LOG.debug("closed file")
LOG.error("cannot open %s", path)
LOG.critical("giving up")
"""


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "a.py").write_text(SOURCE)
    (folder / "broken.py").write_text("def (:")
    return folder


def test_the_command_says_what_was_found_and_what_to_do_next(call, tree, tmp_path):
    log = tmp_path / "i.log"
    code, out, _ = call("data", "corpus", str(tree), "--out", str(log))
    assert code == 0
    assert "1 source files (1 Python files could not be parsed): 4 log instructions, 2 of them severe" in out
    assert f"bench data new instructions {log} --label first-token" in out
    code, out, _ = call("data", "corpus", str(tree), "--out", str(log), "--json")
    assert json.loads(out)["levels"] == {"critical": 1, "debug": 1, "error": 1, "info": 1}
    code, _, err = call("data", "corpus", str(tmp_path / "nowhere"))
    assert code == 2
    assert "give a folder with source code" in err


def test_its_log_becomes_an_edition_with_labels(call, tree, tmp_path):
    log, data = tmp_path / "i.log", tmp_path / "data"
    data.mkdir()
    call("data", "corpus", str(tree), "--out", str(log))
    code, out, err = call(
        "data", "new", "instructions", str(log), "--label", "first-token", "--copy", "--data", str(data), "--json"
    )
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["edition"], facts["lines"]) == ("instructions@i", 4)
    assert (facts["label"], facts["normal"], facts["matched"]) == ("first-token", "-", 0.0)
