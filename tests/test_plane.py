"""What the computations see of an image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from napari_metallography import plane as plane_module
from napari_metallography.errors import InputError
from napari_metallography.plane import (
    as_plane,
    leading_shape,
    plane_shape,
    planes_of,
    row_blocks,
    split_planes,
)
from napari_metallography.regions import Box, Field
from napari_metallography.windowed import Tiled

GRADIENT = np.arange(200, dtype=np.uint8).reshape(10, 20)
EVERYTHING = (slice(None), slice(None))


def test_eight_bit_grey_values_are_taken_as_they_are() -> None:
    plane = as_plane(GRADIENT)
    window = plane.rgb8(slice(2, 5), slice(3, 9))
    assert window.shape == (3, 6, 3)
    assert (window == GRADIENT[2:5, 3:9, None]).all()
    assert plane.shape == (10, 20)


def test_eight_bit_colours_lose_only_their_alpha() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    assert (as_plane(rgba).rgb8(*EVERYTHING) == rgba[..., :3]).all()


@pytest.mark.parametrize("leading", [(), (7,), (2, 3)])
def test_rows_and_columns_come_last_but_for_colours(leading: tuple[int, ...]) -> None:
    assert plane_shape(np.empty((*leading, 4, 5))) == (4, 5)
    for samples in (3, 4):
        assert plane_shape(np.empty((*leading, 4, 5, samples)), rgb=True) == (4, 5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_other_types_are_stretched_over_their_range(dtype: type[np.generic]) -> None:
    ramp = np.linspace(100, 5100, 10_000).astype(dtype).reshape(100, 100)
    stretched = as_plane(ramp).rgb8(*EVERYTHING)[..., 0]
    expected = np.linspace(0, 255, 10_000).reshape(100, 100)
    assert np.abs(stretched - expected).max() < 2
    assert (np.diff(stretched.ravel().astype(int)) >= 0).all()


def test_a_mask_is_black_and_white() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:, :3] = True
    assert (as_plane(mask).rgb8(*EVERYTHING)[..., 0] == mask * 255).all()


@given(rows=st.tuples(st.integers(0, 49), st.integers(1, 20)), seed=st.integers(0, 99))
def test_a_window_does_not_depend_on_what_else_is_read(rows: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).normal(0, 1, (60, 70))
    plane = as_plane(image)
    part = slice(rows[0], rows[0] + rows[1])
    assert (plane.rgb8(part, slice(5, 30)) == plane.rgb8(*EVERYTHING)[part, 5:30]).all()


@pytest.mark.parametrize("factor", [1, 257])
def test_grey_keeps_the_scale_of_the_image(factor: int) -> None:
    grey = as_plane(GRADIENT.astype(np.uint16) * factor).grey()
    assert grey.dtype == np.float32
    assert (grey == GRADIENT.astype(np.float32) * factor).all()


def test_grey_of_equal_channels_is_the_channel() -> None:
    rgb = np.repeat(GRADIENT[..., None], 3, axis=2)
    np.testing.assert_allclose(as_plane(rgb).grey(), GRADIENT, rtol=1e-6)


def test_grey_weighs_green_most() -> None:
    primaries = 100 * np.eye(3, dtype=np.uint8).reshape(1, 3, 3)
    np.testing.assert_allclose(as_plane(primaries).grey()[0], [29.9, 58.7, 11.4], rtol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (2, 5, 5), (5, 5, 2), (2, 5, 5, 3), (0, 5), (5, 0, 3)])
def test_what_is_not_one_plane_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="specimen_7"):
        as_plane(np.zeros(shape), "specimen_7")


@given(npst.arrays(np.float32, (3, 4), elements=st.just(2.5), fill=st.just(2.5)))
def test_a_constant_image_is_refused(image: NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match="same value"):
        as_plane(image)


def test_a_constant_colour_is_constant_whatever_its_channels() -> None:
    red = np.full((4, 4, 3), (200, 10, 10), np.uint8)
    opaque_black = np.zeros((4, 4, 4), np.uint8)
    opaque_black[..., 3] = 255
    for image in (red, opaque_black):
        with pytest.raises(InputError, match="same value"):
            as_plane(image)


def test_one_odd_pixel_of_a_large_image_counts() -> None:
    image = np.zeros((2100, 2100), np.uint16)
    image[1, 1] = 500
    assert as_plane(image).rgb8(slice(0, 3), slice(0, 3))[1, 1, 0] == 255


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_refused(value: float) -> None:
    image = np.random.default_rng(0).normal(0, 1, (2100, 2100)).astype(np.float32)
    image[1, 1] = value
    with pytest.raises(InputError, match="NaN"):
        as_plane(image)


def test_complex_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="complex"):
        as_plane(np.arange(16, dtype=np.complex64).reshape(4, 4))


def test_transparency_does_not_take_part_in_the_stretch() -> None:
    rgba = np.repeat(np.linspace(0, 1000, 400).astype(np.uint16).reshape(20, 20, 1), 4, axis=2)
    rgba[..., 3] = 65535
    assert as_plane(rgba).rgb8(*EVERYTHING).max() == 255


@pytest.mark.parametrize(
    ("shape", "rgb", "leading"),
    [
        ((4, 5), False, ()),
        ((4, 5, 3), True, ()),
        ((2, 4, 5), False, (2,)),
        ((6, 2, 4, 5, 3), True, (6, 2)),
    ],
)
def test_leading_axes_are_those_before_rows_columns_and_colours(shape, rgb, leading):
    assert leading_shape(np.empty(shape), rgb=rgb) == leading


@pytest.mark.parametrize("rgb", [False, True])
def test_planes_of_a_stack_are_those_of_its_images(rgb):
    shape = (2, 3, 8, 9, 3) if rgb else (2, 3, 8, 9)
    stack = np.random.default_rng(0).integers(0, 99, shape).astype(np.uint16)
    planes = list(planes_of(stack, rgb=rgb, name="a"))
    assert len(planes) == 6
    for plane, image in zip(planes, stack.reshape(6, *shape[2:]), strict=True):
        assert (plane.rgb8(*EVERYTHING) == as_plane(image).rgb8(*EVERYTHING)).all()


def test_a_plane_is_read_and_checked_when_its_turn_comes():
    stack = np.stack([GRADIENT, np.full_like(GRADIENT, 7)])
    planes = planes_of(stack, rgb=False, name="a.tif")
    assert (next(planes).grey() == GRADIENT).all()
    with pytest.raises(InputError, match=r"a\.tif, plane 1: every pixel"):
        next(planes)


def test_a_stack_without_planes_is_refused():
    with pytest.raises(InputError, match="is empty"):
        next(planes_of(np.empty((0, 4, 4)), rgb=False, name="a"))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("side", [60, 2500])
@pytest.mark.parametrize("at_top", [False, True])
def test_the_data_bar_does_not_count_in_the_stretch(dtype, side, at_top):
    image = np.random.default_rng(1).integers(1000, 3000, (side, side)).astype(dtype)
    bar = np.zeros((side // 5, side), dtype)
    bar[::3] = 60_000
    barred = np.vstack([bar, image] if at_top else [image, bar])
    top = 0 if at_top else side
    measured = Field(barred.shape, Box(top, 0, top + len(bar), side))
    plain, plane = as_plane(image), as_plane(barred, measured=measured)
    assert (plane.low, plane.high) == (plain.low, plain.high)


def test_an_image_that_is_even_but_for_its_data_bar_is_refused():
    image = np.full((30, 30), 7, np.uint8)
    image[25:, ::2] = 255
    as_plane(image)
    with pytest.raises(InputError, match="same value"):
        as_plane(image, measured=Field((30, 30), Box(25, 0, 30, 30)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_constant_image_is_taken_where_it_may_be_one(dtype) -> None:
    pixels = np.full((6, 8), 9, dtype)
    with pytest.raises(InputError, match="every pixel has the same value"):
        as_plane(pixels)
    seen = as_plane(pixels, may_be_constant=True).rgb8(slice(0, 6), slice(0, 8))
    assert (seen == (9 if dtype == np.uint8 else 0)).all()


@pytest.mark.parametrize(
    ("factor", "dtype"),
    [(1, np.uint16), (257, np.uint16), (257, np.uint32), (1, np.float32), (1 / 255, np.float64)],
)
def test_unstretched_values_do_not_depend_on_the_type(factor, dtype) -> None:
    grey = np.random.default_rng(0).integers(90, 140, (40, 60)).astype(np.uint8)
    plane = as_plane((grey * np.float64(factor)).astype(dtype)).unstretched()
    rows, columns = plane.shape
    assert (plane.rgb8(slice(0, rows), slice(0, columns))[..., 0] == grey).all()


def test_twelve_bits_end_at_4095() -> None:
    grey = np.linspace(100, 4000, 256).reshape(16, 16).astype(np.uint16)
    plane = as_plane(grey).unstretched()
    seen = plane.rgb8(slice(0, 16), slice(0, 16))[..., 0]
    assert seen == pytest.approx(np.rint(grey * (255 / 4095)), abs=1)


@pytest.mark.parametrize("low", [-1.0, 300.0])
def test_values_of_unknown_range_stay_stretched(low) -> None:
    values = low + np.random.default_rng(0).random((40, 40)).astype(np.float32)
    plane = as_plane(values)
    assert plane.unstretched() == plane


def test_one_grey_value_stays_black() -> None:
    plane = as_plane(np.full((20, 20), 500, np.uint16), may_be_constant=True)
    assert plane.is_constant
    assert (plane.unstretched().rgb8(slice(0, 20), slice(0, 20)) == 0).all()


IN_TILES = [(1000, 1000), (7, 1100), (33, 21)]


class InTiles(Tiled):
    """An array cut into tiles."""

    def __init__(self, array: NDArray[np.generic], tile: tuple[int, int], *, rgb: bool) -> None:
        super().__init__(array.shape, array.dtype, rgb=rgb, tile=tile)
        self.planes = array.reshape(-1, *array.shape[-3 if rgb else -2 :])

    def _tile(self, number: int, row: int, column: int) -> NDArray[np.generic]:
        height, width = self._tile_shape
        rows, columns = slice(row * height, None), slice(column * width, None)
        return self.planes[number, rows, columns][:height, :width]


@pytest.mark.parametrize("tile", IN_TILES)
@pytest.mark.parametrize("rgb", [False, True])
def test_what_is_read_by_windows_is_seen_as_what_is_in_memory(monkeypatch, tile, rgb) -> None:
    monkeypatch.setattr(plane_module, "_BLOCK_BYTES", 5000)
    image = np.random.default_rng(0).normal(90, 20, (110, 1100, 3) if rgb else (110, 1100))
    image = image.astype(np.float32)
    field = Field((110, 1100), Box(90, 0, 110, 1100))
    whole = as_plane(image, measured=field)
    read = as_plane(InTiles(image, tile, rgb=rgb), measured=field)
    assert (read.low, read.high, read.shape) == (whole.low, whole.high, whole.shape)
    window = slice(40, 60), slice(500, 900)
    np.testing.assert_array_equal(read.rgb8(*window), whole.rgb8(*window))
    np.testing.assert_array_equal(read.grey(slice(20, 50)), whole.grey()[20:50])
    assert read.unstretched().high == whole.unstretched().high


@pytest.mark.parametrize("rgb", [False, True])
def test_a_large_image_is_never_read_at_once(monkeypatch, rgb) -> None:
    monkeypatch.setattr(plane_module, "_BLOCK_BYTES", 10**5)
    shape = (2200, 2100, 3) if rgb else (2200, 2100)

    class Noted:
        """Remembers the largest part that was read."""

        def __init__(self) -> None:
            self.pixels = np.zeros(shape, np.float32)
            self.shape, self.dtype, self.largest = shape, self.pixels.dtype, 0

        def __getitem__(self, key):
            part = self.pixels[key]
            self.largest = max(self.largest, part.nbytes)
            return part

    image = Noted()
    image.pixels[3, 5] = 9
    plane = as_plane(image)
    assert (plane.low, plane.high) == (0, 9)
    # The sample takes every second pixel each way.
    assert image.largest <= image.pixels.nbytes / 4


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_a_stack_is_split_into_its_planes(rgb, leading) -> None:
    shape = (4, 5, 3) if rgb else (4, 5)
    stack = np.random.default_rng(0).integers(0, 255, (*leading, *shape), dtype=np.uint8)
    planes = split_planes(stack, rgb=rgb)
    assert len(planes) == max(1, np.prod(leading, dtype=int))
    for plane, place in zip(planes, np.ndindex(leading), strict=True):
        np.testing.assert_array_equal(plane, stack[place])


@given(
    height=st.integers(0, 50),
    width=st.integers(1, 9),
    block=st.integers(1, 200),
    multiple=st.integers(1, 7),
)
def test_blocks_of_rows_follow_one_another(height, width, block, multiple) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane_module, "_BLOCK_BYTES", block)
        blocks = [*row_blocks(np.empty((height, width), np.uint16), multiple_of=multiple)]
    rows = [row for one in blocks for row in range(one.start, one.stop)]
    assert rows == [*range(height)]
    assert all((one.stop - one.start) % multiple == 0 for one in blocks[:-1])
    largest = max((one.stop - one.start for one in blocks), default=0)
    assert largest * width * 2 <= max(block, multiple * width * 2)
