import math
from functools import cache

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import assume, given
from hypothesis import strategies as st
from skimage.measure import label

from napari_metallography.calibration import Calibration
from napari_metallography.events import Event, Progress, drain
from napari_metallography.grains.etched import grains_of_etched
from napari_metallography.grains.finding import Given
from napari_metallography.grains.grading import FieldGrade, GradingParameters, grade
from napari_metallography.grains.partition import Partition, from_boundaries, from_labels, numbered
from napari_metallography.grains.plan import GradingPlan, graded
from napari_metallography.grains.twins import TwinParameters, without_twins
from napari_metallography.synthesis.polycrystals import (
    Polycrystal,
    PolycrystalParameters,
    polycrystal,
)

SIDE_PX = 40.0
MIDDLE = np.array([100.0, 120.0])


@cache
def _honeycomb() -> np.ndarray:
    """Regular hexagons, one of them, number 1, around the middle."""
    steps = [(i, j) for i in range(-4, 5) for j in range(-4, 5)]
    steps.sort(key=lambda step: step != (0, 0))
    across = math.sqrt(3) * SIDE_PX
    places = MIDDLE + [(1.5 * SIDE_PX * i, across * (j + i / 2)) for i, j in steps]
    y, x = np.mgrid[:200, :240]
    far = (y[..., None] - places[:, 0]) ** 2 + (x[..., None] - places[:, 1]) ** 2
    return far.argmin(-1) + 1


def _heights(turn_deg: float) -> np.ndarray:
    """How far each pixel lies above a line of a direction through the middle."""
    turn = math.radians(turn_deg)
    return (np.moveaxis(np.mgrid[:200, :240], 0, -1) - MIDDLE) @ [math.cos(turn), math.sin(turn)]


def _misses_corners(turn_deg: float, *heights: float) -> bool:
    """Whether lines of a direction stay clear of the triple points of the middle grain."""
    corners = SIDE_PX * np.cos(np.radians(turn_deg - 60 * np.arange(6)))
    return np.abs(np.subtract.outer(corners, heights)).min() > 5


def _cut(grains: np.ndarray, above: np.ndarray) -> Partition:
    """The grain in the middle cut in two or more."""
    return numbered(
        label(np.where((grains == 1) & above, grains.max() + 1, grains), connectivity=1)
    )


def _same(one: Partition, other: Partition) -> bool:
    """Whether two partitions part the field alike, whatever the numbers."""
    return one.n == other.n == len(np.unique(one.grains * (other.n + 1) + other.grains))


def _twinned(seed: int, twinned: float = 0.2, grain_size: float = 9) -> Polycrystal:
    return polycrystal(
        PolycrystalParameters(
            height_px=420, width_px=560, grain_size=grain_size, twinned=twinned, contrast=0.5
        ),
        seed,
    )


def _with_twins(made: Polycrystal) -> Partition:
    """Grains between true boundaries and the true sides of twins, without crumbs."""
    twins = made.twins.astype(np.uint8)
    outlines = twins > cv2.erode(twins, np.ones((3, 3), np.uint8))
    return from_boundaries(made.boundaries | outlines, smallest_area_px=10)


def _thinned(grains: Partition, across: int, step: int = 3) -> np.ndarray:
    """Every third row (0) or column (1)."""
    kept = [slice(None, None, step if axis == across else 1) for axis in (0, 1)]
    return np.ascontiguousarray(grains.grains[tuple(kept)])


def _left_out(labels: np.ndarray, calibration: Calibration) -> FieldGrade:
    """A field of numbered regions graded by lines, without its twins."""
    plan = GradingPlan(("lines",), finding=Given("cut", labels), twins=TwinParameters())
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    return drain(graded(plan, pixels, calibration, "a.tif"))["lines"]


def _g(grains: Partition, calibration: Calibration, method: str) -> float:
    return grade(grains, calibration, GradingParameters(method=method)).g


@given(st.floats(0, 180), st.floats(-12, 2), st.floats(8, 14))
def test_a_band_across_a_grain_is_no_grain(turn: float, start: float, width: float) -> None:
    assume(_misses_corners(turn, start, start + width))
    grains = _honeycomb()
    heights = _heights(turn)
    cut = _cut(grains, (heights > start) & (heights < start + width))
    assert cut.n == numbered(grains).n + 2
    assert _same(without_twins(cut), numbered(grains))


@pytest.mark.parametrize("turn", [20, 90, 150])
def test_a_twin_at_the_rim_is_no_grain(turn: float) -> None:
    grains = _honeycomb()
    cut = _cut(grains, _heights(turn) > 15)
    assert _same(without_twins(cut), numbered(grains))


def test_grains_that_meet_at_equal_angles_stay_apart() -> None:
    grains = numbered(_honeycomb())
    assert without_twins(grains) is grains


def test_a_curved_boundary_is_not_that_of_a_twin() -> None:
    grains = _honeycomb()
    bowed = _heights(12) + 8 * np.cos(_heights(102) / 14)
    cut = _cut(grains, bowed > 4)
    assert cut.n == numbered(grains).n + 1
    assert without_twins(cut) is cut


