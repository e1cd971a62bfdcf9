"""What the vendors' modules have in common."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any, TypeAlias

from ...calibration import Calibration, micrometres
from ...errors import InputError

Reading: TypeAlias = tuple[Calibration | None, dict[str, Any]]
"""A calibration where one is stated, and settings: flat, JSON-serialisable."""

FRAME = "frame_px"
"""Setting: columns and rows of the image that a sidecar describes."""

_LEAST_UM, _MOST_UM = 1e-6, 1e3
_SAME_RATIO = 0.01


def number(value: object) -> float | None:
    """A finite number, or None; a text may use a decimal comma."""
    try:
        result = float(value.replace(",", ".") if isinstance(value, str) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def length_um(value: object, unit: object) -> float | None:
    """A length in µm, or None where value or unit say nothing of the kind."""
    amount = number(value)
    if amount is None or not isinstance(unit, str):
        return None
    try:
        # "Âµ" is the µ of a UTF-8 text read as Latin-1.
        return micrometres(amount, unit.replace("Â", ""))
    except InputError:
        return None


def pixel_size(
    x_um: float | None, y_um: float | None, source: str, relative_uncertainty: float | None = None
) -> Calibration | None:
    """Calibration, or None where the width is unknown or no microscope's (1 pm to 1 mm).

    Pixels are taken as square where the height is not usable.
    """
    if x_um is None or not _LEAST_UM <= x_um <= _MOST_UM:
        return None
    if y_um is None or not _LEAST_UM <= y_um <= _MOST_UM:
        y_um = x_um
    return Calibration(x_um, y_um, source, relative_uncertainty)


def settings(vendor: str, **stated: object) -> dict[str, Any]:
    """The vendor and those settings that say something, as JSON values."""
    known = {name: _plain(value) for name, value in stated.items()}
    return {"vendor": vendor} | {name: value for name, value in known.items() if value is not None}


def scaled(value: object, factor: float) -> float | None:
    """A number times a factor, to 6 digits; None where there is no number."""
    amount = number(value)
    return None if amount is None else float(f"{amount * factor:.6g}")


def magnification(value: object) -> str | None:
    """Nominal magnification as a label: 250 → "250×"."""
    amount = number(value)
    if amount is None:
        return str(value).strip() or None if isinstance(value, str) else None
    return f"{float(f'{amount:.4g}'):.10g}×" if amount > 0 else None


def two_whole_numbers(text: str) -> list[int] | None:
    """Columns and rows from "1280x960" or "1280 960"; None when the text is not such."""
    match = re.fullmatch(r"\s*([1-9]\d{0,6})\D+([1-9]\d{0,6})\s*", text, re.ASCII)
    return [int(part) for part in match.groups()] if match else None


def fitted(reading: Reading, shape: tuple[int, int]) -> Reading:
    """A sidecar's reading for an image of so many rows and columns.

    An image with the frame's proportions is the frame, resampled where the sizes differ, and its
    pixel size is changed accordingly. One with the frame's width is the frame less or with its
    data bar. Of any other it is not known what was done to it, and it is uncalibrated.
    """
    calibration, stated = reading
    frame = stated.get(FRAME)
    if calibration is None or frame is None:
        return reading
    across, down = frame[0] / shape[1], frame[1] / shape[0]
    if across == 1:
        return reading
    if abs(across / down - 1) > _SAME_RATIO:
        note = f"not used: the sidecar describes {frame[0]}×{frame[1]} pixels"
        return None, stated | {"pixel_size": note}
    resampled = replace(calibration, x_um=calibration.x_um * across, y_um=calibration.y_um * down)
    return resampled, stated


def _plain(value: object) -> Any:
    if isinstance(value, str):
        return value.strip() or None
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return value
