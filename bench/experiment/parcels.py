"""Prepared data in a form that other processes of the same machine open, without what they can read from disk.

A log that was read lies on disk as memory-mapped arrays: in a parcel stands its name alone, and whoever opens it maps
the same files. Everything else travels as bytes and, apart from them, the arrays, which need not be copied.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.data.cards.card import Card
from bench.data.reading.log import Log
from bench.data.sequences.loader import DataSpec, Loader
from bench.experiment.cell import Data

_LOADER: Final = ""
"""Stands for the loader itself; no edition has this name."""


class Parcel:
    """Data of cells, packed.

    content: everything but arrays and logs
    arrays: uint8, the content of each array
    """

    def __init__(self, data: Data, loader: Loader, spec: DataSpec) -> None:
        # A function such as `Prepared.raw_of` travels as its code, which the pickle of Python cannot.
        cloudpickle: Any = importlib.import_module("ray.cloudpickle")

        cards = {id(loader.log(card)): card.key for card in spec.systems}

        class Packer(cloudpickle.Pickler):  # type: ignore[misc]
            """Names logs instead of packing them."""

            def persistent_id(self, what: Any) -> str | None:
                """The name of what is not packed."""
                if what is loader:
                    return _LOADER
                return cards[id(what)] if isinstance(what, Log) else None

        stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
        Packer(stream, protocol=5, buffer_callback=buffers.append).dump(data)
        self.content = stream.getvalue()
        self.arrays: list[NDArray[np.uint8]] = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
        self.cards: tuple[Card, ...] = spec.systems

    def open(self, loader: Loader) -> Data:
        """The data, on the arrays of this parcel."""
        return _Opener(self.content, self.arrays, loader, self.cards).data()


class _Opener(pickle.Unpickler):
    """Finds logs by their name."""

    def __init__(
        self, content: bytes, arrays: Sequence[NDArray[np.uint8]], loader: Loader, cards: Sequence[Card]
    ) -> None:
        super().__init__(io.BytesIO(content), buffers=arrays)
        self._loader = loader
        self._cards = {card.key: card for card in cards}

    def persistent_load(self, name: str) -> Loader | Log:
        return self._loader if name == _LOADER else self._loader.log(self._cards[name])

    def data(self) -> Data:
        found: Data = self.load()
        return found
