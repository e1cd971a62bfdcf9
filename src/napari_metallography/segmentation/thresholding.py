"""The classical way: even out the background, then split the grey values in two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .. import regions
from ..classes import UNLABELLED
from ..errors import InputError
from ..plane import Plane, RowReceiver

_ROWS_AT_ONCE = 256
_PIXELS_AT_ONCE = 2**22
# Pixels of a plane that is prepared once instead of for each look at it.
_LARGEST_WHOLE = 2**24
_FLOAT_BINS = 4096
_MOST_GREY_VALUES = 1 << 16
# A background is smooth: this many samples per sigma are plenty.
_SAMPLES_A_SIGMA = 8


class ThresholdParameters(BaseModel):
    """How grey values become phases.

    Attributes
    ----------
    method
        "otsu": the threshold that separates the grey values best (Otsu, IEEE Trans. SMC 9 (1979)
        62). "manual": `value`.
    value
        Grey value in the image's own scale, after smoothing and correction; for "manual".
    phase
        "bright": the phase is above the threshold. "dark": it is at the threshold or below.
    shading_px
        Standard deviation in pixels of the Gaussian that estimates the background; well above
        the size of the objects. None leaves the shading in.
    smoothing_px
        Standard deviation in pixels of a Gaussian against noise; 0 = none.
    smallest_area_px
        Objects of the phase with fewer pixels become matrix.
    smallest_hole_px
        Patches of matrix with fewer pixels become phase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["otsu", "manual"] = "otsu"
    value: float | None = Field(default=None, allow_inf_nan=False)
    phase: Literal["bright", "dark"] = "bright"
    shading_px: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    smoothing_px: float = Field(default=0, ge=0, allow_inf_nan=False)
    smallest_area_px: int = Field(default=0, ge=0)
    smallest_hole_px: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _value_is_given(self) -> ThresholdParameters:
        if self.method == "manual" and self.value is None:
            raise InputError("a manual threshold needs its grey value; give it, or choose otsu")
        return self


@dataclass(frozen=True)
class ThresholdResult:
    """Phases of a plane.

    Attributes
    ----------
    indices
        (Y, X) uint8: 0 matrix, 1 phase, 255 outside the field.
    value
        The grey value that was used.
    """

    indices: NDArray[np.uint8]
    value: float


def threshold(
    plane: Plane, measured: regions.Field, parameters: ThresholdParameters
) -> ThresholdResult:
    """Split a plane into matrix (0) and phase (1), in memory; otherwise as `threshold_into`."""
    indices = np.empty(measured.shape, np.uint8)
    value = threshold_into(plane, measured, parameters, indices)
    return ThresholdResult(indices, value)


def threshold_into(
    plane: Plane,
    measured: regions.Field,
    parameters: ThresholdParameters,
    out: RowReceiver,
) -> float:
    """Split a plane into matrix (0) and phase (1), and hand the rows to where they go.

    Large planes some rows at a time, with a margin where they are smoothed. What looks at a whole
    plane holds it in memory: a background and a smoothing wider than 8 px take some 20 bytes a
    pixel, smallest objects and holes some 8.

    Returns
    -------
    The grey value that was used.

    Raises
    ------
    InputError
        When the field holds no pixel, or for "otsu" only one grey value.
    """
    measured.require_pixels()
    blocks = _prepared_blocks(plane, measured, parameters)
    value = parameters.value if parameters.method == "manual" else None
    if value is None:
        value = _otsu(lambda: (grey[inside] for _, grey, inside in blocks()))
    _hand_over(blocks(), value, parameters, measured.shape, out)
    return value


_Block = tuple[slice, NDArray[np.float32], NDArray[np.bool_]]
"""Rows, their grey values, and which pixels count."""


def _prepared_blocks(
    plane: Plane, measured: regions.Field, parameters: ThresholdParameters
) -> Callable[[], Iterator[_Block]]:
    """Goes through the prepared grey values of a plane, as often as it is called."""
    local = parameters.shading_px is None and parameters.smoothing_px <= _SAMPLES_A_SIGMA
    if local and math.prod(measured.shape) > _LARGEST_WHOLE:
        return lambda: _blocks_prepared_alone(plane, measured, parameters)
    whole = prepared(plane, measured.mask(), parameters)
    return lambda: (
        (rows, whole[rows], measured.mask(box))
        for box in _boxes(measured.shape)
        for rows in [box.slices[0]]
    )


