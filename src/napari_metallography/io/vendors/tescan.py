"""TESCAN: tag 50431 or an .hdr text beside the image; lengths in metres, voltages in V."""

from __future__ import annotations

import re
from typing import Any

import tifffile

from .reading import Reading, length_um, magnification, pixel_size, scaled, settings

_TAG = 50431


def read(page: tifffile.TiffPage) -> Reading | None:
    """Pixel size; None when the page is not TESCAN's."""
    value = page.tags.valueof(_TAG)
    if not isinstance(value, bytes):
        return None
    # A thumbnail comes first in the tag, so the text is looked for rather than parsed.
    return _reading(value.decode("latin-1"), "TESCAN metadata")


def sidecar(text: str) -> Reading:
    """Pixel size and settings from an .hdr text; (None, {}) when it is no such text."""
    if "[MAIN]" not in text or "PixelSizeX=" not in text:
        return None, {}
    return _reading(text, "TESCAN sidecar")


def _reading(text: str, source: str) -> Reading:
    x_um, y_um = (length_um(_value(text, f"PixelSize{axis}"), "m") for axis in "XY")
    return pixel_size(x_um, y_um, source), _settings(text)


def _value(text: str, name: str) -> str | None:
    match = re.search(rf"(?:^|[^A-Za-z0-9]){name}=([^\r\n\0]*)", text)
    return match[1].strip() if match else None


def _settings(text: str) -> dict[str, Any]:
    return settings(
        "TESCAN",
        instrument=_value(text, "Device"),
        detector=_value(text, "Detector"),
        nominal_magnification=magnification(scaled(_value(text, "Magnification"), 1)),
        accelerating_voltage_kv=scaled(_value(text, "HV"), 1e-3),
        working_distance_mm=scaled(_value(text, "WD"), 1e3),
        acquired=f"{_value(text, 'Date') or ''} {_value(text, 'Time') or ''}",
    )
