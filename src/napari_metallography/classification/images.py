"""Images of known class, as a network sees them: all of one size, all compressed alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration, size_range_um
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..inputs import PixelSizes, read_image
from ..io.images import IMAGE_SUFFIXES, is_image_file
from ..io.index import find_index
from ..io.mark import own_pictures
from ..plane import Plane, as_plane
from .defect_parameters import UNSURE_NAME

T = TypeVar("T")

OUTSIDERS = "none"
"""The folder, or class of an index, of images that are of no class."""

OUTSIDER = -1

_FEWEST_CLASSES = 2
_NAMED_AT_MOST = 3
_ALIKE = 1.25
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class ClassifiedImages:
    """Images of known class, in memory.

    Attributes
    ----------
    pixels
        (n, S, S, 3) uint8, as `prepared` makes them.
    classes
        (n,) int64, by index in `names`; `OUTSIDER` for an image of none.
    names
        Of the classes.
    files
        Path of each image relative to its data folder, with forward slashes.
    pixel_sizes_um
        Of each image as it was read; None where unknown.
    shapes
        (n, 2) rows and columns that were read.
    skipped
        What could not be read, and why.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    files: tuple[str, ...]
    pixel_sizes_um: tuple[float | None, ...]
    shapes: NDArray[np.int64]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def where(self, chosen: Sequence[bool] | NDArray[np.bool_]) -> ClassifiedImages:
        """Those chosen by a mask."""
        mask = np.asarray(chosen, bool)
        return ClassifiedImages(
            self.pixels[mask],
            self.classes[mask],
            self.names,
            tuple(compress(self.files, mask)),
            tuple(compress(self.pixel_sizes_um, mask)),
            self.shapes[mask],
            self.skipped,
        )

    def digest(self) -> str:
        """SHA-256 over pixels and classes."""
        whole = hashlib.sha256(",".join(self.names).encode())
        whole.update(self.pixels.tobytes())
        whole.update(self.classes.tobytes())
        return whole.hexdigest()

    @property
    def usual_side_px(self) -> float:
        """Median of the geometric mean of the sides of the images as they were read."""
        return float(np.median(np.sqrt(self.shapes.prod(1))))

    @property
    def square(self) -> bool:
        """Whether nearly all are squares of the usual side: then all are shown at one scale."""
        alike = [are_alike(shape, self.usual_side_px) for shape in self.shapes]
        return bool(np.mean(alike) >= _NEARLY_ALL)

    @property
    def contents(self) -> set[str]:
        """A digest of the pixels of each image."""
        return {hashlib.sha256(image.tobytes()).hexdigest() for image in self.pixels}

    @property
    def pixel_size_range_um(self) -> tuple[float, float] | None:
        """Smallest and largest pixel size; None unless all are known."""
        return size_range_um(self.pixel_sizes_um)


def are_alike(shape: Sequence[float], side: float) -> bool:
    """Whether rows and columns are those of a square, up to a quarter."""
    return all(side / _ALIKE <= length <= side * _ALIKE for length in shape)


def without_outsiders(images: ClassifiedImages) -> ClassifiedImages:
    """Those that are of a class."""
    return images.where(images.classes != OUTSIDER)


def prepared(rgb: NDArray[np.uint8], shape: tuple[int, int], quality: int) -> NDArray[np.uint8]:
    """An image (Y, X, 3) as the network sees it: compressed as JPEG, and brought to a shape.

    Every image is compressed anew in the same way, whatever file it came from: else the traces
    that a format leaves would tell a class whose images were all stored alike.
    """
    # Colours in the order blue, green, red, which OpenCV takes.
    done, content = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR) if done else None
    if decoded is None:
        raise InputError(
            "a side of more than 65,500 pixels, which JPEG cannot hold; cut the image, or scan it "
            "by windows"
        )
    rows, columns = shape
    shrinks = rows * columns < decoded.shape[0] * decoded.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(decoded, (columns, rows), interpolation=way)
    return np.ascontiguousarray(resized[..., ::-1], np.uint8)


