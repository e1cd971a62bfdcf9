"""The grain size of one field by the methods of the standards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..calibration import Calibration
from ..errors import InputError
from .distribution import SizeDistribution, sizes_of_grains
from .intersections import (
    Intersections,
    TestLine,
    intersect,
    straight_lines,
    three_circles,
)
from .partition import Partition
from .planimetric import (
    Area,
    GrainCount,
    count_in_circle,
    count_in_rectangle,
    mean_area_of_whole_grains,
)
from .standards import intercept_g, planimetric_g
from .voted_lines import VotedLines

StandardMethod = Literal["lines", "circles", "planimetric", "automatic"]
"""A method that measures grains."""

Method = Literal[StandardMethod, "network"]
METHODS: tuple[StandardMethod, ...] = get_args(StandardMethod)
"""Those of the standards."""

QUANTITIES: Mapping[Method, str] = {
    "lines": "intersections_per_mm",
    "circles": "intersections_per_mm",
    "planimetric": "grains_per_mm2",
    "automatic": "mean_grain_area_um2",
    "network": "intersections_per_mm",
}
"""What of a field is averaged over fields; the grade follows from the mean, not a mean grade."""

FEWEST_GRAINS, FEWEST_INTERSECTIONS = 50, 50
"""A field with fewer is below what ASTM E112 asks for (11.3 and 13.2)."""

ELONGATED = 1.3
"""By how many times mean intercepts of directions differ in a field of elongated grains."""

_RELIABLE_GRAINS, _RELIABLE_INTERSECTIONS = 5, 15
_BY_CHANCE = 3.0
"""Over the root of the intersections a direction, the logarithm of what they differ by chance."""

_FEWEST_LINES = 5

_ENOUGH_INTERSECTIONS = 20_000
"""More would make the G of a field no surer than to 0.01."""
_SAME_SIDES = 1e-3
_LINES_OF = {"lines": "line", "circles": "circle"}


class GradingParameters(BaseModel):
    """How grain sizes are measured.

    Attributes
    ----------
    method
        "lines" (Heyn, four directions) or "circles" (Abrams, three) count intersections with grain
        boundaries; "planimetric" counts grains in an area (Jeffries); "automatic" takes the mean
        area of the whole grains (ASTM E1382).
    area
        What "planimetric" counts in: the whole field as a rectangle, or the largest circle.
    line_spacing_px
        Distance of parallel test lines; None: the mean intercept, so that hardly a boundary is
        counted twice; in large fields more, so that they meet some 20 000 boundaries.
    directions_deg
        Of the lines; 0 along the rows, counter-clockwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: StandardMethod = "lines"
    area: Area = "rectangle"
    line_spacing_px: float | None = Field(default=None, ge=2)
    directions_deg: tuple[float, ...] = Field(default=(0, 45, 90, 135), min_length=1)


