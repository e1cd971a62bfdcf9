"""Objectives and magnifications by name, with the pixel size each was calibrated to."""

from __future__ import annotations

import math

from ..calibration import Calibration
from ..errors import InputError
from . import settings

_SECTION = "objectives"


def objectives() -> dict[str, float]:
    """Pixel sizes in µm by name, in the order of the names."""
    saved = settings.load(_SECTION)
    return {name: float(size) for name, size in sorted(saved.items()) if _is_size(size)}


def add_objective(name: str, pixel_size_um: float) -> None:
    """Remember an objective from now on, in place of one of the same name.

    Raises
    ------
    InputError
        When it has no name, its pixel size is not possible, or the settings cannot be written.
    """
    if not name.strip():
        raise InputError("give the objective a name, for example '50× air'")
    size = Calibration.square(pixel_size_um, "objective").x_um
    settings.save(_SECTION, objectives() | {name.strip(): size})


def delete_objective(name: str) -> None:
    """Forget an objective."""
    kept = {other: size for other, size in objectives().items() if other != name}
    settings.save(_SECTION, kept)


def objective_calibration(name: str | None) -> Calibration:
    """The calibration an objective stands for.

    Raises
    ------
    InputError
        When there is no such objective.
    """
    known = objectives()
    if name not in known:
        raise InputError("no objective is saved yet; add one with its name and pixel size")
    return Calibration.square(known[name], f"objective {name}")


def _is_size(size: object) -> bool:
    return isinstance(size, int | float) and math.isfinite(size) and size > 0
