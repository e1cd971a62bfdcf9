"""Results of a batch's items, read and shown as layers over their image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from ..batch.items import Item
from ..batch.work import RESULT, item_folder
from ..calibration import Calibration
from ..errors import InputError
from ..grains.grade_numbers import restored
from ..inputs import same_pixel_size
from ..io.files import read_bytes
from ..io.images import Micrograph, read_micrograph
from ..io.labels import LabelImage, labels_path, read_labels
from ..quantification.files import with_classes
from ..regions import Box
from .layers import add_labels_layer, layer_calibration, plane_shape
from .measured import FILE
from .reader import image_layer, labels_layer
from .results import is_computed, mark_computed, remove_untouched

_ITEM = "batch_item"
"""Key of the metadata of layers that show results of a batch: folder and item."""


@dataclass(frozen=True)
class OpenedItem:
    """What an item's results hold that can be shown.

    Attributes
    ----------
    origin
        Names the item among all batches.
    name
        For layers.
    file, sha256
        Of the source.
    micrograph
        The plane; None where the image is not there, or the input was labels.
    labels
        Of the plane; None where no step made any.
    pictures
        By method: the drawing of a grain size (Y, X, 3) over `box`.
    said
        Answers, and what is missing.
    """

    origin: str
    name: str
    file: Path
    sha256: str
    micrograph: Micrograph | None
    labels: LabelImage | None
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    box: Box | None = None
    said: tuple[str, ...] = ()

    @property
    def calibration(self) -> Calibration | None:
        """Pixel size, as the batch took it."""
        known = self.micrograph or self.labels
        return known.calibration if known is not None else None


def read_opened(folder: Path, item: Item) -> OpenedItem:
    """Read what an item's results hold, and its plane of the image.

    Raises
    ------
    InputError
        When they are missing or damaged.
    """
    own = item_folder(folder, item.key)
    try:
        told = json.loads(read_bytes(own / RESULT))
        file, plane, steps = Path(told["file"]), int(told["plane"]), told["steps"]
        known, source = told["calibration"], told["source"]
        size = Calibration.from_dict(known) if known else None
        named = f"{file.stem}, plane {plane}" if "/plane_" in item.key else file.stem
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{own}: is missing or damaged; press Run to go on") from error
    pictures, box = _pictures(own, file, steps)
    micrograph, missing = _micrograph(file, plane, size)
    labels = _labels(own, file, plane, size)
    return OpenedItem(
        f"{folder.resolve()} {item.key}",
        named,
        file,
        str(source["sha256"]),
        micrograph,
        labels,
        pictures,
        box,
        (*_shares(labels), *_answers(steps), *missing),
    )


def show_opened(viewer: ViewerModel, opened: OpenedItem, layer: Layer | None = None) -> str:
    """Add the layers, or bring up to date those that are there; what can be said of them.

    Parameters
    ----------
    layer
        That which the item was made from, which is then not opened again.
    """
    _hide_others(viewer, opened)
    image = _image_in(viewer, opened, layer) or _added_image(viewer, opened)
    shown: list[Layer] = [image] if image is not None else []
    if opened.labels is not None:
        shown.append(_add_labels(viewer, opened, opened.labels, image))
    if image is not None:
        for method, picture in opened.pictures.items():
            shown.append(_add_picture(viewer, opened, f"{image.name} {method}", picture, image))
    for one in shown:
        one.visible = True
    if shown:
        viewer.layers.selection.active = shown[-1]
    return "; ".join([opened.name, *opened.said])


# --- reading ---------------------------------------------------------------------------------


def _micrograph(
    file: Path, plane: int, size: Calibration | None
) -> tuple[Micrograph | None, tuple[str, ...]]:
    if not file.exists():
        return None, (f"{file} is not there any more",)
    try:
        micrograph = read_micrograph(file)
        pixels = micrograph.plane(plane)
    except InputError:
        # A label image, which is shown as such; or another file in its place.
        return None, ()
    return replace(micrograph, pixels=pixels, calibration=size), ()


def _labels(own: Path, file: Path, plane: int, size: Calibration | None) -> LabelImage | None:
    """Those of the plane; where only labels were measured, the source's."""
    for written in own.glob(labels_path(Path(), Path("*")).name):
        return read_labels(written)
    if not (own / "quantify.json").exists() or not file.exists():
        return None
    labels = with_classes(read_labels(file))
    return replace(labels, indices=np.asarray(labels.planes[plane]), calibration=size)


