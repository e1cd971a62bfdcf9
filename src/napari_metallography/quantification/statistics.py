"""Statistics over fields: n counts fields, never particles."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from .columns import column

Counted = Literal["field", "specimen"]

CUT_AT_LEAST, CUT_AT_MOST = "the least", "the most"
ONE_FIELD = "one field alone gives no confidence interval"
NO_FIELD = "no field holds a value"
ALIKE = "the fields do not differ, which tells nothing of their spread"
PLANES = "planes of one image are not independent fields"
WANTED_ACCURACY_PERCENT = 10.0
"""The relative accuracy that ASTM E562 and E1245 hold to be good enough for most purposes."""

_CONFIDENCE = 0.975
_SMALLEST_T = 1.9599
"""Just below t of any number of fields."""
_FEWEST = 2
_MOST_NEEDED = 1_000_000
_ALIKE_AREAS = 2
_RANGES = {"area_fraction": (0.0, 1.0), "contiguity": (0.0, 1.0), "omega12": (-1.0, 1.0)}
_OF_ALL_PARTICLES = ("number_density_", "mean_radius_")
"""Quantities that phases measured as particles have, also where no field holds a value."""
_POSITIVE = (0.0, math.inf)
_TOTALS = {
    *(
        f"{area}_{unit}"
        for area in ("area", "field_area", "labelled_area")
        for unit in ("um2", "px2")
    ),
    *("std_radius_um", "std_radius_px"),
    *("n_intercepts_horizontal", "n_intercepts_vertical"),
}
"""Float columns of a field's phases that are no quantity to take a mean of over fields."""


def field_statistics(
    values: Iterable[float],
    largest: float = math.inf,
    *,
    smallest: float = 0.0,
    wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT,
    counted: Counted = "field",
) -> dict[str, Any]:
    """Mean of a quantity over fields and how sure it is.

    Parameters
    ----------
    values
        One number a field; NaN where the field holds none, which leaves it out.
    largest, smallest
        The limits of what the quantity can be.
    wanted_accuracy_percent
        The relative accuracy for which the fields needed are told.
    counted
        What a value belongs to; it names the keys: `n_fields` or `n_specimens`.

    Returns
    -------
    JSON form: `n_fields`, `mean`, `s` (standard deviation, n − 1), `ci95` ([low, high]: mean ±
    t·s/√n, cut at `smallest` and `largest`), `note` (says where it was cut),
    `relative_accuracy_percent` (100·t·s/(√n·mean)), `fields_needed` for the wanted accuracy and
    `fields_still_needed`, and `reason`, which says why there is no interval where there is none.

    Source: ASTM E562 and E1382, statistics over fields.
    """
    known = np.array([value for value in values if math.isfinite(value)], float)
    n = len(known)
    if n < _FEWEST:
        return _without_interval(known, counted)
    mean, s = float(known.mean()), float(known.std(ddof=1))
    if s == 0:
        return {**_without_interval(known, counted), "s": s, "reason": ALIKE}
    half = _t(n) * s / math.sqrt(n)
    low, high = max(smallest, mean - half), min(largest, mean + half)
    # What may be negative can have a mean near 0, to which nothing is accurate.
    relative = mean != 0 and smallest >= 0
    needed = fields_needed(mean, s, wanted_accuracy_percent) if relative else None
    return {
        f"n_{counted}s": n,
        "mean": mean,
        "s": s,
        "ci95": [low, high],
        "note": _cut_note(mean - half, low, mean + half, high),
        "relative_accuracy_percent": 100 * half / abs(mean) if relative else None,
        f"{counted}s_needed": needed,
        f"{counted}s_still_needed": None if needed is None else max(0, needed - n),
        "reason": None,
    }


def fields_needed(mean: float, s: float, wanted_accuracy_percent: float) -> int | None:
    """Number of fields for a relative accuracy: the least n with 100·t·s/(√n·mean) within it.

    t is that of the n found (ASTM E562 takes the t of the fields at hand, which asks for too many
    after few fields). None when the mean is 0 or more than a million fields would do.
    """
    half = wanted_accuracy_percent / 100 * abs(mean)
    if half <= 0 or (_SMALLEST_T * s / half) ** 2 > _MOST_NEEDED:
        return None
    n = max(_FEWEST, math.ceil((_SMALLEST_T * s / half) ** 2))
    while _t(n) * s > half * math.sqrt(n):
        n += 1
    return n


