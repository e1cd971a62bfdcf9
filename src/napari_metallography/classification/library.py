"""Libraries: examples of named structures, which networks learn from and which grow by corrections.

On disk a library is what every training of a classifier reads: a folder a class and an index.csv.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ..errors import InputError
from ..events import Events
from ..io.files import together, write_bytes
from ..io.images import is_image_file
from ..io.index import INDEX_NAME, UNKNOWN
from ..io.mark import SOFTWARE
from ..io.tables import write_csv
from ..regions import Box, Field
from .images import OUTSIDER, OUTSIDERS, listed_images, require_free_names
from .micrographs import ClassifiedMicrographs, Grey, read_micrographs

SMALLEST_PX = 32
"""Side of the smallest image that tells anything."""

_COLUMNS = ("image", "class", "pixel_size_um", "specimen")
_MARK = f"{SOFTWARE} example"
_SOURCE = "Source"
_LONGEST_STEM = 60
_DIGEST = 12


@dataclass(frozen=True)
class Example:
    """A part of an image whose structure somebody named.

    Attributes
    ----------
    plane
        Grey values (Y, X), uint8.
    name
        Of its class; `images.OUTSIDERS` where it shows no structure of the library.
    pixel_size_um
        None where unknown.
    specimen
        What it is of; examples of one specimen are no independent witnesses.
    source
        Which image, plane and part it is, in words.
    """

    plane: Grey
    name: str
    pixel_size_um: float | None
    specimen: str
    source: str


@dataclass(frozen=True)
class Library:
    """Examples of named structures.

    Attributes
    ----------
    examples
        No two of one source.
    skipped
        What could not be read, and why.
    folder
        Where they were read from or written to; None where they were not.
    """

    examples: tuple[Example, ...] = ()
    skipped: tuple[str, ...] = ()
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, sorted, without that of outsiders."""
        return tuple(sorted({one.name for one in self.examples} - {OUTSIDERS}))

    @property
    def counts(self) -> dict[str, int]:
        """Number of examples of each class; outsiders, where there are any, last."""
        found = Counter(one.name for one in self.examples)
        last = (OUTSIDERS,) if OUTSIDERS in found else ()
        return {name: found[name] for name in (*self.names, *last)}

    def added(self, *examples: Example) -> Library:
        """With more examples; one of the same source takes the former one's place."""
        found = {one.source: one for one in (*self.examples, *examples)}
        return replace(self, examples=tuple(found.values()))

    def without(self, index: int) -> Library:
        """Without the example of that index."""
        kept = (one for number, one in enumerate(self.examples) if number != index)
        return replace(self, examples=tuple(kept))

    def kept_in(self, folder: Path) -> Library:
        """The library, known to lie in a folder, in which it may then be replaced."""
        return replace(self, folder=folder)

    def micrographs(self) -> ClassifiedMicrographs:
        """As trainings take them."""
        numbers = {name: number for number, name in enumerate(self.names)} | {OUTSIDERS: OUTSIDER}
        return ClassifiedMicrographs(
            tuple(one.plane for one in self.examples),
            np.array([numbers[one.name] for one in self.examples], np.int64),
            self.names,
            tuple(one.source for one in self.examples),
            tuple(one.pixel_size_um for one in self.examples),
            tuple(one.specimen for one in self.examples),
            self.skipped,
        )


def example_of(
    plane: Grey,
    name: str,
    pixel_size_um: float | None,
    specimen: str,
    source: str,
    outline: NDArray[np.floating] | None = None,
) -> Example:
    """A plane (Y, X) as an example of a class, or the largest upright rectangle inside an outline.

    Parameters
    ----------
    specimen
        Where it is "", the image as a whole stands for it.
    outline
        Vertices (n, 2 or more) of a polygon, of which the last two columns are row and column in
        pixels of the plane. What of it lies outside the plane is left out.

    Raises
    ------
    InputError
        When that part is smaller than 32 × 32 px or of one grey value, or no class can have the
        name.
    """
    stated, of = name.strip(), " ".join(specimen.split()) or source
    _require_name(stated)
    part = plane
    if outline is not None:
        box = _box_inside(plane.shape, outline, source)
        part = plane[box.slices]
        source = f"{source}, rows {box.top} to {box.bottom}, columns {box.left} to {box.right}"
    _require_content(part, source)
    return Example(np.ascontiguousarray(part), stated, pixel_size_um, of, source)


