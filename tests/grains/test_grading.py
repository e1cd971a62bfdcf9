import math
from dataclasses import replace

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.grains.grade_numbers import numbers_of
from napari_metallography.grains.grading import (
    METHODS,
    QUANTITIES,
    GradingParameters,
    g_of,
    grade,
    regraded,
    with_square_pixels,
)
from napari_metallography.grains.intersections import Intersections
from napari_metallography.grains.partition import from_boundaries, from_labels
from napari_metallography.grains.standards import grains_per_mm2_of, intercept_g, intercept_mm_of
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

HALF_UM = Calibration.square(0.5, "test")


@pytest.fixture(scope="module")
def made():
    return polycrystal(PolycrystalParameters(height_px=500, width_px=640, grain_size=9), 5)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_gives_its_own_truth(made, method) -> None:
    found = grade(from_boundaries(made.boundaries), HALF_UM, GradingParameters(method=method))
    truth = made.intercept_g if QUANTITIES[method].startswith("inter") else made.planimetric_g
    # Three circles meet some sixty boundaries here.
    assert found.g == pytest.approx(truth, abs=0.3 if method == "circles" else 0.12)


@pytest.mark.parametrize("method", METHODS)
def test_finer_pixels_of_the_same_grains_give_the_same_grade(made, method) -> None:
    fine = polycrystal(
        PolycrystalParameters(height_px=1000, width_px=1280, pixel_size_um=0.25, grain_size=9), 5
    )
    grades = [
        grade(
            from_boundaries(one.boundaries),
            one.calibration,
            GradingParameters(method=method, line_spacing_px=5 / one.calibration.x_um),
        ).g
        for one in (made, fine)
    ]
    assert fine.intercept_g == pytest.approx(made.intercept_g, abs=1e-6)
    assert grades[0] == pytest.approx(grades[1], abs=0.1 if method == "circles" else 0.02)


def test_a_grade_by_calibration_alone_is_exact(made) -> None:
    grains = from_boundaries(made.boundaries)
    twice = Calibration.square(1.0, "test")
    assert grade(grains, HALF_UM).g - grade(grains, twice).g == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_oblong_pixels_are_made_square(made, method) -> None:
    rules = GradingParameters(method=method)
    grains = from_boundaries(made.boundaries)
    wide = from_labels(np.ascontiguousarray(grains.grains[:, ::2]))
    oblong = Calibration(x_um=1.0, y_um=0.5, source="test")
    assert with_square_pixels(wide, oblong)[0].shape == grains.shape
    assert grade(wide, oblong, rules).g == pytest.approx(
        grade(grains, HALF_UM, rules).g, abs=0.25 if method == "circles" else 0.1
    )


@pytest.mark.parametrize("grain_size", [5.0, 8.5, 13.0])
def test_the_number_follows_from_the_quantity(grain_size: float) -> None:
    assert g_of("lines", 1 / intercept_mm_of(grain_size)) == pytest.approx(grain_size, abs=1e-5)
    density = grains_per_mm2_of(grain_size)
    assert g_of("planimetric", density) == pytest.approx(grain_size, abs=1e-5)
    assert g_of("automatic", 1e6 / density) == pytest.approx(grain_size, abs=1e-5)
    assert math.isnan(g_of("lines", 0))


def test_stretched_grains_have_their_anisotropy() -> None:
    rows, columns = np.indices((300, 300)) // np.array([10, 30])[:, None, None]
    bricks = from_labels((rows * 10 + columns + 1).astype(np.int32))
    numbers = numbers_of(grade(bricks, HALF_UM, GradingParameters(line_spacing_px=7)))
    assert numbers["anisotropy_index"] == pytest.approx(3, rel=0.08)
    (said,) = numbers["notes"]
    assert f"anisotropy index {numbers['anisotropy_index']:.2g}, mean intercepts differ" in said
    assert said.endswith(f"G is {numbers['G_geometric_mean']:.2f}")
    by_direction = numbers["mean_intercept_um_by_direction_deg"].values()
    mean_mm = math.prod(by_direction) ** (1 / len(by_direction)) / 1000
    assert numbers["G_geometric_mean"] == pytest.approx(intercept_g(mean_mm))


def test_equiaxed_grains_are_not_said_to_be_elongated_however_few(made) -> None:
    whole = from_boundaries(made.boundaries)
    assert not grade(whole, HALF_UM).is_elongated
    for top in range(0, 240, 60):
        part = from_labels(whole.grains[top : top + 60, :80])
        assert not grade(part, HALF_UM).is_elongated, top


def test_taking_an_intersection_away_changes_the_number(made) -> None:
    found = grade(from_boundaries(made.boundaries), HALF_UM)
    drawn = found.drawn
    assert isinstance(drawn, Intersections)
    fewer = Intersections(drawn.points[1:], drawn.weights[1:], drawn.line[1:], drawn.lines)
    less = regraded(found, fewer)
    ratio = (drawn.count - drawn.weights[0]) / drawn.count
    assert less.g - found.g == pytest.approx(6.643856 * math.log10(ratio), abs=1e-6)
    assert regraded(less, drawn).g == found.g


def test_what_does_not_follow_from_intersections_stays_when_they_are_corrected(made) -> None:
    found = grade(from_boundaries(made.boundaries), HALF_UM)
    told = replace(found, measured={**found.measured, "twins_left_out": 7})
    none = replace(found.drawn, points=np.zeros((0, 2)), weights=np.zeros(0), line=np.zeros(0, int))
    less = regraded(told, none)
    assert less.measured["twins_left_out"] == 7
    assert less.measured["line_spacing_px"] == found.measured["line_spacing_px"]
    assert less.measured["intersections"] == 0
    assert not math.isfinite(less.measured["geometric_mean_intercept_um"])


@pytest.mark.parametrize("wanted", [None, 7])
def test_lines_lie_as_far_apart_as_told(made, wanted) -> None:
    found = grade(
        from_boundaries(made.boundaries), HALF_UM, GradingParameters(line_spacing_px=wanted)
    )
    told = found.measured["line_spacing_px"]
    across = [line.path[0, 0] for line in found.drawn.lines if line.direction_deg == 0]
    assert np.diff(sorted(across)) == pytest.approx(told, rel=0.06)
    assert wanted is None or told == pytest.approx(wanted, rel=0.06)


def test_few_intersections_are_flagged_and_one_grain_is_refused() -> None:
    halves = np.ones((50, 50), np.int32)
    halves[:, 25:] = 2
    found = grade(from_labels(halves), HALF_UM)
    assert found.notes[0].startswith("2 grains in the field: far too few, G cannot be relied on")
    quarters = from_labels(np.indices((60, 60)).sum(0).astype(np.int32) // 20 + 1)
    few = grade(quarters, HALF_UM)
    assert few.count < 50
    assert "below the 50" in few.notes[0]
    with pytest.raises(InputError, match="one grain fills the field"):
        grade(from_labels(np.ones((50, 50), np.int32)), HALF_UM)
    with pytest.raises(InputError, match="no grain lies wholly"):
        grade(from_labels(halves), HALF_UM, GradingParameters(method="automatic"))
