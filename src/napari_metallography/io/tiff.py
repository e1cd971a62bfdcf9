"""TIFF files: opened so that a bad one costs one line, and their pixels as planes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from ..calibration import Calibration
from ..errors import InputError
from ..plane import ArrayLike
from .files import read_bytes, reading, require_file, unreadable
from .palette import through_palette
from .tiff_planes import TiffPlanes, large_planes
from .vendors import ome

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF and of a BigTIFF."""

_MAP_FROM_BYTES = 2**25
_MOST_COMPRESSED = 4096
"""No codec of these files packs more than this many bytes into one."""

# Not taken for what they are: their readers open sibling files or parse XML without care.
_PLAIN: dict[str, Any] = {"is_ome": False, "is_mmstack": False, "is_ndtiff": False}

_MIN_IS_WHITE, _PALETTE, _YCBCR = 0, 3, 6
_READABLE_PHOTOMETRICS = (0, 1, 2, 3, 6)

_opening: ContextVar[bool] = ContextVar("opening", default=False)
logging.getLogger("tifffile").addFilter(lambda record: not _opening.get())


def is_tiff(path: Path) -> bool:
    """Whether the first bytes of a file are those of a TIFF.

    Raises
    ------
    InputError
        When `path` is no file, is empty or cannot be read.
    """
    with reading(path), path.open("rb") as file:
        return file.read(4) in _SIGNATURES


def resolution_tags(calibration: Calibration | None) -> dict[str, Any]:
    """Keywords of `tifffile.imwrite` that store a pixel size; none without one."""
    if calibration is None:
        return {}
    per_cm = (1e4 / calibration.x_um, 1e4 / calibration.y_um)
    return {"resolution": per_cm, "resolutionunit": "CENTIMETER"}


