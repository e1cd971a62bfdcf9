"""Smallest enclosing circles of many point sets at once."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .outlines import Corners

_TOLERANCE = 1e-9
_PAIRS = np.array([(i, j, j) for i, j in combinations(range(4), 2)])
_TRIPLES = np.array(list(combinations(range(4), 3)))
_SUPPORTS = np.concatenate([_PAIRS, _TRIPLES])

Points = NDArray[np.float64]


def enclosing_radii(corners: Corners) -> NDArray[np.float64]:
    """Radius in µm of each particle's minimum enclosing circle, to a relative 1e-9.

    Every circle starts at a point and takes in, step by step, the point farthest outside it.

    Source: Elzinga and Hearn, Transportation Science 6 (1972) 379-394; here for all particles
    together, because a loop over 20 000 of them would take most of the time.
    """
    points, counts = corners.points, corners.counts
    radii = np.zeros(len(counts))
    active = np.arange(len(counts))
    support = np.repeat(points[_starts(counts)][:, None], 3, axis=1)
    centres, reached = support[:, 0], np.full(len(counts), -1.0)
    while active.size:
        farthest, distances = _farthest(points, centres, counts)
        radii[active] = distances
        support, grown_centres, grown = _circles(
            np.concatenate([support, farthest[:, None]], axis=1)
        )
        # Where rounding stops the circle from growing, it is as good as numbers can make it.
        growing = (distances > reached * (1 + _TOLERANCE)) & (grown > reached)
        points, counts = points[np.repeat(growing, counts)], counts[growing]
        active, support = active[growing], support[growing]
        centres, reached = grown_centres[growing], grown[growing]
    return radii


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts) - counts


def _farthest(
    points: Points, centres: Points, counts: NDArray[np.int64]
) -> tuple[Points, NDArray[np.float64]]:
    """Point of each set farthest from its centre, and its distance."""
    distances = np.hypot(*(points - np.repeat(centres, counts, axis=0)).T)
    largest = np.maximum.reduceat(distances, _starts(counts))
    hits = np.flatnonzero(distances == np.repeat(largest, counts))
    owners = np.repeat(np.arange(len(counts)), counts)[hits]
    _, first = np.unique(owners, return_index=True)
    return points[hits[first]], largest


def _circles(four: Points) -> tuple[Points, Points, NDArray[np.float64]]:
    """Smallest circles around four points each (m, 4, 2): supports, centres, radii.

    A circle rests on two or three of its points; a pair is written as (i, j, j).
    """
    midpoints = (four[:, _PAIRS[:, 0]] + four[:, _PAIRS[:, 1]]) / 2
    centres = np.concatenate([midpoints, _circumcentres(four[:, _TRIPLES])], axis=1)
    offsets = four[:, None] - centres[:, :, None]
    reach = np.hypot(offsets[..., 0], offsets[..., 1]).max(axis=2)
    best = np.argmin(reach, axis=1)
    each = np.arange(len(four))
    return four[each[:, None], _SUPPORTS[best]], centres[each, best], reach[each, best]


def _circumcentres(triples: Points) -> Points:
    """Centres (..., 2) of the circles through three points each; far away when on one line."""
    origin = triples[..., 0, :]
    b, c = triples[..., 1, :] - origin, triples[..., 2, :] - origin
    twice_area = b[..., 0] * c[..., 1] - b[..., 1] * c[..., 0]
    flat = twice_area == 0
    bb, cc = (b**2).sum(-1), (c**2).sum(-1)
    numerator = np.stack(
        [c[..., 1] * bb - b[..., 1] * cc, b[..., 0] * cc - c[..., 0] * bb], axis=-1
    )
    centres: Points = numerator / (2 * np.where(flat, 1, twice_area))[..., None] + origin
    centres[flat] = np.inf
    return centres
