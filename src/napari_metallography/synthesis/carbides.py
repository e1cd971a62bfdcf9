"""SEM micrographs of carbides in a matrix, with the exact truth of every carbide."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from skimage.segmentation import find_boundaries

from ..calibration import Calibration
from ..errors import InputError
from .exposure import Exposure, exposed

Floats = NDArray[np.float64]

_GAP_PX = 2.0
_OVERLAP_PX = 0.5
_ATTEMPTS = 2000
_MATRIX, _CARBIDE, _BOUNDARY = 90.0, 180.0, 150.0


class CarbideParameters(Exposure):
    """What the field and its micrograph look like.

    Attributes
    ----------
    height_px, width_px
        Shape of the image.
    median_radius_px
        Median of the carbides' radii √(a·b), a and b the half axes of each ellipse.
    sigma_ln
        Standard deviation of the logarithm of the radii (log-normal distribution).
    area_fraction
        Expected share of the area.
    largest_aspect_ratio
        Aspect ratios are uniform from 1 to this.
    touching_fraction
        Share of the carbides that touch another, pair by pair.
    boundary_spacing_px
        Mean distance of the matrix's bright boundaries; 0 for none.
    pixel_size_um, blur_px, noise, illumination
        As `exposure.Exposure` has them.
    """

    height_px: int = Field(default=768, ge=64)
    width_px: int = Field(default=1024, ge=64)
    pixel_size_um: float = Field(default=0.0031, gt=0)
    median_radius_px: float = Field(default=12.0, ge=2)
    sigma_ln: float = Field(default=0.4, ge=0, le=1)
    area_fraction: float = Field(default=0.06, gt=0, le=0.15)
    largest_aspect_ratio: float = Field(default=1.8, ge=1, le=3)
    touching_fraction: float = Field(default=0.1, ge=0, le=1)
    boundary_spacing_px: float = Field(default=120.0, ge=0)
    blur_px: float = Field(default=1.0, ge=0)
    noise: float = Field(default=8.0, ge=0)
    illumination: float = Field(default=0.15, ge=0, le=0.5)


@dataclass(frozen=True)
class CarbideField:
    """A synthetic micrograph and its truth.

    Attributes
    ----------
    image
        Shape (Y, X), uint8.
    labels
        Shape (Y, X), uint8: 0 matrix, 1 carbide; a pixel is carbide when its centre is.
    ids
        Shape (Y, X): carbides numbered 1 to n as in the table, 0 elsewhere.
    truth
        One row a carbide of which a pixel shows: `particle`, `radius_um` (√(a·b)), `area_um2`
        (π·a·b), `aspect_ratio`, `orientation_deg` (as `quantification.ellipses` has it),
        `centroid_x_um` and `centroid_y_um` (from the centre of the first pixel; may lie outside
        the image), `crosses_border` (the ellipse is cut by the edge of the image), `touches` (the
        number of the carbide that it touches, 0 for none or for one that does not show).
    number_density_per_mm2
        Of the process that the field is a window on.
    mean_radius_um
        Mean of the log-normal distribution.
    calibration
        Pixel size.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    ids: NDArray[np.int32]
    truth: pd.DataFrame
    number_density_per_mm2: float
    mean_radius_um: float
    calibration: Calibration


@dataclass(frozen=True)
class _Ellipses:
    """Half axes in px, angle of the longer from x towards growing rows, and centres (y, x)."""

    a: Floats
    b: Floats
    angle: Floats
    centres: Floats
    partner: NDArray[np.int64]

    @property
    def half_height(self) -> Floats:
        return np.asarray(np.hypot(self.a * np.sin(self.angle), self.b * np.cos(self.angle)))

    @property
    def half_width(self) -> Floats:
        return np.asarray(np.hypot(self.a * np.cos(self.angle), self.b * np.sin(self.angle)))