def read_classified(
    data: Path,
    *,
    side: int,
    quality: int,
    files: Sequence[str] | None = None,
    names: Sequence[str] = (),
    sizes: PixelSizes | None = None,
) -> Events[ClassifiedImages]:
    """Read a folder with a folder a class, or with an index.csv that has the column class.

    The folder or class `none` holds outsiders. What cannot be read is skipped and listed.

    Parameters
    ----------
    side, quality
        As `prepared` takes them.
    files
        Paths relative to `data`, or stems, to read; None reads all.
    names
        Of the classes, where a model fixes them; else those that the data name, in order.

    Yields
    ------
    Progress
        Of the images.
    Notice
        What was skipped.

    Raises
    ------
    InputError
        When there are fewer than two classes, a class is empty or not among `names`, or a listed
        file is missing.
    """
    listed, classes = chosen_images(data, files, names)
    known = sizes or PixelSizes(index=find_index(data))

    def work(path: Path, name: str) -> _Read:
        return _read(path, name, (side, quality), known)

    read, skipped = yield from read_each(data, listed, () if names else classes, work)
    return _gathered(data, read, classes, skipped)


def chosen_images(
    data: Path, files: Sequence[str] | None, names: Sequence[str] = ()
) -> tuple[list[tuple[Path, str]], tuple[str, ...]]:
    """Images with the name of their class, and the names of the classes, as `read_classified`."""
    listed = listed_images(data)
    if files is not None:
        listed = _chosen(data, listed, files)
    classes = class_names(data, [name for _, name in listed], names)
    require_free_names(classes)
    return listed, classes


def require_free_names(names: Iterable[str]) -> None:
    """Refuse a class that is called what an answer is called where there is none."""
    taken = [name for name in names if name.casefold() == UNSURE_NAME]
    if taken:
        raise InputError(f"no class can be called '{taken[0]}': that is the answer of no class")


def read_each(
    data: Path,
    listed: Sequence[tuple[Path, str]],
    needed: Iterable[str],
    read: Callable[[Path, str], T],
) -> Events[tuple[list[T], list[str]]]:
    """What `read` makes of images and their classes, and why some cannot be used.

    Events as of `read_classified`; `InputError` when none is left, or none of a class that is
    needed.
    """
    found: list[T] = []
    names: set[str] = set()
    skipped: list[str] = []
    for number, (path, name) in enumerate(listed):
        yield Progress(number, len(listed), "images")
        try:
            found.append(read(path, name))
            names.add(name)
        except InputError as error:
            skipped.append(str(error))
    yield Progress(len(listed), len(listed), "images")
    if skipped:
        yield Notice(skipped_words(skipped))
    _require_members(data, needed, names)
    return found, skipped


@dataclass(frozen=True)
class _Read:
    path: Path
    name: str
    pixels: NDArray[np.uint8]
    calibration: Calibration | None
    shape: tuple[int, int]


def listed_images(data: Path) -> list[tuple[Path, str]]:
    """Images and the names of their classes, in the order of the names."""
    if data.is_file():
        raise InputError(f"{data}: a file; name the folder that holds it")
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; name one that holds a folder a class")
    index = find_index(data)
    if index is not None and any(row.class_name for row in index.rows):
        named = {data / row.image: row.class_name for row in index.rows if row.class_name}
        _require_below(data, named)
        # In an index "none" says that nothing is known.
        strangers = dict.fromkeys(_outsiders_in(data), OUTSIDERS)
        return sorted((strangers | named).items())
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    if not folders:
        raise InputError(
            f"{data}: holds no folders; put the images of each class into a folder of its name, "
            "or an index.csv with the columns image and class beside them"
        )
    return [(path, _class_of(folder)) for folder in folders for path in _images_in(folder)]


def _class_of(folder: Path) -> str:
    # Some systems do not tell `None` from `none`.
    return OUTSIDERS if folder.name.casefold() == OUTSIDERS else folder.name


def _outsiders_in(data: Path) -> list[Path]:
    folders = [path for path in data.iterdir() if path.is_dir() and _class_of(path) == OUTSIDERS]
    return [path for folder in folders for path in _images_in(folder)]


def _require_below(data: Path, images: Iterable[Path]) -> None:
    outside = next((path for path in images if not path.is_relative_to(data)), None)
    if outside is not None:
        raise InputError(
            f"{data}: the index names {outside}, which lies elsewhere; name images by their paths "
            "below that folder"
        )


