"""Zarr folders: a plain array, or OME-Zarr (NGFF 0.4 and 0.5), read by windows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..errors import InputError
from ..windowed import Tiled
from .files import unreadable
from .vendors.reading import length_um, number, pixel_size, settings

SUFFIX = ".zarr"

_SOURCE = "OME-Zarr metadata"
_COLOURS = (3, 4)
_DAMAGED = (KeyError, IndexError, TypeError, AttributeError, ValueError)
# Smaller chunks are read together: each access to a chunk has its cost.
_LEAST_TILE = 512

ZarrImage = tuple["ZarrPlanes", bool, Calibration | None, dict[str, Any]]
"""Pixels, whether their last axis is colour, pixel size, and what else the file states."""


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that by its name holds a Zarr array or group."""
    return path.suffix.lower() == SUFFIX and path.is_dir()


def read_zarr(path: Path) -> ZarrImage:
    """Read a plain array, or the full resolution of an OME-Zarr image.

    Of an OME-Zarr axes of length 1 are dropped, those of time and depth are planes, and the pixel
    size is that of the scale transformations where the axes state a unit of length. A plain array
    is (Y, X) or (N, Y, X), or either with 3 or 4 colours as the last axis, and has no pixel size.

    Raises
    ------
    InputError
        When the zarr library is missing; when the folder is damaged, holds no image, several
        channels, or what are no grey values.
    """
    opened = _opened(path)
    if hasattr(opened, "shape"):
        return _plain(path, opened)
    try:
        image = _multiscale(opened)
        if not image:
            raise InputError(
                f"{path}: holds neither an array nor an OME-Zarr image; name the .zarr folder in it"
            )
        level, axes = image["datasets"][0], _axes(image)
        planes = _planes(path, opened[level["path"]], [name for name, _ in axes])
        return planes, False, _pixel_size(axes, level, image), settings("OME")
    except _DAMAGED as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: its OME-Zarr metadata are damaged or older than version 0.4"
        ) from error


def coarser_levels(path: Path) -> list[ZarrPlanes]:
    """The lower resolutions of an image that `read_zarr` takes, to be looked at; finest first.

    None of a plain array, nor where they are damaged or have other planes than the full one.
    """
    opened = _opened(path)
    with suppress(*_DAMAGED):
        image = _multiscale(opened)
        names = [name for name, _ in _axes(image)]
        finest, *coarser = [_planes(path, opened[one["path"]], names) for one in image["datasets"]]
        if all(level.shape[:-2] == finest.shape[:-2] for level in coarser):
            return coarser
    return []


def _multiscale(group: Any) -> Mapping[str, Any]:
    """What the metadata of a group say of its image; empty where it holds none."""
    attributes = group.attrs.asdict()
    images: Sequence[Mapping[str, Any]] = attributes.get("ome", attributes).get("multiscales")
    return images[0] if images else {}


def _opened(path: Path) -> Any:
    try:
        import zarr
    except ModuleNotFoundError as error:
        if error.name != "zarr":
            raise
        raise InputError(
            f"{path}: .zarr needs another package: pip install 'napari-metallography[zarr]'"
        ) from error
    try:
        return zarr.open(str(path), mode="r")
    except PermissionError as error:
        raise unreadable(path, error) from error
    except Exception as error:
        raise InputError(f"{path}: not a Zarr folder that can be read") from error


def _plain(path: Path, array: Any) -> ZarrImage:
    shape = array.shape
    rgb = len(shape) > 2 and shape[-1] in _COLOURS
    if len(shape) - rgb not in (2, 3):
        raise InputError(f"{path}: an array of shape {shape} is neither an image nor a stack")
    _require_values(path, array)
    return ZarrPlanes(path, array, range(len(shape) - rgb - 2), rgb=rgb), rgb, None, {}


def _axes(image: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Names and units."""
    return [(one["name"].lower(), one.get("unit")) for one in image["axes"]]


def _pixel_size(
    axes: Sequence[tuple[str, str | None]], level: Mapping[str, Any], image: Mapping[str, Any]
) -> Calibration | None:
    """Pixel size by the scales of a level and of all levels."""
    sizes = {name: 1.0 for name, _ in axes}
    stated = False
    for transformation in (
        *level.get("coordinateTransformations", ()),
        *image.get("coordinateTransformations", ()),
    ):
        if transformation.get("type") == "scale":
            stated = True
            for (name, _), factor in zip(axes, transformation["scale"], strict=True):
                sizes[name] *= number(factor) or math.nan
    if not stated:
        return None
    units = dict(axes)
    x_um, y_um = (length_um(sizes[name], units[name]) for name in "xy")
    return pixel_size(x_um, y_um, _SOURCE)


def _planes(path: Path, array: Any, names: Sequence[str]) -> ZarrPlanes:
    if [*names[-2:]] != ["y", "x"] or len(names) != len(array.shape):
        raise InputError(
            f"{path}: axes {', '.join(names)} of an array of shape {array.shape}; rows and columns "
            "(y, x) must come last"
        )
    channels = array.shape[names.index("c")] if "c" in names else 1
    if channels > 1:
        raise InputError(
            f"{path}: {channels} channels of one area; save the one to measure as an image of its "
            "own (fields of a stack: as slices)"
        )
    _require_values(path, array)
    leading = [axis for axis in range(len(names) - 2) if array.shape[axis] != 1]
    return ZarrPlanes(path, array, leading)


def _require_values(path: Path, array: Any) -> None:
    if array.dtype.kind not in "uifb":
        raise InputError(f"{path}: pixels of type {array.dtype} are not grey values")


class ZarrPlanes(Tiled):
    """The planes of a Zarr array.

    Parameters
    ----------
    leading
        The axes that become the planes' number; others before rows and columns have the length 1.
    """

    def __init__(
        self, path: Path, array: Any, leading: Sequence[int], *, rgb: bool = False
    ) -> None:
        plane = array.shape[-3:] if rgb else array.shape[-2:]
        self._leading, self._lengths = tuple(leading), tuple(array.shape[n] for n in leading)
        count = math.prod(self._lengths)
        chunks = array.chunks[-3:-1] if rgb else array.chunks[-2:]
        rows, columns = (
            min(length, chunk * math.ceil(_LEAST_TILE / chunk))
            for length, chunk in zip(plane, chunks, strict=False)
        )
        super().__init__(
            (count, *plane) if count != 1 else plane,
            _value_type(array.dtype),
            rgb=rgb,
            tile=(max(1, rows), max(1, columns)),
        )
        self._path, self._array = path, array

    def _tile(self, number: int, row: int, column: int) -> NDArray[Any]:
        place = [0] * (len(self._array.shape) - (3 if self.rgb else 2))
        where = np.unravel_index(number, self._lengths) if self._lengths else ()
        for axis, index in zip(self._leading, where, strict=True):
            place[axis] = int(index)
        height, width = self._tile_shape
        rows = slice(row * height, (row + 1) * height)
        columns = slice(column * width, (column + 1) * width)
        try:
            tile = np.asarray(self._array[(*place, rows, columns)])
        except MemoryError:
            raise
        except Exception as error:
            raise InputError(f"{self._path}: damaged, a part of it cannot be read") from error
        values = tile.astype(self.dtype, copy=False)
        return values * np.uint8(255) if tile.dtype.kind == "b" else values


def _value_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """As of TIFF: masks become 0 and 255, half floats usual ones."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")
