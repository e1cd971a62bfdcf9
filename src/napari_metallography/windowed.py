"""Stacks of which windows are read when needed, and never the whole unasked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LARGE_BYTES = 2**26
"""Pixels of that many bytes and more stay in their files, and results go to one row by row."""

_BLOCK_BYTES = 2**25
# Holds a row of windows of an image 65,536 pixels wide, so that none is decoded for each window.
_KEPT_BYTES = 2**27


class Windowed(ABC):
    """A plane (Y, X) or (Y, X, S), or a stack (N, Y, X) or (N, Y, X, S) of such.

    Indexed as a NumPy array by whole numbers, slices and an ellipsis; every access reads just what
    it names, in blocks of rows, and gives an array of its own. May be read from several threads.

    Parameters
    ----------
    shape
        Of the plane or stack.
    dtype
        Of the pixels, in the machine's byte order.
    rgb
        Whether the last axis is colour.
    """

    def __init__(self, shape: Sequence[int], dtype: DTypeLike, *, rgb: bool = False) -> None:
        self.shape = tuple(map(int, shape))
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.rgb = rgb

    @abstractmethod
    def _window(self, number: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Rows and columns of a plane, as (rows, columns) or (rows, columns, S)."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the whole would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole, read into memory."""
        return np.asarray(self[...], dtype)

    def __getitem__(self, key: Any) -> Any:
        chosen = _per_axis(key, self.shape)
        ranges = [_range(one, length) for one, length in zip(chosen, self.shape, strict=True)]
        planes = ranges[0] if self._is_stack else range(1)
        rows, columns = ranges[int(self._is_stack) :][:2]
        samples = self.shape[-1:] if self.rgb else ()
        found = np.empty((len(planes), len(rows), len(columns), *samples), self.dtype)
        for out, number in zip(found, planes, strict=True):
            self._fill(out, number, rows, columns)
        whole = found if self._is_stack else found[0]
        kept = tuple(0 if isinstance(one, int) else slice(None) for one in chosen)
        return whole[(*kept[:-1], chosen[-1])] if self.rgb else whole[kept]

    def plane(self, number: int) -> Windowed:
        """A plane of the stack by its number from 0, of which nothing is read yet.

        Raises
        ------
        IndexError
            When there is no such plane.
        """
        if self._is_stack:
            return _OnePlane(self, range(self.shape[0])[number])
        return [self][number]

    @property
    def _is_stack(self) -> bool:
        return self.ndim > (3 if self.rgb else 2)

    def _fill(self, out: NDArray[Any], number: int, rows: range, columns: range) -> None:
        if not out.size:
            return
        width = _bounds(columns).stop - _bounds(columns).start
        pixel = self.dtype.itemsize * math.prod(out.shape[2:])
        together = max(1, _BLOCK_BYTES // max(1, width * pixel * abs(rows.step)))
        for start in range(0, len(rows), together):
            some = rows[start : start + together]
            window = self._window(number, _bounds(some), _bounds(columns))
            out[start : start + len(some)] = window[:: some.step, :: columns.step]


class _OnePlane(Windowed):
    """A plane of a stack."""

    def __init__(self, stack: Windowed, number: int) -> None:
        super().__init__(stack.shape[1:], stack.dtype, rgb=stack.rgb)
        self._stack, self._number = stack, number

    def _window(self, number: int, rows: slice, columns: slice) -> NDArray[Any]:
        return self._stack._window(self._number, rows, columns)


class Tiled(Windowed):
    """A plane or stack that is stored in tiles, each of which is decoded whole.

    The tiles used last are kept, up to 128 MiB: neighbouring windows share theirs. What is stored
    in larger ones, at worst a plane in a single tile, takes the memory of such a tile.

    Parameters
    ----------
    tile
        Rows and columns of a tile; those at the lower and right edge may be cut.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: DTypeLike,
        *,
        rgb: bool = False,
        tile: tuple[int, int],
    ) -> None:
        super().__init__(shape, dtype, rgb=rgb)
        self._tile_shape = tile
        self._kept: OrderedDict[tuple[int, int, int], NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = Lock()

    @abstractmethod
    def _tile(self, number: int, row: int, column: int) -> NDArray[Any]:
        """A tile by its place in the grid of tiles of a plane; it may reach beyond the plane."""

    def _window(self, number: int, rows: slice, columns: slice) -> NDArray[Any]:
        shape = rows.stop - rows.start, columns.stop - columns.start
        window = np.empty((*shape, *(self.shape[-1:] if self.rgb else ())), self.dtype)
        height, width = self._tile_shape
        for row in range(rows.start // height, -(-rows.stop // height)):
            to_rows, of_rows = _shared(rows, row * height, height)
            for column in range(columns.start // width, -(-columns.stop // width)):
                to_columns, of_columns = _shared(columns, column * width, width)
                tile = self._decoded(number, row, column)
                window[to_rows, to_columns] = tile[of_rows, of_columns]
        return window

    def _decoded(self, number: int, row: int, column: int) -> NDArray[Any]:
        place = number, row, column
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return self._kept[place]
        tile = self._tile(*place)
        with self._lock:
            if place not in self._kept:
                self._kept[place] = tile
                self._kept_bytes += tile.nbytes
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return tile


def _shared(span: slice, start: int, length: int) -> tuple[slice, slice]:
    """Where a tile from `start` lies in a span, and which part of it that is."""
    first, last = max(span.start, start), min(span.stop, start + length)
    return slice(first - span.start, last - span.start), slice(first - start, last - start)


def _per_axis(key: Any, shape: tuple[int, ...]) -> list[Any]:
    """A whole number or slice for each axis."""
    named = list(key) if isinstance(key, tuple) else [key]
    if not all(one is ... or isinstance(one, (int, np.integer, slice)) for one in named):
        raise IndexError(f"only whole numbers, slices and an ellipsis index this, not {key!r}")
    place = next((n for n, one in enumerate(named) if one is ...), len(named))
    before, after = named[:place], named[place + 1 :]
    missing = len(shape) - len(before) - len(after)
    if missing < 0 or ... in after:
        raise IndexError(f"{key!r} has more than the {len(shape)} axes there are")
    filled = [*before, *[slice(None)] * missing, *after]
    return [one if isinstance(one, slice) else int(one) for one in filled]


def _range(chosen: slice | int, length: int) -> range:
    if isinstance(chosen, slice):
        return range(*chosen.indices(length))
    number = range(length)[chosen]
    return range(number, number + 1)


def _bounds(chosen: range) -> slice:
    """Lowest to highest number of a range that is not empty."""
    low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
    return slice(low, high + 1)
