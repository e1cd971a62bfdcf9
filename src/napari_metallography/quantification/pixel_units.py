"""Results without a pixel size: in pixels, and no physical column anywhere."""

from __future__ import annotations

from dataclasses import replace

from ..calibration import HOW_TO_CALIBRATE, Calibration
from .columns import in_pixels
from .measure import Quantification
from .statistics import statistics_over_fields

NO_PIXEL_SIZE = f"no pixel size is known, so all tables are in pixels; {HOW_TO_CALIBRATE}"

ONE_MICROMETRE = Calibration.square(1.0, "none, in pixels")
"""What is measured with where nothing is known; `in_pixel_units` then takes it out."""


def in_pixel_units(result: Quantification) -> Quantification:
    """A result measured with `ONE_MICROMETRE`, in pixel units.

    Columns that end in `_um`, `_um2` and `_per_mm2` end in `_px`, `_px2` and `_per_px2` instead,
    and the provenance has no calibration.
    """
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
