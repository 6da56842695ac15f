"""A class that the contract refuses is one sentence, whatever command meets it."""

import pytest

from bench import registry

BODY = """
from bench.detector import Detector, DetectorTags
class Plain:
    pass
class Mine(Detector):
    tags = DetectorTags({tags})
    {config}
    def fit(self, train, labels=None, *, evidence=None):
        return self
    def score(self, sequences):
        return None
"""


@pytest.mark.parametrize(
    ("tags", "config", "sentence"),
    [
        ("", "", "it has no Config: write a frozen dataclass of its settings and Config = that class"),
        ("", "Config = Plain", "it has a Config that is no dataclass: write a frozen dataclass"),
        ("", "Config = 3", "it has a Config that is no dataclass: write a frozen dataclass"),
        ("told='normals'", "Config = Plain", "tags.told is 'normals', and no mapping: write told={"),
        ("told_with='normals'", "Config = Plain", "tags.told_with is 'normals', and no mapping: write told_with={"),
        ("told_with={'k': 'normals'}", "", "tags.told_with['k'] is 'normals', and no mapping: write "),
        ("uses=3", "Config = Settings", "tags.uses is 3: write a set"),
        ("uses='texts'", "Config = Settings", "tags.uses is 'texts': write a set"),
        ("files='weights'", "Config = Settings", "tags.files is 'weights': write a tuple of ExternalFile"),
        ("", "Config = Bare", "its Config has no default for 'alpha': write one"),
    ],
)
def test_what_a_class_lacks_is_one_sentence_for_run_list_and_check(tmp_path, call, tags, config, sentence):
    dataclasses = "from dataclasses import dataclass\n@dataclass\nclass Settings:\n    alpha: float = 1.0\n"
    bare = "@dataclass\nclass Bare:\n    alpha: float\n"
    (tmp_path / "bad.py").write_text(dataclasses + bare + BODY.format(tags=tags, config=config))
    error = registry.describe(registry.find("bad.py:Mine")).error
    assert sentence in error
    assert "Error" not in error
    code, out, err = call("check", "bad.py:Mine")
    assert code == 1
    assert sentence in out
    assert len((out + err).splitlines()) == 1
    if sentence.startswith("it has no Config"):
        code, out, err = call("run", "-m", "bad.py:Mine", "-s", "bgl@simulated", "--seeds", "1")
        assert code == 3
        assert sentence in out
        assert "Traceback" not in out + err
