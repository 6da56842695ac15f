"""Batch files of OpenAI's form (JSON lines): what a dry run would ask, and answers that become recorded ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench._files import replace_text
from bench.errors import BenchError
from bench.llm.answers import CallStore, call_key
from bench.llm.wire import PassingError, read_answer

_ADDRESS: Final = "/v1/chat/completions"
_REDACTED: Final = {True: "redacted", False: "plain"}


@dataclass(frozen=True)
class Kept:
    """What reading a batch gave."""

    n_kept: int
    n_known: int
    """Answers that were recorded before."""
    n_failed: int
    reason: str
    """Of the first that failed."""
    n_open: int
    """Requests without an answer."""


def write_batch(plan: Path, file: Path) -> int:
    """Write the calls that a dry run kept in a folder; returns how many. One model a file, as services want it.

    A call that follows from an answer is left out until that answer is recorded: write again after reading.
    """
    calls = [call for path in sorted(plan.glob("*.jsonl")) for call in _lines(path) if "request" in call]
    models = sorted({str(call["request"]["model"]) for call in calls})
    if len(models) > 1:
        raise BenchError(f"a batch file asks one model, and these are {' and '.join(models)}: write one for each")
    lines = [{"custom_id": _id(call), "method": "POST", "url": _ADDRESS, "body": call["request"]} for call in calls]
    try:
        replace_text(file, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    except OSError as error:
        raise BenchError(f"the batch file '{file}' cannot be written ({error.strerror}): choose another") from None
    return len(lines)


def read_batch(requests: Path, answers: Path, store: Path) -> Kept:
    """Keep the answers of a batch in a folder of recorded ones, under the model that the requests name."""
    asked = {str(line.get("custom_id")): line for line in _lines(requests)}
    stores: dict[str, CallStore] = {}
    n_kept = n_known = 0
    answered: set[str] = set()
    failures: list[str] = []
    for line in _lines(answers):
        name = str(line.get("custom_id"))
        if name not in asked:
            raise BenchError(
                f"'{answers}' answers '{name[:80]}', which '{requests}' does not ask: give the file it is of"
            )
        answered.add(name)
        call = _call_of(asked[name], line, requests)
        if isinstance(call, str):
            failures.append(call)
            continue
        model = call["request"]["model"]
        known = stores.setdefault(model, CallStore(store, model))
        if known.get(call["hash"]) is not None:
            n_known += 1
            continue
        known.append(call)
        n_kept += 1
    return Kept(n_kept, n_known, len(failures), failures[0] if failures else "", len(asked.keys() - answered))


def _id(call: Mapping[str, Any]) -> str:
    return f"{call['hash']}.{call['sample']}.{_REDACTED[call['redacted']]}"


def _call_of(request: Mapping[str, Any], line: Mapping[str, Any], requests: Path) -> dict[str, Any] | str:
    """A call as the store keeps it, or why there is none."""
    key, sample, redacted = _parts(request, requests)
    response = line.get("response")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        return _reason(line)
    try:
        found = read_answer(json.dumps(response.get("body")))
    except PassingError as error:
        return str(error)
    return found | {"hash": key, "request": request["body"], "sample": sample, "redacted": redacted}


def _parts(request: Mapping[str, Any], requests: Path) -> tuple[str, int, bool]:
    """Key, sample and redaction of a request; a BenchError where it is no longer what was written."""
    key, _, rest = str(request["custom_id"]).partition(".")
    sample, _, redacted = rest.partition(".")
    body = request.get("body")
    if not (isinstance(body, dict) and sample.isdecimal() and call_key(body, int(sample)) == key):
        raise BenchError(
            f"'{requests}' was changed at '{key[:16]}...': take the file that `bench llm batch write` made"
        )
    return key, int(sample), redacted == _REDACTED[True]


def _reason(line: Mapping[str, Any]) -> str:
    response, error = line.get("response"), line.get("error")
    body = response.get("body") if isinstance(response, dict) else None
    said = error or (body.get("error") if isinstance(body, dict) else None) or "no response"
    text = said.get("message") if isinstance(said, dict) else said
    return " ".join(str(text).split())[:200]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise BenchError(f"the batch file '{path}' cannot be read ({error}): correct the path") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise BenchError(f"line {number} of '{path}' is no JSON object: give a batch file of one object a line")
        yield found
