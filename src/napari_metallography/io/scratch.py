"""Results that are larger than memory, on their way to a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..windowed import Windowed


class ScratchPlanes(Windowed):
    """A plane (Y, X) or stack (N, Y, X) of uint8 in a temporary file, written and read by rows.

    By plain reading and writing: pages of a mapped file would count as memory in use. What was not
    written is 0. It vanishes when it is closed, or when the process ends in whatever way.

    Parameters
    ----------
    folder
        Where the file is made, with as much room as there are pixels: beside the result.
    shape
        Of the plane or stack.

    Raises
    ------
    InputError
        When the folder cannot be written; also, while it is used, when its disk is full.
    """

    def __init__(self, folder: Path, shape: Sequence[int]) -> None:
        super().__init__(shape, np.uint8)
        self._folder, self._lock = folder, Lock()
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = TemporaryFile(  # noqa: SIM115 closed by `close`
                dir=folder, prefix=".", suffix=".part"
            )
            self._file.truncate(math.prod(self.shape))

    def __setitem__(self, key: Any, rows: NDArray[np.uint8]) -> None:
        """Write rows over their full width: `scratch[top:bottom]` or `scratch[plane, top:bottom]`.

        Raises
        ------
        IndexError
            For any other part.
        """
        number, top, shape = self._rows(key)
        content = np.ascontiguousarray(np.broadcast_to(rows, shape), np.uint8).data
        with self._lock, self._told():
            self._file.seek(self._offset(number, top))
            self._file.write(content)

    def __enter__(self) -> ScratchPlanes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file; nothing can be read any more."""
        with self._lock:
            self._file.close()

    def _rows(self, key: Any) -> tuple[int, int, tuple[int, int]]:
        """Number of the plane, first row, and (rows, columns)."""
        named = key if isinstance(key, tuple) else (key,)
        number, *rest = named if self._is_stack else (0, *named)
        height, width = self.shape[-2:]
        columns = rest[1:] in ([], [slice(None)])
        if not (columns and isinstance(number, (int, np.integer)) and isinstance(rest[0], slice)):
            raise IndexError(f"only rows of a plane can be written, not {key!r}")
        top, bottom, step = rest[0].indices(height)
        if step != 1:
            raise IndexError("rows are written one after the other")
        planes = self.shape[0] if self._is_stack else 1
        return range(planes)[number], top, (max(0, bottom - top), width)

    def _window(self, number: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        width = self.shape[-1]
        with self._lock, self._told():
            self._file.seek(self._offset(number, rows.start))
            content = self._file.read((rows.stop - rows.start) * width)
        return np.frombuffer(content, np.uint8).reshape(-1, width)[:, columns]

    def _offset(self, number: int, row: int) -> int:
        height, width = self.shape[-2:]
        return (number * height + row) * width

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"{self._folder}: cannot be written ({why})") from error
