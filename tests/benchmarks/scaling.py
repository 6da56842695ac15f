"""What large comparisons take, by arithmetic from measured seconds; all numbers of docs/scaling.md come from here.

    python tests/benchmarks/scaling.py [--lines 4747963] [--seeds 5] [--jobs 4] [--without edit-distance,knn-embedding]
    python tests/benchmarks/scaling.py --check            # exit 1 when the page says something else; --write writes it
    python tests/benchmarks/scaling.py --take [RUNS.json]  # new measurements: of bench_moonshot.py, and of the records

The measurements lie in scaling.json beside this file, the words of the page in scaling.md.in. A network's cell takes
`start + steps * step + (once + score) * lines`: the steps are the common budget at every size, and at most 512 of what
is held out is looked at. Two numbers of steps at the smallest size, and two sizes, give the four. Any other method
takes what it took at the largest size, by the power of the size that lies between the two largest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scaling_model import Cells, Model, hours, of_methods, wall_h

from bench import registry
from bench.isolation.lodging import describe
from bench.records.record import Record
from bench.records.store import Store
from methods.shared.training import TrainingSettings

HERE = Path(__file__).parent
MEASURED = HERE / "scaling.json"
WORDS = HERE / "scaling.md.in"
PAGE = HERE.parents[1] / "docs" / "scaling.md"
SPLITS = ("chronological", "paper")
PAPER_SCENARIOS = ("bgl@text-stream-a", "hdfs@blocks-a")
"""Where networks were recorded under both."""
WANT_ABNORMAL = ("labels", "first-normals", "abnormal")
"""Of a source: told so, a method is skipped under `paper`, which trains on normals alone."""


def answer(model: Model, lines: int, seeds: int, jobs: int, without: set[str]) -> str:
    """What a comparison of a BGL-like log of any size takes."""
    millions = lines / 1e6
    cells = model.cells(millions, seeds)
    cells = cells.only(set(cells.seconds) - without)
    longest = cells.longest()
    efficiency = model.measured["efficiency"]
    rows = [
        f"{lines:,} lines, {len(cells.seconds)} methods and controls, {seeds} seeds, {len(SPLITS)} splits: "
        f"{len(cells.all())} cells",
        f"CPU            {hours(sum(cells.all()))}, networks {hours(sum(cells.only(set(model.networks)).all()))} of it",
        f"wall, {jobs} jobs   {hours(3600 * wall_h(cells, jobs, efficiency))}, "
        f"no machine below {hours(cells.seconds[longest])}: one cell of {longest}",
    ]
    peaks = [model.peak_gib(name, millions) for name in set(model.networks) & set(cells.seconds)]
    jobs_need = f", and up to {max(peaks):.1f} GiB for each job with a network" if peaks else ""
    rows.append(f"memory         {model.driver_gib(millions):.1f} GiB{jobs_need}")
    return "\n".join(rows)


def page(measured: dict[str, Any]) -> str:
    """docs/scaling.md: the words with the tables and numbers in them."""
    return WORDS.read_text(encoding="utf-8").format_map(tables(measured) | facts(measured))


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """The tables of the page by name."""
    model = Model(measured)
    return {
        "example": answer(model, 10_000_000, 5, 4, set()),
        "example_without": answer(model, 211_212_192, 5, 4, {"edit-distance", "knn-embedding", "ecvc-idf"}),
        "methods": _table(
            ("one cell at 4.75M lines, CPU s", "training", "grows with lines", "in all", "GiB"),
            [_method_row(model, name) for name in _by_cost(model)],
        ),
        "logs": _table(
            ("", "lines", "cells", "networks, CPU h", "all others, CPU h", "longest cell"), _log_rows(model)
        ),
        "machines": _table(("", *_MACHINES), _machine_rows(model)),
        "memory": _table(("GiB", "1M lines", "BGL, 4.75M", "HDFS, 11.2M", "Thunderbird, 211M"), _memory_rows(model)),
    }


def _by_cost(model: Model) -> list[str]:
    bgl = model.measured["logs"]["bgl"]["lines"] / 1e6
    names = [*model.networks, *model.others]
    costly = [name for name in names if model.seconds(name, bgl) >= 2.0]
    return sorted(costly, key=lambda name: -model.seconds(name, bgl))


def _method_row(model: Model, name: str) -> tuple[str, ...]:
    bgl = model.measured["logs"]["bgl"]["lines"] / 1e6
    if name in model.others:
        other = model.others[name]
        return (f"`{name}`", "", f"n^{other.power:.1f}", f"{model.seconds(name, bgl):,.0f}", "")
    network = model.networks[name]
    return (
        f"`{name}`",
        f"{model.steps * network.step:,.0f}",
        f"{(network.once + network.score) * bgl:.0f}",
        f"{model.seconds(name, bgl):,.0f}",
        f"{model.peak_gib(name, bgl):.2f}",
    )


def _of_log(model: Model, log: str) -> Cells:
    """Cells of a log; HDFS from the seconds of its records, since its sessions repeat and those of BGL do not."""
    known = model.measured["logs"][log]
    if "records" not in known:
        return model.cells(known["lines"] / 1e6, 5)
    times = model.cells(1.0, 5).times
    grown = known["sessions"] / known["records"]["sessions"]
    methods = known["records"]["methods"]
    engine = model.engine(known["sessions"] * 20 / 1e6)
    seconds = {
        name: found["fit_s"] * (1.0 if name in model.networks else grown) + found["score_s"] * grown + engine
        for name, found in methods.items()
    }
    return Cells(seconds, {name: value for name, value in times.items() if name in seconds})


def _log_rows(model: Model) -> list[tuple[str, ...]]:
    rows = []
    for log, known in model.measured["logs"].items():
        cells = _of_log(model, log)
        networks = set(model.networks)
        longest = cells.longest()
        rows.append(
            (
                known["name"],
                f"{known['lines']:,}",
                f"{len(cells.all())}",
                f"{sum(cells.only(networks).all()) / 3600:,.1f}",
                f"{sum(cells.only(set(cells.seconds) - networks).all()) / 3600:,.1f}",
                f"{hours(cells.seconds[longest])}, `{longest}`",
            )
        )
    return rows


_MACHINES = ("CPU h", "laptop, 4 jobs", "cluster, 20 nodes", "its floor")


def _machine_rows(model: Model) -> list[tuple[str, ...]]:
    measured = model.measured
    rows = []
    for log, known in measured["logs"].items():
        for without in ((), tuple(measured["quadratic"])):
            cells = _of_log(model, log)
            less = cells.only(set(cells.seconds) - set(without))
            if without and sum(less.all()) > 0.95 * sum(cells.all()):
                continue  # it would say the same again
            cells = less
            prepare = model.prepare(known["lines"] / 1e6) / 3600
            slots = measured["nodes"] * measured["cores_per_node"]
            rows.append(
                (
                    known["name"] + (" without " + ", ".join(f"`{name}`" for name in without) if without else ""),
                    f"{sum(cells.all()) / 3600:,.1f}",
                    hours(3600 * (prepare + wall_h(cells, 4, measured["efficiency"]))),
                    hours(3600 * (prepare + wall_h(cells, slots, measured["efficiency"]))),
                    hours(3600 * prepare + max(cells.seconds.values())),
                )
            )
    return rows


def _memory_rows(model: Model) -> list[tuple[str, ...]]:
    sizes = (1.0, *(known["lines"] / 1e6 for known in model.measured["logs"].values()))
    rows = [("the command, for all jobs", *(f"{model.driver_gib(size):.1f}" for size in sizes))]
    costly = sorted(model.networks, key=lambda name: -model.peak_gib(name, sizes[-1]))
    for name in (costly[0], costly[-1]):
        rows.append((f"a job with `{name}`", *(f"{model.peak_gib(name, size):.1f}" for size in sizes)))
    return rows


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_CONTROLS = ("all-positive", "random", "new-event", "length", "ecvc", "clock", "gaussian")
_HEADLINE = frozenset({"mlad", "deeplog", "logbert", *_CONTROLS})
"""What the two lines at the top of the page run: three networks, and the controls."""


def _headline(model: Model, log: str) -> dict[str, str]:
    """CPU and wall time with four jobs, and the memory of the command and its hungriest job, of the two lines."""
    cells = _of_log(model, log)
    wanted = cells.only(set(cells.seconds) & _HEADLINE)
    lines = model.measured["logs"][log]["lines"] / 1e6
    wall = model.prepare(lines) / 3600 + wall_h(wanted, 4, model.measured["efficiency"])
    return {
        "cpu": hours(sum(wanted.all())),
        "wall": hours(3600 * wall),
        "gib": f"{model.driver_gib(lines):.1f}",
        "job_gib": f"{max(model.peak_gib(name, lines) for name in ('mlad', 'deeplog', 'logbert')):.1f}",
    }


def facts(measured: dict[str, Any]) -> dict[str, str]:
    """The numbers in the page's sentences, by name."""
    model = Model(measured)
    bgl = measured["logs"]["bgl"]["lines"] / 1e6
    cells = _of_log(model, "bgl")
    networks = cells.only(set(model.networks))
    checked = [(model.foretold(name), model.measured_at_large(name)) for name in model.networks]
    ratios = [said / took for said, took in checked]
    found = {
        "machine": measured["machine"],
        "tbird_lines": f"{measured['logs']['tbird']['lines']:,}",
        "paper_bgl": f"{measured['paper_times']['bgl@text-stream-a']:.2f}",
        "paper_hdfs": f"{measured['paper_times']['hdfs@blocks-a']:.2f}",
        "sizes": ", ".join(f"{n:,}" for n in (model.small, model.middle)) + f" and {model.large:,}",
        "steps": f"{model.steps}",
        "few_steps": f"{model.short} or {model.long}",
        "spent": f"{sum(run['cpu_s'] or of_methods(run) for run in measured['runs']) / 60:.0f}",
        "check_sum": f"{sum(s for s, _ in checked):,.0f} against {sum(t for _, t in checked):,.0f}",
        "check_range": f"{min(ratios):.2f} to {max(ratios):.2f}",
        "prepare_per_million": f"{model.prepare(1.0):.1f}",
        "engine_bgl": f"{model.engine(bgl):.1f}",
        "engine_all_bgl": hours(model.engine(bgl) * len(cells.all())),
        "engine_small": f"{model.engine(0.1):.1f}",
        "engine_tbird": f"{model.engine(211.2):.0f}",
        "network_h": f"{sum(networks.all()) / 3600:.1f}",
        "rest_h": f"{(sum(cells.all()) - sum(networks.all())) / 3600:.1f}",
        "efficiency": f"{measured['efficiency']:.2f}",
        "longest": cells.longest(),
        "longest_time": hours(max(cells.seconds.values())),
        "slots": f"{measured['nodes'] * measured['cores_per_node']}",
        "cores_per_node": f"{measured['cores_per_node']}",
        "network_cells": f"{len(networks.all())}",
        "driver_mib_per_million": f"{1024 * (model.driver_gib(bgl) - model.driver_gib(1.0)) / (bgl - 1):.0f}",
    }
    found |= {f"{log}_{name}": text for log in ("bgl", "hdfs") for name, text in _headline(model, log).items()}
    growing = max(model.peak_gib(name, 2.0) - model.peak_gib(name, 1.0) for name in model.networks)
    found["network_mib_per_million"] = f"{1024 * growing:.0f}"
    tbird = _of_log(model, "tbird")
    less = tbird.only(set(tbird.seconds) - set(measured["quadratic"]))
    found["tbird_all"], found["tbird_less"] = (
        hours(3600 * wall_h(each, 4, measured["efficiency"])) for each in (tbird, less)
    )
    found["tbird_times"] = f"{measured['logs']['tbird']['lines'] / measured['logs']['bgl']['lines']:.0f}"
    for name in ("edit-distance", "knn-embedding", "ecvc-idf", "ecvc"):
        other = model.others[name]
        key = name.replace("-", "_")
        found |= {f"{key}_power": f"{other.power:.1f}", f"{key}_tbird": hours(other.seconds(211.2))}
        found[f"{key}_bgl"] = hours(other.seconds(bgl))
    return found


