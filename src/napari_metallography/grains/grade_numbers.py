"""The numbers of a graded field, without what was drawn or measured: as files keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .distribution import SizeDistribution
from .grading import QUANTITIES, FieldGrade, Method, g_of
from .standards import iso_643


@dataclass(frozen=True)
class StoredGrade:
    """What tables, statistics and reports need of a `grading.FieldGrade`; attributes as there."""

    method: Method
    value: float
    count: float
    measured: Mapping[str, Any]
    notes: tuple[str, ...]
    pixel_um: float
    n_grains: int | None
    is_elongated: bool
    sizes: SizeDistribution | None

    @property
    def g(self) -> float:
        """ASTM grain-size number of the field."""
        return g_of(self.method, self.value)


Grade = FieldGrade | StoredGrade


def numbers_of(found: Grade) -> dict[str, Any]:
    """JSON form of a field's grade, less the sizes of its grains, which all methods share."""
    return {
        "method": found.method,
        "G": found.g,
        "G_iso_643": iso_643(found.g),
        QUANTITIES[found.method]: found.value,
        **found.measured,
        "grains_in_field": found.n_grains,
        "pixel_size_um": found.pixel_um,
        "notes": list(found.notes),
    }


def stored(found: Grade) -> dict[str, Any]:
    """JSON form from which `restored` makes the same numbers, bit for bit."""
    sizes = found.sizes
    return {
        "method": found.method,
        "value": found.value,
        "count": found.count,
        "measured": dict(found.measured),
        "notes": list(found.notes),
        "pixel_um": found.pixel_um,
        "n_grains": found.n_grains,
        "is_elongated": found.is_elongated,
        "sizes": None if sizes is None else [sizes.areas_um2.tolist(), sizes.weights.tolist()],
    }


def restored(data: Mapping[str, Any]) -> StoredGrade:
    """Inverse of `stored`."""
    sizes = data["sizes"]
    known = None if sizes is None else SizeDistribution(*(np.array(v, float) for v in sizes))
    return StoredGrade(**{**data, "notes": tuple(data["notes"]), "sizes": known})
