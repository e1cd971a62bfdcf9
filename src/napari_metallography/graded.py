"""Images of known grain size: what trains a line network and what it is scored against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration
from .errors import InputError
from .inputs import PixelSizes, measured_field, read_image
from .io.index import ImageIndex, IndexRow
from .regions import Field


@dataclass(frozen=True)
class GradedImage:
    """An image of a table that says its grain size; read when needed.

    Attributes
    ----------
    grain_size
        ASTM grain-size number G by intercepts.
    specimen
        Images of one specimen belong on one side of a split; empty when unknown.
    """

    path: Path
    index: ImageIndex
    grain_size: float
    specimen: str = ""

    def read(self) -> tuple[NDArray[Any], Calibration | None, Field]:
        """Pixels of the first plane, pixel size, and the image less its data bar.

        Raises
        ------
        InputError
            When the file cannot be used.
        """
        micrograph = read_image(self.path, PixelSizes(index=self.index))
        return np.asarray(micrograph.planes[0]), micrograph.calibration, measured_field(micrograph)


def read_graded_table(path: Path) -> list[GradedImage]:
    """The images of a table with the columns image, pixel_size_um, G and perhaps specimen.

    Raises
    ------
    InputError
        When the table cannot be read, an image in it is missing, or a row lacks its G.
    """
    index = ImageIndex.read(path)
    if not index.rows:
        raise InputError(f"{path}: names no image")
    return [_graded(row, index) for row in index.rows]


def _graded(row: IndexRow, index: ImageIndex) -> GradedImage:
    where = f"{index.path}: line {row.line}"
    if row.grain_size_number is None:
        raise InputError(f"{where}: {row.image} has no G; the column G gives its intercept G")
    path = index.path.parent / row.image
    if not path.is_file():
        raise InputError(f"{where}: {path} is no file")
    return GradedImage(path, index, row.grain_size_number, row.specimen or "")


def held_out(images: Sequence[GradedImage], share: float = 0.15) -> list[bool]:
    """Which images to validate on: whole specimens, or single images where none are named.

    In the order of their grain size every so many-th, so that all sizes are on either side; none
    of them where that would leave too few.
    """
    names = [image.specimen or f"#{number}" for number, image in enumerate(images)]
    by_size = sorted(zip(images, names, strict=True), key=lambda pair: pair[0].grain_size)
    specimens = list(dict.fromkeys(name for _, name in by_size))
    every = round(1 / share)
    if len(specimens) < every:
        return [False] * len(images)
    chosen = set(specimens[every // 2 :: every])
    return [name in chosen for name in names]
