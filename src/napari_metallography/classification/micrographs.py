"""Micrographs of known class, in their own pixels and with their scale."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration, size_range_um
from ..errors import InputError
from ..events import Events
from ..inputs import PixelSizes, measured_field, read_image
from ..io.images import Micrograph
from ..io.index import find_index
from ..plane import LUMA, Plane, planes_of
from ..regions import Field
from .images import OUTSIDER, OUTSIDERS, class_names, listed_images, read_each

Grey = NDArray[np.uint8]
_SQUARE = 1.05
_Read = tuple[Path, str, Micrograph, Grey]


@dataclass(frozen=True)
class ClassifiedMicrographs:
    """Micrographs of known class, in memory.

    Attributes
    ----------
    planes
        Grey values (Y, X) uint8 of each, without its data bar.
    classes
        (n,) int64, by index in `names`; `images.OUTSIDER` for one of none.
    names
        Of the classes.
    files
        Path of each relative to its data folder, with forward slashes.
    pixel_sizes_um
        Of each; None where unknown.
    specimens
        Of each; its own file where no index names one.
    skipped
        What could not be used, and why.
    """

    planes: tuple[Grey, ...]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    files: tuple[str, ...]
    pixel_sizes_um: tuple[float | None, ...]
    specimens: tuple[str, ...]
    skipped: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.planes)

    def where(self, chosen: NDArray[np.bool_]) -> ClassifiedMicrographs:
        """Those chosen by a mask."""
        return ClassifiedMicrographs(
            tuple(compress(self.planes, chosen)),
            self.classes[chosen],
            self.names,
            tuple(compress(self.files, chosen)),
            tuple(compress(self.pixel_sizes_um, chosen)),
            tuple(compress(self.specimens, chosen)),
            self.skipped,
        )

    def joined(self, others: ClassifiedMicrographs | None) -> ClassifiedMicrographs:
        """These and others of the same classes."""
        if others is None:
            return self
        return ClassifiedMicrographs(
            self.planes + others.planes,
            np.concatenate([self.classes, others.classes]),
            self.names,
            self.files + others.files,
            self.pixel_sizes_um + others.pixel_sizes_um,
            self.specimens + others.specimens,
            self.skipped,
        )

    def digest(self) -> str:
        """SHA-256 over pixels, pixel sizes and classes."""
        whole = hashlib.sha256(repr((self.names, self.pixel_sizes_um)).encode())
        for plane in self.planes:
            whole.update(repr(plane.shape).encode() + plane.tobytes())
        whole.update(self.classes.tobytes())
        return whole.hexdigest()

    def pixel_size_range_um(self, class_number: int | None = None) -> tuple[float, float] | None:
        """Smallest and largest pixel size, of a class or all; None unless all are known."""
        own = [
            size
            for size, number in zip(self.pixel_sizes_um, self.classes, strict=True)
            if class_number is None or number == class_number
        ]
        return size_range_um(own)


def read_micrographs(
    data: Path,
    *,
    smallest_px: int,
    names: Sequence[str] = (),
    without: Sequence[str] = (),
    outsiders: Sequence[str] = (),
    sizes: PixelSizes | None = None,
) -> Events[ClassifiedMicrographs]:
    """Read a folder with a folder a class, or with an index.csv that has the column class.

    The folder or class `none` holds outsiders. What cannot be read, and what is smaller than a
    crop, is skipped and listed.

    Parameters
    ----------
    smallest_px
        Side of the smallest crop.
    names
        Of the classes, where a model fixes them; else those that the data name, in order.
    without
        Classes to leave out.
    outsiders
        Classes to take as outsiders.
    sizes
        Whence pixel sizes and specimens come. Without an index in it: the one in `data`, else those
        in the folders of the images.

    Yields
    ------
    Progress
        Of the images.
    Notice
        What was skipped.

    Raises
    ------
    InputError
        When there are fewer than two classes, a class is empty or not among `names`, or one to
        leave out is not there.
    """
    renamed = dict.fromkeys(outsiders, OUTSIDERS)
    found = listed_images(data)
    _require_present(data, [*without, *outsiders], [name for _, name in found])
    listed = [(path, renamed.get(name, name)) for path, name in found if name not in without]
    known = class_names(data, [name for _, name in listed], names)
    stated = sizes or PixelSizes()
    where = replace(stated, index=stated.index or find_index(data))

    def work(path: Path, name: str) -> _Read:
        micrograph = read_image(path, where)
        return path, name, micrograph, _usable(micrograph, smallest_px)

    read, skipped = yield from read_each(data, listed, () if names else known, work)
    return _gathered(data, read, known, skipped)


def grey_planes(micrograph: Micrograph, measured: Field | None = None) -> list[Grey]:
    """Grey values (Y, X) uint8 of each plane, without the data bar.

    Parameters
    ----------
    measured
        Says where the data bar is, if that is known.
    """
    measured = measured or measured_field(micrograph)
    name = str(micrograph.source)
    frame = measured.frame()
    planes = planes_of(micrograph.pixels, rgb=micrograph.rgb, name=name, measured=measured)
    box = slice(frame.top, frame.bottom), slice(frame.left, frame.right)
    return [_grey(plane, box) for plane in planes]


def require_room(plane: Grey, smallest_px: int, name: str) -> None:
    """Refuse an image that no crop fits into.

    Raises
    ------
    InputError
        Says how large it must be.
    """
    if min(plane.shape) < smallest_px:
        rows, columns = plane.shape
        raise InputError(
            f"{name}: {columns} × {rows} px are fewer than the smallest crop of {smallest_px} px; "
            "take a larger part of the specimen"
        )


def require_square(calibration: Calibration | None, name: str) -> None:
    """Refuse pixels that are not squares: shapes would be distorted, and there is no one scale.

    Raises
    ------
    InputError
        When width and height differ by more than 5 %.
    """
    if calibration is None:
        return
    x, y = calibration.x_um, calibration.y_um
    if max(x, y) > _SQUARE * min(x, y):
        raise InputError(
            f"{name}: its pixels are {x:.3g} × {y:.3g} µm, no squares; resample it to square "
            "pixels first"
        )


def held_out_specimens(images: ClassifiedMicrographs, share: float, seed: int) -> NDArray[np.bool_]:
    """Which images are held out, (n,): about `share` of the specimens of each class.

    All images of a specimen are on one side, of whatever classes they are. Every class keeps a
    specimen to learn from; a class whose specimens all are the last one of some class is not held
    out.
    """
    random = np.random.default_rng(seed)
    specimens = np.array(images.specimens)
    by_class = [{*specimens[images.classes == n].tolist()} for n in range(len(images.names))]
    chosen: set[str] = set()
    for own in by_class:
        wanted = max(1, round(share * len(own))) if share else 0
        for specimen in random.permutation(sorted(own - chosen)).tolist():
            if len(own & chosen) >= wanted:
                break
            # A specimen may show several classes: none may lose its last one.
            if all(other - chosen != {specimen} for other in by_class):
                chosen.add(specimen)
    return np.isin(specimens, sorted(chosen))


def _grey(plane: Plane, box: tuple[slice, slice]) -> Grey:
    window = plane.rgb8(*box)
    # Of grey images every channel is the same.
    grey = window[..., 0] if (window == window[..., :1]).all() else _luma(window)
    return np.ascontiguousarray(grey)


def _luma(rgb: Grey) -> Grey:
    return np.asarray(np.rint(rgb.astype(np.float32) @ LUMA), np.uint8)


def _usable(micrograph: Micrograph, smallest_px: int) -> Grey:
    require_square(micrograph.calibration, str(micrograph.source))
    planes = grey_planes(micrograph)
    if len(planes) > 1:
        raise InputError(f"{micrograph.source}: a stack; give its planes as images of their own")
    require_room(planes[0], smallest_px, str(micrograph.source))
    return planes[0]


def _require_present(data: Path, wanted: Sequence[str], present: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in present]
    if missing:
        raise InputError(
            f"{data}: has no class '{missing[0]}'; it has {', '.join(sorted({*present}))}"
        )


def _gathered(
    data: Path,
    read: Sequence[_Read],
    names: tuple[str, ...],
    skipped: Sequence[str],
) -> ClassifiedMicrographs:
    numbers = {name: number for number, name in enumerate(names)} | {OUTSIDERS: OUTSIDER}
    files = [path.relative_to(data).as_posix() for path, *_ in read]
    sizes = [one.calibration.mean_um if one.calibration else None for _, _, one, _ in read]
    specimens = [
        str(one.metadata.get("specimen", file))
        for (_, _, one, _), file in zip(read, files, strict=True)
    ]
    return ClassifiedMicrographs(
        tuple(plane for *_, plane in read),
        np.array([numbers[name] for _, name, *_ in read], np.int64),
        names,
        tuple(files),
        tuple(sizes),
        tuple(specimens),
        tuple(skipped),
    )
