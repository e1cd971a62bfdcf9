"""Which of the particles measured are parts of touching ones that were cut apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

CUT_APART = "particles_cut_apart"
"""Key of an image's provenance: how many of its particles are parts of others, where any is."""

_STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""To half of the eight neighbours; the other way round they are the other half."""


def parts_of_others(
    indices: NDArray[np.uint8], ids: NDArray[np.int32], n_particles: int
) -> NDArray[np.bool_]:
    """Whether each particle touches another part of its phase, from which it was cut therefore.

    Parameters
    ----------
    indices
        Shape (Y, X): class indices, 255 = unlabelled or outside the field.
    ids
        Shape (Y, X): numbers of particles, 0 elsewhere. The other part need have none: it may be
        too small to count.
    """
    parts = np.zeros(n_particles + 1, bool)
    for step in _STEPS:
        one, other = _beside(indices.shape, step)
        cut = (ids[one] != ids[other]) & (indices[one] == indices[other])
        parts[ids[one][cut]] = True
        parts[ids[other][cut]] = True
    return parts[1:]


def cut_apart_note(provenance: Iterable[Mapping[str, Any]], n_particles: int) -> str:
    """A sentence on how many particles are parts of others, where all images tell; else empty."""
    told = [one.get(CUT_APART) for one in provenance]
    known = [n for n in told if n is not None]
    if not told or len(known) < len(told):
        return ""
    return (
        f"{sum(known):,} of {n_particles:,} particles are parts of touching ones that were cut "
        "apart"
    )


def _beside(
    shape: tuple[int, ...], step: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Two windows of an image, a pixel in the first being a step before that in the second."""
    rows, columns = shape
    down, right = step
    first = slice(0, rows - down), slice(max(0, -right), columns - max(0, right))
    second = slice(down, rows), slice(max(0, right), columns - max(0, -right))
    return first, second
