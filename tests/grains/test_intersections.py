import math

import numpy as np
import pytest

from napari_metallography.grains.intersections import (
    circle,
    intersect,
    nearest_line,
    straight_line,
    straight_lines,
    three_circles,
)
from napari_metallography.grains.partition import Partition, from_labels
from napari_metallography.grains.standards import intercept_g
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal


def _stripes(width: int = 10, shape: tuple[int, int] = (100, 200)) -> Partition:
    return from_labels((np.indices(shape)[1] // width + 1).astype(np.int32))


def test_a_line_across_stripes_meets_each_boundary_once() -> None:
    found = intersect(_stripes(), (straight_line(np.array([50.0, 3]), np.array([50.0, 195]), 0),))
    assert found.count == 19
    assert found.points[:, 1] == pytest.approx(np.arange(19) * 10 + 9.5, abs=0.51)


@pytest.mark.parametrize("direction", [0, 45, 135])
def test_slanting_lines_meet_stripes_as_often_as_their_width_says(direction: int) -> None:
    lines = straight_lines((100, 200), 5, (direction,))
    found = intersect(_stripes(), lines)
    across = found.length_px * abs(math.cos(math.radians(direction)))
    # Of 200 px, 19 boundaries stand for 199.
    assert found.count == pytest.approx(across / 10 * 19 / 19.9, rel=0.02)


def test_a_line_that_ends_on_a_boundary_counts_half() -> None:
    found = intersect(_stripes(), (straight_line(np.array([50.0, 5]), np.array([50.0, 30]), 0),))
    assert sorted(found.weights) == [0.5, 1, 1]


def test_a_circle_across_one_boundary_meets_it_twice() -> None:
    halves = from_labels((np.indices((101, 101))[1] // 51 + 1).astype(np.int32))
    found = intersect(halves, (circle(np.array([50.0, 50]), 30),))
    assert found.count == 2
    assert found.length_px == pytest.approx(2 * math.pi * 30)


def test_slanting_boundaries_are_met_once() -> None:
    y, x = np.indices((200, 200))
    for slope in (0.1, 0.37, 0.9, 1.0, 2.3):
        halves = from_labels((y > slope * (x - 100) + 100).astype(np.int32) + 1)
        for direction in (0, 45, 90, 135):
            lines = straight_lines((200, 200), 10, (direction,))
            counts = np.bincount(intersect(halves, lines).line, minlength=len(lines))
            assert (counts <= 1).all()


def test_a_line_through_a_triple_point_counts_one_and_a_half() -> None:
    grains = np.ones((40, 40), np.int32)
    grains[:20, 20:], grains[20:, 20:] = 2, 3
    line = straight_line(np.array([19.5, 2]), np.array([19.5, 37]), 0)
    assert intersect(from_labels(grains), (line,)).weights.tolist() == [1.5]


def test_a_line_through_a_point_of_four_grains_counts_two() -> None:
    grains = (np.indices((40, 40)) // 20 * [[[1]], [[2]]]).sum(0).astype(np.int32) + 1
    line = straight_line(np.array([2.0, 2]), np.array([37.0, 37]), 135)
    assert intersect(from_labels(grains), (line,)).weights.tolist() == [2]


def test_three_circles_have_the_lengths_of_the_standard() -> None:
    lines = three_circles((600, 800))
    lengths = np.array([line.length_px for line in lines])
    assert lengths / lengths.sum() == pytest.approx(np.array([0.5, 1 / 3, 1 / 6]), abs=2e-4)
    assert all((line.path >= 0).all() and (line.path <= (599, 799)).all() for line in lines)


@pytest.mark.parametrize("grain_size", [7.0, 9.0, 11.0])
def test_straight_lines_give_the_true_number(grain_size: float) -> None:
    truth = polycrystal(
        PolycrystalParameters(height_px=500, width_px=600, grain_size=grain_size, sigma_ln=0.5), 3
    )
    found = intersect(from_labels(truth.grains), straight_lines((500, 600), 10))
    assert intercept_g(found.mean_intercept_px * 0.5e-3) == pytest.approx(
        truth.intercept_g, abs=0.08
    )


def test_directions_tell_elongated_grains() -> None:
    found = intersect(_stripes(10, (200, 200)), straight_lines((200, 200), 10, (0, 90)))
    along_rows, along_columns = (found.in_direction(d) for d in (0, 90))
    assert along_rows.mean_intercept_px == pytest.approx(199 / 19)
    assert math.isinf(along_columns.mean_intercept_px)


def test_a_point_belongs_to_the_nearest_line_within_its_ends() -> None:
    lines = (
        straight_line(np.array([10.0, 0]), np.array([10.0, 50]), 0),
        straight_line(np.array([0.0, 80]), np.array([90.0, 80]), 90),
        circle(np.array([50.0, 50]), 20),
    )
    points = np.array([[12.0, 20], [10.0, 70], [50.0, 50], [50.0, 69], [5.0, 78]])
    # In the middle of the circle its line is 20 px away, the upright one 30.
    assert nearest_line(points, lines).tolist() == [0, 1, 2, 2, 1]


@pytest.mark.parametrize("apart_deg", [0.7, 2, 5, 20])
def test_a_line_crosses_a_straight_boundary_once_however_flat_the_angle(apart_deg) -> None:
    y, x = np.mgrid[:300, :300]
    for turn in np.radians(np.arange(3, 90, 11)):
        across = (y - 150.2) * math.cos(turn) - (x - 149.7) * math.sin(turn)
        halves = from_labels(np.where(across < 0, 1, 2).astype(np.int32))
        along = np.array([math.sin(turn), math.cos(turn)])
        flat = math.radians(apart_deg)
        slanted = np.array([math.sin(turn + flat), math.cos(turn + flat)])
        for shift in (-3.3, 0.0, 4.1):
            middle = np.array([150.0, 150.0]) + shift * along
            ends = middle - 140 * slanted, middle + 140 * slanted
            assert intersect(halves, (straight_line(*ends, 0),)).count == 1
