"""In how many places of a field particles touch no border."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .runs import Runs

_MOST_WORK = 1 << 28
_FEWEST_ROWS = 16
_AT_A_TIME = 1 << 20

Ints = NDArray[np.int64]


def places_in_rectangle(known: Runs, heights: Ints, widths: Ints) -> Ints:
    """Number of places, in pixels, where boxes touch no border of a rectangle.

    A box with a pixel more on each side must fit: (W−w−1)(H−h−1) places.
    """
    top, left, bottom, right = bounds(known)
    return np.asarray((right - left - widths - 1) * (bottom - top - heights - 1), np.int64)


def free_places(known: Runs, runs: Runs) -> Ints:
    """Number of places, in pixels, where each particle as it lies touches no border.

    A particle with a pixel more on each side, diagonally too, must fit. What counts is its own
    shape: its box would not fit into many a place at a round or slanting border that the particle
    has room in, nor a particle without its holes around what is not labelled in one of them. In
    large fields every k-th row of places stands for k, that of the particle among them; k is each
    particle's own.

    Parameters
    ----------
    known
        The labelled pixels of the field, as of one particle.
    runs
        The particles; each touches no border where it lies.

    Returns
    -------
    Shape (n,), 1 or more.

    Source: Lantuéjoul (1980): the field eroded by the particle.
    """
    gaps = _Gaps.of(known)
    top = bounds(known)[0]
    most_work = _MOST_WORK // max(1, runs.n)
    found = [
        _places_of(gaps, rim, int(box[0]) - top, most_work)
        for rim, box in zip(_rims(runs), runs.boxes, strict=True)
    ]
    return np.array(found, np.int64)


def bounds(known: Runs) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the known pixels, ends excluded; all 0 without any."""
    if not known.n:
        return 0, 0, 0, 0
    top, left, bottom, right = known.boxes[0].tolist()
    return top, left, bottom, right


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
    def work_a_row(self) -> float:
        """What a stretch of a particle takes; gaps between count for more, as they are sorted."""
        return 2 + 10 * len(self.starts) / len(self.left)

    @property
    def most_in_a_row(self) -> int:
        return int(np.diff(self.first).max())

    @classmethod
    def of(cls, known: Runs) -> _Gaps:
        """Of all that is not known in a box a pixel wider than the known pixels."""
        top, first_column, bottom, last_column = bounds(known)
        height, width = bottom - top + 2, last_column - first_column + 2
        rows = known.rows - top + 1
        begin, end = known.left - first_column + 1, known.right - first_column + 1
        left, right = np.full(height, width), np.zeros(height, np.int64)
        # Backwards, so that the first of a row is written last.
        left[rows[::-1]], right[rows] = begin[::-1], end
        # From where one stretch of known pixels ends to where the next of its row begins.
        between = np.flatnonzero(rows[1:] == rows[:-1])
        first = np.searchsorted(rows[between], np.arange(height + 1))
        return cls(left, right, end[between], begin[between + 1], first)


@dataclass(frozen=True)
class _Rim:
    """Stretches along rows of a particle with a pixel more all around.

    Shape (r,): row from the topmost on, first column and column after the last, counted from the
    particle's left end.
    """

    rows: Ints
    left: Ints
    right: Ints

    @property
    def height(self) -> int:
        return int(self.rows[-1]) + 1

    def parts(self, size: int) -> Iterator[_Rim]:
        """The same in pieces of some stretches."""
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            yield _Rim(self.rows[part], self.left[part], self.right[part])


def _rims(runs: Runs) -> Iterator[_Rim]:
    """The rim of each particle."""
    stops = np.searchsorted(runs.owner, np.arange(runs.n), "right")
    for start, stop, box in zip(runs.starts, stops, runs.boxes, strict=True):
        rows, left = runs.rows[start:stop] - box[0] + 1, runs.left[start:stop] - box[1]
        width = int(box[3] - box[1]) + 3
        begin = ((rows + np.array([[-1], [0], [1]])) * width + left).ravel()
        # A pixel to the left and one to the right, and that pixel's end.
        begin, end = _merged(begin, begin + np.tile(runs.lengths[start:stop], 3) + 2)
        rows, left = np.divmod(begin, width)
        yield _Rim(rows, left - 1, left - 1 + end - begin)


def _places_of(gaps: _Gaps, rim: _Rim, own: int, most_work: int) -> int:
    """Places of a particle whose rim begins in row `own`, from some rows."""
    n = len(gaps.left) - rim.height + 1
    step = math.ceil(n * len(rim.rows) * gaps.work_a_row / max(1, most_work))
    step = max(1, min(step, n // _FEWEST_ROWS))
    tops = np.arange(own % step, n, step)
    size = max(1, _AT_A_TIME // (len(rim.rows) * (1 + gaps.most_in_a_row)))
    parts = (tops[start : start + size] for start in range(0, len(tops), size))
    return step * sum(_places_in(gaps, rim, part) for part in parts)


def _places_in(gaps: _Gaps, rim: _Rim, tops: Ints) -> int:
    """Places with the rim's first row in given rows."""
    low = np.zeros(len(tops), np.int64)
    high = np.full(len(tops), np.iinfo(np.int64).max)
    size = max(1, _AT_A_TIME // (len(tops) * (1 + gaps.most_in_a_row)))
    for part in rim.parts(size):
        rows = tops[:, None] + part.rows
        # The particle's left end reaches from `low` to before `high`.
        low = np.maximum(low, (gaps.left[rows] - part.left).max(axis=1))
        high = np.minimum(high, (gaps.right[rows] - part.right + 1).min(axis=1))
    begin = end = np.zeros(0, np.int64)
    if len(gaps.starts):
        for part in rim.parts(size):
            more_begin, more_end = _blocked(gaps, part, tops, low, high)
            begin, end = _merged(np.append(begin, more_begin), np.append(end, more_end))
    return int(np.maximum(high - low, 0).sum() - (end - begin).sum())


def _blocked(gaps: _Gaps, rim: _Rim, tops: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Stretches between `low` and `high` of each top row that gaps inside the field take away.

    All rows are on one line, none reaching into the next.
    """
    rows = tops[:, None] + rim.rows
    counts = gaps.first[rows + 1] - gaps.first[rows]
    cell = np.repeat(np.arange(rows.size), counts.ravel())
    before = np.cumsum(counts.ravel()) - counts.ravel()
    gap = gaps.first[rows].ravel()[cell] + np.arange(len(cell)) - before[cell]
    top, run = np.divmod(cell, rows.shape[1])
    start = np.maximum(gaps.starts[gap] - rim.right[run] + 1, low[top])
    stop = np.minimum(gaps.stops[gap] - rim.left[run], high[top])
    some = stop > start
    offset = top[some] * (int(gaps.right.max()) + 2)
    return offset + start[some], offset + stop[some]


def _merged(begin: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Stretches of a line that cover what given ones do, apart from each other and in order."""
    order = np.argsort(begin)
    begin, reached = begin[order], np.maximum.accumulate(end[order])
    opens = np.ones(len(begin), bool)
    opens[1:] = begin[1:] > reached[:-1]
    return begin[opens], reached[np.roll(opens, -1)]
