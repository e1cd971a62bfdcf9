"""What single thresholds make of particles, beside labels: count and mean radius."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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

_MOST_VALUES = 256
"""Thresholds between so many grey values are all tried."""

_LEVELS = 96
_TAIL = 1e-3
_SMALLEST_TAIL = 1e-6

_SIDES = {"bright": "brighter than the threshold", "dark": "as dark as the threshold or darker"}
_COUNTED_ALIKE = (
    "Here all methods count connected pieces, those at the edge included and touching particles as "
    "one, so the numbers may differ from those of a study with another edge rule or with splitting."
)


@dataclass(frozen=True)
class GreyField:
    """Grey values of a field and the truth in it.

    Attributes
    ----------
    grey
        Shape (Y, X): what the thresholds apply to, in the image's own scale. `quantify` gives the
        image as it is (of colours the luma), neither smoothed nor corrected for shading; for
        those, give what `segmentation.thresholding.prepared` makes of it.
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
        `phase_side` ("bright" or "dark", see `side`), `n_particles`, `mean_radius_um`,
        `count_error_percent`, `radius_error_percent`. A threshold is "matching" the count or the
        mean radius when it is within 5 %, else "nearest to" it.
    both_match
        Whether one threshold matches count and mean radius of the reference within 5 %.
    side
        "bright": the phase is what is brighter than a threshold; "dark": what is not.
    """

    sweep: pd.DataFrame
    methods: pd.DataFrame
    both_match: bool
    side: Literal["bright", "dark"]

    @property
    def sentence(self) -> str:
        """What the comparison shows, for a reader."""
        share = f"{MATCHES_WITHIN:.0%}".replace("%", " %")
        found = (
            f"One threshold matches the count and the mean radius within {share}."
            if self.both_match
            else f"No single threshold matches both the count and the mean radius within {share}."
        )
        return f"{found} The phase is what is {_SIDES[self.side]}. {_COUNTED_ALIKE}"


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
    rows += _fitting(fields, found, reference, phase)
    tried = [*found.values(), *(counted for _, level, counted in rows if level is not None)]
    return ThresholdComparison(
        table,
        _method_table(rows, phase.phase, _unit(fields)),
        any(_matches(counted, reference) for counted in tried),
        phase.phase,
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
    """Levels at which a curve reaches a value; empty when never.

    Between two levels by linear interpolation; where the curve stays at the value, the middle one
    of the levels at which it does.
    """
    x, difference = levels.to_numpy(float), values.to_numpy(float) - wanted
    met = np.flatnonzero(difference == 0)
    plateaus = np.split(met, np.flatnonzero(np.diff(met) > 1) + 1) if len(met) else []
    middles = [x[plateau[(len(plateau) - 1) // 2]] for plateau in plateaus]
    before, after = difference[:-1], difference[1:]
    changes = np.flatnonzero(before * after < 0)
    share = before[changes] / (before[changes] - after[changes])
    between = x[changes] + share * np.diff(x)[changes]
    return tuple(np.sort(np.concatenate([middles, between])).tolist())


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
    counts.set_xlabel(
        f"threshold (grey value); the phase is {_SIDES[comparison.side]}; dashed: the reference"
    )
    counts.spines["top"].set_visible(False)
    radii.spines["top"].set_visible(False)
    return drawn


def _levels(fields: Sequence[GreyField]) -> NDArray[np.float64]:
    """Thresholds to try: each grey value but the highest, or some where they are too many.

    Then half are evenly spaced over the grey values less the thousandth at either end, which a few
    hot pixels would stretch; half divide off ever smaller shares of the pixels at either end, for
    phases of which there is little.
    """
    values, counts = _grey_values(fields)
    if len(values) < 2:
        raise InputError("the fields hold a single grey value, which no threshold splits")
    if len(values) <= _MOST_VALUES:
        return values[:-1]
    tails = np.geomspace(_SMALLEST_TAIL, 0.5, _LEVELS // 2)
    low, high, *quantiles = _quantiles(values, counts, [_TAIL, 1 - _TAIL, *tails, *(1 - tails)])
    return np.unique([*np.linspace(low, high, _LEVELS), *quantiles])


def _grey_values(fields: Sequence[GreyField]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The grey values inside, ascending, and how many pixels have each."""
    found = [np.unique(one.grey[one.inside], return_counts=True) for one in fields]
    values, places = np.unique(np.concatenate([v for v, _ in found]), return_inverse=True)
    counts = np.bincount(places, np.concatenate([n for _, n in found]), minlength=len(values))
    return values.astype(float), counts.astype(np.int64)


def _quantiles(
    values: NDArray[np.float64], counts: NDArray[np.int64], shares: Sequence[float]
) -> NDArray[np.float64]:
    """Grey values, the highest left out, up to which shares of the pixels are."""
    reached = np.cumsum(counts) / counts.sum()
    return np.asarray(values[np.searchsorted(reached, shares).clip(0, len(values) - 2)], float)


def _fitting(
    fields: Sequence[GreyField],
    found: Mapping[float, Counted],
    reference: Counted,
    phase: ThresholdParameters,
) -> list[tuple[str, float | None, Counted]]:
    """Rows of the thresholds that come up to the count, and to the mean radius."""
    levels = np.array(list(found))
    rows: list[tuple[str, float | None, Counted]] = []
    for index, what in enumerate(("count", "mean radius")):
        curve = np.array([counted.errors(reference)[index] for counted in found.values()])
        nearest = float(levels[np.nan_to_num(np.abs(curve), nan=np.inf).argmin()])
        near = crossings(pd.Series(levels), pd.Series(curve), 0.0) or (nearest,)
        for level in near:
            counted = found.get(level) or count_at(fields, level, phase)
            matching = abs(counted.errors(reference)[index]) <= MATCHES_WITHIN
            rows.append(
                (f"threshold {'matching' if matching else 'nearest to'} the {what}", level, counted)
            )
    return rows


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


def _method_table(
    rows: Sequence[tuple[str, float | None, Counted]], side: str, unit: str
) -> pd.DataFrame:
    reference = rows[0][2]
    errors = [counted.errors(reference) for _, _, counted in rows]
    return pd.DataFrame(
        {
            "method": pd.Series([method for method, _, _ in rows], dtype=object),
            "threshold": np.array([level for _, level, _ in rows], float),
            "phase_side": pd.Series([side] * len(rows), dtype=object),
            "n_particles": [counted.n_particles for _, _, counted in rows],
            f"mean_radius_{unit}": [counted.mean_radius for _, _, counted in rows],
            "count_error_percent": [100 * count for count, _ in errors],
            "radius_error_percent": [100 * radius for _, radius in errors],
        }
    )
