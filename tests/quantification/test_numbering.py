from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_metallography.quantification.numbering import given_particles, numbers_of
from napari_metallography.quantification.runs import paint_numbers, runs_of
from napari_metallography.quantification.strips import LabelledPlane


@given(seed=st.integers(0, 10_000), smallest=st.integers(1, 6))
def test_given_particles_are_counted_as_stated(seed: int, smallest: int) -> None:
    random = np.random.default_rng(seed)
    shape = (9, 11)
    ids = (random.integers(0, 9, shape) * random.integers(0, 2, shape)).astype(np.int32)
    indices = random.choice(np.array([0, 1, 2, 255], np.uint8), shape)
    known = (random.random(shape) < 0.8) & (indices != 255)
    before = ids.copy()
    plane = LabelledPlane(indices, runs_of(known), 3)
    runs, owners = given_particles(ids, plane, (1, 2), smallest)
    found = np.zeros(shape, np.int32)
    paint_numbers(runs, 0, found)
    expected = []
    for number in np.unique(ids[ids > 0]):
        inside = (ids == number) & known & np.isin(indices, (1, 2))
        if inside.any():
            owner = indices[inside][0]
            pieces, n = ndimage.label(inside & (indices == owner), np.ones((3, 3)))
            for piece in range(1, n + 1):
                own = pieces == piece
                expected += [(np.flatnonzero(own)[0], number, owner, own)] * int(
                    own.sum() >= smallest
                )
    expected.sort(key=lambda one: one[0])
    np.testing.assert_array_equal(owners, [owner for _, _, owner, _ in expected])
    stated, told = numbers_of(found, ids), set()
    for place, (_, number, _, _) in enumerate(expected):
        # The first piece keeps its number, the others have numbers that no particle has.
        assert (stated[place] == number) if number not in told else (stated[place] > ids.max())
        told.add(number)
    assert len(set(stated.tolist())) == len(expected)
    for place, (_, _, _, own) in enumerate(expected, start=1):
        np.testing.assert_array_equal(found == place, own)
    assert found.max() == len(expected)
    np.testing.assert_array_equal(ids, before)
