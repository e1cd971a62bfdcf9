"""Planes in memory whose class somebody confirmed, as images to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Progress
from ..plane import ArrayLike, Plane
from .images import OUTSIDER, OUTSIDERS, ClassifiedImages, require_free_names
from .stacks import Stack

_FEWEST_CLASSES = 2
_GREY = 2


Show = Callable[[Plane, Calibration | None], NDArray[np.uint8]]


@dataclass(frozen=True)
class Confirmed:
    """A plane (Y, X), or with colours (Y, X, 3 or 4), and the name of its class.

    `OUTSIDERS` names a plane of no class.
    """

    name: str
    array: ArrayLike
    class_name: str
    calibration: Calibration | None = None

    def plane(self) -> Plane:
        """As it was named; `InputError` where it cannot be, or shows one grey value.

        That is allowed of a plane of no class.
        """
        plane = Stack(self.name, self.array, len(self.array.shape) > _GREY, self.calibration).plane(
            0
        )
        if plane.is_constant and self.class_name != OUTSIDERS:
            raise InputError(f"{self.name}: every pixel has the same value; confirm it as none")
        return plane


def confirmed_classes(names: Iterable[str], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes among names: those known first, in their order, then new ones by name.

    Raises
    ------
    InputError
        When there are fewer than two.
    """
    found = set(names) - {OUTSIDERS}
    require_free_names(found)
    if len(found) < _FEWEST_CLASSES:
        only = f"images of one class only, {found.pop()}, are" if found else "no image is"
        raise InputError(f"{only} confirmed; confirm or correct answers of two classes at least")
    return (*(name for name in known if name in found), *sorted(found - set(known)))


def classified_planes(
    confirmed: Sequence[Confirmed], show: Show, known: Sequence[str] = ()
) -> Events[ClassifiedImages]:
    """Images to learn from, as `images.read_classified` reads them from a folder.

    Parameters
    ----------
    show
        What the network is shown of a plane: (S, S, 3).
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
    pixels, shapes = [], []
    for number, one in enumerate(confirmed):
        yield Progress(number, len(confirmed), "images")
        plane = one.plane()
        pixels.append(_square(show(plane, one.calibration), one.name))
        shapes.append(plane.shape)
    return ClassifiedImages(
        pixels=np.stack(pixels),
        classes=np.array([numbers[one.class_name] for one in confirmed], np.int64),
        names=names,
        files=tuple(one.name for one in confirmed),
        pixel_sizes_um=tuple(
            one.calibration.mean_um if one.calibration else None for one in confirmed
        ),
        shapes=np.array(shapes),
    )


def _square(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    rows, columns = pixels.shape[:2]
    if rows != columns:
        raise InputError(
            f"{name}: shows more than the images the model was trained on; confirm parts of it, "
            "cut to squares"
        )
    return pixels
