"""Rows and columns of a field with what the line network makes of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .image_lines import Line

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VotedLines:
    """Lines of a field and the grain size that each shows.

    Attributes
    ----------
    lines
        n rows and columns.
    expected
        (n,) expected G of each.
    extent
        Height and width of the image that the places of the lines refer to.
    shape
        Height and width of the field in square pixels.
    """

    lines: tuple[Line, ...]
    expected: Floats
    extent: tuple[int, int]
    shape: tuple[int, int]

    @property
    def ends(self) -> Floats:
        """(n, 2, 2): y and x of the first and the last place of each line, in square pixels."""
        places = np.array([_ends(line) for line in self.lines], float).reshape(-1, 2, 2)
        factors = np.array(self.shape) / self.extent
        return np.asarray((places + 0.5) * factors - 0.5)


def _ends(line: Line) -> list[tuple[int, int]]:
    if line.direction == "row":
        return [(line.place, line.first), (line.place, line.last - 1)]
    return [(line.first, line.place), (line.last - 1, line.place)]