def largest_rectangle(mask: NDArray[np.bool_]) -> Box:
    """The largest upright rectangle of True pixels of a mask (Y, X); empty where there is none.

    Each row knows, for each pixel, how far True reaches upwards and how far a rectangle of that
    height reaches to both sides: the time is linear in the pixels.
    """
    columns = mask.shape[1]
    places = np.arange(columns)
    height = np.zeros(columns, np.int64)
    left, right = np.zeros_like(height), np.full_like(height, columns)
    best, area = Box(0, 0, 0, 0), 0
    for row, inside in enumerate(mask):
        height = np.where(inside, height + 1, 0)
        own_left = np.maximum.accumulate(np.where(inside, 0, places + 1))
        own_right = np.minimum.accumulate(np.where(inside, columns, places)[::-1])[::-1]
        left = np.where(inside, np.maximum(left, own_left), 0)
        right = np.where(inside, np.minimum(right, own_right), columns)
        areas = height * (right - left)
        at = int(areas.argmax()) if columns else 0
        if columns and areas[at] > area:
            area = int(areas[at])
            top = row + 1 - int(height[at])
            best = Box(top, int(left[at]), row + 1, int(right[at]))
    return best


def read_library(folder: Path) -> Events[Library]:
    """Read a folder with a folder a class, or with an index.csv that has the column class.

    One class or one image is enough. What cannot be read is skipped and listed.

    Yields
    ------
    Progress, Notice
        Images read; what was skipped.

    Raises
    ------
    InputError
        When there is no such folder, or no image in it can be used.
    """
    named = {name for _, name in listed_images(folder)} - {OUTSIDERS}
    if not named:
        raise InputError(f"{folder}: holds no image of a class; put one into a folder of its name")
    found = yield from read_micrographs(folder, smallest_px=SMALLEST_PX, names=tuple(sorted(named)))
    names = dict(enumerate(found.names)) | {OUTSIDER: OUTSIDERS}
    examples = (
        Example(plane, names[int(number)], size, specimen, _source(folder / file) or file)
        for plane, number, size, specimen, file in zip(
            found.planes,
            found.classes,
            found.pixel_sizes_um,
            found.specimens,
            found.files,
            strict=True,
        )
    )
    return Library((), found.skipped, folder).added(*examples)


def write_library(folder: Path, library: Library) -> list[Path]:
    """Write a library whole or not at all: a PNG an example, in a folder a class, and index.csv.

    In the folder that it was read from (`Library.folder`) it takes the former one's place: images
    that are not of our making stay where they are. Another folder must hold nothing that would be
    lost.

    Returns
    -------
    The index and the images.

    Raises
    ------
    InputError
        When the library is empty, the folder holds images of others or examples that the library
        does not know, or a file cannot be written.
    """
    if not library.names:
        raise InputError("the library holds no example of a class; name a structure first")
    opened = library.folder is not None and library.folder.resolve() == folder.resolve()
    own = _own_files(folder)
    _require_ours(folder, library, own, opened=opened)
    placed = {_place(folder, one, opened=opened): one for one in library.examples}
    index = folder / INDEX_NAME
    new = [folder / place for place in placed if not (folder / place).exists()]
    try:
        with together(*new, index):
            for path in new:
                one = placed[path.relative_to(folder).as_posix()]
                write_bytes(path, _png(one))
            write_csv(index, _table(placed))
        _remove(own - {folder / place for place in placed})
    finally:
        _remove_empty({path.parent for path in (*new, *own)})
    return [index, *(folder / place for place in placed)]


def _require_name(name: str) -> None:
    require_free_names([name])
    if name != OUTSIDERS and (name.casefold() in UNKNOWN or not name.isprintable()):
        raise InputError(f"no class can be called '{name}'; give it the name of a structure")


