"""Particles whose numbers are given, such as those corrected by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .runs import renumber, row_blocks, runs_of

Ids = NDArray[np.int32]


def given_particles(
    ids: Ids,
    indices: NDArray[np.uint8],
    classes: Sequence[int],
    known: NDArray[np.bool_],
    smallest_area_px: int,
) -> tuple[Ids, NDArray[np.int64]]:
    """Particles as they are numbered, in the form of `particles.number_particles`.

    What lies outside the field, in another class than the particle's first pixel or in a class
    that is not measured does not count. Where that leaves several 8-connected pieces, each is a
    particle.

    Parameters
    ----------
    ids
        Shape (Y, X): any numbers from 1 on, 0 elsewhere.
    indices
        Shape (Y, X): class indices.
    classes
        Those measured as particles.
    known
        Shape (Y, X): True inside the field and labelled.

    Returns
    -------
    ids
        Shape (Y, X): 1 to n in the order of their first pixels, 0 elsewhere.
    owners
        Shape (n,): the class index of each particle.
    """
    counted = np.isin(np.arange(256), list(classes))
    found = np.zeros(ids.shape, np.int32)
    for rows in row_blocks(ids.shape):
        np.copyto(found[rows], ids[rows], where=known[rows] & counted[indices[rows]])
    # What follows looks at the particles' pixels alone.
    places = np.flatnonzero(found)
    numbers, phases = found.ravel()[places], indices.ravel()[places]
    owner = indices.ravel()[_first_of(numbers, places)]
    strange = phases != owner[numbers]
    if strange.any():
        found.ravel()[places[strange]] = 0
        places = places[~strange]
    owner = owner[_separated(found, len(owner))]
    numbers = found.ravel()[places]
    first, areas = _first_of(numbers, places), np.bincount(numbers, minlength=1)
    kept = np.flatnonzero(areas >= smallest_area_px)
    kept = kept[(kept > 0) & (areas[kept] > 0)]
    kept = kept[np.argsort(first[kept])]
    table = np.zeros(int(found.max(initial=0)) + 1, np.int32)
    table[kept] = np.arange(1, len(kept) + 1)
    renumber(found, table)
    return found, owner[kept].astype(np.int64)


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


def _separated(ids: Ids, highest: int) -> NDArray[np.int64]:
    """Give pieces of a particle but one new numbers from `highest` on, in place.

    Returns
    -------
    Shape (new highest,): the number that each had before; that of the others is their own.
    """
    runs = runs_of(ids)
    pieces = runs.pieces()
    _, first = np.unique(pieces, return_index=True)
    # A piece is a new one unless it is the first of its owner.
    _, leading = np.unique(runs.owner[first], return_index=True)
    later = np.setdiff1d(np.arange(len(first)), leading)
    numbers = np.zeros(len(first), np.int32)
    numbers[later] = highest + np.arange(len(later))
    for run in np.flatnonzero(numbers[pieces]):
        ids[runs.rows[run], runs.left[run] : runs.right[run]] = numbers[pieces[run]]
    return np.concatenate([np.arange(highest), runs.owner[first[later]] + 1])


def _first_of(numbers: Ids, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first place of each number from 0 on, where places ascend; 0 where there is none."""
    first = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    # Backwards, so that the first is written last.
    first[numbers[::-1]] = places[::-1]
    return first