def test_crumbs_at_the_ends_of_a_twin_go_with_it() -> None:
    grains = _honeycomb()
    heights = _heights(12)
    cut = _cut(grains, (heights > -8) & (heights < 4)).grains.copy()
    # Where the band meets the grain's rim.
    edge = np.argwhere((np.abs(heights + 8) < 1.5) & (grains == 1))
    y, x = edge[edge[:, 1].argmax()]
    cut[y - 1 : y + 1, x - 1 : x + 1] = cut.max() + 1
    assert without_twins(numbered(cut)).n == numbered(grains).n


@pytest.mark.parametrize("seed", [20, 21, 22])
def test_twins_do_not_make_a_grain_size_finer(seed: int) -> None:
    made = _twinned(seed)
    true, cut = from_labels(made.grains), _with_twins(made)
    joined = without_twins(cut)
    for method in ("lines", "planimetric"):
        wanted = _g(true, made.calibration, method)
        assert _g(cut, made.calibration, method) > wanted + 0.4
        assert _g(joined, made.calibration, method) == pytest.approx(wanted, abs=0.15)


@pytest.mark.parametrize("across", [0, 1])
@pytest.mark.parametrize("seed", [20, 22])
def test_twins_of_oblong_pixels_are_found_as_in_square_ones(seed: int, across: int) -> None:
    made = _twinned(seed)
    true, cut = from_labels(made.grains), _with_twins(made)
    sides = made.calibration.x_um * np.where(np.arange(2) == across, 3, 1)
    oblong = Calibration(y_um=sides[0], x_um=sides[1], source="test")
    found = _left_out(_thinned(cut, across), oblong)
    assert found.grains.n == pytest.approx(without_twins(cut).n, rel=0.04)
    # Of the grains as they look in such pixels, with stairs for boundaries.
    wanted = _g(from_labels(_thinned(true, across)), oblong, "lines")
    assert found.g == pytest.approx(wanted, abs=0.15)


def test_methods_share_the_grains_of_square_pixels() -> None:
    made = _twinned(21)
    oblong = Calibration(y_um=1.0, x_um=0.5, source="test")
    given = Given("cut", _thinned(_with_twins(made), 0))
    plan = GradingPlan(("lines", "planimetric"), finding=given, twins=TwinParameters())
    events: list[Event] = []
    pixels = np.zeros((*given.values.shape, 3), np.uint8)
    found = drain(graded(plan, pixels, oblong, "a.tif"), events.append)
    assert found["lines"].grains is found["planimetric"].grains
    assert found["lines"].pixel_um == 0.5
    steps = [event for event in events if isinstance(event, Progress)]
    assert "steps: twins" in {step.message for step in steps}
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total
    left_out = found["lines"].measured["twins_left_out"]
    assert left_out == len(np.unique(given.values)) - found["lines"].grains.n > 20


@pytest.mark.parametrize("seed", [23, 24])
def test_twins_found_in_an_etched_image_are_left_out(seed: int) -> None:
    made = _twinned(seed)
    joined = without_twins(grains_of_etched(made.image))
    assert _g(joined, made.calibration, "lines") == pytest.approx(made.intercept_g, abs=0.25)
    assert _g(joined, made.calibration, "planimetric") == pytest.approx(
        made.planimetric_g, abs=0.25
    )


@pytest.mark.parametrize("seed", [25, 26, 27])
def test_grains_without_twins_keep_their_size(seed: int) -> None:
    made = _twinned(seed, twinned=0)
    for grains in (from_boundaries(made.boundaries), grains_of_etched(made.image)):
        joined = without_twins(grains)
        assert joined.n >= 0.97 * grains.n
        for method in ("lines", "planimetric"):
            assert _g(joined, made.calibration, method) == pytest.approx(
                _g(grains, made.calibration, method), abs=0.1
            )


def test_numbers_and_orientation_do_not_matter() -> None:
    cut = _with_twins(_twinned(28))
    joined = without_twins(cut)
    shuffled = np.random.default_rng(0).permutation(cut.n) + 1
    other = Partition(shuffled.astype(np.int32)[cut.grains - 1], cut.n)
    assert _same(without_twins(other), joined)
    for turned in (cut.grains.T, cut.grains[::-1], cut.grains[:, ::-1]):
        found = without_twins(Partition(np.ascontiguousarray(turned), cut.n))
        assert found.n == pytest.approx(joined.n, abs=0.02 * joined.n)


def test_more_evidence_joins_less() -> None:
    cut = _with_twins(_twinned(29))
    strict = TwinParameters(least_of_band=6, least_of_single=5.5)
    assert without_twins(cut).n < without_twins(cut, strict).n < cut.n


@pytest.mark.parametrize("regions", [1, 2])
def test_a_field_without_a_junction_is_left_as_it_is(regions: int) -> None:
    labels = np.ones((20, 20), np.int32)
    labels[:, 10:] = regions
    grains = numbered(labels)
    assert without_twins(grains) is grains


def test_a_steel_without_twins_keeps_its_grain_size(shared_data) -> None:
    size = Calibration.square(50 / 222, "scale bar")
    path = shared_data / "nist_steel" / "grains_steel_highlighted_segmented.tif"
    drawn = from_boundaries(tifffile.imread(path) > 0)
    raw = grains_of_etched(tifffile.imread(path.with_name("grain_structures_steel.tif")))
    for grains in (drawn, raw):
        joined = without_twins(grains)
        for method in ("lines", "planimetric"):
            assert _g(joined, size, method) == pytest.approx(_g(grains, size, method), abs=0.1)
