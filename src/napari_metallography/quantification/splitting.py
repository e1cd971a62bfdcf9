"""Touching particles cut apart where they are narrow or where their grey value falls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from ..calibration import Calibration
from ..plane import ArrayLike
from .runs import Box, Runs, joined, stretches

GRID_TOLERANCE_PX = 0.75
"""A neck must be narrower than this beside what it joins: less is the roughness of pixels."""

_SMOOTHING_PX = 1.0
_DEPTHS = 1 - 0.95 ** np.arange(1, 90)
_EVERY_NEIGHBOUR = np.ones((3, 3), bool)

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Landscape = Callable[[Mask, Box], Floats]
"""Heights of a particle: from its mask with a margin of one pixel, and its place in the image."""


def split_by_distance(runs: Runs, depth: float, calibration: Calibration) -> Runs:
    """Cut particles at their necks; new ones get the numbers that follow.

    Two parts are cut apart where the neck between them is narrower, by the share `depth`, than the
    largest circle in the smaller part, and by `GRID_TOLERANCE_PX` too. One particle after the
    other is drawn in its bounding box, which so takes memory.

    Parameters
    ----------
    depth
        Between 0 and 1.

    Source: Vincent and Soille, IEEE PAMI 13 (1991) 583-598 (watershed); Soille, Morphological
    Image Analysis (2003), 6.3 (maxima of a depth).
    """
    pixel = np.array([calibration.y_um, calibration.x_um]) / calibration.mean_um
    return _split(runs, partial(_inscribed, pixel_px=pixel), depth, GRID_TOLERANCE_PX)


def split_by_intensity(
    runs: Runs, grey: ArrayLike, own: float, background: float, depth: float
) -> Runs:
    """Cut particles along lines where their contrast falls; new ones get the following numbers.

    Two parts are cut apart where the contrast to the background on the way from one to the other
    falls, by the share `depth`, below the highest of the part with less. Grey values are smoothed
    by a Gaussian of one pixel first.

    Parameters
    ----------
    grey
        Shape (Y, X): grey values; particles may be brighter or darker than the background. They
        are read around one particle after the other.
    own, background
        Mean grey value of the particles' class, and of all that is labelled otherwise.
    """
    return _split(runs, _Contrast(grey, background, -1.0 if own < background else 1.0), depth, 0.0)


def _split(runs: Runs, landscape: Landscape, depth: float, tolerance: float) -> Runs:
    whole, n, parted = np.ones(runs.n, bool), runs.n, []
    for number, (box, mask) in enumerate(runs.masks()):
        parts = _parts(landscape(mask, box), mask, depth, tolerance)[1:-1, 1:-1]
        more = int(parts.max(initial=1)) - 1
        if more < 1:
            continue
        whole[number] = False
        rows, left, right = stretches(parts)
        owners = np.array([number, *range(n, n + more)])[parts[rows, left] - 1]
        parted.append((rows + box[0].start, left + box[1].start, right + box[1].start, owners))
        n += more
    kept = whole[runs.owner]
    table = tuple(part[kept] for part in (runs.rows, runs.left, runs.right, runs.owner))
    return Runs.grouped(*joined([table, *parted]))


def halves(mask: Mask, pixel_aspect: float = 1.0) -> NDArray[np.int32]:
    """Cut a particle in two at its narrowest neck, by the watershed of `split_by_distance`.

    Parameters
    ----------
    mask
        Shape (Y, X): the particle.
    pixel_aspect
        Height of a pixel over its width.

    Returns
    -------
    Shape (Y, X): 1 and 2 in the parts, 0 elsewhere; only 1 where there is no neck.
    """
    wide = np.pad(mask, 1)
    root = np.sqrt(pixel_aspect)
    heights = _inscribed(wide, (slice(None), slice(None)), np.array([root, 1 / root]))
    n, peaks = _standing(heights, wide, float(_DEPTHS[0]), GRID_TOLERANCE_PX)
    if n < 2:
        return np.asarray(mask, np.int32)
    # The greater the depth, the fewer peaks: the greatest that leaves two is found by halving.
    parted, merged = 0, len(_DEPTHS)
    while merged - parted > 1:
        middle = (parted + merged) // 2
        found = _standing(heights, wide, float(_DEPTHS[middle]), GRID_TOLERANCE_PX)
        if found[0] < 2:
            merged = middle
        else:
            parted, (n, peaks) = middle, found
    tallest = ndimage.maximum(heights, peaks, np.arange(1, n + 1))
    first, second = sorted(np.argsort(-tallest, kind="stable")[:2] + 1)
    markers = np.where(peaks == first, 1, np.where(peaks == second, 2, 0))
    return _flooded(heights, markers, wide)[1:-1, 1:-1]


def _parts(heights: Floats, mask: Mask, depth: float, tolerance: float) -> NDArray[np.int32]:
    """Parts of a particle from 1 on; none but zeros where it is one."""
    nothing = np.zeros(mask.shape, np.int32)
    if _peaks(heights, mask)[0] < 2:
        return nothing
    n, peaks = _standing(heights, mask, depth, tolerance)
    return nothing if n < 2 else _flooded(heights, peaks, mask)


def _standing(
    heights: Floats, mask: Mask, depth: float, tolerance: float
) -> tuple[int, NDArray[np.int32]]:
    """Peaks that stand out from the necks between them by a share and by a tolerance."""
    lowered = np.clip(np.minimum(heights * (1 - depth), heights - tolerance), 0, None)
    raised = reconstruction(lowered, heights)  # type: ignore[no-untyped-call]
    return _peaks(raised, mask)


def _flooded(heights: Floats, peaks: NDArray[np.integer], mask: Mask) -> NDArray[np.int32]:
    parts = watershed(  # type: ignore[no-untyped-call]
        -heights, peaks, _EVERY_NEIGHBOUR, mask=mask
    )
    return np.asarray(parts, np.int32)


def _peaks(heights: Floats, mask: Mask) -> tuple[int, NDArray[np.int32]]:
    maxima = local_maxima(heights)  # type: ignore[no-untyped-call]
    highest = (maxima & mask).astype(np.uint8)
    n, peaks = cv2.connectedComponents(highest, connectivity=8, ltype=cv2.CV_32S)
    return n - 1, peaks


def _inscribed(mask: Mask, box: Box, pixel_px: Floats) -> Floats:
    """Radius in mean pixels of the circle around each pixel that lies in the particle."""
    radii: Floats = ndimage.distance_transform_edt(mask, sampling=pixel_px)
    return radii


@dataclass(frozen=True)
class _Contrast:
    """Smoothed contrast to the background, 0 outside the particle."""

    grey: ArrayLike
    level: float
    sign: float

    def __call__(self, mask: Mask, box: Box) -> Floats:
        margin = int(4 * _SMOOTHING_PX) + 1
        around = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
        values = np.asarray(self.grey[around]).astype(float)
        finite = np.where(np.isfinite(values), values, self.level)
        smooth = ndimage.gaussian_filter(finite, _SMOOTHING_PX)
        inner = tuple(
            slice(side.start - wide.start, side.stop - wide.start)
            for side, wide in zip(box, around, strict=True)
        )
        contrast = np.clip(self.sign * (np.pad(smooth[inner], 1) - self.level), 0, None)
        return np.where(mask, contrast, 0.0)
