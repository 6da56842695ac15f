"""The conformance kit: does a detector keep the promises of `bench.detector`?

    results = check_detector(MyDetector)
    print(summarise(results))
    assert conforms(results)

or, one pytest case per promise:

    @parametrize_with_checks([MyDetector])
    def test_conformance(check):
        check()

A check that cannot pass is listed in `expected_failures` with the reason; when it passes all the same, that fails.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from bench.detector import Detector, report_progress
from bench.errors import BenchError
from bench.testing.causes import causes_of
from bench.testing.checks import CHECKS
from bench.testing.trial import SkipCheck, Trial

if TYPE_CHECKING:
    import pytest

Status = Literal["passed", "failed", "xfail", "xpass", "skipped"]

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    name: str
    status: Status
    reason: str
    """Why the check exists; of a skipped check why it was skipped, of an expected failure why it is expected."""
    detail: str = ""
    """What went wrong, where something did."""


def check_detector(
    cls: type[Detector], *, config: object = None, expected_failures: Mapping[str, str] = _NOTHING
) -> list[CheckResult]:
    """Run every check on a detector class and return one result per check; print them with `summarise`.

    config: for detectors that need more data or epochs than the toy log's 60 short sequences give by default.
    expected_failures: reason by check name; a check that passes all the same counts as failed.
    """
    _refuse_bad_expectations(cls, expected_failures)
    trial = Trial(cls, config)
    results = []
    for number, check in enumerate(CHECKS):
        report_progress(check.__name__, number, len(CHECKS))
        results.append(_run(check, trial, expected_failures.get(check.__name__)))
    return results


def parametrize_with_checks(
    classes: Iterable[type[Detector]],
    *,
    configs: Mapping[type[Detector], Any] = MappingProxyType({}),
    expected_failures: Mapping[type[Detector], Mapping[str, str]] = MappingProxyType({}),
) -> pytest.MarkDecorator:
    """Decorate `def test_conformance(check): check()` to get one pytest case per class and check."""
    import pytest

    cases = []
    for cls in classes:
        expected = expected_failures.get(cls, _NOTHING)
        _refuse_bad_expectations(cls, expected)
        trial = Trial(cls, configs.get(cls))
        for check in CHECKS:
            case = functools.partial(_run_in_pytest, check, trial, expected.get(check.__name__))
            cases.append(pytest.param(case, id=f"{cls.__name__}-{check.__name__}"))
    if not cases:
        raise BenchError("parametrize_with_checks got no class: nothing would be checked")
    return pytest.mark.parametrize("check", cases)


def conforms(results: Sequence[CheckResult]) -> bool:
    """Whether something was checked and nothing failed; an unexpected pass is a failure."""
    return any(r.status == "passed" for r in results) and not any(r.status in {"failed", "xpass"} for r in results)


def summarise(results: Sequence[CheckResult]) -> str:
    """Return a line per cause of failures and per result that is no plain pass, then how many ran and how many failed.

    Checks that fail for one reason are one line; the traceback of each stands in its `detail`.
    """
    others = [r for r in results if r.status not in ("passed", "failed")]
    lines = [f"{r.status:7} {r.name}: {r.detail or r.reason}" for r in others]
    ran = sum(r.status != "skipped" for r in results)
    failed = sum(r.status in {"failed", "xpass"} for r in results)
    nothing = "" if conforms(results) or failed else "; nothing passed, so nothing was shown"
    return "\n".join([*lines, *failures(results), f"ran {ran} of {len(results)} checks, {failed} failed{nothing}"])


def failures(results: Sequence[CheckResult]) -> list[str]:
    """What failed, each cause once, with how many checks fail for it."""
    found = causes_of((r.name, r.detail) for r in results if r.status == "failed")
    lines = []
    for cause in found:
        first, *more = cause.names
        lines.append(f"failed  {first}: {cause.text}")
        if more:
            checks = "1 check more fails" if len(more) == 1 else f"{len(more)} checks more fail"
            lines.append(f"        {checks} for this reason: {', '.join(more)}")
    return lines


def _refuse_bad_expectations(cls: type[Detector], expected: Mapping[str, str]) -> None:
    known = [check.__name__ for check in CHECKS]
    if unknown := sorted(expected.keys() - set(known)):
        raise BenchError(f"{cls.__name__}: no check is called {', '.join(unknown)}; the checks are {', '.join(known)}")
    if empty := sorted(name for name, reason in expected.items() if not reason.strip()):
        raise BenchError(f"{cls.__name__}: the expected failure of {', '.join(empty)} needs a reason")


def _run(check: Callable[[Trial], None], trial: Trial, expected: str | None) -> CheckResult:
    name, why = check.__name__, (check.__doc__ or "").strip()
    try:
        if trial.fault is not None and check is not CHECKS[0]:
            raise SkipCheck(f"{CHECKS[0].__name__} failed")
        check(trial)
    except SkipCheck as skipped:
        return CheckResult(name, "skipped", str(skipped))
    except Exception as error:
        detail = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
        return CheckResult(name, "failed" if expected is None else "xfail", expected or why, detail)
    if expected is None:
        return CheckResult(name, "passed", why)
    return CheckResult(name, "xpass", expected, "passed although a failure was expected: remove the expectation")


def _run_in_pytest(check: Callable[[Trial], None], trial: Trial, expected: str | None) -> None:
    import pytest

    result = _run(check, trial, expected)
    match result.status:
        case "skipped":
            pytest.skip(result.reason)
        case "xfail":
            pytest.xfail(result.reason)
        case "failed" | "xpass":
            pytest.fail(f"{result.name}: {result.detail}\n{result.reason}", pytrace=False)
