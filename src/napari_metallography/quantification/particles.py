"""Particles: connected regions of a class, numbered and measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..calibration import Calibration
from ..classes import UNLABELLED
from ..errors import InputError
from ..plane import ArrayLike
from .circles import enclosing_radii
from .crofton import perimeters_um
from .ellipses import ellipses_of
from .feret import feret_diameters_um
from .outlines import Hulls, hull_areas_px, hulls_of, pixel_corners
from .parameters import QuantifyParameters
from .resolution import RESOLVABLE_AREA_PX
from .runs import Runs, joined, stretches
from .splitting import split_by_distance, split_by_intensity
from .strips import LabelledPlane

CONNECTIVITY = 8

_AT_A_TIME = 4096


def find_particles(
    plane: LabelledPlane,
    classes: Sequence[int],
    parameters: QuantifyParameters,
    calibration: Calibration,
    intensity: ArrayLike | None = None,
) -> tuple[Runs, NDArray[np.int64]]:
    """Particles of several classes, split where asked for, those too small left out.

    They are the 8-connected regions of a class inside the field, numbered in the reading order of
    their first pixels, whatever the order of classes.

    Parameters
    ----------
    intensity
        Shape (Y, X): grey values, which splitting by them needs.

    Returns
    -------
    The particles, and shape (n,): the class index of each.

    Raises
    ------
    InputError
        When particles are to be split by grey values and there are none.
    """
    regions, owners = _regions(plane, classes)
    if parameters.split != "none":
        regions, owners = _split(regions, owners, plane, parameters, calibration, intensity)
    found, order = regions.in_reading_order(regions.areas >= parameters.smallest_area_px)
    return found, owners[order]


def measure_particles(
    runs: Runs,
    touches_border: NDArray[np.bool_],
    calibration: Calibration,
    grey_sums: NDArray[np.float64] | None = None,
    owners: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Measure particles, one row each.

    Parameters
    ----------
    touches_border
        Shape (n,): whether the edge of the field, or of what is labelled in it, cuts the particle.
    grey_sums
        Shape (n,): sum of the grey values of each particle, for the column `mean_grey`.
    owners
        Shape (n,): the class of each particle; all one class when not given.

    Returns
    -------
    `particle`, `area_px`, `area_um2`;
    `equivalent_radius_um` (√(area/π)) and `equivalent_diameter_um`;
    `enclosing_radius_um` (of the minimum circle around the corners of the particle's pixels, so
    never less than the equivalent radius);
    `feret_max_um`, `feret_min_um` (see `feret.feret_diameters_um`) and `aspect_ratio`, the larger
    over the smaller;
    `major_axis_um`, `minor_axis_um`, `orientation_deg` (of the ellipse of the same second moments,
    see `ellipses.Ellipses`);
    `perimeter_um` (see `crofton.perimeters_um`), `circularity` (4π·area/perimeter²; NaN for
    particles too small for it), `solidity` (area over that of the convex hull of its pixels);
    `centroid_x_um`, `centroid_y_um` (from the centre of the image's first pixel),
    `centroid_row_px`, `centroid_column_px`;
    `top_px`, `left_px`, `bottom_px`, `right_px` (the bounding box, lower and right end excluded);
    `nearest_neighbour_um` (from centroid to centroid of the nearest particle of its class, NaN
    where there is none), `touches_border`, and `mean_grey` if grey values are given.
    """
    hulls, ellipses = hulls_of(runs), ellipses_of(runs, calibration)
    area_um2 = runs.areas * calibration.pixel_area_um2
    radius = np.sqrt(area_um2 / np.pi)
    feret_max, feret_min = feret_diameters_um(hulls, calibration)
    perimeter = _perimeters(runs, calibration)
    centroids = np.stack(
        [ellipses.row_px * calibration.y_um, ellipses.column_px * calibration.x_um], axis=1
    )
    table = {
        "particle": np.arange(1, runs.n + 1),
        "area_px": runs.areas,
        "area_um2": area_um2,
        "equivalent_radius_um": radius,
        "equivalent_diameter_um": 2 * radius,
        "enclosing_radius_um": _enclosing_radii(hulls, calibration),
        "feret_max_um": feret_max,
        "feret_min_um": feret_min,
        "aspect_ratio": feret_max / feret_min,
        "major_axis_um": ellipses.major_um,
        "minor_axis_um": ellipses.minor_um,
        "orientation_deg": ellipses.orientation_deg,
        "perimeter_um": perimeter,
        "circularity": np.where(
            runs.areas < RESOLVABLE_AREA_PX, np.nan, 4 * np.pi * area_um2 / perimeter**2
        ),
        "solidity": runs.areas / hull_areas_px(hulls),
        "centroid_x_um": centroids[:, 1],
        "centroid_y_um": centroids[:, 0],
        "centroid_row_px": ellipses.row_px,
        "centroid_column_px": ellipses.column_px,
        **dict(zip(("top_px", "left_px", "bottom_px", "right_px"), runs.boxes.T, strict=True)),
        "nearest_neighbour_um": _nearest_neighbours(centroids, owners),
        "touches_border": touches_border,
    }
    if grey_sums is not None:
        table["mean_grey"] = grey_sums / runs.areas
    return pd.DataFrame(table)


