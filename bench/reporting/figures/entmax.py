"""Figures of kind `entmax`: the curves of alpha-entmax, made from no record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from bench.errors import BenchError
from bench.reporting.figures.figure import Figure, FigureRequest, Kind, Options
from bench.reporting.figures.picture import BLACK, LINES, panels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture


def _gather(request: FigureRequest, options: Options) -> list[Figure]:
    """The first weight of entmax over the logits (t, 0)."""
    alphas = options.get("alphas", [1.0, 1.5, 2.0])
    if not all(isinstance(alpha, int | float) and 1 <= alpha <= 4 for alpha in alphas) or not alphas:
        raise BenchError(f"alphas of a figure are numbers from 1 to 4, not {alphas}")
    import torch
    from entmax import entmax_bisect

    logits = torch.stack([torch.linspace(-3, 3, 241, dtype=torch.float64), torch.zeros(241, dtype=torch.float64)], 1)
    curves = [
        {
            "alpha": alpha,
            # The package's bisection divides by alpha - 1, so its limit is taken as what it is.
            "p": [
                round(p, 6) for p in (logits.softmax(1) if alpha == 1 else entmax_bisect(logits, alpha))[:, 0].tolist()
            ],
        }
        for alpha in alphas
    ]
    return [Figure(request.suite.name, "entmax", {"t": [round(t, 6) for t in logits[:, 0].tolist()], "curves": curves})]


def _draw(content: Mapping[str, Any]) -> Picture:
    """The curves of alpha-entmax."""
    picture, (axes,) = panels_of(1, columns=1, width=4.6, height=3.2)
    for curve, (colour, _, line) in zip(content["curves"], (*LINES, (BLACK, "", "-")), strict=False):
        name = {1: " (softmax)", 2: " (sparsemax)"}.get(curve["alpha"], "")
        axes.plot(content["t"], curve["p"], line, color=colour, lw=1.6, label=rf"$\alpha$ = {curve['alpha']:g}{name}")
    axes.set(xlabel="t", ylabel="first weight of entmax(t, 0)", xlim=(content["t"][0], content["t"][-1]))
    axes.legend(loc="upper left")
    return picture


KIND: Final = Kind("entmax", ("alphas",), _gather, _draw)
