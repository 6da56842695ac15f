"""What goes over the border as plain JSON: where a class is, its tags, how chat models are asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.detector import DetectorTags, ExternalFile
from bench.llm.config import Service
from bench.registry import DetectorRef


def words_of_ref(ref: DetectorRef) -> dict[str, Any]:
    """Where a class is."""
    return dataclasses.asdict(ref)


def words_of_tags(tags: DetectorTags) -> dict[str, Any]:
    """The tags of a class."""
    words = {field.name: getattr(tags, field.name) for field in dataclasses.fields(tags)}
    return words | {
        "told": dict(tags.told),
        "told_with": {name: dict(told) for name, told in tags.told_with.items()},
        "uses": sorted(tags.uses),
        "files": [dataclasses.asdict(file) for file in tags.files],
    }


def tags_of_words(words: Mapping[str, Any]) -> DetectorTags:
    """The tags that `words_of_tags` wrote down."""
    files = tuple(ExternalFile(**file) for file in words["files"])
    return DetectorTags(**{**words, "uses": frozenset(words["uses"]), "files": files})


def words_of_service(service: Service) -> dict[str, Any]:
    """How chat models are asked."""
    values = dataclasses.asdict(service)
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


def service_of_words(words: Mapping[str, Any]) -> Service:
    """The service that `words_of_service` wrote down."""
    paths = {name: Path(words[name]) for name in ("store", "shipped", "spent", "plan") if words[name] is not None}
    return Service(**{**words, **paths})
