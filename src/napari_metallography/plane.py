"""A plane of an image as the computations see it: windows of 8-bit RGB, read when needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .regions import Box, Field
from .windowed import Windowed

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""

_SAMPLES_A_SIDE = 1024
_BLOCK_BYTES = 2**25
_ENDS = {"u": (255.0, 4095.0, 65535.0), "f": (1.0, 255.0), "b": (1.0,)}


class ArrayLike(Protocol):
    """What NumPy, dask and zarr arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""

    def __getitem__(self, key: Any) -> Any:
        """A part of the array."""


class RowReceiver(Protocol):
    """What takes finished rows of planes: `receiver[top:bottom] = rows`, after a plane's number.

    A NumPy array, a memory map, a zarr array or `io.scratch.ScratchPlanes`. It is written to from
    a thread of its own, rows may come a second time, and in the end each has been written.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis, as of the pixels less their colours."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take a part."""


@dataclass(frozen=True)
class PlaneReceiver:
    """One plane of what receives a stack, by its place in the leading axes; () for a plane."""

    whole: RowReceiver
    place: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.whole.shape[len(self.place) :]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.whole.dtype

    def __setitem__(self, key: Any, value: Any) -> None:
        self.whole[(*self.place, *(key if isinstance(key, tuple) else (key,)))] = value


def split_planes(array: ArrayLike, *, rgb: bool = False) -> tuple[ArrayLike, ...]:
    """The planes of an image (Y, X) or stack (…, Y, X), or either with colours as the last axis.

    Of `Windowed` arrays nothing is read yet.
    """
    return tuple(_plane_at(array, place) for place in np.ndindex(leading_shape(array, rgb=rgb)))


def _plane_at(array: ArrayLike, place: tuple[int, ...]) -> ArrayLike:
    if isinstance(array, Windowed) and len(place) == 1:
        return array.plane(place[0])
    plane: ArrayLike = array[place] if place else array
    return plane


