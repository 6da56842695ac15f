"""What a gate found, in the forms that a CI shows: JUnit XML, annotations of GitHub, a page for its step summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from bench.reporting import markdown
from bench.reporting.gate_part import method_of

if TYPE_CHECKING:
    from bench.reporting.gate import Finding

NAME: Final = "bench gate"
MAX_ANNOTATIONS: Final = 10
"""As many as GitHub shows of one step; the last says how many more there are."""


class Verdict:
    """The findings of a gate, row by row."""

    def __init__(self, findings: Sequence[Finding], stale: Mapping[str, str]) -> None:
        self.findings = findings
        self.stale = stale

    @property
    def failed(self) -> list[Finding]:
        """Values that fell or are missing."""
        return [finding for finding in self.findings if finding.failed]

    @property
    def holds(self) -> bool:
        """Whether nothing fell, is missing, or is stale."""
        return not self.stale and not self.failed

    @property
    def sentence(self) -> str:
        """`gate: 45 of 48 values hold`."""
        n = len(self.findings)
        return f"gate: {n - len(self.failed)} of {n} values hold"

    def wrong_rows(self) -> Iterator[tuple[str, str, list[str]]]:
        """Each row with something wrong: its name, what is wrong in a word, and the sentences."""
        for row, why in self.stale.items():
            yield row, "stale", [why]
        rows: dict[str, list[Finding]] = {}
        for finding in self.failed:
            rows.setdefault(finding.row, []).append(finding)
        for row, found in rows.items():
            if all(finding.found is None for finding in found):
                yield row, "missing", [found[0].why]
            else:
                yield row, "worse", [str(finding) for finding in found]


def junit(verdict: Verdict) -> str:
    """JUnit XML: a test case for each value of the baseline, and one for each stale row."""
    suite = ElementTree.Element("testsuite", name=NAME)
    for row, why in verdict.stale.items():
        _case(suite, row, "made by the installed code", f"stale: {why}")
    for finding in verdict.findings:
        problem = ""
        if finding.failed:
            problem = f"missing: {finding.why}" if finding.found is None else str(finding)
        _case(suite, finding.row, finding.metric, problem)
    n_failed = len(verdict.stale) + len(verdict.failed)
    counts = {"tests": str(len(suite)), "failures": str(n_failed), "errors": "0", "skipped": "0"}
    suite.attrib.update(counts)
    root = ElementTree.Element("testsuites", {"name": NAME, **counts})
    root.append(suite)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def annotation_lines(verdict: Verdict) -> list[str]:
    """Lines that GitHub Actions shows beside a run, one for each row with something wrong."""
    wrong = list(verdict.wrong_rows())
    shown = wrong if len(wrong) <= MAX_ANNOTATIONS else wrong[: MAX_ANNOTATIONS - 1]
    lines = [
        f"::error title={_property(f'{method_of(row)} is {word}')}::{_message(f'{_spoken(row)}: {_listed(said)}')}"
        for row, word, said in shown
    ]
    more = len(wrong) - len(shown)
    return lines + ([f"::error title={NAME}::{more} more rows are worse, missing or stale"] if more else [])


def step_summary(verdict: Verdict) -> str:
    """A page in markdown: the sentence, and a table of what is wrong."""
    parts = [f"### {'Passed' if verdict.holds else 'Failed'}: {verdict.sentence}"]
    rows = [[_spoken(row), word, "; ".join(said)] for row, word, said in verdict.wrong_rows()]
    if rows:
        parts.append(markdown.table([list(map(_cell, row)) for row in rows], ["row", "is", "why"]))
    return "\n\n".join(parts) + "\n"


def _case(suite: ElementTree.Element, row: str, name: str, problem: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=_plain(_spoken(row)), name=name)
    if problem:
        failure = ElementTree.SubElement(case, "failure", message=_plain(problem))
        failure.text = _plain(f"{row}\n{problem}")


def _spoken(row: str) -> str:
    return row.replace(" | ", ", ")


def _listed(said: Iterable[str]) -> str:
    return "; ".join(said)


def _plain(text: str) -> str:
    """Without the characters that no XML may hold, not even escaped."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def _cell(text: str) -> str:
    return _plain(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
