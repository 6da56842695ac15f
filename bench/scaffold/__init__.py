"""Skeletons of new methods that pass the conformance kit at once: `bench check NAME --new`."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from bench.errors import BenchError

_NAME: Final = re.compile("[a-z][a-z0-9]*(-[a-z0-9]+)*")
_GROUP: Final = '[project.entry-points."bench.detectors"]\n'
_DISTRIBUTION: Final = "mlad-bench"


def new_package(name: str, folder: Path) -> list[Path]:
    """Write a package of its own into `folder/name`, and return its files."""
    values = _values(name)
    target = folder / name
    if target.exists():
        raise BenchError(f"'{target}' exists: choose another name, or another folder with --to")
    package = target / "src" / values["package"]
    values["module"] = f"{values['package']}.detector"
    texts = {
        target / "pyproject.toml": _filled("pyproject", values),
        target / "README.md": _filled("readme", values),
        package / "__init__.py": f'"""{values["title"]}: a log anomaly detector for bench."""\n',
        package / "detector.py": _filled("detector", values),
        target / "tests" / f"test_{values['package']}.py": _filled("test", values),
    }
    return _written(texts)


def new_method(name: str, root: Path) -> list[Path]:
    """Write a method into a checkout of this project, with its entry point, and return what was written or changed."""
    values = _values(name)
    pyproject = root / "pyproject.toml"
    text = _own_pyproject(pyproject)
    values["module"] = f"methods.{values['package']}"
    module, test = root / "methods" / f"{values['package']}.py", root / "tests/methods" / f"test_{values['package']}.py"
    points = tomllib.loads(text)["project"]["entry-points"]["bench.detectors"]
    if name in points or module.exists() or test.exists():
        raise BenchError(f"the method '{name}' exists in {root}: choose another name")
    head, _, rest = text.partition(_GROUP)
    line = f'{name} = "{values["module"]}:{values["class_name"]}"\n'
    lines, blank, tail = rest.partition("\n\n")
    entries = "".join(sorted([*(f"{entry}\n" for entry in lines.splitlines()), line]))
    texts = {
        module: _filled("detector", values),
        test: _filled("test", values),
        pyproject: f"{head}{_GROUP}{entries.rstrip()}{blank}{tail}",
    }
    return _written(texts)


def _values(name: str) -> dict[str, str]:
    if _NAME.fullmatch(name) is None:
        raise BenchError(f"'{name}' is no name for a method: use lower-case letters, digits and hyphens")
    words = name.split("-")
    return {
        "name": name,
        "package": "_".join(words),
        "class_name": "".join(word.capitalize() for word in words),
        "title": " ".join(words).capitalize(),
    }


def _own_pyproject(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        is_own = tomllib.loads(text)["project"]["name"] == _DISTRIBUTION and _GROUP in text
    except (OSError, ValueError, KeyError):
        is_own = False
    if not is_own:
        raise BenchError(f"{path.parent} is no checkout of {_DISTRIBUTION}: go into one, or leave out --here")
    return text


def _filled(template: str, values: dict[str, str]) -> str:
    text = files("bench.scaffold").joinpath(f"{template}.txt").read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _written(texts: dict[Path, str]) -> list[Path]:
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path} cannot be written ({error.strerror}): use another folder") from None
    return list(texts)
