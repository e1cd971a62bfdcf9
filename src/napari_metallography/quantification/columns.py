"""Columns with and without a pixel size: the same names, `_px` in place of `_um`."""

from __future__ import annotations

import pandas as pd

from ..errors import InputError

UNITS = {"um": "µm", "px": "px"}

_PIXEL_ENDINGS = (
    ("_per_mm2", "_per_px2", 1e-6),
    ("_per_mm", "_per_px", 1e-3),
    ("_mm", "_px", 1e3),
    ("_per_um2", "_per_px2", 1.0),
    ("_per_um", "_per_px", 1.0),
    ("_um2", "_px2", 1.0),
    ("_um", "_px", 1.0),
)
"""Ending, ending in pixels, and its value where a pixel is taken to be 1 µm wide."""


def column(frame: pd.DataFrame, stem: str, power: str = "") -> str:
    """Name of a column by its stem: that in µm where there is one, else that in pixels.

    Parameters
    ----------
    power
        "2" for an area.

    Raises
    ------
    InputError
        When there is neither.
    """
    for unit in UNITS:
        if (name := f"{stem}_{unit}{power}") in frame:
            return name
    raise InputError(f"the table has no column {stem}_um{power}; quantify the labels anew")


def unit_of(frame: pd.DataFrame, stem: str, power: str = "") -> str:
    """The unit of a column as people write it: "µm", or "px" for a table without a pixel size."""
    return UNITS[column(frame, stem, power).removesuffix(power).rpartition("_")[2]]


def is_calibrated(phases: pd.DataFrame) -> bool:
    """Whether a table of phases is in µm."""
    return column(phases, "labelled_area", "2").endswith("_um2")


def pixel_name(name: str) -> tuple[str, float]:
    """A column's name in pixel units and the factor of its values, given 1 µm a pixel."""
    for ending, in_pixels, factor in _PIXEL_ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending) + in_pixels, factor
    return name, 1.0


def in_pixels(frame: pd.DataFrame) -> pd.DataFrame:
    """A table measured at 1 µm a pixel with its physical columns in pixel units."""
    columns = {}
    for name in frame.columns:
        renamed, factor = pixel_name(str(name))
        columns[renamed] = frame[name] if factor == 1 else frame[name] * factor
    return pd.DataFrame(columns, index=frame.index)
