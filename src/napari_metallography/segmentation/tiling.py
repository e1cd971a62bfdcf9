"""Where the windows of a large image lie, and how their answers are put together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

from ..regions import Box

ALIGNMENT = 32
"""Coarsest step of a network's own grid, in pixels of its input."""


@dataclass(frozen=True)
class Window:
    """What the network sees and which part of its answer is used."""

    seen: Box
    used: Box

    @property
    def inner(self) -> tuple[slice, slice]:
        """The used part as an index into the seen part."""
        top, left = self.used.top - self.seen.top, self.used.left - self.seen.left
        rows, columns = self.used.shape
        return slice(top, top + rows), slice(left, left + columns)


def overlapping(frame: Box, window: int, stride: int) -> list[list[Window]]:
    """Rows of windows at a fixed stride; the last one of each axis is moved back inside.

    Every pixel of a window is used: where windows overlap, answers are averaged.
    """
    rows = _overlapping_spans(frame.top, frame.bottom, window, stride)
    columns = _overlapping_spans(frame.left, frame.right, window, stride)
    return _grid([(span, span) for span in rows], [(span, span) for span in columns])


def haloed(
    frame: Box, largest_area: int, halo: int, alignment: int = ALIGNMENT
) -> list[list[Window]]:
    """Rows of windows whose used parts partition the frame.

    Each window sees `halo` pixels more, at least, on the sides where the frame goes on. Of the
    divisions whose windows hold at most `largest_area` pixels, the one with the fewest pixels to
    compute is taken. Windows begin at multiples of `alignment` pixels from the frame's corner.
    """
    height, width = frame.shape
    divisions = list(product(_divisions(height, halo), _divisions(width, halo)))
    fitting = [d for d in divisions if _seen_area(frame, d, halo, alignment) <= largest_area]
    # A window hardly larger than its halo would make no progress: then the finest division.
    rows, columns = min(
        fitting, key=lambda d: _computed_area(frame, d, halo), default=divisions[-1]
    )
    return _grid(
        _haloed_spans(frame.top, frame.bottom, rows, halo, alignment),
        _haloed_spans(frame.left, frame.right, columns, halo, alignment),
    )


Span = tuple[int, int]


def _overlapping_spans(start: int, stop: int, window: int, stride: int) -> list[Span]:
    last = max(start, stop - window)
    starts = [*range(start, last, stride), last]
    return [(s, min(s + window, stop)) for s in starts]


def _haloed_spans(
    start: int, stop: int, parts: int, halo: int, alignment: int
) -> list[tuple[Span, Span]]:
    """Spans seen, all of one length but for the last, and the parts of them that are used."""
    length = stop - start
    seen = _seen_length(length, parts, halo, alignment)
    # On the network's own grid, so that a window sees what the whole image would show it.
    starts = [
        (length - seen) * part // max(1, parts - 1) // alignment * alignment
        for part in range(parts)
    ]
    ends = [*(first + seen for first in starts[:-1]), length]
    middles = [(end + following) // 2 for end, following in zip(ends, starts[1:], strict=False)]
    edges = pairwise([0, *middles, length])
    return [
        ((start + first, start + end), (start + low, start + high))
        for first, end, (low, high) in zip(starts, ends, edges, strict=True)
    ]


def _seen_length(length: int, parts: int, halo: int, alignment: int) -> int:
    """Length of windows that overlap by two halos at least.

    Windows of one size find the memory of the one before just right.
    """
    if parts == 1:
        return length
    shortest = math.ceil((length + 2 * halo * (parts - 1)) / parts)
    # More than two windows cannot all begin on the grid and be spaced evenly.
    shortest += alignment if parts > 2 else 0
    return min(length, math.ceil(shortest / alignment) * alignment)


def _grid(rows: list[tuple[Span, Span]], columns: list[tuple[Span, Span]]) -> list[list[Window]]:
    return [list(_row(row, columns)) for row in rows]


def _row(row: tuple[Span, Span], columns: list[tuple[Span, Span]]) -> Iterator[Window]:
    for (seen_rows, used_rows), (seen_columns, used_columns) in product([row], columns):
        yield Window(
            Box(seen_rows[0], seen_columns[0], seen_rows[1], seen_columns[1]),
            Box(used_rows[0], used_columns[0], used_rows[1], used_columns[1]),
        )


def _divisions(length: int, halo: int) -> range:
    return range(1, max(1, length // (2 * halo + 1)) + 1)


def _seen_area(frame: Box, division: tuple[int, int], halo: int, alignment: int) -> int:
    rows, columns = (
        _seen_length(length, parts, halo, alignment) + _surplus(length, parts, alignment)
        for length, parts in zip(frame.shape, division, strict=True)
    )
    return rows * columns


def _surplus(length: int, parts: int, alignment: int) -> int:
    """What the last window sees more, as it begins on the grid too."""
    return length % alignment if parts > 1 else 0


def _computed_area(frame: Box, division: tuple[int, int], halo: int) -> int:
    rows, columns = (
        length + 2 * halo * (parts - 1) for length, parts in zip(frame.shape, division, strict=True)
    )
    return rows * columns
