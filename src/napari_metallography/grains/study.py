"""Grain size over fields: n counts fields, never grains or intersections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import __version__
from ..quantification.statistics import WANTED_ACCURACY_PERCENT, field_statistics
from .distribution import together
from .grading import QUANTITIES, FieldGrade, Method, g_of, numbers_of
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
    """

    name: str
    by_method: Mapping[Method, FieldGrade]
    specimen: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def grain_size_of(
    fields: Sequence[GradedField], wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT
) -> dict[str, Any]:
    """What `grain_size.json` holds.

    Returns
    -------
    JSON form: what `over_fields` gives for the first method; `methods`, the same for each of
    several; `fields`, the numbers of each; `notes`; `version`.
    """
    methods = list(fields[0].by_method)
    found = {
        method: over_fields([one.by_method[method] for one in fields], wanted_accuracy_percent)
        for method in methods
    }
    first = found[methods[0]]
    notes = [*dict.fromkeys(note for one in found.values() for note in one["notes"])]
    return {
        **first,
        "notes": [*notes, *disagreement({method: one["G"] for method, one in found.items()})],
        **({"methods": found} if len(found) > 1 else {}),
        "fields": [_field(one) for one in fields],
        "version": __version__,
    }


def over_fields(
    fields: Sequence[FieldGrade], wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT
) -> dict[str, Any]:
    """The grain size of several fields by one method.

    G is that of the mean of the method's quantity over the fields, since a mean of G would weigh
    coarse fields less; the limits of its interval are those of the quantity's as G.

    Returns
    -------
    JSON form: `method`, `G`, `G_iso_643`, `ci95` ([low, high] of G, null on a side where the
    quantity's interval reaches 0, which no G belongs to) or null and `reason`,
    `relative_accuracy_percent` (of the quantity), `n_fields`, the quantity's statistics by its
    name, `count` (intersections, grains or independent lines), `size_distribution` (null where
    there are no grains), `notes`.

    Source: ASTM E112-13, clause 15; E1382-97, clause 13.
    """
    method = fields[0].method
    stated = field_statistics(
        [one.value for one in fields], wanted_accuracy_percent=wanted_accuracy_percent
    )
    grain_size = g_of(method, stated["mean"])
    sizes = [one.sizes for one in fields if one.sizes is not None]
    return {
        "method": method,
        "G": grain_size,
        "G_iso_643": iso_643(grain_size),
        "ci95": _interval_of_g(method, stated["ci95"]),
        "relative_accuracy_percent": stated["relative_accuracy_percent"],
        "n_fields": len(fields),
        "fields_still_needed": stated["fields_still_needed"],
        "reason": stated["reason"],
        QUANTITIES[method]: stated,
        "count": sum(one.count for one in fields),
        "size_distribution": together(sizes).to_dict() if sizes else None,
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


def disagreement(grades: Mapping[str, float]) -> list[str]:
    """A sentence where methods differ by more than half a grain-size number."""
    known = {method: grade for method, grade in grades.items() if math.isfinite(grade)}
    if not known:
        return []
    low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    if known[high] - known[low] <= SMALLEST_DIFFERENCE:
        return []
    return [
        f"the methods disagree: {low} gives G {grades[low]:.2f}, {high} G {grades[high]:.2f}; look "
        "at the boundaries before signing either"
    ]


def _few_fields(count: int) -> list[str]:
    if count >= FEWEST_FIELDS:
        return []
    fields = "one field" if count == 1 else f"{count} fields"
    return [f"{fields}: ASTM E112 asks for {FEWEST_FIELDS} or more, chosen without bias"]


def _field(one: GradedField) -> dict[str, Any]:
    numbers = {method: numbers_of(found) for method, found in one.by_method.items()}
    first, *others = numbers.values()
    return {
        "image": one.name,
        **({"specimen": one.specimen} if one.specimen else {}),
        **first,
        **({"methods": numbers} if others else {}),
        "notes": [*one.notes, *first["notes"]],
        "provenance": dict(one.provenance),
    }
