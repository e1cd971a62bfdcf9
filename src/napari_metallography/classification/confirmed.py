"""Planes in memory whose class somebody confirmed, as images to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Progress
from ..plane import ArrayLike, as_plane
from .images import OUTSIDER, OUTSIDERS, ClassifiedImages, prepared

_FEWEST_CLASSES = 2


@dataclass(frozen=True)
class Confirmed:
    """A plane (Y, X), or with colours (Y, X, 3 or 4), and the name of its class.

    `OUTSIDERS` names a plane of no class.
    """

    name: str
    array: ArrayLike
    class_name: str
    calibration: Calibration | None = None


def confirmed_classes(names: Iterable[str], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes among names: those known first, in their order, then new ones by name.

    Raises
    ------
    InputError
        When there are fewer than two.
    """
    found = set(names) - {OUTSIDERS}
    if len(found) < _FEWEST_CLASSES:
        only = f"images of one class only, {found.pop()}, are" if found else "no image is"
        raise InputError(f"{only} confirmed; confirm or correct answers of two classes at least")
    return (*(name for name in known if name in found), *sorted(found - set(known)))


def classified_planes(
    confirmed: Sequence[Confirmed], *, side: int, quality: int, known: Sequence[str] = ()
) -> Events[ClassifiedImages]:
    """Images to learn from, as `images.read_classified` reads them from a folder.

    Parameters
    ----------
    side, quality
        As `images.prepared` takes them.
    known
        Names of a model's classes, whose order is kept.

    Yields
    ------
    Progress
        Of the planes.

    Raises
    ------
    InputError
        When there are fewer than two classes, or a plane cannot be used.
    """
    names = confirmed_classes((one.class_name for one in confirmed), known)
    numbers = {name: number for number, name in enumerate(names)} | {OUTSIDERS: OUTSIDER}
    pixels, sides = [], []
    for number, one in enumerate(confirmed):
        yield Progress(number, len(confirmed), "images")
        plane = as_plane(one.array, one.name)
        rows, columns = plane.shape
        rgb = plane.rgb8(slice(0, rows), slice(0, columns))
        pixels.append(prepared(rgb, (side, side), quality))
        sides.append(float(np.sqrt(rows * columns)))
    return ClassifiedImages(
        pixels=np.stack(pixels),
        classes=np.array([numbers[one.class_name] for one in confirmed], np.int64),
        names=names,
        files=tuple(one.name for one in confirmed),
        pixel_sizes_um=tuple(
            one.calibration.mean_um if one.calibration else None for one in confirmed
        ),
        sides_px=np.array(sides),
    )
