"""Arrays that are read by windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_metallography import windowed
from napari_metallography.windowed import Tiled


class Cut(Tiled):
    """Tiles of an array in memory, counted as they are decoded."""

    def __init__(self, array: NDArray[Any], tile: tuple[int, int], *, rgb: bool = False) -> None:
        super().__init__(array.shape, array.dtype, rgb=rgb, tile=tile)
        self.planes = array.reshape(-1, *array.shape[-3 if rgb else -2 :])
        self.decoded: list[tuple[int, int, int]] = []

    def _tile(self, number: int, row: int, column: int) -> NDArray[Any]:
        self.decoded.append((number, row, column))
        height, width = self._tile_shape
        rows, columns = slice(row * height, None), slice(column * width, None)
        return self.planes[number, rows, columns][:height, :width].copy()


NUMBERS = np.random.default_rng(3).integers(0, 1000, (4, 11, 13, 3), np.uint16)
INDEX = st.slices(13) | st.integers(-4, 3)


@given(
    data=st.data(),
    tile=st.tuples(st.integers(1, 12), st.integers(1, 14)),
    stack=st.booleans(),
    rgb=st.booleans(),
    block=st.integers(1, 200),
)
def test_any_part_is_that_of_the_array_whatever_the_tiles(data, tile, stack, rgb, block) -> None:
    array = NUMBERS if rgb else NUMBERS[..., 0]
    array = array if stack else array[1]
    key = tuple(data.draw(st.lists(INDEX, max_size=2 + stack)))
    if data.draw(st.booleans()):
        key = (..., *key) if not rgb else (*key, ...)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windowed, "_BLOCK_BYTES", block)
        try:
            expected = array[key]
        except IndexError:
            with pytest.raises(IndexError):
                Cut(array, tile, rgb=rgb)[key]
            return
        found = Cut(array, tile, rgb=rgb)[key]
    np.testing.assert_array_equal(found, expected)
    assert np.asarray(found).dtype == array.dtype


def test_a_colour_can_be_taken_alone() -> None:
    cut = Cut(NUMBERS, (5, 5), rgb=True)
    np.testing.assert_array_equal(cut[2, 1:, :, 1], NUMBERS[2, 1:, :, 1])
    np.testing.assert_array_equal(cut[..., :2], NUMBERS[..., :2])


def test_the_whole_is_read_when_asked_for() -> None:
    cut = Cut(NUMBERS[..., 0], (4, 6))
    np.testing.assert_array_equal(np.asarray(cut), NUMBERS[..., 0])
    assert np.asarray(cut, np.float32).dtype == np.float32
    assert (cut.ndim, cut.size, cut.nbytes, len(cut)) == (3, 4 * 11 * 13, 2 * 4 * 11 * 13, 4)


def test_a_plane_reads_nothing_before_it_is_used_and_then_just_itself() -> None:
    cut = Cut(NUMBERS[..., 0], (4, 6))
    plane = cut.plane(-2)
    assert cut.decoded == []
    assert plane.shape == (11, 13)
    np.testing.assert_array_equal(plane[:4, :6], NUMBERS[2, :4, :6, 0])
    assert cut.decoded == [(2, 0, 0)]
    assert plane.plane(0) is plane
    for one, number in ((cut, 4), (plane, 1)):
        with pytest.raises(IndexError):
            one.plane(number)


@pytest.mark.parametrize("key", [(0, 0, 0, 0), ([0, 1],), (..., 0, ...), (None,), (0.5,)])
def test_other_indices_are_refused(key: tuple[Any, ...]) -> None:
    with pytest.raises(IndexError):
        Cut(NUMBERS[..., 0], (4, 6))[key]


def test_tiles_used_last_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Cut(NUMBERS[0, :8, :8, 0], (4, 4))
    cut[...], cut[...]
    assert len(cut.decoded) == 4
    monkeypatch.setattr(windowed, "_KEPT_BYTES", 2 * 4 * 4 * 2)
    cut = Cut(NUMBERS[0, :8, :8, 0], (4, 4))
    cut[:4], cut[:4]
    assert len(cut.decoded) == 2
    cut[4:], cut[:4]
    assert len(cut.decoded) == 6
    assert sum(tile.nbytes for tile in cut._kept.values()) == cut._kept_bytes == 64
