"""Measuring labels with a pixel size, or without: in pixels, and no physical column anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..calibration import HOW_TO_CALIBRATE, Calibration
from ..events import Events, Notice
from ..io.labels import LabelImage
from ..plane import ArrayLike
from .columns import in_pixels
from .measure import Quantification, quantify
from .parameters import QuantifyParameters
from .statistics import statistics_over_fields

NO_PIXEL_SIZE = f"no pixel size is known, so all tables are in pixels; {HOW_TO_CALIBRATE}"

ONE_MICROMETRE = Calibration.square(1.0, "none, in pixels")
"""What is measured with where nothing is known; `measure_labels` then takes it out."""


def measure_labels(
    labels: LabelImage,
    parameters: QuantifyParameters,
    intensity: ArrayLike | None,
    name: str,
    *,
    called: str | None = None,
    ids: ArrayLike | None = None,
    label_values: Sequence[int] | None = None,
    paint: bool = True,
) -> Events[Quantification]:
    """Measure labels of shape (Y, X) or (N, Y, X) in µm; without a pixel size in pixels.

    Then a notice says so, columns that would end in `_um`, `_um2` and `_per_mm2` end in `_px`,
    `_px2` and `_per_px2`, and the provenance has no calibration.

    Parameters
    ----------
    labels
        Their provenance goes into that of the result.
    intensity
        Grey values of the same shape.
    name
        Names the image in messages and provenance.
    called
        Its name in the notice where that is another, such as one that tells the plane.
    ids, label_values, paint
        As of `measure.quantify`.

    Raises
    ------
    InputError
        As `measure.quantify` does, but for an unknown pixel size.
    """
    if labels.calibration is None:
        yield Notice(f"{called or name}: {NO_PIXEL_SIZE}")
    result = yield from quantify(
        labels.indices,
        labels.classes,
        labels.calibration or ONE_MICROMETRE,
        labels.measured,
        parameters,
        intensity=intensity,
        name=name,
        labels_provenance=labels.provenance,
        ids=ids,
        label_values=label_values,
        paint=paint,
    )
    return _in_pixel_units(result) if labels.calibration is None else result


def _in_pixel_units(result: Quantification) -> Quantification:
    """A result that was measured with `ONE_MICROMETRE`."""
    phases, particles = in_pixels(result.phases), in_pixels(result.particles)
    provenance = result.statistics["provenance"]
    told = {
        "calibration": None,
        "notes": [NO_PIXEL_SIZE, *provenance["notes"]],
    }
    statistics = {
        **result.statistics,
        "phases": statistics_over_fields(
            phases,
            particles,
            planes_are_fields=result.statistics["parameters"]["planes_are_fields"],
        ),
        "provenance": {**provenance, **told},
    }
    return replace(result, phases=phases, particles=particles, statistics=statistics)
