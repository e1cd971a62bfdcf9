"""A comparison chart: ideal grains of standard numbers, drawn at the scale of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..events import Events, Notice, Progress
from ..grains.standards import SMALLEST_DIFFERENCE, grains_per_mm2_of, intercept_mm_of
from .tessellation import Tessellation, laguerre

_FEWEST_GRAINS = 4
_SMALLEST_INTERCEPT_PX = 3.0
_MOST_INTERCEPTS = 100
_SIGMA_LN = 0.3
_SEED = 112
_LINE, _THICKEST = 1 / 256, 1 / 8
_BITS = 6
_FARTHEST = 2**30


@dataclass(frozen=True)
class Plate:
    """One picture of a chart.

    Attributes
    ----------
    grain_size
        ASTM grain-size number G by intercepts.
    boundaries
        (Y, X), True on boundaries.
    pixel_um
        Size of its pixels.
    """

    grain_size: float
    boundaries: NDArray[np.bool_]
    pixel_um: float

    @property
    def title(self) -> str:
        """What stands below the picture, on two lines."""
        return f"G {self.grain_size:g}\nintercept {_intercept_um(self.grain_size):.3g} µm"


def standard_grades(grain_size: float) -> tuple[float, float, float]:
    """The half number nearest to a measured G, between the numbers one coarser and one finer.

    Raises
    ------
    InputError
        When G is not a number.
    """
    if not math.isfinite(grain_size):
        raise InputError("no grain size is known to compare with; measure first")
    middle = math.floor(grain_size / SMALLEST_DIFFERENCE + 0.5) * SMALLEST_DIFFERENCE
    return middle - 1, middle, middle + 1


def chart(grain_size: float, shape: tuple[int, int], pixel_um: float) -> NDArray[np.bool_]:
    """Boundaries of ideal equiaxed grains whose mean intercept is that of G; always the same ones.

    Parameters
    ----------
    grain_size
        ASTM grain-size number G by intercepts.
    shape
        Height and width in pixels.
    pixel_um
        Size of the pixels, which are square.

    Returns
    -------
    (Y, X), True on boundaries.

    Raises
    ------
    InputError
        When the grains are too coarse for the field, or too fine for its pixels.

    Source: the comparison procedure of ASTM E112-13, clause 10; the grains are drawn, not those of
    the standard's plates.
    """
    intercept_px = _intercept_um(grain_size) / pixel_um
    _require_fine_enough(grain_size, shape, pixel_um)
    _require_coarse_enough(grain_size, intercept_px)
    cells = laguerre(shape, intercept_px, _SIGMA_LN, np.random.default_rng(_SEED))
    return _drawn(cells, _line_px(shape, intercept_px))


def plates(grain_size: float, shape: tuple[int, int], pixel_um: float) -> Events[tuple[Plate, ...]]:
    """The chart of a measured G: the nearest half number, and one coarser and one finer beside it.

    All are as large as the field, or as the part of it that holds a hundred intercepts a side of
    the measured ones. A neighbour that cannot be drawn is left out, with a notice.

    Raises
    ------
    InputError
        When the nearest number itself cannot be drawn.
    """
    grades = standard_grades(grain_size)
    side = math.ceil(_MOST_INTERCEPTS * _intercept_um(grades[1]) / pixel_um)
    part = min(shape[0], side), min(shape[1], side)
    found: list[Plate] = []
    for number, grade in enumerate(grades):
        yield Progress(number, len(grades), f"chart G {grade:g}")
        try:
            found.append(Plate(grade, chart(grade, part, pixel_um), pixel_um))
        except InputError as error:
            if grade == grades[1]:
                raise
            yield Notice(f"left out of the chart: {error}")
    return tuple(found)


def _intercept_um(grain_size: float) -> float:
    return 1000 * intercept_mm_of(grain_size)


def _require_fine_enough(grain_size: float, shape: tuple[int, int], pixel_um: float) -> None:
    height, width = (length * pixel_um for length in shape)
    grains = grains_per_mm2_of(grain_size) * height * width / 1e6
    if grains < _FEWEST_GRAINS:
        raise InputError(
            f"G {grain_size:g}: the field of {width:.4g} × {height:.4g} µm holds fewer than "
            f"{_FEWEST_GRAINS} such grains; take a larger field or a lower magnification"
        )


def _require_coarse_enough(grain_size: float, intercept_px: float) -> None:
    if intercept_px < _SMALLEST_INTERCEPT_PX:
        raise InputError(
            f"G {grain_size:g}: a mean intercept of {intercept_px:.2g} pixels is too fine to be "
            f"drawn, which takes {_SMALLEST_INTERCEPT_PX:g}; take a higher magnification"
        )


def _line_px(shape: tuple[int, int], intercept_px: float) -> int:
    """So wide that lines are seen in a picture shown smaller than it is, but grains are too."""
    return max(1, round(min(_LINE * max(shape), _THICKEST * intercept_px)))


def _drawn(cells: Tessellation, line_px: int) -> NDArray[np.bool_]:
    picture = np.zeros(cells.shape, np.uint8)
    # Tessellations count from the corner of the first pixel, drawings from its centre.
    places = np.rint((cells.vertices[cells.edges][..., ::-1] - 0.5) * 2**_BITS)
    segments = np.clip(places, -_FARTHEST, _FARTHEST).astype(np.int32)
    cv2.polylines(picture, [*segments], False, 1, line_px, cv2.LINE_8, _BITS)
    return picture > 0
