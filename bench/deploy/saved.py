"""Saved detectors: a folder with `detector.json` and `detector.safetensors`, nothing in it is ever run."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import registry
from bench.data.cards.card import Card, Format, ParserSettings
from bench.data.cards.catalogue import Catalogue
from bench.data.sequences.grouping import Grouping
from bench.data.sequences.loader import Loader, Prepared
from bench.data.sequences.vocabulary import Vocabulary
from bench.detector import Detector
from bench.errors import BenchError
from bench.evaluation.thresholds import Threshold, ThresholdRule, estimate
from bench.experiment.environment import describe_environment
from bench.experiment.runner import Settings, fit_again
from bench.experiment.spec import Cell
from bench.records.store import jsonable
from bench.types import NORMAL

VERSION: Final = 1
_FACTS, _ARRAYS = "detector.json", "detector.safetensors"


@dataclass(frozen=True)
class Fitted:
    """A fitted detector with all that scoring new lines needs."""

    detector: Detector
    vocabulary: Vocabulary
    cards: tuple[Card, ...]
    """The editions it was fitted on; new lines are read by the format of one of them."""
    grouping: Grouping
    rule: str
    threshold: Threshold
    facts: Mapping[str, Any]
    """Provenance: method, config, spec, run_id, counts, environment."""

    def card_of(self, system: str | None) -> tuple[int, Card]:
        """The system whose format new lines have, with its index; it must be named where there are several."""
        names = [card.name for card in self.cards]
        if system is None and len(names) > 1:
            raise BenchError(f"the detector knows {' and '.join(names)}: say with --system whose lines these are")
        if system is not None and system not in names:
            raise BenchError(f"the detector does not know '{system}': choose one of {', '.join(names)}")
        index = 0 if system is None else names.index(system)
        return index, self.cards[index]


def fit(cell: Cell, catalogue: Catalogue, settings: Settings, rule: ThresholdRule) -> Fitted:
    """Fit the method of a cell on its training part, and estimate the threshold from its validation part."""
    prepared = Loader(catalogue).prepare(cell.data)
    if prepared.skip_reason is not None:
        raise BenchError(f"'{cell.method.label}' cannot be fitted: {prepared.skip_reason}")
    if not prepared.vocabulary.reads_lines:
        raise BenchError(
            f"'{cell.scenario.key}' holds event ids, so what is fitted on it cannot read lines: use an edition of lines"
        )
    detector, visible = fit_again(cell, prepared, settings)
    return Fitted(
        detector,
        prepared.vocabulary,
        cell.scenario.train,
        cell.grouping,
        str(rule),
        _threshold(detector, visible, rule),
        _provenance(cell, prepared, settings),
    )


def save(fitted: Fitted, folder: Path) -> None:
    """Write the folder; a detector that defines no `state` is a BenchError."""
    from safetensors.numpy import save_file

    try:
        # safetensors writes the memory as it lies, whatever the strides.
        arrays = {name: np.array(values, order="C") for name, values in fitted.detector.state().items()}
    except TypeError as error:
        raise BenchError(f"{error}: choose a method that can be saved") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(arrays, folder / _ARRAYS)
        (folder / _FACTS).write_text(json.dumps(_as_json(fitted), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BenchError(f"the detector cannot be saved in '{folder}' ({error.strerror}): use another folder") from None


def load(folder: Path, *, device: str = "cpu") -> Fitted:
    """A detector that `save` wrote; anything else is a BenchError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        arrays = load_file(folder / _ARRAYS)
    except OSError as error:
        raise BenchError(f"'{folder}' holds no saved detector ({error.strerror}): make one with `bench fit`") from None
    except (ValueError, SafetensorError) as error:
        raise BenchError(f"the detector in '{folder}' is damaged ({error}): fit it again") from None
    if facts.get("version") != VERSION:
        raise BenchError(
            f"the detector in '{folder}' has the format {facts.get('version')}, not {VERSION}: fit it again"
        )
    detector_class = registry.load(registry.find(facts["method"]["name"]))
    detector = detector_class(detector_class.Config(**facts["method"]["config"]), seed=facts["seed"], device=device)
    cards = tuple(_card(values) for values in facts["systems"])
    return Fitted(
        detector.load_state(arrays),
        Vocabulary.from_state(facts["vocabulary"], cards[0].parser),
        cards,
        Grouping(**facts["grouping"]),
        facts["threshold"]["rule"],
        Threshold(float(facts["threshold"]["value"]), facts["threshold"]["fitted_on"], facts["threshold"]["n"]),
        facts["provenance"],
    )


def _threshold(detector: Detector, prepared: Prepared, rule: ThresholdRule) -> Threshold:
    normals = prepared.validation.sequences.select(prepared.validation.labels == NORMAL)
    found = estimate(rule, validation_normals=detector.score(normals), native=detector.native_threshold_)
    if found.value is None:
        raise BenchError(f"the threshold {rule} cannot be estimated ({found.reason}): choose another with --threshold")
    return found


def _provenance(cell: Cell, prepared: Prepared, settings: Settings) -> dict[str, Any]:
    return {
        "method": cell.method.label,
        "told": cell.told,
        "scenario": cell.scenario.key,
        "run_id": cell.run_id,
        "spec": cell.spec(),
        "counts": {name: value for name, value in prepared.facts.items() if isinstance(value, int | float)},
        "threads": settings.threads,
        "environment": describe_environment(),
        "fitted_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "method_ref": cell.method.ref.name,
        "config": dict(cell.method.config),
        "seed": cell.seed,
    }


def _as_json(fitted: Fitted) -> Any:
    facts = dict(fitted.facts)
    threshold = fitted.threshold
    return jsonable(
        {
            "version": VERSION,
            "method": {"name": facts.pop("method_ref"), "config": facts.pop("config")},
            "seed": facts.pop("seed"),
            "systems": [_system(card) for card in fitted.cards],
            "grouping": asdict(fitted.grouping),
            "threshold": {
                "rule": fitted.rule,
                "value": threshold.value,
                "fitted_on": threshold.fitted_on,
                "n": threshold.n,
            },
            "provenance": facts,
            "vocabulary": fitted.vocabulary.state(),
        }
    )


def _system(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "edition": card.edition,
        "format": asdict(card.format),
        "parser": asdict(card.parser),
    }


def _card(values: Mapping[str, Any]) -> Card:
    parser = ParserSettings(**{**values["parser"], "masks": tuple(values["parser"]["masks"])})
    return Card(
        name=values["name"],
        edition=values["edition"],
        title="",
        tier="development",
        rank=0,
        kind="lines",
        licence="",
        citation="",
        format=Format(**values["format"]),
        parser=parser,
    )
