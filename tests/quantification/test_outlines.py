from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import ConvexHull

from napari_metallography.calibration import Calibration
from napari_metallography.quantification.outlines import hull_areas_px, hulls_of, pixel_corners
from napari_metallography.quantification.runs import runs_of

PIXELS = Calibration(1.0, 1.0, "test")


def corners_of(ids, calibration=PIXELS):
    return pixel_corners(hulls_of(runs_of(ids)), calibration)


def all_corners(mask):
    rows, columns = np.nonzero(mask)
    return np.concatenate([np.stack([rows + i, columns + j], 1) for i in (0, 1) for j in (0, 1)])


def test_a_pixel_has_four_corners_in_micrometres():
    one = np.array([[0, 0], [0, 1]], np.int32)
    corners = corners_of(one, Calibration(0.5, 2.0, "test"))
    assert corners.counts.tolist() == [4]
    assert sorted(corners.points.tolist()) == [[2.0, 0.5], [2.0, 1.0], [4.0, 0.5], [4.0, 1.0]]


@given(
    arrays(np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 2))
)
def test_the_hull_of_the_corners_is_the_hull_of_the_pixels(drawn):
    # Numbers without gaps, whatever was drawn.
    ids = np.unique(np.concatenate([[0], drawn.ravel()]), return_inverse=True)[1][1:]
    ids = ids.reshape(drawn.shape).astype(np.int32)
    corners, areas = corners_of(ids), hull_areas_px(hulls_of(runs_of(ids)))
    assert len(corners.counts) == ids.max()
    stops = np.cumsum(corners.counts)
    for number, (count, stop) in enumerate(zip(corners.counts, stops, strict=True), start=1):
        hull = ConvexHull(corners.points[stop - count : stop])
        assert hull.volume == pytest.approx(ConvexHull(all_corners(ids == number)).volume)
        assert areas[number - 1] == pytest.approx(hull.volume)


def test_neighbours_in_a_row_are_kept_apart():
    corners = corners_of(np.array([[1, 1, 2]], np.int32))
    assert corners.points[: corners.counts[0], 1].max() == 2
    assert corners.points[corners.counts[0] :, 1].min() == 2
