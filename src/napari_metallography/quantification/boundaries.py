"""How often straight lines cross the boundaries of phases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv

from ..calibration import Calibration
from ..classes import UNLABELLED
from .crofton import STEPS, length_weights_per_um
from .runs import row_blocks

_HORIZONTAL, _VERTICAL = STEPS.index((0, 1)), STEPS.index((1, 0))
_CHANCE = 1e-3
"""Probability with which chance alone would make as many crossings of few expected."""

Planes = tuple[NDArray[np.integer], NDArray[np.integer]]


@dataclass(frozen=True)
class Crossings:
    """Steps from pixel to pixel along lines in several directions, and those over a boundary.

    Only steps between two labelled pixels of the field count, so that its edge is no boundary.

    Attributes
    ----------
    steps
        Shape (d,): number of steps in each direction of `crofton.STEPS`.
    crossed
        Shape (d, c): those of them with a class at one end only.
    within
        Shape (2, c): horizontal and vertical steps between two particles of one class.
    """

    steps: NDArray[np.int64]
    crossed: NDArray[np.int64]
    within: NDArray[np.int64]

    @property
    def n_intercepts(self) -> NDArray[np.float64]:
        """Shape (2, c): pieces of a class that horizontal and vertical lines of pixels cross."""
        return self.crossed[[_HORIZONTAL, _VERTICAL]] / 2

    def intercepts_per_um(self, calibration: Calibration) -> NDArray[np.float64]:
        """N_L, shape (2, c): pieces of a class per length of horizontal and of vertical line.

        Half the crossings per length, so that a piece cut by the edge of the field counts half.
        """
        return self._per_um(self.crossed[[_HORIZONTAL, _VERTICAL]], calibration) / 2

    def boundary_per_um(self, calibration: Calibration) -> NDArray[np.float64]:
        """Boundary length per area in 1/µm of each class, from lines in sixteen directions."""
        per_step = ratio(self.crossed, self.steps[:, None])
        return np.asarray(length_weights_per_um(calibration) @ per_step, float)

    def contiguity(self, calibration: Calibration) -> NDArray[np.float64]:
        """2·N_αα / (2·N_αα + N_αβ) of each class, from horizontal and vertical lines.

        N_αα counts boundaries between particles of the class, N_αβ those to other classes.

        Source: Gurland, Trans. AIME 212 (1958) 452-455.
        """
        own = 2 * self._per_um(self.within, calibration).sum(axis=0)
        other = 2 * self.intercepts_per_um(calibration).sum(axis=0)
        return ratio(own, own + other)

    def _per_um(self, counts: NDArray[np.int64], calibration: Calibration) -> NDArray[np.float64]:
        lengths = self.steps[[_HORIZONTAL, _VERTICAL]] * [calibration.x_um, calibration.y_um]
        return ratio(counts, lengths[:, None])


def count_crossings(
    indices: NDArray[np.uint8], n_classes: int, ids: NDArray[np.int32] | None = None
) -> Crossings:
    """Count crossings of the boundaries of each class.

    Parameters
    ----------
    indices
        Shape (Y, X): class indices, 255 = unlabelled or outside the field.
    ids
        Shape (Y, X): particles, where boundaries between those of one class count too.
    """
    steps = np.zeros(len(STEPS), np.int64)
    crossed = np.zeros((len(STEPS), UNLABELLED + 1), np.int64)
    within = np.zeros((2, UNLABELLED + 1), np.int64)
    for direction, step in enumerate(STEPS):
        for rows in row_blocks(indices.shape):
            here, there = _pair(indices, rows, step)
            known = (here != UNLABELLED) & (there != UNLABELLED)
            steps[direction] += np.count_nonzero(known)
            known &= here != there
            crossed[direction] += _counts(here[known]) + _counts(there[known])
    if ids is not None:
        for number, direction in enumerate((_HORIZONTAL, _VERTICAL)):
            within[number] = _touching_pairs(indices, ids, STEPS[direction])
    return Crossings(steps, crossed[:, :n_classes], within[:, :n_classes])


@dataclass(frozen=True)
class Seams:
    """Stretches without labels between labelled pixels, along horizontal and vertical lines.

    Attributes
    ----------
    steps
        Shape (2,): steps along horizontal and along vertical lines that lead over them.
    parting
        Shape (2, c): how many have a class at one end only, so that they hide its boundary.
    """

    steps: NDArray[np.int64]
    parting: NDArray[np.int64]

    def hidden(self, crossings: Crossings) -> NDArray[np.float64]:
        """Share of each class's crossings that seams hide beyond what chance would.

        Seams that lie anywhere hide as many crossings a length as lines have elsewhere, and what is
        counted beside them holds for all of the field. Seams along the boundaries hide more. Of a
        count k no more is taken than the least mean of which chance makes k once in a thousand
        times, so that a speck beside a small particle proves nothing.
        """
        seen = crossings.crossed[[_HORIZONTAL, _VERTICAL]]
        by_chance = ratio(
            seen * self.steps[:, None], crossings.steps[[_HORIZONTAL, _VERTICAL], None]
        )
        proven = np.where(self.parting > 0, gammaincinv(np.maximum(self.parting, 1), _CHANCE), 0)
        beyond = np.clip(proven - np.nan_to_num(by_chance), 0, None).sum(axis=0)
        total = (seen + self.parting).sum(axis=0)
        return np.nan_to_num(ratio(beyond, total))


def find_seams(indices: NDArray[np.uint8], field: NDArray[np.bool_], n_classes: int) -> Seams:
    """Find the seams of a field.

    Parameters
    ----------
    indices
        Shape (Y, X): class indices, 255 = unlabelled or outside the field.
    field
        Shape (Y, X): True inside the field; stretches that reach out of it are no seams.
    """
    along = [_seams_along(indices, field, rows) for rows in row_blocks(indices.shape)]
    down = [_seams_along(indices.T, field.T, rows) for rows in row_blocks(indices.T.shape)]
    steps, parting = zip(
        *(map(sum, zip(*found, strict=True)) for found in (along, down)), strict=True
    )
    return Seams(np.array(steps, np.int64), np.array(parting, np.int64)[:, :n_classes])


def _seams_along(
    indices: NDArray[np.uint8], field: NDArray[np.bool_], rows: slice
) -> tuple[int, NDArray[np.int64]]:
    """Steps over seams along some rows, and how many have each class at one end only."""
    block, inside = np.ascontiguousarray(indices[rows]), np.ascontiguousarray(field[rows])
    ends = np.flatnonzero((block != UNLABELLED) | ~inside)
    last, following = ends[:-1], ends[1:]
    apart = (following - last > 1) & (last // block.shape[1] == following // block.shape[1])
    last, following = last[apart], following[apart]
    here, there = block.ravel()[last], block.ravel()[following]
    labelled = (here != UNLABELLED) & (there != UNLABELLED)
    parting = labelled & (here != there)
    steps = int((following - last)[labelled].sum())
    return steps, _counts(here[parting]) + _counts(there[parting])


def _touching_pairs(
    indices: NDArray[np.uint8], ids: NDArray[np.int32], step: tuple[int, int]
) -> NDArray[np.int64]:
    pairs = np.zeros(UNLABELLED + 1, np.int64)
    for rows in row_blocks(indices.shape):
        here, there = _pair(indices, rows, step)
        number, next_number = _pair(ids, rows, step)
        touching = (here == there) & (here != UNLABELLED) & (number != next_number)
        pairs += _counts(here[touching & (number > 0) & (next_number > 0)])
    return pairs


def _pair(array: NDArray[np.integer], rows: slice, step: tuple[int, int]) -> Planes:
    """Values of some rows, and those one step further, where both are in the image."""
    down, across = step
    stop = min(rows.stop, array.shape[0] - down)
    first, last = max(0, -across), array.shape[1] - max(0, across)
    here = array[rows.start : stop, first : max(first, last)]
    there = array[rows.start + down : stop + down, first + across : max(first, last) + across]
    return here[: len(there)], there


def _counts(values: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.bincount(values, minlength=UNLABELLED + 1)


def ratio(values: NDArray[np.number], totals: ArrayLike) -> NDArray[np.float64]:
    """Values over totals, broadcast against each other; NaN where a total is zero."""
    totals = np.asarray(totals)
    shape = np.broadcast(values, totals).shape
    quotient = np.divide(values, totals, out=np.full(shape, np.nan), where=totals != 0)
    return np.asarray(quotient, float)
