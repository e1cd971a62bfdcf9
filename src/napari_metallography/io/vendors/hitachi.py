"""Hitachi: a text beside the image, `[SemImageFile]` and `PixelSize=` in nm."""

from __future__ import annotations

import re

from .reading import (
    FRAME,
    Reading,
    length_um,
    magnification,
    number,
    pixel_size,
    scaled,
    settings,
    two_whole_numbers,
)

_ENTRY = re.compile(r"^\s*(\w+)[ \t]*=[ \t]*([^\r\n]*?)\s*$", re.MULTILINE)
_OWN = {"InstructName", "DataSize", "MicronMarker"}
_FIRST_NUMBER = re.compile(r"[\d.,]+")


def sidecar(text: str) -> Reading:
    """Pixel size and settings; (None, {}) when the text is not Hitachi's."""
    entries = dict(_ENTRY.findall(text))
    if "PixelSize" not in entries or not ("[SemImageFile]" in text or _OWN & entries.keys()):
        return None, {}
    size = length_um(entries["PixelSize"].removesuffix("nm"), "nm")
    return pixel_size(size, size, "Hitachi sidecar"), settings(
        "Hitachi",
        instrument=entries.get("InstructName") or entries.get("InstrumentName"),
        detector=entries.get("SignalName"),
        nominal_magnification=magnification(number(entries.get("Magnification"))),
        accelerating_voltage_kv=scaled(_amount(entries.get("AcceleratingVoltage", "")), 1e-3),
        working_distance_mm=scaled(_amount(entries.get("WorkingDistance", "")), 1e-3),
        acquired=f"{entries.get('Date', '')} {entries.get('Time', '')}",
        **{FRAME: two_whole_numbers(entries.get("DataSize", ""))},
    )


def _amount(text: str) -> str | None:
    """The number of "10000 Volt" or "8000 um"."""
    match = _FIRST_NUMBER.match(text)
    return match[0] if match else None
