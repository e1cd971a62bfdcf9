"""Label images: class indices in a TIFF that says what they mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import UNLABELLED, PhaseClass
from ..errors import InputError
from ..regions import Field
from .files import replacing, require_file
from .tiff import opened

_KEY = "napari_metallography"
_MOST_FOREIGN_CLASSES = 32


@dataclass(frozen=True)
class LabelImage:
    """Phases of an image.

    Attributes
    ----------
    indices
        (Y, X) or (N, Y, X) uint8, class indices; 255 = unlabelled.
    classes
        By index; empty when the file names none.
    calibration
        None when unknown.
    measured
        The field that was segmented.
    provenance
        What made the labels: model or method, parameters, version.
    """

    indices: NDArray[np.uint8]
    classes: tuple[PhaseClass, ...]
    calibration: Calibration | None
    measured: Field
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def planes(self) -> NDArray[np.uint8]:
        """Indices of shape (N, Y, X), with N = 1 for a single plane."""
        return self.indices.reshape(-1, *self.indices.shape[-2:])


def labels_path(folder: Path, image: Path) -> Path:
    """Where the labels of an image go."""
    return folder / f"{image.stem}_labels.tif"


def write_labels(path: Path, labels: LabelImage) -> None:
    """Write a palette TIFF, losslessly compressed, whole or not at all."""
    description = {
        _KEY: "labels",
        "values": "class indices from 0; 255 = unlabelled",
        "classes": [phase.model_dump() for phase in labels.classes],
        "calibration": labels.calibration.to_dict() if labels.calibration else None,
        "field": labels.measured.to_dict(),
        "provenance": labels.provenance,
    }
    resolution: dict[str, Any] = {}
    if labels.calibration is not None:
        per_cm = (1e4 / labels.calibration.x_um, 1e4 / labels.calibration.y_um)
        resolution = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    with replacing(path) as beside:
        tifffile.imwrite(
            beside,
            labels.indices,
            photometric="palette",
            colormap=_colour_map(labels.classes),
            compression="zlib",
            description=json.dumps(description),
            metadata=None,
            software="napari-metallography",
            **resolution,
        )


def read_labels(path: Path) -> LabelImage:
    """Read labels: our own TIFF, or a foreign grey image taken as class indices.

    Raises
    ------
    InputError
        When the file cannot be read, or is a micrograph rather than labels.
    """
    require_file(path)
    if path.suffix.lower() in (".tif", ".tiff"):
        indices, description = _read_tiff(path)
    else:
        indices, description = _decode(path), {}
    if description.get(_KEY) == "labels":
        return _own(path, indices, description)
    return _foreign(path, indices)


def check_classes(path: Path | str, indices: NDArray[np.uint8], classes: int) -> None:
    """Refuse class indices beyond the classes there are."""
    known = indices[indices != UNLABELLED]
    if known.size and int(known.max()) >= classes:
        raise InputError(
            f"{path}: holds class {int(known.max())}, but there are only the classes "
            f"0 to {classes - 1}"
        )


def _own(path: Path, indices: NDArray[Any], description: dict[str, Any]) -> LabelImage:
    try:
        classes = tuple(PhaseClass.model_validate(c) for c in description["classes"])
        stored = description["calibration"]
        labels = LabelImage(
            indices=indices.astype(np.uint8),
            classes=classes,
            calibration=Calibration.from_dict(stored) if stored else None,
            measured=Field.from_dict(_plane_shape(indices), description["field"]),
            provenance=description["provenance"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its description is damaged; segment the image again") from error
    check_classes(path, labels.indices, len(classes))
    return labels


def _foreign(path: Path, indices: NDArray[Any]) -> LabelImage:
    if indices.ndim not in (2, 3) or indices.dtype.kind not in "uib":
        raise InputError(f"{path}: labels are one whole number a pixel, this is an image")
    values = np.unique(indices)
    if values[0] < 0 or values[-1] > UNLABELLED or len(values) > _MOST_FOREIGN_CLASSES:
        raise InputError(
            f"{path}: {len(values)} different values from {values[0]} to {values[-1]} are "
            "an image's, not labels'; segment it first"
        )
    return LabelImage(indices.astype(np.uint8), (), None, Field(_plane_shape(indices)))


def _plane_shape(indices: NDArray[Any]) -> tuple[int, int]:
    return indices.shape[-2], indices.shape[-1]


def _read_tiff(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    with opened(path) as tiff:
        return tiff.asarray(), _json_object(tiff.pages.first.description)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _decode(path: Path) -> NDArray[Any]:
    # Not cv2.imread: it fails on non-ASCII paths under Windows.
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{path}: not an image that can be read, or a truncated one")
    return pixels[..., 0] if pixels.ndim == 3 and _is_grey(pixels) else pixels


def _is_grey(pixels: NDArray[Any]) -> bool:
    return bool(
        (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    )


def _colour_map(classes: Sequence[PhaseClass]) -> NDArray[np.uint16]:
    colours = np.zeros((3, 256), np.uint16)
    for index, phase in enumerate(classes):
        colours[:, index] = [257 * channel for channel in phase.rgb]
    colours[:, UNLABELLED] = 65535
    return colours
