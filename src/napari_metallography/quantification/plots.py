"""Plots of particle sizes, for reports and docks alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .columns import UNITS
from .distributions import LognormalFit, Sizes

_NUMBER, _AREA, _FIT = "#0072b2", "#e69f00", "#d55e00"
_CURVE_POINTS = 200


def size_figure(sizes: Sizes, fit: LognormalFit | None = None) -> Figure:
    """Distribution of equivalent-circle radii: by number, by area, and both cumulative.

    Parameters
    ----------
    sizes
        Of one particle at least.
    fit
        Drawn over the distribution by number; None or one without values: nothing is drawn.
    """
    figure = Figure(figsize=(11.0, 3.4), layout="constrained")
    number, area, cumulative = figure.subplots(1, 3)
    edges = sizes.edges()
    _shares(number, sizes, edges, sizes.number_shares, _NUMBER, "number of particles in %")
    _shares(area, sizes, edges, sizes.area_shares, _AREA, "area of particles in %")
    _mean_line(number, sizes, sizes.number_shares)
    _mean_line(area, sizes, sizes.area_shares)
    if fit is not None and fit.ln_mean is not None and fit.ln_s:
        _fitted(number, fit, edges)
    _cumulative(cumulative, sizes)
    for axes in (number, area, cumulative):
        axes.set_xlabel(f"radius √(area/π) in {UNITS[sizes.unit]}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    return figure


def _shares(
    axes: Axes,
    sizes: Sizes,
    edges: NDArray[np.float64],
    shares: NDArray[np.float64],
    colour: str,
    label: str,
) -> None:
    axes.hist(sizes.radii, edges.tolist(), weights=100 * shares, color=colour, ec="white", lw=0.4)
    axes.set_ylabel(label)


def _mean_line(axes: Axes, sizes: Sizes, shares: NDArray[np.float64]) -> None:
    mean = float((sizes.radii * shares).sum())
    label = f"mean {mean:.4g} {UNITS[sizes.unit]} ({len(sizes.radii)} particles)"
    axes.axvline(mean, color="#444444", ls="--", lw=1, label=label)


def _fitted(axes: Axes, fit: LognormalFit, edges: NDArray[np.float64]) -> None:
    x = np.linspace(max(edges[0], 0), edges[-1], _CURVE_POINTS + 1)[1:]
    width = edges[1] - edges[0]
    axes.plot(x, 100 * width * fit.density(x), color=_FIT, lw=1.5, label="log-normal fit")


def _cumulative(axes: Axes, sizes: Sizes) -> None:
    order = np.argsort(sizes.radii)
    curves: Sequence[tuple[NDArray[np.float64], str, str]] = (
        (sizes.number_shares, _NUMBER, "by number"),
        (sizes.area_shares, _AREA, "by area"),
    )
    for shares, colour, label in curves:
        reached = 100 * shares[order].cumsum()
        axes.step(sizes.radii[order], reached, where="post", color=colour, label=label)
    axes.set(ylabel="smaller than, in %", ylim=(0, 101))
