"""Parts that synthetic structures are drawn with: cells, lines, ellipses and streaks.

Lengths are in pixels of the image; drawing is finer than the image and brought to it by averaging.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .tessellation import Tessellation, power_diagram

Floats = NDArray[np.float64]
Shape = tuple[int, int]

_FINE = 2
_BITS = 6
_FARTHEST = 2**24
_CELLS_AROUND = 3.0
_JITTER = 0.42


def grown_cells(
    shape: Shape, size_px: float, sigma_ln: float, rng: np.random.Generator
) -> Tessellation:
    """Laguerre cells of about `size_px` across, also where one of them fills the field.

    `sigma_ln` is the spread of the logarithm of the areas of the discs that generate the cells.
    """
    seeds = lattice(shape, size_px, _CELLS_AROUND * size_px, _JITTER, rng)
    areas = size_px**2 * np.exp(sigma_ln * rng.standard_normal(len(seeds)) - sigma_ln**2 / 2)
    return power_diagram(seeds, areas / math.pi, shape)


def lattice(
    shape: Shape, step_px: float, beyond_px: float, jitter: float, rng: np.random.Generator
) -> Floats:
    """Random points (n, 2), y and x, one around each point of a square lattice.

    Parameters
    ----------
    beyond_px
        How far the lattice reaches beyond the field.
    jitter
        Largest displacement in each direction, relative to the step.
    """
    counts = [math.ceil((length + 2 * beyond_px) / step_px) + 1 for length in shape]
    start = rng.uniform(0, step_px, 2) - beyond_px - step_px
    places = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), -1).reshape(-1, 2)
    return np.asarray(start + step_px * (places + rng.uniform(-jitter, jitter, places.shape)))


def cell_numbers(cells: Tessellation) -> NDArray[np.int32]:
    """The number (Y, X) of the cell that each pixel lies in."""
    drawn = np.zeros(cells.shape, np.int32)
    points = fixed_point(cells.vertices, 1)
    for number, cell in enumerate(cells.cells):
        cv2.fillConvexPoly(drawn, points[cell], number, shift=_BITS)
    return drawn


def borders(cells: Tessellation, widths_px: Floats, levels: Floats) -> Floats:
    """The cells' borders (Y, X), 0 to 1, each of its own width and level."""

    def draw(canvas: NDArray[np.uint8]) -> None:
        ends = fixed_point(cells.vertices[cells.edges], _FINE)
        for index in np.argsort(levels):
            width = max(1, round(widths_px[index] * _FINE))
            start, end = ends[index].tolist()
            cv2.line(canvas, start, end, int(255 * levels[index]), width, cv2.LINE_AA, _BITS)

    return _drawn(cells.shape, draw)


def ellipses(shape: Shape, centres: Floats, half_axes: Floats, angles: Floats) -> Floats:
    """Filled ellipses (Y, X), 0 to 1.

    Parameters
    ----------
    centres, half_axes
        (n, 2): y and x; the longer and the shorter one.
    angles
        (n,) of the longer axis in radians, from x towards growing rows.
    """

    def draw(canvas: NDArray[np.uint8]) -> None:
        places = fixed_point(centres, _FINE)
        # Filled outlines take the pixels that they pass through.
        axes = np.maximum(np.rint((half_axes * _FINE - 0.5) * 2**_BITS), 1).astype(int)
        for place, axis, angle in zip(places, axes, np.degrees(angles), strict=True):
            box = (*place.tolist(),), (*axis.tolist(),)
            cv2.ellipse(canvas, *box, float(angle), 0, 360, 255, -1, cv2.LINE_AA, _BITS)

    return _drawn(shape, draw)


def needles(
    shape: Shape, centres: Floats, lengths: Floats, widths: Floats, angles: Floats
) -> Floats:
    """Plates cut across, (Y, X), 0 to 1: long hexagons that end in points."""
    along = np.stack([np.sin(angles), np.cos(angles)], 1)
    across = along[:, ::-1] * [1, -1]
    outline = np.array([[-1, 0], [-0.8, 1], [0.8, 1], [1, 0], [0.8, -1], [-0.8, -1]]) / 2
    corners = (
        centres[:, None]
        + outline[:, :1] * (lengths[:, None] * along)[:, None]
        + outline[:, 1:] * (widths[:, None] * across)[:, None]
    )

    def draw(canvas: NDArray[np.uint8]) -> None:
        for polygon in fixed_point(corners, _FINE):
            cv2.fillConvexPoly(canvas, polygon, 255, cv2.LINE_AA, _BITS)

    return _drawn(shape, draw)


def smooth_noise(shape: Shape, wavelength_px: float, rng: np.random.Generator) -> Floats:
    """Random values (Y, X) around 0, of a standard deviation below 1, that vary smoothly."""
    step = max(wavelength_px / 2, 1.0)
    counts = [math.ceil(length / step) + 4 for length in shape]
    coarse = rng.standard_normal(counts)
    y, x = (np.arange(length) / step + 1 + rng.random() for length in shape)
    return _interpolated(coarse, *np.meshgrid(y, x, indexing="ij"))


def streaks(
    shape: Shape, length_px: float, width_px: float, angle: float, rng: np.random.Generator
) -> Floats:
    """Random values (Y, X) around 0, alike along streaks of an angle from x to growing rows."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    along = (y * math.sin(angle) + x * math.cos(angle)) / max(length_px, 1.0)
    across = (y * math.cos(angle) - x * math.sin(angle)) / max(width_px / 2, 1.0)
    along, across = along - along.min() + 1, across - across.min() + 1
    counts = math.ceil(across.max()) + 3, math.ceil(along.max()) + 3
    return _interpolated(rng.standard_normal(counts), across, along)


def bent(image: Floats, amplitude_px: float, wavelength_px: float, seed: int) -> Floats:
    """An image (Y, X) with its straight lines bent; the same bends for the same seed."""
    rng = np.random.default_rng(seed)
    shape = image.shape[0], image.shape[1]
    y, x = np.mgrid[: shape[0], : shape[1]]
    down, right = (amplitude_px * smooth_noise(shape, wavelength_px, rng) for _ in range(2))
    return _interpolated(image, y + down, x + right)


def fixed_point(places: Floats, fine: int) -> NDArray[np.int32]:
    """x and y as the drawing functions take them; (0, 0) is the corner of the first pixel."""
    drawn = np.rint((places[..., ::-1] * fine - 0.5) * 2**_BITS)
    # Corners of cells far outside may lie anywhere; they are not drawn.
    return np.asarray(np.clip(drawn, -_FARTHEST, _FARTHEST), np.int32)


def _drawn(shape: Shape, draw: Callable[[NDArray[np.uint8]], None]) -> Floats:
    canvas = np.zeros((shape[0] * _FINE, shape[1] * _FINE), np.uint8)
    draw(canvas)
    return np.asarray(cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA) / 255.0, float)


def _interpolated(values: Floats, y: NDArray[Any], x: NDArray[Any]) -> Floats:
    found = cv2.remap(
        values.astype(np.float32),
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR if values.shape == y.shape else cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(found, float)
