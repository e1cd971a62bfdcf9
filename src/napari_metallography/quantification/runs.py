"""Particles as stretches along rows, from which everything about them is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_PIXELS_AT_A_TIME = 1 << 20
_STRETCHES_AT_A_TIME = 1 << 18

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


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

    rows: Ints
    left: Ints
    right: Ints
    owner: Ints
    n: int

    @classmethod
    def grouped(cls, rows: Ints, left: Ints, right: Ints, owner: Ints) -> Runs:
        """Of stretches that are in reading order within each particle, counted without gaps."""
        n = int(owner.max(initial=-1)) + 1
        if (owner[1:] >= owner[:-1]).all():
            return cls(rows, left, right, owner, n)
        order = np.argsort(owner, kind="stable")
        return cls(rows[order], left[order], right[order], owner[order], n)

    @cached_property
    def lengths(self) -> Ints:
        """Pixels of each stretch."""
        return self.right - self.left

    @cached_property
    def starts(self) -> Ints:
        """Index of each particle's first stretch."""
        return np.searchsorted(self.owner, np.arange(self.n))

    @cached_property
    def areas(self) -> Ints:
        """Pixels of each particle."""
        return self.total(self.lengths).astype(np.int64)

    @cached_property
    def boxes(self) -> Ints:
        """Shape (n, 4): top, left, bottom, right of each particle, ends excluded."""
        if not self.n:
            return np.empty((0, 4), np.int64)
        top = self.rows[self.starts]
        bottom = np.maximum.reduceat(self.rows, self.starts) + 1
        left = np.minimum.reduceat(self.left, self.starts)
        right = np.maximum.reduceat(self.right, self.starts)
        return np.stack([top, left, bottom, right], axis=1)

    def pieces(self) -> Ints:
        """Shape (r,): which 8-connected piece of its particle each stretch is of.

        Pieces are counted from 0, in the order of their first stretches.
        """
        # All particles one below the other, so that no stretch touches another particle's.
        height, width = int(self.rows.max(initial=0)) + 2, int(self.right.max(initial=0)) + 2
        begin = (self.owner * height + self.rows) * width + self.left
        end = begin + self.lengths
        found, known, links, n = np.empty_like(begin), begin[:0], [], 0
        # In blocks: the graph of all stretches takes many times the memory of the stretches.
        for block in _blocks(len(begin), _STRETCHES_AT_A_TIME):
            first = np.searchsorted(end, begin[block] + width, "left") - block.start
            stop = np.searchsorted(begin, end[block] + width, "right") - block.start
            # With those of later blocks that these touch, where pieces are joined across blocks.
            pieces = _touching(first, stop) + n
            links.append((known, pieces[: len(known)]))
            found[block], known = np.split(pieces, [block.stop - block.start])
            n = int(pieces.max()) + 1
        if not links:
            return found
        above, below = joined(links)
        return _connected(above, below, n)[found]

    def parted(self) -> tuple[Runs, Ints]:
        """Each 8-connected piece as a particle of its own, and shape (pieces,): whose it is."""
        pieces = self.pieces()
        first = np.flatnonzero(np.diff(np.maximum.accumulate(pieces), prepend=-1))
        return Runs.grouped(self.rows, self.left, self.right, pieces), self.owner[first]

    def of(self, kept: Mask) -> Runs:
        """Those of some of the particles, shape (n,), counted anew."""
        return self._numbered(np.where(kept, np.cumsum(kept) - 1, -1))

    def parts(self, n_particles: int) -> Iterator[Runs]:
        """The same in groups of so many particles, for what takes much memory a particle."""
        ends = np.append(self.starts, len(self.rows))
        for first in range(0, self.n, n_particles):
            n = min(n_particles, self.n - first)
            some = slice(ends[first], ends[first + n])
            owner = self.owner[some] - first
            yield Runs(self.rows[some], self.left[some], self.right[some], owner, n)

    def in_reading_order(self, kept: Mask) -> tuple[Runs, Ints]:
        """Some of the particles, shape (n,), in the order of their first pixels; and which."""
        chosen = np.flatnonzero(kept)
        first = self.starts[chosen]
        order = chosen[np.lexsort((self.left[first], self.rows[first]))]
        numbers = np.full(self.n, -1)
        numbers[order] = np.arange(len(order))
        return self._numbered(numbers), order

    def total(self, values: NDArray[np.number]) -> NDArray[np.float64]:
        """Sum of a value a stretch over each particle."""
        return np.asarray(np.bincount(self.owner, values, minlength=self.n), float)

    def within(self, rows: slice) -> Ints:
        """Indices of the stretches in some rows, in reading order."""
        first, stop = np.searchsorted(self._reading[1], (rows.start, rows.stop))
        return self._reading[0][first:stop]

    def painted(self, values: NDArray[Any], rows: slice, width: int) -> NDArray[Any]:
        """Some rows of an image, shape (rows, width): a value a particle, 0 elsewhere."""
        chosen = self.within(rows)
        line = (self.rows[chosen] - rows.start) * width
        n = (rows.stop - rows.start) * width
        ends = line + self.left[chosen], line + self.right[chosen]
        return _filled(*ends, values[self.owner[chosen]], n).reshape(-1, width)

    def masks(self) -> Iterator[tuple[Box, Mask]]:
        """Each particle alone: where it lies, and its mask there with a margin of one pixel."""
        ends = np.append(self.starts, len(self.rows))[1:].tolist()
        for start, stop, box in zip(self.starts.tolist(), ends, self.boxes, strict=True):
            top, left, bottom, right = box.tolist()
            shape = bottom - top + 2, right - left + 2
            origin = (top - 1) * shape[1] + left - 1
            begin = self.rows[start:stop] * shape[1] + self.left[start:stop] - origin
            end = begin + self.lengths[start:stop]
            mask = _filled(begin, end, np.ones(len(begin), bool), shape[0] * shape[1])
            yield (slice(top, bottom), slice(left, right)), mask.reshape(shape)

    @cached_property
    def _reading(self) -> tuple[Ints, Ints]:
        """Order of the stretches as one reads, and their rows."""
        order = np.lexsort((self.left, self.rows))
        return order, self.rows[order]

    def _numbered(self, numbers: Ints) -> Runs:
        """With another number for each particle, shape (n,); those of −1 are left out."""
        owner = numbers[self.owner]
        chosen = owner >= 0
        rows, left, right = (part[chosen] for part in (self.rows, self.left, self.right))
        return Runs.grouped(rows, left, right, owner[chosen])


