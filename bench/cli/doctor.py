"""`bench doctor`, and `bench --version`."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from bench import __version__
from bench.cli._options import EXIT_GATE, RESULTS, AsJson, Data, Out, say


def add_to(app: typer.Typer) -> None:
    """Register the command, and the option of the program."""
    app.command("doctor")(doctor)
    app.callback()(options)


def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print it.")
    ] = False,
) -> None:
    """Honest comparison of log anomaly detectors."""


def _tell_version(wanted: bool) -> None:
    if not wanted:
        return
    from bench.experiment.spec import PROTOCOL_VERSION

    say(f"bench {__version__} (protocol {PROTOCOL_VERSION})")
    raise typer.Exit


def doctor(data: Data = None, out: Out = RESULTS, as_json: AsJson = False) -> None:
    """Check the installation part by part and say what to do; exit 1 when something is wrong."""
    from bench.experiment.checkup import check_up
    from bench.experiment.environment import describe_environment
    from bench.experiment.spec import PROTOCOL_VERSION

    environment = describe_environment() | {"version": __version__, "protocol_version": PROTOCOL_VERSION}
    if not as_json:
        say(f"bench {__version__} (protocol {PROTOCOL_VERSION}), Python {environment['python']}")
        say(", ".join(f"{name} {number}" for name, number in environment["packages"].items()))
    findings = []
    for found in check_up(data, out):
        findings.append(found)
        if not as_json:
            _say(found.part, found.state, found.found, found.advice)
    if as_json:
        say(json.dumps(environment | {"findings": [dataclasses.asdict(found) for found in findings]}, indent=1))
    if any(found.state == "wrong" for found in findings):
        raise typer.Exit(EXIT_GATE)


def _say(part: str, state: str, found: str, advice: str) -> None:
    say(f"{state:5}  {part}: {found}")
    if advice:
        say(f"       {advice}")
