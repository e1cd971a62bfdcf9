import math

import numpy as np
import pytest

from napari_metallography.grains.partition import from_boundaries, from_labels
from napari_metallography.grains.planimetric import (
    CORNER,
    CUT,
    INSIDE,
    OUTSIDE,
    count_in_circle,
    count_in_rectangle,
    mean_area_of_whole_grains,
)
from napari_metallography.grains.standards import planimetric_g
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

PIXEL_MM = 0.5e-3


def _chequers(side: int = 10, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    rows, columns = np.indices(shape) // side
    return (rows * (shape[1] // side) + columns + 1).astype(np.int32)


def test_a_rectangle_of_squares_holds_as_many_as_fit() -> None:
    # Shifted by half a square, so that the field's edge cuts squares in halves.
    shifted = _chequers(10, (80, 100))[5:75, 5:95]
    found = count_in_rectangle(from_labels(shifted))
    assert (found.inside, found.cut, found.grains) == (6 * 8, 2 * 6 + 2 * 8, 63)
    assert found.area_px / found.grains == 100


def test_each_grain_is_told_what_it_is() -> None:
    found = count_in_rectangle(from_labels(_chequers(10, (80, 100))[5:75, 5:95]))
    assert [(found.part == part).sum() for part in (INSIDE, CUT, CORNER)] == [48, 28, 4]
    circle = count_in_circle(from_labels(_chequers(10, (80, 100))))
    assert (circle.part == OUTSIDE).sum() == 80 - circle.inside - circle.cut
    assert circle.area_px == pytest.approx(math.pi * (0.98 * 40) ** 2, rel=0.01)
    assert circle.area_px / circle.grains == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("source", ["labels", "boundaries"])
def test_the_true_number_is_found(source: str) -> None:
    errors: dict[str, list[float]] = {"rectangle": [], "circle": [], "whole grains": []}
    for seed in range(3):
        truth = polycrystal(
            PolycrystalParameters(height_px=500, width_px=600, grain_size=10.5), seed
        )
        grains = from_labels(truth.grains)
        if source == "boundaries":
            grains = from_boundaries(truth.boundaries)
        areas = {
            "rectangle": (r := count_in_rectangle(grains)).area_px / r.grains,
            "circle": (c := count_in_circle(grains)).area_px / c.grains,
            "whole grains": mean_area_of_whole_grains(grains),
        }
        for name, area in areas.items():
            errors[name].append(planimetric_g(1 / (area * PIXEL_MM**2)) - truth.planimetric_g)
    # Over the three fields there are more than 1000 grains.
    assert all(abs(np.mean(found)) < 0.1 for found in errors.values())


def test_no_whole_grain_has_no_mean() -> None:
    assert math.isnan(mean_area_of_whole_grains(from_labels(_chequers(30, (60, 60)))))