def _pictures(
    own: Path, file: Path, steps: Mapping[str, Any]
) -> tuple[dict[str, NDArray[np.uint8]], Box | None]:
    graded = steps.get("grain_size")
    if graded is None:
        return {}, None
    paths = {method: own / f"{file.stem}_{method}.png" for method in graded["by_method"]}
    found = {method: _picture(path) for method, path in paths.items() if path.exists()}
    return found, Box(*graded["provenance"]["box"])


def _picture(path: Path) -> NDArray[np.uint8]:
    with PIL.Image.open(BytesIO(read_bytes(path))) as picture:
        return np.asarray(picture.convert("RGB"))


def _shares(labels: LabelImage | None) -> list[str]:
    if labels is None:
        return []
    counts = np.bincount(np.asarray(labels.indices).ravel(), minlength=256)[: len(labels.classes)]
    whole = max(1, counts.sum())
    pairs = zip(labels.classes, counts, strict=True)
    return [", ".join(f"{phase.name} {100 * n / whole:.1f}\u00a0%" for phase, n in pairs)]


def _answers(steps: Mapping[str, Any]) -> list[str]:
    graded = steps.get("grain_size", {"by_method": {}})
    grades = {method: restored(one).g for method, one in graded["by_method"].items()}
    named = [steps[name]["row"]["answer"] for name in _CLASSIFIED if name in steps]
    return [*(f"G {g:.2f} by {method}" for method, g in grades.items()), *named]


# --- layers ----------------------------------------------------------------------------------


def _hide_others(viewer: ViewerModel, opened: OpenedItem) -> None:
    """Images and results of other items would lie over each other."""
    for layer in viewer.layers:
        if layer.metadata.get(_ITEM, opened.origin) != opened.origin:
            layer.visible = False


def _image_in(viewer: ViewerModel, opened: OpenedItem, layer: Layer | None) -> Image | None:
    """A layer of the viewer that shows the plane already, with the batch's pixel size."""
    if opened.micrograph is None:
        return None
    for one in viewer.layers:
        is_it = one is layer or one.metadata.get(_ITEM) == opened.origin
        if is_it and isinstance(one, Image) and _shows(one, opened, opened.micrograph):
            return one
    return None


def _shows(image: Image, opened: OpenedItem, micrograph: Micrograph) -> bool:
    if is_computed(image) or image.ndim != 2 or plane_shape(image) != micrograph.shape:
        return False
    size = layer_calibration(image)
    are_known = (size is None) == (opened.calibration is None)
    return are_known and same_pixel_size(size, opened.calibration)


def _added_image(viewer: ViewerModel, opened: OpenedItem) -> Image | None:
    if opened.micrograph is None:
        return None
    pixels, keywords, _ = image_layer(opened.micrograph, opened.name)
    file = {"path": str(opened.file), "sha256": opened.sha256}
    keywords["metadata"] = {**keywords["metadata"], _ITEM: opened.origin, FILE: file}
    image = Image(pixels, **keywords)
    viewer.add_layer(image)
    return image


def _add_labels(
    viewer: ViewerModel, opened: OpenedItem, labels: LabelImage, image: Image | None
) -> Labels:
    name = f"{image.name if image is not None else opened.name} phases"
    remove_untouched(viewer, name, opened.origin)
    if image is None:
        values, keywords, _ = labels_layer(labels, name)
        layer = Labels(values, **keywords)
        viewer.add_layer(layer)
    else:
        about = {"provenance": labels.provenance, "field": labels.measured.to_dict()}
        indices = np.asarray(labels.indices)
        layer = add_labels_layer(viewer, image, indices, labels.classes, name, about)
    _mark(layer, opened)
    return layer


def _add_picture(
    viewer: ViewerModel, opened: OpenedItem, name: str, picture: NDArray[np.uint8], image: Image
) -> Image:
    """A drawing over the part of the image that was graded; it may be drawn larger."""
    assert opened.box is not None
    remove_untouched(viewer, name, opened.origin)
    box, scale = opened.box, np.asarray(image.scale[-2:])
    ratio = np.array([box.bottom - box.top, box.right - box.left]) / picture.shape[:2]
    # Of the centre of the first pixel.
    corner = np.array([box.top, box.left]) + (ratio - 1) / 2
    layer = Image(
        picture,
        name=name,
        rgb=True,
        scale=scale * ratio,
        translate=np.asarray(image.translate[-2:]) + corner * scale,
        units=image.units[-2:],
    )
    _mark(layer, opened)
    viewer.add_layer(layer)
    return layer


def _mark(layer: Layer, opened: OpenedItem) -> None:
    mark_computed(layer, opened.origin)
    layer.metadata = {**layer.metadata, _ITEM: opened.origin}


_CLASSIFIED = ("classify_structure", "classify_defects")