def phase_statistics(
    phases: pd.DataFrame,
    particles: pd.DataFrame,
    wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT,
) -> dict[str, Any]:
    """Statistics of each phase by its name; each row of a phase is a field.

    Returns
    -------
    JSON form by phase: every quantity of `phases` (such as `area_fraction`,
    `number_density_per_mm2` and `mean_radius_um`, the field's mean) as `field_statistics` gives
    it, and over all its particles `n_particles`, `pooled_mean_radius_um`, `pooled_std_radius_um`,
    weighted by their column `weight` if there is one. A phase that was not measured as particles
    has `n_particles` null and no particle value. Fields without a labelled pixel are left out.
    """
    labelled = phases[phases[column(phases, "labelled_area", "2")] > 0]
    return {
        str(name): _one_phase(
            rows, particles.loc[particles["phase"] == name], wanted_accuracy_percent
        )
        for name, rows in labelled.groupby("phase", sort=False)
    }


def statistics_over_fields(
    phases: pd.DataFrame,
    particles: pd.DataFrame,
    wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT,
    *,
    planes_are_fields: bool,
) -> dict[str, Any]:
    """`phase_statistics`, without intervals where fields are planes of one image that depend."""
    found = phase_statistics(phases, particles, wanted_accuracy_percent)
    depend = not planes_are_fields and planes_depend(phases)
    return without_intervals(found, PLANES) if depend else found


def planes_depend(phases: pd.DataFrame) -> bool:
    """Whether any image has several labelled planes."""
    images: list[Hashable] = ["image"] if "image" in phases else []
    n_images = number_of_fields(phases, images) if images else 1
    return number_of_fields(phases, [*images, "plane"]) > n_images


def specimen_statistics(
    phases: pd.DataFrame,
    particles: pd.DataFrame,
    wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT,
    *,
    planes_are_fields: bool,
) -> dict[str, Any]:
    """Statistics of each specimen over its fields, and over the specimens' means.

    Parameters
    ----------
    phases, particles
        With a column `specimen`, empty where it is unknown; such fields are left out.
    planes_are_fields
        Whether planes of one image are independent fields; otherwise specimens with such images
        have no interval of their own.

    Returns
    -------
    JSON form: `specimens` (by name: `n_fields` and `phases` as `phase_statistics` gives them) and
    `over_specimens` (`n_specimens`, and `phases` with the statistics of the specimens' means, in
    which n counts specimens: fields of one specimen are not independent of each other).
    """
    specimens: dict[str, dict[str, Any]] = {
        str(name): {
            "n_fields": number_of_fields(rows, ["image", "plane"]),
            "phases": statistics_over_fields(
                rows,
                particles[particles["specimen"] == name],
                wanted_accuracy_percent,
                planes_are_fields=planes_are_fields,
            ),
        }
        for name, rows in phases[phases["specimen"] != ""].groupby("specimen", sort=True)
    }
    means = [specimen["phases"] for specimen in specimens.values()]
    over = _over_specimens(means, wanted_accuracy_percent)
    return {
        "specimens": specimens,
        "over_specimens": {"n_specimens": len(specimens), "phases": over},
    }