def row_blocks(
    plane: ArrayLike, top: int = 0, bottom: int | None = None, *, multiple_of: int = 1
) -> Iterator[slice]:
    """Rows of a plane to look at together, so that a large one is never in memory whole.

    A block but for the last has a multiple of `multiple_of` rows, and takes 32 MiB at most unless
    that many rows take more.
    """
    bottom = plane.shape[0] if bottom is None else bottom
    rows = math.prod(plane.shape[1:]) * plane.dtype.itemsize * multiple_of
    together = multiple_of * max(1, _BLOCK_BYTES // max(1, rows))
    for start in range(top, bottom, together):
        yield slice(start, min(start + together, bottom))


def plane_shape(array: ArrayLike, *, rgb: bool = False) -> tuple[int, int]:
    """Rows and columns of an image, or of the planes of a stack; with `rgb` colours come last."""
    last = len(array.shape) - int(rgb)
    return array.shape[last - 2], array.shape[last - 1]


def leading_shape(array: ArrayLike, *, rgb: bool = False) -> tuple[int, ...]:
    """Lengths of the axes before rows, columns and colours; () for a single plane."""
    return array.shape[: len(array.shape) - (3 if rgb else 2)]


@dataclass(frozen=True)
class Plane:
    """One micrograph of shape (Y, X) or (Y, X, 3 or 4).

    8-bit grey values are taken as they are. Other types are mapped linearly from `low` to `high`
    to 0–255. These are the 0.1 % and 99.9 % quantile of all that is not data bar, so that a
    window's values depend neither on what else is computed nor on what is written on the image.
    """

    array: ArrayLike
    low: float
    high: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return plane_shape(self.array, rgb=_is_rgb(self.array))

    @property
    def is_constant(self) -> bool:
        """Whether it shows one grey value all over."""
        return math.isinf(self.high)

    def unstretched(self) -> Plane:
        """As bright as it was taken: mapped from the whole range of its values to 0–255.

        That of unsigned integers ends at 255, 4095 (12 bits in 16) or 65535, the first that holds
        them all; that of floats at 1 or 255. Other values stay as they are mapped.
        """
        if self.array.dtype == np.uint8 or self.is_constant:
            return self
        lows, highs = _extremes(self.array, Box(0, 0, *self.shape))
        smallest, largest = float(lows.min()), float(highs.max())
        end = next((end for end in _ENDS.get(self.array.dtype.kind, ()) if largest <= end), None)
        return self if end is None or smallest < 0 else replace(self, low=0.0, high=end)

    def rgb8(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """A window of shape (rows, columns, 3), 8-bit."""
        window = self._mapped(_colours(self.array[rows, columns]))
        if window.ndim == 2:
            return np.repeat(window[..., None], 3, axis=2)
        return np.ascontiguousarray(window)

    def grey(self, rows: slice = slice(None)) -> NDArray[np.float32]:
        """The plane (Y, X), or rows of it, as grey values; colours by the luma of ITU-R BT.601."""
        array = _colours(self.array[rows]).astype(np.float32)
        if array.ndim == 2:
            return array
        luma: NDArray[np.float32] = array @ LUMA
        return luma

    def _mapped(self, window: NDArray[Any]) -> NDArray[np.uint8]:
        if window.dtype == np.uint8:
            return window
        scaled = (window.astype(np.float32) - self.low) * (255 / (self.high - self.low))
        mapped: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return mapped


def as_plane(
    array: ArrayLike,
    name: str = "image",
    measured: Field | None = None,
    *,
    may_be_constant: bool = False,
) -> Plane:
    """Check an image and wrap it.

    Parameters
    ----------
    measured
        Says where the data bar is, whose values do not count; None where there is none.
    may_be_constant
        Take an image of one grey value too; types other than 8-bit are mapped to black then.

    Raises
    ------
    InputError
        When it is not one plane, holds NaN or infinity, or is constant and must not be.
    """
    if len(array.shape) not in (2, 3) or (len(array.shape) == 3 and array.shape[2] not in (3, 4)):
        raise InputError(f"{name}: one plane is needed, not an array of shape {array.shape}")
    if 0 in array.shape:
        raise InputError(f"{name}: the image is empty")
    frame = measured.frame() if measured else Box(0, 0, *plane_shape(array, rgb=_is_rgb(array)))
    sample = _sample(array, frame)
    if sample.dtype.kind not in "uifb":
        raise InputError(f"{name}: pixels of type {sample.dtype} are not grey values")
    # Looked at whole: one NaN must not slip through between the samples.
    if sample.dtype.kind == "f" and not _is_finite(array):
        raise InputError(f"{name}: holds NaN or infinite values; replace them before measuring")
    if _is_constant(sample):
        lows, highs = _extremes(array, frame)
        if (lows < highs).any():
            return Plane(array, float(lows.min()), float(highs.max()))
        if may_be_constant:
            return Plane(array, float(lows.min()), math.inf)
        raise InputError(
            f"{name}: every pixel has the same value; there is nothing in it to measure"
        )
    low, high = (float(q) for q in np.quantile(sample.astype(np.float64), [0.001, 0.999]))
    if low == high:
        low, high = float(sample.min()), float(sample.max())
    return Plane(array, low, high)


def planes_of(
    array: ArrayLike,
    *,
    rgb: bool,
    name: str,
    measured: Field | None = None,
    may_be_constant: bool = False,
) -> Iterator[Plane]:
    """Planes of an image (Y, X), stack (N, Y, X), or either with colours as the last axis.

    Each is read and checked when its turn comes; errors and keywords as for `as_plane`.
    """
    leading = leading_shape(array, rgb=rgb)
    if 0 in leading:
        raise InputError(f"{name}: the image is empty")
    for index in np.ndindex(leading):
        called = f"{name}, plane {', '.join(map(str, index))}" if index else name
        yield as_plane(_plane_at(array, index), called, measured, may_be_constant=may_be_constant)


def _is_rgb(array: ArrayLike) -> bool:
    """Whether an image, not a stack, has colours."""
    return len(array.shape) == 3


def _sample(array: ArrayLike, frame: Box) -> NDArray[Any]:
    """Some hundred thousand pixels of the frame, evenly spread; all of a small one."""
    step = max(1, max(frame.shape) // _SAMPLES_A_SIDE)
    rows, columns = frame.slices
    return _colours(array[rows.start : rows.stop : step, columns.start : columns.stop : step])


def _is_finite(array: ArrayLike) -> bool:
    return all(bool(np.isfinite(_colours(array[rows])).all()) for rows in row_blocks(array))


def _extremes(array: ArrayLike, frame: Box) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lowest and highest value of each channel in the frame."""
    blocks = (
        _colours(array[rows, frame.slices[1]])
        for rows in row_blocks(array, frame.top, frame.bottom)
    )
    pairs = [(block.min(axis=(0, 1)), block.max(axis=(0, 1))) for block in blocks]
    lows, highs = zip(*pairs, strict=True)
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _colours(array: Any) -> NDArray[Any]:
    """An array less its alpha channel."""
    pixels = np.asarray(array)
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def _is_constant(pixels: NDArray[Any]) -> bool:
    return bool((pixels == pixels[:1, :1]).all())