def _regions(plane: LabelledPlane, classes: Sequence[int]) -> tuple[Runs, NDArray[np.int64]]:
    """The 8-connected regions of some classes, and the class index of each."""
    stretches_of_classes, occurring = _class_runs(plane, classes)
    regions, owners = stretches_of_classes.parted()
    return regions, occurring[owners]


def _class_runs(plane: LabelledPlane, classes: Sequence[int]) -> tuple[Runs, NDArray[np.int64]]:
    """Each of some classes as one particle, and the index of each that occurs."""
    rows, left, right, phases = joined(_of_classes(plane, classes))
    occurring = np.flatnonzero(np.bincount(phases, minlength=UNLABELLED))
    return Runs.grouped(rows, left, right, np.searchsorted(occurring, phases)), occurring


def _of_classes(
    plane: LabelledPlane, classes: Sequence[int]
) -> Iterator[tuple[NDArray[np.integer], ...]]:
    """Stretches of some classes: rows, left, right and class index of each."""
    # Class indices are counted from 1 here: stretches are of values that are not 0.
    value = np.where(np.isin(np.arange(UNLABELLED), classes), np.arange(1, UNLABELLED + 1), 0)
    values = np.append(value, 0).astype(np.uint8)
    for strip in plane.strips():
        chosen = values[strip.coded]
        rows, left, right = stretches(chosen)
        yield rows + strip.rows.start, left, right, chosen[rows, left] - np.uint8(1)


def _split(
    regions: Runs,
    owners: NDArray[np.int64],
    plane: LabelledPlane,
    parameters: QuantifyParameters,
    calibration: Calibration,
    intensity: ArrayLike | None,
) -> tuple[Runs, NDArray[np.int64]]:
    """Split the regions of each class as the parameters ask, and the class index of each part."""
    depth = parameters.split_depth
    levels = _grey_levels(plane, intensity) if parameters.split == "intensity" else None
    found, classes, n = [], [owners[:0]], 0
    for class_index in np.unique(owners).tolist():
        parts = regions.of(owners == class_index)
        if levels is None or intensity is None:
            parts = split_by_distance(parts, depth, calibration)
        else:
            parts = split_by_intensity(parts, intensity, *levels.around(class_index), depth)
        found.append((parts.rows, parts.left, parts.right, parts.owner + n))
        classes.append(np.full(parts.n, class_index))
        n += parts.n
    return Runs.grouped(*joined(found)) if found else regions, np.concatenate(classes)


@dataclass(frozen=True)
class _GreyLevels:
    """Sum and number of the finite grey values of each class, shape (c,)."""

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]

    def around(self, class_index: int) -> tuple[float, float]:
        """Mean grey value of a class and of all others; 0 where there is none."""
        own = np.arange(len(self.counts)) == class_index
        return self._mean(own), self._mean(~own)

    def _mean(self, chosen: NDArray[np.bool_]) -> float:
        return float(self.sums[chosen].sum() / max(1, self.counts[chosen].sum()))


def _grey_levels(plane: LabelledPlane, intensity: ArrayLike | None) -> _GreyLevels:
    if intensity is None:
        raise InputError(
            "splitting by intensity needs the grey values; name the image, or split by distance"
        )
    sums, n = [], plane.n_classes
    counts = np.zeros(n + 1, np.int64)
    for strip in plane.strips():
        values = np.asarray(intensity[strip.rows]).astype(float)
        finite = np.isfinite(values)
        # Row by row, so that no rounding depends on how high the strips are.
        of = np.minimum(strip.coded, n) + (n + 1) * np.arange(len(values))[:, None]
        lines = np.bincount(of[finite], values[finite], minlength=(n + 1) * len(values))
        sums.append(lines.reshape(-1, n + 1))
        counts += np.bincount(of[finite] % (n + 1), minlength=n + 1)
    return _GreyLevels(np.concatenate(sums).sum(axis=0)[:n], counts[:n])


def _perimeters(runs: Runs, calibration: Calibration) -> NDArray[np.float64]:
    perimeters = [perimeters_um(part, calibration) for part in runs.parts(_AT_A_TIME)]
    return np.concatenate([np.zeros(0), *perimeters])


def _enclosing_radii(hulls: Hulls, calibration: Calibration) -> NDArray[np.float64]:
    radii = [enclosing_radii(pixel_corners(part, calibration)) for part in hulls.parts(_AT_A_TIME)]
    return np.concatenate([np.zeros(0), *radii])


def _nearest_neighbours(
    centroids: NDArray[np.float64], owners: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    owners = np.zeros(len(centroids), np.int64) if owners is None else owners
    distances = np.full(len(centroids), np.nan)
    for owner in np.unique(owners):
        alike = np.flatnonzero(owners == owner)
        if len(alike) > 1:
            found, _ = cKDTree(centroids[alike]).query(centroids[alike], k=2)
            distances[alike] = found[:, 1]
    return distances
