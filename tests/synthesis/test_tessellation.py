import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_metallography.errors import InputError
from napari_metallography.synthesis.tessellation import (
    Tessellation,
    laguerre,
    lengths_inside,
    power_diagram,
)

seeds = st.integers(0, 2**32)


def _squares() -> tuple[np.ndarray, tuple[int, int]]:
    """Seeds of a brick pattern: cells of 10 by 10, every second row shifted by half a brick."""
    rows, columns = np.indices((20, 20))
    return (
        np.column_stack([rows.ravel() * 10.0, (columns + (rows % 2) / 2).ravel() * 10.0]),
        (101, 103),
    )


def _random_diagram(seed: int) -> tuple[np.ndarray, np.ndarray, Tessellation]:
    """Seeds, weights and their cells on a field of 100 by 100."""
    rng = np.random.default_rng(seed)
    places, weights = rng.uniform(0, 100, (60, 2)), rng.uniform(0, 60, 60)
    return places, weights, power_diagram(places, weights, (100, 100))


def _power_of(seeds: np.ndarray, weights: np.ndarray, places: np.ndarray) -> np.ndarray:
    return ((places[:, None] - seeds) ** 2).sum(2) - weights


@given(seeds)
@settings(max_examples=20)
def test_triple_points_are_as_far_from_three_cells(seed: int) -> None:
    places, weights, found = _random_diagram(seed)
    inside = ((found.vertices > 0) & (found.vertices < 100)).all(1)
    power = np.sort(_power_of(places, weights, found.vertices[inside]), axis=1)
    assert power[:, 0] == pytest.approx(power[:, 2], abs=1e-5)


@given(seeds)
@settings(max_examples=20)
def test_boundaries_part_the_two_nearest_cells(seed: int) -> None:
    places, weights, found = _random_diagram(seed)
    middles = found.vertices[found.edges].mean(1)
    inside = ((middles > 0) & (middles < 100)).all(1)
    nearest = np.argsort(_power_of(places, weights, middles[inside]), axis=1)[:, :2]
    assert (np.sort(nearest) == np.sort(found.neighbours[inside])).all()


def test_bricks_have_the_length_and_triple_points_of_bricks() -> None:
    places, shape = _squares()
    found = power_diagram(places, np.zeros(len(places)), shape)
    # Cells of a shifted square pattern are hexagons of the pattern's area.
    assert found.mean_area == pytest.approx(100, rel=0.05)
    sides = lengths_inside(found.vertices[found.edges], shape)
    assert sides.max() < 10


def test_the_closed_cells_tile_the_field() -> None:
    found = laguerre((200, 300), 12, 0.5, np.random.default_rng(3))
    y, x = np.random.default_rng(4).uniform((5, 5), (195, 295), (300, 2)).T
    holding = np.zeros(300, int)
    for cell in found.cells:
        corners = found.vertices[cell]
        sides = np.roll(corners, -1, axis=0) - corners
        cross = sides[:, 1] * (y[:, None] - corners[:, 0]) - sides[:, 0] * (
            x[:, None] - corners[:, 1]
        )
        holding += (cross >= 0).all(1) | (cross <= 0).all(1)
    assert (holding == 1).all()


@pytest.mark.parametrize("sigma", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("intercept", [8.0, 25.0])
def test_the_wanted_intercept_is_met(sigma: float, intercept: float) -> None:
    found = laguerre((300, 400), intercept, sigma, np.random.default_rng(1))
    assert abs(2 * math.log2(found.mean_intercept / intercept)) < 0.01


def test_random_cells_have_the_morphology_of_random_cells() -> None:
    rng = np.random.default_rng(2)
    places = rng.uniform(-50, 850, (9000, 2))
    found = power_diagram(places, np.zeros(len(places)), (800, 800))
    density = len(places) / 900**2
    # Poisson-Voronoi: L_A = 2 √n, and two triple points a cell (Okabe et al., table 5.5.2).
    assert found.boundary_length / 800**2 == pytest.approx(2 * math.sqrt(density), rel=0.02)
    assert found.triple_points / 800**2 == pytest.approx(2 * density, rel=0.03)


@given(seeds)
def test_lengths_inside_agree_with_many_points_on_the_segments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments = rng.uniform(-50, 150, (5, 2, 2))
    parts = np.linspace(0, 1, 4001)
    places = segments[:, 0, None] + parts[:, None] * (segments[:, 1] - segments[:, 0])[:, None]
    share = ((places >= 0) & (places <= (100, 80))).all(2).mean(1)
    whole = np.hypot(*(segments[:, 1] - segments[:, 0]).T)
    assert lengths_inside(segments, (100, 80)) == pytest.approx(share * whole, abs=0.2)


def test_level_segments_on_the_edge_and_beside_it() -> None:
    segments = np.array([[[0.0, 10], [0, 30]], [[-1, 10], [-1, 30]], [[5, -10], [5, 200]]])
    assert lengths_inside(segments, (100, 80)).tolist() == [20, 0, 80]


def test_grains_larger_than_the_field_are_refused() -> None:
    with pytest.raises(InputError, match="smaller than a grain"):
        laguerre((20, 20), 400, 0.0, np.random.default_rng(0))


@given(seeds)
@settings(max_examples=10)
def test_no_cell_far_from_the_field_is_kept(seed: int) -> None:
    # Cells at the rim can be millions of pixels long, more than a drawing can hold.
    found = laguerre((60, 80), 12, 0.7, np.random.default_rng(seed))
    middle = np.array([found.vertices[cell].mean(0) for cell in found.cells])
    assert np.abs(middle).max() < 1000
    covered = sum(_area_inside(found.vertices[cell], found.shape) for cell in found.cells)
    assert covered == pytest.approx(60 * 80)


def _area_inside(corners: np.ndarray, shape: tuple[int, int]) -> float:
    """Of a convex polygon within the field, by clipping it at each side and the shoelace rule."""
    for axis, limit, sign in ((0, 0, 1), (1, 0, 1), (0, shape[0], -1), (1, shape[1], -1)):
        kept = []
        for i, end in enumerate(corners):
            start = corners[i - 1]
            a, b = sign * (start[axis] - limit), sign * (end[axis] - limit)
            if (a >= 0) != (b >= 0):
                kept.append(start + (end - start) * a / (a - b))
            if b >= 0:
                kept.append(end)
        corners = np.array(kept).reshape(-1, 2)
        if not len(corners):
            return 0.0
    y, x = corners.T
    return abs(float(y @ np.roll(x, 1) - x @ np.roll(y, 1))) / 2
