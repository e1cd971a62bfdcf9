"""Grain size over fields: n counts fields, never grains or intersections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import __version__
from ..quantification.statistics import WANTED_ACCURACY_PERCENT, field_statistics
from .distribution import SizeDistribution, together
from .grade_numbers import Grade, numbers_of
from .grading import QUANTITIES, Method, g_of
from .standards import SMALLEST_DIFFERENCE, iso_643

FEWEST_FIELDS = 5
"""ASTM E112 (11.3, 13.3) and E1382 ask for five fields or more, chosen without bias."""


@dataclass(frozen=True)
class GradedField:
    """A field of an image by each method.

    Attributes
    ----------
    name
        File name of the image, with the plane of a stack.
    by_method
        In the order in which methods were asked for; those of the standards of one partition.
    provenance
        Where boundaries came from: JSON form.
    notes
        On the boundaries, for people.
    left_out
        Why, by method, of those that cannot measure the field.
    """

    name: str
    by_method: Mapping[Method, Grade]
    specimen: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: Mapping[Method, str] = field(default_factory=dict)

    @property
    def sizes(self) -> SizeDistribution | None:
        """Of the whole grains, which are those of every method that knows grains; else None."""
        return next((one.sizes for one in self.by_method.values() if one.sizes is not None), None)


def grain_size_of(
    fields: Sequence[GradedField], wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT
) -> dict[str, Any]:
    """What `grain_size.json` holds.

    Returns
    -------
    JSON form: what `over_fields` gives for the first method that measures a field; `methods`, the
    same for each of several, with G null where one measures none; `size_distribution` (null where
    there are no grains); `fields`, the numbers of each; `notes`; `version`. Of several specimens
    each method also has `specimens` and `over_specimens`, as `over_specimens` gives them.
    """
    # A field that all methods measure has them in the order in which they were asked for.
    ordered = sorted(fields, key=lambda one: len(one.left_out))
    methods = [*dict.fromkeys(name for one in ordered for name in (*one.by_method, *one.left_out))]
    found = {method: _over(method, fields, wanted_accuracy_percent) for method in methods}
    first = next(one for one in found.values() if one["n_fields"])
    known = [one.sizes for one in fields if one.sizes is not None and len(one.sizes.areas_um2)]
    sizes = together(known).to_dict() if known else None
    elongated = any(grade.is_elongated for one in fields for grade in one.by_method.values())
    grades: dict[str, float] = {
        method: one["G"] for method, one in found.items() if one["n_fields"]
    }
    return {
        **first,
        "size_distribution": sizes,
        "notes": [
            *_of_sizes(sizes),
            *dict.fromkeys(note for one in found.values() for note in one["notes"]),
            *_of_specimens(fields),
            *disagreement(grades, elongated=elongated),
        ],
        **({"methods": found} if len(found) > 1 else {}),
        "fields": [_field(one) for one in fields],
        "version": __version__,
    }


def _over(method: Method, fields: Sequence[GradedField], wanted: float) -> dict[str, Any]:
    """The numbers of a method over the fields that it can measure, and over specimens."""
    reasons = [one.left_out[method] for one in fields if method in one.left_out]
    known = [one for one in fields if method in one.by_method]
    if not known:
        return {**_unmeasured(method, "; ".join(dict.fromkeys(reasons))), "n_fields": 0}
    stated = over_fields([one.by_method[method] for one in known], wanted)
    if reasons:
        left_out = f"{method} could not measure {len(reasons)} of {len(fields)} fields"
        stated["notes"].append(f"{left_out}: {'; '.join(dict.fromkeys(reasons))}")
    by_specimen: dict[str, list[Grade]] = {}
    for one in known:
        by_specimen.setdefault(one.specimen, []).append(one.by_method[method])
    return {**stated, **over_specimens(by_specimen, wanted)}


def _unmeasured(method: Method, reason: str) -> dict[str, Any]:
    """What stands in place of numbers where a method cannot measure."""
    return {
        "method": method,
        "G": None,
        "G_iso_643": None,
        "ci95": None,
        "relative_accuracy_percent": None,
        "fields_still_needed": None,
        "reason": reason,
        QUANTITIES[method]: field_statistics([]),
        "count": 0,
        "notes": [f"{method} could not measure: {reason}"],
    }


def over_specimens(
    specimens: Mapping[str, Sequence[Grade]],
    wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT,
) -> dict[str, Any]:
    """The grain size of each of several specimens, and over the means of the specimens.

    Parameters
    ----------
    specimens
        The fields of each by its name, by one method; those of no name are left out.

    Returns
    -------
    JSON form: `specimens` (by name, as `over_fields`) and `over_specimens` (`n_specimens`, `G`,
    `ci95`, `relative_accuracy_percent`, `reason` and the quantity's statistics, in which n counts
    specimens: fields of one specimen are not independent of each other); nothing of one specimen.
    """
    named = {name: fields for name, fields in sorted(specimens.items()) if name}
    if len(named) < 2:
        return {}
    each = {name: over_fields(fields, wanted_accuracy_percent) for name, fields in named.items()}
    method = next(iter(each.values()))["method"]
    quantity = QUANTITIES[method]
    stated = field_statistics(
        [one[quantity]["mean"] for one in each.values()],
        wanted_accuracy_percent=wanted_accuracy_percent,
        counted="specimen",
    )
    over = {
        "n_specimens": len(each),
        "G": g_of(method, stated["mean"]),
        "ci95": _interval_of_g(method, stated["ci95"]),
        "relative_accuracy_percent": stated["relative_accuracy_percent"],
        "reason": stated["reason"],
        quantity: stated,
    }
    return {"specimens": each, "over_specimens": over}


def over_fields(
    fields: Sequence[Grade], wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT
) -> dict[str, Any]:
    """The grain size of several fields by one method.

    G is that of the mean of the method's quantity over the fields, since a mean of G would weigh
    coarse fields less; the limits of its interval are those of the quantity's as G.

    Returns
    -------
    JSON form: `method`, `G`, `G_iso_643`, `ci95` ([low, high] of G, null on a side where the
    quantity's interval reaches 0, which no G belongs to) or null and `reason`,
    `relative_accuracy_percent` (of the quantity), `n_fields`, `fields_still_needed` (for the
    accuracy wanted, and for the five that ASTM E112 asks for), the quantity's statistics by its
    name, `count` (intersections, grains or independent lines), `notes`.

    Source: ASTM E112-13, clause 15; E1382-97, clause 13.
    """
    method = fields[0].method
    stated = field_statistics(
        [one.value for one in fields], wanted_accuracy_percent=wanted_accuracy_percent
    )
    grain_size = g_of(method, stated["mean"])
    needed = stated["fields_still_needed"]
    return {
        "method": method,
        "G": grain_size,
        "G_iso_643": iso_643(grain_size),
        "ci95": _interval_of_g(method, stated["ci95"]),
        "relative_accuracy_percent": stated["relative_accuracy_percent"],
        "n_fields": len(fields),
        "fields_still_needed": max(needed or 0, FEWEST_FIELDS - len(fields)),
        "reason": stated["reason"],
        QUANTITIES[method]: stated,
        "count": sum(one.count for one in fields),
        "notes": _few_fields(len(fields)),
    }


def _interval_of_g(
    method: Method, ends: Sequence[float] | None
) -> tuple[float | None, float | None] | None:
    """The interval of a quantity as one of G, from coarse to fine; None where it has no limit."""
    if ends is None:
        return None
    one, other = (_limit(g_of(method, end)) for end in ends)
    # Grains are the coarser the larger they are, and the fewer of them are met or counted.
    return (other, one) if QUANTITIES[method] == QUANTITIES["automatic"] else (one, other)


def _limit(grain_size: float) -> float | None:
    return grain_size if math.isfinite(grain_size) else None


def interval_words(ends: Sequence[float | None]) -> str:
    """An interval of G, as `over_fields` gives it, in words."""
    low, high = ends
    if low is not None and high is not None:
        return f"{low:.2f} to {high:.2f}"
    if low is not None:
        return f"above {low:.2f}, no upper limit"
    return "no limits" if high is None else f"below {high:.2f}, no lower limit"


def disagreement(grades: Mapping[str, float], *, elongated: bool = False) -> list[str]:
    """A sentence where methods differ by more than half a grain-size number.

    Parameters
    ----------
    grades
        G by method.
    elongated
        Whether grains are, which counts of areas and of intersections weigh otherwise.
    """
    known = {method: grade for method, grade in grades.items() if math.isfinite(grade)}
    if not known:
        return []
    low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    if known[high] - known[low] <= SMALLEST_DIFFERENCE:
        return []
    stated = f"{low} gives G {grades[low]:.2f}, {high} G {grades[high]:.2f}"
    others = [grade for method, grade in known.items() if method != "network"]
    if "network" in known and max(others) - min(others) <= SMALLEST_DIFFERENCE:
        return [
            f"the line network disagrees: {stated}; it looks for no boundaries: trust a standard "
            "method after looking at its boundaries"
        ]
    why = "the likely cause is the elongated shape of the grains; " if elongated else ""
    return [f"the methods disagree: {stated}; {why}look at the boundaries before signing either"]


def _few_fields(count: int) -> list[str]:
    if count >= FEWEST_FIELDS:
        return []
    fields = "one field" if count == 1 else f"{count} fields"
    return [
        f"{fields}: ASTM E112 asks for {FEWEST_FIELDS} or more, chosen without bias: measure "
        f"{FEWEST_FIELDS - count} more"
    ]


_DISTRIBUTIONS = {
    "as large as": "single grains are far larger than the rest (ALA, ASTM E930)",
    "wide range": "grain sizes are of a wide range (ASTM E1181)",
    "bimodal": "grain sizes are of two populations (ASTM E1181)",
}


def _of_sizes(sizes: Mapping[str, Any] | None) -> list[str]:
    """What one G does not tell."""
    if sizes is None or sizes["distribution"] not in _DISTRIBUTIONS:
        return []
    return [
        f"{_DISTRIBUTIONS[sizes['distribution']]}: one G does not describe them; largest grain G "
        f"{sizes['largest_grain_G']:.2f}"
    ]


def _of_specimens(fields: Sequence[GradedField]) -> list[str]:
    """What fields of several specimens are worth together."""
    names = {one.specimen for one in fields if one.specimen}
    unnamed = sum(not one.specimen for one in fields)
    if names and unnamed:
        return [
            f"the specimen of {unnamed} of {len(fields)} fields is not named: G is of all fields "
            "together"
        ]
    if len(names) < 2:
        return []
    return [
        f"{len(fields)} fields of {len(names)} specimens are taken together: the interval over "
        "fields takes them for one material; that over specimens stands beside it"
    ]


def _field(one: GradedField) -> dict[str, Any]:
    measured = {method: numbers_of(found) for method, found in one.by_method.items()}
    first = next(iter(measured.values()))
    unmeasured: dict[Method, dict[str, Any]] = {
        method: {"method": method, "G": None, "G_iso_643": None, "reason": why, "notes": []}
        for method, why in one.left_out.items()
    }
    numbers = {**measured, **unmeasured}
    return {
        "image": one.name,
        **({"specimen": one.specimen} if one.specimen else {}),
        **first,
        "size_distribution": one.sizes.to_dict() if one.sizes else None,
        **({"methods": numbers} if len(numbers) > 1 else {}),
        "notes": [*one.notes, *first["notes"]],
        "provenance": dict(one.provenance),
    }
