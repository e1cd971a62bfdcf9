"""Label images: class indices in a TIFF that says what they mean."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ..calibration import Calibration
from ..classes import MOST_FOREIGN_CLASSES, PALETTE, UNLABELLED, PhaseClass, classes_of_values
from ..errors import InputError
from ..plane import ArrayLike, plane_shape, row_blocks, split_planes
from ..regions import Field
from .files import read_bytes, require_file
from .tiff import check_extent, is_tiff, opened, resolution_tags
from .tiff_planes import large_planes, stored
from .tiff_writing import write_planes

ALL_MATRIX = "every pixel is 0, which is taken as the matrix"
"""What is assumed of labels that name no classes and hold nothing but 0."""

_KEY = "napari_metallography"
_LARGEST_INDEX = 9
_LEAST_ALIKE = 0.4
_SAMPLES_A_SIDE = 512
_MATRIX_ONLY = ({128}, {128, UNLABELLED})
_WHITE = "#ffffff"
_STRETCHED = {"L;2": 85, "L;4": 17}
"""Pillow's modes of grey PNGs whose values it multiplies, to fill 0 to 255."""


@dataclass(frozen=True)
class LabelImage:
    """Phases of an image.

    Attributes
    ----------
    indices
        (Y, X) or (N, Y, X) uint8, class indices; 255 = unlabelled. A NumPy array, or of a large
        file of ours a `Windowed` one, of which a part is read when it is asked for.
    classes
        By index; empty when the file names none.
    calibration
        None when unknown.
    measured
        The field that was segmented.
    provenance
        What made the labels: model or method, parameters, version.
    assumed
        How the values of a file are understood that does not say it itself, for people; else empty.
    """

    indices: ArrayLike
    classes: tuple[PhaseClass, ...]
    calibration: Calibration | None
    measured: Field
    provenance: dict[str, Any] = field(default_factory=dict)
    assumed: str = ""

    @property
    def planes(self) -> tuple[ArrayLike, ...]:
        """Views of the planes, each of shape (Y, X)."""
        return split_planes(self.indices)


def labels_path(folder: Path, image: Path, plane: int | None = None) -> Path:
    """Where the labels of an image go, or those of one of its planes alone."""
    of_plane = "" if plane is None else f"_plane{plane:04}"
    return folder / f"{image.stem}{of_plane}_labels.tif"


def write_labels(path: Path, labels: LabelImage) -> None:
    """Write a palette TIFF, losslessly compressed, whole or not at all.

    Strip by strip: the indices need not fit into memory. Above 4 GiB of them it is a BigTIFF.
    """
    description = {
        _KEY: "labels",
        "values": "class indices from 0; 255 = unlabelled",
        "classes": [phase.model_dump() for phase in labels.classes],
        "calibration": labels.calibration.to_dict() if labels.calibration else None,
        "field": labels.measured.to_dict(),
        "provenance": labels.provenance,
    }
    write_planes(
        path,
        labels.indices,
        photometric="palette",
        colormap=_colour_map(labels.classes),
        description=json.dumps(description),
        **resolution_tags(labels.calibration),
    )


def is_label_image(path: Path) -> bool:
    """Whether the metadata of a TIFF say that it holds class indices, as `write_labels` does.

    False for what cannot be read: what is wrong with it is for its reader to say.
    """
    try:
        with opened(path) as tiff:
            return _states_labels(_json_object(tiff.pages.first.description))
    except InputError:
        return False


