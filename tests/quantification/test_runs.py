from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from napari_metallography.quantification import runs as module
from napari_metallography.quantification.runs import paint_numbers, row_blocks, runs_of

drawings = arrays(
    np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 3)
)


def without_gaps(drawn):
    numbers = np.unique(np.concatenate([[0], drawn.ravel()]), return_inverse=True)[1][1:]
    return numbers.reshape(drawn.shape).astype(np.int32)


@given(drawings)
def test_runs_drawn_again_are_the_particles(drawn):
    ids = without_gaps(drawn)
    runs = runs_of(ids)
    again = np.zeros_like(ids)
    for row, left, right, owner in zip(runs.rows, runs.left, runs.right, runs.owner, strict=True):
        assert (again[row, left:right] == 0).all()
        again[row, left:right] = owner + 1
    np.testing.assert_array_equal(again, ids)
    painted = np.full_like(ids, 9)
    paint_numbers(runs, 4, painted)
    np.testing.assert_array_equal(painted, np.where(ids, ids + 4, 0))
    for number, (box, mask) in enumerate(runs.masks(), start=1):
        np.testing.assert_array_equal(mask, np.pad(ids[box] == number, 1))


@given(drawings)
def test_areas_and_boxes_are_those_of_scikit_image(drawn):
    ids = without_gaps(drawn)
    runs, regions = runs_of(ids), regionprops(ids)
    assert runs.areas.tolist() == [region.area for region in regions]
    assert runs.boxes.tolist() == [list(region.bbox) for region in regions]


def test_blocks_of_rows_change_nothing(monkeypatch):
    ids = without_gaps(np.random.default_rng(0).integers(0, 3, (50, 20)))
    whole = runs_of(ids)
    monkeypatch.setattr(module, "_PIXELS_AT_A_TIME", 60)
    assert len(list(row_blocks(ids.shape))) == 17
    parts = runs_of(ids)
    for name in ("rows", "left", "right", "owner"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@given(drawings, st.integers(1, 4))
def test_groups_are_of_the_same_particles(drawn, size):
    runs = runs_of(without_gaps(drawn))
    parts = list(runs.parts(size))
    assert [part.n for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert sum(part.n for part in parts) == runs.n
    for number, part in enumerate(parts):
        chosen = np.arange(runs.n) // size == number
        assert part.boxes.tolist() == runs.boxes[chosen].tolist()
        assert part.areas.tolist() == runs.areas[chosen].tolist()


def test_an_image_without_particles():
    runs = runs_of(np.zeros((3, 4), np.int32))
    assert (runs.n, runs.areas.shape, runs.boxes.shape) == (0, (0,), (0, 4))
