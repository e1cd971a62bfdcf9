"""What was counted, drawn over the image: a grade that explains itself."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..classes import PhaseClass
from .grading import FieldGrade
from .intersections import Intersections
from .planimetric import CORNER, CUT, INSIDE, OUTSIDE, GrainCount

Picture = NDArray[np.uint8]

BOUNDARY = PhaseClass(name="boundary", colour="#56B4E9")
LINE = PhaseClass(name="test line", colour="#F0E442")
WEIGHTS = {
    0.5: PhaseClass(name="½: line ends on it", colour="#009E73"),
    1.0: PhaseClass(name="1: crossing", colour="#D55E00"),
    1.5: PhaseClass(name="1½: triple point", colour="#CC79A7"),
    2.0: PhaseClass(name="2: four grains meet", colour="#FFFFFF"),
}
PARTS = {
    INSIDE: PhaseClass(name="inside: 1", colour="#009E73"),
    CUT: PhaseClass(name="cut: ½", colour="#E69F00"),
    CORNER: PhaseClass(name="corners: 1 together", colour="#CC79A7"),
}
_TINT = 0.35
_BITS = 4
_DOT = 1 / 200


def drawn(pixels: Picture, found: FieldGrade) -> Picture:
    """Boundaries, test lines and intersections, or grains inside and cut, over an image.

    Parameters
    ----------
    pixels
        (Y, X, 3) uint8; enlarged to the square pixels of the grade where its own are not square.

    Returns
    -------
    (Y, X, 3) uint8
    """
    height, width = found.grains.shape
    picture = np.ascontiguousarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8
    )
    if isinstance(found.drawn, GrainCount):
        _tint(picture, found.grains.grains, found.drawn)
    picture[boundary_pixels(found.grains.grains)] = BOUNDARY.rgb
    if isinstance(found.drawn, Intersections):
        _draw_lines(picture, found.drawn)
    return picture


def legend(found: FieldGrade) -> list[PhaseClass]:
    """Names and colours of what `drawn` shows."""
    if isinstance(found.drawn, GrainCount):
        used = np.unique(found.drawn.part[found.drawn.part != OUTSIDE])
        return [BOUNDARY, *(PARTS[int(part)] for part in used)]
    return [BOUNDARY, LINE, *(WEIGHTS[float(weight)] for weight in np.unique(found.drawn.weights))]


def boundary_pixels(grains: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(Y, X), True on the pixels of a grain whose right or lower neighbour is another grain."""
    found = np.zeros(grains.shape, bool)
    found[:, :-1] |= grains[:, 1:] != grains[:, :-1]
    found[:-1] |= grains[1:] != grains[:-1]
    return found


def _tint(picture: Picture, grains: NDArray[np.int32], count: GrainCount) -> None:
    colours = np.zeros((len(count.part) + 1, 3), np.float32)
    is_part = np.zeros(len(count.part) + 1, bool)
    for part, shown_as in PARTS.items():
        colours[1:][count.part == part] = shown_as.rgb
        is_part[1:] |= count.part == part
    shown = is_part[grains]
    mixed = picture[shown] * (1 - _TINT) + colours[grains[shown]] * _TINT
    picture[shown] = np.rint(mixed).astype(np.uint8)


def _draw_lines(picture: Picture, found: Intersections) -> None:
    for line in found.lines:
        path = np.rint(line.path[:, ::-1] * 2**_BITS).astype(np.int32)
        cv2.polylines(picture, [path], line.closed, LINE.rgb, 1, cv2.LINE_AA, _BITS)
    radius = max(2, round(max(picture.shape) * _DOT))
    for place, weight in zip(found.points, found.weights, strict=True):
        middle = np.rint(place[::-1] * 2**_BITS).astype(int).tolist()
        cv2.circle(
            picture, middle, radius << _BITS, WEIGHTS[float(weight)].rgb, -1, cv2.LINE_AA, _BITS
        )