@dataclass(frozen=True)
class FieldGrade:
    """The grain size of a field.

    Attributes
    ----------
    method
        As in `GradingParameters`, or "network".
    value
        Of the method's quantity, which `QUANTITIES` names.
    count
        Sum of the weights of all intersections, or number of grains counted, or of independent
        lines.
    measured
        Further numbers of the field by name, with units.
    notes
        What the standard would object to, for people.
    drawn
        What was counted, to be drawn; coordinates in square pixels.
    grains
        The partition that was measured, of square pixels; None by "network".
    pixel_um
        Their size.
    """

    method: Method
    value: float
    count: float
    measured: Mapping[str, Any]
    notes: tuple[str, ...]
    drawn: Intersections | GrainCount | VotedLines
    grains: Partition | None
    pixel_um: float

    @property
    def g(self) -> float:
        """ASTM grain-size number of the field."""
        return g_of(self.method, self.value)

    @cached_property
    def sizes(self) -> SizeDistribution | None:
        """Of the whole grains; None by "network", which knows no grains."""
        return None if self.grains is None else sizes_of_grains(self.grains, self.pixel_um)

    @property
    def n_grains(self) -> int | None:
        """Grains in the field, those cut included; None by "network"."""
        return None if self.grains is None else self.grains.n

    @property
    def is_elongated(self) -> bool:
        """Whether mean intercepts of directions differ by `ELONGATED`, and more than by chance."""
        found = self.drawn
        return isinstance(found, Intersections) and bool(_elongated(self.measured, found))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the field in square pixels."""
        if isinstance(self.drawn, VotedLines):
            return self.drawn.shape
        assert self.grains is not None
        return self.grains.shape


def g_of(method: Method, value: float) -> float:
    """ASTM grain-size number from the quantity of a method, that of `QUANTITIES`."""
    if not value > 0 or not math.isfinite(value):
        return math.nan
    if QUANTITIES[method] == QUANTITIES["lines"]:
        return intercept_g(1 / value)
    return planimetric_g(value if method == "planimetric" else 1e6 / value)


def grade(
    grains: Partition, calibration: Calibration, parameters: GradingParameters | None = None
) -> FieldGrade:
    """Measure the grain size of a field.

    Parameters
    ----------
    grains
        A rectangular field; pixels that are not square are made so.

    Raises
    ------
    InputError
        When there is one grain only, or a test line meets no boundary.
    """
    rules = parameters or GradingParameters()
    square, pixel_um = with_square_pixels(grains, calibration)
    if square.n < 2:
        raise InputError(
            "one grain fills the field: no boundary is in it; take a larger field or a lower "
            "magnification"
        )
    measures = {
        "lines": _by_lines,
        "circles": _by_circles,
        "planimetric": _by_counting,
        "automatic": _by_mean_area,
    }
    return measures[rules.method](square, pixel_um, rules)


def with_square_pixels(grains: Partition, calibration: Calibration) -> tuple[Partition, float]:
    """The partition with pixels as large as the smaller side of its own, and that size in µm."""
    shape, size = square_shape(grains.shape, calibration)
    if shape == grains.shape:
        return grains, size
    enlarged = cv2.resize(grains.grains, shape[::-1], interpolation=cv2.INTER_NEAREST)
    return Partition(np.asarray(enlarged, np.int32), grains.n), size


def square_shape(shape: tuple[int, int], calibration: Calibration) -> tuple[tuple[int, int], float]:
    """Height and width with pixels as large as the smaller side of their own, and it in µm."""
    sides = calibration.y_um, calibration.x_um
    size = min(sides)
    if max(sides) / size - 1 < _SAME_SIDES:
        return shape, calibration.mean_um
    height, width = (round(length * side / size) for length, side in zip(shape, sides, strict=True))
    return (height, width), size


def regraded(found: FieldGrade, drawn: Intersections) -> FieldGrade:
    """The same field with intersections moved, added or taken away by hand."""
    counted = _of_intersections(found.method, drawn, found.grains, found.pixel_um)
    # Of what does not follow from the intersections nothing is lost.
    return replace(counted, measured={**found.measured, **counted.measured})


def _by_lines(grains: Partition, pixel_um: float, rules: GradingParameters) -> FieldGrade:
    lines = straight_lines(grains.shape, _spacing(grains, rules), rules.directions_deg)
    found = _of_lines("lines", lines, grains, pixel_um)
    length = sum(line.length_px for line in lines)
    # A whole number of lines fills the field: they lie a little off the distance wanted.
    spacing = len(rules.directions_deg) * grains.grains.size / length
    return replace(found, measured={**found.measured, "line_spacing_px": spacing})


def _spacing(grains: Partition, rules: GradingParameters) -> float:
    if rules.line_spacing_px is not None:
        return rules.line_spacing_px
    edge = min(grains.shape)
    across = straight_lines(grains.shape, edge / _FEWEST_LINES, (0, 90))
    intercept = intersect(grains, across).mean_intercept_px
    length = _ENOUGH_INTERSECTIONS * intercept / len(rules.directions_deg)
    wide_enough = grains.shape[0] * grains.shape[1] / length
    return float(np.clip(max(intercept, wide_enough), 2, edge / _FEWEST_LINES))


def _by_circles(grains: Partition, pixel_um: float, rules: GradingParameters) -> FieldGrade:
    return _of_lines("circles", three_circles(grains.shape), grains, pixel_um)


def _of_lines(
    method: Method, lines: tuple[TestLine, ...], grains: Partition, pixel_um: float
) -> FieldGrade:
    found = intersect(grains, lines)
    if not found.count:
        raise InputError(
            f"no test {_LINES_OF[method]} meets a grain boundary; take a larger field or a lower "
            "magnification"
        )
    return _of_intersections(method, found, grains, pixel_um)


def _of_intersections(
    method: Method,
    found: Intersections,
    grains: Partition | None,
    pixel_um: float,
) -> FieldGrade:
    per_mm = 1000 * found.count / (found.length_px * pixel_um)
    measured: dict[str, Any] = {
        "mean_intercept_um": 1000 / per_mm if per_mm else math.inf,
        "intersections": found.count,
        "test_line_length_mm": found.length_px * pixel_um / 1000,
        **_directions(found, pixel_um),
    }
    notes = (*_few_intersections(found.count, grains), *_elongated(measured, found))
    return FieldGrade(method, per_mm, found.count, measured, notes, found, grains, pixel_um)


def _few_intersections(count: float, grains: Partition | None) -> list[str]:
    if grains is not None and grains.n < _RELIABLE_GRAINS:
        return [_too_few(f"{grains.n} grains")]
    if count >= FEWEST_INTERSECTIONS:
        return []
    counted = f"{count:g} intersection{'s' * (count != 1)}"
    if count < _RELIABLE_INTERSECTIONS:
        return [_too_few(counted)]
    return [
        f"{counted} in the field: below the {FEWEST_INTERSECTIONS} that ASTM E112 asks for; take "
        "more fields or a lower magnification"
    ]


def _too_few(counted: str) -> str:
    return (
        f"{counted} in the field: far too few, G cannot be relied on; take a larger field or a "
        "lower magnification"
    )


def _elongated(measured: Mapping[str, Any], found: Intersections) -> list[str]:
    intercepts = measured.get("mean_intercept_um_by_direction_deg", {}).values()
    if not intercepts or not math.isfinite(max(intercepts)):
        return []
    times = max(intercepts) / min(intercepts)
    by_chance = math.exp(_BY_CHANCE / math.sqrt(found.count / len(intercepts)))
    if not times > max(ELONGATED, by_chance):
        return []
    index = measured.get("anisotropy_index")
    stated = f"mean intercepts differ {times:.1f} times by direction"
    if index is not None and math.isfinite(index):
        stated = f"anisotropy index {index:.2g}, {stated}"
    by_mean = measured["G_geometric_mean"]
    return [
        f"grains are elongated: {stated}; by the geometric mean of the directions (ASTM E112, 16) "
        f"G is {by_mean:.2f}"
    ]


def _directions(found: Intersections, pixel_um: float) -> dict[str, Any]:
    """Mean intercepts by direction, their geometric mean and how much longer one is."""
    directions = sorted({line.direction_deg for line in found.lines if not line.closed})
    if not directions:
        return {}
    intercepts = {
        f"{direction:g}": found.in_direction(direction).mean_intercept_px * pixel_um
        for direction in directions
    }
    mean_um = float(np.exp(np.log(list(intercepts.values())).mean()))
    measured: dict[str, Any] = {
        "mean_intercept_um_by_direction_deg": intercepts,
        "geometric_mean_intercept_um": mean_um,
        "G_geometric_mean": intercept_g(mean_um / 1000) if math.isfinite(mean_um) else math.nan,
    }
    if {"0", "90"} <= intercepts.keys():
        measured["anisotropy_index"] = intercepts["0"] / intercepts["90"]
    return measured


def _by_counting(grains: Partition, pixel_um: float, rules: GradingParameters) -> FieldGrade:
    counted = (count_in_rectangle if rules.area == "rectangle" else count_in_circle)(grains)
    area_mm2 = counted.area_px * (pixel_um / 1000) ** 2
    measured = {
        "test_area": rules.area,
        "test_area_mm2": area_mm2,
        "grains_inside": counted.inside,
        "grains_cut": counted.cut,
        "grains_counted": counted.grains,
    }
    return FieldGrade(
        "planimetric",
        counted.grains / area_mm2,
        counted.grains,
        measured,
        _few_grains(counted.grains),
        counted,
        grains,
        pixel_um,
    )


def _by_mean_area(grains: Partition, pixel_um: float, rules: GradingParameters) -> FieldGrade:
    area_px = mean_area_of_whole_grains(grains)
    whole = int((~grains.on_border()).sum())
    if not whole:
        raise InputError(
            "no grain lies wholly in the field; take a larger field or a lower magnification"
        )
    return FieldGrade(
        "automatic",
        area_px * pixel_um**2,
        whole,
        {"whole_grains": whole},
        _few_grains(whole),
        count_in_rectangle(grains),
        grains,
        pixel_um,
    )


def _few_grains(count: float) -> tuple[str, ...]:
    if count >= FEWEST_GRAINS:
        return ()
    if count < _RELIABLE_GRAINS:
        return (_too_few(f"{count:g} grain{'s' * (count != 1)}"),)
    return (
        f"{count:g} grains in the field: below the {FEWEST_GRAINS} that ASTM E112 asks for; take "
        "more fields or a lower magnification",
    )
