"""TVIPS cameras: tag 37706, pixel size in nm."""

from __future__ import annotations

import tifffile

from .reading import Reading, length_um, magnification, pixel_size, scaled, settings

_TAG = 37706


def read(page: tifffile.TiffPage) -> Reading | None:
    """Pixel size; None when the page is not of a TVIPS camera."""
    value = page.tags.valueof(_TAG)
    if not isinstance(value, dict):
        return None
    x_um, y_um = (length_um(value.get(f"PixelSize{axis}"), "nm") for axis in "XY")
    return pixel_size(x_um, y_um, "TVIPS metadata"), settings(
        "TVIPS",
        instrument=value.get("TemType"),
        detector=value.get("CameraType"),
        nominal_magnification=magnification(value.get("TemMagnification")),
        accelerating_voltage_kv=scaled(value.get("TemHighTension"), 1e-3),
    )
