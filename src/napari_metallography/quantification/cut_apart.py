"""Which of the particles measured are parts of touching ones that were cut apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..io.labels import LabelImage

_STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""To half of the eight neighbours; the other way round they are the other half."""


def particles_cut_apart(labels: LabelImage, ids: NDArray[np.int32]) -> int:
    """How many particles touch another part of their phase, from which they were cut therefore.

    Parameters
    ----------
    labels
        As measured.
    ids
        Shaped like the labels: numbers of the particles that count, 0 elsewhere. The other part
        need not count: it may be left out by the edge rule.
    """
    mask = labels.measured.mask()
    parts = np.zeros(int(ids.max(initial=0)) + 1, bool)
    for indices, numbers in zip(labels.planes, ids.reshape(labels.planes.shape), strict=True):
        for step in _STEPS:
            _mark_parts(parts, indices, numbers, mask, step)
    return int(np.count_nonzero(parts[1:]))


def _mark_parts(
    parts: NDArray[np.bool_],
    indices: NDArray[np.uint8],
    numbers: NDArray[np.int32],
    mask: NDArray[np.bool_],
    step: tuple[int, int],
) -> None:
    """Mark the particles that have a pixel beside another of their phase but not of their own."""
    one, other = _beside(indices.shape, step)
    cut = (numbers[one] != numbers[other]) & (indices[one] == indices[other])
    cut &= mask[one] & mask[other]
    parts[numbers[one][cut]] = True
    parts[numbers[other][cut]] = True


def _beside(
    shape: tuple[int, ...], step: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Two windows of an image, a pixel in the first being a step before that in the second."""
    rows, columns = shape
    down, right = step
    first = slice(0, rows - down), slice(max(0, -right), columns - max(0, right))
    second = slice(down, rows), slice(max(0, right), columns - max(0, -right))
    return first, second