@contextmanager
def opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF; whatever goes wrong with it inside the block becomes one line.

    Raises
    ------
    InputError
        When the file is missing, empty, damaged or no TIFF.
    """
    require_file(path)
    token = _opening.set(True)
    try:
        with tifffile.TiffFile(path, **_PLAIN) as tiff:
            yield tiff
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: too large for the memory of this computer") from error
    except PermissionError as error:
        raise unreadable(path, error) from error
    except Exception as error:
        raise InputError(f"{path}: not a TIFF that can be read, or a truncated one") from error
    finally:
        _opening.reset(token)


def read_tiff(path: Path) -> tuple[ArrayLike, bool, dict[str, Any]]:
    """Pixels of a TIFF's first series, whether their last axis is colour, and notes.

    The pixels have the shape (Y, X), (Y, X, 3 or 4), (N, Y, X) or (N, Y, X, 3 or 4) and the
    machine's byte order. Large ones stay in the file and are read when used: mapped where the file
    holds them as they are, and that array may be written to without changing the file; else by
    strips or tiles, but for palettes, YCbCr and what OpenCV alone decodes.

    Raises
    ------
    InputError
        When the file is damaged, holds no grey or colour values, or several channels.
    """
    with opened(path) as tiff:
        page, series = tiff.pages.first, tiff.series[0]
        _refuse_photometric(path, int(page.photometric))
        _refuse_channels(path, page, series)
        check_extent(path, series, tiff.filehandle.size)
        pixels, rgb = _pixels(path, page, series)
        return pixels, rgb, _notes(tiff)


def _notes(tiff: tifffile.TiffFile) -> dict[str, Any]:
    count = len(tiff.series)
    if count == 1:
        return {}
    return {"series": f"the first of {count} of different size or type was read"}


def _refuse_photometric(path: Path, photometric: int) -> None:
    if photometric not in _READABLE_PHOTOMETRICS:
        raise InputError(f"{path}: neither grey nor RGB; save it as grey or RGB")


def _refuse_channels(path: Path, page: Any, series: tifffile.TiffPageSeries) -> None:
    # As planes, two signals of one area would count as two fields.
    axes = dict(zip(series.axes, series.shape, strict=True))
    count = axes.get("C", ome.channels(page.description))
    if count > 1 and series.size > axes["Y"] * axes["X"] * axes.get("S", 1):
        raise InputError(
            f"{path}: {count} channels of one area; save the one to measure as an image of its own "
            "(fields of a stack: as slices)"
        )


def check_extent(path: Path, series: tifffile.TiffPageSeries, size: int) -> None:
    """Refuse a series of which a file of so many bytes cannot hold all."""
    if series.dataoffset is not None:
        complete = series.dataoffset + series.nbytes <= size
    else:
        complete = all(_is_complete(page, size) for page in series.pages)
    if not complete or series.nbytes > _MOST_COMPRESSED * size:
        raise InputError(f"{path}: truncated or damaged, part of the image is missing")


def _is_complete(page: Any, size: int) -> bool:
    return all(
        count > 0 and offset + count <= size
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )


def _pixels(
    path: Path, page: tifffile.TiffPage, series: tifffile.TiffPageSeries
) -> tuple[ArrayLike, bool]:
    if page.photometric == _YCBCR:
        return _by_opencv(path, page)
    try:
        array = _mapped(path, series)
        if array is None and (planes := _large(path, page, series)) is not None:
            return planes, planes.rgb
        if array is None:
            array = series.asarray()
    except MemoryError:
        raise
    except Exception:
        if page.compression == 1:
            raise
        return _by_opencv(path, page)
    array, rgb = _arranged(path, array, series.axes)
    return _as_values(path, array, rgb, page)


def _mapped(path: Path, series: tifffile.TiffPageSeries) -> NDArray[Any] | None:
    if series.dataoffset is None or series.nbytes < _MAP_FROM_BYTES:
        return None
    array = tifffile.memmap(path, mode="c", **_PLAIN)
    return array if array.dtype.isnative else None


def _large(
    path: Path, page: tifffile.TiffPage, series: tifffile.TiffPageSeries
) -> TiffPlanes | None:
    # A palette is grey or not by all the values that occur.
    if page.photometric == _PALETTE:
        return None
    return large_planes(path, series, lambda values: _values(path, values, page))


def _arranged(path: Path, array: NDArray[Any], axes: str) -> tuple[NDArray[Any], bool]:
    """Axes in the order (N, Y, X) or (N, Y, X, S), N dropped where it is 1."""
    samples = array.shape[axes.index("S")] if "S" in axes else 1
    if samples not in (1, 2, 3, 4):
        raise InputError(f"{path}: {samples} channels a pixel; save it as grey or RGB")
    last = [axes.index(axis) for axis in "YXS" if axis in axes]
    array = np.moveaxis(array, last, range(-len(last), 0))
    if "S" in axes and samples < 3:
        array = array[..., 0]
    plane = array.shape[-3:] if samples > 2 else array.shape[-2:]
    count = array.size // max(1, int(np.prod(plane)))
    return array.reshape(plane if count == 1 else (count, *plane)), samples > 2


def _as_values(
    path: Path, array: NDArray[Any], rgb: bool, page: tifffile.TiffPage
) -> tuple[NDArray[Any], bool]:
    if page.photometric == _PALETTE and page.colormap is not None:
        return through_palette(array, _eight_bit(page.colormap))
    return _values(path, array, page), rgb


def _values(path: Path, array: NDArray[Any], page: tifffile.TiffPage) -> NDArray[Any]:
    if page.photometric == _MIN_IS_WHITE:
        array = _inverted(array, page.bitspersample)
    return _plain_type(path, array)


def _eight_bit(colour_map: NDArray[Any]) -> NDArray[np.uint8]:
    # Some writers fill the 16-bit map with 8-bit values.
    shift = 8 if colour_map.max(initial=0) > 255 else 0
    return (colour_map.T >> shift).astype(np.uint8)


def _inverted(array: NDArray[Any], bits: int) -> NDArray[Any]:
    if array.dtype.kind == "b":
        return ~array
    return array.dtype.type(2**bits - 1) - array if array.dtype.kind == "u" else array


def _plain_type(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "uif":
        raise InputError(f"{path}: pixels of type {array.dtype} are not grey values")
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _by_opencv(path: Path, page: tifffile.TiffPage) -> tuple[NDArray[Any], bool]:
    # OpenCV carries the codecs that tifffile leaves to an optional package. From bytes: its own
    # file reading fails on non-ASCII paths under Windows.
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        content = np.frombuffer(read_bytes(path), np.uint8)
        _, planes = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        planes = ()
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not planes:
        raise InputError(
            f"{path}: damaged, or compressed in a way that cannot be read; save it uncompressed"
        )
    return _stacked(planes, page.photometric == _PALETTE)


def _stacked(planes: Sequence[NDArray[Any]], palette: bool) -> tuple[NDArray[Any], bool]:
    alike = [plane for plane in planes if plane.shape == planes[0].shape]
    array = alike[0] if len(alike) == 1 else np.stack(alike)
    if planes[0].ndim == 2:
        return array, False
    if palette and (array[..., :1] == array[..., 1:3]).all():
        return np.ascontiguousarray(array[..., 0]), False
    order = [2, 1, 0, 3][: array.shape[-1]]
    return array[..., order], True
