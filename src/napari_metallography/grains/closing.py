"""Grains that fill a field, from how strongly each pixel shows a boundary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.segmentation import watershed

from ..events import Events, Progress, drain, meanwhile
from .partition import Partition, numbered

Strength = NDArray[np.float32]
Integers = NDArray[np.int64]

_SMOOTHING_PX = 1.0
_DOT_PX = 12
_NECK = 0.7
_REACH = np.ones((3, 3), np.uint8)
_AROUND = np.ones((5, 5), np.uint8)
_STAGES = 4


@dataclass(frozen=True)
class _Seams:
    """Where pixels of two regions touch: the pair of regions, and the strength there."""

    pairs: Integers
    strength: Strength
    regions: int


def closed(strength: Strength, threshold: float, shown: float, smallest_area_px: int) -> Partition:
    """The result of `closing`, at once."""
    return drain(closing(strength, threshold, shown, smallest_area_px))


def closing(
    strength: Strength, threshold: float, shown: float, smallest_area_px: int
) -> Events[Partition]:
    """Regions between the crests of `strength`, joined where too little of their seam shows.

    Regions grow from the places farthest from what is strong, so that two of them meet in a gap
    of a boundary, and along its crest elsewhere. A gap is a neck: regions that meet where it is
    about as wide as in the smaller of them are one from the start.

    Parameters
    ----------
    strength
        (Y, X), larger on boundaries.
    threshold
        From which strength on a boundary shows.
    shown
        Part of the seam between two grains that must show, 0 to 1.
    smallest_area_px
        Smaller regions go to the neighbour from which least parts them.

    Yields
    ------
    Progress
        Of the stages.

    Source: Beucher and Meyer (1993), watersheds of a distance from markers; Najman and Schmitt,
    IEEE PAMI 18 (1996) 1163, for the joining of regions by the strength of the seam between them.
    """
    strong = _without_dots(strength >= threshold)
    distance = cv2.distanceTransform((~strong).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    free = np.asarray(distance, np.float32)
    growing = partial(_regions, strength, strong, free)
    regions = yield from meanwhile(growing, Progress(0, _STAGES, "grains"))
    yield Progress(1, _STAGES, "grains")
    regions = _joined_without_neck(regions, free)
    yield Progress(2, _STAGES, "grains")
    # Seams run between pixels, up to one from the crest.
    near_strong = cv2.dilate(strong.astype(np.uint8), _REACH) > 0
    regions = _joined_where_weak(regions, near_strong, shown)
    yield Progress(3, _STAGES, "grains")
    crests = np.asarray(cv2.dilate(strength, _REACH), np.float32)
    found = numbered(_without_specks(regions, crests, smallest_area_px))
    yield Progress(_STAGES, _STAGES, "grains")
    return found


def _without_dots(strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(strong.astype(np.uint8))
    large = stats[:, cv2.CC_STAT_AREA] >= _DOT_PX
    large[0] = False
    return np.asarray(large[pieces])


def _regions(strength: Strength, strong: NDArray[np.bool_], free: Strength) -> Integers:
    """Around each place farthest from what is strong; 0 upwards."""
    smooth = cv2.GaussianBlur(free, (0, 0), _SMOOTHING_PX)
    peaks = (smooth == cv2.dilate(smooth, _AROUND)) & ~strong
    if not peaks.any():
        return np.zeros(strength.shape, np.int64)
    markers = cv2.connectedComponents(peaks.astype(np.uint8))[1]
    landscape = np.where(strong, strength, -smooth)
    return np.asarray(watershed(landscape, markers), np.int64) - 1  # type: ignore[no-untyped-call]


def _joined_without_neck(regions: Integers, free: Strength) -> Integers:
    while True:
        seams = _seams(regions, free)
        pairs, seam = np.unique(seams.pairs, return_inverse=True)
        widest = np.zeros(len(pairs), np.float32)
        np.maximum.at(widest, seam, seams.strength)
        inside = np.zeros(seams.regions, np.float32)
        np.maximum.at(inside, regions.ravel(), free.ravel())
        sides = np.stack(np.divmod(pairs, seams.regions))
        wide = pairs[widest >= _NECK * inside[sides].min(0)]
        if not len(wide):
            return regions
        regions = _joined(regions, wide, seams.regions)


def _joined_where_weak(regions: Integers, strong: NDArray[np.bool_], shown: float) -> Integers:
    while True:
        seams = _seams(regions, strong.astype(np.float32))
        pairs, seam = np.unique(seams.pairs, return_inverse=True)
        share = np.bincount(seam, seams.strength) / np.bincount(seam)
        weak = pairs[share < shown]
        if not len(weak):
            return regions
        regions = _joined(regions, weak, seams.regions)


def _without_specks(regions: Integers, crests: Strength, smallest: int) -> Integers:
    """Regions that are too small, each joined to the neighbour behind its weakest seam."""
    while True:
        small = np.bincount(regions.ravel()) < smallest
        seams = _seams(regions, crests)
        pairs, seam = np.unique(seams.pairs, return_inverse=True)
        if not small.any() or not len(pairs):
            return regions
        mean = np.bincount(seam, seams.strength) / np.bincount(seam)
        sides = np.column_stack(np.divmod(pairs, seams.regions))
        weakest: dict[int, tuple[float, int]] = {}
        for side in (0, 1):
            for index in np.flatnonzero(small[sides[:, side]]):
                own = int(sides[index, side])
                weakest[own] = min(
                    weakest.get(own, (np.inf, 0)), (float(mean[index]), int(pairs[index]))
                )
        joined = np.array([pair for _, pair in weakest.values()], np.int64)
        regions = _joined(regions, joined, seams.regions)


def _seams(regions: Integers, strength: Strength) -> _Seams:
    count = int(regions.max()) + 1
    pairs: list[Integers] = []
    found: list[Strength] = []
    for one, other in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        apart = regions[one] != regions[other]
        first, second = regions[one][apart], regions[other][apart]
        pairs.append(np.minimum(first, second) * count + np.maximum(first, second))
        found.append(np.maximum(strength[one][apart], strength[other][apart]))
    return _Seams(np.concatenate(pairs), np.concatenate(found), count)


def _joined(regions: Integers, pairs: Integers, count: int) -> Integers:
    graph = coo_matrix((np.ones(len(pairs), bool), np.divmod(pairs, count)), shape=(count, count))
    renumbered = connected_components(graph, directed=False)[1]
    return np.asarray(renumbered[regions], np.int64)
