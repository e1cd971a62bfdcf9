"""Several images put together: one table of phases, one of particles, statistics over fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..classes import require_same_classes
from ..errors import InputError
from .measure import Quantification
from .statistics import number_of_fields, phase_statistics

_RULES = ("edge_rule", "smallest_area_px", "connectivity", "parameters")


@dataclass(frozen=True)
class Study:
    """Results of several images; each plane of each image is a field.

    Attributes
    ----------
    phases, particles
        The images' tables one below the other, their first column `image`.
    statistics
        JSON form: as of `Quantification`, over all fields; `provenance` is a list, one an image.
    """

    phases: pd.DataFrame
    particles: pd.DataFrame
    statistics: dict[str, Any]


def combine(results: Sequence[tuple[str, Quantification]]) -> Study:
    """Put the results of several images together; n counts fields, never particles.

    Parameters
    ----------
    results
        Name and result of each image.

    Raises
    ------
    InputError
        When there is no image, two share a name, or they were measured by different rules or
        have different classes: a phase that one does not know is not zero there.
    """
    _require_comparable(results)
    phases = _stacked([(name, result.phases) for name, result in results])
    particles = _stacked([(name, result.particles) for name, result in results])
    first = results[0][1].statistics
    statistics = {
        "n_images": len(results),
        "n_fields": number_of_fields(phases, ["image", "plane"]),
        "n_particles": len(particles),
        "phases": phase_statistics(phases, particles),
        **{rule: first[rule] for rule in _RULES},
        "provenance": [result.statistics["provenance"] for _, result in results],
    }
    return Study(phases, particles, statistics)


def _stacked(tables: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    named = []
    for name, table in tables:
        table = table.copy()
        table.insert(0, "image", pd.Series([name] * len(table), index=table.index, dtype=object))
        named.append(table)
    return pd.concat(named, ignore_index=True)


def _require_comparable(results: Sequence[tuple[str, Quantification]]) -> None:
    if not results:
        raise InputError("there is no image to put together; name one at least")
    name, uses = Counter(name for name, _ in results).most_common(1)[0]
    if uses > 1:
        raise InputError(f"{uses} images are called {name}; give each its own name")
    first_name, first_result = results[0]
    first = first_result.statistics
    for name, result in results:
        require_same_classes(
            _names(first_result), _names(result), first_of=first_name, second_of=name
        )
        if any(result.statistics[rule] != first[rule] for rule in _RULES):
            raise InputError(
                f"{name}: measured by other rules than {results[0][0]}; measure all images alike"
            )


def _names(result: Quantification) -> list[str]:
    return [str(name) for name in result.phases["phase"].unique()]
