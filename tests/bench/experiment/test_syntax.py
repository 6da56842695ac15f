"""A digest of what a source says: equal under all Pythons, blind to how it is written, and to nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.experiment import syntax
from bench.experiment.syntax import Import, read_source

ROOT = Path(__file__).parents[3]
FUNCTION = 'def f(x):\n    """Say."""\n    return x + 1\n'

# Where the trees of Python versions are known to differ, or `repr` of a value does.
ODD = r'''
"""doc"""
def f(x, *, a, b=1, **k):
    u"a field's docstring"
    w = 3
    s = f"a{{b}}{x=}{x!r:>{w}}" "more" f"{x:}" f'{x:%Y-%m}' u'z'
    t = f"""{
        x + 1 }
 tail \N{BULLET} {x = }"""
    d = {**k, 'é': 1e400, 'b': -0.0, "c": 1j, "\ud800": 10**30, None: ..., "𞄀": b"\xff"}
    match d:
        case {"a": 1, **rest}: pass
        case [1, *_] | (2 as q): return
        case None: return None
    try: pass
    except* ValueError: pass
    g = lambda *, y=None: (yield)
    return f"{x!r}" f"" "" f"{'a' 'b'}\
cont" rf"\d{x}\{x}" if a else t[1:2, ::3]
'''

PRINT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("syntax", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["syntax"] = module
spec.loader.exec_module(module)
for path in sys.argv[2:]:
    print(module.read_source(open(path, "rb").read()).digest)
"""


def digest(text):
    return read_source(text.encode()).digest


def other_pythons():
    """Interpreters of the versions that the digest is promised for, as far as this machine has them."""
    known = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in ("3.11", "3.12", "3.13"):
        if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
            continue
        installed = sorted(known.glob(f"{version}.*/bin/python"))
        found = str(installed[-1]) if installed else shutil.which(f"python{version}")
        if found:
            yield pytest.param(found, id=version)


@pytest.mark.parametrize(
    "same",
    [
        'def f(x):\n    """Say something else."""\n    return x + 1\n',
        "def f(x):\n    return x + 1\n",
        '# comment\n\ndef f(x):\n\n    """Say."""\n    return (x  +  1)  # comment\n',
        'def f(x): "Say."; return x + 0x1\n',
        'def f(x):\n    """Say."""\n    return x + 1\n    "after"\n',
    ],
)
def test_how_it_is_written_does_not_count(same):
    assert digest(same) == digest(FUNCTION)


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    return x + 2\n",
        "def f(x):\n    return x + 1.0\n",
        "def f(x):\n    return x + True\n",
        "def f(x):\n    return x - 1\n",
        "def f(x):\n    return\n",
        "def f(x):\n    return None\n",
        "def f(y):\n    return y + 1\n",
        "def f(x=0):\n    return x + 1\n",
        "def f(*, x):\n    return x + 1\n",
        "async def f(x):\n    return x + 1\n",
        "def f(x):\n    yield x + 1\n",
        "def f(x):\n    return x + '1'\n",
        "def f(x):\n    return x + b'1'\n",
        "def f(x):\n    return f'{x}'\n",
        "def f(x):\n    return f'{x!r}'\n",
        "def f(x):\n    return f'{x:3}'\n",
        "def f(x):\n    return {x: 1, **y}\n",
        "def f(x):\n    return {x: 1, y: None}\n",
    ],
)
def test_what_it_says_counts(other):
    assert digest(other) != digest(FUNCTION)


def test_bare_return_and_none_differ_from_each_other():
    assert digest("def f():\n    return\n") != digest("def f():\n    return None\n")


def test_f_strings_are_equal_however_they_are_cut():
    assert digest("f'{x:}'") == digest("f'{x}'")
    assert digest("f'a{x}' 'b' f'c'") == digest("f'a{x}bc'")
    assert digest("f'{x}' 'b'") != digest("f'{x}b{y}'")


@pytest.mark.slow_cases("3.12", "3.13")
@pytest.mark.parametrize("python", list(other_pythons()))
def test_other_pythons_give_the_same_digests(python, tmp_path):
    odd = tmp_path / "odd.py"
    odd.write_text(ODD, encoding="utf-8")
    paths = [odd, *sorted((ROOT / "bench").rglob("*.py")), *sorted((ROOT / "methods").rglob("*.py"))]
    command = [python, "-I", "-c", PRINT, syntax.__file__, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [read_source(path.read_bytes()).digest for path in paths]


def test_digest_does_not_change_with_the_version():
    """What any version must give; this file's own guard where only one Python is installed."""
    assert digest(ODD) == "d383e95d0be0dedbfd1fb8b70335601dfd86680fef2a406d6d5c08e2cd36aeb8"


def test_type_parameters_of_later_versions_count_where_they_stand():
    if sys.version_info >= (3, 12):
        assert digest("def f[T](x: T): pass") != digest("def f(x: T): pass")
    else:
        assert digest("def f[T](x: T): pass") != digest("def f[U](x: T): pass")


def test_what_cannot_be_parsed_has_the_digest_of_its_bytes():
    assert digest("def (") == digest("def (")
    assert digest("def (") != digest("def ( ")
    assert read_source(b"\xff\xfe\x00").imports == ()


def test_imports_are_found_wherever_they_stand():
    found = read_source(
        b"import a.b, c\nfrom . import d\ndef f():\n    from ..e import g as h, i\nif x:\n    from j import *\n"
    ).imports
    assert set(found) == {
        Import(0, "a.b"),
        Import(0, "c"),
        Import(1, "", ("d",)),
        Import(2, "e", ("g", "i")),
        Import(0, "j", ("*",)),
    }
