"""ImageJ: the unit in the image description, pixels per unit in the resolution tags."""

from __future__ import annotations

import re

import tifffile

from ...calibration import Calibration
from .reading import Reading, length_um, pixel_size, settings
from .resolution import is_believable, pixels_per_unit

_SCREEN_UNITS = ("inch", "inches", "in", "cm")


def read(page: tifffile.TiffPage) -> Reading | None:
    """Pixel size; None when the page is not ImageJ's.

    Without a unit, or with the unit "pixel", the image is uncalibrated. The units inch and cm
    are what ImageJ makes of a foreign file's dots per inch, so they count only where
    `resolution.is_believable`.
    """
    text = page.description
    if not text.startswith(("ImageJ=", "SCIFIO=")):
        return None
    entries = dict(re.findall(r"(?m)^(\w+)=(.*?)\r?$", text))
    return _calibration(page, entries), settings("ImageJ")


def _calibration(page: tifffile.TiffPage, entries: dict[str, str]) -> Calibration | None:
    x_unit = _unit(entries.get("unit", ""))
    y_unit = _unit(entries.get("yunit", "")) or x_unit
    x_um = _size_um(page, "XResolution", x_unit)
    if x_unit.lower() in _SCREEN_UNITS and not (x_um is not None and is_believable(x_um)):
        return None
    return pixel_size(x_um, _size_um(page, "YResolution", y_unit), "ImageJ metadata")


def _unit(text: str) -> str:
    """The unit with ImageJ's escapes undone: `\\u00B5m` → µm."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text).strip()


def _size_um(page: tifffile.TiffPage, tag: str, unit: str) -> float | None:
    per_unit = pixels_per_unit(page, tag)
    # 1/1 is the filler of writers that know no scale; ImageJ itself writes 1000000/1000000.
    if per_unit is None or page.tags.valueof(tag) == (1, 1):
        return None
    return length_um(1 / per_unit, unit)
