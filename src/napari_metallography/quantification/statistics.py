"""Statistics over fields: n counts fields, never particles."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

ONE_FIELD = "one field alone gives no confidence interval"
NO_FIELD = "no field holds a value"

_PARTICLE_QUANTITIES = ("number_density_per_mm2", "mean_radius_um")


def field_statistics(values: Iterable[float], largest: float = math.inf) -> dict[str, Any]:
    """Mean of a quantity over fields and how sure it is.

    Parameters
    ----------
    values
        One number a field, not negative; NaN where the field holds none, which leaves it out.
    largest
        The largest value the quantity can have.

    Returns
    -------
    JSON form: `n_fields`, `mean`, `s` (standard deviation, n − 1), `ci95` ([low, high]: mean ±
    t·s/√n, cut at 0 and `largest`), `relative_accuracy_percent` (100·t·s/(√n·mean)), and
    `reason`, which says why there is no interval where there is none.

    Source: ASTM E562 and E1382, statistics over fields.
    """
    fields = np.array([value for value in values if math.isfinite(value)], float)
    n = len(fields)
    mean = float(fields.mean()) if n else None
    result: dict[str, Any] = {"n_fields": n, "mean": mean, "s": None, "ci95": None}
    if mean is None or n < 2:
        reason = ONE_FIELD if n else NO_FIELD
        return {**result, "relative_accuracy_percent": None, "reason": reason}
    s = float(fields.std(ddof=1))
    half = float(student.ppf(0.975, n - 1)) * s / math.sqrt(n)
    accuracy = 100 * half / abs(mean) if mean else None
    result |= {"s": s, "ci95": [max(0.0, mean - half), min(largest, mean + half)]}
    return {**result, "relative_accuracy_percent": accuracy, "reason": None}


def phase_statistics(phases: pd.DataFrame, particles: pd.DataFrame) -> dict[str, Any]:
    """Statistics of each phase by its name; each row of a phase is a field.

    Returns
    -------
    JSON form by phase: `area_fraction`, `number_density_per_mm2` and `mean_radius_um` (the field's
    mean) as `field_statistics` gives them, and over all its particles `n_particles`,
    `pooled_mean_radius_um`, `pooled_std_radius_um`. A phase that was not measured as particles
    has `n_particles` null and no other particle value. Fields without a labelled pixel are left
    out.
    """
    labelled = phases[phases["labelled_area_um2"] > 0]
    return {
        str(name): _one_phase(rows, particles.loc[particles["phase"] == name])
        for name, rows in labelled.groupby("phase", sort=False)
    }


def number_of_fields(phases: pd.DataFrame, keys: list[Hashable]) -> int:
    """Number of fields with a labelled pixel; `keys` are the columns that tell fields apart."""
    return len(phases.loc[phases["labelled_area_um2"] > 0, keys].drop_duplicates())


def _one_phase(fields: pd.DataFrame, particles: pd.DataFrame) -> dict[str, Any]:
    result: dict[str, Any] = {
        "area_fraction": field_statistics(fields["area_fraction"], largest=1.0)
    }
    if fields["n_particles"].isna().all():
        return {**result, "n_particles": None}
    for quantity in _PARTICLE_QUANTITIES:
        result[quantity] = field_statistics(fields[quantity])
    radii = particles["equivalent_radius_um"]
    return {
        **result,
        "n_particles": len(radii),
        "pooled_mean_radius_um": float(radii.mean()) if len(radii) else None,
        "pooled_std_radius_um": float(radii.std()) if len(radii) > 1 else None,
    }
