"""Phases: area fractions and what their particles amount to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import PhaseClass

_UM2_PER_MM2 = 1e6


def measure_phases(
    indices: NDArray[np.integer],
    classes: Sequence[PhaseClass],
    field_mask: NDArray[np.bool_],
    calibration: Calibration,
    particles: pd.DataFrame,
    particle_classes: Sequence[int],
) -> pd.DataFrame:
    """Measure the phases of one plane, one row each.

    Parameters
    ----------
    indices
        Shape (Y, X): class indices, 255 = unlabelled.
    field_mask
        Shape (Y, X): True inside the field.
    particles
        The plane's particles with columns `class_index` and `equivalent_radius_um`.
    particle_classes
        The classes that were measured as particles; the others have no particle values.

    Returns
    -------
    Columns `phase`, `class_index`, `area_um2`, `area_fraction` (of the labelled part of the
    field; NaN when nothing is labelled), `field_area_um2`, `labelled_area_um2`, `n_particles`,
    `mean_radius_um` and `std_radius_um` (of the equivalent radius, over particles),
    `number_density_per_mm2` (of the labelled area). Areas count every pixel of the phase,
    whatever particles are left out.
    """
    pixels = np.bincount(indices[field_mask], minlength=len(classes))[: len(classes)]
    labelled_um2 = pixels.sum() * calibration.pixel_area_um2
    table = pd.DataFrame(
        {
            "phase": pd.Series([phase.name for phase in classes], dtype=object),
            "class_index": np.arange(len(classes)),
            "area_um2": pixels * calibration.pixel_area_um2,
            "area_fraction": _over(pixels, pixels.sum()),
            "field_area_um2": field_mask.sum() * calibration.pixel_area_um2,
            "labelled_area_um2": labelled_um2,
        }
    )
    radii = _radii(particles, particle_classes, len(classes))
    counts = radii["count"].to_numpy(float)
    table["n_particles"] = radii["count"].astype("Int64")
    table["mean_radius_um"] = radii["mean"]
    table["std_radius_um"] = radii["std"]
    table["number_density_per_mm2"] = _over(counts, labelled_um2 / _UM2_PER_MM2)
    return table


def _over(values: NDArray[np.number], total: float) -> NDArray[np.float64]:
    return np.asarray(values / total if total else values * np.nan, float)


def _radii(particles: pd.DataFrame, classes: Sequence[int], n_classes: int) -> pd.DataFrame:
    """Columns count, mean, std by class index; counts of unmeasured classes are missing."""
    groups = particles.groupby("class_index")["equivalent_radius_um"]
    found = groups.agg(["count", "mean", "std"]).reindex(list(classes))
    found["count"] = found["count"].fillna(0)
    return found.reindex(range(n_classes))
