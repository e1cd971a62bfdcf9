"""The labelled pixels of a plane, read in strips of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import UNLABELLED
from ..errors import InputError
from ..plane import ArrayLike
from ..regions import Box, Field
from .runs import Runs, joined, row_blocks, stretches

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Strip:
    """Some rows of a plane, with rows above and below them that measuring looks at.

    Attributes
    ----------
    coded
        Shape (rows, X): class indices, 255 = unlabelled or outside the field, of the window: the
        strip's rows and those around it.
    window
        The rows of the plane that `coded` has.
    rows
        The strip's own among them.
    """

    coded: NDArray[np.uint8]
    window: slice
    rows: slice

    def own(self, further: int = 0) -> slice:
        """Where the strip's own rows are in the window, and some more below as far as there are."""
        start = self.rows.start - self.window.start
        return slice(start, start + self.rows.stop - self.rows.start + further)


@dataclass(frozen=True)
class LabelledPlane:
    """Class indices inside a field, of which no more is held than a strip.

    Attributes
    ----------
    indices
        Shape (Y, X): class indices, 255 = unlabelled, of any integer type.
    field
        The pixels of the field, as of one particle.
    n_classes
        How many classes have a name.
    name
        Names the image in messages.
    rows_at_a_time
        Height of the strips; None: as many rows as memory and speed are best with.
    """

    indices: ArrayLike
    field: Runs
    n_classes: int
    name: str = "image"
    rows_at_a_time: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.indices.shape[0], self.indices.shape[1]

    def strips(self, above: int = 0, below: int = 0) -> Iterator[Strip]:
        """The plane from above to below, each row read once.

        Parameters
        ----------
        above, below
            How many rows more a strip shows, as far as there are.

        Raises
        ------
        InputError
            When a label has no class.
        """
        height, width = self.shape
        held, first, start = np.empty((0, width), np.uint8), 0, 0
        for rows in row_blocks(self.shape, self.rows_at_a_time):
            held = np.concatenate([held, self._coded(rows)])
            stop = height if rows.stop == height else rows.stop - below
            if stop > start:
                yield Strip(held, slice(first, rows.stop), slice(start, stop))
                kept = max(first, stop - above)
                held, first, start = held[kept - first :], kept, stop

    def inside(self, rows: slice) -> Mask:
        """Shape (rows, X): True inside the field."""
        shape = rows.stop - rows.start, self.shape[1]
        if self.field.lengths[self.field.within(rows)].sum() == shape[0] * shape[1]:
            return np.ones(shape, bool)
        return self.field.painted(np.ones(1, bool), rows, shape[1])

    def _coded(self, rows: slice) -> NDArray[np.uint8]:
        indices, inside = np.asarray(self.indices[rows]), self.inside(rows)
        self._require_known(indices)
        if inside.all():
            return indices.astype(np.uint8, copy=False)
        coded = np.full(indices.shape, UNLABELLED, np.uint8)
        np.copyto(coded, indices, where=inside, casting="unsafe")
        return coded

    def _require_known(self, indices: NDArray[np.integer]) -> None:
        unknown = indices >= self.n_classes
        unknown &= indices != UNLABELLED
        unknown |= indices < 0
        if unknown.any():
            raise InputError(
                f"{self.name}: label {indices[unknown][0]} has no class; name {self.n_classes} "
                "classes or more, or mark such pixels as unlabelled (255)"
            )


@dataclass(frozen=True)
class PlaneOf:
    """A plane of a stack (N, Y, X), or an image (Y, X) itself, of which only parts are read."""

    array: ArrayLike
    number: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.array.shape[-2:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.array.dtype

    def __getitem__(self, key: Any) -> Any:
        """A part of the plane."""
        if len(self.array.shape) == 2:
            return self.array[key]
        return self.array[(self.number, *(key if isinstance(key, tuple) else (key,)))]


def stretches_of(field: Field, rows_at_a_time: int | None = None) -> Runs:
    """The pixels of a field, as of one particle."""
    found = []
    for rows in row_blocks(field.shape, rows_at_a_time):
        mask = field.mask(Box(rows.start, 0, rows.stop, field.shape[1]))
        row, left, right = stretches(mask)
        found.append((row + rows.start, left, right, np.zeros_like(row)))
    return Runs.grouped(*joined(found))
