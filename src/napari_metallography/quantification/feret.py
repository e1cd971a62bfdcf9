"""Feret diameters: the largest and the smallest distance of parallel tangents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from .outlines import Hulls

_AT_A_TIME = 1 << 17

Floats = NDArray[np.float64]


def feret_diameters_um(hulls: Hulls, calibration: Calibration) -> tuple[Floats, Floats]:
    """Largest and smallest Feret diameter in µm of each particle.

    The outline is the convex hull of the midpoints of the pixels' edges, as in scikit-image's
    `feret_diameter_max`: it is nearer to the true outline than the pixels' corners, which lie
    outside it. It is the hull of the pixels' centres with the rhombus of one pixel's midpoints
    added all around (Minkowski sum). The smallest diameter stands on an edge of it, so trying
    every edge finds it exactly.

    Source: ISO 9276-6 (largest and smallest Feret diameter); Shamos (1978) for the edges.
    """
    pixel = np.array([calibration.y_um, calibration.x_um])
    largest, smallest = (np.empty(len(hulls.counts)) for _ in range(2))
    for count in np.unique(hulls.counts):
        alike = np.flatnonzero(hulls.counts == count)
        step = max(1, _AT_A_TIME // int(count) ** 2)
        for first in range(0, len(alike), step):
            chosen = alike[first : first + step]
            vertices = hulls.points[hulls.starts[chosen, None] + np.arange(count)] * pixel
            largest[chosen] = _largest(vertices, pixel)
            smallest[chosen] = _smallest(vertices, pixel)
    return largest, smallest


def _largest(vertices: Floats, pixel: Floats) -> Floats:
    apart = np.abs(vertices[:, :, None] - vertices[:, None])
    y, x = apart[..., 0], apart[..., 1]
    squares = y**2 + x**2
    # One midpoint of an edge at each end: half a pixel more twice, along one axis or the other.
    longer = np.maximum(pixel[0] * (2 * y + pixel[0]), pixel[1] * (2 * x + pixel[1]))
    return np.asarray(np.sqrt((squares + longer).max(axis=(1, 2))), float)


def _smallest(vertices: Floats, pixel: Floats) -> Floats:
    sides = np.broadcast_to(pixel * [[1, 1], [1, -1]], (len(vertices), 2, 2))
    edges = np.concatenate([np.roll(vertices, -1, axis=1) - vertices, sides], axis=1)
    lengths = np.hypot(edges[..., 0], edges[..., 1])
    normals = edges[..., ::-1] * [-1, 1] / np.where(lengths > 0, lengths, 1)[..., None]
    across = np.einsum("mec,mvc->mev", normals, vertices)
    widths = np.ptp(across, axis=2) + np.abs(normals * pixel).max(axis=2)
    found: Floats = np.where(lengths > 0, widths, np.inf).min(axis=1)
    return found
