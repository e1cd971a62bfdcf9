from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.particles import find_particles
from napari_metallography.quantification.runs import paint_numbers, runs_of
from napari_metallography.quantification.splitting import split_by_distance, split_by_intensity
from napari_metallography.quantification.strips import LabelledPlane

PIXELS = Calibration.square(1.0, "test")
DEPTH = QuantifyParameters().split_depth


def ellipse(shape, centre, a, b, angle=0.0, y_um=1.0):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    y, x = (y - centre[0]) * y_um, x - centre[1]
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


def two_discs(first, second, overlap, angle):
    distance = first + second - overlap
    shift = distance * np.array([math.sin(angle), math.cos(angle)])
    shape = (4 * (first + second) + 8,) * 2
    middle = np.array(shape) / 2
    one = ellipse(shape, middle - shift / 2, first, first)
    other = ellipse(shape, middle + shift / 2, second, second)
    return one, other


def painted(runs, shape):
    ids = np.zeros(shape, np.int32)
    paint_numbers(runs, 0, ids)
    return ids


def split(mask, depth=DEPTH, calibration=PIXELS):
    runs = split_by_distance(runs_of(mask), depth, calibration)
    return painted(runs, mask.shape), runs.n


def number_particles(indices, parameters):
    everywhere = runs_of(np.ones(indices.shape, bool))
    return find_particles(LabelledPlane(indices, everywhere, 2), (1,), parameters, PIXELS)


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 25), st.integers(8, 25), st.floats(0, math.pi))
def test_touching_discs_are_two(first, second, angle):
    one, other = two_discs(first, second, 1.5, angle)
    ids, n = split(one | other)
    assert n == 2
    for disc in (one, other):
        # Each disc has its own number, but for pixels at the neck.
        shares = np.bincount(ids[disc], minlength=3)[1:] / disc.sum()
        assert shares.max() > 0.9
    assert set(np.unique(ids)) == {0, 1, 2}
    np.testing.assert_array_equal(ids > 0, one | other)


@settings(max_examples=40, deadline=None)
@given(st.floats(3, 25), st.floats(1, 2), st.floats(0, math.pi))
def test_an_ellipse_stays_one(b, aspect, angle):
    mask = ellipse((120, 120), (60.3, 59.8), b * aspect, b, angle)
    ids, n = split(mask)
    assert n == 1
    assert ids.max() == 1


def test_a_chain_of_three_is_three():
    mask = np.zeros((40, 100), bool)
    for x in (20, 38, 56):
        mask |= ellipse(mask.shape, (20, x), 10, 10)
    assert split(mask)[1] == 3


def test_the_depth_says_how_narrow_a_neck_must_be():
    one, other = two_discs(15, 15, 5.0, 0.3)
    # The neck is √(15² − 12.5²) = 8.3 pixels from its middle to its side: by 45 % narrower.
    assert split(one | other, depth=0.3)[1] == 2
    assert split(one | other, depth=0.6)[1] == 1


def test_particles_that_are_one_keep_their_numbers_and_new_ones_follow():
    ids = np.zeros((60, 120), np.int32)
    ids[ellipse(ids.shape, (30, 20), 12, 12)] = 1
    ids[ellipse(ids.shape, (30, 60), 10, 10) | ellipse(ids.shape, (30, 78), 10, 10)] = 2
    ids[ellipse(ids.shape, (30, 105), 12, 12)] = 3
    runs = split_by_distance(runs_of(ids), DEPTH, PIXELS)
    assert runs.n == 4
    ids = painted(runs, ids.shape)
    assert (ids[30, 20], ids[30, 105]) == (1, 3)
    assert {ids[30, 60], ids[30, 78]} == {2, 4}


def test_pixels_that_are_not_square_do_not_split_a_disc():
    calibration = Calibration(1.0, 3.0, "test")
    mask = ellipse((40, 90), (20, 45), 30, 30, y_um=3.0)
    assert split(mask, calibration=calibration)[1] == 1


@pytest.mark.parametrize("bright", [True, False])
def test_a_line_of_less_contrast_splits(bright):
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:50] = True
    contrast = np.where(mask, 100.0, 0.0)
    contrast[:, 29:31] = np.where(mask[:, 29:31], 40.0, 0.0)
    grey = 90 + contrast if bright else 200 - contrast
    runs = split_by_intensity(runs_of(mask), grey, grey[mask].mean(), grey[~mask].mean(), DEPTH)
    assert runs.n == 2
    ids = painted(runs, mask.shape)
    assert (ids[10:30, 10:28] == ids[20, 12]).all()
    assert (ids[10:30, 32:50] == ids[20, 45]).all()
    assert split(mask)[1] == 1


def test_even_contrast_does_not_split():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:50] = True
    grey = np.where(mask, 180, 90)
    assert split_by_intensity(runs_of(mask), grey, 180, 90, DEPTH).n == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_particles_are_split_on_request_only(dtype):
    one, other = two_discs(10, 12, 1.5, 0.4)
    indices = (one | other).astype(dtype)
    counts = []
    for chosen in ("none", "distance"):
        runs, owners = number_particles(indices, QuantifyParameters(split=chosen))
        assert runs.n == len(owners)
        counts.append(len(owners))
    assert counts == [1, 2]


def test_splitting_by_intensity_without_an_image_is_refused():
    indices = np.ones((4, 4), np.uint8)
    parameters = QuantifyParameters(split="intensity")
    with pytest.raises(InputError, match="needs the grey values; name the image") as caught:
        number_particles(indices, parameters)
    assert "\n" not in str(caught.value)


def test_splitting_is_deterministic():
    rng = np.random.default_rng(1)
    mask = np.zeros((200, 200), bool)
    for centre in rng.uniform(10, 190, (60, 2)):
        mask |= ellipse(mask.shape, centre, 11, 8, rng.uniform(0, 3))
    parameters = QuantifyParameters(split="distance")
    first, second = (
        painted(number_particles(mask.astype(np.uint8), parameters)[0], mask.shape)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
