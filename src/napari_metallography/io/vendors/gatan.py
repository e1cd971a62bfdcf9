"""DigitalMicrograph's TIFF export: tags 65003 and 65004 units, 65009 and 65010 sizes of x and y."""

from __future__ import annotations

import tifffile

from .reading import Reading, length_um, pixel_size, settings

_X_UNIT, _Y_UNIT, _X_SIZE, _Y_SIZE = 65003, 65004, 65009, 65010


def read(page: tifffile.TiffPage) -> Reading | None:
    """Pixel size; None when the page has not these tags.

    A diffraction pattern, whose unit is 1/nm, is uncalibrated.
    """
    if _X_SIZE not in page.tags or _X_UNIT not in page.tags:
        return None
    x_um = _length_um(page, _X_SIZE, _X_UNIT)
    y_um = _length_um(page, _Y_SIZE, _Y_UNIT)
    found = pixel_size(x_um, y_um, "DigitalMicrograph metadata")
    return found, settings("DigitalMicrograph")


def _length_um(page: tifffile.TiffPage, size: int, unit: int) -> float | None:
    text = page.tags.valueof(unit)
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    text = text.replace("\0", "") if isinstance(text, str) else None
    return length_um(page.tags.valueof(size), text)
