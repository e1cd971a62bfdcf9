"""Axes and orientation of particles from their second moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from .runs import Runs

_ROUND = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ellipses:
    """Ellipses with the second moments of the particles; every array has shape (n,).

    Attributes
    ----------
    row_px, column_px
        Centroids.
    major_um, minor_um
        Full axes; 0 across particles one pixel wide, as in scikit-image.
    orientation_deg
        Of the major axis, from the x axis (to the right), counter-clockwise as one sees it, over
        −90 and up to 90; NaN where the particle has no longer axis.
    """

    row_px: Floats
    column_px: Floats
    major_um: Floats
    minor_um: Floats
    orientation_deg: Floats


def ellipses_of(runs: Runs, calibration: Calibration) -> Ellipses:
    """Ellipses with the second moments of the pixels' centres."""
    top, left = runs.boxes[:, 0], runs.boxes[:, 1]
    # From each particle's own corner, where the sums are small and therefore exact.
    y = (runs.rows - top[runs.owner]).astype(float)
    first = (runs.left - left[runs.owner]).astype(float)
    n = runs.lengths
    x_sums = n * (first + (n - 1) / 2)
    xx_sums = n * first**2 + first * n * (n - 1) + n * (n - 1) * (2 * n - 1) / 6
    area = runs.areas
    my, mx = runs.total(n * y), runs.total(x_sums)
    pixel = calibration
    yy = (area * runs.total(n * y**2) - my**2) / area**2 * pixel.y_um**2
    xx = (area * runs.total(xx_sums) - mx**2) / area**2 * pixel.x_um**2
    xy = (area * runs.total(y * x_sums) - my * mx) / area**2 * pixel.pixel_area_um2
    spread = np.hypot(xx - yy, 2 * xy)
    return Ellipses(
        row_px=top + my / area,
        column_px=left + mx / area,
        major_um=np.sqrt(8 * (xx + yy + spread)),
        minor_um=np.sqrt(8 * np.maximum(0, xx + yy - spread)),
        orientation_deg=_orientation(xx, yy, xy, spread),
    )


def _orientation(xx: Floats, yy: Floats, xy: Floats, spread: Floats) -> Floats:
    # Rows count downwards: counter-clockwise for the eye is the negative angle.
    angle = -np.degrees(np.arctan2(2 * xy, xx - yy)) / 2
    angle = np.where(angle <= -90, 90.0, angle) + 0.0
    return np.where(spread > _ROUND * (xx + yy), angle, np.nan)
