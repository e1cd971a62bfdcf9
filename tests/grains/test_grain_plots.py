from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.grains.distribution import SizeDistribution
from napari_metallography.grains.plots import size_figure
from napari_metallography.grains.standards import planimetric_g


def axes_of(areas, weights=None):
    areas = np.asarray(areas, float)
    weights = np.ones(len(areas)) if weights is None else np.asarray(weights, float)
    return size_figure(SizeDistribution(areas, weights)).axes


def test_all_area_is_in_the_bars_and_bins_are_half_numbers() -> None:
    areas = np.random.default_rng(2).lognormal(5, 0.8, 400)
    by_number, cumulative = axes_of(areas, np.linspace(1, 2, 400))
    assert sum(bar.get_height() for bar in by_number.patches) == pytest.approx(100)
    assert {bar.get_width() for bar in by_number.patches} == {0.5}
    assert all((2 * bar.get_x()).is_integer() for bar in by_number.patches)
    assert [line.get_ydata()[-1] for line in cumulative.lines] == pytest.approx([100, 100])


def test_the_mean_and_the_largest_grain_are_marked() -> None:
    by_number, _ = axes_of([100, 100, 400])
    mean, largest = (line.get_xdata()[0] for line in by_number.lines)
    assert mean == pytest.approx(planimetric_g(1e6 / 200))
    assert largest == pytest.approx(planimetric_g(1e6 / 400), abs=0.01)


def test_a_small_grain_takes_the_smaller_area_but_counts_as_much() -> None:
    _, cumulative = axes_of([100, 300])
    by_number, by_area = (line.get_ydata()[0] for line in cumulative.lines)
    assert (by_number, by_area) == (50, 25)


def test_one_grain_is_drawn() -> None:
    figure = size_figure(SizeDistribution(np.array([50.0]), np.ones(1)))
    figure.canvas.draw()
    assert len(figure.axes) == 2