def carbide_field(parameters: CarbideParameters, seed: int) -> CarbideField:
    """A field of carbides; the same for the same seed.

    The field is a window on a larger area without ends (a torus), so that carbides cut by its edge
    are as likely as in a real field.

    Raises
    ------
    InputError
        When the carbides do not find room beside each other.
    """
    rng = np.random.default_rng(seed)
    around = _surrounding(parameters)
    ellipses = _unwrapped(_ellipses(parameters, around, rng), around, parameters)
    ids, shown = _drawn(ellipses, parameters)
    pixel_um = parameters.pixel_size_um
    density = len(ellipses.a) / (around[0] * around[1] * pixel_um**2) * 1e6
    mean_radius = parameters.median_radius_px * math.exp(parameters.sigma_ln**2 / 2) * pixel_um
    return CarbideField(
        _micrograph(ids > 0, parameters, rng),
        (ids > 0).astype(np.uint8),
        ids,
        _truth(ellipses, shown, parameters),
        density,
        mean_radius,
        Calibration.square(pixel_um, "synthetic"),
    )


# --- the carbides ----------------------------------------------------------------------------


def _surrounding(parameters: CarbideParameters) -> tuple[int, int]:
    """Shape of the torus: the image and twice the largest carbide around it."""
    largest = parameters.median_radius_px * math.exp(4 * parameters.sigma_ln)
    margin = math.ceil(4 * largest * math.sqrt(parameters.largest_aspect_ratio)) + 2
    return parameters.height_px + margin, parameters.width_px + margin


def _ellipses(
    parameters: CarbideParameters, around: tuple[int, int], rng: np.random.Generator
) -> _Ellipses:
    mean_area = math.pi * parameters.median_radius_px**2 * math.exp(2 * parameters.sigma_ln**2)
    n = max(1, round(parameters.area_fraction * around[0] * around[1] / mean_area))
    # Beyond four standard deviations there is one carbide in 30 000.
    radius = parameters.median_radius_px * np.exp(
        parameters.sigma_ln * np.clip(rng.standard_normal(n), -4, 4)
    )
    aspect = rng.uniform(1, parameters.largest_aspect_ratio, n)
    a, b = radius * np.sqrt(aspect), radius / np.sqrt(aspect)
    pairs = round(parameters.touching_fraction * n / 2)
    partner = np.full(n, -1)
    first, second = rng.permutation(n)[: 2 * pairs].reshape(2, pairs)
    partner[first], partner[second] = second, first
    angle = rng.uniform(-math.pi / 2, math.pi / 2, n)
    # Both of a pair lie alike, so that they touch in one point of an axis.
    angle[second] = angle[first]
    return _placed(_Ellipses(a, b, angle, np.full((n, 2), np.nan), partner), around, rng)


def _placed(ellipses: _Ellipses, around: tuple[int, int], rng: np.random.Generator) -> _Ellipses:
    """The ellipses at random places where they do not come near each other, large ones first."""
    placed = np.zeros(len(ellipses.a), bool)
    for index in np.argsort(-ellipses.a, kind="stable"):
        if placed[index]:
            continue
        members = [int(i) for i in (index, ellipses.partner[index]) if i >= 0]
        ellipses.centres[members] = _free_place(ellipses, members, placed, around, rng)
        placed[members] = True
    return ellipses


def _unwrapped(
    ellipses: _Ellipses, around: tuple[int, int], parameters: CarbideParameters
) -> _Ellipses:
    """Centres counted from the image's first pixel, half of the margin before it."""
    margin = (around[0] - parameters.height_px) / 2
    centres = (ellipses.centres + margin) % around - margin
    return replace(ellipses, centres=centres)


def _free_place(
    ellipses: _Ellipses,
    members: list[int],
    placed: NDArray[np.bool_],
    around: tuple[int, int],
    rng: np.random.Generator,
) -> Floats:
    others, reach = ellipses.centres[placed], ellipses.a[placed] + _GAP_PX
    for _ in range(_ATTEMPTS):
        centres = rng.uniform((0, 0), around) + _offsets(ellipses, members, rng)
        apart = np.abs(centres[:, None] - others)
        apart = np.minimum(apart % around, -apart % around)
        if (np.hypot(*apart.T) > reach[:, None] + ellipses.a[members]).all():
            return np.asarray(centres % around, float)
    raise InputError(
        "the carbides do not find room beside each other; lower area_fraction or their sizes"
    )


def _offsets(ellipses: _Ellipses, members: list[int], rng: np.random.Generator) -> Floats:
    """Places (y, x) of one ellipse or of a touching pair, from the first's centre."""
    offsets = np.zeros((len(members), 2))
    if len(members) > 1:
        lengthwise = rng.random() < 0.5
        angle = ellipses.angle[members[0]] + (0.0 if lengthwise else math.pi / 2)
        reach = (ellipses.a if lengthwise else ellipses.b)[members].sum() - _OVERLAP_PX
        offsets[1] = reach * np.array([math.sin(angle), math.cos(angle)])
    return offsets


