"""The classes of the line network, and the steps between pixel sizes that are steps of G.

A pixel 2^(1/4) times as large makes every grain half a number finer in pixels: lines of any pixel
size, brought to the nearest such step of a reference, have their classes on half numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LINE_LENGTH = 1376
"""Grey values of a line."""

REFERENCE_UM = 0.2
"""Pixel size at which G 6.5 to 13 have mean intercepts of 168 to 18 pixels."""

STEP = 0.5
GRADES = tuple(6.5 + STEP * index for index in range(14))

Lines = NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """How lines of a pixel size are brought to the network, and its answer back.

    Attributes
    ----------
    steps
        Half numbers by which the grains, as they are shown, look finer than they are.
    ratio
        Places of a line shown for one of the line given; 1 within 9 % unless lines are enlarged.
    """

    steps: int
    ratio: float


def scale_of(pixel_um: float, reference_um: float = REFERENCE_UM, enlarged: int = 0) -> Scale:
    """The nearest step, and the resampling that is left over.

    Parameters
    ----------
    enlarged
        Half numbers by which the lines are to be shown coarser than they are: of 2^(1/4) times
        as many pixels each; negative ones shrink them.
    """
    steps = round(math.log2(pixel_um / reference_um) * 2 / STEP)
    ratio = pixel_um / (reference_um * 2 ** (steps * STEP / 2))
    return Scale(steps - enlarged, ratio * 2 ** (enlarged * STEP / 2))


def at_reference(lines: Lines, ratio: float) -> Lines:
    """Lines (n, L) resampled to L · ratio places: by area when shrunk, else linearly."""
    length = max(1, round(lines.shape[1] * ratio))
    if length == lines.shape[1]:
        return lines
    way = cv2.INTER_AREA if length < lines.shape[1] else cv2.INTER_LINEAR
    resized = cv2.resize(lines, (length, len(lines)), interpolation=way)
    return np.asarray(resized, np.float32).reshape(len(lines), length)


def fitted(lines: Lines, length: int = LINE_LENGTH, where: float = 0.5) -> Lines:
    """Lines (n, L) cut to a window, or continued by their mirror images at both ends.

    Parameters
    ----------
    where
        Of the window: 0 at the first place, 1 at the last, ½ in the middle.
    """
    missing = length - lines.shape[1]
    if missing > 0:
        before = missing // 2
        return np.pad(lines, ((0, 0), (before, missing - before)), mode="symmetric")
    start = round(-missing * where)
    return lines[:, start : start + length]