def without_intervals(phases: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Statistics by phase with their intervals, and what follows from them, taken out."""
    taken = {
        "ci95": None,
        "note": None,
        "relative_accuracy_percent": None,
        "fields_needed": None,
        "fields_still_needed": None,
        "reason": reason,
    }
    return {
        phase: {
            name: {**value, **taken} if isinstance(value, Mapping) and value["ci95"] else value
            for name, value in quantities.items()
        }
        for phase, quantities in phases.items()
    }


def number_of_fields(phases: pd.DataFrame, keys: list[Hashable]) -> int:
    """Number of fields with a labelled pixel; `keys` are the columns that tell fields apart."""
    labelled = phases[column(phases, "labelled_area", "2")] > 0
    return len(phases.loc[labelled, keys].drop_duplicates())


def area_notes(phases: pd.DataFrame) -> list[str]:
    """A sentence where fields of very different measured areas weigh alike in the mean over fields.

    Parameters
    ----------
    phases
        Each row of a phase is a field; those without a labelled pixel are no fields.
    """
    stem = column(phases, "labelled_area", "2")
    areas = phases.loc[phases[stem] > 0, stem]
    if areas.empty or areas.max() <= _ALIKE_AREAS * areas.min():
        return []
    return [
        f"the measured area of the largest field is {areas.max() / areas.min():.3g} times that of "
        "the smallest, yet each field counts alike in means and intervals, which take fields of "
        "one size for granted; measure fields of one size"
    ]


def weights_of(particles: pd.DataFrame) -> NDArray[np.float64]:
    """For how many particles each stands under the edge rule: its `weight`, 1 without one."""
    if "weight" in particles:
        return particles["weight"].to_numpy(float)
    return np.ones(len(particles))


def weighted_mean_and_s(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """Weighted mean and standard deviation; None where there are too few values.

    With equal weights the standard deviation is that with n − 1.
    """
    if not len(values):
        return None, None
    mean = float(np.average(values, weights=weights))
    if len(values) < _FEWEST:
        return mean, None
    variance = float(np.average((values - mean) ** 2, weights=weights))
    return mean, math.sqrt(variance * len(values) / (len(values) - 1))


def _without_interval(known: NDArray[np.float64], counted: Counted) -> dict[str, Any]:
    reason = ONE_FIELD if len(known) else NO_FIELD
    return {
        f"n_{counted}s": len(known),
        "mean": float(known.mean()) if len(known) else None,
        "s": None,
        "ci95": None,
        "note": None,
        "relative_accuracy_percent": None,
        f"{counted}s_needed": None,
        f"{counted}s_still_needed": None,
        "reason": reason.replace("field", counted),
    }


def _cut_note(uncut_low: float, low: float, uncut_high: float, high: float) -> str | None:
    """Where an interval was cut, and what t·s/√n alone would give."""
    cut = [
        f"cut at {limit:g}, {which} that is possible ({uncut:.4g} before)"
        for limit, uncut, which in (
            (low, uncut_low, CUT_AT_LEAST),
            (high, uncut_high, CUT_AT_MOST),
        )
        if limit != uncut
    ]
    return "; ".join(cut) or None


def _t(n: int) -> float:
    return float(student.ppf(_CONFIDENCE, n - 1))


def _one_phase(
    fields: pd.DataFrame, particles: pd.DataFrame, wanted_accuracy_percent: float
) -> dict[str, Any]:
    counted = bool(fields["n_particles"].notna().any())
    result: dict[str, Any] = {}
    for name in _quantities(fields):
        smallest, largest = _RANGES.get(name, _POSITIVE)
        if fields[name].notna().any() or (counted and name.startswith(_OF_ALL_PARTICLES)):
            result[name] = field_statistics(
                fields[name],
                largest,
                smallest=smallest,
                wanted_accuracy_percent=wanted_accuracy_percent,
            )
    return {**result, **(_pooled(particles) if counted else {"n_particles": None})}


def _quantities(fields: pd.DataFrame) -> list[str]:
    floats = fields.select_dtypes(float).columns
    return [str(name) for name in floats if name not in _TOTALS]


def _pooled(particles: pd.DataFrame) -> dict[str, Any]:
    radius = column(particles, "equivalent_radius")
    radii = particles[radius].to_numpy(float)
    mean, s = weighted_mean_and_s(radii, weights_of(particles))
    ending = radius.removeprefix("equivalent_")
    return {"n_particles": len(radii), f"pooled_mean_{ending}": mean, f"pooled_std_{ending}": s}


def _over_specimens(
    means: list[dict[str, Any]], wanted_accuracy_percent: float
) -> dict[str, dict[str, Any]]:
    """Statistics of the specimens' means by phase and quantity."""
    over: dict[str, dict[str, Any]] = {}
    for phase in dict.fromkeys(phase for phases in means for phase in phases):
        known = [phases[phase] for phases in means if phase in phases]
        names = dict.fromkeys(
            name for one in known for name, value in one.items() if isinstance(value, Mapping)
        )
        over[phase] = {
            name: field_statistics(
                [_mean_of(one, name) for one in known],
                _RANGES.get(name, _POSITIVE)[1],
                smallest=_RANGES.get(name, _POSITIVE)[0],
                wanted_accuracy_percent=wanted_accuracy_percent,
                counted="specimen",
            )
            for name in names
        }
    return over


def _mean_of(quantities: Mapping[str, Any], name: str) -> float:
    mean = quantities.get(name, {}).get("mean")
    return math.nan if mean is None else float(mean)