def _blocks_prepared_alone(
    plane: Plane, measured: regions.Field, parameters: ThresholdParameters
) -> Iterator[_Block]:
    # OpenCV cuts its Gaussian at four standard deviations.
    margin = math.ceil(4 * parameters.smoothing_px) + 1 if parameters.smoothing_px > 0 else 0
    height, width = measured.shape
    for box in _boxes(measured.shape):
        around = regions.Box(max(0, box.top - margin), 0, min(height, box.bottom + margin), width)
        inside = measured.mask(around)
        grey = _smoothed(plane.grey(around.slices[0]), inside, parameters)
        own = slice(box.top - around.top, box.bottom - around.top)
        yield box.slices[0], grey[own], inside[own]


def _boxes(shape: tuple[int, int]) -> Iterator[regions.Box]:
    height, width = shape
    together = max(_ROWS_AT_ONCE, _PIXELS_AT_ONCE // max(1, width))
    for top in range(0, height, together):
        yield regions.Box(top, 0, min(top + together, height), width)


def _hand_over(
    blocks: Iterable[_Block],
    value: float,
    parameters: ThresholdParameters,
    shape: tuple[int, int],
    out: RowReceiver,
) -> None:
    if max(parameters.smallest_area_px, parameters.smallest_hole_px) <= 1:
        for rows, grey, inside in blocks:
            out[rows] = split(grey, inside, value, parameters)
        return
    indices = np.empty(shape, np.uint8)
    for rows, grey, inside in blocks:
        indices[rows] = _divided(grey, inside, value, parameters)
    out[:] = _cleaned(indices, parameters)


def prepared(
    plane: Plane, inside: NDArray[np.bool_], parameters: ThresholdParameters
) -> NDArray[np.float32]:
    """Grey values (Y, X), smoothed and with the shading taken off: what a threshold applies to.

    Only this is slow; a preview keeps it while its user moves the threshold.
    """
    return corrected(_smoothed(plane.grey(), inside, parameters), parameters.shading_px, inside)


def _smoothed(
    grey: NDArray[np.float32], inside: NDArray[np.bool_], parameters: ThresholdParameters
) -> NDArray[np.float32]:
    if parameters.smoothing_px == 0:
        return grey
    return _gaussian_mean(grey, inside.astype(np.float32), parameters.smoothing_px)


def corrected(
    grey: NDArray[np.float32],
    shading_px: float | None,
    inside: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Grey values less their background, plus the background's mean.

    The scale of grey values stays, and with it the meaning of a threshold.

    Parameters
    ----------
    grey
        (Y, X) grey values.
    shading_px
        Standard deviation in pixels of the Gaussian that estimates the background; None returns
        `grey` as it is.
    inside
        (Y, X), True where pixels count; the others (a data bar) do not enter the background.
    """
    if shading_px is None:
        return grey
    weights = np.ones(grey.shape, np.float32) if inside is None else inside.astype(np.float32)
    background = _gaussian_mean(grey, weights, shading_px)
    mean = float(background.mean(where=weights > 0, dtype=np.float64))
    np.subtract(grey, background, out=background)
    background += np.float32(mean)
    return background


def _gaussian_mean(
    grey: NDArray[np.float32], weights: NDArray[np.float32], sigma: float
) -> NDArray[np.float32]:
    """Weighted Gaussian mean around each pixel; a wide one is computed on a coarser grid."""
    height, width = grey.shape
    step = max(1.0, sigma / _SAMPLES_A_SIGMA)
    size = max(1, round(width / step)), max(1, round(height / step))
    coarse_sigma = sigma * size[0] / width, sigma * size[1] / height
    sums = _coarse_blur(grey * weights, size, coarse_sigma)
    counts = _coarse_blur(weights, size, coarse_sigma)
    # Far from every pixel that counts, the quotient means nothing and is not used.
    sums /= np.maximum(counts, np.finfo(np.float32).tiny)
    mean = cv2.resize(sums, (width, height), interpolation=cv2.INTER_LINEAR)
    return mean.astype(np.float32, copy=False)


def _coarse_blur(
    pixels: NDArray[np.float32], size: tuple[int, int], sigma: tuple[float, float]
) -> NDArray[np.float32]:
    """Blur on a grid of size (x, y), with a sigma (x, y) in its steps."""
    coarse = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(
        coarse, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1], borderType=cv2.BORDER_REFLECT
    )
    return blurred.astype(np.float32, copy=False)


def otsu(grey: NDArray[np.floating[Any]], inside: NDArray[np.bool_]) -> float:
    """Otsu's threshold of the pixels inside; what is above it belongs to the bright class.

    Exact where the grey values are whole numbers (up to 16 bits); else to 1/4096 of their range.
    Where several thresholds separate equally well, the lowest.

    Parameters
    ----------
    grey
        (Y, X) grey values.
    inside
        (Y, X), True where pixels count.

    Raises
    ------
    InputError
        When there are fewer than two grey values inside.

    Notes
    -----
    Otsu, IEEE Transactions on Systems, Man and Cybernetics 9 (1979) 62, equation 18.
    """
    return _otsu(lambda: _parts(grey, inside))


_Parts = Callable[[], Iterable[NDArray[np.floating[Any]]]]
"""Goes through the grey values that count, in parts."""


def _otsu(parts: _Parts) -> float:
    counts, levels = _histogram(parts)
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        separation = np.nan_to_num(below * above * difference**2)
    return float(levels[separation.argmax()])


def _histogram(parts: _Parts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels per level, and the levels: grey values, or the upper edges of bins."""
    low, high, whole = _range(parts())
    if not high > low:
        raise InputError(
            "the field holds a single grey value, which no threshold splits; choose another region"
        )
    bins = int(high - low) + 1 if whole else _FLOAT_BINS
    per_unit = 1.0 if whole else bins / (high - low)
    counts = np.zeros(bins)
    for part in parts():
        steps = (part.astype(np.float64) - low) * per_unit
        # A bin holds its upper edge, so that "above the threshold" divides between bins.
        index = steps.astype(np.intp) if whole else np.ceil(steps).astype(np.intp) - 1
        counts += np.bincount(index.clip(0, bins - 1), minlength=bins)
    first = low if whole else low + 1 / per_unit
    levels: NDArray[np.float64] = np.linspace(first, high, bins)
    return counts, levels


def _range(parts: Iterable[NDArray[np.floating[Any]]]) -> tuple[float, float, bool]:
    """Lowest and highest grey value, and whether all are whole numbers of few kinds."""
    lows, highs, whole = [], [], True
    for part in parts:
        if not part.size:
            continue
        lows.append(float(part.min()))
        highs.append(float(part.max()))
        whole = whole and bool((part == np.rint(part)).all())
    low, high = min(lows, default=0.0), max(highs, default=0.0)
    return low, high, whole and high - low < _MOST_GREY_VALUES


def _parts(
    grey: NDArray[np.floating[Any]], inside: NDArray[np.bool_]
) -> Iterator[NDArray[np.floating[Any]]]:
    """The grey values inside, some rows at a time to spare memory."""
    for top in range(0, len(grey), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        yield grey[rows][inside[rows]]


def split(
    grey: NDArray[np.float32],
    inside: NDArray[np.bool_],
    value: float,
    parameters: ThresholdParameters,
) -> NDArray[np.uint8]:
    """Indices (Y, X) of prepared grey values: 0 matrix, 1 phase, 255 outside.

    Fast enough to follow a slider; of the parameters only `phase` and the smallest sizes count.
    """
    return _cleaned(_divided(grey, inside, value, parameters), parameters)


def _divided(
    grey: NDArray[np.float32],
    inside: NDArray[np.bool_],
    value: float,
    parameters: ThresholdParameters,
) -> NDArray[np.uint8]:
    """Indices of the pixels each by itself."""
    bright = grey > value
    indices = (bright if parameters.phase == "bright" else ~bright).astype(np.uint8)
    indices[~inside] = UNLABELLED
    return indices


def _cleaned(indices: NDArray[np.uint8], parameters: ThresholdParameters) -> NDArray[np.uint8]:
    """The same array, its small objects given to the matrix and then its small holes filled."""
    # Diagonal neighbours belong together in the phase, hence not in the matrix.
    if parameters.smallest_area_px > 1:
        indices[_smaller(indices == 1, parameters.smallest_area_px, 8)] = 0
    if parameters.smallest_hole_px > 1:
        indices[_smaller(indices == 0, parameters.smallest_hole_px, 4)] = 1
    return indices


def _smaller(pixels: NDArray[np.bool_], smallest_area: int, connectivity: int) -> NDArray[np.bool_]:
    """Those pixels whose connected object has fewer than `smallest_area` of them."""
    _, objects, boxes, _ = cv2.connectedComponentsWithStats(
        pixels.astype(np.uint8), connectivity=connectivity
    )
    small = boxes[:, cv2.CC_STAT_AREA] < smallest_area
    small[0] = False
    chosen: NDArray[np.bool_] = small[objects]
    return chosen
