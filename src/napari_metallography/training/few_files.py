"""Images in files named by what a few examples taught."""

from __future__ import annotations

from pathlib import Path

from ..calibration import require
from ..classification.library import SMALLEST_PX
from ..classification.micrographs import grey_planes, require_room, require_square
from ..events import Events
from ..inputs import PixelSizes, read_image
from .few_examples import LearntClasses, name_planes, shows_less
from .few_stacks import Row, answer_row


def name_file(
    path: Path, learnt: LearntClasses, sizes: PixelSizes, called: str
) -> Events[list[Row]]:
    """Name every plane of an image; a row of `classes.csv` each.

    Parameters
    ----------
    called
        What the table calls the image.

    Yields
    ------
    Progress, Notice
        Of the planes.

    Raises
    ------
    InputError
        When the image cannot be used, is smaller than 32 px or shows less than half of what is
        compared, or its pixel size is needed and not known.
    """
    micrograph = read_image(path, sizes)
    planes = grey_planes(micrograph)
    require_room(planes[0], SMALLEST_PX, str(path))
    size = micrograph.calibration.mean_um if micrograph.calibration else None
    require_square(micrograph.calibration, str(path))
    if learnt.needs_pixel_size:
        require(micrograph.calibration, str(path))
        shows_less(learnt.shown, planes[0], size, str(path))
    answers = yield from name_planes(learnt, planes, [size] * len(planes))
    return [
        {"image": called, "plane": number, **answer_row(answer, size, learnt.names)}
        for number, answer in enumerate(answers)
    ]
