"""docs/reference/cli.md from the commands themselves.

python docs/_site/cli_page.py            # writes it
python docs/_site/cli_page.py --check    # exit 1 when it is not what the commands say
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from bench.cli import app

PAGE: Final = Path(__file__).resolve().parents[1] / "reference" / "cli.md"
WRITE: Final = "python docs/_site/cli_page.py"
_BEGIN: Final = f"""# Every option

Each command with its arguments and options, as `bench COMMAND --help` says them. What they are for:
[commands by task](../commands.md). This page is written by `{WRITE}`.
"""


def page_text() -> str:
    """The whole page."""
    sections = [_section(name, command) for name, command in _commands("bench", typer.main.get_command(app))]
    return "\n".join([_BEGIN, *sections])


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Commands by their whole name, in alphabetical order; a group stands before what is in it."""
    yield name, command
    for part in _inner(command):
        yield from _commands(f"{name} {part}", command.commands[part])


def _inner(command: Any) -> list[str]:
    """The commands of a group."""
    return sorted(part for part, each in getattr(command, "commands", {}).items() if not each.hidden)


def _section(name: str, command: Any) -> str:
    """Heading, usage, help, commands and options of one command."""
    context = typer.Context(command, info_name=name)
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    records = [param.get_help_record(context) for param in command.params]
    rows = [f"| {_cells(names)} | {_words(text)} |" for names, text in filter(None, records)]
    anchor = name.replace(" ", "-")
    inner = [f"[{part}](#{anchor}-{part})" for part in _inner(command)]
    parts = [
        f"## {name}",
        f"`{usage}`",
        "\n\n".join(_words(part) for part in (command.help or "").split("\n\n")),
        "Commands: " + ", ".join(inner) if inner else "",
        "\n".join(["| option | |", "|---|---|", *rows]) if rows else "",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _cells(names: str) -> str:
    """The names of an option as code, each by itself; an argument stands alone."""
    return ", ".join(f"`{name}`" for name in names.split(", ")).replace("|", "\\|")


def _words(text: str) -> str:
    """A help text as Markdown: on one line, and nothing in it taken for markup."""
    plain = " ".join(text.replace("\b", "").split())
    return plain.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("|", "\\|").replace("[", "\\[")


def main(arguments: list[str]) -> int:
    """Write the page, or compare it."""
    text = page_text()
    if arguments != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"error: {PAGE.name} is not what the commands say: {WRITE}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
