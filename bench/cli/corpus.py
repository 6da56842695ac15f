"""`bench data corpus`: the log instructions of source code as a labelled log."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.cli._options import AsJson, say


def corpus(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of source code.")],
    out: Annotated[Path, typer.Option("--out", help="The log that is written.")] = Path("instructions.log"),
    as_json: AsJson = False,
) -> None:
    """Write the log instructions of Python, Java, C and Go code as a log, severe levels labelled abnormal.

    It stays on this machine: `bench data new` makes an edition of it, which helps methods by --auxiliary.
    """
    from bench.data.own.instructions import write_corpus

    made = write_corpus(folders, out)
    n_lines = sum(made.levels.values())
    if as_json:
        facts = {"log": str(made.log), "files": made.n_files, "unparsed": made.n_broken, "levels": dict(made.levels)}
        say(json.dumps({**facts, "lines": n_lines, "severe": made.n_severe, "of_both_kinds": made.n_both}, indent=1))
        return
    unread = f" ({made.n_broken} Python files could not be parsed)" if made.n_broken else ""
    say(f"{made.n_files} source files{unread}: {n_lines} log instructions, {made.n_severe} of them severe")
    say(", ".join(f"{level} {n}" for level, n in made.levels.items()))
    say(f"{made.n_both} messages stand under levels of both kinds and are left out")
    say(f"\nNext: bench data new instructions {shlex.quote(str(made.log))} --label first-token --copy")
    say("then: bench run --methods adlilog --scenario hdfs --auxiliary instructions")
