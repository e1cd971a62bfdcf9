"""Particles: connected regions of a class, numbered and measured."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..calibration import Calibration
from ..errors import InputError
from .circles import enclosing_radii
from .crofton import perimeters_um
from .edges import border_of, touching
from .ellipses import ellipses_of
from .feret import feret_diameters_um
from .outlines import hull_areas_px, hulls_of, pixel_corners
from .parameters import QuantifyParameters
from .resolution import RESOLVABLE_AREA_PX
from .runs import renumber, row_blocks, runs_of
from .splitting import split_by_distance, split_by_intensity

CONNECTIVITY = 8


def label_particles(
    indices: NDArray[np.integer], class_index: int, field_mask: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Number the 8-connected regions of a class inside the field.

    Parameters
    ----------
    indices
        Shape (Y, X): class indices.
    class_index
        The class whose regions are particles.
    field_mask
        Shape (Y, X): True inside the field. Pixels outside neither count nor connect.

    Returns
    -------
    Shape (Y, X): 1 to n in the particles, 0 elsewhere.
    """
    mask = (indices == class_index) & field_mask
    _, ids = cv2.connectedComponents(
        mask.view(np.uint8), connectivity=CONNECTIVITY, ltype=cv2.CV_32S
    )
    return np.asarray(ids, np.int32)


def number_particles(
    indices: NDArray[np.integer],
    classes: Sequence[int],
    field_mask: NDArray[np.bool_],
    parameters: QuantifyParameters,
    calibration: Calibration,
    intensity: NDArray[np.number] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Particles of several classes, split where asked for, those too small removed.

    They are numbered in the reading order of their first pixels, whatever the order of classes.

    Parameters
    ----------
    intensity
        Shape (Y, X): grey values, which splitting by them needs.

    Returns
    -------
    ids
        Shape (Y, X): 1 to n in the particles, 0 elsewhere.
    owners
        Shape (n,): the class index of each particle.

    Raises
    ------
    InputError
        When particles are to be split by grey values and there are none.
    """
    ids: NDArray[np.int32] | None = None
    n = 0
    for class_index in classes:
        found = label_particles(indices, class_index, field_mask)
        found_n = _split(
            found, indices == class_index, field_mask, parameters, calibration, intensity
        )
        # The first serves as it is: large images leave no room for one array more.
        ids = found if ids is None else _added(ids, found, n)
        n += found_n
    if ids is None:
        ids = np.zeros(indices.shape, np.int32)
    return _in_reading_order(ids, indices, parameters.smallest_area_px)


def measure_particles(
    ids: NDArray[np.int32],
    field_mask: NDArray[np.bool_],
    calibration: Calibration,
    intensity: NDArray[np.number] | None = None,
    owners: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Measure particles, one row each.

    Parameters
    ----------
    ids
        Shape (Y, X): particles numbered 1 to n without gaps, 0 elsewhere.
    field_mask
        Shape (Y, X): True inside the field and labelled. A particle touches the border when one
        of its pixels has a neighbour, diagonal ones included, that is not, or the image ends.
    intensity
        Shape (Y, X): grey values, for the column `mean_grey`.
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
    where there is none), `touches_border`, and `mean_grey` if an intensity is given.
    """
    runs = runs_of(ids)
    hulls, ellipses = hulls_of(runs), ellipses_of(runs, calibration)
    area_um2 = runs.areas * calibration.pixel_area_um2
    radius = np.sqrt(area_um2 / np.pi)
    feret_max, feret_min = feret_diameters_um(hulls, calibration)
    perimeter = perimeters_um(runs, calibration)
    centroids = np.stack(
        [ellipses.row_px * calibration.y_um, ellipses.column_px * calibration.x_um], axis=1
    )
    table = {
        "particle": np.arange(1, runs.n + 1),
        "area_px": runs.areas,
        "area_um2": area_um2,
        "equivalent_radius_um": radius,
        "equivalent_diameter_um": 2 * radius,
        "enclosing_radius_um": enclosing_radii(pixel_corners(hulls, calibration)),
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
        "touches_border": touching(ids, runs.n, border_of(field_mask)),
    }
    if intensity is not None:
        table["mean_grey"] = _grey_sums(ids, intensity, runs.n) / runs.areas
    return pd.DataFrame(table)


def _split(
    found: NDArray[np.int32],
    inside: NDArray[np.bool_],
    field_mask: NDArray[np.bool_],
    parameters: QuantifyParameters,
    calibration: Calibration,
    intensity: NDArray[np.number] | None,
) -> int:
    """Split the particles of a class as the parameters ask, in place; returns their number."""
    if parameters.split == "none":
        return int(found.max(initial=0))
    if parameters.split == "distance":
        return split_by_distance(found, parameters.split_depth, calibration)
    if intensity is None:
        raise InputError(
            "splitting by intensity needs the grey values; name the image, or split by distance"
        )
    background = field_mask & ~inside
    return split_by_intensity(
        found, intensity, field_mask & inside, background, parameters.split_depth
    )


def _added(ids: NDArray[np.int32], found: NDArray[np.int32], offset: int) -> NDArray[np.int32]:
    for rows in row_blocks(ids.shape):
        np.add(ids[rows], found[rows] + np.int32(offset), out=ids[rows], where=found[rows] > 0)
    return ids


def _in_reading_order(
    ids: NDArray[np.int32], indices: NDArray[np.integer], smallest_area_px: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    runs = runs_of(ids)
    rows, columns = runs.rows[runs.starts], runs.left[runs.starts]
    kept = np.flatnonzero(runs.areas >= smallest_area_px)
    order = kept[np.lexsort((columns[kept], rows[kept]))]
    numbers = np.zeros(runs.n + 1, np.int32)
    numbers[order + 1] = np.arange(1, len(order) + 1)
    renumber(ids, numbers)
    return ids, indices[rows[order], columns[order]].astype(np.int64)


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


def _grey_sums(
    ids: NDArray[np.int32], intensity: NDArray[np.number], n: int
) -> NDArray[np.float64]:
    sums = np.zeros(n + 1)
    for rows in row_blocks(ids.shape):
        inside = ids[rows] > 0
        sums += np.bincount(ids[rows][inside], intensity[rows][inside], minlength=n + 1)
    return sums[1:]
