"""Particles: connected regions of a class, numbered and measured."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..calibration import Calibration
from .circles import enclosing_radii
from .outlines import pixel_corners
from .parameters import QuantifyParameters

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
    mask = ((indices == class_index) & field_mask).astype(np.uint8)
    _, ids = cv2.connectedComponents(mask, connectivity=CONNECTIVITY, ltype=cv2.CV_32S)
    return np.asarray(ids, np.int32)


def number_particles(
    indices: NDArray[np.integer],
    classes: Sequence[int],
    field_mask: NDArray[np.bool_],
    parameters: QuantifyParameters,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Particles of several classes, those that the parameters leave out removed.

    They are numbered in the reading order of their first pixels, whatever the order of classes.

    Returns
    -------
    ids
        Shape (Y, X): 1 to n in the particles, 0 elsewhere.
    owners
        Shape (n,): the class index of each particle.
    """
    ids = np.zeros(indices.shape, np.int32)
    for class_index in classes:
        found = label_particles(indices, class_index, field_mask)
        np.add(ids, found + ids.max(), out=ids, where=found > 0)
    inside, owner = _members(ids)
    kept = _kept(ids, np.bincount(owner), field_mask, parameters)
    first = np.empty(len(kept), np.int64)
    # Of several values given to one element NumPy keeps the last, here the first pixel.
    first[owner[::-1]] = inside[::-1]
    order = np.flatnonzero(kept)[np.argsort(first[kept])]
    numbers = np.zeros(len(kept) + 1, np.int32)
    numbers[order + 1] = np.arange(1, len(order) + 1)
    return numbers[ids], indices.ravel()[first[order]].astype(np.int64)


def measure_particles(
    ids: NDArray[np.int32],
    field_mask: NDArray[np.bool_],
    calibration: Calibration,
    intensity: NDArray[np.number] | None = None,
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

    Returns
    -------
    Columns `particle`, `area_px`, `area_um2`, `equivalent_radius_um` (√(area/π)),
    `enclosing_radius_um` (of the minimum circle around the corners of the particle's pixels, so
    never less than the equivalent radius), `centroid_x_um` and `centroid_y_um` (from the centre
    of the image's first pixel), `centroid_row_px`, `centroid_column_px`, `touches_border`, and
    `mean_grey` if an intensity is given.
    """
    inside, owner = _members(ids)
    areas = np.bincount(owner)
    rows, columns = np.divmod(inside, ids.shape[1])
    row, column = (np.bincount(owner, axis) / areas for axis in (rows, columns))
    area_um2 = areas * calibration.pixel_area_um2
    table = {
        "particle": np.arange(1, len(areas) + 1),
        "area_px": areas,
        "area_um2": area_um2,
        "equivalent_radius_um": np.sqrt(area_um2 / np.pi),
        "enclosing_radius_um": enclosing_radii(pixel_corners(ids, calibration)),
        "centroid_x_um": column * calibration.x_um,
        "centroid_y_um": row * calibration.y_um,
        "centroid_row_px": row,
        "centroid_column_px": column,
        "touches_border": _touching(ids, len(areas), field_mask),
    }
    if intensity is not None:
        table["mean_grey"] = np.bincount(owner, intensity.ravel()[inside]) / areas
    return pd.DataFrame(table)


def _members(ids: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Flat positions of the particles' pixels, and the particle of each counted from 0."""
    inside = np.flatnonzero(ids)
    return inside, ids.ravel()[inside] - np.int32(1)


def _kept(
    ids: NDArray[np.int32],
    areas: NDArray[np.intp],
    field_mask: NDArray[np.bool_],
    parameters: QuantifyParameters,
) -> NDArray[np.bool_]:
    kept = areas >= parameters.smallest_area_px
    if parameters.edge_rule == "exclude-border":
        kept &= ~_touching(ids, len(areas), field_mask)
    return kept


def _touching(
    ids: NDArray[np.int32], n_particles: int, field_mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    interior = cv2.erode(
        field_mask.astype(np.uint8),
        np.ones((3, 3), np.uint8),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    ).astype(bool)
    touching = np.zeros(n_particles + 1, bool)
    touching[ids[~interior]] = True
    return touching[1:]
