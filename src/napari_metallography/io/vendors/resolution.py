"""Plain TIFF resolution tags, believed only where they can be a microscope's."""

from __future__ import annotations

import tifffile

from .reading import Reading, number, pixel_size

_UM_PER_UNIT = {2: 25400.0, 3: 10000.0}
"""Resolution unit: inch, centimetre."""

_MOST_BELIEVABLE_UM = 50.0
_USUAL_STEPS_DPI = (50, 720)
"""Scanners and printers have whole multiples of these."""

_MOST_USUAL_DPI = 12800
_HALF_A_PIXEL_PER_CM = 1.27
"""Dots per inch by which a whole number of pixels per centimetre misses the usual value."""


def read(page: tifffile.TiffPage) -> Reading:
    """Pixel size from XResolution, YResolution and ResolutionUnit, where `is_believable`."""
    um_per_unit = _UM_PER_UNIT.get(_stated_unit(page))
    if um_per_unit is None:
        return None, {}
    sizes = [_size_um(page, tag, um_per_unit) for tag in ("XResolution", "YResolution")]
    if sizes[0] is None or not is_believable(sizes[0]):
        return None, {}
    return pixel_size(sizes[0], sizes[1], "resolution tags"), {}


def is_believable(size_um: float) -> bool:
    """Whether a pixel size from dots per inch or centimetre can be a microscope's.

    It can when it is below 50 µm and not a resolution of screens, printers and scanners, which
    are whole multiples of 50 or 720 dpi up to 12,800 (also as 118.11 or 118 pixels/cm).
    """
    if not 0 < size_um < _MOST_BELIEVABLE_UM:
        return False
    dpi = 25400 / size_um
    return dpi > _MOST_USUAL_DPI + _HALF_A_PIXEL_PER_CM or not any(
        abs(dpi - step * round(dpi / step)) <= _HALF_A_PIXEL_PER_CM for step in _USUAL_STEPS_DPI
    )


def pixels_per_unit(page: tifffile.TiffPage, tag: str) -> float | None:
    """A resolution tag's positive number; None when it is missing or none."""
    value = page.tags.valueof(tag)
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    above, below = (number(part) for part in value)
    return above / below if above and below and above / below > 0 else None


def _stated_unit(page: tifffile.TiffPage) -> int:
    unit = number(page.tags.valueof("ResolutionUnit"))
    return int(unit) if unit is not None else 0


def _size_um(page: tifffile.TiffPage, tag: str, um_per_unit: float) -> float | None:
    per_unit = pixels_per_unit(page, tag)
    return None if per_unit is None else um_per_unit / per_unit
