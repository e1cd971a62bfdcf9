"""Counting grains in a known area (Jeffries; ASTM E112 clauses 9 to 11, E1382)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .partition import Partition

Area = Literal["rectangle", "circle"]
Part = NDArray[np.int8]

_FILL = 0.98
OUTSIDE, INSIDE, CUT, CORNER = 0, 1, 2, 3
"""What a grain is to the test area."""


@dataclass(frozen=True)
class GrainCount:
    """Grains in a test area.

    Attributes
    ----------
    inside, cut
        Grains wholly within the test area, and grains its edge cuts; of a rectangle the grains at
        its corners are left out of `cut`.
    area_px
        Of the test area.
    part
        (n,) int8, what each grain of the partition is: 0 outside, 1 inside, 2 cut, 3 at a corner.
    corners
        1 for a rectangle, whose four corner grains count as one; 0 for a circle.
    """

    inside: int
    cut: int
    area_px: float
    part: Part
    corners: int

    @property
    def grains(self) -> float:
        """N = n_inside + ½ n_cut, and 1 more for the corners of a rectangle."""
        return self.inside + self.cut / 2 + self.corners


def count_in_rectangle(partition: Partition) -> GrainCount:
    """Grains in the whole field, as a rectangle.

    Source: ASTM E112-13, 11.2 with annex A1: corner grains count ¼ each.
    """
    grains = partition.grains
    part = np.full(partition.n, INSIDE, np.int8)
    part[partition.on_border()] = CUT
    corners = np.unique(grains[[0, 0, -1, -1], [0, -1, 0, -1]])
    part[corners - 1] = CORNER
    return GrainCount(
        int((part == INSIDE).sum()), int((part == CUT).sum()), float(grains.size), part, 1
    )


def count_in_circle(partition: Partition) -> GrainCount:
    """Grains in the largest circle that the field holds.

    Source: ASTM E112-13, 9.1 (Jeffries).
    """
    height, width = partition.shape
    radius = _FILL * min(height, width) / 2
    y, x = np.ogrid[:height, :width]
    within = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 <= radius**2
    pixels_within = np.bincount(partition.grains[within], minlength=partition.n + 1)[1:]
    part = np.full(partition.n, CUT, np.int8)
    part[pixels_within == 0] = OUTSIDE
    part[(pixels_within == partition.areas) & ~partition.on_border()] = INSIDE
    return GrainCount(
        int((part == INSIDE).sum()), int((part == CUT).sum()), float(within.sum()), part, 0
    )


def mean_area_of_whole_grains(partition: Partition) -> float:
    """Mean area in pixels of the grains that the edge of the field does not cut, weighted.

    NaN when the edge cuts every grain.

    Source: ASTM E1382, which leaves the grains at the edge out.
    """
    whole = ~partition.on_border()
    if not whole.any():
        return float("nan")
    weights = whole_grain_weights(partition)[whole]
    return float(np.average(partition.areas[whole], weights=weights))


def whole_grain_weights(partition: Partition) -> NDArray[np.float64]:
    """For how many grains each stands, (n,) in 1/px², when those at the edge are left out.

    A grain of a height and width has the fewer places in the field the larger it is: without
    weights, large grains would be missed more often than small ones.

    Source: Miles (1974), Lantuéjoul (1980).
    """
    free = np.array(partition.shape) - partition.sides - 1
    return np.asarray(1 / np.maximum(free, 1).prod(1), float)
