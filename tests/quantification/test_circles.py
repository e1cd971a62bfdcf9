from __future__ import annotations

import math
from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.quantification.circles import enclosing_radii
from napari_metallography.quantification.outlines import Corners

coordinates = st.integers(-20, 20).map(lambda value: value * 0.25)
point_sets = st.lists(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=9), min_size=1, max_size=5
)


def corners_of(sets: list[list[tuple[float, float]]]) -> Corners:
    points = np.array([point for points in sets for point in points], float)
    return Corners(points, np.array([len(points) for points in sets]))


def circle_through(points: tuple[tuple[float, float], ...]) -> tuple[float, float] | None:
    if len(points) == 2:
        (ay, ax), (by, bx) = points
        return (ay + by) / 2, (ax + bx) / 2
    # Equally far from all three: |p|² − 2 p·m is the same for each.
    first, *others = np.array(points)
    lines = 2 * (np.array(others) - first)
    if np.linalg.det(lines) == 0:
        return None
    y, x = np.linalg.solve(lines, [other @ other - first @ first for other in others])
    return float(y), float(x)


def brute_force_radius(points: list[tuple[float, float]]) -> float:
    centres = [circle_through(s) for n in (2, 3) for s in combinations(points, n)]
    reaches = [max(math.dist(c, p) for p in points) for c in [*centres, points[0]] if c is not None]
    return min(reaches)


@given(point_sets)
def test_radii_are_the_smallest_possible(sets):
    radii = enclosing_radii(corners_of(sets))
    assert radii == pytest.approx([brute_force_radius(points) for points in sets], abs=1e-8)


def test_an_equilateral_triangle_rests_on_three_points():
    triangle = [(0.0, 0.0), (0.0, 1.0), (math.sqrt(3) / 2, 0.5)]
    assert enclosing_radii(corners_of([triangle])) == pytest.approx([1 / math.sqrt(3)])


def test_an_obtuse_triangle_rests_on_its_longest_side():
    assert enclosing_radii(corners_of([[(0.0, 0.0), (0.1, 2.0), (0.0, 4.0)]])) == pytest.approx([2])


def test_no_sets_give_no_radii():
    empty = Corners(np.empty((0, 2)), np.empty(0, np.int64))
    assert enclosing_radii(empty).shape == (0,)


def test_large_sets_agree_with_opencv():
    rng = np.random.default_rng(3)
    sets = [rng.normal(0, 50, (n, 2)) for n in (5, 50, 3000)]
    corners = Corners(np.concatenate(sets), np.array([len(points) for points in sets]))
    expected = [cv2.minEnclosingCircle(points.astype(np.float32))[1] for points in sets]
    assert enclosing_radii(corners) == pytest.approx(expected, rel=1e-4)


def test_points_on_a_circle_far_from_the_origin():
    angles = np.linspace(0, 2 * np.pi, 500)
    points = 1e4 + 3 * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    assert enclosing_radii(Corners(points, np.array([500]))) == pytest.approx([3], rel=1e-8)