# --- what shows ------------------------------------------------------------------------------


def _drawn(
    ellipses: _Ellipses, parameters: CarbideParameters
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """The carbides' numbers where they lie, and the ellipse of each number from 1 on."""
    ids = np.zeros((parameters.height_px, parameters.width_px), np.int32)
    shown: list[int] = []
    for index in range(len(ellipses.a)):
        box, inside = _rasterised(ellipses, index, ids.shape)
        inside &= ids[box] == 0
        if inside.any():
            shown.append(index)
            ids[box][inside] = len(shown)
    return ids, np.array(shown, np.intp)


def _rasterised(
    ellipses: _Ellipses, index: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Where in the image an ellipse may lie, and which pixels' centres are in it."""
    (cy, cx), angle = ellipses.centres[index], ellipses.angle[index]
    halves = ellipses.half_height[index], ellipses.half_width[index]
    top, left = (max(0, math.ceil(c - h)) for c, h in zip((cy, cx), halves, strict=True))
    bottom, right = (
        max(first, min(end, math.floor(c + h) + 1))
        for first, end, c, h in zip((top, left), shape, (cy, cx), halves, strict=True)
    )
    y, x = np.ogrid[top:bottom, left:right]
    along = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
    across = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
    inside = (along / ellipses.a[index]) ** 2 + (across / ellipses.b[index]) ** 2 <= 1
    return (slice(top, bottom), slice(left, right)), inside


def _truth(
    ellipses: _Ellipses, shown: NDArray[np.intp], parameters: CarbideParameters
) -> pd.DataFrame:
    pixel_um = parameters.pixel_size_um
    a, b = ellipses.a[shown], ellipses.b[shown]
    numbers = np.zeros(len(ellipses.a) + 1, np.int64)
    numbers[shown] = np.arange(1, len(shown) + 1)
    # Rows count downwards: counter-clockwise for the eye is the negative angle.
    return pd.DataFrame(
        {
            "particle": np.arange(1, len(shown) + 1),
            "radius_um": np.sqrt(a * b) * pixel_um,
            "area_um2": np.pi * a * b * pixel_um**2,
            "aspect_ratio": a / b,
            "orientation_deg": -np.degrees(ellipses.angle[shown]),
            "centroid_x_um": ellipses.centres[shown, 1] * pixel_um,
            "centroid_y_um": ellipses.centres[shown, 0] * pixel_um,
            "crosses_border": _crossing(ellipses, parameters)[shown],
            "touches": numbers[ellipses.partner[shown]],
        }
    )


def _crossing(ellipses: _Ellipses, parameters: CarbideParameters) -> NDArray[np.bool_]:
    crossing = np.zeros(len(ellipses.a), bool)
    halves = ellipses.half_height, ellipses.half_width
    for axis, length in enumerate((parameters.height_px, parameters.width_px)):
        centre, half = ellipses.centres[:, axis], halves[axis]
        crossing |= (centre - half < -0.5) | (centre + half > length - 0.5)
    return crossing


def _micrograph(
    carbides: NDArray[np.bool_], parameters: CarbideParameters, rng: np.random.Generator
) -> NDArray[np.uint8]:
    grey = np.full(carbides.shape, _MATRIX)
    if parameters.boundary_spacing_px:
        grey[_matrix_boundaries(carbides.shape, parameters.boundary_spacing_px, rng)] = _BOUNDARY
    grey[carbides] = _CARBIDE
    return exposed(grey, parameters, rng)


def _matrix_boundaries(
    shape: tuple[int, ...], spacing_px: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Boundaries of the cells around random points."""
    n = max(2, round(shape[0] * shape[1] / spacing_px**2))
    away = np.ones(shape, bool)
    away[rng.integers(shape[0], size=n), rng.integers(shape[1], size=n)] = False
    nearest = ndimage.distance_transform_edt(away, return_distances=False, return_indices=True)
    cells = nearest[0] * shape[1] + nearest[1]
    found: NDArray[np.bool_] = find_boundaries(cells)  # type: ignore[no-untyped-call]
    return found
