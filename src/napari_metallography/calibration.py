"""Pixel size: how large a pixel is, who says so, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import InputError

HOW_TO_CALIBRATE = (
    "give --pixel-size UM, an index.csv beside the images, or use the Calibrate widget"
)

_UM_PER_UNIT = {
    "pm": 1e-6,
    "angstrom": 1e-4,
    "å": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
}


def micrometres(value: float, unit: str) -> float:
    """Convert a length to µm.

    Raises
    ------
    InputError
        When `unit` is not a unit of length ("pixel" included).
    """
    try:
        return value * _UM_PER_UNIT[unit.strip().lower()]
    except KeyError:
        raise InputError(f"'{unit}' is not a unit of length; {HOW_TO_CALIBRATE}") from None


def size_range_um(sizes: Sequence[float | None]) -> tuple[float, float] | None:
    """Smallest and largest pixel size of images; None unless there are some and all are known."""
    known = [size for size in sizes if size is not None]
    return (min(known), max(known)) if known and len(known) == len(sizes) else None


@dataclass(frozen=True)
class Calibration:
    """Pixel size in µm along x (columns) and y (rows).

    Attributes
    ----------
    x_um, y_um
        Width and height of a pixel in µm, positive and finite.
    source
        Who says so, for people: "FEI metadata", "index.csv", "objective 50×".
    relative_uncertainty
        Standard uncertainty of the pixel size divided by it; None when the source states none.
    """

    x_um: float
    y_um: float
    source: str
    relative_uncertainty: float | None = None

    def __post_init__(self) -> None:
        for size in (self.x_um, self.y_um):
            if not (math.isfinite(size) and size > 0):
                raise InputError(f"a pixel size of {size} µm is not possible; {HOW_TO_CALIBRATE}")

    @classmethod
    def square(
        cls, size_um: float, source: str, relative_uncertainty: float | None = None
    ) -> Calibration:
        """Calibration of square pixels."""
        return cls(size_um, size_um, source, relative_uncertainty)

    @classmethod
    def from_scale(
        cls, scale: Sequence[float], units: Sequence[object], source: str = "layer scale"
    ) -> Calibration | None:
        """Calibration from the last two axes of a layer's scale and units.

        None when the units are pixels, which is what an uncalibrated layer has.
        """
        y_unit, x_unit = (str(unit) for unit in units[-2:])
        if "pixel" in (y_unit, x_unit):
            return None
        y_um, x_um = micrometres(scale[-2], y_unit), micrometres(scale[-1], x_unit)
        return cls(x_um, y_um, source)

    @classmethod
    def from_two_points(
        cls, first: Sequence[float], second: Sequence[float], length_um: float
    ) -> Calibration:
        """Calibration from a scale bar: its two ends as (row, column) in pixels, its length in µm.

        The uncertainty is that of placing each end to within one pixel (uniform distribution).
        """
        pixels = math.dist(first[-2:], second[-2:])
        if pixels < 2:
            raise InputError("the two points of the scale bar coincide; put them at its two ends")
        if not length_um > 0:
            raise InputError("give the length of the scale bar in µm")
        per_end = 1 / math.sqrt(12)
        return cls.square(length_um / pixels, "scale bar", math.sqrt(2) * per_end / pixels)

    @property
    def mean_um(self) -> float:
        """Geometric mean of the pixel's width and height in µm."""
        return math.sqrt(self.x_um * self.y_um)

    @property
    def pixel_area_um2(self) -> float:
        """Area of a pixel in µm²."""
        return self.x_um * self.y_um

    def resampled(self, factor: float) -> Calibration:
        """Calibration of the image after enlarging it `factor` times."""
        return replace(self, x_um=self.x_um / factor, y_um=self.y_um / factor)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "pixel_size_um": [self.x_um, self.y_um],
            "source": self.source,
            "relative_uncertainty": self.relative_uncertainty,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """Inverse of `to_dict`."""
        x_um, y_um = data["pixel_size_um"]
        return cls(float(x_um), float(y_um), data["source"], data.get("relative_uncertainty"))


def require(calibration: Calibration | None, name: str) -> Calibration:
    """Return the calibration or refuse: without a pixel size there is no physical number."""
    if calibration is None:
        raise InputError(f"{name}: no pixel size is known; {HOW_TO_CALIBRATE}")
    return calibration
