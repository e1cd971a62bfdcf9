"""Layers and stacks in memory whose planes are named, and the answers; without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import PhaseClass
from ..databar import find_data_bar
from ..errors import InputError
from ..events import Part
from ..plane import ArrayLike, Plane, as_plane, leading_shape, plane_shape
from ..regions import Field

if TYPE_CHECKING:
    from .defects import Answers

THUMBNAIL = 64
"""Longer side of a thumbnail, in pixels."""


@dataclass(frozen=True)
class Stack:
    """An image or a stack, and which of its planes to look at.

    Attributes
    ----------
    array
        (Y, X), (N, Y, X), or more axes before these; with `rgb` colours come last.
    planes
        Numbers of the planes, counted over all axes before the rows; None for every plane.
    """

    name: str
    array: ArrayLike
    rgb: bool
    calibration: Calibration | None
    planes: tuple[int, ...] | None = None

    @property
    def leading(self) -> tuple[int, ...]:
        """Lengths of the axes before the rows."""
        return leading_shape(self.array, rgb=self.rgb)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The planes to look at; `InputError` where there are none."""
        count = math.prod(self.leading)
        if not count or 0 in plane_shape(self.array, rgb=self.rgb):
            raise InputError(f"{self.name}: the image is empty")
        return tuple(range(count)) if self.planes is None else self.planes

    def index(self, number: int) -> tuple[int, ...]:
        """Where a plane lies along the axes before the rows; () in a single image.

        Raises
        ------
        InputError
            When there is no such plane.
        """
        count = math.prod(self.leading)
        if not 0 <= number < count:
            raise InputError(f"{self.name}: has no plane {number}, only 0 to {count - 1}")
        return tuple(int(at) for at in np.unravel_index(number, self.leading))

    def pixels(self, number: int) -> tuple[NDArray[Any], str]:
        """The pixels of a plane, and what messages call it."""
        index = self.index(number)
        called = f"{self.name}, plane {', '.join(map(str, index))}" if index else self.name
        return np.asarray(self.array[index] if index else self.array), called

    def plane(self, number: int) -> Plane:
        """A plane, checked; errors as for `plane.as_plane`, but it may be of one grey value."""
        pixels, called = self.pixels(number)
        measured = Field(plane_shape(pixels, rgb=self.rgb), find_data_bar(pixels))
        return as_plane(pixels, called, measured, may_be_constant=True)


@dataclass(frozen=True)
class NamedPlane:
    """The answer for a plane.

    Attributes
    ----------
    row
        As of `classes.csv`.
    probability
        Of the most probable class.
    thumbnail
        (≤ 64, ≤ 64, 3) uint8.
    windows
        The answers of the windows of a scanned plane, else None.
    defects
        Class indices (Y, X), 255 where unsure, of a scanned plane, else None.
    descriptors
        (crops, 2) of the crops that a structure was told from, else None.
    """

    stack: str
    number: int
    row: dict[str, Any]
    probability: float
    thumbnail: NDArray[np.uint8]
    windows: Answers | None = None
    defects: NDArray[np.uint8] | None = None
    descriptors: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Named(Part):
    """Answers for planes of stacks, in order, and how they came about."""

    planes: tuple[NamedPlane, ...]
    classes: tuple[PhaseClass, ...]
    provenance: dict[str, Any]


def thumbnail(plane: Plane) -> NDArray[np.uint8]:
    """A plane reduced so that its longer side has `THUMBNAIL` pixels: (rows, columns, 3)."""
    rows, columns = plane.shape
    # Every so many rows and columns first: a strip may be long.
    step = max(1, max(rows, columns) // (4 * THUMBNAIL))
    rgb = plane.rgb8(slice(0, rows, step), slice(0, columns, step))
    size = tuple(max(1, round(THUMBNAIL * n / max(rows, columns))) for n in (columns, rows))
    reduced = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(reduced, np.uint8)
