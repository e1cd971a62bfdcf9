"""The field that is measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.errors import InputError
from napari_metallography.regions import Box, Field

BAR = Box(40, 0, 50, 60)
SQUARE = ((9.5, 9.5), (9.5, 19.5), (19.5, 19.5), (19.5, 9.5))
WHOLE = Box(0, 0, 50, 60)

# Quarters are exact in binary, so that moving the origin does not round.
coordinates = st.integers(-40, 280).map(lambda quarter: quarter / 4 + 1 / 8)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=7)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    top, bottom = sorted(draw(st.tuples(st.integers(0, 50), st.integers(0, 50))))
    left, right = sorted(draw(st.tuples(st.integers(0, 60), st.integers(0, 60))))
    return Box(top, left, bottom, right)


def test_a_box_as_shape_and_index() -> None:
    box = Box(2, 3, 7, 11)
    assert box.shape == np.zeros((20, 20))[box.slices].shape == (5, 8)
    assert Box(*box.to_list()) == box


def test_the_whole_image_counts_unless_told() -> None:
    field = Field((50, 60))
    assert field.frame() == WHOLE
    assert field.mask().all()
    field.require_pixels()


@pytest.mark.parametrize(
    ("bar", "frame"),
    [
        (BAR, Box(0, 0, 40, 60)),
        (Box(0, 0, 8, 60), Box(8, 0, 50, 60)),
        (Box(40, 0, 50, 20), WHOLE),
        (Box(20, 0, 30, 60), WHOLE),
    ],
)
def test_the_data_bar_is_left_out(bar: Box, frame: Box) -> None:
    field = Field((50, 60), bar)
    expected = np.ones((50, 60), bool)
    expected[bar.slices] = False
    assert field.frame() == frame
    assert (field.mask() == expected).all()


def test_a_region_holds_the_pixels_whose_centres_lie_inside() -> None:
    mask = Field((50, 60), region=(SQUARE,)).mask()
    expected = np.zeros((50, 60), bool)
    expected[10:20, 10:20] = True
    assert (mask == expected).all()


def test_regions_add_up_and_the_bar_comes_off() -> None:
    lower = ((29.5, -5.0), (29.5, 80.0), (70.0, 80.0), (70.0, -5.0))
    mask = Field((50, 60), BAR, (SQUARE, lower)).mask()
    assert mask.sum() == 100 + 10 * 60


def test_coordinates_of_a_stack_count_by_their_last_two() -> None:
    in_stack = tuple((3.0, *vertex) for vertex in SQUARE)
    assert (Field((50, 60), region=(in_stack,)).mask().sum()) == 100


@given(region=st.lists(polygons, max_size=3), box=boxes(), bar=st.none() | boxes())
def test_the_mask_of_a_box_is_that_part_of_the_mask(
    region: list[list[tuple[float, float]]], box: Box, bar: Box | None
) -> None:
    field = Field((50, 60), bar, tuple(region))
    assert (field.mask(box) == field.mask()[box.slices]).all()


@given(region=st.lists(polygons, max_size=3), bar=st.none() | boxes())
def test_a_field_survives_json(region: list[list[tuple[float, float]]], bar: Box | None) -> None:
    field = Field((50, 60), bar, tuple(tuple(polygon) for polygon in region))
    assert Field.from_dict((50, 60), json.loads(json.dumps(field.to_dict()))) == field


def test_a_region_beside_the_image_or_under_the_bar_is_refused() -> None:
    beside = tuple((row + 500, column) for row, column in SQUARE)
    under = tuple((row + 31, column) for row, column in SQUARE)
    for polygon in (beside, under):
        with pytest.raises(InputError, match="no pixel"):
            Field((50, 60), BAR, (polygon,)).require_pixels()
