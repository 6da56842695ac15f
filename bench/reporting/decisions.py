"""The decision table of a study, as a page and as data: the validation part alone, no value of a test part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench._files import replace_text
from bench.experiment.settings import parse_seeds
from bench.experiment.study import Study, Trial
from bench.experiment.study_rule import Decision, Judged, Paired
from bench.experiment.suites import Suite
from bench.records.record import record_text
from bench.reporting import markdown

_DECIMALS: Final = 6


def write_decisions(folder: Path, suite: Suite, decisions: Sequence[Decision]) -> list[Path]:
    """Write `studies/NAME/decisions.md` and `.json` below a results folder, and return them."""
    place = folder / "studies" / suite.name
    page, data = place / "decisions.md", place / "decisions.json"
    replace_text(page, render_decisions(suite, decisions))
    replace_text(data, record_text(decisions_as_json(suite, decisions)))
    return [page, data]


def render_decisions(suite: Suite, decisions: Sequence[Decision]) -> str:
    """The rule, a line for each method, then the trials of each, as markdown."""
    study = _study_of(suite)
    summary = [
        [markdown.plain(found.method), _cell(_words(found)), _change(found), str(len(found.trials)), _places(found)]
        for found in decisions
    ]
    headers = ["method", "decision", "better by (95 % interval)", "trials", "judged on"]
    parts = [
        f"# What the study {suite.name} decides",
        f"{suite.description}.",
        f"{study.rule} The first seed chose the candidates, so the mean over seeds flatters them; the column of the "
        "second seeds alone does not. What becomes a default must pass `bench check METHOD --set ...` before.",
        markdown.table(summary, headers),
        *(_section(study, found) for found in decisions),
    ]
    return "\n\n".join(parts) + "\n"


def decisions_as_json(suite: Suite, decisions: Sequence[Decision]) -> dict[str, Any]:
    """The same as data, with the runs behind each trial."""
    study = _study_of(suite)
    return {
        "study": suite.name,
        "metric": f"{study.metric} of the validation part",
        "rule": study.rule,
        "seeds": study.seeds,
        "methods": [_method_as_json(found) for found in decisions],
    }


def _section(study: Study, found: Decision) -> str:
    places = list(found.places)
    headers = ["trial", *(_place(place) for place in places), "first", "all seeds", "second seeds", "difference", ""]
    ranked = sorted(found.trials, key=lambda judged: -(judged.first_mean if judged.first_mean is not None else -1.0))
    rows = [
        [
            markdown.plain(judged.trial.label),
            *(_number(judged.first.get(place)) for place in places),
            _number(judged.first_mean),
            _number(judged.mean),
            _second(study, judged),
            _interval(judged.difference),
            _remark(found, judged),
        ]
        for judged in ranked
    ]
    base = found.trials[0].trial.base
    lines = [f"## {markdown.plain(found.method)}", markdown.table(rows, headers)]
    lines += [f"The default here has {', '.join(base)}."] if base else []
    lines += [f"Left out: {_place(place)} ({markdown.plain(why)})." for place, why in found.left_out.items()]
    return "\n\n".join([*lines, f"**{_words(found)}.**"])


def _words(found: Decision) -> str:
    if not found.places:
        return "not decided: its default has no value"
    if found.chosen.is_default:
        return "the default stays" if found.is_decided else "not decided yet: runs are missing, the default stays"
    sets = " ".join(f"--set {text}" for text in found.chosen.settings)
    return f"{found.chosen.label} becomes the default if `bench check {found.method} {sets}` passes"


def _cell(words: str) -> str:
    """As it may stand in a cell of a table, its code kept."""
    return words.replace("|", r"\|")


def _change(found: Decision) -> str:
    chosen = next(judged for judged in found.trials if judged.trial == found.chosen)
    return _interval(chosen.difference)


def _remark(found: Decision, judged: Judged) -> str:
    if judged.trial.is_default:
        return "default"
    if judged.trial == found.chosen:
        return "better"
    if judged.failure:
        return markdown.plain(judged.failure)
    return "" if judged.difference is None else "not better by the rule"


def _second(study: Study, judged: Judged) -> str:
    """The mean difference over the second seeds alone."""
    if judged.difference is None:
        return ""
    later = judged.difference.by_seed[len(parse_seeds(study.first_seeds)) :]
    return f"{sum(later) / len(later):+.4f}" if later else ""


def _interval(difference: Paired | None) -> str:
    if difference is None:
        return ""
    return f"{difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _place(place: tuple[str, str]) -> str:
    scenario, split = place
    return scenario if split == "chronological" else f"{scenario}, {split}"


def _places(found: Decision) -> str:
    return ", ".join(_place(place) for place in found.places)


def _method_as_json(found: Decision) -> dict[str, Any]:
    return {
        "method": found.method,
        "decision": _words(found),
        "is_decided": found.is_decided,
        "chosen": _settings(found.chosen),
        "places": [list(place) for place in found.places],
        "left_out": [[*place, why] for place, why in found.left_out.items()],
        "trials": [_trial_as_json(judged) for judged in found.trials],
    }


def _trial_as_json(judged: Judged) -> dict[str, Any]:
    difference = judged.difference
    return {
        "settings": _settings(judged.trial),
        "is_default": judged.trial.is_default,
        "first": [[*place, round(value, _DECIMALS)] for place, value in judged.first.items()],
        "first_mean": _rounded(judged.first_mean),
        "mean": _rounded(judged.mean),
        "difference": None
        if difference is None
        else {
            "mean": _rounded(difference.mean),
            "low": _rounded(difference.low),
            "high": _rounded(difference.high),
            "by_seed": [_rounded(value) for value in difference.by_seed],
        },
        "failure": judged.failure,
        "run_ids": list(judged.run_ids),
    }


def _settings(trial: Trial) -> list[str]:
    return list(trial.settings)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def _study_of(suite: Suite) -> Study:
    assert suite.study is not None
    return suite.study
