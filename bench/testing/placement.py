"""Torch modules of a detector on the device `meta`, which has shapes but no data: mixed devices show without a GPU."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class Call(NamedTuple):
    """How a module was called."""

    module: nn.Module
    name: str
    """Of its class."""
    args: tuple[Any, ...]
    """Tensors in it are on `meta`."""
    kwargs: dict[str, Any]


def calls_during(detector: object, action: Callable[[], object]) -> list[Call]:
    """The first call of each torch module that the detector holds, inner ones included, while `action` runs."""
    found: dict[int, Call] = {}
    with ExitStack() as hooks:
        for module in _modules_of(detector):

            def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                if id(module) not in found:
                    found[id(module)] = Call(module, type(module).__name__, *_on_meta((args, kwargs)))

            hooks.callback(module.register_forward_pre_hook(note, with_kwargs=True).remove)
        action()
    return list(found.values())


def run_on_meta(call: Call) -> None:
    """Repeat a call with a copy of the module on `meta`; what mixes it with another device raises."""
    import torch

    with torch.no_grad():
        copy.deepcopy(call.module).to("meta")(*call.args, **call.kwargs)


def _modules_of(detector: object) -> Iterator[nn.Module]:
    if "torch" not in sys.modules:
        return
    from torch import nn

    for value in vars(detector).values():
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        for held in inside:
            if isinstance(held, nn.Module):
                yield from held.modules()


def _on_meta(value: Any) -> Any:
    import torch
    from torch.utils._pytree import tree_map

    return tree_map(lambda part: part.to("meta") if isinstance(part, torch.Tensor) else part, value)
