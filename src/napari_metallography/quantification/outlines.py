"""Convex hulls of particles, from which circles and diameters are measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from .runs import Runs


@dataclass(frozen=True)
class Hulls:
    """Convex hulls of the centres of all particles' pixels, one particle after the other.

    Attributes
    ----------
    points
        Shape (P, 2): row and column of the vertices, in their order around each particle.
    counts
        Shape (n,): number of vertices of each particle.
    """

    points: NDArray[np.int32]
    counts: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Index of each particle's first vertex."""
        return np.cumsum(self.counts) - self.counts

    def parts(self, n_particles: int) -> Iterator[Hulls]:
        """The same in groups of so many particles, for what takes much memory a particle."""
        ends = np.append(self.starts, len(self.points))
        for first in range(0, len(self.counts), n_particles):
            counts = self.counts[first : first + n_particles]
            yield Hulls(self.points[ends[first] : ends[first + len(counts)]], counts)


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


def hulls_of(runs: Runs) -> Hulls:
    """Convex hulls of the pixel centres of each particle."""
    ends = np.stack([runs.rows, runs.left, runs.rows, runs.right - 1], axis=1).astype(np.int32)
    bounds = np.append(runs.starts, len(runs.owner))
    hulls: list[NDArray[np.int32]] = [
        np.asarray(cv2.convexHull(ends[start:stop].reshape(-1, 2))[:, 0], np.int32)
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
    points = np.concatenate(hulls) if hulls else np.empty((0, 2), np.int32)
    return Hulls(points, np.array([len(hull) for hull in hulls], np.int64))


def pixel_corners(hulls: Hulls, calibration: Calibration) -> Corners:
    """Corners of the pixels at the vertices, pixels taken as rectangles.

    They hold every vertex of the convex hull of the particle's pixels.
    """
    offsets = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    points = (hulls.points[:, None] + offsets).reshape(-1, 2)
    return Corners(points * np.array([calibration.y_um, calibration.x_um]), 4 * hulls.counts)


def hull_areas_px(hulls: Hulls) -> NDArray[np.float64]:
    """Area in pixels of the convex hull of each particle's pixels, taken as rectangles.

    A pixel added all around a convex set of width w and height h (Minkowski sum) adds w + h + 1
    to its area.
    """
    if not len(hulls.counts):
        return np.empty(0)
    rows, columns = hulls.points.T.astype(np.int64)
    following = np.arange(1, len(rows) + 1)
    following[np.cumsum(hulls.counts) - 1] = hulls.starts
    doubled = np.add.reduceat(rows * columns[following] - rows[following] * columns, hulls.starts)
    extents = [
        np.maximum.reduceat(axis, hulls.starts) - np.minimum.reduceat(axis, hulls.starts)
        for axis in (rows, columns)
    ]
    return np.asarray(np.abs(doubled) / 2 + extents[0] + extents[1] + 1, float)
