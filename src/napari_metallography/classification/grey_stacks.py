"""Grey values of images in memory, as those read from files have them."""

from __future__ import annotations

from pathlib import Path

from ..inputs import measured_field
from ..io.images import Micrograph
from ..regions import Box
from .micrographs import Grey, grey_planes
from .stacks import Stack


def grey_plane(stack: Stack, number: int) -> tuple[Grey, Box]:
    """Grey values (Y, X) of a plane less its data bar, and which part of it that is.

    Raises
    ------
    InputError
        When there is no such plane, or it is empty, of one grey value or holds NaN.
    """
    pixels, called = stack.pixels(number)
    one = Micrograph(pixels, stack.rgb, stack.calibration, source=Path(called))
    # It is looked for once: that takes longer than all else.
    measured = measured_field(one)
    return grey_planes(one, measured)[0], measured.frame()
