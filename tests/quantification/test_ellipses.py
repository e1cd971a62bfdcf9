from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from napari_metallography.calibration import Calibration
from napari_metallography.quantification.ellipses import ellipses_of
from napari_metallography.quantification.runs import runs_of

PIXELS = Calibration.square(1.0, "test")
TALL = Calibration(0.3, 0.7, "test")


def ellipse_of(mask, calibration=PIXELS):
    return ellipses_of(runs_of(np.ascontiguousarray(mask, np.int32)), calibration)


def digital_ellipse(a, b, degrees):
    y, x = np.mgrid[-60:61, -60:61]
    angle = -math.radians(degrees)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


@given(
    arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))).filter(np.any),
    st.sampled_from([PIXELS, TALL]),
)
def test_axes_and_orientation_are_those_of_scikit_image(mask, calibration):
    found = ellipse_of(mask, calibration)
    region = regionprops(mask.astype(int), spacing=(calibration.y_um, calibration.x_um))[0]
    assert found.major_um[0] == pytest.approx(region.axis_major_length, rel=1e-6, abs=1e-6)
    assert found.minor_um[0] == pytest.approx(region.axis_minor_length, rel=1e-6, abs=1e-6)
    if found.major_um[0] > 1.000001 * found.minor_um[0]:
        # Theirs is from the rows' axis; modulo half a turn, in which orientations repeat.
        theirs = math.degrees(region.orientation) - 90
        apart = (found.orientation_deg[0] - theirs + 90) % 180 - 90
        assert apart == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("degrees", [-75, -30, 0, 20, 45, 89])
def test_the_axes_of_an_ellipse(degrees):
    found = ellipse_of(digital_ellipse(45, 25, degrees))
    assert found.major_um[0] == pytest.approx(90, rel=0.01)
    assert found.minor_um[0] == pytest.approx(50, rel=0.01)
    assert found.orientation_deg[0] == pytest.approx(degrees, abs=0.5)


def test_upright_is_ninety_degrees_and_flat_is_none():
    assert ellipse_of(np.ones((9, 2))).orientation_deg[0] == 90
    assert ellipse_of(np.ones((2, 9))).orientation_deg[0] == 0
    assert ellipse_of(np.eye(5)).orientation_deg[0] == pytest.approx(-45)


def test_what_has_no_longer_axis_has_no_orientation():
    assert math.isnan(ellipse_of(np.ones((4, 4))).orientation_deg[0])
    assert math.isnan(ellipse_of(np.ones((1, 1))).orientation_deg[0])
    assert math.isnan(ellipse_of(digital_ellipse(20, 20, 0)).orientation_deg[0])
