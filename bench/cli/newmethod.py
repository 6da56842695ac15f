"""`bench new-method`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("new-method")(new_method)


def new_method(
    name: Annotated[str, typer.Argument(help="What the method shall be called, such as my-method.")],
    to: Annotated[Path, typer.Option("--to", help="Folder of the new package.")] = Path(),
    here: Annotated[bool, typer.Option("--here", help="Add it to this checkout of bench instead.")] = False,
) -> None:
    """Write a plugin skeleton that passes the conformance kit, with its test and entry point."""
    from bench import scaffold

    written = scaffold.new_method(name, Path()) if here else scaffold.new_package(name, to)
    for path in written:
        typer.echo(f"wrote {path}")
    source = next(path for path in written if path.name in ("detector.py", f"{name.replace('-', '_')}.py"))
    typer.echo(f"\nNext: bench check {source}:{''.join(word.capitalize() for word in name.split('-'))}")
    typer.echo(f"then: pip install -e {'.' if here else to / name}, and bench run --methods {name} --scenario bgl")
