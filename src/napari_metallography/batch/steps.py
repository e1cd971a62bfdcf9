"""The steps of a recipe, each on one plane of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classification.stacks import Stack
from ..errors import InputError
from ..events import Events, Notice
from ..grains.files import grade_field
from ..grains.grade_numbers import stored
from ..inputs import PixelSizes, field_of_labels, read_image
from ..io.files import write_bytes
from ..io.images import Micrograph
from ..io.labels import LabelImage, read_labels
from ..models import registry
from ..plane import LUMA, ArrayLike
from ..quantification.correctable import CORRECTIONS, without_corrections
from ..quantification.files import (
    MeasuredImage,
    Picture,
    overlay_picture,
    source_of,
    stating,
    with_classes,
    without_pixels,
)
from ..quantification.measured_files import write_measured
from ..quantification.pixel_units import measure_labels
from ..quantification.point_count import PointGrid
from .items import Item
from .recipe import Recipe

if TYPE_CHECKING:
    # They need torch, whose import takes seconds.
    from ..classification.defects import Classifier
    from ..classification.structure_model import StructureModel
    from ..segmentation.model import SegmentationModel

_WINDOW_AREA = 1 << 20
"""Of the network's windows: the same on every machine, so that results do not depend on it."""
_LARGEST_DRAWN = 1 << 24
"""Pixels of the largest image that is drawn whole before it is made smaller for a report."""
_LONGEST_SHOWN = 1400


@dataclass(frozen=True)
class Subject:
    """A plane as the steps find it.

    Attributes
    ----------
    micrograph
        The image with all of its planes; None where the inputs are labels.
    labels
        Of the plane, (Y, X), once there are any.
    """

    item: Item
    micrograph: Micrograph | None
    labels: LabelImage | None

    @property
    def calibration(self) -> Calibration | None:
        """Pixel size, as it was when all inputs were looked at; None when unknown."""
        return self.item.source.calibration

    @property
    def specimen(self) -> str:
        """Its name; empty when unknown."""
        return self.item.source.specimen

    @property
    def image(self) -> Micrograph:
        """The micrograph."""
        assert self.micrograph is not None
        return self.micrograph

    @property
    def pixels(self) -> ArrayLike:
        """The plane, (Y, X) or (Y, X, 3 or 4)."""
        return self.image.plane(self.item.plane)


Told = tuple[Subject, dict[str, Any] | None]
Step = Callable[[Subject, Recipe, str, Path], Events[Told]]
"""A step: from subject, recipe, SHA-256 of the source, and the folder for files, to the subject as
the next step finds it, and what is kept of the step beside files."""


def opened(item: Item, recipe: Recipe) -> Subject:
    """An item, read.

    Raises
    ------
    InputError
        When it cannot be used.
    """
    if recipe.takes_labels:
        return _opened_labels(item, recipe)
    source = item.source
    read = _read(source.path, _changed(source.path))
    # What an index says was looked up with all inputs: it may be one for all of them.
    metadata = {**read.metadata, "specimen": source.specimen}
    known = replace(read, calibration=source.calibration, metadata=metadata)
    _require_planes(item, len(read.planes))
    return Subject(item, known, None)


def _require_planes(item: Item, planes: int) -> None:
    if planes != item.source.planes:
        raise InputError(
            f"{item.name}: has {planes} planes, {item.source.planes} when the inputs were looked "
            "at; go on with --resume"
        )


def _opened_labels(item: Item, recipe: Recipe) -> Subject:
    path = item.source.path
    stored_labels = with_classes(read_labels(path))
    _require_planes(item, len(stored_labels.planes))
    field = recipe.field
    measured = field_of_labels(
        path, stored_labels, None, keep_data_bar=field.keep_data_bar, region=field.box
    )
    labels = replace(
        stored_labels,
        indices=stored_labels.planes[item.plane],
        calibration=item.source.calibration,
        measured=measured,
        provenance=_of_plane(stored_labels.provenance, item.plane),
    )
    return Subject(item, None, labels)


