"""Where what was measured in a part of a plane lies in the layer of its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from ..grains.grading import FieldGrade
from ..grains.intersections import Intersections, TestLine
from ..regions import Box
from .layers import plane_placement, plane_shape

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Between the square pixels of a grade and the pixels of an image.

    Attributes
    ----------
    leading
        Number of the plane along each leading axis.
    """

    image: Image
    leading: tuple[int, ...]
    box: Box
    found: FieldGrade

    @property
    def lines(self) -> tuple[TestLine, ...]:
        """Test lines of the grade; none where grains were counted."""
        drawn = self.found.drawn
        return drawn.lines if isinstance(drawn, Intersections) else ()

    def in_image(self, points: Floats) -> Floats:
        """Coordinates (n, D) in the layer of points (n, 2) of the grade."""
        places = (points + 0.5) * self._factors - 0.5 + (self.box.top, self.box.left)
        return np.column_stack([np.tile(self.leading, (len(places), 1)), places])

    def in_grade(self, places: Floats) -> Floats:
        """Inverse of `in_image`."""
        yx = places[:, -2:] - (self.box.top, self.box.left)
        return np.asarray((yx + 0.5) / self._factors - 0.5, float)

    def grains(self) -> NDArray[np.int32]:
        """Grain numbers (Y, X) in the pixels of the box."""
        if self.found.grains is None:
            raise ValueError("the line network knows no grains")
        height, width = self.box.shape
        found = self.found.grains.grains
        if found.shape == (height, width):
            return found
        return np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST))

    def labels(self, values: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Data and keywords of a Labels layer with values (Y, X) of the box in this plane."""
        whole = np.zeros(plane_shape(self.image), np.uint8)
        whole[self.box.slices] = values
        n, keywords = len(self.leading), self.placement
        shift = np.zeros(n + 2)
        shift[:n] = np.multiply(self.leading, self.image.scale[:n])
        return whole[(None,) * n], {**keywords, "translate": keywords["translate"] + shift}

    @property
    def placement(self) -> dict[str, Any]:
        """Keywords of a layer over the image."""
        return plane_placement(self.image, len(self.leading) + 2)

    @property
    def _factors(self) -> Floats:
        return np.array(self.box.shape) / self.found.shape
