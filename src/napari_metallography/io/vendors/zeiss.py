"""Zeiss electron microscopes: tag 34118, parameters by name."""

from __future__ import annotations

from typing import Any

import tifffile

from ...calibration import Calibration
from .reading import Reading, length_um, magnification, number, pixel_size, settings

_TAG = 34118
_SAME_SIZE = 0.01


def read(page: tifffile.TiffPage) -> Reading | None:
    """Width and height of the field over the image's columns and rows; None when not Zeiss.

    Not AP_PIXEL_SIZE, which refers to a frame of 1024 pixels whatever the image's size, nor the
    resolution tags (1/1). A height that contradicts the width by more than 1 % tells of rows cut
    off or added, not of oblong pixels, and is left out.
    """
    value = page.tags.valueof(_TAG)
    if not isinstance(value, dict):
        return (None, settings("Zeiss")) if _TAG in page.tags else None
    return _calibration(value, page.imagewidth, page.imagelength), _settings(value)


def _calibration(value: dict[str, Any], columns: int, rows: int) -> Calibration | None:
    width, height = _length_um(value, "ap_width"), _length_um(value, "ap_height")
    if width is None:
        return None
    x_um, y_um = width / columns, height / rows if height is not None else None
    if y_um is not None and abs(y_um - x_um) > _SAME_SIZE * x_um:
        y_um = None
    return pixel_size(x_um, y_um, "Zeiss metadata")


def _length_um(value: dict[str, Any], name: str) -> float | None:
    _, *amount = value.get(name, ("",))
    return length_um(*amount) if len(amount) == 2 else None


def _first(value: dict[str, Any], *names: str) -> Any:
    for name in names:
        _, *amount = value.get(name, ("",))
        if amount:
            return amount[0]
    return None


def _settings(value: dict[str, Any]) -> dict[str, Any]:
    return settings(
        "Zeiss",
        instrument=_first(value, "dp_sem", "sv_serial_number"),
        detector=_first(value, "dp_detector_type", "dp_detector_channel"),
        nominal_magnification=_magnification(_first(value, "ap_mag")),
        accelerating_voltage_kv=number(_first(value, "ap_actualkv", "ap_manualkv")),
        working_distance_mm=_millimetres(value),
        acquired=_first(value, "ap_date"),
    )


def _magnification(stated: object) -> str | None:
    """Label from 105, or from "50.00 K X"."""
    if not isinstance(stated, str):
        return magnification(stated)
    amount, *thousands = stated.upper().replace("X", "").split()
    size = number(amount)
    return magnification(size * 1000 if size is not None and thousands == ["K"] else stated)


def _millimetres(value: dict[str, Any]) -> float | None:
    distance = _length_um(value, "ap_wd")
    return None if distance is None else float(f"{distance / 1000:.6g}")