def runs_of(ids: NDArray[np.integer] | Mask) -> Runs:
    """The stretches of particles numbered 1 to n without gaps, 0 elsewhere; `ids` is (Y, X)."""
    found = []
    for rows in row_blocks(ids.shape):
        row, left, right = stretches(ids[rows])
        found.append((row + rows.start, left, right, ids[rows][row, left].astype(np.int64) - 1))
    return Runs.grouped(*joined(found))


def stretches(values: NDArray[Any], *others: NDArray[Any]) -> tuple[Ints, Ints, Ints]:
    """Stretches along rows of one value that is not 0, and of one value in each of some others.

    Parameters
    ----------
    values, others
        Shape (Y, X).

    Returns
    -------
    Row, first column and column after the last of each, in reading order.
    """
    starts = values != 0
    ends = starts.copy()
    differs = values[:, 1:] != values[:, :-1]
    for other in others:
        differs |= other[:, 1:] != other[:, :-1]
    starts[:, 1:] &= differs
    ends[:, :-1] &= differs
    rows, left = np.divmod(np.flatnonzero(starts), values.shape[1])
    return rows, left, np.flatnonzero(ends) % values.shape[1] + 1


def paint_numbers(particles: Runs, offset: int, ids: NDArray[np.int32]) -> None:
    """Write numbers from `offset` + 1 where particles lie in a plane (Y, X), 0 elsewhere."""
    numbers = np.arange(offset + 1, offset + 1 + particles.n, dtype=np.int32)
    for rows in row_blocks(ids.shape):
        ids[rows] = particles.painted(numbers, rows, ids.shape[1])


def joined(parts: Iterable[Sequence[NDArray[Any]]]) -> Iterator[NDArray[Any]]:
    """The columns of several tables, each the first one's above the second one's and so on."""
    return map(np.concatenate, zip(*parts, strict=True))


def row_blocks(shape: tuple[int, ...], n_rows: int | None = None) -> Iterator[slice]:
    """Blocks of rows, `n_rows` or as many as keep temporary arrays small and in the cache."""
    return _blocks(shape[0], n_rows or max(1, _PIXELS_AT_A_TIME // max(1, shape[1])))


def _blocks(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _touching(first: Ints, stop: Ints) -> Ints:
    """Pieces of stretches, each of which touches some later ones, from the first to the stop."""
    number = np.maximum(stop - first, 0)
    one = np.repeat(np.arange(len(first)), number)
    other = np.arange(len(one)) + np.repeat(first - (np.cumsum(number) - number), number)
    return _connected(one, other, max(len(first), int(stop[-1])))


def _connected(one: Ints, other: Ints, n: int) -> Ints:
    """Shape (n,): which component each node is of, in the order of their first nodes."""
    graph = coo_array((np.ones(len(one), bool), (one, other)), (n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _filled(begin: Ints, end: Ints, values: NDArray[Any], n: int) -> NDArray[Any]:
    """A line of n pixels: a value from each begin to its end, ascending, 0 between."""
    bounds = np.stack([begin, end], axis=1).ravel()
    shown = np.zeros(len(bounds) + 1, values.dtype)
    shown[1::2] = values
    return np.repeat(shown, np.diff(bounds, prepend=0, append=n))
