"""Micrographs of etched polycrystals, with the exact truth of every grain and boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..calibration import Calibration
from ..grains.standards import intercept_g, intercept_mm_of, planimetric_g
from .exposure import Exposure, exposed
from .tessellation import Tessellation, laguerre

Floats = NDArray[np.float64]

_FINE = 3
"""Pixels are drawn this many times finer, for boundaries of any width."""

_BITS = 6
_SURFACE = 165.0
_LARGEST_PIT_PX = 4
_FARTHEST = 2**30


class PolycrystalParameters(Exposure):
    """What the polycrystal and its micrograph look like.

    Attributes
    ----------
    height_px, width_px
        Shape of the image.
    grain_size
        ASTM grain-size number G by the mean intercept of the true boundaries.
    sigma_ln
        Spread of the logarithm of the areas of the discs that generate the grains; the grains'
        own areas spread more: by some 0.5 for 0.3, and 0.8 for 0.6.
    etch
        "boundaries" etches grooves; "grains" colours the grains in different greys besides;
        "colour" in different hues.
    boundary_px
        Width of the grooves.
    contrast
        How much darker the grooves are than the surface.
    missing
        Share of the boundaries that the etchant did not show.
    grain_grey
        Standard deviation of the grains' grey values.
    twinned
        Share of the grains with annealing twins, which are no grains.
    scratches
        Number of scratches across the field.
    pits
        Number of etch pits per million pixels.
    pixel_size_um, blur_px, noise, illumination
        As `exposure.Exposure` has them.
    """

    height_px: int = Field(default=768, ge=32)
    width_px: int = Field(default=1024, ge=32)
    pixel_size_um: float = Field(default=0.5, gt=0)
    grain_size: float = Field(default=8.0, ge=-2, le=16)
    sigma_ln: float = Field(default=0.4, ge=0, le=1)
    etch: Literal["boundaries", "grains", "colour"] = "boundaries"
    boundary_px: float = Field(default=2.0, gt=0, le=10)
    contrast: float = Field(default=0.45, gt=0, le=1)
    missing: float = Field(default=0.0, ge=0, le=0.5)
    grain_grey: float = Field(default=8.0, ge=0, le=40)
    twinned: float = Field(default=0.0, ge=0, le=1)
    scratches: int = Field(default=0, ge=0)
    pits: float = Field(default=0.0, ge=0)
    blur_px: float = Field(default=0.8, ge=0)
    illumination: float = Field(default=0.1, ge=0, le=0.5)
    noise: float = Field(default=5.0, ge=0)


@dataclass(frozen=True)
class Polycrystal:
    """A synthetic micrograph and its truth.

    Attributes
    ----------
    image
        uint8 (Y, X), or (Y, X, 3) when etched in colour.
    grains
        (Y, X) int32: grains numbered from 1.
    boundaries
        (Y, X) bool: true boundaries, one pixel wide, also those the etchant did not show; no
        twins.
    twins
        (Y, X) bool: inside of twins.
    planimetric_g, intercept_g
        ASTM grain-size numbers of the true boundaries, from the triple points and the length of
        boundary in the field.
    mean_intercept_um
        Of the true boundaries, over all places and directions.
    """

    image: NDArray[np.uint8]
    grains: NDArray[np.int32]
    boundaries: NDArray[np.bool_]
    twins: NDArray[np.bool_]
    planimetric_g: float
    intercept_g: float
    mean_intercept_um: float
    calibration: Calibration


def polycrystal(parameters: PolycrystalParameters, seed: int) -> Polycrystal:
    """A polycrystal of a wanted grain size; the same for the same seed.

    Raises
    ------
    InputError
        When the image is smaller than a grain.
    """
    rng = np.random.default_rng(seed)
    pixel_mm = parameters.pixel_size_um / 1000
    shape = parameters.height_px, parameters.width_px
    wanted_px = intercept_mm_of(parameters.grain_size) / pixel_mm
    cells = laguerre(shape, wanted_px, parameters.sigma_ln, rng)
    twins = _twins(cells, parameters.twinned, rng)
    return Polycrystal(
        _micrograph(cells, twins, parameters, rng),
        _grains(cells),
        _lines(shape, cells.vertices[cells.edges]),
        _filled(shape, [twin.corners for twin in twins]),
        planimetric_g(1 / (cells.mean_area * pixel_mm**2)),
        intercept_g(cells.mean_intercept * pixel_mm),
        cells.mean_intercept * parameters.pixel_size_um,
        Calibration.square(parameters.pixel_size_um, "synthetic"),
    )


# --- twins -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Twin:
    """A band across a grain: its corners (n, 2) y and x, and its two straight sides."""

    corners: Floats
    sides: Floats


def _twins(cells: Tessellation, share: float, rng: np.random.Generator) -> list[_Twin]:
    """Parallel bands in some grains."""
    found: list[_Twin] = []
    for cell in cells.cells:
        if rng.random() >= share:
            continue
        corners = cells.vertices[cell]
        angle = rng.uniform(0, math.pi)
        normal = np.array([math.sin(angle), math.cos(angle)])
        heights = corners @ normal
        reach = float(np.ptp(heights))
        start = heights.min() + rng.uniform(0.1, 0.35) * reach
        for _ in range(rng.integers(1, 3)):
            end = start + rng.uniform(0.1, 0.25) * reach
            found += _band(corners, normal, float(start), float(end))
            start = end + rng.uniform(0.1, 0.2) * reach
    return found


def _band(corners: Floats, normal: Floats, start: float, end: float) -> list[_Twin]:
    """The part of a convex polygon between two parallel lines; none when it is empty."""
    above, first = _cut(corners, normal, start)
    inside, second = _cut(above, -normal, -end)
    if len(inside) < 3 or len(first) < 2 or len(second) < 2:
        return []
    return [_Twin(inside, np.stack([first, second]))]


def _cut(corners: Floats, normal: Floats, height: float) -> tuple[Floats, Floats]:
    """The part of a convex polygon above a line, and the ends of its side on that line."""
    heights = corners @ normal - height
    kept: list[Floats] = []
    ends: list[Floats] = []
    for i, (corner, h) in enumerate(zip(corners, heights, strict=True)):
        after, next_h = corners[(i + 1) % len(corners)], heights[(i + 1) % len(corners)]
        if h >= 0:
            kept.append(corner)
        if (h >= 0) != (next_h >= 0):
            ends.append(corner + (after - corner) * h / (h - next_h))
            kept.append(ends[-1])
    return np.array(kept).reshape(-1, 2), np.array(ends).reshape(-1, 2)


# --- drawing ---------------------------------------------------------------------------------


def _points(places: Floats, fine: int = 1) -> NDArray[np.int32]:
    """x and y as the drawing functions take them; (0, 0) is the corner of the first pixel."""
    drawn = np.rint((places[..., ::-1] * fine - 0.5) * 2**_BITS)
    # Corners of cells far outside may lie anywhere; they are not drawn.
    return np.asarray(np.clip(drawn, -_FARTHEST, _FARTHEST), np.int32)


def _grains(cells: Tessellation) -> NDArray[np.int32]:
    """Numbers from 1 in the order in which the grains show."""
    drawn = np.zeros(cells.shape, np.int32)
    points = _points(cells.vertices)
    for number, cell in enumerate(cells.cells, start=1):
        cv2.fillConvexPoly(drawn, points[cell], number, shift=_BITS)
    return np.unique(drawn, return_inverse=True)[1].reshape(drawn.shape).astype(np.int32) + 1


def _lines(shape: tuple[int, int], segments: Floats) -> NDArray[np.bool_]:
    drawn = np.zeros(shape, np.uint8)
    cv2.polylines(drawn, [*_points(segments)], False, 1, 1, cv2.LINE_8, _BITS)
    return drawn > 0


def _filled(shape: tuple[int, int], polygons: list[Floats]) -> NDArray[np.bool_]:
    drawn = np.zeros(shape, np.uint8)
    for corners in polygons:
        cv2.fillConvexPoly(drawn, _points(corners), 1, shift=_BITS)
    return drawn > 0


def _grooves(
    shape: tuple[int, int],
    segments: Floats,
    parameters: PolycrystalParameters,
    rng: np.random.Generator,
) -> Floats:
    """How far each pixel is etched away, 0 to 1: boundaries of varying depth, some missing."""
    fine = np.zeros((shape[0] * _FINE, shape[1] * _FINE), np.uint8)
    depth = rng.uniform(0.7, 1.0, len(segments)) * (rng.random(len(segments)) >= parameters.missing)
    width = max(1, round(parameters.boundary_px * _FINE))
    # The deepest last, so that a faint boundary does not cut across it.
    ends = _points(segments, _FINE)
    for index in np.argsort(depth):
        if depth[index]:
            start, end = ends[index]
            cv2.line(fine, start, end, int(255 * depth[index]), width, cv2.LINE_8, _BITS)
    return np.asarray(cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA) / 255.0, float)


def _micrograph(
    cells: Tessellation,
    twins: list[_Twin],
    parameters: PolycrystalParameters,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    surface = _surface(cells, twins, parameters, rng)
    segments = [cells.vertices[cells.edges], *(twin.sides for twin in twins)]
    grooves = _grooves(cells.shape, np.concatenate(segments), parameters, rng)
    grooves = np.maximum(grooves, _pits(cells.shape, parameters, rng))
    darker = 1 - parameters.contrast * grooves
    surface *= darker.reshape(*cells.shape, *(1 for _ in surface.shape[2:]))
    _scratch(surface, parameters.scratches, rng)
    return exposed(surface, parameters, rng)


def _surface(
    cells: Tessellation,
    twins: list[_Twin],
    parameters: PolycrystalParameters,
    rng: np.random.Generator,
) -> Floats:
    """Grey values (Y, X), or colours (Y, X, 3), of the grains and their twins."""
    channels = 3 if parameters.etch == "colour" else 1
    drawn = np.full((*cells.shape, channels), _SURFACE, np.float32)
    points = _points(cells.vertices)
    polygons = [*(points[cell] for cell in cells.cells), *(_points(t.corners) for t in twins)]
    for corners in polygons:
        tone = _tone(parameters, rng)
        cv2.fillConvexPoly(drawn, corners, tone, shift=_BITS)
    return np.asarray(drawn if channels == 3 else drawn[..., 0], float)


def _tone(parameters: PolycrystalParameters, rng: np.random.Generator) -> list[float]:
    grey = _SURFACE + parameters.grain_grey * float(rng.standard_normal())
    if parameters.etch == "boundaries":
        return [_SURFACE + (grey - _SURFACE) / 2]
    if parameters.etch == "grains":
        return [grey]
    turn = rng.uniform(0, 2 * math.pi)
    return [grey + 40 * math.cos(turn + shift) for shift in (0.0, 2.1, 4.2)]


def _pits(
    shape: tuple[int, int], parameters: PolycrystalParameters, rng: np.random.Generator
) -> Floats:
    drawn = np.zeros(shape, np.uint8)
    for _ in range(rng.poisson(parameters.pits * shape[0] * shape[1] / 1e6)):
        y, x = rng.uniform(0, shape)
        radius = rng.uniform(1, _LARGEST_PIT_PX)
        middle = _points(np.array([y, x])).tolist()
        cv2.circle(drawn, middle, int(radius * 2**_BITS), 255, -1, cv2.LINE_AA, _BITS)
    return drawn / 255.0


def _scratch(surface: Floats, count: int, rng: np.random.Generator) -> None:
    """Straight scratches from edge to edge, brighter or darker than the surface; in place."""
    height, width = surface.shape[:2]
    for _ in range(count):
        middle, angle = rng.uniform(0, (height, width)), rng.uniform(0, math.pi)
        reach = math.hypot(height, width) * np.array([math.sin(angle), math.cos(angle)])
        drawn = np.zeros((height, width), np.uint8)
        start, end = _points(np.stack([middle - reach, middle + reach]))
        cv2.line(drawn, start, end, 255, 1, cv2.LINE_AA, _BITS)
        surface[drawn > 0] += rng.choice([-1, 1]) * rng.uniform(10, 35)
