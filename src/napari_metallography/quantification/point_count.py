"""A systematic point count on labels, so that the manual method can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..classes import UNLABELLED, PhaseClass
from ..errors import InputError
from .runs import joined
from .statistics import WANTED_ACCURACY_PERCENT, field_statistics
from .strips import LabelledPlane


@dataclass(frozen=True)
class PointGrid:
    """A grid of points of equal distances that is laid over a field.

    Attributes
    ----------
    rows, columns
        Points down and across the field; ASTM E562 has grids of 16 to 100 points.
    seed
        The grid starts at random within one of its meshes, which makes the count unbiased.
    """

    rows: int = 10
    columns: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise InputError(f"a grid of {self} has no point; give ROWSxCOLUMNS, such as 10x10")

    def __str__(self) -> str:
        return f"{self.rows} × {self.columns}"

    @classmethod
    def parse(cls, text: str) -> PointGrid:
        """A grid from "ROWSxCOLUMNS"."""
        try:
            rows, columns = (int(part) for part in text.lower().replace("×", "x").split("x"))
        except ValueError:
            raise InputError(
                f"'{text}' is no grid of points; give ROWSxCOLUMNS, such as 10x10"
            ) from None
        return cls(rows, columns)


def count_points(
    plane: LabelledPlane,
    classes: Sequence[PhaseClass],
    grid: PointGrid,
    number: int = 0,
) -> pd.DataFrame:
    """Count the points of a grid that hit each phase of a field.

    A point lies on the side that two pixels of a row share: it counts 1 for a phase that holds
    both, and ½ where the boundary runs between them. Points beside a pixel that is outside the
    field or unlabelled are left out. The expected share of points is the area fraction.

    Parameters
    ----------
    number
        Of the plane in its image: each field has a start of the grid of its own, by this and by
        the name of the image, whatever other fields there are. A grid finer than the pixels has a
        point a pixel.

    Returns
    -------
    Columns `phase`, `points`, `points_counted` (on the whole field), `point_fraction` (NaN when
    no point was counted), one row a phase.

    Source: ASTM E562, systematic manual point count.
    """
    left, right = _pixels_beside(plane, grid, [crc32(plane.name.encode()), number])
    hits = np.bincount(np.concatenate([left, right]), minlength=len(classes)) / 2
    total = len(left)
    return pd.DataFrame(
        {
            "phase": pd.Series([phase.name for phase in classes], dtype=object),
            "points": hits[: len(classes)],
            "points_counted": total,
            "point_fraction": hits[: len(classes)] / total if total else np.nan,
        }
    )


def point_statistics(
    counts: pd.DataFrame,
    grid: PointGrid,
    wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT,
) -> dict[str, Any]:
    """Statistics over fields of the rows that `count_points` gives for each.

    Returns
    -------
    JSON form: `grid`, `points_per_field` (mean), `rule`, `seed`, and `phases`: the point
    fraction of each as `field_statistics` gives it.
    """
    groups = counts.groupby("phase", sort=False)
    return {
        "grid": [grid.rows, grid.columns],
        "points_per_field": float(groups["points_counted"].mean().iloc[0]),
        "rule": "a point on a boundary counts ½; the grid starts at random in each field",
        "seed": grid.seed,
        "phases": {
            str(phase): field_statistics(
                rows["point_fraction"], 1.0, wanted_accuracy_percent=wanted_accuracy_percent
            )
            for phase, rows in groups
        },
    }


def _pixels_beside(
    plane: LabelledPlane, grid: PointGrid, key: list[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classes left and right of each point that lies on known pixels; shape (points,) each."""
    rows, columns = _extent(plane)
    if columns.stop - columns.start < 2:
        return np.empty(0, np.uint8), np.empty(0, np.uint8)
    start = np.random.default_rng([grid.seed, *key]).random(2)
    down = _places(rows.start, rows.stop, grid.rows, start[0])
    across = _places(columns.start, columns.stop - 1, grid.columns, start[1])
    sides = []
    for strip in plane.strips():
        own = down[(down >= strip.rows.start) & (down < strip.rows.stop)]
        lines = strip.coded[own - strip.window.start]
        sides.append((lines[:, across].ravel(), lines[:, across + 1].ravel()))
    left, right = joined(sides)
    known = (left != UNLABELLED) & (right != UNLABELLED)
    return left[known], right[known]


def _extent(plane: LabelledPlane) -> tuple[slice, slice]:
    """Rows and columns from the first to the last that has a known pixel."""
    rows, columns = np.zeros(plane.shape[0], bool), np.zeros(plane.shape[1], bool)
    for strip in plane.strips():
        known = strip.coded[strip.own()] != UNLABELLED
        rows[strip.rows] = known.any(1)
        columns |= known.any(0)
    return _from_first_to_last(rows), _from_first_to_last(columns)


def _from_first_to_last(chosen: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(chosen)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _places(first: int, end: int, count: int, start: float) -> NDArray[np.intp]:
    """`count` places, one a pixel at most, of equal distances in [first, end).

    The first is `start` of a distance in.
    """
    count = min(count, int(end - first))
    return np.asarray(first + (np.arange(count) + start) * (end - first) / count, np.intp)
