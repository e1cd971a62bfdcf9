"""Grain-size numbers as the standards define them."""

from __future__ import annotations

import math

ISO_OFFSET = 0.046
"""G of ASTM E112 less G of ISO 643 for the same grains."""

SMALLEST_DIFFERENCE = 0.5
"""Steps in which grain-size numbers are compared: half a number."""


def planimetric_g(grains_per_mm2: float) -> float:
    """ASTM grain-size number from grains per mm².

    Source: ASTM E112-13, table 6: G = 3.321928 log10(N_A) - 2.954.
    """
    return 3.321928 * math.log10(grains_per_mm2) - 2.954


def intercept_g(mean_intercept_mm: float) -> float:
    """ASTM grain-size number from the mean lineal intercept in mm.

    Source: ASTM E112-13, table 6: G = -6.643856 log10(l) - 3.288.
    """
    return -6.643856 * math.log10(mean_intercept_mm) - 3.288


def intercept_mm_of(grain_size: float) -> float:
    """Mean lineal intercept in mm of an ASTM grain-size number."""
    return float(10 ** (-(grain_size + 3.288) / 6.643856))


def grains_per_mm2_of(grain_size: float) -> float:
    """Grains per mm² of an ASTM grain-size number."""
    return float(10 ** ((grain_size + 2.954) / 3.321928))


def iso_643(grain_size: float) -> float:
    """Grain-size number of ISO 643, whose m = 8 · 2^G grains per mm²."""
    return grain_size - ISO_OFFSET


def largest_grain_g(largest_area_mm2: float) -> float:
    """ALA grain-size number of the largest grain observed.

    Source: ASTM E930: the number of grains all as large as that one.
    """
    return planimetric_g(1 / largest_area_mm2)
