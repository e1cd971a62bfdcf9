"""Measuring labels whose particles can be corrected: their numbers stay with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..calibration import Calibration
from ..events import Events, Progress
from ..io.labels import LabelImage
from .corrections import Correction, audit_rows, plane_at
from .measure import Quantification
from .numbering import numbers_of
from .parameters import QuantifyParameters
from .particles import find_particles
from .pixel_units import ONE_MICROMETRE, measure_labels
from .runs import paint_numbers
from .strips import LabelledPlane, PlaneOf, stretches_of

CORRECTIONS = "corrections"
"""Key of the provenance, with rows as `corrections.audit_rows` gives them, and of a layer's
metadata, with corrections as `Correction.to_dict` writes them."""

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class CorrectableResult:
    """A result and all particles of the labels.

    Attributes
    ----------
    result
        The column `particle` of its table is the number in `ids`; its own `ids` hold those
        particles only that count. Where the field cuts a particle in pieces, all but the first
        have numbers that follow the highest.
    ids
        Shaped like the labels: the numbers of all particles, also of those that the edge rule
        leaves out, 0 elsewhere.
    """

    result: Quantification
    ids: Ids


def measure_anew(
    labels: LabelImage,
    parameters: QuantifyParameters,
    intensity: NDArray[np.number] | None,
    name: str,
) -> Events[CorrectableResult]:
    """Number the particles of labels and measure them; those that count have 1 to n.

    Without a pixel size in pixels, which a notice says. Errors as of `measure.quantify`.
    """
    ids = yield from _numbered(labels, parameters, intensity, name)
    measured = yield from measure_given(labels, ids, parameters, intensity, name)
    counted = measured.result.particles["particle"].to_numpy()
    n = int(ids.max(initial=0))
    order = np.concatenate([counted, np.setdiff1d(np.arange(1, n + 1), counted)])
    numbers = np.zeros(n + 1, np.int32)
    numbers[order] = np.arange(1, n + 1)
    result = _renumbered(measured.result, numbers)
    return CorrectableResult(result, numbers[ids])


def measure_given(
    labels: LabelImage,
    ids: Ids,
    parameters: QuantifyParameters,
    intensity: NDArray[np.number] | None,
    name: str,
    trail: Sequence[Correction] = (),
) -> Events[CorrectableResult]:
    """Measure particles as they are numbered.

    Parameters
    ----------
    labels
        The labels as corrected.
    ids
        Shaped like the labels: particle numbers, 0 elsewhere.
    trail
        The corrections that led to them; they go into the provenance.
    """
    result = yield from measure_labels(
        without_corrections(labels), parameters, intensity, name, ids=ids
    )
    result = _with_assumption(result, labels)
    given = np.concatenate([[0], numbers_of(result.ids, ids)]).astype(np.int32)
    return CorrectableResult(_with_trail(_renumbered(result, given), trail, labels), ids)


def without_corrections(labels: LabelImage) -> LabelImage:
    """Labels whose provenance tells of no corrections: a result has these in a place of their own.

    There they are under `CORRECTIONS`, beside what else made the labels.
    """
    made = {what: value for what, value in labels.provenance.items() if what != CORRECTIONS}
    return replace(labels, provenance=made)


def by_number(particles: pd.DataFrame, highest: int) -> pd.DataFrame:
    """The table with row *i* for particle *i*, row 0 and those that do not count empty.

    As napari's features are: without the column `particle`, NaN, 0 or "" where there is nothing.
    """
    table = particles.drop(columns="particle")
    numbers = particles["particle"].to_numpy(int)
    columns: dict[str, Any] = {}
    for name in table.columns:
        values = table[name].to_numpy()
        empty: Any = {"f": np.nan, "i": 0, "u": 0, "b": False}.get(values.dtype.kind, "")
        columns[str(name)] = np.full(highest + 1, empty, values.dtype)
        columns[str(name)][numbers] = values
    return pd.DataFrame(columns)


def _numbered(
    labels: LabelImage,
    parameters: QuantifyParameters,
    intensity: NDArray[np.number] | None,
    name: str,
) -> Events[Ids]:
    """Numbers of all particles, through all planes."""
    ids, offset = np.zeros(labels.indices.shape, np.int32), 0
    classes = parameters.particle_classes(len(labels.classes))
    calibration: Calibration = labels.calibration or ONE_MICROMETRE
    fits = labels.measured.shape == ids.shape[-2:] and _fits(intensity, labels)
    # What does not fit is refused when it is measured.
    n_planes = math.prod(ids.shape[:-2]) if fits else 0
    field = stretches_of(labels.measured)
    for number in range(n_planes):
        plane = LabelledPlane(PlaneOf(labels.indices, number), field, len(labels.classes), name)
        grey = None if intensity is None else plane_at(intensity, number)
        found, _ = find_particles(plane, classes, parameters, calibration, grey)
        paint_numbers(found, offset, plane_at(ids, number))
        offset += found.n
        yield Progress(number + 1, n_planes, "planes numbered")
    return ids


def _fits(intensity: NDArray[np.number] | None, labels: LabelImage) -> bool:
    return intensity is None or intensity.shape == labels.indices.shape


def _renumbered(result: Quantification, numbers: Ids) -> Quantification:
    """A result whose particles 1 to n have other numbers."""
    particles = result.particles.assign(
        particle=numbers[result.particles["particle"].to_numpy(int)].astype(np.int64)
    )
    return replace(result, particles=particles, ids=numbers[result.ids])


def _with_assumption(result: Quantification, labels: LabelImage) -> Quantification:
    """With a note on how labels are understood that do not say it themselves."""
    if not labels.assumed:
        return result
    stated = result.statistics["provenance"]
    provenance = {**stated, "notes": [labels.assumed, *stated["notes"]]}
    return replace(result, statistics={**result.statistics, "provenance": provenance})


def _with_trail(
    result: Quantification, trail: Sequence[Correction], labels: LabelImage
) -> Quantification:
    """All corrections in one place: those that the labels came with and those made since."""
    told = [*labels.provenance.get(CORRECTIONS, ()), *audit_rows(trail, labels.classes)]
    if not told:
        return result
    provenance = {**result.statistics["provenance"], CORRECTIONS: told}
    return replace(result, statistics={**result.statistics, "provenance": provenance})
