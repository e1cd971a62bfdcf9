"""Large TIFFs whose pixels stay in the file: their strips or tiles are decoded when needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError
from ..windowed import LARGE_BYTES, Tiled
from .files import unreadable

_CONTIGUOUS = 1
"""Planar configuration in which the colours of a pixel lie together."""


class TiffPlanes(Tiled):
    """Planes of a TIFF series.

    Read by tifffile's own decoder of segments rather than through its Zarr store, so that who has
    only TIFFs needs no Zarr. The file is open only while a segment is read, so that it can be
    replaced and removed, on Windows too.

    Parameters
    ----------
    converted
        What becomes of the stored values of a segment, such as their inversion.
    """

    def __init__(
        self,
        path: Path,
        series: tifffile.TiffPageSeries,
        *,
        rgb: bool,
        converted: Callable[[NDArray[Any]], NDArray[Any]],
    ) -> None:
        page = series.keyframe
        plane = (page.imagelength, page.imagewidth, *((page.samplesperpixel,) if rgb else ()))
        rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        columns = page.tilewidth if page.is_tiled else page.imagewidth
        stored = np.zeros((1, 1, *plane[2:]), page.dtype)
        super().__init__(
            (len(series.pages), *plane) if len(series.pages) > 1 else plane,
            converted(stored).dtype,
            rgb=rgb,
            tile=(rows, columns),
        )
        self._path, self._page, self._converted = path, page, converted
        self._across = -(-page.imagewidth // columns)
        self._segments = [(one.dataoffsets, one.databytecounts) for one in series.pages if one]

    def _tile(self, number: int, row: int, column: int) -> NDArray[Any]:
        index = row * self._across + column
        offsets, counts = self._segments[number]
        try:
            with self._path.open("rb") as file:
                file.seek(offsets[index])
                encoded = file.read(counts[index])
        except OSError as error:
            raise unreadable(self._path, error) from error
        try:
            segment: Any = self._page.decode(encoded, index, jpegtables=self._page.jpegtables)[0]
        except MemoryError:
            raise
        except Exception as error:
            raise InputError(f"{self._path}: damaged, a part of it cannot be read") from error
        # (1, rows, columns, samples)
        return self._converted(segment[0] if self.rgb else segment[0, ..., 0])


def large_planes(
    path: Path,
    series: tifffile.TiffPageSeries,
    converted: Callable[[NDArray[Any]], NDArray[Any]],
) -> TiffPlanes | None:
    """Planes that stay in the file; None where a series is small or must be read whole.

    That are colours stored apart, volumes in one tile, and what tifffile cannot decode alone.
    """
    page = series.keyframe
    if series.nbytes < LARGE_BYTES or page.planarconfig != _CONTIGUOUS or page.imagedepth != 1:
        return None
    if page.samplesperpixel not in (1, 3, 4) or len(series.pages) * page.size != series.size:
        return None
    planes = TiffPlanes(path, series, rgb=page.samplesperpixel > 1, converted=converted)
    return planes if _can_be_decoded(planes) else None


def _can_be_decoded(planes: TiffPlanes) -> bool:
    try:
        corner = planes._decoded(0, 0, 0)
    except InputError:
        return False
    return corner.dtype == planes.dtype


def stored(values: NDArray[Any]) -> NDArray[Any]:
    """Values as they are, in the machine's byte order."""
    dtype: DTypeLike = values.dtype.newbyteorder("=")
    return values.astype(dtype, copy=False)