def _of_plane(provenance: Mapping[str, Any], plane: int) -> dict[str, Any]:
    """What made the labels of a plane: of the corrections by hand its own."""
    rows = [row for row in provenance.get(CORRECTIONS, ()) if row.get("plane", plane) == plane]
    made = {what: value for what, value in provenance.items() if what != CORRECTIONS}
    return {**made, CORRECTIONS: rows} if rows else made


# The planes of a stack come one after the other.
@lru_cache(maxsize=1)
def _read(path: Path, changed_ns: int) -> Micrograph:
    return read_image(path, PixelSizes())


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


# --- segment ---------------------------------------------------------------------------------


def _segmented(subject: Subject, recipe: Recipe, sha256: str, folder: Path) -> Events[Told]:
    from ..segmentation.files import segment_micrograph

    parameters = recipe.segment
    assert parameters is not None
    prediction = parameters.prediction
    if prediction.largest_window_area is None:
        fixed = prediction.model_copy(update={"largest_window_area": _WINDOW_AREA})
        parameters = parameters.model_copy(update={"prediction": fixed})
    by_model = parameters.method == "model"
    source = subject.item.source
    labels = yield from segment_micrograph(
        subject.image,
        folder,
        parameters,
        keep_data_bar=recipe.field.keep_data_bar,
        region=recipe.field.box,
        model=_segmentation_model(*registry.changing_file(parameters.model)) if by_model else None,
        plane=None if source.planes == 1 else subject.item.plane,
    )
    return replace(subject, labels=labels), None


# --- quantify --------------------------------------------------------------------------------


def _quantified(subject: Subject, recipe: Recipe, sha256: str, folder: Path) -> Events[Told]:
    labels, parameters, item = subject.labels, recipe.quantify, subject.item
    assert labels is not None
    assert parameters is not None
    if labels.assumed:
        yield Notice(f"{item.name}: {labels.assumed}")
    step = _step_of_overlay(labels)
    shows_cuts = parameters.split != "none" and step == 1 and subject.micrograph is not None
    result = yield from measure_labels(
        without_corrections(labels),
        parameters,
        _grey(subject),
        item.source.name,
        called=item.name,
        paint=shows_cuts,
    )
    kind = "image" if subject.micrograph else "labels"
    sources = {kind: source_of(item.source.path, sha256)}
    measured = MeasuredImage(
        item.source.name,
        labels,
        stating(result, labels, sources),
        _overlay(subject, labels, step, result.ids if shows_cuts else None),
        subject.specimen,
    )
    if recipe.report.overlays and measured.picture is not None:
        write_bytes(folder / f"{item.source.path.stem}_overlay.png", measured.picture.png)
    write_measured(folder, without_pixels(measured, PointGrid(), plane=item.plane))
    return subject, None


def _grey(subject: Subject) -> ArrayLike | None:
    if subject.micrograph is None or not subject.image.rgb:
        return subject.pixels if subject.micrograph else None
    grey: NDArray[np.float32] = np.asarray(subject.pixels)[..., :3].astype(np.float32) @ LUMA
    return grey


