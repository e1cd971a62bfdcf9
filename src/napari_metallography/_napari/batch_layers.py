"""Layers as inputs of a batch: by their files, or written as calibrated files first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import pandas as pd
import tifffile
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Progress
from ..inputs import PixelSizes, image_of_labels
from ..io.files import digest, file_name
from ..io.images import read_micrograph
from ..io.index import INDEX_NAME
from ..io.labels import LabelImage, write_labels
from ..io.ome_zarr import is_zarr
from ..io.tables import write_csv
from ..plane import ArrayLike, split_planes
from .layers import label_image, layer_calibration, pixels_of, snapshot, specimen_of
from .measured import file_of
from .results import PARTICLES_OF, is_computed

_WRITTEN_BY = "napari-metallography"
_LARGEST_INTEGER = 4


@dataclass(frozen=True)
class GivenImage:
    """An image layer as it was when the batch was started.

    Attributes
    ----------
    target
        Where it is written, unless a batch finds the same in its file.
    file
        What it was opened from; None where that is not there.
    """

    target: Path
    pixels: ArrayLike
    rgb: bool
    calibration: Calibration | None
    specimen: str
    file: Path | None


@dataclass(frozen=True)
class GivenLabels:
    """A Labels layer of classes as it was when the batch was started; it is always written."""

    target: Path
    labels: LabelImage


Given = GivenImage | GivenLabels


def selected_layers(viewer: ViewerModel, *, labels: bool) -> list[Image] | list[Labels]:
    """The selected images, or else the selected labels of phases, in their order.

    Raises
    ------
    InputError
        When there are none.
    """
    selected = [layer for layer in viewer.layers if layer in viewer.layers.selection]
    if labels:
        found = [x for x in selected if isinstance(x, Labels) and PARTICLES_OF not in x.metadata]
        if not found:
            raise InputError("the recipe takes labels: select Labels layers of phases first")
        return found
    images = [x for x in selected if isinstance(x, Image) and not is_computed(x)]
    if not images:
        raise InputError("select image layers in the layer list first, or choose files")
    return images


def given_layers(layers: Sequence[Image] | Sequence[Labels], folder: Path) -> list[Given]:
    """Layers as they are now, and where in a folder they go; call on the GUI thread.

    Raises
    ------
    InputError
        When a layer is sheared, or the values of a Labels layer are no classes.
    """
    targets = _targets([layer.name for layer in layers], folder)
    return [_given(*one) for one in zip(layers, targets, strict=True)]


def input_paths(given: Sequence[Given], sizes: PixelSizes) -> Events[list[Path]]:
    """The file of each; those that need one of their own are written, if they are not yet.

    Parameters
    ----------
    sizes
        Where the batch takes pixel sizes from.

    Raises
    ------
    InputError
        When one cannot be written.
    """
    paths = []
    written: list[GivenImage] = []
    for number, one in enumerate(given):
        yield Progress(number, len(given), "layers looked at")
        if isinstance(one, GivenImage) and one.file is not None and _is_as_in(one.file, one, sizes):
            paths.append(one.file)
            continue
        _write_unless_same(one.target, one)
        paths.append(one.target)
        written += [one] if isinstance(one, GivenImage) else []
    if written:
        _write_index(written)
    return paths


def _given(layer: Image | Labels, target: Path) -> Given:
    if isinstance(layer, Labels):
        return GivenLabels(target, label_image(layer))
    file = _file_of(layer)
    # What is in a file as well is only compared, not kept.
    pixels, rgb = snapshot(layer) if file is None else pixels_of(layer)
    return GivenImage(target, pixels, rgb, layer_calibration(layer), specimen_of(layer), file)


def _file_of(layer: Image) -> Path | None:
    """What a layer was opened from, a file or the folder of a Zarr image; None where unknown."""
    if (found := file_of(layer)) is not None:
        return found.path
    source = layer.source.path
    return Path(source) if source and is_zarr(Path(source)) else None


def _targets(names: Sequence[str], folder: Path) -> Iterator[Path]:
    taken: set[str] = set()
    for name in names:
        plain = file_name(name).strip(" .") or "layer"
        target, number = folder / f"{plain}.tif", 1
        # Two labels of one image would be refused.
        while (image := image_of_labels(target).name.casefold()) in taken:
            number += 1
            target = folder / f"{plain} ({number}).tif"
        taken.add(image)
        yield target


def _is_as_in(file: Path, given: GivenImage, sizes: PixelSizes) -> bool:
    """Whether a batch finds in a file what it would find in that of the layer opened from it."""
    try:
        micrograph = read_micrograph(file, sizes.index)
    except InputError:
        return False
    if micrograph.rgb != given.rgb or micrograph.pixels.shape != given.pixels.shape:
        return False
    if not _agree(sizes.override(micrograph.calibration), _size_once_written(given, sizes)):
        return False
    # What is mapped or read when needed cannot have been changed but by replacing it.
    in_memory = type(given.pixels) is np.ndarray
    return not in_memory or np.array_equal(np.asarray(micrograph.pixels), np.asarray(given.pixels))


def _size_once_written(given: GivenImage, sizes: PixelSizes) -> Calibration | None:
    """What a batch would take for the file of a layer: a recipe comes first for layers too."""
    row = sizes.index.lookup(given.target) if sizes.index is not None else None
    return sizes.override((row.calibration if row else None) or given.calibration)


def _agree(one: Calibration | None, other: Calibration | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one.x_um, other.x_um, rel_tol=1e-6) and math.isclose(
        one.y_um, other.y_um, rel_tol=1e-6
    )


def _write_unless_same(path: Path, given: Given) -> None:
    """Leave a file of the same content: a new one in its place would be measured again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", suffix=".part", dir=path.parent) as folder:
            made = Path(folder) / path.name
            if isinstance(given, GivenLabels):
                write_labels(made, given.labels)
            else:
                _write_image(made, given)
            if not path.exists() or digest(path) != digest(made):
                made.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _write_image(path: Path, given: GivenImage) -> None:
    """Write an OME-TIFF, which states pixel sizes exactly, and along rows and columns."""
    planes = split_planes(given.pixels, rgb=given.rgb)
    first = _storable(np.asarray(planes[0][:1]))
    axes = ("Z" if len(planes) > 1 else "") + ("YXS" if given.rgb else "YX")
    size = given.calibration
    stated = _physical(size) if size is not None else {}
    shape = (len(planes),) if len(planes) > 1 else ()
    tifffile.imwrite(
        path,
        (_storable(np.asarray(plane)) for plane in planes),
        shape=(*shape, *planes[0].shape),
        dtype=first.dtype,
        ome=True,
        photometric="rgb" if given.rgb else "minisblack",
        compression="zlib",
        software=_WRITTEN_BY,
        # The same layer gives the same bytes.
        metadata={"axes": axes, "UUID": str(uuid5(NAMESPACE_URL, path.name)), **stated},
    )


def _physical(size: Calibration) -> dict[str, Any]:
    return {
        "PhysicalSizeX": size.x_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": size.y_um,
        "PhysicalSizeYUnit": "µm",
    }


def _storable(plane: NDArray[Any]) -> NDArray[Any]:
    """Grey values of a type that OME-TIFF has."""
    if plane.dtype == bool:
        return plane.astype(np.uint8) * np.uint8(255)
    has_type = plane.dtype.kind in "ui" and plane.dtype.itemsize <= _LARGEST_INTEGER
    return plane if has_type else plane.astype(np.float32)


def _write_index(written: Sequence[GivenImage]) -> None:
    """Specimens, which an image file of ours does not name."""
    rows = {
        "image": [one.target.name for one in written],
        "specimen": [one.specimen for one in written],
    }
    write_csv(written[0].target.parent / INDEX_NAME, pd.DataFrame(rows))
