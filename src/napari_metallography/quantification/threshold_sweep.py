"""What single thresholds make of particles, beside labels: count and mean radius."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..errors import InputError
from ..segmentation.thresholding import ThresholdParameters, otsu, split
from .columns import UNITS
from .particles import CONNECTIVITY

MATCHES_WITHIN = 0.05
"""A threshold matches when count and mean radius are both within this share of the reference."""

_MOST_LEVELS = 128


@dataclass(frozen=True)
class GreyField:
    """Grey values of a field and the truth in it.

    Attributes
    ----------
    grey
        Shape (Y, X), as `segmentation.thresholding.prepared` makes them.
    inside
        Shape (Y, X): True where pixels count.
    pixel_um
        Side of a pixel in µm; None when unknown: then radii are in pixels.
    """

    grey: NDArray[np.float32]
    inside: NDArray[np.bool_]
    pixel_um: float | None


@dataclass(frozen=True)
class Counted:
    """Particles in all fields: how many, and the mean of their equivalent radii (NaN of none)."""

    n_particles: int
    mean_radius: float

    def errors(self, reference: Counted) -> tuple[float, float]:
        """Relative errors of the count and of the mean radius."""
        return (
            self.n_particles / reference.n_particles - 1,
            self.mean_radius / reference.mean_radius - 1,
        )


@dataclass(frozen=True)
class ThresholdComparison:
    """Thresholds beside a reference.

    Attributes
    ----------
    sweep
        One row a threshold: `threshold`, `n_particles`, `mean_radius_um` (or `_px`).
    methods
        One row a method: `method`, `threshold` (missing where there is no single one),
        `n_particles`, `mean_radius_um`, `count_error_percent`, `radius_error_percent`.
    both_match
        Whether one threshold matches count and mean radius of the reference within 5 %.
    """

    sweep: pd.DataFrame
    methods: pd.DataFrame
    both_match: bool

    @property
    def sentence(self) -> str:
        """What the comparison shows, for a reader."""
        share = f"{MATCHES_WITHIN:.0%}".replace("%", " %")
        if self.both_match:
            return f"One threshold matches the count and the mean radius within {share}."
        return f"No single threshold matches both the count and the mean radius within {share}."


def compare(
    fields: Sequence[GreyField],
    reference: Counted,
    *,
    phase: ThresholdParameters,
    name: str = "labels",
    others: Mapping[str, Counted] | None = None,
) -> ThresholdComparison:
    """Sweep a threshold over fields and set it beside a reference, as Ma and Yu's figure 8 does.

    Parameters
    ----------
    reference
        What is taken as true.
    phase
        Which side of a threshold is the phase, and the smallest area of a particle.
    name
        Of the reference.
    others
        Results of other methods, such as a network's, for further rows.

    Raises
    ------
    InputError
        When the reference holds no particle or the fields hold a single grey value.

    Source: Ma and Yu, Processes 11 (2023) 3298, figures 7 and 8.
    """
    if not reference.n_particles:
        raise InputError(f"{name}: hold no particle that a threshold could be compared with")
    levels = _levels(fields)
    found = {float(level): count_at(fields, float(level), phase) for level in levels}
    table = _sweep_table(found, _unit(fields))
    rows: list[tuple[str, float | None, Counted]] = [(name, None, reference)]
    rows += [(method, None, counted) for method, counted in (others or {}).items()]
    rows.append(("Otsu, each field its own", None, _otsu(fields, phase)))
    best = min(found, key=lambda level: _badness(found[level], reference))
    rows.append(("best single threshold", best, found[best]))
    for what, column, value in (
        ("count", "n_particles", float(reference.n_particles)),
        ("mean radius", str(table.columns[2]), reference.mean_radius),
    ):
        for level in crossings(table["threshold"], table[column], value):
            rows.append((f"threshold matching the {what}", level, count_at(fields, level, phase)))
    tried = [*found.values(), *(counted for _, level, counted in rows if level is not None)]
    return ThresholdComparison(
        table, _method_table(rows, _unit(fields)), any(_matches(c, reference) for c in tried)
    )


def count_at(fields: Sequence[GreyField], level: float, phase: ThresholdParameters) -> Counted:
    """Particles of all fields that a single threshold finds."""
    return _pooled([_radii(one, level, phase) for one in fields])


def count_masks(
    masks: Sequence[NDArray[np.bool_]], fields: Sequence[GreyField], smallest_area_px: int
) -> Counted:
    """Particles in masks of a phase, one a field, counted as those of thresholds are."""
    return _pooled(
        [
            _radii_of(mask & one.inside, one.pixel_um, smallest_area_px)
            for mask, one in zip(masks, fields, strict=True)
        ]
    )


def crossings(
    levels: pd.Series[float], values: pd.Series[float], wanted: float
) -> tuple[float, ...]:
    """Levels at which a curve reaches a value, by linear interpolation; empty when never."""
    x, difference = levels.to_numpy(float), values.to_numpy(float) - wanted
    met = x[difference == 0]
    before, after = difference[:-1], difference[1:]
    changes = np.flatnonzero(before * after < 0)
    share = before[changes] / (before[changes] - after[changes])
    between = x[changes] + share * np.diff(x)[changes]
    return tuple(np.sort(np.concatenate([met, between])).tolist())


def figure(comparison: ThresholdComparison) -> Figure:
    """Count and mean radius against the threshold, with those of the reference as lines."""
    sweep, reference = comparison.sweep, comparison.methods.iloc[0]
    radius = str(sweep.columns[2])
    drawn = Figure(figsize=(9.0, 3.6), layout="constrained")
    counts = drawn.add_subplot()
    radii = counts.twinx()
    for axes, column, colour, label in (
        (counts, "n_particles", "#0072b2", "number of particles"),
        (radii, radius, "#d55e00", f"mean radius in {UNITS[radius.rpartition('_')[2]]}"),
    ):
        axes.plot(sweep["threshold"], sweep[column], color=colour)
        axes.axhline(reference[column], color=colour, ls="--", lw=1)
        axes.set_ylabel(label, color=colour)
        axes.set_ylim(0, 3 * reference[column])
    counts.set_xlabel("threshold (grey value); dashed: the reference")
    counts.spines["top"].set_visible(False)
    radii.spines["top"].set_visible(False)
    return drawn


def _levels(fields: Sequence[GreyField]) -> NDArray[np.float64]:
    values = [one.grey[one.inside] for one in fields]
    low = min(float(v.min()) for v in values if v.size)
    high = max(float(v.max()) for v in values if v.size)
    if not high > low:
        raise InputError("the fields hold a single grey value, which no threshold splits")
    return np.linspace(low, high, _MOST_LEVELS + 1)[:-1]


def _otsu(fields: Sequence[GreyField], phase: ThresholdParameters) -> Counted:
    return _pooled([_radii(one, otsu(one.grey, one.inside), phase) for one in fields])


def _radii(one: GreyField, level: float, phase: ThresholdParameters) -> NDArray[np.float64]:
    mask = split(one.grey, one.inside, level, phase) == 1
    return _radii_of(mask, one.pixel_um, phase.smallest_area_px)


def _radii_of(
    mask: NDArray[np.bool_], pixel_um: float | None, smallest_area_px: int
) -> NDArray[np.float64]:
    _, _, boxes, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=CONNECTIVITY
    )
    areas = boxes[1:, cv2.CC_STAT_AREA]
    kept = areas[areas >= smallest_area_px]
    return np.asarray(np.sqrt(kept / np.pi) * (pixel_um or 1.0), float)


def _pooled(radii: Sequence[NDArray[np.float64]]) -> Counted:
    together = np.concatenate(radii)
    return Counted(len(together), float(together.mean()) if len(together) else float("nan"))


def _badness(counted: Counted, reference: Counted) -> float:
    if not counted.n_particles:
        return float("inf")
    return sum(map(abs, counted.errors(reference)))


def _matches(counted: Counted, reference: Counted) -> bool:
    return all(abs(error) <= MATCHES_WITHIN for error in counted.errors(reference))


def _unit(fields: Sequence[GreyField]) -> str:
    return "um" if all(one.pixel_um is not None for one in fields) else "px"


def _sweep_table(found: Mapping[float, Counted], unit: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "threshold": list(found),
            "n_particles": [counted.n_particles for counted in found.values()],
            f"mean_radius_{unit}": [counted.mean_radius for counted in found.values()],
        }
    )


def _method_table(rows: Sequence[tuple[str, float | None, Counted]], unit: str) -> pd.DataFrame:
    reference = rows[0][2]
    errors = [counted.errors(reference) for _, _, counted in rows]
    return pd.DataFrame(
        {
            "method": pd.Series([method for method, _, _ in rows], dtype=object),
            "threshold": np.array([level for _, level, _ in rows], float),
            "n_particles": [counted.n_particles for _, _, counted in rows],
            f"mean_radius_{unit}": [counted.mean_radius for _, _, counted in rows],
            "count_error_percent": [100 * count for count, _ in errors],
            "radius_error_percent": [100 * radius for _, radius in errors],
        }
    )
