"""Particles whose numbers are given, such as those corrected by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..classes import UNLABELLED
from ..plane import ArrayLike
from .runs import Runs, joined, stretches
from .strips import LabelledPlane

Ids = NDArray[np.int32]


def given_particles(
    ids: ArrayLike, plane: LabelledPlane, classes: Sequence[int], smallest_area_px: int
) -> tuple[Runs, NDArray[np.int64]]:
    """Particles as they are numbered, in the form of `particles.find_particles`.

    What lies outside the field, in another class than the particle's first pixel or in a class
    that is not measured does not count. Where that leaves several 8-connected pieces, each is a
    particle.

    Parameters
    ----------
    ids
        Shape (Y, X): any numbers from 1 on, 0 elsewhere.
    classes
        Those measured as particles.

    Returns
    -------
    The particles in the order of their first pixels, and shape (n,): the class index of each.
    """
    rows, left, right, numbers, phases = joined(_numbered(ids, plane, classes))
    _, first, owner = np.unique(numbers, return_index=True, return_inverse=True)
    phase = phases[first]
    alike = phases == phase[owner]
    rows, left, right, owner = (part[alike] for part in (rows, left, right, owner))
    pieces, whose = Runs.grouped(rows, left, right, owner).parted()
    found, order = pieces.in_reading_order(pieces.areas >= smallest_area_px)
    return found, phase[whose[order]]


def _numbered(
    ids: ArrayLike, plane: LabelledPlane, classes: Sequence[int]
) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Stretches of one number and class: rows, left, right, number and class index of each."""
    counted = np.isin(np.arange(UNLABELLED + 1), list(classes))
    for strip in plane.strips():
        given = np.asarray(ids[strip.rows])
        numbers = np.where(counted[strip.coded] & (given > 0), given, 0)
        rows, left, right = stretches(numbers, strip.coded)
        values = (array[rows, left].astype(np.int64) for array in (numbers, strip.coded))
        yield (rows + strip.rows.start, left, right, *values)


def numbers_of(ids: Ids, given: Ids) -> Ids:
    """Shape (n,): which given number each particle 1 to n of `ids` has; both of one shape.

    Of several pieces of a given particle the first keeps its number; the others get those that
    follow the highest.
    """
    numbers = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
    inside = ids > 0
    numbers[ids[inside]] = given[inside]
    _, first = np.unique(numbers[1:], return_index=True)
    later = np.setdiff1d(np.arange(1, len(numbers)), first + 1)
    numbers[later] = int(given.max(initial=0)) + np.arange(1, len(later) + 1)
    return numbers[1:]
