"""Grains as a partition of the field: each pixel belongs to the grain it lies nearest to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..errors import InputError

_MOST_BOUNDARY = 0.6
_SAME_POINT_PX = 2.0

Corners = NDArray[np.int64]
"""(n, 2) rows and columns: (0, 0) is the corner that the first four pixels share."""


@dataclass(frozen=True)
class Partition:
    """Grains that fill a field.

    Attributes
    ----------
    grains
        (Y, X) int32: grains numbered from 1 to `n`, without gaps between them.
    n
        Number of grains.
    """

    grains: NDArray[np.int32]
    n: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the field."""
        return self.grains.shape[0], self.grains.shape[1]

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """(n,) pixels of each grain."""
        return np.bincount(self.grains.ravel(), minlength=self.n + 1)[1:]

    @cached_property
    def sides(self) -> NDArray[np.int64]:
        """(n, 2) height and width of the box around each grain."""
        boxes = ndimage.find_objects(self.grains, self.n)
        return np.array([[part.stop - part.start for part in box] for box in boxes])

    @cached_property
    def triple_points(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Where three or more grains meet: y and x (n, 2), and how many grains meet there (n,).

        (½, ½) is the corner that the first four pixels share.
        """
        return _triple_points(self.grains, _changing(self.grains))

    def triple_points_near(
        self, places: NDArray[np.float64], reach_px: float
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Those `triple_points` that lie up to so many rows and columns from a place (n, 2).

        Points merged of several corners are among them when any of these lies there.
        """
        found = _meeting(self.grains, _around(places, reach_px, self.shape))[0]
        corners = _once_each(_corners_of(found), self.shape)
        while True:
            # Corners that are one point with these lie no further from one another.
            around = _once_each(
                _around(np.add(corners, 0.5, dtype=float), _SAME_POINT_PX, self.shape), self.shape
            )
            grown = _corners_of(_meeting(self.grains, around)[0])
            if len(grown) == len(corners):
                return _triple_points(self.grains, corners)
            corners = grown

    def on_border(self) -> NDArray[np.bool_]:
        """Which grains the edge of the field cuts."""
        edges = (self.grains[0], self.grains[-1], self.grains[:, 0], self.grains[:, -1])
        cut = np.zeros(self.n + 1, bool)
        cut[np.concatenate(edges)] = True
        return cut[1:]


def from_boundaries(boundaries: NDArray[np.bool_], smallest_area_px: int = 1) -> Partition:
    """Grains between boundaries.

    Parameters
    ----------
    boundaries
        (Y, X), True on boundaries; lines that touch by corners only are closed.
    smallest_area_px
        Smaller grains are given to their neighbours.

    Raises
    ------
    InputError
        When there is no boundary, all is boundary, or boundaries and grains seem swapped.
    """
    if not boundaries.any():
        raise InputError("no grain boundary in the mask; segment or paint the boundaries first")
    if boundaries.mean() > _MOST_BOUNDARY:
        raise InputError(
            f"the mask takes {boundaries.mean():.0%} of the field for grain boundary: it seems "
            "inverted; boundaries are 1 and grains 0"
        )
    # A rim of boundary spares looking whether a neighbour is in the field.
    free = np.pad(~boundaries, 1).view(np.uint8)
    count, found = cv2.connectedComponents(free, connectivity=4)
    grains, is_open = np.asarray(found, np.int32), np.pad(boundaries, 1)
    if smallest_area_px > 1:
        grains, count = _without_small(grains, count, smallest_area_px)
        is_open[1:-1, 1:-1] = grains[1:-1, 1:-1] == 0
    return Partition(_grown(grains, is_open), count - 1)


def from_labels(labels: NDArray[np.int32]) -> Partition:
    """Grains given by their numbers; 0 is boundary, and its pixels go to the nearest grain.

    Raises
    ------
    InputError
        When there is no grain.
    """
    if not labels.any():
        raise InputError("the label image holds no grain: all of it is 0")
    with_boundaries = numbered(labels)
    if labels.all():
        return with_boundaries
    grains = _grown(np.pad(with_boundaries.grains - 1, 1), np.pad(labels == 0, 1))
    return Partition(grains, with_boundaries.n - 1)


def numbered(regions: NDArray[np.integer[Any]]) -> Partition:
    """Regions (Y, X) that fill a field, of any numbers, as grains numbered from 1."""
    numbers, renumbered = np.unique(regions, return_inverse=True)
    return Partition(renumbered.reshape(regions.shape).astype(np.int32) + 1, len(numbers))


def _without_small(
    found: NDArray[np.int32], count: int, smallest: int
) -> tuple[NDArray[np.int32], int]:
    areas = np.bincount(found.ravel(), minlength=count)
    kept = areas >= smallest
    kept[0] = False
    if not kept.any():
        raise InputError(f"no grain has {smallest} pixels or more; lower the smallest area")
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return numbers[found], int(kept.sum()) + 1


def _grown(rimmed: NDArray[np.int32], is_open: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Boundary pixels given to a nearest grain, by steps to the four neighbours.

    Parameters
    ----------
    rimmed
        (Y + 2, X + 2), changed; the result lacks its rim of zeros.
    is_open
        (Y + 2, X + 2): boundary pixels, which are 0; not the rim.
    """
    flat, width = rimmed.ravel(), rimmed.shape[1]
    left = np.flatnonzero(is_open)
    while len(left):
        found = flat[left + 1]
        for step in (width, -1, -width):
            missing = np.flatnonzero(found == 0)
            found[missing] = flat[left[missing] + step]
        flat[left] = found
        left = left[found == 0]
    return rimmed[1:-1, 1:-1]


def _changing(grains: NDArray[np.int32]) -> Corners:
    """Corners (n, 2) of pixels at which three or more of the four sides part grains."""
    across, down = grains[:, 1:] != grains[:, :-1], grains[1:] != grains[:-1]
    changes = (
        across[:-1].astype(np.uint8)
        + across[1:].astype(np.uint8)
        + down[:, :-1].astype(np.uint8)
        + down[:, 1:].astype(np.uint8)
    )
    return np.argwhere(changes >= 3)


def _around(places: NDArray[np.float64], reach_px: float, shape: tuple[int, int]) -> Corners:
    """Corners of pixels in the field that lie up to so many rows and columns from each place."""
    steps = np.arange(-math.floor(reach_px), math.ceil(reach_px) + 1)
    found, near = [], []
    for axis in (0, 1):
        at = places[:, axis, None] - 0.5
        corners = np.floor(at).astype(int) + steps
        inside = (corners >= 0) & (corners < shape[axis] - 1)
        found.append(corners)
        near.append(inside & (np.abs(corners - at) <= reach_px))
    place, row, column = np.nonzero(near[0][:, :, None] & near[1][:, None, :])
    return np.column_stack([found[0][place, row], found[1][place, column]])


def _once_each(corners: Corners, shape: tuple[int, int]) -> Corners:
    """The corners row by row; NumPy's own way for rows of an array takes twenty times as long."""
    numbers = np.sort(corners[:, 0] * shape[1] + corners[:, 1])
    return np.column_stack(np.divmod(numbers[np.diff(numbers, prepend=-1) > 0], shape[1]))


def _triple_points(
    grains: NDArray[np.int32], corners: Corners
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    points, counts = _meeting(grains, corners)
    return _merged(points, counts) if len(points) else (points, counts)


def _meeting(
    grains: NDArray[np.int32], corners: Corners
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Those of the corners of pixels at which three or four grains meet, and how many do."""
    y, x = corners.T
    one, two, three, four = grains[y, x], grains[y, x + 1], grains[y + 1, x], grains[y + 1, x + 1]
    counts = (
        1
        + (two != one).astype(np.int64)
        + ((three != one) & (three != two))
        + ((four != one) & (four != two) & (four != three))
    )
    kept = counts >= 3
    return np.column_stack([y[kept] + 0.5, x[kept] + 0.5]), counts[kept]


def _corners_of(points: NDArray[np.float64]) -> Corners:
    return (points - 0.5).astype(np.int64)


def _merged(
    corners: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Triple points a pixel or two apart cannot be told from a point of four grains.

    Such points are one, at the first of its corners.
    """
    pairs = cKDTree(corners).query_pairs(_SAME_POINT_PX, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs), bool), pairs.T), shape=2 * (len(corners),))
    number = connected_components(links, directed=False)[1]
    first = np.unique(number, return_index=True)[1]
    together = 2 + np.bincount(number, counts - 2).astype(np.int64)
    return corners[first], np.minimum(together, 4)
