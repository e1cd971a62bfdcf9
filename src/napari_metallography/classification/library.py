"""Libraries: examples of named structures, which networks learn from and which grow by corrections.

On disk a library is what every training of a classifier reads: a folder a class and an index.csv.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ..errors import InputError
from ..events import Events, Notice
from ..io.files import digest, together, write_bytes
from ..io.images import is_image_file
from ..io.index import INDEX_NAME, UNKNOWN, find_index
from ..io.mark import SOFTWARE
from ..io.tables import write_csv
from ..regions import Box, Field
from .images import OUTSIDER, OUTSIDERS, listed_images, require_free_names, skipped_words
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
class Held:
    """What of a library lies in a folder.

    Attributes
    ----------
    files
        The images that it has read there or written, relative to the folder: of those of our
        making no others are ever removed.
    index
        SHA-256 of the index.csv; empty where there was none.
    """

    folder: Path
    files: frozenset[str]
    index: str


@dataclass(frozen=True)
class Library:
    """Examples of named structures.

    Attributes
    ----------
    examples
        No two of one source.
    skipped
        What could not be read, and why.
    held
        What of them lies in the folder that they were read from or written to; None where they
        were not.
    """

    examples: tuple[Example, ...] = ()
    skipped: tuple[str, ...] = ()
    held: Held | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def folder(self) -> Path | None:
        """Where they were read from or written to; None where they were not."""
        return None if self.held is None else self.held.folder

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
        """With more examples; one of the same source takes the former one's place.

        A class is called as it was written first.
        """
        found = {one.source: one for one in self.examples}
        names = {one.name: None for one in self.examples}
        for one in examples:
            name = known_name(one.name, names)
            names[name] = None
            found[one.source] = replace(one, name=name)
        return replace(self, examples=tuple(found.values()))

    def without(self, index: int) -> Library:
        """Without the example of that index."""
        kept = (one for number, one in enumerate(self.examples) if number != index)
        return replace(self, examples=tuple(kept))

    def kept_in(self, folder: Path) -> Library:
        """The library, just written into a folder, in which it may then be replaced.

        Raises
        ------
        InputError
            When the index there cannot be read.
        """
        index = find_index(folder)
        files = frozenset(row.image for row in index.rows) if index else frozenset()
        return replace(self, held=Held(folder, files, _index_digest(folder)))

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


def known_name(name: Any, names: Iterable[str]) -> str:
    """A class as it was written first: neither blanks nor case tell classes apart.

    Parameters
    ----------
    name
        As typed, or from a table, where NaN, NA and None stand for nothing.
    """
    stated = "" if pd.isna(name) else " ".join(str(name).split())
    return next((one for one in names if one.casefold() == stated.casefold()), stated)


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
    stated, of = known_name(name, ()), " ".join(specimen.split()) or source
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
    listed = listed_images(folder)
    named = {name for _, name in listed} - {OUTSIDERS}
    if not named:
        raise InputError(f"{folder}: holds no image of a class; put one into a folder of its name")
    index = _index_digest(folder)
    unlisted = _unlisted(folder, {path for path, _ in listed})
    if unlisted:
        yield Notice(skipped_words(unlisted))
    found = yield from read_micrographs(folder, smallest_px=SMALLEST_PX, names=tuple(sorted(named)))
    examples, doubled = _unique(folder, found)
    if doubled:
        yield Notice(skipped_words(doubled))
    skipped = (*found.skipped, *unlisted, *doubled)
    held = Held(folder, frozenset(examples), index)
    return Library((), skipped, held).added(*examples.values())


def write_library(folder: Path, library: Library) -> list[Path]:
    """Write a library whole or not at all: a PNG an example, in a folder a class, and index.csv.

    In the folder that it was read from (`Library.folder`) it takes the former one's place: images
    that are not of our making stay where they are. Another folder must hold neither images nor an
    index.

    Returns
    -------
    The index and the images.

    Raises
    ------
    InputError
        When the library is empty, the folder holds images of others or examples that the library
        does not know, its index has changed since it was read, or a file cannot be written.
    """
    if not library.names:
        raise InputError("the library holds no example of a class; name a structure first")
    here = library.folder is not None and library.folder.resolve() == folder.resolve()
    held = library.held if here else None
    own = _own_files(folder)
    _require_ours(folder, held, own)
    kept = held.files if held else frozenset()
    placed = {_place(one, kept): one for one in library.examples}
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


def _unlisted(folder: Path, listed: set[Path]) -> list[str]:
    """Examples of our making that the index does not name, and that are thus not read."""
    return [
        f"{path}: not in {INDEX_NAME}; add a line for it, or take it out of the folder"
        for path in sorted(_own_files(folder) - listed)
    ]


def _unique(folder: Path, images: ClassifiedMicrographs) -> tuple[dict[str, Example], list[str]]:
    """Examples by their files, and why others of the same source are left."""
    names = dict(enumerate(images.names)) | {OUTSIDER: OUTSIDERS}
    found: dict[str, Example] = {}
    first: dict[str, str] = {}
    doubled = []
    for number, file in enumerate(images.files):
        source = _source(folder / file) or file
        if source in first:
            doubled.append(f"{folder / file}: of the same image and part as {first[source]}")
            continue
        first[source] = file
        found[file] = Example(
            images.planes[number],
            names[int(images.classes[number])],
            images.pixel_sizes_um[number],
            images.specimens[number],
            source,
        )
    return found, doubled


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


def _require_ours(folder: Path, held: Held | None, own: set[Path]) -> None:
    """Refuse to replace or to lose what others put into a folder, or what the library misses."""
    index = folder / INDEX_NAME
    if index.is_file() and not _is_own_index(index):
        raise InputError(
            f"{index}: has other columns than {', '.join(_COLUMNS)}, which would be lost; write "
            "the library into another folder"
        )
    if held is None:
        _require_empty(folder, own)
        return
    if _index_digest(folder) != held.index:
        raise InputError(
            f"{index}: has changed since the library was opened; open it again, then save, or "
            "choose an empty folder"
        )
    unknown = sorted(path for path in own if path.relative_to(folder).as_posix() not in held.files)
    if unknown:
        raise InputError(
            f"{unknown[0]}: an example that is not in the library; take it out of the folder, or "
            "choose an empty folder"
        )


def _require_empty(folder: Path, own: set[Path]) -> None:
    """Refuse a folder in which anything would be lost or mixed up."""
    if own:
        raise InputError(
            f"{folder}: holds another library ({min(own).name}); open it first and add to it, or "
            "choose an empty folder"
        )
    if _images_below(folder) or (folder / INDEX_NAME).is_file():
        raise InputError(
            f"{folder}: holds images that are no library of this program; open it as a library "
            "first, or choose an empty folder"
        )


def _is_own_index(path: Path) -> bool:
    """Whether it has our columns, whatever a spreadsheet separates them by."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return tuple(re.split("[,;\t]", file.readline().strip())) == _COLUMNS


def _index_digest(folder: Path) -> str:
    index = folder / INDEX_NAME
    return digest(index) if index.is_file() else ""


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


def _place(example: Example, kept: frozenset[str]) -> str:
    """Path below the folder; images of others that were read there stay where they are."""
    # Of an index the class "none" says nothing: what is of none must lie in that folder.
    is_told = example.name != OUTSIDERS or _is_of_none(example.source)
    if example.source in kept and is_told:
        return example.source
    # By its content: a file is never written over by another one.
    content = f"{example.source}\0{example.plane.shape}".encode() + example.plane.tobytes()
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST]
    stem = _in_a_file_name(example.source)[:_LONGEST_STEM]
    return f"{_class_folder(example.name)}/{stem}-{digest}.png"


def _is_of_none(place: str) -> bool:
    return place.partition("/")[0].casefold() == OUTSIDERS


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
