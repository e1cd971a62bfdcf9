from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_metallography.synthesis.textures import (
    bent,
    borders,
    cell_numbers,
    ellipses,
    grown_cells,
    lattice,
    needles,
    smooth_noise,
    streaks,
)

SHAPE = (120, 160)


@settings(max_examples=15)
@given(st.integers(0, 500), st.floats(8, 600))
def test_cells_fill_the_field_whatever_their_size(seed, size) -> None:
    cells = grown_cells(SHAPE, size, 0.4, np.random.default_rng(seed))
    numbers = cell_numbers(cells)
    assert numbers.shape == SHAPE
    shown = len(np.unique(numbers))
    # Cells of that size in the field, and those that its edge cuts.
    inside = SHAPE[0] * SHAPE[1] / size**2
    assert shown < 4 * inside + 5 * sum(SHAPE) / size + 8
    assert shown > 0.4 * inside


def test_borders_lie_between_cells() -> None:
    cells = grown_cells(SHAPE, 40, 0.3, np.random.default_rng(1))
    count = len(cells.edges)
    drawn = borders(cells, np.full(count, 3.0), np.ones(count))
    numbers = cell_numbers(cells)
    change = numbers[:, 1:] != numbers[:, :-1]
    assert drawn[:, 1:][change].mean() > 0.6
    assert drawn.mean() < 0.3
    assert borders(cells, np.full(count, 3.0), np.zeros(count)).max() == 0


@given(st.floats(4, 20), st.floats(3, 12), st.floats(0, math.pi))
def test_ellipses_have_their_area(longer, shorter, angle) -> None:
    drawn = ellipses(
        SHAPE, np.array([[60.0, 80.0]]), np.array([[longer, shorter]]), np.array([angle])
    )
    assert drawn.sum() == pytest.approx(math.pi * longer * shorter, rel=0.15)
    y, x = (np.mgrid[: SHAPE[0], : SHAPE[1]] * drawn).sum((1, 2)) / drawn.sum()
    assert (y, x) == pytest.approx((59.5, 79.5), abs=0.5)


@given(st.floats(20, 60), st.floats(4, 8), st.floats(0, math.pi))
def test_needles_lie_along_their_angle(length, width, angle) -> None:
    one = (np.array([v]) for v in (length, width, angle))
    drawn = needles(SHAPE, np.array([[60.0, 80.0]]), *one)
    assert drawn.sum() == pytest.approx(0.9 * length * (width + 0.5), rel=0.2)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - np.array([59.5, 79.5])[:, None, None]
    across = y * math.cos(angle) - x * math.sin(angle)
    assert np.abs(across[drawn > 0.5]).max() < width / 2 + 1


def test_noise_varies_over_its_wavelength() -> None:
    for wavelength in (6.0, 30.0):
        noise = smooth_noise((200, 200), wavelength, np.random.default_rng(0))
        near = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
        step = round(wavelength)
        far = np.corrcoef(noise[:, step:].ravel(), noise[:, :-step].ravel())[0, 1]
        assert near > 0.7
        assert abs(far) < 0.3
        assert 0.3 < noise.std() < 1


def test_streaks_run_along_their_angle() -> None:
    found = streaks((150, 150), 40, 4, 0.0, np.random.default_rng(0))
    along = np.corrcoef(found[:, 8:].ravel(), found[:, :-8].ravel())[0, 1]
    across = np.corrcoef(found[8:].ravel(), found[:-8].ravel())[0, 1]
    assert along > 0.6
    assert abs(across) < 0.3


def test_bends_move_nothing_farther_than_a_few_amplitudes() -> None:
    image = np.zeros(SHAPE)
    image[:, 80:] = 1
    assert (bent(image, 0.0, 20, 1) == image).all()
    changed = np.abs(bent(image, 2.0, 20, 1) - image).max(0) > 0
    assert changed[74:86].any()
    assert not changed[:68].any()
    assert not changed[92:].any()


def test_lattice_reaches_beyond_the_field() -> None:
    places = lattice(SHAPE, 10, 20, 0.4, np.random.default_rng(0))
    assert (places.min(0) < -10).all()
    assert (places.max(0) > np.array(SHAPE) + 10).all()