def _step_of_overlay(labels: LabelImage) -> int:
    """Of how many rows and columns one is drawn: all but in images too large for it."""
    rows, columns = labels.measured.shape
    return 1 if rows * columns <= _LARGEST_DRAWN else -(-max(rows, columns) // _LONGEST_SHOWN)


def _overlay(
    subject: Subject, labels: LabelImage, step: int, ids: NDArray[np.int32] | None
) -> Picture | None:
    if subject.micrograph is None:
        return None
    pixels, shown = _every(step, subject.pixels, labels)
    return Picture.of(overlay_picture(pixels, shown, ids), shown.calibration)


def _every(step: int, pixels: ArrayLike, labels: LabelImage) -> tuple[NDArray[Any], LabelImage]:
    """Every so many rows and columns of a plane and its labels."""
    if step == 1:
        return np.asarray(pixels), labels
    indices = np.asarray(labels.indices[::step, ::step])
    field = labels.measured
    region = tuple([(row / step, column / step) for row, column in part] for part in field.region)
    size = labels.calibration
    return np.asarray(pixels[::step, ::step]), replace(
        labels,
        indices=indices,
        measured=replace(field, shape=indices.shape, data_bar=None, region=region),
        calibration=size and replace(size, x_um=size.x_um * step, y_um=size.y_um * step),
    )


# --- grain size ------------------------------------------------------------------------------


def _graded(subject: Subject, recipe: Recipe, sha256: str, folder: Path) -> Events[Told]:
    assert recipe.grain_size is not None
    field, pictures = yield from grade_field(
        subject.image,
        subject.item.plane,
        recipe.grain_size.choice().plan(),
        sha256,
        keep_data_bar=recipe.field.keep_data_bar,
        region=recipe.field.box,
    )
    for method, png in pictures.items():
        write_bytes(folder / f"{subject.item.source.path.stem}_{method}.png", png)
    told = {
        "name": subject.item.name,
        "by_method": {method: stored(one) for method, one in field.by_method.items()},
        "specimen": field.specimen,
        "provenance": dict(field.provenance),
        "notes": list(field.notes),
        "left_out": dict(field.left_out),
    }
    return subject, told


# --- classify --------------------------------------------------------------------------------


def _structure(subject: Subject, recipe: Recipe, sha256: str, folder: Path) -> Events[Told]:
    from ..classification.grey_stacks import grey_plane
    from ..classification.structure import classify_plane, provenance
    from ..classification.structure_files import answer_row
    from ..devices import choose_device

    parameters = recipe.classify_structure
    assert parameters is not None
    model = _structure_model(*registry.changing_file(parameters.model))
    device = choose_device(parameters.device)
    model.network.core.to(device)
    plane, _ = grey_plane(_stack(subject), subject.item.plane)
    size = subject.calibration
    answer = yield from classify_plane(
        plane, size, model, device, name=subject.item.name, crops=parameters.crops
    )
    row = answer_row(answer, size.mean_um if size else None, model.names)
    return subject, {"row": row, "provenance": provenance(model, parameters.crops)}


def _defects(subject: Subject, recipe: Recipe, sha256: str, folder: Path) -> Events[Told]:
    from ..classification.defects import name_plane, pixel_size_notices, provenance
    from ..classification.files import answer_row
    from ..devices import choose_device

    parameters = recipe.classify_defects
    assert parameters is not None
    classifier = _classifier(
        *registry.changing_file(parameters.model),
        choose_device(parameters.device).type,
        parameters.risk,
    )
    card = classifier.model.card
    yield from (
        Notice(f"{subject.item.name}: {one.message}")
        for one in pixel_size_notices(card, subject.calibration)
    )
    plane = _stack(subject).plane(subject.item.plane)
    found = yield from name_plane(plane, classifier, subject.calibration, scan=parameters.scan)
    told = provenance(classifier.model, parameters, classifier.least_probability)
    row = answer_row("", 0, found.answer, 0, classifier.model.names)
    del row["image"], row["plane"]
    return subject, {"row": row, "provenance": told}


def _stack(subject: Subject) -> Stack:
    image = subject.image
    return Stack(subject.item.source.name, image.pixels, image.rgb, image.calibration)


# --- models ----------------------------------------------------------------------------------


# The last model of each kind is kept, until its file changes.
@lru_cache(maxsize=1)
def _segmentation_model(path: Path, changed_ns: int) -> SegmentationModel:
    from ..segmentation.model import load_model

    return load_model(str(path))


@lru_cache(maxsize=1)
def _structure_model(path: Path, changed_ns: int) -> StructureModel:
    from ..classification.structure_model import load_structure_model

    return load_structure_model(str(path))


@lru_cache(maxsize=1)
def _classifier(path: Path, changed_ns: int, device: str, risk: float) -> Classifier:
    import torch

    from ..classification.defects import Classifier
    from ..classification.model import load_defect_model

    return Classifier(load_defect_model(str(path)), torch.device(device), risk)


STEP_WORK: Mapping[str, Step] = {
    "segment": _segmented,
    "quantify": _quantified,
    "grain_size": _graded,
    "classify_structure": _structure,
    "classify_defects": _defects,
}
"""What is done for each step of a recipe."""
