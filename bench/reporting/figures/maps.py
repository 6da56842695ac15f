"""Figures of kind `map`: t-SNE of the vectors a fitted detector gives to as many normal as abnormal test sequences.

Records hold no vectors, so the detector is fitted again, with the seed and on the data of its run; whether it flags as
many sequences as the record says is tested and told. What is plotted is kept: coordinates, labels, flags, sequence ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.contract import require_vectors
from bench.data.sequences.loader import Loader, Prepared
from bench.data.sequences.vocabulary import Part
from bench.detector import Detector
from bench.errors import BenchError
from bench.evaluation.thresholds import flag
from bench.experiment.cell import fit_again
from bench.experiment.measure import ALL
from bench.experiment.spec import Cell
from bench.records.store import Record
from bench.reporting.figures.figure import Figure, FigureRequest, Kind, Options, standing
from bench.reporting.figures.picture import BLUE, ORANGE, PURPLE, VERMILLION, legend_below, panels_of, title_panel
from bench.types import ABNORMAL, NORMAL

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """One figure for each scenario and split, a map in it for each method that has vectors."""
    n, seed = options.get("n", 800), options.get("seed", 0)
    if not isinstance(n, int) or n < 4:
        raise BenchError(f"a map needs n sequences, a whole number from 4, not {n!r}")
    notes = [*request.plan.notes, *request.missing]
    loader = Loader(request.catalogue)
    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    last: tuple[object, Prepared] | None = None
    for cell in {cell.run_id: cell for cell in request.plan.cells}.values():
        record = request.records.get(cell.run_id)
        if cell.method.ref.is_control or record is None:
            continue
        if record["status"] != "ok":
            notes.append(f"{cell.method.label}: {record['status']}, {record['reason']}")
            continue
        if last is None or last[0] != cell.data_key:
            last = (cell.data_key, loader.prepare(cell.data))
        made = _map(cell, record, last[1], request, n=n, seed=seed)
        if made is None:
            notes.append(f"left out {cell.method.label}: it represents no sequence as a vector")
        else:
            panels.setdefault((cell.scenario.key, cell.split), []).append(made)
    if not panels:
        raise BenchError(f"no method of the suite '{request.suite.name}' has a finished run and vectors to map")
    return [_figure(request, key, maps, notes) for key, maps in panels.items()]


def _figure(request: FigureRequest, key: tuple[str, str], maps: list[dict[str, Any]], notes: list[str]) -> Figure:
    scenario, split = key
    own = [f"{m['method']}: {m['note']}" for m in maps if m["note"]]
    content = {"scenario": scenario, "split": split, "rule": request.rule, "maps": maps}
    ids = tuple(one["run_id"] for one in maps)
    return Figure(f"{request.suite.name}-{scenario}-{split}", "map", content, ids, (*notes, *own))


def _map(
    cell: Cell, record: Record, prepared: Prepared, request: FigureRequest, *, n: int, seed: int
) -> dict[str, Any] | None:
    detector, prepared = fit_again(cell, prepared, request.settings)
    chosen = balanced_sample(prepared.test.labels, n, seed)
    vectors = require_vectors(detector.represent(prepared.test.sequences.select(chosen)), len(chosen))
    if vectors is None:
        return None
    flagged, note = _flagged(detector, prepared.test, record, request.rule)
    xy = t_sne(vectors, seed)
    ids = prepared.test.sequences.ids
    return {
        "method": cell.method.label,
        "seed": cell.seed,
        "run_id": cell.run_id,
        "standing": standing(record),
        "note": note,
        "n_distinct": len(np.unique(vectors.round(5), axis=0)),
        "x": [round(value, 4) for value in xy[:, 0].tolist()],
        "y": [round(value, 4) for value in xy[:, 1].tolist()],
        "label": prepared.test.labels[chosen].tolist(),
        "flagged": None if flagged is None else flagged[chosen].astype(int).tolist(),
        "sequence": [ids[i] for i in chosen] if ids else chosen.tolist(),
    }


def balanced_sample(labels: NDArray[np.int8], n: int, seed: int) -> NDArray[np.int64]:
    """Positions of n sequences, half of them abnormal, or of as many as both kinds have; ascending."""
    rng = np.random.default_rng(seed)
    normal, abnormal = np.flatnonzero(labels == NORMAL), np.flatnonzero(labels == ABNORMAL)
    half = min(n // 2, len(normal), len(abnormal))
    return np.sort(np.concatenate([rng.permutation(normal)[:half], rng.permutation(abnormal)[:half]]))


def t_sne(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    """float64 (n, 2): t-SNE of the vectors, from their first two principal components."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    made = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors.astype(np.float64))
    return np.asarray(made, np.float64)


def _flagged(detector: Detector, test: Part, record: Record, rule: str) -> tuple[NDArray[np.bool_] | None, str]:
    """What the fit made again flags in the test part, and what a reader must know of it."""
    threshold = record["thresholds"].get(rule, {"value": None, "reason": "the record does not hold this rule"})
    if threshold["value"] is None:
        return None, f"no threshold at {rule}: {threshold['reason']}"
    flagged = flag(detector.score(test.sequences), float(threshold["value"]))
    expected = record["metrics"][ALL]["rules"][rule]
    found = {
        "tp": int((flagged & (test.labels == ABNORMAL)).sum()),
        "fp": int((flagged & (test.labels == NORMAL)).sum()),
    }
    if all(found[name] == expected[name] for name in found):
        return flagged, ""
    return flagged, (
        f"the fit made again flags {found['tp']} abnormal and {found['fp']} normal sequences, "
        f"the record {expected['tp']} and {expected['fp']}: another machine or other versions"
    )


def _draw(content: Mapping[str, Any]) -> Picture:
    """A map for each method: normal and abnormal sequences, and those flagged wrongly, marked as in the paper."""
    maps = content["maps"]
    picture, grid = panels_of(len(maps), columns=min(len(maps), 3), width=3.9, height=3.9)
    for axes, one in zip(grid, maps, strict=True):
        n = len(one["label"])
        flagged = one["flagged"] or one["label"]
        for label, hit, name, colour, marker, size in (
            (0, 0, "normal", VERMILLION, "o", 13),
            (1, 1, "abnormal", BLUE, "^", 17),
            (0, 1, "false positive", ORANGE, "x", 26),
            (1, 0, "false negative", PURPLE, "x", 26),
        ):
            chosen = [i for i in range(n) if one["label"][i] == label and flagged[i] == hit]
            edge = {"linewidths": 1.3} if marker == "x" else {"edgecolors": "white", "linewidths": 0.3}
            x, y = ([one[axis][i] for i in chosen] for axis in ("x", "y"))
            axes.scatter(x, y, s=size, c=colour, marker=marker, alpha=0.85, label=f"{name}", **edge)
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.spines[["top", "right"]].set_visible(True)
        facts = {**content, "standing": one["standing"]}
        wrong = [sum(a == label != b for a, b in zip(one["label"], flagged, strict=True)) for label in (0, 1)]
        errors = f"{wrong[0]} FP, {wrong[1]} FN" if one["flagged"] else "no threshold"
        title_panel(
            axes,
            facts,
            f"{one['method']} on {content['scenario']}",
            f"{n} test sequences, half of them abnormal; {errors}",
            f"{one['n_distinct']} distinct vectors, seed {one['seed']}",
        )
    legend_below(picture, grid)
    return picture


KIND: Final = Kind("map", ("n", "seed"), _gather, _draw)