def looks_like_labels(plane: ArrayLike) -> bool:
    """Whether an image (Y, X) can only be class indices: a few small numbers in areas.

    Several values, all of them 0 to 9 or 255 and not just 0 and 255, and neighbours mostly alike:
    even an image exposed so little has the noise of its detector.
    """
    step = max(1, max(plane.shape) // _SAMPLES_A_SIDE)
    # Looked at in a sample first, which settles it for every usual micrograph.
    if plane.dtype.kind not in "ui" or not _are_few(np.unique(plane[::step, ::step])):
        return False
    found: set[int] = set()
    alike = pairs = 0
    for rows in row_blocks(plane):
        block = np.asarray(plane[rows])
        values = np.unique(block)
        if not _are_few(values):
            return False
        found.update(values.tolist())
        alike += int(np.count_nonzero(block[:, 1:] == block[:, :-1]))
        pairs += block[:, 1:].size
    is_class = any(0 < value < UNLABELLED for value in found)
    return len(found) > 1 and is_class and alike > _LEAST_ALIKE * pairs


def looks_like_mask(plane: ArrayLike) -> bool:
    """Whether an image (Y, X) is black and white: of the values 0 and 255 only, both in use."""
    step = max(1, max(plane.shape) // _SAMPLES_A_SIDE)
    if not np.isin(plane[::step, ::step], (0, UNLABELLED)).all():
        return False
    found: set[float] = set()
    for rows in row_blocks(plane):
        found.update(np.unique(plane[rows]).tolist())
        if not found <= {0, UNLABELLED}:
            return False
    return found == {0, UNLABELLED}


def read_labels(path: Path, *, ignore: int | None = None) -> LabelImage:
    """Read labels: our own TIFF, or a foreign image.

    A foreign grey or palette image is taken as class indices. Of a colour image with few colours
    each is a class: by their place in the palette when it has all of them, and else in the order
    of their `#rrggbb`, which is the name of the class then; `assumed` says which.

    Parameters
    ----------
    ignore
        The value of which somebody says that it means unlabelled. Nobody says so of a foreign
        image of 0 and 255 by itself: it is refused as the mask that it may be.

    Raises
    ------
    InputError
        When the file cannot be read, or is a micrograph rather than labels.
    """
    require_file(path)
    if is_tiff(path):
        pixels, description, rgb = _read_tiff(path)
    else:
        pixels, description, rgb = _decode(path), {}, True
    if _states_labels(description) and not rgb:
        return _own(path, pixels, description)
    indices = np.asarray(pixels)
    if rgb and indices.ndim == 3:
        indices = _one_channel(indices)
    if rgb and indices.ndim == 3:
        return _coloured(path, indices)
    if _states_labels(description):
        return _own(path, indices, description)
    may_be_mask = ignore != UNLABELLED
    return _foreign(path, indices, by_tifffile="shape" in description, may_be_mask=may_be_mask)


def check_classes(path: Path | str, indices: ArrayLike, classes: int) -> None:
    """Refuse class indices beyond the classes there are."""
    highest = max((_highest_class(plane) for plane in split_planes(indices)), default=-1)
    if highest >= classes:
        raise InputError(
            f"{path}: holds class {highest}, but there are only the classes 0 to {classes - 1}"
        )


def _highest_class(plane: ArrayLike) -> int:
    """Highest class index of a plane; -1 when nothing is labelled."""
    blocks = (np.asarray(plane[rows]) for rows in row_blocks(plane))
    known = (block[block != UNLABELLED] for block in blocks)
    return max((int(some.max()) for some in known if some.size), default=-1)


def _are_few(values: NDArray[Any]) -> bool:
    return bool(((values >= 0) & (values <= _LARGEST_INDEX) | (values == UNLABELLED)).all())


def _own(path: Path, indices: ArrayLike, description: dict[str, Any]) -> LabelImage:
    if indices.dtype != np.uint8:
        indices = _eight_bit(path, np.asarray(indices))
    try:
        classes = tuple(PhaseClass.model_validate(c) for c in description["classes"])
        stored = description["calibration"]
        labels = LabelImage(
            indices=indices,
            classes=classes,
            calibration=Calibration.from_dict(stored) if stored else None,
            measured=Field.from_dict(plane_shape(indices), description["field"]),
            provenance=description["provenance"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its description is damaged; segment the image again") from error
    check_classes(path, labels.indices, len(classes))
    return labels


def _eight_bit(path: Path, indices: NDArray[Any]) -> NDArray[np.uint8]:
    """Labels of ours that another program has saved with another type."""
    if indices.size and not 0 <= indices.min() <= indices.max() <= UNLABELLED:
        raise InputError(f"{path}: holds classes beyond 0 to {UNLABELLED}; segment the image again")
    return indices.astype(np.uint8)


def _foreign(
    path: Path, indices: NDArray[Any], *, by_tifffile: bool, may_be_mask: bool
) -> LabelImage:
    if indices.ndim not in (2, 3) or indices.dtype.kind not in "uib":
        raise InputError(f"{path}: labels are one whole number a pixel, this is an image")
    values = np.unique(indices).astype(np.int64)
    if values[0] < 0 or values[-1] > UNLABELLED or len(values) > MOST_FOREIGN_CLASSES:
        raise InputError(
            f"{path}: {len(values)} different values from {values[0]} to {values[-1]} are "
            "an image's, not labels'; segment it first"
        )
    if values.tolist() == [UNLABELLED]:
        raise InputError(f"{path}: every pixel is 255, which means unlabelled; label it first")
    if may_be_mask and values.tolist() == [0, UNLABELLED]:
        raise InputError(
            f"{path}: a mask of 0 and 255: 255 means unlabelled here; write the phases as 0 and 1"
        )
    assumed = _assumed(values.tolist())
    # napari saves a Labels layer by tifffile with the layer's values, and these start from 1.
    if by_tifffile and values[0] > 0:
        assumed += (
            "; there is no 0, as if napari had saved a Labels layer (1 = matrix): if so, save the "
            "layer as labels of this plugin"
        )
    return LabelImage(
        indices.astype(np.uint8), (), None, Field(plane_shape(indices)), assumed=assumed
    )


def _coloured(path: Path, pixels: NDArray[np.uint8]) -> LabelImage:
    """Labels of a colour image (Y, X, 3)."""
    if pixels.dtype != np.uint8:
        raise InputError(f"{path}: a colour image of {pixels.dtype}; save the labels with 8 bits")
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, inverse = np.unique(packed, return_inverse=True)
    if len(colours) > MOST_FOREIGN_CLASSES:
        raise InputError(
            f"{path}: a colour image of {len(colours)} colours; labels have at most "
            f"{MOST_FOREIGN_CLASSES}, without blending or compression, or are one whole number "
            "a pixel"
        )
    names = [f"#{colour:06x}" for colour in colours.tolist()]
    numbers, classes = _classes_by_colour(names)
    listed = [f"{name} = {number}" for name, number in zip(names, numbers, strict=True)]
    indices = np.array(numbers, np.uint8)[inverse].reshape(pixels.shape[:2])
    assumed = f"colours taken as classes: {', '.join(listed)}"
    return LabelImage(indices, classes, None, Field(plane_shape(indices)), assumed=assumed)


def _classes_by_colour(names: Sequence[str]) -> tuple[list[int], tuple[PhaseClass, ...]]:
    """Class index of each colour `#rrggbb`, and the classes; none when they are the palette's."""
    palette = {colour: index for index, colour in enumerate(PALETTE)} | {_WHITE: UNLABELLED}
    if set(names) <= palette.keys() and set(names) != {_WHITE}:
        return [palette[name] for name in names], ()
    # Another field may lack a colour: then the names differ, and the two are not mixed up.
    return list(range(len(names))), tuple(PhaseClass(name=name, colour=name) for name in names)


def _assumed(values: Sequence[int]) -> str:
    """What the values that occur are taken for."""
    if list(values) == [0]:
        return ALL_MATRIX
    occurring = sorted({0, *values} - {UNLABELLED})
    classes = classes_of_values(occurring)
    listed = [f"{n} = {phase.name}" for n, phase in zip(occurring, classes, strict=True)]
    shown = listed if len(listed) < 5 else [*listed[:2], "…", listed[-1]]
    return f"taken as class indices: {', '.join(shown)}, {UNLABELLED} = unlabelled"


def _read_tiff(path: Path) -> tuple[ArrayLike, dict[str, Any], bool]:
    """Pixels, description, and whether the last axis is colours; large labels of ours unread."""
    with opened(path) as tiff:
        page = tiff.pages.first
        rgb = page.photometric == tifffile.PHOTOMETRIC.RGB and page.planarconfig == 1
        description = _json_object(page.description)
        if _states_labels(description) and not rgb:
            check_extent(path, tiff.series[0], tiff.filehandle.size)
            planes = large_planes(path, tiff.series[0], stored)
            if planes is not None and not planes.rgb:
                return planes, description, rgb
        return tiff.asarray(), description, rgb


def _states_labels(description: dict[str, Any]) -> bool:
    return description.get(_KEY) == "labels"


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _decode(path: Path) -> NDArray[Any]:
    # By Pillow: of an image with a palette OpenCV gives the colours, and of one bit 0 and 255.
    content = BytesIO(read_bytes(path))
    try:
        with warnings.catch_warnings(), Image.open(content) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            steps = [_STRETCHED.get(str(tile[3]), 1) for tile in image.tile]
            pixels = np.asarray(image)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too large; save the labels as a TIFF") from error
    except Exception as error:
        raise InputError(f"{path}: not an image that can be read, or a truncated one") from error
    step = max(steps, default=1)
    return pixels // step if step > 1 else pixels


def _one_channel(pixels: NDArray[Any]) -> NDArray[Any]:
    """One number a pixel (Y, X) where all channels are alike, else the colours (Y, X, 3)."""
    colours = pixels[..., : 3 if pixels.shape[-1] > 2 else 1]
    first = np.ascontiguousarray(colours[..., 0])
    alike = (colours == colours[..., :1]).all()
    # The palette's matrix is grey: alone, it is a field of matrix and no class 128.
    matrix = colours.shape[-1] == 3 and set(np.unique(first)) in _MATRIX_ONLY
    return first if alike and not matrix else np.ascontiguousarray(colours)


def _colour_map(classes: Sequence[PhaseClass]) -> NDArray[np.uint16]:
    colours = np.zeros((3, 256), np.uint16)
    for index, phase in enumerate(classes):
        colours[:, index] = [257 * channel for channel in phase.rgb]
    colours[:, UNLABELLED] = 65535
    return colours
