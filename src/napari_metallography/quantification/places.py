"""In how many places of a field particles touch no border."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .runs import Runs

_MOST_WORK = 1 << 28
_FEWEST_ROWS = 256

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


def places_in_rectangle(known: Mask, heights: Ints, widths: Ints) -> Ints:
    """Number of places, in pixels, where boxes touch no border of a rectangle.

    A box with a pixel more on each side must fit: (W−w−1)(H−h−1) places.
    """
    top, left, bottom, right = bounds(known)
    return np.asarray((right - left - widths - 1) * (bottom - top - heights - 1), np.int64)


def free_places(known: Mask, runs: Runs) -> Ints:
    """Number of places, in pixels, where each particle as it lies touches no border.

    A particle with a pixel more on each side must fit, row by row from its leftmost to its
    rightmost pixel. What counts is its own shape: its box would not fit into many a place at a
    round or slanting border that the particle has room in. In large fields every k-th row of
    places stands for k.

    Parameters
    ----------
    known
        Shape (Y, X): True inside the field and labelled.
    runs
        The particles; each touches no border where it lies.

    Returns
    -------
    Shape (n,), 1 or more.

    Source: Lantuéjoul (1980): the field eroded by the particle.
    """
    top, left, bottom, right = bounds(known)
    gaps = _Gaps.of(np.pad(known[top:bottom, left:right], 1))
    rims, first = _rims(runs)
    step = max(1, min(len(rims) * gaps.n // _MOST_WORK, (bottom - top) // _FEWEST_ROWS))
    ends = pairwise(first.tolist())
    return np.array([_places_of(gaps, rims[start:stop], step) for start, stop in ends], np.int64)


def bounds(known: Mask) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the known pixels, ends excluded; all 0 without any."""
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


@dataclass(frozen=True)
class _Gaps:
    """Stretches along rows that are not known; those at both ends of a row count too.

    `left` and `right` are the ends of the first and the start of the last gap of each row, shape
    (rows,); `starts` and `stops` are those of the gaps between, ordered by rows, of which row y
    has `first[y]` to `first[y + 1]`.
    """

    left: Ints
    right: Ints
    starts: Ints
    stops: Ints
    first: Ints

    @property
    def n(self) -> int:
        """How many there are; those between count for more, as they take longer."""
        return 2 * len(self.left) + 10 * len(self.starts)

    @classmethod
    def of(cls, known: Mask) -> _Gaps:
        """Of a mask whose outermost pixels are False."""
        height, width = known.shape
        some = known.any(axis=1)
        left = np.where(some, known.argmax(axis=1), width)
        right = np.where(some, width - known[:, ::-1].argmax(axis=1), 0)
        changes = np.flatnonzero(known.ravel()[1:] != known.ravel()[:-1]) + 1
        ends, begins = changes[1::2], changes[::2]
        # From where one stretch of known pixels ends to where the next of its row begins.
        between = ends[:-1] // width == begins[1:] // width
        starts, stops = ends[:-1][between], begins[1:][between]
        first = np.searchsorted(starts // width, np.arange(height + 1))
        return cls(left, right, starts % width, stops % width, first)


def _rims(runs: Runs) -> tuple[Ints, Ints]:
    """First column and column after the last, a row of each particle with a pixel more all around.

    Columns count from the particle's left end. Rows of the second array on are the next
    particle's: shape (rows, 2) and (n + 1,).
    """
    heights = runs.boxes[:, 2] - runs.boxes[:, 0] + 2
    first = np.concatenate([[0], np.cumsum(heights)]).astype(np.int64)
    place = first[runs.owner] + runs.rows - runs.boxes[runs.owner, 0] + 1
    origin = runs.boxes[runs.owner, 1]
    rims = np.empty((int(first[-1]), 2), np.int64)
    rims[:, 0], rims[:, 1] = np.iinfo(np.int32).max, np.iinfo(np.int32).min
    for shift in (-1, 0, 1):
        np.minimum.at(rims[:, 0], place + shift, runs.left - origin - 1)
        np.maximum.at(rims[:, 1], place + shift, runs.right - origin + 1)
    return rims, first


def _places_of(gaps: _Gaps, rims: Ints, step: int) -> int:
    """Places of one particle, from every `step`-th row."""
    tops = np.arange(step // 2, len(gaps.left) - len(rims) + 1, step)
    rows = tops[:, None] + np.arange(len(rims))
    # The particle's left end reaches from `low` to before `high`.
    low = (gaps.left[rows] - rims[:, 0]).max(axis=1, initial=0)
    high = (gaps.right[rows] - rims[:, 1] + 1).min(axis=1, initial=np.iinfo(np.int64).max)
    found = int(np.maximum(high - low, 0).sum())
    if len(gaps.starts):
        found -= _blocked(gaps, rims, rows, low, high)
    if found <= 0 and step > 1:
        return _places_of(gaps, rims, 1)
    return found * step


def _blocked(gaps: _Gaps, rims: Ints, rows: Ints, low: Ints, high: Ints) -> int:
    """Places between `low` and `high` of each top row that gaps inside the field take away."""
    counts = gaps.first[rows + 1] - gaps.first[rows]
    cell = np.repeat(np.arange(rows.size), counts.ravel())
    before = np.cumsum(counts.ravel()) - counts.ravel()
    gap = gaps.first[rows].ravel()[cell] + np.arange(len(cell)) - before[cell]
    top, row = np.divmod(cell, rows.shape[1])
    start = np.maximum(gaps.starts[gap] - rims[row, 1] + 1, low[top])
    stop = np.minimum(gaps.stops[gap] - rims[row, 0], high[top])
    some = stop > start
    return _union(top[some], start[some], stop[some])


def _union(row: Ints, start: Ints, stop: Ints) -> int:
    """Pixels that stretches along rows cover together."""
    if not len(row):
        return 0
    # All rows on one line, so that no stretch reaches into the next row.
    offset = row * (int(stop.max()) + 1)
    order = np.argsort(offset + start)
    begin, end = (offset + start)[order], (offset + stop)[order]
    reached = np.concatenate([[0], np.maximum.accumulate(end)[:-1]])
    return int(np.maximum(end - np.maximum(begin, reached), 0).sum())
