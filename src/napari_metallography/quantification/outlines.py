"""The corners of particles, from which circles and diameters are measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration


@dataclass(frozen=True)
class Corners:
    """Points of all particles, one particle after the other.

    Attributes
    ----------
    points
        Shape (P, 2): y and x in µm from the image's upper left corner.
    counts
        Shape (n,): number of points of each particle.
    """

    points: NDArray[np.float64]
    counts: NDArray[np.int64]


def pixel_corners(ids: NDArray[np.int32], calibration: Calibration) -> Corners:
    """Corners of the pixels at both ends of each row of each particle.

    They hold every vertex of the particle's convex hull, pixels taken as rectangles.

    Parameters
    ----------
    ids
        Shape (Y, X): particles numbered 1 to n without gaps, 0 elsewhere.
    """
    rows, left, right = _runs(ids)
    owner = ids[rows, left] - 1
    order = np.argsort(owner, kind="stable")
    rows, left, right = rows[order], left[order], right[order]
    y = np.stack([rows, rows + 1, rows, rows + 1], axis=1).ravel() * calibration.y_um
    x = np.stack([left, left, right, right], axis=1).ravel() * calibration.x_um
    return Corners(np.stack([y, x], axis=1), 4 * np.bincount(owner).astype(np.int64))


def _runs(
    ids: NDArray[np.int32],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Row, first column and column after the last of each stretch of one particle in a row."""
    walled = np.pad(ids, ((0, 0), (1, 1)))
    changes = walled[:, 1:] != walled[:, :-1]
    rows, left = np.nonzero(changes[:, :-1] & (ids > 0))
    _, last = np.nonzero(changes[:, 1:] & (ids > 0))
    return rows, left, last + 1
