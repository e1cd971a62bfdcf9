"""The data bar that a scanning electron microscope burns into its images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .plane import LUMA, ArrayLike, row_blocks
from .regions import Box

_SMALLEST_BAR = 8
_LARGEST_SHARE = 0.4
_COLUMNS_LOOKED_AT = 2048
_MOST_CANDIDATES = 64

# Fractions of the pixels of a row.
_LINE = 0.95
_SAME_AS_ABOVE = 0.8
_BACKGROUND = 0.4
_BACKGROUND_ROWS = 0.85

# How far the grey values of an even row may scatter, as a fraction of the image's range, and what
# share of the row must keep to that. A lossless file meets the first pair, one that went through
# JPEG or a change of size the later ones.
_EVENNESS = ((0.0, 0.95), (2 / 255, 0.95), (8 / 255, 0.92))
_EXACT = 1 / 255
_BLUR = 6 / 255
_TEXT_CONTRAST = 0.35

# Fractions of the bar's pixels, and what "20 µm" beside its bar amounts to.
_TEXT_SHARE = (0.002, 0.5)
_FEWEST_CHARACTERS = 4
_SMALLEST_CHARACTER = 3


def find_data_bar(pixels: ArrayLike) -> Box | None:
    """Find the data bar along the lower or upper edge of an image.

    A data bar is a band over the full width with a sharp straight border, a background of one
    grey value and characters on it. Only the pixels are looked at.

    Parameters
    ----------
    pixels
        (Y, X) or (Y, X, 3 or 4), of any type.

    Returns
    -------
    Box or None
        The band, over the full width and up to the edge of the image; None where there is none.
    """
    if min(pixels.shape[:2]) < 2 * _SMALLEST_BAR:
        return None
    height, width = pixels.shape[:2]
    depth = int(height * _LARGEST_SHARE) + 1
    span = _span(pixels)
    if not span > 0:
        return None
    for from_below in (True, False):
        band = _band(pixels, slice(height - depth, None) if from_below else slice(depth))
        band = band if from_below else band[::-1]
        bar = _bar_height(band, span)
        if bar is not None:
            top = height - bar if from_below else 0
            return Box(top, 0, top + bar, width)
    return None


def _span(pixels: ArrayLike) -> float:
    """Range of the finite values."""
    extremes = []
    for rows in row_blocks(pixels):
        block = np.asarray(pixels[rows])
        colours = block[..., :3] if block.ndim == 3 else block
        if colours.dtype.kind == "f":
            colours = colours[np.isfinite(colours)]
        extremes += [float(colours.min()), float(colours.max())] if colours.size else []
    return max(extremes) - min(extremes) if extremes else 0.0


def _band(pixels: ArrayLike, rows: slice) -> NDArray[np.float32]:
    """(Y, X) grey values of some rows, wide images thinned out to fewer columns."""
    step = max(1, pixels.shape[1] // _COLUMNS_LOOKED_AT)
    grey = np.asarray(pixels[rows, ::step]).astype(np.float32)
    if grey.ndim == 3:
        grey = grey[..., :3] @ LUMA
    return np.nan_to_num(grey) if pixels.dtype.kind == "f" else grey


def _bar_height(band: NDArray[np.float32], span: float) -> int | None:
    """Rows of the data bar along the band's lower edge."""
    best: int | None = None
    for fraction, evenness in _EVENNESS:
        top = _bar_top(band, fraction * span, evenness, span)
        # The strictest tolerance knows best where a bar begins, but may take an inner line for it.
        if top is not None and (best is None or top < best - _SMALLEST_BAR):
            best = top
    return None if best is None else len(band) - best


def _bar_top(
    band: NDArray[np.float32], tolerance: float, evenness: float, span: float
) -> int | None:
    for top in _borders(band, tolerance, evenness):
        if _is_bar(band[top:], tolerance, span):
            return _outermost(band, top, tolerance, span)
    return None


def _borders(band: NDArray[np.float32], tolerance: float, evenness: float) -> list[int]:
    """Rows of one value whose upper neighbours differ from them: where a bar may begin.

    From above to below, so that lines within a bar come after its border.
    """
    values = np.median(band, axis=1, keepdims=True)
    clean = _share(band, values, tolerance) >= evenness
    changed = _share(band[:-1], values[1:], tolerance) < _SAME_AS_ABOVE
    borders = np.flatnonzero(clean[1:] & changed) + 1
    return [int(row) for row in borders if row <= len(band) - _SMALLEST_BAR][:_MOST_CANDIDATES]


def _share(
    rows: NDArray[np.float32], values: NDArray[np.float32], tolerance: float
) -> NDArray[np.float64]:
    share: NDArray[np.float64] = (np.abs(rows - values) <= tolerance).mean(axis=1)
    return share


def _is_bar(bar: NDArray[np.float32], tolerance: float, span: float) -> bool:
    """Whether the rows are an even background with characters on it."""
    background = np.median(np.median(bar, axis=1))
    difference = np.abs(bar - background)
    even_rows = (difference <= tolerance).mean(axis=1) >= _BACKGROUND
    if even_rows.mean() < _BACKGROUND_ROWS or (difference <= _EXACT * span).mean() < _BACKGROUND:
        return False
    strongest = difference.max()
    return bool(strongest > _TEXT_CONTRAST * span) and _holds_text(difference > strongest / 2)


def _holds_text(dark: NDArray[np.bool_]) -> bool:
    """Whether there are as many separate marks as a shortest label has characters."""
    # Frames and separators join characters of neighbouring boxes; they are no text themselves.
    inner = dark & (dark.mean(axis=1, keepdims=True) < _LINE) & (dark.mean(axis=0) < _LINE)
    if not _TEXT_SHARE[0] <= inner.mean() <= _TEXT_SHARE[1]:
        return False
    _, _, boxes, _ = cv2.connectedComponentsWithStats(inner.astype(np.uint8), connectivity=8)
    left, top, width, height, _ = boxes[1:].T
    characters = (height >= _SMALLEST_CHARACTER) & (left > 0) & (top > 0)
    characters &= (left + width < dark.shape[1]) & (top + height < dark.shape[0])
    return int(characters.sum()) >= _FEWEST_CHARACTERS


def _outermost(band: NDArray[np.float32], top: int, tolerance: float, span: float) -> int:
    """Move a border up over rows that compression or a change of size has blurred."""
    alike = max(3 * tolerance, _BLUR * span)
    same = (np.abs(band - np.median(band[top])) <= alike).mean(axis=1) >= _SAME_AS_ABOVE
    highest = max(0, top - _SMALLEST_BAR)
    row = top
    while row > highest and same[row - 1]:
        row -= 1
    # A blurred border has one more row that is half bar, half micrograph.
    return row if row == top and tolerance == 0 else max(highest, row - 1)
