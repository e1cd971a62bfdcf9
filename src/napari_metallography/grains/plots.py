"""Plots of grain sizes, for reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .distribution import SizeDistribution
from .standards import SMALLEST_DIFFERENCE

_NUMBER, _AREA, _MARK = "#0072b2", "#e69f00", "#d55e00"


def size_figure(sizes: SizeDistribution) -> Figure:
    """The area that grains of each ASTM number take, and their diameters summed up.

    Parameters
    ----------
    sizes
        Of one grain at least.
    """
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    by_number, cumulative = figure.subplots(1, 2)
    _area_by_number(by_number, sizes)
    _cumulative(cumulative, sizes)
    for axes in (by_number, cumulative):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    return figure


def _area_by_number(axes: Axes, sizes: SizeDistribution) -> None:
    """In bins of half a number, coarse grains on the left as in ASTM E1181."""
    numbers, step = sizes.numbers, SMALLEST_DIFFERENCE
    first = np.floor(numbers.min() / step) * step
    edges = np.arange(first, numbers.max() + 2 * step, step)
    shares = 100 * _shares(sizes.weights * sizes.areas_um2)
    axes.hist(numbers, edges.tolist(), weights=shares, color=_AREA, ec="white", lw=0.4)
    axes.axvline(
        sizes.mean_g, color="#444444", ls="--", lw=1, label=f"G {sizes.mean_g:.2f} of the mean area"
    )
    axes.axvline(
        sizes.largest_g, color=_MARK, ls=":", lw=1.5, label=f"largest grain, {sizes.largest_g:.1f}"
    )
    axes.set(xlabel="ASTM number of a grain", ylabel="area of grains in %")


def _cumulative(axes: Axes, sizes: SizeDistribution) -> None:
    diameters = 2 * np.sqrt(sizes.areas_um2 / np.pi)
    order = np.argsort(diameters)
    curves: Sequence[tuple[NDArray[np.float64], str, str]] = (
        (sizes.weights, _NUMBER, "by number"),
        (sizes.weights * sizes.areas_um2, _AREA, "by area"),
    )
    for parts, colour, label in curves:
        reached = 100 * _shares(parts)[order].cumsum()
        axes.step(diameters[order], reached, where="post", color=colour, label=label)
    axes.set(
        xlabel="equivalent diameter √(4·area/π) in µm", ylabel="smaller than, in %", ylim=(0, 101)
    )


def _shares(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(parts / parts.sum(), float)
