"""Particles whose numbers are given, such as those corrected by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .runs import renumber

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
    that is not measured does not count.

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
    inside = known & np.isin(indices, list(classes))
    found = np.where(inside, ids, 0).astype(np.int32)
    owner = indices.ravel()[_first_pixels(found)]
    found[found > 0] *= (indices == owner[found])[found > 0]
    first, areas = _first_pixels(found), np.bincount(found.ravel())
    numbers = np.flatnonzero(areas >= smallest_area_px)
    kept = numbers[numbers > 0]
    kept = kept[np.argsort(first[kept])]
    table = np.zeros(len(areas), np.int32)
    table[kept] = np.arange(1, len(kept) + 1)
    renumber(found, table)
    return found, owner[kept].astype(np.int64)


def numbers_of(ids: Ids, given: Ids) -> Ids:
    """Shape (n,): which given number each particle 1 to n of `ids` has; both of one shape."""
    numbers = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
    inside = ids > 0
    numbers[ids[inside]] = given[inside]
    return numbers[1:]


def _first_pixels(ids: Ids) -> NDArray[np.int64]:
    """Flat index of the first pixel of each number from 0 on; 0 where there is none."""
    flat = ids.ravel()
    places = np.flatnonzero(flat)
    first = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    # Backwards, so that the first pixel is written last.
    first[flat[places[::-1]]] = places[::-1]
    return first
