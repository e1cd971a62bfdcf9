"""How often straight lines cross the boundaries of phases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv

from ..calibration import Calibration
from ..classes import UNLABELLED
from .crofton import STEPS, length_weights_per_um
from .runs import stretches

_HORIZONTAL, _VERTICAL = STEPS.index((0, 1)), STEPS.index((1, 0))
_CHANCE = 1e-3
"""Probability with which chance alone would make as many crossings of few expected."""

Planes = tuple[NDArray[Any], NDArray[Any]]


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

    @classmethod
    def none(cls, n_classes: int) -> Crossings:
        """Of no step."""
        shapes = (len(STEPS),), (len(STEPS), n_classes), (2, n_classes)
        return cls(*(np.zeros(shape, np.int64) for shape in shapes))

    def __add__(self, other: Crossings) -> Crossings:
        """Those of both."""
        return Crossings(
            self.steps + other.steps, self.crossed + other.crossed, self.within + other.within
        )

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
    indices: NDArray[np.uint8],
    n_classes: int,
    ids: NDArray[np.int32] | None = None,
    n_rows: int | None = None,
) -> Crossings:
    """Count crossings of the boundaries of each class.

    Parameters
    ----------
    indices
        Shape (Y, X): class indices, 255 = unlabelled or outside the field.
    ids
        Shape (Y, X): particles, where boundaries between those of one class count too.
    n_rows
        Count steps from this many rows only, to those that follow too; all when not given.
    """
    steps = np.zeros(len(STEPS), np.int64)
    crossed = np.zeros((len(STEPS), UNLABELLED + 1), np.int64)
    within = np.zeros((2, UNLABELLED + 1), np.int64)
    n_rows = len(indices) if n_rows is None else n_rows
    known = indices != UNLABELLED
    all_known = bool(known.all())
    for direction, step in enumerate(STEPS):
        here, there = _pair(indices, n_rows, step)
        apart = here != there
        if all_known:
            steps[direction] = here.size
        else:
            both = np.logical_and(*_pair(known, n_rows, step))
            steps[direction] = np.count_nonzero(both)
            apart &= both
        crossed[direction] = _counts(here[apart]) + _counts(there[apart])
    if ids is not None:
        for number, direction in enumerate((_HORIZONTAL, _VERTICAL)):
            within[number] = _touching_pairs(indices, ids, n_rows, STEPS[direction])
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

    @classmethod
    def none(cls, n_classes: int) -> Seams:
        """Where there is none."""
        return cls(np.zeros(2, np.int64), np.zeros((2, n_classes), np.int64))

    def __add__(self, other: Seams) -> Seams:
        """Those of both."""
        return Seams(self.steps + other.steps, self.parting + other.parting)

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


@dataclass(frozen=True)
class Open:
    """Stretches without labels that a strip of rows ends in, one a column.

    Attributes
    ----------
    lengths
        Shape (X,): rows of the stretch so far; 0 where there is none.
    above
        Shape (X,): class index of the last pixel before it, 255 = outside the field.
    """

    lengths: NDArray[np.int64]
    above: NDArray[np.uint8]

    @classmethod
    def at_the_top(cls, width: int) -> Open:
        """What an image begins with."""
        return cls(np.zeros(width, np.int64), np.full(width, UNLABELLED, np.uint8))


def find_seams(
    indices: NDArray[np.uint8], field: NDArray[np.bool_], n_classes: int, begun: Open
) -> tuple[Seams, Open]:
    """Find the seams that end in some rows of a field, and what of seams goes on below them.

    Parameters
    ----------
    indices
        Shape (Y, X): class indices, 255 = unlabelled or outside the field.
    field
        Shape (Y, X): True inside the field; stretches that reach out of it are no seams.
    begun
        What the rows above ended in.
    """
    blank = field & (indices == UNLABELLED)
    lines = np.flatnonzero(blank.any(axis=1))
    rows, left, right = stretches(blank[lines])
    rows = lines[rows]
    inner = (left > 0) & (right < blank.shape[1])
    rows, left, right = rows[inner], left[inner], right[inner]
    along = _parted(indices[rows, left - 1], indices[rows, right], right - left + 1)
    down, going_on = _seams_down(indices, blank, begun)
    steps, parting = zip(along, down, strict=True)
    found = Seams(np.array(steps, np.int64), np.array(parting, np.int64)[:, :n_classes])
    return found, going_on


def _seams_down(
    indices: NDArray[np.uint8], blank: NDArray[np.bool_], begun: Open
) -> tuple[tuple[int, NDArray[np.int64]], Open]:
    """Seams along columns that end in some rows, and what goes on below them."""
    # What was begun is a row more, above the others.
    here = np.concatenate([begun.above[None], indices])
    empty = np.concatenate([begun.lengths[None] > 0, blank])
    lines = np.flatnonzero(empty.any(axis=0))
    columns, top, bottom = stretches(empty[:, lines].T)
    columns = lines[columns]
    lengths = bottom - top + np.where(top == 0, begun.lengths[columns] - 1, 0)
    above = here[np.maximum(top - 1, 0), columns]
    ended = bottom < len(here)
    lasting, following = columns[~ended], here[bottom[ended], columns[ended]]
    going_on = Open(np.zeros_like(begun.lengths), indices[-1].copy())
    going_on.lengths[lasting], going_on.above[lasting] = lengths[~ended], above[~ended]
    return _parted(above[ended], following, lengths[ended] + 1), going_on


def _parted(
    here: NDArray[np.uint8], there: NDArray[np.uint8], steps: NDArray[np.int64]
) -> tuple[int, NDArray[np.int64]]:
    """Steps over seams between pixels, and how many have each class at one end only."""
    labelled = (here != UNLABELLED) & (there != UNLABELLED)
    parting = labelled & (here != there)
    return int(steps[labelled].sum()), _counts(here[parting]) + _counts(there[parting])


def _touching_pairs(
    indices: NDArray[np.uint8], ids: NDArray[np.int32], n_rows: int, step: tuple[int, int]
) -> NDArray[np.int64]:
    here, there = _pair(indices, n_rows, step)
    number, next_number = _pair(ids, n_rows, step)
    touching = (here == there) & (here != UNLABELLED) & (number != next_number)
    return _counts(here[touching & (number > 0) & (next_number > 0)])


def _pair(array: NDArray[Any], n_rows: int, step: tuple[int, int]) -> Planes:
    """Values of the first rows, and those one step further, where both are there."""
    down, across = step
    stop = max(0, min(n_rows, len(array) - down))
    first, last = max(0, -across), array.shape[1] - max(0, across)
    here = array[:stop, first : max(first, last)]
    there = array[down : stop + down, first + across : max(first, last) + across]
    return here, there


def _counts(values: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.bincount(values, minlength=UNLABELLED + 1)


def ratio(values: NDArray[np.number], totals: ArrayLike) -> NDArray[np.float64]:
    """Values over totals, broadcast against each other; NaN where a total is zero."""
    totals = np.asarray(totals)
    shape = np.broadcast(values, totals).shape
    quotient = np.divide(values, totals, out=np.full(shape, np.nan), where=totals != 0)
    return np.asarray(quotient, float)
