"""Lengths of boundaries from how often lines cross them (Cauchy and Crofton)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from .runs import Runs

STEPS = (
    (0, 1),
    (1, 0),
    *((1, across) for across in (1, -1, 2, -2, 3, -3)),
    *((2, across) for across in (1, -1, 3, -3)),
    *((3, across) for across in (1, -1, 2, -2)),
)
"""Rows and columns from one pixel to the next along lines of sixteen directions."""

_REACH = 3


def length_weights_per_um(calibration: Calibration) -> NDArray[np.float64]:
    """Boundary length per area in 1/µm for one crossing a step, for each of the `STEPS`.

    With P_L(θ) crossings per length of line in direction θ, the boundary per area is
    ½ ∫ P_L dθ over half a turn. Each direction stands for the angles nearest to it.

    Source: Legland, Kiêu, Devaux, Image Analysis and Stereology 26 (2007) 83-92.
    """
    vectors = np.array(STEPS) * [calibration.y_um, calibration.x_um]
    angles = np.arctan2(vectors[:, 0], vectors[:, 1]) % np.pi
    order = np.argsort(angles)
    around = np.concatenate([angles[order[-1:]] - np.pi, angles[order], angles[order[:1]] + np.pi])
    shares = np.empty(len(STEPS))
    shares[order] = (around[2:] - around[:-2]) / 2
    return np.asarray(shares / (2 * np.hypot(*vectors.T)), float)


def perimeters_um(runs: Runs, calibration: Calibration) -> NDArray[np.float64]:
    """Perimeter in µm of each particle, holes included, from lines in sixteen directions.

    Within 2 % for discs and ellipses from a radius of 10 px on. Lines that step over the tip of a
    sharp corner miss it: each right angle takes about half a pixel off.

    A line enters a particle as often as it leaves it, which is how often a pixel of the particle
    is followed by one that is not.
    """
    weights = length_weights_per_um(calibration)
    left = np.zeros(runs.n)
    for step, weight in zip(STEPS, weights, strict=True):
        left += weight * (runs.areas - _followed(runs, step))
    return 2 * calibration.pixel_area_um2 * left


def _followed(runs: Runs, step: tuple[int, int]) -> NDArray[np.float64]:
    """How many pixels of each particle have another of its pixels one step further."""
    if not runs.n:
        return np.zeros(0)
    # All stretches on one line, so far apart that a step never leads into another particle.
    row_length = int(runs.right.max()) + 2 * _REACH
    n_rows = int(runs.rows.max()) + 2 * _REACH
    begin = (runs.owner * n_rows + runs.rows) * row_length + runs.left + _REACH
    before = np.cumsum(runs.lengths) - runs.lengths
    first = begin + step[0] * row_length + step[1]

    def pixels_before(places: NDArray[np.int64]) -> NDArray[np.int64]:
        run = np.searchsorted(begin, places, "right") - 1
        within = np.clip(places - begin[run], 0, runs.lengths[run])
        return np.where(run >= 0, before[run] + within, 0)

    return runs.total(pixels_before(first + runs.lengths) - pixels_before(first))
