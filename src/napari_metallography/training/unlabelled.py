"""Micrographs of which no class is known, from folders of any depth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..classification.images import skipped_words
from ..classification.micrographs import Grey, grey_planes, require_room
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..inputs import PixelSizes, image_files, read_image
from ..io.images import is_image_file


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
    listed = [(folder, file) for folder in folders for file in _files_below(folder)]
    planes: list[Grey] = []
    files: list[str] = []
    sizes: list[float | None] = []
    skipped: list[str] = []
    for number, (folder, path) in enumerate(listed):
        yield Progress(number, len(listed), "images")
        try:
            micrograph = read_image(path, PixelSizes())
            found = grey_planes(micrograph)
            require_room(found[0], smallest_px, str(path))
        except InputError as error:
            skipped.append(str(error))
            continue
        calibration = micrograph.calibration
        planes += found
        files += [f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}"] * len(found)
        sizes += [calibration.mean_um if calibration else None] * len(found)
    yield Progress(len(listed), len(listed), "images")
    if skipped:
        yield Notice(skipped_words(skipped))
    if not planes:
        raise InputError(f"{folders[0]}: no image can be used")
    return Micrographs(tuple(planes), tuple(files), tuple(sizes), tuple(skipped))


def _files_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one that holds images")
    inside = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    with_images = [path for path in inside if any(map(is_image_file, path.iterdir()))]
    if not with_images:
        raise InputError(f"{folder}: holds no image, nor do the folders in it")
    return image_files(with_images)
