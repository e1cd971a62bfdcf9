"""Phase classes and the one convention of label values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from .errors import InputError

UNLABELLED = 255
"""Class index of an unlabelled pixel in files, tensors and tables."""

MOST_FOREIGN_CLASSES = 32
"""More different values than these in labels that name no classes are particles or grey values."""

PALETTE = ("#808080", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Okabe and Ito's colours, told apart by colour-blind readers; the first class is the matrix."""


class PhaseClass(BaseModel):
    """A phase: its name and its colour as `#rrggbb`."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    colour: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three numbers from 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


def named_classes(names: Sequence[str]) -> tuple[PhaseClass, ...]:
    """Classes with the palette's colours, repeated when there are more names than colours."""
    return tuple(
        PhaseClass(name=name, colour=PALETTE[index % len(PALETTE)])
        for index, name in enumerate(names)
    )


def numbered_classes(count: int) -> tuple[PhaseClass, ...]:
    """Classes of labels that name none, by index: "matrix", "class 1", "class 2", …"""
    return classes_of_values(range(count))


def classes_of_values(values: Iterable[int]) -> tuple[PhaseClass, ...]:
    """Classes of which only the values in a file are known: "matrix" for 0, else "class 77"."""
    return named_classes([f"class {value}" if value else "matrix" for value in values])


def class_count(labels: Iterable[NDArray[np.integer]]) -> int:
    """One more than the largest class index in arrays of indices, and at least two."""
    return max((int(i[i != UNLABELLED].max(initial=1)) for i in labels), default=1) + 1


def require_same_classes(
    first: Sequence[str], second: Sequence[str], *, first_of: str, second_of: str
) -> None:
    """Refuse two lists of class names that differ in names or order; an empty one is unknown.

    Parameters
    ----------
    first, second
        Names from index 0.
    first_of, second_of
        Whose they are, for the message: "the labels in /data", "model steel".

    Raises
    ------
    InputError
        Shows both lists in one line.
    """
    if first and second and list(first) != list(second):
        raise InputError(
            f"the classes differ: {first_of}: {', '.join(first)}; {second_of}: "
            f"{', '.join(second)}; use the same names in the same order"
        )


def indices_to_layer(indices: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Class indices (255 = unlabelled) to Labels-layer values (index + 1, 0 = unlabelled).

    Both arrays have the same shape.
    """
    return (np.asarray(indices).astype(np.uint8) + np.uint8(1)).astype(np.uint8)


def layer_to_indices(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Labels-layer values (0 = unlabelled) to class indices (255 = unlabelled).

    Both arrays have the same shape. Raises `ValueError` for a value above 255.
    """
    labels = np.asarray(labels)
    if labels.size and int(labels.max()) > UNLABELLED:
        raise ValueError("a Labels layer of classes holds values from 0 to 255")
    return (labels.astype(np.uint8) - np.uint8(1)).astype(np.uint8)
