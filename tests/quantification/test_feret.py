from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import regionprops

from napari_metallography.calibration import Calibration
from napari_metallography.quantification.feret import feret_diameters_um
from napari_metallography.quantification.outlines import hulls_of
from napari_metallography.quantification.runs import runs_of

PIXELS = Calibration.square(1.0, "test")

masks = arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))).filter(np.any)
calibrations = st.sampled_from([PIXELS, Calibration(0.3, 0.7, "test")])


def feret(mask, calibration=PIXELS):
    ids = np.ascontiguousarray(mask, np.int32)
    largest, smallest = feret_diameters_um(hulls_of(runs_of(ids)), calibration)
    return float(largest[0]), float(smallest[0])


def midpoints(mask, calibration):
    rows, columns = np.nonzero(mask)
    offsets = [(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)]
    points = np.concatenate([np.stack([rows + y, columns + x], axis=1) for y, x in offsets])
    return points * [calibration.y_um, calibration.x_um]


def widths(points, angles):
    across = points @ np.stack([np.sin(angles), np.cos(angles)])
    return np.ptp(across, axis=0)


@given(masks, calibrations)
def test_the_largest_is_between_two_midpoints_of_edges(mask, calibration):
    largest, _ = feret(mask, calibration)
    assert largest == pytest.approx(pdist(midpoints(mask, calibration)).max())


@given(masks, calibrations)
def test_the_smallest_stands_on_an_edge_of_the_hull(mask, calibration):
    points = midpoints(mask, calibration)
    _, smallest = feret(mask, calibration)
    across = points @ ConvexHull(points).equations[:, :2].T
    assert smallest == pytest.approx(np.ptp(across, axis=0).min())
    assert smallest <= widths(points, np.linspace(0, np.pi, 90)).min() + 1e-9


@given(masks, calibrations)
def test_scikit_image_agrees_where_the_hull_adds_no_pixel(mask, calibration):
    region = regionprops(mask.astype(int), spacing=(calibration.y_um, calibration.x_um))[0]
    largest, _ = feret(mask, calibration)
    # It first fills the hull with pixels, whose own edges may lie outside of it.
    if region.image_convex.sum() == mask.sum():
        assert largest == pytest.approx(region.feret_diameter_max, rel=1e-6)
    assert largest <= region.feret_diameter_max * (1 + 1e-9)


def test_a_rotated_rectangle():
    y, x = np.mgrid[-60:61, -60:61]
    along = x * math.cos(0.4) + y * math.sin(0.4)
    across = y * math.cos(0.4) - x * math.sin(0.4)
    largest, smallest = feret((np.abs(along) <= 40) & (np.abs(across) <= 15))
    assert largest == pytest.approx(math.hypot(80, 30), rel=0.02)
    assert smallest == pytest.approx(30, rel=0.04)


def test_an_upright_square_is_as_wide_as_its_pixels():
    assert feret(np.ones((12, 30), bool))[1] == pytest.approx(12)


def test_large_outlines_are_measured_in_parts(monkeypatch):
    ids = np.zeros((300, 300), np.int32)
    for number in range(9):
        y, x = np.divmod(number, 3)
        ids[y * 100 + 10 : y * 100 + 40, x * 100 + 10 : x * 100 + 70] = number + 1
    together = feret_diameters_um(hulls_of(runs_of(ids)), PIXELS)
    monkeypatch.setattr("napari_metallography.quantification.feret._AT_A_TIME", 1)
    np.testing.assert_array_equal(together, feret_diameters_um(hulls_of(runs_of(ids)), PIXELS))
