from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.grains.grading import GradingParameters, grade
from napari_metallography.grains.partition import from_boundaries
from napari_metallography.synthesis.chart import Plate, chart, plates, standard_grades


@pytest.mark.parametrize(
    ("grain_size", "shape", "pixel_um"),
    [
        (8.0, (768, 1024), 0.5),
        (6.5, (768, 1024), 0.5),
        (10.0, (600, 800), 0.5),
        (3.0, (800,) * 2, 2),
    ],
)
def test_its_grade_is_the_wanted_one(grain_size, shape, pixel_um) -> None:
    drawn = chart(grain_size, shape, pixel_um)
    assert drawn.shape == shape
    grains, size = from_boundaries(drawn), Calibration.square(pixel_um, "test")
    assert grade(grains, size).g == pytest.approx(grain_size, abs=0.05)
    # With more lines, chance has less of a part.
    dense = GradingParameters(line_spacing_px=4)
    assert grade(grains, size, dense).g == pytest.approx(grain_size, abs=0.03)


def test_lines_that_are_wide_in_a_large_picture_do_not_change_the_grade() -> None:
    drawn = chart(6.0, (2000, 2800), 1.0)
    found = grade(from_boundaries(drawn), Calibration.square(1.0, "test"))
    assert found.g == pytest.approx(6.0, abs=0.05)
    # More than a pixel wide: nearly every pixel of a line has one beside it and one below it.
    inner = drawn[1:-1, 1:-1]
    beside = drawn[1:-1, :-2] | drawn[1:-1, 2:]
    below = drawn[:-2, 1:-1] | drawn[2:, 1:-1]
    assert (beside & below)[inner].mean() > 0.95


def test_the_same_grains_whatever_the_pixel() -> None:
    np.testing.assert_array_equal(chart(8, (200, 300), 0.5), chart(6, (200, 300), 1.0))


@given(st.floats(-3, 16))
def test_standard_grades_are_half_numbers_around_the_measured_one(grain_size: float) -> None:
    coarser, middle, finer = standard_grades(grain_size)
    assert abs(middle - grain_size) <= 0.25
    assert (2 * middle).is_integer()
    assert (coarser, finer) == (middle - 1, middle + 1)


def test_no_grade_no_chart() -> None:
    with pytest.raises(InputError, match="measure first"):
        standard_grades(float("nan"))


def test_too_coarse_and_too_fine_are_refused_in_a_line() -> None:
    with pytest.raises(InputError, match=r"G 2: the field of 50 × 50 µm holds fewer than 4") as e:
        chart(2, (100, 100), 0.5)
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match=r"G 12: a mean intercept of 2\.5 pixels is too fine"):
        chart(12, (100, 100), 2.0)


def test_three_plates_of_one_size_the_nearest_in_the_middle() -> None:
    found = drain(plates(7.8, (400, 500), 0.5))
    assert [one.grain_size for one in found] == [7, 8, 9]
    assert {one.boundaries.shape for one in found} == {(400, 500)}
    inked = [one.boundaries.mean() for one in found]
    assert inked == sorted(inked)


def test_a_neighbour_that_cannot_be_drawn_is_left_out_and_said() -> None:
    events = []
    found = drain(plates(10.0, (300, 300), 2.5), events.append)
    assert [one.grain_size for one in found] == [9, 10]
    assert [e.message for e in events if isinstance(e, Notice)] == [
        "left out of the chart: G 11: a mean intercept of 2.8 pixels is too fine to be drawn, "
        "which takes 3; take a higher magnification"
    ]


def test_fine_grains_are_drawn_in_a_part_of_the_field() -> None:
    (first, *_) = drain(plates(11.0, (3000, 1200), 1.0))
    assert first.boundaries.shape == (708, 708)


def test_the_title_says_number_and_intercept() -> None:
    plate = Plate(8.5, np.zeros((2, 2), bool), 0.5)
    assert plate.title == "G 8.5\nintercept 16.8 µm"
