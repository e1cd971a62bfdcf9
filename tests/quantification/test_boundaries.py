from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_metallography.calibration import Calibration
from napari_metallography.classes import UNLABELLED
from napari_metallography.quantification.boundaries import (
    Crossings,
    Open,
    Seams,
    count_crossings,
    find_seams,
)
from napari_metallography.quantification.crofton import STEPS
from napari_metallography.quantification.phases import boundary_columns

PIXELS = Calibration.square(1.0, "test")


def columns(indices, n_classes=2, calibration=PIXELS, ids=None, rolling="horizontal"):
    crossings = count_crossings(indices, n_classes, ids)
    known = indices[indices != UNLABELLED]
    fractions = np.bincount(known, minlength=n_classes) / len(known)
    split_classes = () if ids is None else range(n_classes)
    return boundary_columns(crossings, fractions, calibration, rolling, split_classes)


def bands(period=10, thick=4, shape=(100, 120)):
    indices = np.zeros(shape, np.uint8)
    indices[np.arange(shape[0]) % period < thick] = 1
    return indices


def crossings_one_by_one(indices, n_classes):
    steps, crossed = [], []
    height, width = indices.shape
    for dr, dc in STEPS:
        pairs = [
            (indices[r, c], indices[r + dr, c + dc])
            for r in range(height)
            for c in range(width)
            if 0 <= r + dr < height and 0 <= c + dc < width
        ]
        known = [pair for pair in pairs if UNLABELLED not in pair]
        steps.append(len(known))
        crossed.append([sum((a == k) != (b == k) for a, b in known) for k in range(n_classes)])
    return steps, crossed


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
        elements=st.sampled_from([0, 1, 2, UNLABELLED]),
    )
)
def test_crossings_are_counted_step_by_step(indices):
    found = count_crossings(indices, 3)
    by_row = sum(
        (count_crossings(indices[row : row + 4], 3, n_rows=1) for row in range(len(indices))),
        Crossings.none(3),
    )
    np.testing.assert_array_equal(by_row.steps, found.steps)
    np.testing.assert_array_equal(by_row.crossed, found.crossed)
    steps, crossed = crossings_one_by_one(indices, 3)
    assert found.steps.tolist() == steps
    assert found.crossed.tolist() == crossed


def test_chords_and_free_paths_of_bands():
    found = columns(bands(), calibration=Calibration(0.5, 2.0, "test"))
    # 19 boundaries in 99 steps of 2 µm.
    n_l = 19 / (2 * 99 * 2)
    assert found["intercepts_vertical_per_mm"] == pytest.approx([1000 * n_l] * 2)
    assert found["mean_chord_vertical_um"][1] == pytest.approx(0.4 / n_l)
    assert found["mean_free_path_vertical_um"][1] == pytest.approx(0.6 / n_l)
    assert found["intercepts_horizontal_per_mm"].tolist() == [0, 0]
    assert np.isnan(found["mean_chord_horizontal_um"]).all()
    assert np.isnan(found["mean_free_path_horizontal_um"]).all()


def test_long_fields_of_bands_have_chords_of_their_thickness():
    found = columns(bands(shape=(5000, 30)))
    assert found["mean_chord_vertical_um"] == pytest.approx([6, 4], rel=0.01)
    assert found["mean_free_path_vertical_um"] == pytest.approx([4, 6], rel=0.01)


def test_boundary_length_of_bands_and_of_discs():
    found = columns(bands())
    assert found["specific_boundary_length_per_mm"] == pytest.approx([190, 190], rel=0.02)
    y, x = np.mgrid[-100:101, -100:101]
    disc = (x**2 + y**2 <= 60**2).astype(np.uint8)
    expected = 1000 * 120 * math.pi / disc.size
    assert columns(disc)["specific_boundary_length_per_mm"] == pytest.approx(
        [expected] * 2, rel=0.02
    )


def test_banding_along_the_rolling_direction():
    along, across = columns(bands()), columns(bands(), rolling="vertical")
    assert np.isnan(along["anisotropy_index"]).all()
    assert along["omega12"] == pytest.approx([1, 1])
    assert across["anisotropy_index"] == pytest.approx([0, 0])
    assert across["omega12"] == pytest.approx([-1 / 0.571] * 2)


def test_no_direction_prevails_in_a_random_structure():
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 2, (300, 300), dtype=np.uint8)
    found = columns(indices)
    assert found["anisotropy_index"] == pytest.approx([1, 1], rel=0.02)
    assert found["omega12"] == pytest.approx([0, 0], abs=0.02)


def test_banding_after_e1268_from_the_two_counts():
    indices = np.zeros((60, 60), np.uint8)
    indices[10:14, 10:50] = indices[30:34, 10:50] = 1
    found = columns(indices)
    across, along = 80 * 2, 8 * 2
    assert found["anisotropy_index"] == pytest.approx([across / along] * 2)
    assert found["omega12"] == pytest.approx([(across - along) / (across + 0.571 * along)] * 2)


def test_contiguity_of_two_touching_particles():
    indices = np.zeros((12, 14), np.uint8)
    indices[4:8, 4:8] = indices[4:8, 8:12] = 1
    ids = np.zeros(indices.shape, np.int32)
    ids[4:8, 4:8], ids[4:8, 8:12] = 1, 2
    found = columns(indices, ids=ids)["contiguity"]
    # Lines cross the common side 4 times and the sides to the matrix 8 and 16 times.
    horizontal, vertical = 12 * 13, 11 * 14
    own = 2 * 4 / horizontal
    other = 8 / horizontal + 16 / vertical
    assert found[1] == pytest.approx(own / (own + other))
    assert found[0] == 0


def test_without_splitting_there_is_no_contiguity():
    assert np.isnan(columns(bands())["contiguity"]).all()


def test_unlabelled_pixels_are_no_boundary():
    indices = bands()
    indices[:, 60:] = UNLABELLED
    left = columns(indices)
    alone = columns(np.ascontiguousarray(indices[:, :60]))
    for name in left:
        np.testing.assert_allclose(left[name], alone[name])


def seams_one_by_one(indices, field):
    """Steps over seams along rows, and class pairs at their ends."""
    steps, ends = 0, []
    for row, inside in zip(indices, field, strict=True):
        labelled = np.flatnonzero((row != UNLABELLED) & inside)
        for a, b in pairwise(labelled):
            if b - a > 1 and inside[a:b].all():
                steps += b - a
                ends += [(row[a], row[b])]
    return steps, [sum((a == k) != (b == k) for a, b in ends) for k in range(3)]


planes = arrays(
    np.uint8,
    st.tuples(st.integers(1, 6), st.integers(1, 9)),
    elements=st.sampled_from([0, 1, 2, UNLABELLED]),
)


@given(planes, st.integers(0, 1000), st.integers(1, 6))
def test_seams_are_found_line_by_line(indices, seed, height):
    field = np.random.default_rng(seed).random(indices.shape) < 0.9
    coded = np.where(field, indices, UNLABELLED).astype(np.uint8)
    found, begun = Seams.none(3), Open.at_the_top(indices.shape[1])
    for top in range(0, len(indices), height):
        rows = slice(top, top + height)
        more, begun = find_seams(coded[rows], field[rows], 3, begun)
        found += more
    expected = [seams_one_by_one(coded, field), seams_one_by_one(coded.T, field.T)]
    assert found.steps.tolist() == [steps for steps, _ in expected]
    assert found.parting.tolist() == [parting for _, parting in expected]
