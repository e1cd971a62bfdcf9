"""Olympus SIS: tag 33560, pixel size in metres."""

from __future__ import annotations

import tifffile

from .reading import Reading, length_um, magnification, pixel_size, settings

_TAG = 33560


def read(page: tifffile.TiffPage) -> Reading | None:
    """Pixel size; None when the page is not of Olympus SIS."""
    value = page.tags.valueof(_TAG)
    if not isinstance(value, dict):
        return None
    x_um, y_um = (length_um(value.get(f"pixelsize{axis}"), "m") for axis in "xy")
    return pixel_size(x_um, y_um, "Olympus metadata"), settings(
        "Olympus",
        detector=value.get("cameraname"),
        nominal_magnification=magnification(value.get("magnification")),
        acquired=str(value.get("datetime", "")),
    )
