"""TIFFs that are written strip by strip, from arrays that need not fit into memory."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..plane import ArrayLike, row_blocks, split_planes
from .files import replacing
from .mark import SOFTWARE

_STRIP_BYTES = 2**18
_LARGEST_CLASSIC = 2**32 - 2**25
_COMPRESSION = 6


def write_planes(path: Path, planes: ArrayLike, *, software: str = SOFTWARE, **tags: Any) -> None:
    """Write a plane (Y, X) or a stack (N, Y, X), losslessly compressed, whole or not at all.

    A page a plane. What is larger than a TIFF may be becomes a BigTIFF.

    Parameters
    ----------
    tags
        More keywords of `tifffile.imwrite`.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    height, width = planes.shape[-2:]
    rows = min(height, max(1, _STRIP_BYTES // (width * planes.dtype.itemsize)))
    with replacing(path) as beside:
        tifffile.imwrite(
            beside,
            _strips(planes, rows),
            shape=planes.shape,
            dtype=planes.dtype,
            rowsperstrip=rows,
            compression="zlib",
            metadata=None,
            software=software,
            bigtiff=math.prod(planes.shape) * planes.dtype.itemsize > _LARGEST_CLASSIC,
            **tags,
        )


def _strips(planes: ArrayLike, rows: int) -> Iterator[bytes]:
    """Compressed strips of so many rows."""
    for plane in split_planes(planes):
        for block in row_blocks(plane, multiple_of=rows):
            pixels = np.ascontiguousarray(plane[block])
            for top in range(0, len(pixels), rows):
                yield zlib.compress(pixels[top : top + rows].data, _COMPRESSION)