def _box_inside(shape: tuple[int, ...], outline: NDArray[np.floating], source: str) -> Box:
    """The largest upright rectangle inside an outline, in pixels of the plane."""
    vertices = np.asarray(outline, float)[:, -2:]
    rows, columns = shape
    top, left = np.clip(np.floor(vertices.min(0)), 0, shape).astype(int).tolist()
    bottom, right = np.clip(np.ceil(vertices.max(0)) + 1, 0, shape).astype(int).tolist()
    field = Field((rows, columns), region=(tuple(map(tuple, vertices)),))
    around = Box(top, left, max(top, bottom), max(left, right))
    found = largest_rectangle(field.mask(around))
    if 0 in found.shape:
        raise InputError(f"{source}: the outline lies outside the image; draw it on the image")
    return Box(top + found.top, left + found.left, top + found.bottom, left + found.right)


def _require_content(part: Grey, source: str) -> None:
    rows, columns = part.shape
    if min(part.shape) < SMALLEST_PX:
        raise InputError(
            f"{source}: {columns} × {rows} px are too few to tell a structure; take "
            f"{SMALLEST_PX} × {SMALLEST_PX} px or more"
        )
    if (part == part[0, 0]).all():
        raise InputError(f"{source}: every pixel has the same value; choose another part")


def _require_ours(folder: Path, library: Library, own: set[Path], *, opened: bool) -> None:
    """Refuse to replace or to lose what others put into a folder, or what the library misses."""
    index = folder / INDEX_NAME
    if index.is_file() and not _is_own_index(index):
        raise InputError(
            f"{index}: has other columns than {', '.join(_COLUMNS)}, which would be lost; write "
            "the library into another folder"
        )
    if opened:
        return
    images = {path for path in _images_below(folder) if path not in own}
    if images or (index.is_file() and not own):
        raise InputError(
            f"{folder}: holds images that are no library of this program; open it as a library "
            "first, or choose an empty folder"
        )
    sources = {one.source for one in library.examples}
    unknown = sorted(path for path in own if _source(path) not in sources)
    if unknown:
        raise InputError(
            f"{folder}: holds another library ({unknown[0].name}); open it first and add to it, "
            "or choose an empty folder"
        )


def _is_own_index(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().strip() == ",".join(_COLUMNS)


def _images_below(folder: Path) -> list[Path]:
    """Images where a library has them: in the folder and in those of its classes."""
    found = [*folder.glob("*"), *folder.glob("*/*")] if folder.is_dir() else []
    return [path for path in found if is_image_file(path) and path.is_file()]


def _own_files(folder: Path) -> set[Path]:
    return {path for path in _images_below(folder) if _source(path) is not None}


def _source(path: Path) -> str | None:
    """What a file that we wrote says it is of; None for files of others."""
    if path.suffix != ".png":
        return None
    try:
        with Image.open(path, formats=("PNG",)) as image:
            said = image.info
    except (OSError, ValueError, SyntaxError):
        return None
    return str(said[_SOURCE]) if said.get("Software") == _MARK and _SOURCE in said else None


def _place(folder: Path, example: Example, *, opened: bool) -> str:
    """Path below the folder; images of others stay where they are."""
    if opened and (folder / example.source).is_file():
        return example.source
    # By its content: a file is never written over by another one.
    content = f"{example.source}\0{example.plane.shape}".encode() + example.plane.tobytes()
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST]
    stem = _in_a_file_name(example.source)[:_LONGEST_STEM]
    return f"{_class_folder(example.name)}/{stem}-{digest}.png"


def _class_folder(name: str) -> str:
    found = _in_a_file_name(name)
    # The folder `none` is that of outsiders.
    return f"{found}-" if found.casefold() == OUTSIDERS and name != OUTSIDERS else found


def _in_a_file_name(text: str) -> str:
    return re.sub(r"[^\w+-]+", "-", text).strip("-") or "example"


def _png(example: Example) -> bytes:
    said = PngImagePlugin.PngInfo()
    said.add_text("Software", _MARK)
    said.add_text(_SOURCE, example.source)
    buffer = BytesIO()
    Image.fromarray(example.plane).save(buffer, "PNG", pnginfo=said)
    return buffer.getvalue()


def _table(placed: dict[str, Example]) -> pd.DataFrame:
    rows = [
        (place, one.name, one.pixel_size_um, one.specimen) for place, one in sorted(placed.items())
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _remove(paths: set[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _remove_empty(folders: set[Path]) -> None:
    """A folder without an image would be taken for an empty class."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
