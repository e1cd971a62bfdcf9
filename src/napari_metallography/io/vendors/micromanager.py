"""Micro-Manager: tag 51123, a JSON object with the pixel size in µm, 0 when uncalibrated."""

from __future__ import annotations

import tifffile

from .reading import Reading, length_um, pixel_size, settings

_TAG = 51123


def read(page: tifffile.TiffPage) -> Reading | None:
    """Pixel size; None when the page is not Micro-Manager's."""
    value = page.tags.valueof(_TAG)
    if not isinstance(value, dict):
        return None
    size = length_um(value.get("PixelSizeUm"), "um")
    return pixel_size(size, size, "Micro-Manager metadata"), settings(
        "Micro-Manager", detector=value.get("Camera"), acquired=value.get("Time")
    )
