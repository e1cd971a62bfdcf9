"""Labels of which each colour of an image is a class: which of them is the matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..classes import UNLABELLED, PhaseClass
from ..io.labels import LabelImage

_BLACK = "#000000"


def are_colours(labels: LabelImage) -> bool:
    """Whether the classes are named by the colours of a foreign image."""
    return bool(labels.classes and labels.assumed)


def pixels_by_colour(labels: LabelImage) -> Counter[str]:
    """Number of pixels of each colour."""
    counts = np.bincount(np.asarray(labels.indices).ravel(), minlength=len(labels.classes))
    return Counter({one.name: int(n) for one, n in zip(labels.classes, counts, strict=False)})


def matrix_first(pixels: Mapping[str, int]) -> tuple[str, ...]:
    """The colours by class: black, or else the one of the largest area, is the matrix.

    The others follow by their area, the largest first; those of equal area by their names.
    """
    return tuple(sorted(pixels, key=lambda name: (name != _BLACK, -pixels[name], name)))


def with_colours(labels: LabelImage, colours: Sequence[str]) -> LabelImage:
    """The labels with a class for each of the colours in their order, occurring or not.

    Parameters
    ----------
    colours
        All that the labels have, and others.
    """
    table = np.full(UNLABELLED + 1, UNLABELLED, np.uint8)
    for index, phase in enumerate(labels.classes):
        table[index] = colours.index(phase.name)
    listed = ", ".join(f"{name} = {index}" for index, name in enumerate(colours))
    return replace(
        labels,
        indices=table[np.asarray(labels.indices)],
        classes=tuple(PhaseClass(name=name, colour=name) for name in colours),
        assumed=f"colours taken as classes: {listed}; {colours[0]} is taken as the matrix, whose "
        "particles are not measured unless it is named by --classes",
    )
