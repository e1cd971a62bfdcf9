"""What was counted, drawn over the image: a grade that explains itself."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from ..classes import PhaseClass
from .grades import STEP
from .grading import FieldGrade
from .intersections import Intersections
from .planimetric import CORNER, CUT, INSIDE, GrainCount
from .voted_lines import VotedLines

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
WHOLE = PhaseClass(name="whole: measured", colour=PARTS[INSIDE].colour)
"""Of the automatic method, to which the grains that the edge cuts do not count."""

_TINT = 0.35
_BITS = 4
_LARGEST_DOT, _DOT_OF_INTERCEPT = 1 / 200, 1 / 20
_BAR = 1 / 40
_BAR_PX = 3


def drawn(pixels: Picture, found: FieldGrade, times: int = 1) -> Picture:
    """What was counted, over an image.

    Boundaries with test lines and intersections, or with the grains that count: inside and cut, or
    whole; of the line network thin lines where it looked, each with a bar at both ends in the
    colour of its G.

    Parameters
    ----------
    pixels
        (Y, X, 3) uint8; enlarged to the square pixels of the grade where its own are not square.
    times
        Enlargement, so that marks are thin on what is small.

    Returns
    -------
    (Y, X, 3) uint8
    """
    height, width = (times * side for side in found.shape)
    picture = np.ascontiguousarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8
    )
    if isinstance(found.drawn, VotedLines):
        _draw_votes(picture, found.drawn, times)
    elif found.grains is not None:
        grains = found.grains.grains
        if isinstance(found.drawn, GrainCount):
            _tint(picture, _enlarged(grains, times), found.drawn, parts_shown(found))
        picture[boundary_pixels(_enlarged(grains, times))] = BOUNDARY.rgb
        if isinstance(found.drawn, Intersections):
            _draw_lines(picture, found.drawn, times)
    return picture


def legend(found: FieldGrade) -> list[PhaseClass]:
    """Names and colours of what `drawn` shows."""
    if isinstance(found.drawn, VotedLines):
        return list(grade_colours(found.drawn).values())
    if isinstance(found.drawn, GrainCount):
        used = np.unique(found.drawn.part)
        shown = parts_shown(found).items()
        return [BOUNDARY, *(phase for part, phase in shown if part in used)]
    return [BOUNDARY, LINE, *(WEIGHTS[float(weight)] for weight in np.unique(found.drawn.weights))]


def parts_shown(found: FieldGrade) -> dict[int, PhaseClass]:
    """Name and colour of the parts of a count of grains that its method goes by."""
    return {INSIDE: WHOLE} if found.method == "automatic" else PARTS


def grade_colours(found: VotedLines) -> dict[float, PhaseClass]:
    """Name and colour of each half number that a line shows, from coarse to fine."""
    grades = np.unique(half_numbers(found))
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 1, len(grades)))
    return {
        float(grade): PhaseClass(name=f"G {grade:g}", colour=to_hex(shade))
        for grade, shade in zip(grades, shades, strict=True)
    }


def half_numbers(found: VotedLines) -> NDArray[np.float64]:
    """(n,) the half number nearest to the expected G of each line."""
    return np.asarray(np.round(found.expected / STEP) * STEP)


def boundary_pixels(grains: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(Y, X), True on the pixels of a grain whose right or lower neighbour is another grain."""
    found = np.zeros(grains.shape, bool)
    found[:, :-1] |= grains[:, 1:] != grains[:, :-1]
    found[:-1] |= grains[1:] != grains[:-1]
    return found


def _enlarged(grains: NDArray[np.int32], times: int) -> NDArray[np.int32]:
    return grains.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else grains


def _tint(
    picture: Picture,
    grains: NDArray[np.int32],
    count: GrainCount,
    parts: Mapping[int, PhaseClass],
) -> None:
    colours = np.zeros((len(count.part) + 1, 3), np.float32)
    is_part = np.zeros(len(count.part) + 1, bool)
    for part, shown_as in parts.items():
        colours[1:][count.part == part] = shown_as.rgb
        is_part[1:] |= count.part == part
    shown = is_part[grains]
    mixed = picture[shown] * (1 - _TINT) + colours[grains[shown]] * _TINT
    picture[shown] = np.rint(mixed).astype(np.uint8)


def _draw_lines(picture: Picture, found: Intersections, times: int) -> None:
    for line in found.lines:
        path = np.rint(_placed(line.path, times)[:, ::-1] * 2**_BITS).astype(np.int32)
        cv2.polylines(picture, [path], line.closed, LINE.rgb, 1, cv2.LINE_AA, _BITS)
    # Larger marks would hide the boundaries that they lie on.
    apart = found.mean_intercept_px * times * _DOT_OF_INTERCEPT
    radius = max(2, round(min(apart, max(picture.shape) * _LARGEST_DOT)))
    for place, weight in zip(_placed(found.points, times), found.weights, strict=True):
        middle = np.rint(place[::-1] * 2**_BITS).astype(int).tolist()
        cv2.circle(
            picture, middle, radius << _BITS, WEIGHTS[float(weight)].rgb, -1, cv2.LINE_AA, _BITS
        )


def _draw_votes(picture: Picture, found: VotedLines, times: int) -> None:
    thin = picture.copy()
    colours = grade_colours(found)
    bar = max(2.0, max(picture.shape) * _BAR)
    votes = list(zip(_placed(found.ends, times), half_numbers(found), strict=True))
    for (first, last), grade in votes:
        cv2.line(thin, _xy(first), _xy(last), colours[float(grade)].rgb, 1)
    cv2.addWeighted(thin, _TINT, picture, 1 - _TINT, 0, dst=picture)
    for (first, last), grade in votes:
        along = (last - first) / max(1.0, float(np.hypot(*(last - first)))) * bar
        rgb = colours[float(grade)].rgb
        cv2.line(picture, _xy(first), _xy(first + along), rgb, _BAR_PX)
        cv2.line(picture, _xy(last - along), _xy(last), rgb, _BAR_PX)


def _placed(places: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Places in a picture enlarged so many times; whole numbers are the middles of pixels."""
    return np.asarray((places + 0.5) * times - 0.5)


def _xy(place: NDArray[np.float64]) -> list[int]:
    x_and_y: list[int] = np.rint(place[::-1]).astype(int).tolist()
    return x_and_y
