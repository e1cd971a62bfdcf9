"""What of a plane is counted pixel by pixel: in strips of rows, whatever their height."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..classes import UNLABELLED
from ..plane import ArrayLike
from .boundaries import Crossings, Open, Seams, count_crossings, find_seams
from .crofton import STEPS
from .cut_apart import parts_of_others
from .edges import border_of, touching
from .runs import Runs, joined, stretches
from .strips import LabelledPlane, Strip

_FURTHEST = max(down for down, _ in STEPS)

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class PixelCounts:
    """Counts of a plane.

    Attributes
    ----------
    pixels
        Shape (c,): of each class inside the field.
    known
        The labelled pixels of the field, as of one particle.
    crossings
        `within` is 0 unless particles are told apart.
    seams
        Between labelled pixels.
    touches_border, cut_apart
        Shape (n,): whether the edge of the known pixels cuts a particle, and whether it touches
        another part of its phase, where particles are told apart.
    grey_sums
        Shape (n,): sum of the grey values of each particle; None without any.
    """

    pixels: NDArray[np.int64]
    known: Runs
    crossings: Crossings
    seams: Seams
    touches_border: NDArray[np.bool_]
    cut_apart: NDArray[np.bool_]
    grey_sums: NDArray[np.float64] | None


def count_pixels(
    plane: LabelledPlane,
    particles: Runs,
    intensity: ArrayLike | None = None,
    *,
    told_apart: bool = False,
) -> PixelCounts:
    """Count, in one reading of the plane.

    Parameters
    ----------
    particles
        Found in the plane.
    intensity
        Shape (Y, X): grey values. Their sums do not depend on the strips: each stretch has its own.
    told_apart
        Whether particles of one class may touch.
    """
    tally = _Tally(plane, particles, told_apart)
    greys = None if intensity is None else np.zeros(len(particles.rows))
    for strip in plane.strips(above=1, below=_FURTHEST):
        tally.add(strip)
        if intensity is not None and greys is not None:
            chosen = particles.within(strip.rows)
            greys[chosen] = grey_sums(intensity, particles, strip.rows, plane.shape[1])
    return tally.counts(None if greys is None else particles.total(greys))


def grey_sums(
    intensity: ArrayLike, particles: Runs, rows: slice, width: int
) -> NDArray[np.float64]:
    """Sum of the grey values of each stretch in some rows, which depends on these no further.

    Parameters
    ----------
    intensity
        Shape (Y, X): grey values.
    width
        X.

    Returns
    -------
    Shape (r,): in the order of `particles.within(rows)`.
    """
    lengths = particles.lengths[particles.within(rows)]
    if not len(lengths):
        return np.zeros(0)
    inside = particles.painted(np.ones(particles.n, bool), rows, width)
    values = np.asarray(intensity[rows])[inside].astype(float)
    return np.asarray(np.add.reduceat(values, np.cumsum(lengths) - lengths), float)


class _Tally:
    """Counts of the strips so far."""

    def __init__(self, plane: LabelledPlane, particles: Runs, told_apart: bool) -> None:
        self._plane, self._particles, self._told_apart = plane, particles, told_apart
        self._numbers = np.arange(1, particles.n + 1, dtype=np.int32)
        self._pixels = np.zeros(UNLABELLED + 1, np.int64)
        self._known: list[tuple[NDArray[np.int64], ...]] = []
        self._touches_border = np.zeros(particles.n, bool)
        self._cut_apart = np.zeros(particles.n, bool)
        self._crossings = Crossings.none(plane.n_classes)
        self._seams = Seams.none(plane.n_classes)
        self._begun = Open.at_the_top(plane.shape[1])

    def add(self, strip: Strip) -> None:
        """Count the next strip."""
        coded = strip.coded[strip.own()]
        ids = self._particles.painted(self._numbers, strip.window, self._plane.shape[1])
        border = border_of(strip.coded != UNLABELLED)[strip.own()]
        self._pixels += _pixels(coded)
        self._known.append(_known(coded, strip.rows.start))
        self._touches_border |= touching(ids[strip.own()], self._particles.n, border)
        self._add_boundaries(strip, ids)
        inside = self._plane.inside(strip.rows)
        seams, self._begun = find_seams(coded, inside, self._plane.n_classes, self._begun)
        self._seams += seams

    def counts(self, grey_sums: NDArray[np.float64] | None) -> PixelCounts:
        """Those of all strips."""
        return PixelCounts(
            self._pixels[: self._plane.n_classes],
            Runs.grouped(*joined(self._known)),
            self._crossings,
            self._seams,
            self._touches_border,
            self._cut_apart,
            grey_sums,
        )

    def _add_boundaries(self, strip: Strip, ids: Ids) -> None:
        rows, n_rows = strip.own(_FURTHEST), strip.rows.stop - strip.rows.start
        shown = ids[rows] if self._told_apart else None
        self._crossings += count_crossings(strip.coded[rows], self._plane.n_classes, shown, n_rows)
        if self._told_apart:
            rows = strip.own(1)
            self._cut_apart |= parts_of_others(strip.coded[rows], ids[rows], self._particles.n)


def _pixels(coded: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Shape (256,): pixels of each class index."""
    counts = cv2.calcHist([coded], [0], None, [UNLABELLED + 1], [0, UNLABELLED + 1])
    return counts.ravel().astype(np.int64)


def _known(coded: NDArray[np.uint8], top: int) -> tuple[NDArray[np.int64], ...]:
    rows, left, right = stretches(coded != UNLABELLED)
    return rows + top, left, right, np.zeros_like(rows)
