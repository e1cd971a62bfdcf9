"""The mark of pictures that the program made, so that none is measured as a micrograph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SOFTWARE = "napari-metallography"
"""What files of ours state as their software; of images and masks that may be measured, no more."""

PICTURE = f"{SOFTWARE} picture"
"""What pictures state that only show a result: an overlay, an error map, an uncertainty."""

_LOOKED_AT = 1024
_UNMARKED_ENDINGS = ("_lines", "_circles", "_planimetric", "_automatic", "_network")
"""Of the pictures of grain sizes that earlier versions wrote without a mark."""


def is_own_picture(path: Path) -> bool:
    """Whether a PNG or TIFF states that it is a picture of ours, within its first kilobyte.

    False for what cannot be read: what is wrong with it is for its reader to say.
    """
    try:
        with path.open("rb") as file:
            return PICTURE.encode() in file.read(_LOOKED_AT)
    except OSError:
        return False


def own_pictures(inside: Iterable[Path]) -> frozenset[Path]:
    """Pictures of ours among the images of a folder, also those without a mark by their names."""
    images = list(inside)
    stems = {path.stem for path in images}
    return frozenset(p for p in images if is_own_picture(p) or _is_unmarked(p, stems))


def _is_unmarked(path: Path, stems: set[str]) -> bool:
    endings = (ending for ending in _UNMARKED_ENDINGS if path.stem.endswith(ending))
    of_an_image = any(path.stem.removesuffix(ending) in stems for ending in endings)
    return path.suffix == ".png" and of_an_image
