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
    EXTRA_CHORDS,
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


def square(side, angle, at=(0.3, 0.3)):
    half = math.ceil(side)
    y, x = np.mgrid[-half : half + 1, -half : half + 1] + np.reshape(at, (2, 1, 1))
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return (np.abs(along) <= side / 2) & (np.abs(across) <= side / 2)


def square_errors(sides):
    """Of squares anywhere between the pixels, turned by any angle."""
    random = np.random.default_rng(0)
    turned = random.uniform(0, math.pi / 2, len(sides))
    at = random.uniform(-0.5, 0.5, (len(sides), 2))
    return np.array(
        [
            perimeter(square(side, angle, place)) / (4 * side) - 1
            for side, angle, place in zip(sides, turned, at, strict=True)
        ]
    )


def crossings_pixel_by_pixel(mask, calibration):
    """The definition, by looking at each pixel: leaving crossings, and more for short chords."""
    inside = {(int(r), int(c)) for r, c in zip(*np.nonzero(mask), strict=True)}

    def left(step, k):
        return sum((r + k * step[0], c + k * step[1]) not in inside for r, c in inside)

    plain = sum(
        weight * left(step, 1)
        for step, weight in zip(STEPS, length_weights_per_um(calibration), strict=True)
    )
    total = plain
    for step, weight in zip(STEPS, length_weights_per_um(calibration), strict=True):
        length = math.hypot(step[0] * calibration.y_um, step[1] * calibration.x_um)
        for k, extra in EXTRA_CHORDS[min(map(abs, step)), max(map(abs, step))].items():
            chord = math.pi * len(inside) / (2 * plain)
            share = min(1, max(0, chord / ((k + 1) * length) - 1))
            exactly = 2 * left(step, k) - left(step, k - 1) - left(step, k + 1)
            total += weight * extra * share * exactly
    return 2 * calibration.pixel_area_um2 * total


@pytest.mark.parametrize("radius", [10, 11, 12, 13, 15, 20, 33, 60])
def test_discs(radius):
    assert perimeter(ellipse(radius, radius)) == pytest.approx(2 * math.pi * radius, rel=0.02)


@pytest.mark.parametrize("angle", [0, 0.2, 0.7, 1.3, 2.5])
@pytest.mark.parametrize(("a", "b"), [(15, 10), (40, 20), (24, 6), (60, 15)])
def test_ellipses(a, b, angle):
    truth = 4 * a * ellipe(1 - (b / a) ** 2)
    assert perimeter(ellipse(a, b, angle)) == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize("degrees", range(0, 90, 5))
@pytest.mark.parametrize("side", [60, 101])
def test_rotated_squares(side, degrees):
    assert perimeter(square(side, math.radians(degrees))) == pytest.approx(4 * side, rel=0.02)


@pytest.mark.parametrize(
    ("smallest", "largest", "mean", "within_2_percent"),
    [(17.73, 20, 0.01, 0.87), (20, 30, 0.01, 0.94), (30, 60, 0.005, 0.99)],
)
def test_sharp_corners_of_small_squares_take_what_is_said(
    smallest, largest, mean, within_2_percent
):
    errors = square_errors(np.linspace(smallest, largest, 150))
    assert abs(errors.mean()) < mean
    assert (np.abs(errors) <= 0.02).mean() >= within_2_percent
    assert np.abs(errors).max() < 0.05


@given(arrays(bool, (6, 6)).filter(np.any))
def test_what_is_added_never_makes_a_perimeter_negative(mask):
    assert perimeter(np.kron(mask, np.ones((4, 4)))) > 0


def test_pixels_that_are_not_square():
    calibration = Calibration(0.5, 1.0, "test")
    found = perimeter(ellipse(40, 40, calibration=calibration), calibration)
    assert found == pytest.approx(80 * math.pi, rel=0.02)


@given(
    arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7)))
    .map(lambda mask: np.kron(mask, np.ones((2, 3))))
    .filter(np.any),
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
