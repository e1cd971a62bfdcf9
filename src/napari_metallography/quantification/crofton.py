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

EXTRA_CHORDS = {
    (0, 1): {2: 0.5, 3: 0.5},
    (1, 1): {1: 0.5, 2: 0.5},
    (1, 2): {1: 0.4},
    (1, 3): {1: 0.25},
    (2, 3): {1: 0.25},
}
"""Chords counted in addition for each that a line sees as so many pixels, for kinds of steps."""

_REACH = 6
"""The farthest that two pixels lie apart along a row or column whose likeness is asked for."""


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

    A line enters a particle as often as it leaves it, which is how often a pixel of the particle
    is followed by one that is not. Lines that step from pixel to pixel pass over the tips of
    corners: half a chord for each chord of k pixels, for any k, at a corner with straight sides.
    So some chords of few pixels count for more than one; how much, is a compromise of all shapes
    below. None is added where the mean chord π·area/perimeter of the particle is shorter than k + 1
    steps, as such chords then are no tips, and all from twice that on.

    From an equivalent radius of 10 px on: discs, and ellipses of aspect ratios up to 4, within 2 %
    (a few in a thousand 2.5 %). Rotated squares are 0.7 % short on average and within 2 % for nine
    of ten at sides of 18 to 20 px, for 96 of 100 at 20 to 30 px and for all from 30 px on; the
    worst are off by 5 %, as where a square falls on the pixels moves its sides by up to half a
    pixel.
    """
    weights = length_weights_per_um(calibration)
    lengths = np.hypot(*(np.array(STEPS) * [calibration.y_um, calibration.x_um]).T)
    left = _left_behind(runs)
    plain = np.asarray(sum(w * left[step, 1] for step, w in zip(STEPS, weights, strict=True)))
    mean_chord = np.pi * runs.areas / (2 * plain)
    tips = np.zeros(runs.n)
    for step, weight, length in zip(STEPS, weights, lengths, strict=True):
        for k, extra in EXTRA_CHORDS[_kind(step)].items():
            of_k_pixels = 2 * left[step, k] - left[step, k - 1] - left[step, k + 1]
            share = np.clip(mean_chord / ((k + 1) * length) - 1, 0, 1)
            tips += weight * extra * share * of_k_pixels
    return 2 * calibration.pixel_area_um2 * (plain + tips)


def _kind(step: tuple[int, int]) -> tuple[int, int]:
    down, across = sorted((step[0], abs(step[1])))
    return down, across


def _left_behind(runs: Runs) -> dict[tuple[tuple[int, int], int], NDArray[np.float64]]:
    """How many pixels of each particle have none of its pixels some number of steps further."""
    wanted = [(step, k) for step in STEPS for k in range(1, max(EXTRA_CHORDS[_kind(step)]) + 2)]
    found = {(step, 0): np.zeros(runs.n) for step in STEPS}
    for down in range(_REACH + 1):
        of, start, stop = _pairs(runs, down)
        lengths, owner = runs.lengths[of], runs.owner[of]
        for step, k in wanted:
            if k * step[0] == down:
                shift = k * step[1]
                shared = np.minimum(lengths, stop - shift) - np.maximum(0, start - shift)
                followed = np.bincount(owner, np.maximum(shared, 0), minlength=runs.n)
                found[step, k] = np.asarray(runs.areas - followed, float)
    return found


def _pairs(runs: Runs, down: int) -> tuple[NDArray[np.int64], ...]:
    """Stretches and what of their particle lies some rows further, within reach.

    Index of the stretch, and start and end of the further one counted from the stretch's start.
    """
    # All stretches on one line, so far apart that no step leads into another particle.
    row_length = int(runs.right.max(initial=0)) + 2 * _REACH
    n_rows = int(runs.rows.max(initial=0)) + 2 * _REACH
    begin = (runs.owner * n_rows + runs.rows) * row_length + runs.left
    end = begin + runs.lengths
    shift = down * row_length
    first = np.searchsorted(end, begin + (shift - _REACH), "right")
    number = np.searchsorted(begin, end + (shift + _REACH), "left") - first
    of = np.repeat(np.arange(len(begin)), number)
    further = np.arange(len(of)) + np.repeat(first - (np.cumsum(number) - number), number)
    origin = begin[of] + shift
    return of, begin[further] - origin, end[further] - origin
