"""The measured field: an image less its data bar, restricted to a region of interest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import points_in_poly

from .errors import InputError

Polygon = Sequence[Sequence[float]]

_PIXELS_AT_A_TIME = 2**18
_BLOCK_PIXELS = 2**22


@dataclass(frozen=True)
class Box:
    """Rows `top` to `bottom` and columns `left` to `right`, ends excluded, in pixels."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def corners(self) -> Polygon:
        """Polygon of the box as (row, column) vertices; it holds just the box's pixels."""
        # Half a pixel outwards, since a pixel's centre has integer coordinates.
        top, left, bottom, right = (edge - 0.5 for edge in self.to_list())
        return ((top, left), (top, right), (bottom, right), (bottom, left))

    def to_list(self) -> list[int]:
        """JSON form: top, left, bottom, right."""
        return [self.top, self.left, self.bottom, self.right]


@dataclass(frozen=True)
class Field:
    """The part of an image that counts.

    Attributes
    ----------
    shape
        Rows and columns of the image.
    data_bar
        Left out everywhere; None where the image has none.
    region
        Polygons of (row, column) vertices in pixels; the field is their union. Empty means the
        whole image. A pixel belongs to a polygon when its centre (integer coordinates, as napari
        draws them) lies inside.
    """

    shape: tuple[int, int]
    data_bar: Box | None = None
    region: tuple[Polygon, ...] = ()

    def frame(self) -> Box:
        """The image less a data bar along its lower or upper edge."""
        height, width = self.shape
        bar = self.data_bar
        if bar is not None and (bar.left, bar.right) == (0, width):
            if bar.bottom == height:
                return Box(0, 0, bar.top, width)
            if bar.top == 0:
                return Box(bar.bottom, 0, height, width)
        return Box(0, 0, height, width)

    def mask(self, box: Box | None = None) -> NDArray[np.bool_]:
        """True where a pixel of the image (or of `box` in it) belongs to the field."""
        box = box or Box(0, 0, *self.shape)
        inside = _rasterised(self.region, box) if self.region else np.ones(box.shape, bool)
        if self.data_bar is not None:
            bar = self.data_bar
            rows = slice(max(0, bar.top - box.top), max(0, bar.bottom - box.top))
            columns = slice(max(0, bar.left - box.left), max(0, bar.right - box.left))
            inside[rows, columns] = False
        return inside

    def require_pixels(self) -> None:
        """Raise `InputError` when no pixel belongs to the field."""
        if not any(self.mask(block).any() for block in self.blocks()):
            raise InputError("the region of interest holds no pixel of the image")

    def blocks(self) -> Iterator[Box]:
        """Rows of the image in boxes of its full width, from above to below.

        So that what is asked of each pixel of the field takes memory for some rows only.
        """
        height, width = self.shape
        together = max(1, _BLOCK_PIXELS // max(1, width))
        for top in range(0, height, together):
            yield Box(top, 0, min(top + together, height), width)

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the shape."""
        return {
            "data_bar": self.data_bar.to_list() if self.data_bar else None,
            "region": [[list(map(float, vertex)) for vertex in polygon] for polygon in self.region],
        }

    @classmethod
    def from_dict(cls, shape: tuple[int, int], data: dict[str, Any]) -> Field:
        """Inverse of `to_dict`."""
        bar = data.get("data_bar")
        region = tuple(tuple(map(tuple, polygon)) for polygon in data.get("region", []))
        return cls(shape, Box(*bar) if bar else None, region)


def _rasterised(region: Sequence[Polygon], box: Box) -> NDArray[np.bool_]:
    inside = np.zeros(box.shape, bool)
    for polygon in region:
        vertices = np.asarray(polygon, float)[:, -2:]
        for part in _parts_around(vertices, box):
            # Of the pixels as they lie in the image, not in the box: moving the vertices would
            # round them, and what is inside would depend on the box.
            pixels = np.mgrid[part.slices].reshape(2, -1).T
            found = points_in_poly(pixels, vertices)  # type: ignore[no-untyped-call]
            top, left = part.top - box.top, part.left - box.left
            rows, columns = part.shape
            inside[top : top + rows, left : left + columns] |= found.reshape(part.shape)
    return inside


def _parts_around(vertices: NDArray[np.float64], box: Box) -> Iterator[Box]:
    """Some rows after the other of a box as far as a polygon reaches."""
    top, left = np.maximum(np.floor(vertices.min(axis=0)), (box.top, box.left)).astype(int)
    bottom, right = np.minimum(np.ceil(vertices.max(axis=0)) + 1, (box.bottom, box.right))
    if right > left:
        together = max(1, _PIXELS_AT_A_TIME // int(right - left))
        for start in range(int(top), int(bottom), together):
            yield Box(start, int(left), min(start + together, int(bottom)), int(right))
