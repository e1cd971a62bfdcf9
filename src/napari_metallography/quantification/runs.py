"""Particles as stretches along rows, from which everything about them is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_PIXELS_AT_A_TIME = 1 << 21


@dataclass(frozen=True)
class Runs:
    """Stretches of pixels of one particle in a row, particle after particle, as one reads.

    Attributes
    ----------
    rows, left, right
        Shape (r,): row, first column and column after the last.
    owner
        Shape (r,): particle of each stretch counted from 0, ascending.
    n
        Number of particles; each has a stretch at least.
    """

    rows: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    owner: NDArray[np.int64]
    n: int

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Pixels of each stretch."""
        return self.right - self.left

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Index of each particle's first stretch."""
        return np.searchsorted(self.owner, np.arange(self.n))

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each particle."""
        return self.total(self.lengths).astype(np.int64)

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """Shape (n, 4): top, left, bottom, right of each particle, ends excluded."""
        if not self.n:
            return np.empty((0, 4), np.int64)
        top = self.rows[self.starts]
        bottom = np.maximum.reduceat(self.rows, self.starts) + 1
        left = np.minimum.reduceat(self.left, self.starts)
        right = np.maximum.reduceat(self.right, self.starts)
        return np.stack([top, left, bottom, right], axis=1)

    def pieces(self) -> NDArray[np.int64]:
        """Shape (r,): which 8-connected piece of its particle each stretch is of, from 0 on."""
        # All particles one below the other, so that no stretch touches another particle's.
        height, width = int(self.rows.max(initial=0)) + 2, int(self.right.max(initial=0)) + 2
        begin = (self.owner * height + self.rows) * width + self.left
        end = begin + self.lengths
        first = np.searchsorted(end, begin + width, "left")
        number = np.maximum(np.searchsorted(begin, end + width, "right") - first, 0)
        of = np.repeat(np.arange(len(begin)), number)
        below = np.arange(len(of)) + np.repeat(first - (np.cumsum(number) - number), number)
        touching = coo_array((np.ones(len(of), bool), (of, below)), (len(begin),) * 2)
        return np.asarray(connected_components(touching, directed=False)[1], np.int64)

    def of(self, kept: NDArray[np.bool_]) -> Runs:
        """Those of some of the particles, shape (n,), counted anew."""
        chosen = kept[self.owner]
        numbers = np.cumsum(kept) - 1
        rows, left, right = (part[chosen] for part in (self.rows, self.left, self.right))
        return Runs(rows, left, right, numbers[self.owner[chosen]], int(np.count_nonzero(kept)))

    def total(self, values: NDArray[np.number]) -> NDArray[np.float64]:
        """Sum of a value a stretch over each particle."""
        return np.asarray(np.bincount(self.owner, values, minlength=self.n), float)


def runs_of(ids: NDArray[np.int32]) -> Runs:
    """The stretches of particles numbered 1 to n without gaps, 0 elsewhere; `ids` is (Y, X)."""
    found = [_block_runs(ids[rows], rows.start) for rows in row_blocks(ids.shape)]
    rows, left, right, owner = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(owner, kind="stable")
    n = int(owner[order[-1]]) + 1 if len(order) else 0
    return Runs(rows[order], left[order], right[order], owner[order], n)


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Blocks of rows that keep temporary arrays small and in the processor's cache."""
    step = max(1, _PIXELS_AT_A_TIME // max(1, shape[1]))
    for top in range(0, shape[0], step):
        yield slice(top, min(top + step, shape[0]))


def renumber(ids: NDArray[np.int32], numbers: NDArray[np.int32]) -> None:
    """Give each number *i* in `ids` the number `numbers[i]`, in place."""
    for rows in row_blocks(ids.shape):
        ids[rows] = numbers[ids[rows]]


def _block_runs(block: NDArray[np.int32], top: int) -> tuple[NDArray[np.int64], ...]:
    starts = block > 0
    ends = starts.copy()
    differs = block[:, 1:] != block[:, :-1]
    starts[:, 1:] &= differs
    ends[:, :-1] &= differs
    first = np.flatnonzero(starts)
    rows, left = np.divmod(first, block.shape[1])
    right = np.flatnonzero(ends) % block.shape[1] + 1
    return rows + top, left, right, block.ravel()[first].astype(np.int64) - 1