def take(runs: Path | None) -> None:
    """Put new measurements into the JSON: what bench_moonshot.py wrote, if given, and what the records say."""
    measured = json.loads(MEASURED.read_text())
    if runs is not None:
        measured["runs"] = json.loads(runs.read_text())
    measured["steps"] = TrainingSettings().steps
    measured |= _kinds_of(measured["runs"][0]["methods"])
    records = [record for record in Store(HERE.parents[1] / "results").records() if _is_of_defaults(record)]
    hdfs = [record for record in records if record["scenario"] == "hdfs@sessions-345k"]
    measured["paper_times"] = {scenario: _paper_times(records, scenario) for scenario in PAPER_SCENARIOS}
    measured["logs"]["hdfs"]["records"] = {
        "scenario": "hdfs@sessions-345k",
        "sessions": sum(hdfs[0]["counts"][f"n_{part}"] for part in ("train", "validation", "test")),
        "methods": {name: _lowest(hdfs, name, "chronological") for name in sorted({r["method"] for r in hdfs})},
    }
    MEASURED.write_text(json.dumps(measured, indent=1) + "\n")


def _kinds_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Which of these take steps, learn from abnormal sequences, and draw nothing."""
    known = {name: describe(registry.find(name)) for name in names}
    return {
        "networks": [name for name, found in known.items() if "steps" in found.fields],
        "not_under_paper": [name for name, found in known.items() if found.told["source"] in WANT_ABNORMAL],
        "unseeded": [name for name, found in known.items() if not found.seeded],
    }


def _is_of_defaults(record: Record) -> bool:
    """Whether a record is that of a whole fit with no setting changed."""
    return record["status"] == "ok" and "[" not in record["method"] and "fitted_as" not in record


def _lowest(records: list[Record], name: str, split: str) -> dict[str, float]:
    """CPU seconds of the quickest seed: other work on the machine only stretches them."""
    found = [r["cpu_seconds"] for r in records if r["method"] == name and r["spec"]["split"] == split]
    best = min(found, key=lambda seconds: seconds["fit"] + seconds["score"])
    return {"fit_s": round(best["fit"], 3), "score_s": round(best["score"], 3)}


def _paper_times(records: list[Record], scenario: str) -> float:
    """What methods that ran under both splits took under `paper`, by what they took under `chronological`."""
    known = [record for record in records if record["scenario"] == scenario]
    by_split = [{r["method"] for r in known if r["spec"]["split"] == split} for split in SPLITS]
    both = set.intersection(*by_split)
    later, first = (sum(sum(_lowest(known, n, split).values()) for n in both) for split in reversed(SPLITS))
    return round(later / first, 2)


def main() -> int:
    """Print what a size takes, or compare the page with the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=4_747_963)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--without", default="", help="methods that are left out, by commas")
    parser.add_argument("--take", nargs="?", type=Path, const=Path(), help="what bench_moonshot.py --json wrote")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.take:
        take(options.take if options.take.is_file() else None)
        return 0
    measured = json.loads(MEASURED.read_text())
    if options.write:
        PAGE.write_text(page(measured), encoding="utf-8")
    elif options.check:
        return int(PAGE.read_text(encoding="utf-8") != page(measured))
    else:
        without = set(filter(None, options.without.split(",")))
        print(answer(Model(measured), options.lines, options.seeds, options.jobs, without))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
