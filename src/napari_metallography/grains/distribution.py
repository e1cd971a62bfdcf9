"""Sizes of the grains of a field: how they spread, and whether some do not belong to the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .partition import Partition
from .planimetric import whole_grain_weights
from .standards import largest_grain_g, planimetric_g

Floats = NDArray[np.float64]
Kind = Literal["uniform", "as large as", "wide range", "bimodal"]

LARGER_BY = 3.0
"""A grain is "as large as" (ALA, ASTM E930) when its own number is smaller than G by this."""

_ALA_AREA, _BIMODAL_APART, _BIMODAL_AREA, _WIDE = 0.05, 4.0, 0.75, 5.0
_PEAK_HALF_WIDTH = 1.0
_VALLEY = 0.5
_BIN = 0.5


@dataclass(frozen=True)
class SizeDistribution:
    """Whole grains of one or more fields.

    Attributes
    ----------
    areas_um2
        (n,) of each grain.
    weights
        (n,) in 1/µm²: the inverse of the area in which a grain of its height and width can lie
        and still be wholly in the field.
    """

    areas_um2: Floats
    weights: Floats

    @cached_property
    def numbers(self) -> Floats:
        """ASTM number of each grain: that of grains all as large as it."""
        return np.array([planimetric_g(1e6 / area) for area in self.areas_um2])

    @property
    def mean_g(self) -> float:
        """ASTM number of the mean area."""
        return planimetric_g(1e6 / float(np.average(self.areas_um2, weights=self.weights)))

    @property
    def largest_g(self) -> float:
        """ALA grain-size number, ASTM E930."""
        return largest_grain_g(float(self.areas_um2.max()) / 1e6)

    @cached_property
    def kind(self) -> Kind:
        """Whether sizes belong together; the conditions are those of ASTM E1181, in area parts."""
        share = self.areas_um2 * self.weights
        share = share / share.sum()
        if _are_bimodal(self.numbers, share):
            return "bimodal"
        coarse = self.numbers <= self.mean_g - LARGER_BY
        if coarse.any() and share[coarse].sum() <= _ALA_AREA:
            return "as large as"
        return "wide range" if _range(self.numbers, share) > _WIDE else "uniform"

    def to_dict(self) -> dict[str, Any]:
        """JSON form: numbers, quantiles of the equivalent diameters, kind; all by the weights."""
        if not len(self.areas_um2):
            return {"whole_grains": 0}
        low, median, high = _quantiles(
            2 * np.sqrt(self.areas_um2 / math.pi), self.weights, (0.1, 0.5, 0.9)
        )
        return {
            "whole_grains": len(self.areas_um2),
            "mean_area_um2": float(np.average(self.areas_um2, weights=self.weights)),
            "median_diameter_um": median,
            "diameter_um_p10_p90": [low, high],
            "largest_grain_G": self.largest_g,
            "distribution": self.kind,
            "duplex": self.kind != "uniform",
        }


def sizes_of_grains(grains: Partition, pixel_um: float) -> SizeDistribution:
    """Sizes of the grains that the edge of the field does not cut."""
    whole = ~grains.on_border()
    return SizeDistribution(
        np.asarray(grains.areas[whole] * pixel_um**2, float),
        whole_grain_weights(grains)[whole] / pixel_um**2,
    )


def together(distributions: Sequence[SizeDistribution]) -> SizeDistribution:
    """Sizes of the grains of several fields."""
    return SizeDistribution(
        np.concatenate([one.areas_um2 for one in distributions]),
        np.concatenate([one.weights for one in distributions]),
    )


def _quantiles(values: Floats, weights: Floats, parts: Sequence[float]) -> list[float]:
    """Values below which parts of the weight lie, each value in the middle of its own."""
    order = np.argsort(values)
    known = weights[order]
    middles = (np.cumsum(known) - known / 2) / known.sum()
    return [float(value) for value in np.interp(parts, middles, values[order])]


def _range(numbers: Floats, share: Floats) -> float:
    """Between the numbers that leave 2.5 % of the area on either side."""
    order = np.argsort(numbers)
    summed = np.cumsum(share[order])
    low, high = (numbers[order][np.searchsorted(summed, q * summed[-1])] for q in (0.025, 0.975))
    return float(high - low)


def _are_bimodal(numbers: Floats, share: Floats) -> bool:
    """Two groups of numbers far apart that hold most of the area, with little between them."""
    edges = np.arange(numbers.min() - _BIN, numbers.max() + 2 * _BIN, _BIN)
    parts = np.histogram(numbers, edges, weights=share)[0]
    middles = (edges[:-1] + edges[1:]) / 2
    near = np.abs(middles[:, None] - middles) <= _PEAK_HALF_WIDTH
    within = near @ parts
    first = int(np.argmax(within))
    apart = np.abs(middles - middles[first]) >= _BIMODAL_APART
    if not apart.any():
        return False
    second = int(np.argmax(np.where(apart, within, 0)))
    between = within[min(first, second) : max(first, second) + 1].min()
    return bool(
        within[first] + within[second] >= _BIMODAL_AREA
        and within[second] >= _ALA_AREA
        and between <= _VALLEY * within[second]
    )
