"""What the form *Quantify* measures, with all that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from ..events import Events, Notice
from ..io.files import digest
from ..io.labels import LabelImage
from ..plane import ArrayLike, leading_shape, planes_of
from ..quantification.correctable import CorrectableResult, Ids, measure_anew, measure_given
from ..quantification.corrections import Change, plane_at
from ..quantification.files import (
    MeasuredImage,
    Picture,
    overlay_picture,
    source_of,
    with_provenance,
)
from ..quantification.measure import Quantification
from ..quantification.parameters import QuantifyParameters
from ..quantification.report import ReportField, write_report
from ..quantification.study_files import study_of
from ..quantification.study_folder import StudyImage
from ..reports import ReportHead

FILE = "file_in_study"
"""Key of a layer's metadata: path and digest of the image's file, as a study states them."""


@dataclass(frozen=True)
class Measured:
    """A result with what it came from, for tables, report, corrections and studies.

    Attributes
    ----------
    labels
        As measured, so with the corrections.
    result
        The column `particle` is the number in `ids`.
    ids
        Shaped like the labels: all particles, also those that the rules leave out.
    grey
        Grey values shaped like the labels; None without an image.
    changes
        The corrections made since the labels were measured first.
    file
        The image's file with its digest when it was measured; None without one.
    """

    labels: LabelImage
    name: str
    result: Quantification
    ids: Ids
    parameters: QuantifyParameters
    pixels: ArrayLike | None
    rgb: bool
    grey: NDArray[np.number[Any]] | None
    changes: tuple[Change, ...] = ()
    file: StudyImage | None = None

    def as_image(self, specimen: str = "", *, picture: bool = False) -> MeasuredImage:
        """For the files of a study."""
        rgb = overlay_of(self) if picture else None
        shown = None if rgb is None else Picture.of(rgb, self.labels.calibration)
        result, file = self.result, self.file
        if file is not None and file.path is not None and file.sha256:
            image = source_of(file.path, file.sha256)
            result = with_provenance(result, sources={"image": image})
        return MeasuredImage(self.name, self.labels, result, shown, specimen)


def measured_events(
    source: LabelImage,
    name: str,
    parameters: QuantifyParameters,
    pixels: ArrayLike | None,
    rgb: bool,
    file: StudyImage | None = None,
    ids: Ids | None = None,
    changes: tuple[Change, ...] = (),
) -> Events[Measured]:
    """Measure labels, with the grey values of an image; colours are turned into grey.

    Given `ids` are kept, with the changes that led to them; else particles are numbered anew.
    """
    grey = None if pixels is None else _grey(pixels, rgb, source.indices.shape, name)
    if file is not None and file.path is not None and not file.sha256:
        file = replace(file, sha256=digest(file.path))
    if ids is not None:
        empty: Any = None
        given = Measured(source, name, empty, ids, parameters, pixels, rgb, grey, (), file)
        return (yield from given_events(given, changes))
    found = yield from measure_anew(source, parameters, grey, name)
    return Measured(source, name, found.result, found.ids, parameters, pixels, rgb, grey, (), file)


def measured_again(measured: Measured, changes: Sequence[Change]) -> Events[Measured]:
    """Measure with other corrections than before; what was noticed then is not noticed again."""
    labels, ids = corrected_labels(measured, changes)
    again = given_events(replace(measured, labels=labels, ids=ids), tuple(changes))
    return (yield from _without_notices(again))


def corrected_labels(measured: Measured, changes: Sequence[Change]) -> tuple[LabelImage, Ids]:
    """Labels and particle numbers with other corrections than before, as copies."""
    labels = replace(measured.labels, indices=np.array(measured.labels.indices))
    ids = measured.ids.copy()
    for change in reversed(measured.changes):
        change.revert(*_plane(labels, ids, change))
    for change in changes:
        change.apply(*_plane(labels, ids, change))
    return labels, ids


def given_events(measured: Measured, changes: tuple[Change, ...]) -> Events[Measured]:
    """Measure particles as they are numbered."""
    found: CorrectableResult = yield from measure_given(
        measured.labels,
        measured.ids,
        measured.parameters,
        measured.grey,
        measured.name,
        [change.correction for change in changes],
    )
    return replace(measured, result=found.result, changes=changes)


def with_image(measured: Measured, pixels: ArrayLike, rgb: bool) -> Measured:
    """The same with an image."""
    grey = _grey(pixels, rgb, measured.labels.indices.shape, measured.name)
    return replace(measured, pixels=pixels, rgb=rgb, grey=grey)


def report(path: Path, head: ReportHead, measured: Measured) -> None:
    """Write the report of one image."""
    labels = measured.labels
    image = measured.as_image(picture=True)
    small = image.picture.small if image.picture else None
    field = ReportField(measured.name, small, labels.calibration, labels.provenance)
    write_report(path, head, [field], study_of([image]))


def file_of(layer: Layer) -> StudyImage | None:
    """The file of an image's layer, without a digest where none is stated; None where unknown."""
    stated = layer.metadata.get(FILE)
    if stated:
        return StudyImage(Path(stated["path"]), stated["sha256"])
    source = layer.source.path
    path = Path(source) if isinstance(source, str) else None
    return StudyImage(path) if path is not None and path.is_file() else None


def overlay_of(measured: Measured) -> NDArray[np.uint8] | None:
    """The first plane with its phases in colour; None without an image."""
    if measured.pixels is None:
        return None
    leading = leading_shape(measured.pixels, rgb=measured.rgb)
    first = np.asarray(measured.pixels[(0,) * len(leading)])
    return overlay_picture(first, measured.labels, measured.ids)


def _without_notices(events: Events[Measured]) -> Events[Measured]:
    """The same, without what would be said after each correction; the report tells all of it."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            result: Measured = end.value
            return result
        if not isinstance(event, Notice):
            yield event


def _plane(labels: LabelImage, ids: Ids, change: Change) -> tuple[NDArray[Any], NDArray[Any]]:
    number = change.correction.plane
    return plane_at(np.asarray(labels.indices), number), plane_at(ids, number)


def _grey(
    pixels: ArrayLike, rgb: bool, shape: tuple[int, ...], name: str
) -> NDArray[np.number[Any]]:
    grey = np.asarray(pixels)
    if rgb:
        grey = np.stack([plane.grey() for plane in planes_of(pixels, rgb=True, name=name)])
    # Leading axes are one here; another shape is quantify's to refuse.
    return grey.reshape(shape) if grey.size == int(np.prod(shape)) else grey
