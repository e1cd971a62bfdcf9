from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.quantification.point_count import (
    PointGrid,
    count_points,
    point_statistics,
)
from napari_metallography.quantification.runs import runs_of
from napari_metallography.quantification.strips import LabelledPlane

CLASSES = named_classes(["matrix", "carbide"])


def fraction(indices, grid, number=0, mask=None):
    return count_points(labelled(indices, mask), CLASSES, grid, number).set_index("phase")


def labelled(indices, mask=None, name="image"):
    field = runs_of(np.ones(indices.shape, bool) if mask is None else mask)
    return LabelledPlane(indices, field, len(CLASSES), name, rows_at_a_time=7)


def test_points_on_a_boundary_count_a_half():
    stripes = np.zeros((40, 41), np.uint8)
    stripes[:, 1::2] = 1
    counted = fraction(stripes, PointGrid(10, 10))
    assert counted["points_counted"].tolist() == [100, 100]
    assert counted["points"].tolist() == [50, 50]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 5))
def test_every_point_is_counted_once(rows, columns, number):
    indices = (np.indices((50, 60)).sum(0) // 7 % 2).astype(np.uint8)
    counted = fraction(indices, PointGrid(rows, columns), number)
    assert counted["points"].sum() == rows * columns
    assert counted["point_fraction"].sum() == pytest.approx(1)


def test_the_count_is_unbiased_over_starts_of_the_grid():
    rows, columns = np.indices((120, 160))
    discs = sum(
        np.hypot(rows - r, columns - c) < 3 for r in range(10, 110, 12) for c in range(9, 150, 13)
    )
    indices = discs.astype(np.uint8)
    found = [fraction(indices, PointGrid(), n)["point_fraction"]["carbide"] for n in range(600)]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(indices.mean(), abs=4 * error)


def test_points_outside_the_field_are_left_out():
    indices = np.ones((40, 40), np.uint8)
    indices[:, 20:] = UNLABELLED
    mask = np.zeros((40, 40), bool)
    mask[:20] = True
    counted = fraction(indices, PointGrid(5, 8), mask=mask)
    assert counted["points_counted"]["carbide"] == 40
    assert counted["point_fraction"]["carbide"] == 1
    nothing = fraction(np.full((9, 9), UNLABELLED, np.uint8), PointGrid())
    assert nothing["points_counted"].tolist() == [0, 0]
    assert nothing["point_fraction"].isna().all()


def test_statistics_count_fields_and_not_points():
    indices = np.zeros((60, 60), np.uint8)
    indices[20:40] = 1
    counts = pd.concat([fraction(indices, PointGrid(), n).reset_index() for n in range(5)])
    found = point_statistics(counts, PointGrid())
    assert found["points_per_field"] == 100
    assert found["phases"]["carbide"]["n_fields"] == 5
    low, high = found["phases"]["carbide"]["ci95"]
    assert low <= 1 / 3 <= high
    one = point_statistics(counts.iloc[:2], PointGrid())
    assert one["phases"]["carbide"]["ci95"] is None


def test_a_field_is_counted_alike_whatever_its_name_order_and_other_names_differ():
    random = np.random.default_rng(0).integers(0, 2, (60, 60)).astype(np.uint8)
    grid = PointGrid()
    first, again, other = (
        count_points(labelled(random, name=name), CLASSES, grid)["points"].tolist()
        for name in "aab"
    )
    assert first == again != other


def test_a_grid_has_no_more_points_than_pixels():
    counted = fraction(np.zeros((4, 6), np.uint8), PointGrid(10**6, 10**6))
    assert counted["points_counted"].tolist() == [20, 20]


@pytest.mark.parametrize("text", ["10", "axb", "0x4", "4x-1", ""])
def test_a_grid_without_points_is_refused(text):
    with pytest.raises(InputError, match="give ROWSxCOLUMNS"):
        PointGrid.parse(text)


def test_a_grid_is_read():
    assert PointGrid.parse("7×9") == PointGrid.parse("7X9") == PointGrid(7, 9)
