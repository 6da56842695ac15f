"""Which class a local file means, where its name stands alone: read from its source, nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path


def which_class(name: str) -> str:
    """What to write in place of the name of a file, as one sentence."""
    path = Path(name)
    try:
        tree = ast.parse(path.read_bytes())
    except OSError as error:
        return f"the file '{name}' cannot be read ({error.strerror}): correct its path, and write path.py:Class"
    except (SyntaxError, ValueError) as error:
        return f"the file '{name}' is no Python ({error}): correct it, and write path.py:Class"
    names = _detectors_in(tree)
    if len(names) == 1:
        return f"'{name}' is a file, and a method is a class of it: add :{names[0]}, as in {name}:{names[0]}"
    if names:
        return f"'{name}' holds {len(names)} detectors: write one of {', '.join(f'{name}:{each}' for each in names)}"
    return f"'{name}' holds no subclass of bench.detector.Detector: derive your class from that, and add :Class"


def _detectors_in(tree: ast.Module) -> list[str]:
    """The classes of a file that are derived from a `Detector`, or from one of these."""
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
            found += [node.name] if any(base == "Detector" or base in found for base in bases) else []
    return found