def _images_in(folder: Path) -> list[Path]:
    images = sorted(path for path in folder.iterdir() if is_image_file(path))
    pictures = own_pictures(images)
    inside = [path for path in images if path not in pictures]
    if not inside:
        raise InputError(
            f"{folder}: a class without an image ({', '.join(IMAGE_SUFFIXES)}); fill the folder "
            "or remove it"
        )
    return inside


def _chosen(
    data: Path, listed: Sequence[tuple[Path, str]], files: Sequence[str]
) -> list[tuple[Path, str]]:
    """Those that a split names, by relative path, with or without ending, or by stem alone."""
    by_key: dict[str, set[tuple[Path, str]]] = {}
    for path, name in listed:
        relative = path.relative_to(data)
        for key in {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}:
            by_key.setdefault(key, set()).add((path, name))
    kept: set[tuple[Path, str]] = set()
    for file in dict.fromkeys(file.replace("\\", "/") for file in files):
        named = by_key.get(file, set())
        if not named:
            raise InputError(f"{data}: has no image '{file}', which the split names")
        if len(named) > 1:
            raise InputError(
                f"{data}: the split names '{file}', which {len(named)} images are called; name "
                "them with their folder"
            )
        kept |= named
    return [one for one in listed if one in kept]


def class_names(data: Path, found: Iterable[str], names: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes: those found, two at least, or `names` where a model fixes them."""
    present = sorted(set(found) - {OUTSIDERS})
    if names:
        foreign = [name for name in present if name not in names]
        if foreign:
            raise InputError(
                f"{data}: the class '{foreign[0]}' is none of the model's: {', '.join(names)}"
            )
        return tuple(names)
    if len(present) < _FEWEST_CLASSES:
        only = f"one class only, {present[0]}" if present else "no class"
        raise InputError(f"{data}: holds {only}; two are needed, a folder each")
    return tuple(present)


def _read(
    path: Path,
    name: str,
    side_and_quality: tuple[int, int],
    sizes: PixelSizes,
) -> _Read:
    side, quality = side_and_quality
    plane, calibration = read_plane(path, name, sizes)
    pixels = prepared(as_it_was(plane), (side, side), quality)
    return _Read(path, name, pixels, calibration, plane.shape)


def as_it_was(plane: Plane) -> NDArray[np.uint8]:
    """The pixels (Y, X, 3) of a plane, as bright as they were."""
    rows, columns = plane.shape
    return plane.unstretched().rgb8(slice(0, rows), slice(0, columns))


def read_plane(path: Path, name: str, sizes: PixelSizes) -> tuple[Plane, Calibration | None]:
    """The first plane of an image of a class, and its pixel size where that is known.

    Raises
    ------
    InputError
        When it cannot be used.
    """
    micrograph = read_image(path, sizes)
    # One grey value is no defect, but may well be an outsider.
    flat = name == OUTSIDERS
    plane = as_plane(micrograph.planes[0], str(path), may_be_constant=flat)
    return plane, micrograph.calibration


def skipped_words(skipped: Sequence[str]) -> str:
    """What was skipped, in one line that names the first few."""
    more = len(skipped) - _NAMED_AT_MOST
    rest = f"; and {more} more" if more > 0 else ""
    return f"{len(skipped)} skipped: {'; '.join(skipped[:_NAMED_AT_MOST])}{rest}"


def _require_members(data: Path, names: Iterable[str], read: Collection[str]) -> None:
    empty = next((name for name in names if name not in read), None)
    if empty is not None:
        raise InputError(f"{data}: no image of the class '{empty}' can be used")
    if not read:
        raise InputError(f"{data}: no image can be used")


def _gathered(
    data: Path, read: Sequence[_Read], names: tuple[str, ...], skipped: Sequence[str]
) -> ClassifiedImages:
    numbers = {name: number for number, name in enumerate(names)} | {OUTSIDERS: OUTSIDER}
    sizes = [None if one.calibration is None else one.calibration.mean_um for one in read]
    return ClassifiedImages(
        pixels=np.stack([one.pixels for one in read]),
        classes=np.array([numbers[one.name] for one in read], np.int64),
        names=names,
        files=tuple(one.path.relative_to(data).as_posix() for one in read),
        pixel_sizes_um=tuple(sizes),
        shapes=np.array([one.shape for one in read], np.int64),
        skipped=tuple(skipped),
    )
