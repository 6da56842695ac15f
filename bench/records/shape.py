"""What every record holds, checked once where it is read: an edited one is a sentence, and never a traceback later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from types import NoneType
from typing import Any, Final


class _Table:
    """Fields and the types that JSON gives them; which types were met together is kept, for all records are asked."""

    def __init__(self, **kinds: type | tuple[type, ...]) -> None:
        self._kinds = {name: kind if isinstance(kind, tuple) else (kind,) for name, kind in kinds.items()}
        self._values_of = itemgetter(*kinds)
        self._fitting: set[tuple[type, ...]] = set()

    def fault(self, content: Mapping[str, Any]) -> str:
        """The first field that is missing or of another type; empty where none is."""
        try:
            types = tuple(map(type, self._values_of(content)))
        except KeyError:
            return next(name for name in self._kinds if name not in content)
        if types in self._fitting:
            return ""
        for (name, kinds), found in zip(self._kinds.items(), types, strict=True):
            if found not in kinds:
                return name
        self._fitting.add(types)
        return ""

    def fault_of_present(self, content: Mapping[str, Any]) -> str:
        """As `fault`, of the fields that are there."""
        for name in self._kinds.keys() & content.keys():
            if type(content[name]) not in self._kinds[name]:
                return name
        return ""


_NUMBER: Final = (int, float)
_PLAIN: Final = frozenset({int, float, NoneType})
_TEXTS: Final = frozenset({str})
_MAPPINGS: Final = frozenset({dict})

_RECORD: Final = _Table(
    run_id=str,
    scenario=str,
    method=str,
    status=str,
    reason=(str, NoneType),
    started_at=str,
    digest=str,
    device=str,
    threads=int,
    simulated=list,
    systems=list,
    tiers=dict,
    seconds=dict,
    memory_mib=dict,
    environment=dict,
    spec=dict,
    detector=dict,
    counts=dict,
)
_OPTIONAL: Final = _Table(
    monitor=(dict, NoneType),
    thresholds=dict,
    metrics=dict,
    validation=dict,
    sample=dict,
    excluded=dict,
    traceback=list,
    code=dict,
    verified_with=dict,
    scores_sha256=str,
    cpu_seconds=dict,
    beside=int,
    fitted_as=str,
)
_FINISHED: Final = _Table(thresholds=dict, metrics=dict)
"""What a record of status `ok` holds besides."""

_PARTS: Final[Mapping[str, _Table]] = {
    "spec": _Table(
        train=list,
        test=list,
        split=str,
        seed=int,
        protocol_version=int,
        detector=dict,
    ),
    "detector": _Table(is_control=bool, config=dict),
    "counts": _Table(
        n_train=int,
        n_train_abnormal=int,
        n_validation=int,
        n_validation_abnormal=int,
        n_test=int,
        n_test_abnormal=int,
        n_log_keys=int,
        known_keys_share=_NUMBER,
        seen_in_training_share=_NUMBER,
    ),
    "validation": _Table(n=int, ranking=dict),
    "sample": _Table(drawn=int, of=int, strata=list),
    "code": _Table(method=str, engine=str),
    "verified_with": _Table(code=dict, date=str),
}
_OPTIONAL_COUNTS: Final = _Table(
    ceiling_f1=(int, float, NoneType),
    n_alert_types=dict,
    licences=dict,
    n_test_incidents=int,
    n_test_in_pool=int,
    bounds=dict,
)
_EDITION: Final = _Table(edition=str, sha256=(str, dict))
_NAMED: Final = _Table(name=str, config=dict)
_BLOCK: Final = _Table(n=int, n_abnormal=int, ranking=dict, rules=dict, bootstrap=dict)
_SPREAD: Final = _Table(levels=list, rules=dict)
_OPTIONAL_SPREAD: Final = _Table(resampled=str, reason=str)
_RANKING: Final = frozenset({"ap", "auroc", "prevalence", "all_positive_f1"})
_RULE: Final = frozenset({"f1", "precision", "recall", "fpr"})
_THRESHOLD: Final = _Table(
    value=(int, float, str, NoneType),
    n=int,
    fitted_on=str,
    reason=(str, NoneType),
)
_INFINITE: Final = frozenset({"inf", "-inf"})


def fault_of(record: Any) -> str:
    """The field of a record that is missing or not of its type, as `metrics.all.n`; empty where all can be used."""
    found = _RECORD.fault(record) or _OPTIONAL.fault_of_present(record)
    if not found and record["status"] == "ok":
        found = _FINISHED.fault(record)
    if found:
        return found
    for part, table in _PARTS.items():
        if part in record:
            wrong = table.fault(record[part])
            if wrong:
                return f"{part}.{wrong}"
    wrong = _OPTIONAL_COUNTS.fault_of_present(record["counts"])
    if wrong:
        return f"counts.{wrong}"
    return _spec_fault(record) or _detector_fault(record) or _numbers_fault(record)


def _spec_fault(record: Mapping[str, Any]) -> str:
    spec = record["spec"]
    helpers = spec.get("auxiliary", [])
    if type(helpers) is not list:
        return "spec.auxiliary"
    for part in (*spec["train"], *spec["test"], *helpers):
        if type(part) is not dict or _EDITION.fault(part):
            return "spec.train, test or auxiliary"
    wrong = _NAMED.fault(spec["detector"])
    return f"spec.detector.{wrong}" if wrong else ""


def _row_fault(content: Any, table: _Table) -> str:
    return table.fault(content) if type(content) is dict else "it"


def _detector_fault(record: Mapping[str, Any]) -> str:
    detector = record["detector"]
    has_grade = isinstance(detector.get("supervision"), str)
    if not has_grade and not isinstance(detector.get("told", 0), dict | None):
        return "detector.told"
    if not _TEXTS.issuperset(map(type, record["tiers"].values())):
        return "tiers"
    for name in ("seconds", "cpu_seconds"):
        if not _are_plain(record.get(name, {}).values()):
            return name
    if "verified_with" in record:
        wrong = _PARTS["code"].fault(record["verified_with"]["code"])
        return f"verified_with.code.{wrong}" if wrong else ""
    return ""


def _numbers_fault(record: Mapping[str, Any]) -> str:
    for rule, threshold in record.get("thresholds", {}).items():
        wrong = _row_fault(threshold, _THRESHOLD)
        if not wrong and type(threshold["value"]) is str and threshold["value"] not in _INFINITE:
            wrong = "value"
        if wrong:
            return f"thresholds.{rule}.{wrong}"
    metrics = record.get("metrics", {})
    if record["status"] == "ok" and "all" not in metrics:
        return "metrics.all"
    for name, block in metrics.items():
        wrong = _block_fault(block)
        if wrong:
            return f"metrics.{name}.{wrong}"
    return _monitor_fault(record.get("monitor") or {})


def _block_fault(block: Any) -> str:
    wrong = _row_fault(block, _BLOCK)
    if wrong:
        return wrong
    ranking, spread = block["ranking"], block["bootstrap"]
    if not ranking.keys() >= _RANKING or not _are_plain(ranking.values()):
        return "ranking"
    for rule, values in block["rules"].items():
        if type(values) is not dict or not values.keys() >= _RULE or not _are_plain(values.values()):
            return f"rules.{rule}"
    wrong = _SPREAD.fault(spread) or _OPTIONAL_SPREAD.fault_of_present(spread)
    if wrong:
        return f"bootstrap.{wrong}"
    if not _MAPPINGS.issuperset(map(type, spread["rules"].values())):
        return "bootstrap.rules"
    return ""


def _monitor_fault(monitor: Mapping[str, Any]) -> str:
    if not isinstance(monitor.get("models", {}), dict | list):
        return "monitor.models"
    return "" if type(monitor.get("unparsable_share", 0)) in _PLAIN else "monitor.unparsable_share"


def _are_plain(values: Iterable[Any]) -> bool:
    return _PLAIN.issuperset(map(type, values))
