"""Micrographs of which no class is known, from folders of any depth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..classification.images import read_each
from ..classification.micrographs import Grey, grey_planes, require_room
from ..errors import InputError
from ..events import Events
from ..inputs import PixelSizes, image_files, read_image
from ..io.images import is_image_file

_Read = tuple[Grey, str, float | None]


@dataclass(frozen=True)
class Micrographs:
    """Micrographs in memory.

    Attributes
    ----------
    planes
        Grey values (Y, X) uint8 of each, without its data bar; of a stack each plane is one.
    files
        Path of each below the folder that was named, and the name of that.
    pixel_sizes_um
        Of each; None where unknown.
    skipped
        What could not be used, and why.
    """

    planes: tuple[Grey, ...]
    files: tuple[str, ...]
    pixel_sizes_um: tuple[float | None, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.planes)

    def digest(self) -> str:
        """SHA-256 over the pixels."""
        whole = hashlib.sha256()
        for plane in self.planes:
            whole.update(repr(plane.shape).encode() + plane.tobytes())
        return whole.hexdigest()


def read_micrographs_below(folders: Sequence[Path], smallest_px: int) -> Events[Micrographs]:
    """Read the images of folders and of those in them; labels and pictures of results are left.

    What cannot be read, and what is smaller than `smallest_px`, is skipped and listed.

    Yields
    ------
    Progress
        Of the images.
    Notice
        What was skipped.

    Raises
    ------
    InputError
        When a folder is not there or holds no image, or none can be used.
    """
    listed = [(path, str(folder)) for folder in folders for path in _files_below(folder)]

    def work(path: Path, folder: str) -> list[_Read]:
        micrograph = read_image(path, PixelSizes())
        planes = grey_planes(micrograph)
        require_room(planes[0], smallest_px, str(path))
        file = f"{Path(folder).resolve().name}/{path.relative_to(folder).as_posix()}"
        size = micrograph.calibration.mean_um if micrograph.calibration else None
        return [(plane, file, size) for plane in planes]

    read, skipped = yield from read_each(folders[0], listed, (), work)
    planes, files, sizes = zip(*(one for several in read for one in several), strict=True)
    return Micrographs(planes, files, sizes, tuple(skipped))


def _files_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one that holds images")
    inside = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    with_images = [path for path in inside if any(map(is_image_file, path.iterdir()))]
    if not with_images:
        raise InputError(f"{folder}: holds no image, nor do the folders in it")
    return image_files(with_images)
