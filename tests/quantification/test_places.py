from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_metallography.calibration import Calibration
from napari_metallography.quantification import places
from napari_metallography.quantification.edges import border_of, select
from napari_metallography.quantification.particles import measure_particles
from napari_metallography.quantification.pixel_counts import count_pixels
from napari_metallography.quantification.places import free_places, places_in_rectangle
from napari_metallography.quantification.runs import runs_of
from napari_metallography.quantification.strips import LabelledPlane

EIGHT = np.ones((3, 3), bool)
PIXELS = Calibration.square(1.0, "test")


def disc(shape, row, column, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def needle(shape, row, column, length):
    """A line of pixels that slants upwards."""
    steps = np.arange(length)
    mask = np.zeros(shape, bool)
    mask[row + length - 1 - steps, column + steps] = True
    return mask


def eroded_places(known, particle):
    """Places of a particle with a pixel more all around, by the erosion of scipy."""
    grown = np.pad(particle, 1)
    rows, columns = np.nonzero(ndimage.binary_dilation(grown, EIGHT))
    shape = ndimage.binary_dilation(grown, EIGHT)[
        rows.min() : rows.max() + 1, columns.min() : columns.max() + 1
    ]
    room = np.pad(known, max(shape.shape))
    return int(ndimage.binary_erosion(room, shape).sum())


def uncut(known, seed, share):
    """Particles of any shape that touch no border."""
    random = np.random.default_rng(seed)
    ids, _ = ndimage.label(random.random(known.shape) < share, EIGHT)
    touching = np.unique(ids[border_of(known)])
    ids[np.isin(ids, touching)] = 0
    numbers = np.unique(ids)
    return np.searchsorted(numbers, ids).astype(np.int32)


def weights_of(runs, known):
    """Of those that the border does not cut."""
    plane = LabelledPlane(np.zeros(known.shape, np.uint8), runs_of(known), 1)
    counts = count_pixels(plane, runs)
    table = measure_particles(runs, counts.touches_border, PIXELS)
    return select("miles-lantuejoul", table, runs, counts.known).weights


@given(st.integers(0, 100_000), st.floats(0.9, 1), st.floats(0.05, 0.4))
def test_places_are_those_of_the_erosion_by_each_particle(seed, filled, share):
    random = np.random.default_rng(seed)
    known = random.random((24, 31)) < filled
    ids = uncut(known, seed + 1, share)
    expected = [eroded_places(known, ids == n) for n in range(1, int(ids.max()) + 1)]
    assert free_places(runs_of(known), runs_of(ids)).tolist() == expected


@given(st.integers(0, 100_000), st.floats(0.05, 0.4))
def test_in_a_rectangle_the_box_says_it(seed, share):
    known = np.zeros((30, 40), bool)
    known[3:27, 5:38] = True
    runs = runs_of(uncut(known, seed, share))
    boxes = runs.boxes
    found = places_in_rectangle(
        runs_of(known), boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    )
    assert found.tolist() == free_places(runs_of(known), runs).tolist()


@pytest.mark.parametrize("shape", [disc((9, 9), 4, 4, 4), needle((12, 12), 0, 0, 12)])
def test_numbers_in_a_circle_are_unbiased(shape):
    # The particle once at every place: those that fit stand for as many as the field has pixels.
    known = disc((61, 61), 30, 30, 30)
    border, weights = border_of(known), []
    height, width = shape.shape
    for top in range(61 - height + 1):
        for left in range(61 - width + 1):
            ids = np.zeros(known.shape, np.int32)
            ids[top : top + height, left : left + width] = shape
            if not (ids.astype(bool) & border).any() and known[ids > 0].all():
                weights.append(known.sum() / free_places(runs_of(known), runs_of(ids))[0])
    assert sum(weights) == pytest.approx(known.sum())


def test_needles_scattered_over_a_circle_are_counted_rightly():
    # Independent of how places are counted: needles at random, the circle laid over them.
    random = np.random.default_rng(4)
    known, counted = disc((121, 121), 60, 60, 60), 0.0
    trials, length = 400, 24
    for _ in range(trials):
        row, column = random.integers(-length, 121, 2)
        whole = needle((169, 169), row + length, column + length, length)
        mask = whole[length : length + 121, length : length + 121] & known
        counted += float(weights_of(runs_of(mask).parted()[0], known).sum())
    expected = trials * known.sum() / (121 + length) ** 2
    assert counted == pytest.approx(expected, rel=0.06)


def annulus_around_a_hole():
    """A ring with an unlabelled pixel within, in a field with ragged edges."""
    known = disc((41, 41), 20, 20, 20)
    known[18, 15] = False
    ring = disc(known.shape, 18, 15, 7) & ~disc(known.shape, 18, 15, 4)
    return known, ring.astype(np.int32)


def test_a_particle_around_a_hole_counts_where_it_lies():
    known, ids = annulus_around_a_hole()
    (found,) = free_places(runs_of(known), runs_of(ids))
    assert found == eroded_places(known, ids == 1) > 1
    assert np.isfinite(weights_of(runs_of(ids), known)).all()


def test_a_particle_that_fits_nowhere_else_has_one_place():
    known = np.ones((12, 12), bool)
    known[5:7, 5:7] = False
    ring = np.ones_like(known)
    ring[[0, -1]] = ring[:, [0, -1]] = False
    ring[4:8, 4:8] = False
    assert free_places(runs_of(known), runs_of(ring.astype(np.int32))).tolist() == [1]


@given(st.integers(0, 100_000), st.integers(1, 3))
def test_places_do_not_depend_on_the_direction(seed, turns):
    known = np.random.default_rng(seed).random((24, 31)) < 0.97
    ids = uncut(known, seed + 1, 0.3)
    turned = np.ascontiguousarray(np.rot90(ids, turns))
    found = free_places(runs_of(np.rot90(known, turns)), runs_of(turned))
    assert found.tolist() == free_places(runs_of(known), runs_of(ids)).tolist()


def test_blocks_change_nothing(monkeypatch):
    known = np.random.default_rng(3).random((60, 80)) < 0.99
    runs = runs_of(uncut(known, 5, 0.3))
    whole = free_places(runs_of(known), runs)
    monkeypatch.setattr(places, "_AT_A_TIME", 50)
    assert free_places(runs_of(known), runs).tolist() == whole.tolist()


def test_each_particle_has_a_step_of_its_own(monkeypatch):
    known = disc((1201, 1201), 600, 600, 600)
    known[300:310, 200:900] = False
    ids = np.zeros(known.shape, np.int32)
    ids[disc(known.shape, 700, 600, 20)] = 1
    ids[100:102, 600:602] = 2
    exact = free_places(runs_of(known), runs_of(ids))
    monkeypatch.setattr(places, "_MOST_WORK", 50_000)
    found = free_places(runs_of(known), runs_of(ids))
    assert found[1] == exact[1]
    assert found[0] != exact[0]
    assert found[0] == pytest.approx(exact[0], rel=5e-3)
    monkeypatch.setattr(places, "_MOST_WORK", 1)
    assert free_places(runs_of(known), runs_of(ids)) == pytest.approx(exact, rel=0.05)


def test_a_long_needle_among_many_holes_takes_little_memory(monkeypatch):
    random = np.random.default_rng(0)
    known = random.random((700, 700)) < 0.99
    ids = needle(known.shape, 100, 100, 500).astype(np.int32)
    known |= ndimage.binary_dilation(ids > 0, EIGHT)
    runs = runs_of(ids)
    exact = free_places(runs_of(known), runs)
    monkeypatch.setattr(places, "_AT_A_TIME", 1 << 16)
    tracemalloc.start()
    found = free_places(runs_of(known), runs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == exact
    assert found >= 1
    assert peak < 30 * 8 * (1 << 16)
