"""The labels of a stack, put together from those of its planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import UNLABELLED
from ..io.labels import LabelImage, labels_path, read_labels, write_labels
from ..plane import ArrayLike
from ..windowed import Windowed
from .items import Item, Source
from .work import item_folder


def write_stack_labels(folder: Path, source: Source, done: Sequence[Item]) -> None:
    """Write `<stem>_labels.tif` of a stack; planes that failed are unlabelled.

    A plane at a time: the stack need not fit into memory.

    Raises
    ------
    InputError
        When labels of a plane cannot be read, or those of the stack cannot be written.
    """
    files = {
        item.plane: labels_path(item_folder(folder, item.key), source.path, item.plane)
        for item in done
    }
    first = read_labels(next(iter(files.values())))
    planes = _Planes(files, (source.planes, *first.indices.shape))
    target = labels_path(folder / "items" / source.folder, source.path)
    write_labels(target, replace(first, indices=planes, provenance=_of_all(first)))


def _of_all(first: LabelImage) -> dict[str, Any]:
    return {name: value for name, value in first.provenance.items() if name != "plane"}


class _Planes(Windowed):
    """Planes in files of their own, by their numbers; the last one used is kept."""

    def __init__(self, files: Mapping[int, Path], shape: Sequence[int]) -> None:
        super().__init__(shape, np.uint8)
        self._files = files
        self._last: tuple[int, ArrayLike] | None = None

    def _window(self, number: int, rows: slice, columns: slice) -> NDArray[Any]:
        if number not in self._files:
            shape = rows.stop - rows.start, columns.stop - columns.start
            return np.full(shape, UNLABELLED, np.uint8)
        if self._last is None or self._last[0] != number:
            self._last = number, read_labels(self._files[number]).indices
        return np.asarray(self._last[1][rows, columns])
