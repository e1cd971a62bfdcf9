"""Palette images as the grey values or colours they show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def through_palette(
    indices: NDArray[Any], table: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], bool]:
    """Look indices (…, Y, X) up in a table of shape (colours, 3).

    Returns grey values (…, Y, X) and False where all colours in use are grey, which is how
    electron microscopes save; else colours (…, Y, X, 3) and True.
    """
    used = np.unique(indices)
    if used[-1] >= len(table):
        raise ValueError("a pixel's value lies outside the palette")
    if not (table[used, :1] == table[used]).all():
        return table[indices], True
    grey = np.ascontiguousarray(table[:, 0])
    unchanged = indices.dtype == np.uint8 and (grey[used] == used).all()
    return (indices if unchanged else grey[indices]), False
