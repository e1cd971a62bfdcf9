from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.quantification.distributions import Sizes, fit_lognormal
from napari_metallography.quantification.plots import size_figure


def axes_of(radii, weights=None, unit="um"):
    radii = np.asarray(radii, float)
    weights = np.ones(len(radii)) if weights is None else np.asarray(weights, float)
    return size_figure(Sizes(radii, weights, unit), fit_lognormal(radii, weights)).axes


def test_the_lines_are_the_means_by_number_and_by_area():
    number, area, _ = axes_of([1, 2, 6])
    assert list(number.lines[0].get_xdata()) == [3, 3]
    assert area.lines[0].get_xdata()[0] == pytest.approx((1 + 8 + 216) / (1 + 4 + 36))
    assert number.get_legend().texts[0].get_text() == "mean 3 µm (3 particles)"


def test_every_particle_is_in_a_bar():
    radii = np.random.default_rng(1).lognormal(0, 0.4, 900)
    number, area, cumulative = axes_of(radii)
    assert len(number.patches) == 30
    for axes in (number, area):
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(100)
    assert [line.get_ydata()[-1] for line in cumulative.lines] == pytest.approx([100, 100])


@pytest.mark.parametrize("radii", [[1.0], [0.1, 0.1, 0.1], [1e-3, 50.0]])
def test_few_and_equal_particles_are_drawn(radii, recwarn):
    figure = size_figure(
        Sizes(np.array(radii), np.ones(len(radii)), "px"), fit_lognormal(np.array(radii))
    )
    figure.canvas.draw()
    assert figure.axes[0].get_xlabel().endswith("in px")
