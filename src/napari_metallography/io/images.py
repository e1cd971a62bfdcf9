"""Micrographs: pixels, pixel size and what the microscope wrote about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..calibration import Calibration
from ..errors import InputError
from ..plane import ArrayLike, plane_shape, split_planes
from .index import ImageIndex, find_index
from .labels import is_label_image
from .ome_zarr import is_zarr, read_zarr
from .raster import read_raster
from .tiff import is_tiff, read_tiff
from .vendor import vendor_metadata

IMAGE_SUFFIXES: tuple[str, ...] = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
"""Suffixes of the image files that can be read, in lower case; `.zarr` is a folder."""


@dataclass(frozen=True)
class Micrograph:
    """An image of a microscope, or a stack of them.

    Attributes
    ----------
    pixels
        (Y, X), (Y, X, 3 or 4), (N, Y, X) or (N, Y, X, 3 or 4). A NumPy array, or of a large file a
        `Windowed` one, of which a part is read when it is asked for.
    rgb
        Whether the last axis is colour: red, green, blue and perhaps alpha.
    calibration
        None when neither an index nor the file states a pixel size.
    metadata
        Flat and JSON-serialisable: `vendor`, `instrument`, `detector`, `nominal_magnification` (a
        label, never a calibration), `accelerating_voltage_kv`, `working_distance_mm`, `acquired`,
        and `specimen`, `class`, `G` from an index; only what is known.
    source
        The file.
    """

    pixels: ArrayLike
    rgb: bool
    calibration: Calibration | None
    metadata: dict[str, Any] = field(default_factory=dict)
    source: Path = Path()

    @property
    def planes(self) -> tuple[ArrayLike, ...]:
        """Views of the planes, each of shape (Y, X) or (Y, X, 3 or 4)."""
        return split_planes(self.pixels, rgb=self.rgb)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a plane."""
        return plane_shape(self.pixels, rgb=self.rgb)

    def plane(self, number: int) -> ArrayLike:
        """A plane by its number from 0.

        Raises
        ------
        InputError
            When there is no such plane.
        """
        planes = self.planes
        if not 0 <= number < len(planes):
            raise InputError(f"{self.source}: has no plane {number}, only 0 to {len(planes) - 1}")
        return planes[number]


def is_image_file(path: Path) -> bool:
    """Whether the suffix is that of an image that can be read, the folder of a Zarr included."""
    return path.suffix.lower() in IMAGE_SUFFIXES or is_zarr(path)


def read_micrograph(path: Path, index: ImageIndex | None = None) -> Micrograph:
    """Read an image with its pixel size and metadata.

    TIFF (8, 16 and 32 bits, float, RGB, palette, stacks), PNG, JPEG, BMP, and folders `.zarr`
    (OME-Zarr or a plain array). A pixel size in `index`, or else in the index.csv beside the image,
    overrides that of the file. Zarr and large TIFFs stay in the file and are read when used.

    Raises
    ------
    InputError
        When the file is missing, empty, damaged, truncated, no image, or a label image; when the
        index.csv beside it is not usable.
    """
    zarr = is_zarr(path)
    tiff = not zarr and is_tiff(path)
    if tiff and is_label_image(path):
        raise InputError(f"{path}: a label image, not a micrograph; name the image it was made of")
    if index is None:
        index = find_index(path.parent)
    pixels, rgb, calibration, metadata = read_zarr(path) if zarr else _from_file(path, tiff=tiff)
    row = index.lookup(path) if index is not None else None
    if row is not None:
        calibration = row.calibration or calibration
        metadata = metadata | row.metadata()
    return Micrograph(pixels, rgb, calibration, metadata, path)


def _from_file(
    path: Path, *, tiff: bool
) -> tuple[ArrayLike, bool, Calibration | None, dict[str, Any]]:
    """Pixels, whether their last axis is colour, pixel size and metadata of a file."""
    pixels, rgb, notes = read_tiff(path) if tiff else (*read_raster(path), {})
    calibration, metadata = vendor_metadata(path)
    return pixels, rgb, calibration, metadata | notes
