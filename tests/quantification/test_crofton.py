from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ellipe

from napari_metallography.calibration import Calibration
from napari_metallography.quantification.crofton import (
    STEPS,
    length_weights_per_um,
    perimeters_um,
)
from napari_metallography.quantification.runs import runs_of

PIXELS = Calibration.square(1.0, "test")


def perimeter(mask, calibration=PIXELS):
    ids = np.ascontiguousarray(np.asarray(mask, bool), np.int32)
    return float(perimeters_um(runs_of(ids), calibration)[0])


def ellipse(a, b, angle=0.0, calibration=PIXELS):
    half = math.ceil(max(a, b)) + 2
    rows, columns = (math.ceil(half / size) for size in (calibration.y_um, calibration.x_um))
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1].astype(float)
    y, x = y * calibration.y_um, x * calibration.x_um
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


def square(side, angle):
    half = math.ceil(side)
    y, x = np.mgrid[-half : half + 1, -half : half + 1] + 0.3
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return (np.abs(along) <= side / 2) & (np.abs(across) <= side / 2)


def crossings_pixel_by_pixel(mask, calibration):
    """The definition: pixels followed by one outside, by looking at each."""
    inside = {(int(r), int(c)) for r, c in zip(*np.nonzero(mask), strict=True)}
    weights = length_weights_per_um(calibration)
    counts = [sum((r + dr, c + dc) not in inside for r, c in inside) for dr, dc in STEPS]
    return 2 * calibration.pixel_area_um2 * float(weights @ counts)


@pytest.mark.parametrize("radius", [10, 11, 15, 20, 33, 60])
def test_discs(radius):
    assert perimeter(ellipse(radius, radius)) == pytest.approx(2 * math.pi * radius, rel=0.02)


@pytest.mark.parametrize("angle", [0, 0.2, 0.7, 1.3, 2.5])
@pytest.mark.parametrize(("a", "b"), [(15, 10), (40, 20), (60, 15)])
def test_ellipses(a, b, angle):
    truth = 4 * a * ellipe(1 - (b / a) ** 2)
    assert perimeter(ellipse(a, b, angle)) == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize("degrees", range(0, 90, 5))
@pytest.mark.parametrize("side", [60, 101])
def test_rotated_squares(side, degrees):
    assert perimeter(square(side, math.radians(degrees))) == pytest.approx(4 * side, rel=0.02)


@pytest.mark.parametrize("degrees", range(0, 90, 15))
def test_sharp_corners_of_small_squares_take_at_most_what_is_said(degrees):
    found = perimeter(square(18, math.radians(degrees)))
    assert 0.95 * 72 < found < 1.02 * 72


def test_pixels_that_are_not_square():
    calibration = Calibration(0.5, 1.0, "test")
    found = perimeter(ellipse(40, 40, calibration=calibration), calibration)
    assert found == pytest.approx(80 * math.pi, rel=0.02)


@given(
    arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))).filter(np.any),
    st.sampled_from([PIXELS, Calibration(0.3, 0.7, "test")]),
)
def test_runs_count_as_pixels_do(mask, calibration):
    expected = crossings_pixel_by_pixel(mask, calibration)
    assert perimeter(mask, calibration) == pytest.approx(expected)


def test_particles_side_by_side_have_their_own_perimeters():
    alone = perimeter(np.ones((5, 4), bool))
    ids = np.repeat(np.arange(1, 4, dtype=np.int32), 4)[None].repeat(5, axis=0)
    np.testing.assert_allclose(perimeters_um(runs_of(ids), PIXELS), alone)


def test_the_shares_of_the_directions_make_half_a_turn():
    calibration = Calibration(0.4, 1.1, "test")
    lengths = np.hypot(*(np.array(STEPS) * [calibration.y_um, calibration.x_um]).T)
    shares = 2 * length_weights_per_um(calibration) * lengths
    assert shares.sum() == pytest.approx(math.pi)
    assert (shares > 0).all()
    assert len(STEPS) >= 8
