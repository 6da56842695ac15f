"""The command line: one file per command group, no logic, and nothing heavy imported before a command needs it."""

from __future__ import annotations

import sys
from typing import Any, Final, NoReturn

import typer

from bench.cli import (
    audit,
    compare,
    data,
    fit,
    gate,
    lists,
    llmserve,
    newmethod,
    plot,
    probe,
    records,
    reproduce,
    results,
    run,
    status,
)
from bench.cli._options import EXIT_INTERRUPTED
from bench.errors import BenchError

_UsageError: Final[Any] = typer.BadParameter.__bases__[0]
"""What typer raises for an unknown option or a value it cannot convert; it exports only this subclass of it."""

app = typer.Typer(
    name="bench",
    help="Honest comparison of log anomaly detectors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.add_to(app)
status.add_to(app)
results.add_to(app)
gate.add_to(app)
compare.add_to(app)
plot.add_to(app)
lists.add_to(app)
fit.add_to(app)
newmethod.add_to(app)
probe.add_to(app)
reproduce.add_to(app)
reproduce.add_to_results(records.app)
app.add_typer(data.app, name="data")
app.add_typer(records.app, name="results")
app.add_typer(audit.app, name="audit")
app.add_typer(llmserve.app, name="llm")


def main() -> None:
    """Console script: bad input is one sentence on stderr and exit code 2."""
    try:
        sys.exit(app(prog_name="bench", standalone_mode=False))
    except BenchError as error:
        _stop(str(error))
    except _UsageError as error:
        # Without arguments the help was printed instead, and there is no message.
        _stop(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)


def _stop(message: str) -> NoReturn:
    if message:
        typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(2)
