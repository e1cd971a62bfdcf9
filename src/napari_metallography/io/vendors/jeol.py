"""JEOL: a text beside the image, `$CM_MAG 250` and `$$SM_MICRON_BAR 267` by line."""

from __future__ import annotations

import math
import re

from ...calibration import Calibration
from .reading import (
    FRAME,
    Reading,
    length_um,
    magnification,
    number,
    pixel_size,
    settings,
    two_whole_numbers,
)

_ENTRY = re.compile(r"^\s*\$+((?:CM|SM)_\w+)[ \t:]*([^\r\n]*?)\s*$", re.MULTILINE)
_LENGTH = re.compile(r"\s*([\d.,]+)\s*(\D+?)\s*")


def sidecar(text: str) -> Reading:
    """Pixel size and settings; (None, {}) when the text is not JEOL's.

    The pixel size is the micron marker's length over the micron bar's pixels. The bar is given
    in whole pixels, whence the uncertainty (uniform distribution).
    """
    entries = dict(_ENTRY.findall(text))
    if not entries:
        return None, {}
    frame = entries.get("CM_IMAGE_RES") or entries.get("CM_FULL_SIZE") or ""
    return _calibration(entries), settings(
        "JEOL",
        instrument=entries.get("CM_INSTRUMENT"),
        detector=entries.get("CM_SIGNAL"),
        nominal_magnification=magnification(entries.get("CM_MAG")),
        accelerating_voltage_kv=number(entries.get("CM_ACCEL_VOLT")),
        working_distance_mm=number(entries.get("SM_WD")),
        acquired=f"{entries.get('CM_DATE', '')} {entries.get('CM_TIME', '')}",
        **{FRAME: two_whole_numbers(frame)},
    )


def _calibration(entries: dict[str, str]) -> Calibration | None:
    marker = _LENGTH.fullmatch(entries.get("SM_MICRON_MARKER", ""))
    bar = number(entries.get("SM_MICRON_BAR"))
    if marker is None or bar is None or bar <= 0:
        return None
    length = length_um(*marker.groups())
    if length is None:
        return None
    return pixel_size(length / bar, None, "JEOL sidecar", 1 / math.sqrt(12) / bar)
