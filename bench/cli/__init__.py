"""The command line: one file per command group, no logic, and nothing heavy imported before a command needs it."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import re
import sys
import threading
from typing import Any, Final, TextIO

import typer

from bench._files import as_typed
from bench.cli import (
    audit,
    batch,
    check,
    compare,
    data,
    doctor,
    errors,
    exchange,
    fit,
    gate,
    lists,
    llmserve,
    plot,
    probe,
    records,
    report,
    reproduce,
    results,
    run,
    score,
    status,
)
from bench.cli._options import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from bench.errors import BenchError, choose_one, harmless

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
results.add_to(app)
gate.add_to(app)
compare.add_to(app)
errors.add_to(app)
plot.add_to(app)
report.add_to(app)
lists.add_to(app)
check.add_to(app)
doctor.add_to(app)
fit.add_to(app)
score.add_to(app)
probe.add_to(app)
reproduce.add_to_results(records.app)
results.add_to_results(records.app)
status.add_to(records.app)
app.add_typer(data.app, name="data")
app.add_typer(records.app, name="results")
app.add_typer(audit.app, name="audit")
llmserve.app.add_typer(batch.app, name="batch")
exchange.add_to(llmserve.app)
app.add_typer(llmserve.app, name="llm")


_NO_OUTPUT: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What writing to stdout fails with; an error of a file names it, and is one sentence already."""


def main() -> None:
    """Console script: bad input is one sentence on stderr and exit code 2.

    Threads and processes that a plugin left running are not waited for: what was written is whole by then.
    """
    code = _flushed(_outcome())
    if _is_left_running():
        os._exit(code)
    sys.exit(code)


_NOT_ONE_OF: Final = re.compile(r"(?:Value error, )?'(?P<word>[^']*)' is not one of (?P<known>'.+')\.?$")

_MOVED: Final = {
    "sweep": "give `bench run` the range, --set mlad.alpha=1.0:1.6:0.1",
    "show": "it is `bench results show` now",
    "status": "it is `bench results status` now",
    "reproduce": "it is `bench results reproduce` now",
    "version": "it is `bench --version` now, and `bench doctor` tells of the libraries",
    "new-method": "it is `bench check NAME --new` now",
}
"""Commands of earlier versions, and where each is now."""


def _outcome() -> int:
    """Run the command; returns the exit code."""
    try:
        if sys.argv[1:2] and sys.argv[1] in _MOVED:
            raise BenchError(f"there is no command '{sys.argv[1]}' any more: {_MOVED[sys.argv[1]]}")
        return app(prog_name="bench", standalone_mode=False) or 0
    except BenchError as error:
        return _complain(str(error))
    except _UsageError as error:
        # Without arguments the help was printed instead, and there is no message.
        return _complain(_with_nearest(error.format_message()))
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_OUTPUT:
            return _complain(f"what there is to say cannot be written ({error.strerror}): make room, or pipe elsewhere")
        if not _is_left_running():
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        return 1


def _with_nearest(message: str) -> str:
    """What typer says of a word that is none of several, with the nearest of them."""
    found = _NOT_ONE_OF.search(message)
    if found is None:
        return message
    known = re.findall(r"'([^']+)'", found["known"])
    return f"{message[: found.start()]}there is no '{found['word']}': {choose_one(found['word'], known)}"


def _flushed(code: int) -> int:
    """The exit code, after all was handed over; what cannot be is dropped, or Python would fail once more."""
    for stream in (sys.stdout, sys.stderr):
        if not _can_be_written(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = code or EXIT_BAD_INPUT
    return code


def _can_be_written(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    except ValueError:  # closed by a plugin: nothing waits in it
        return True
    return True


def _is_left_running() -> bool:
    here = (threading.main_thread(), threading.current_thread())
    threads = any(thread not in here and not thread.daemon for thread in threading.enumerate())
    return threads or any(not process.daemon for process in multiprocessing.active_children())


def _complain(message: str) -> int:
    if message:
        with contextlib.suppress(OSError):
            typer.echo(f"error: {harmless(as_typed(' '.join(message.split())))}", err=True)
    return EXIT_BAD_INPUT
