"""Phases: area fractions, their boundaries, and what their particles amount to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import PhaseClass
from .boundaries import Crossings, ratio
from .parameters import RollingDirection
from .statistics import weighted_mean_and_s

_UM2_PER_MM2 = 1e6
_UM_PER_MM = 1e3

Floats = NDArray[np.float64]


def measure_phases(
    pixels: NDArray[np.int64],
    classes: Sequence[PhaseClass],
    field_px: int,
    calibration: Calibration,
    particles: pd.DataFrame,
    particle_classes: Sequence[int],
    counted_px: int | None = None,
) -> pd.DataFrame:
    """Measure the phases of one plane, one row each.

    Parameters
    ----------
    pixels
        Shape (c,): of each class inside the field.
    field_px
        Pixels of the field, unlabelled ones included.
    particles
        The plane's particles with columns `class_index`, `equivalent_radius_um` and `weight`, for
        how many particles each stands.
    particle_classes
        The classes that were measured as particles; the others have no particle values.
    counted_px
        The area in pixels that particles were counted in; the labelled field when not given.

    Returns
    -------
    Columns `phase`, `class_index`, `area_um2`, `area_fraction` (of the labelled part of the
    field; NaN when nothing is labelled), `field_area_um2`, `labelled_area_um2`, `n_particles`,
    `mean_radius_um` and `std_radius_um` (of the equivalent radius, over particles by weight),
    `number_density_per_mm2` (sum of weights over the counted area), `mean_area_um2` (Ā, the mean
    area of those same particles by weight). The phases' areas and fractions count every pixel of
    the phase, whatever particles are left out.

    Source: ASTM E1245 (Ā).
    """
    labelled = int(pixels.sum())
    labelled_um2 = labelled * calibration.pixel_area_um2
    counted_um2 = (labelled if counted_px is None else counted_px) * calibration.pixel_area_um2
    table = pd.DataFrame(
        {
            "phase": pd.Series([phase.name for phase in classes], dtype=object),
            "class_index": np.arange(len(classes)),
            "area_um2": pixels * calibration.pixel_area_um2,
            "area_fraction": ratio(pixels, labelled),
            "field_area_um2": field_px * calibration.pixel_area_um2,
            "labelled_area_um2": labelled_um2,
        }
    )
    radii = _radii(particles, particle_classes, len(classes))
    density = ratio(radii["stands_for"].to_numpy(float), counted_um2 / _UM2_PER_MM2)
    table["n_particles"] = radii["count"].astype("Int64")
    table["mean_radius_um"] = radii["mean"]
    table["std_radius_um"] = radii["std"]
    table["number_density_per_mm2"] = density
    table["mean_area_um2"] = radii["area"]
    return table


def boundary_columns(
    crossings: Crossings,
    area_fractions: Floats,
    calibration: Calibration,
    rolling_direction: RollingDirection,
    split_classes: Sequence[int],
    hidden: Sequence[int] = (),
) -> dict[str, Floats]:
    """Columns of chords, free paths, boundaries, contiguity and banding, one value a phase.

    Parameters
    ----------
    area_fractions
        Shape (c,): of each phase.
    rolling_direction
        Bands lie along it.
    split_classes
        Classes whose touching particles were told apart; the others have no contiguity.
    hidden
        Classes along whose boundaries seams without labels run: how long these are is not known.

    Returns
    -------
    `n_intercepts_horizontal`, `n_intercepts_vertical` (pieces of the phase that lines of pixels
    cross; those that the edge or a seam cuts count half), `intercepts_horizontal_per_mm`,
    `intercepts_vertical_per_mm` (N_L, those per length of line), `mean_chord_horizontal_um`,
    `mean_chord_vertical_um` (A_A/N_L),
    `mean_free_path_horizontal_um`, `mean_free_path_vertical_um` (λ = (1 − A_A)/N_L),
    `specific_boundary_length_per_mm` (mm of boundary per mm², see `crofton`), `contiguity`,
    `anisotropy_index` (AI = N_L⊥/N_L∥, across over along the rolling direction) and `omega12`
    (Ω12 = (N_L⊥ − N_L∥)/(N_L⊥ + 0.571·N_L∥)); NaN where a phase has no boundary, or a hidden one.

    Source: ASTM E1245 (λ), E1268 (banding).
    """
    horizontal, vertical = crossings.intercepts_per_um(calibration)
    across, along = (
        (vertical, horizontal) if rolling_direction == "horizontal" else (horizontal, vertical)
    )
    told_apart = np.isin(np.arange(len(area_fractions)), split_classes)
    n_horizontal, n_vertical = crossings.n_intercepts
    columns = {
        "n_intercepts_horizontal": n_horizontal,
        "n_intercepts_vertical": n_vertical,
        "intercepts_horizontal_per_mm": horizontal * _UM_PER_MM,
        "intercepts_vertical_per_mm": vertical * _UM_PER_MM,
        "mean_chord_horizontal_um": ratio(area_fractions, horizontal),
        "mean_chord_vertical_um": ratio(area_fractions, vertical),
        "mean_free_path_horizontal_um": ratio(1 - area_fractions, horizontal),
        "mean_free_path_vertical_um": ratio(1 - area_fractions, vertical),
        "specific_boundary_length_per_mm": crossings.boundary_per_um(calibration) * _UM_PER_MM,
        "contiguity": np.where(told_apart, crossings.contiguity(calibration), np.nan),
        "anisotropy_index": ratio(across, along),
        "omega12": ratio(across - along, across + 0.571 * along),
    }
    known = ~np.isin(np.arange(len(area_fractions)), hidden)
    return {name: np.where(known, values, np.nan) for name, values in columns.items()}


def _radii(particles: pd.DataFrame, classes: Sequence[int], n_classes: int) -> pd.DataFrame:
    """Columns count, stands_for, mean, std, area by class index; missing for unmeasured ones."""
    table = pd.DataFrame(
        np.nan, index=range(n_classes), columns=["count", "stands_for", "mean", "std", "area"]
    )
    for index in classes:
        chosen = particles[particles["class_index"] == index]
        weights = chosen["weight"].to_numpy(float)
        radii = chosen["equivalent_radius_um"].to_numpy(float)
        mean, std = weighted_mean_and_s(radii, weights)
        area, _ = weighted_mean_and_s(np.pi * radii**2, weights)
        row = [len(chosen), weights.sum(), mean, std, area]
        table.loc[index] = np.array(row, float)
    return table
