"""Segmentation as the widget, the command line and recipes ask for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..calibration import Calibration
from ..classes import PhaseClass
from ..devices import choose_device
from ..events import Event, Events, Notice, Progress, relayed
from ..models.card import ModelCard
from ..plane import ArrayLike, Plane, PlaneReceiver, leading_shape, planes_of
from ..regions import Field
from .model import SegmentationModel, is_far_from_training, load_model, resampling_factor
from .parameters import THRESHOLD_CLASSES as THRESHOLD_CLASSES
from .parameters import SegmentParameters as SegmentParameters
from .prediction import Predictor, Receivers, predict_into
from .thresholding import threshold_into


@dataclass(frozen=True)
class Segmented:
    """What there is to say of an image or stack that was segmented.

    Attributes
    ----------
    classes
        By index.
    measured
        The field that was segmented.
    provenance
        Method, model and its digest, parameters, version: JSON.
    """

    classes: tuple[PhaseClass, ...]
    measured: Field
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Segmentation(Segmented):
    """Phases of an image or stack, in memory.

    Attributes
    ----------
    indices
        (Y, X) or (N, Y, X) uint8, class indices; 255 outside the field.
    uncertainty
        Shaped like `indices`, uint8, 255 = all classes equally likely; None unless asked for.
    """

    indices: NDArray[np.uint8]
    uncertainty: NDArray[np.uint8] | None


def segment(
    array: ArrayLike,
    *,
    rgb: bool,
    calibration: Calibration | None,
    measured: Field,
    parameters: SegmentParameters,
    name: str = "image",
    model: SegmentationModel | None = None,
) -> Events[Segmentation]:
    """Segment an image or every plane of a stack into arrays in memory; else as `segment_into`."""
    shape = (*leading_shape(array, rgb=rgb), *measured.shape)
    indices = np.empty(shape, np.uint8)
    with_uncertainty = parameters.uncertainty and parameters.method == "model"
    uncertainty = np.empty(shape, np.uint8) if with_uncertainty else None
    made = yield from segment_into(
        array,
        Receivers(indices, uncertainty),
        rgb=rgb,
        calibration=calibration,
        measured=measured,
        parameters=parameters,
        name=name,
        model=model,
    )
    return Segmentation(made.classes, made.measured, made.provenance, indices, uncertainty)


def segment_into(
    array: ArrayLike,
    out: Receivers,
    *,
    rgb: bool,
    calibration: Calibration | None,
    measured: Field,
    parameters: SegmentParameters,
    name: str = "image",
    model: SegmentationModel | None = None,
) -> Events[Segmented]:
    """Segment an image or every plane of a stack, and hand the rows to where they go.

    Parameters
    ----------
    array
        (Y, X), (Y, X, 3), or with leading axes; NumPy, dask, zarr or `Windowed`.
    out
        Shaped as the array less its colours. Whether the uncertainty is computed is said by it
        alone; thresholds know none.
    model
        When it is loaded already; else it is loaded from `parameters.model`.

    Yields
    ------
    Progress, Notice
        Windows done over all planes; what the user should know.

    Raises
    ------
    InputError
        For an image or a model that cannot be used.
    DeviceError
        When the device fails.
    """
    measured.require_pixels()
    leading = leading_shape(array, rgb=rgb)
    planes = planes_of(array, rgb=rgb, name=name, measured=measured)
    if parameters.method == "threshold":
        return (yield from _by_threshold(planes, leading, measured, parameters, out))
    model = model or load_model(parameters.model)
    yield from _pixel_size_notices(model.card, calibration, parameters)
    return (yield from _by_model(planes, leading, measured, parameters, model, calibration, out))


def _by_threshold(
    planes: Iterator[Plane],
    leading: tuple[int, ...],
    measured: Field,
    parameters: SegmentParameters,
    out: Receivers,
) -> Events[Segmented]:
    values = []
    total = math.prod(leading)
    yield Progress(0, total, "planes")
    for done, (place, plane) in enumerate(zip(np.ndindex(leading), planes, strict=True), start=1):
        receiver = PlaneReceiver(out.indices, place)
        values.append(threshold_into(plane, measured, parameters.threshold, receiver))
        yield Progress(done, total, "planes")
    provenance = {
        "method": "threshold",
        "parameters": parameters.threshold.model_dump(mode="json"),
        "grey_value_thresholds": values,
        "version": __version__,
    }
    return Segmented(THRESHOLD_CLASSES, measured, provenance)


def _by_model(
    planes: Iterator[Plane],
    leading: tuple[int, ...],
    measured: Field,
    parameters: SegmentParameters,
    model: SegmentationModel,
    calibration: Calibration | None,
    out: Receivers,
) -> Events[Segmented]:
    factor = 1.0
    if parameters.resample and calibration is not None:
        factor = resampling_factor(model.card, calibration.mean_um)
    predictor = Predictor(
        model.network,
        model.card.normalisation,
        len(model.card.classes),
        choose_device(parameters.device),
        parameters.prediction,
        factor,
    )
    areas: list[int] = []
    for index, (place, plane) in enumerate(zip(np.ndindex(leading), planes, strict=True)):
        events = predict_into(plane, measured, predictor, out.of_plane(place))
        areas.append((yield from relayed(events, _counted(index, math.prod(leading)))))
    provenance = _model_provenance(model, parameters, factor, areas)
    return Segmented(model.card.classes, measured, provenance)


def _model_provenance(
    model: SegmentationModel,
    parameters: SegmentParameters,
    factor: float,
    areas: list[int],
) -> dict[str, Any]:
    return {
        "method": "model",
        "model": model.card.name,
        "model_digest": model.digest,
        "model_scores": model.card.metrics,
        "model_reliable_from_px": model.card.good_from_px,
        "parameters": parameters.prediction.model_dump(mode="json"),
        "largest_window_area_px": areas,
        "resampled_by": factor,
        "version": __version__,
    }


def _pixel_size_notices(
    card: ModelCard, calibration: Calibration | None, parameters: SegmentParameters
) -> Iterator[Notice]:
    if card.pixel_size_um is None:
        return
    trained = "{:.3g} to {:.3g} µm".format(*card.pixel_size_um)
    if calibration is None:
        yield Notice(f"no pixel size is known; {card.name} was trained on {trained} a pixel")
    elif is_far_from_training(card, calibration.mean_um) and not parameters.resample:
        yield Notice(
            f"a pixel is {calibration.mean_um:.3g} µm, but {card.name} was trained on {trained}: "
            "results may be poor; resample the image (--resample)"
        )


def _counted(index: int, planes: int) -> Callable[[Event], Event]:
    """Progress of one plane as part of that of all."""

    def change(event: Event) -> Event:
        if not isinstance(event, Progress):
            return event
        return Progress(index * event.total + event.done, planes * event.total, event.message)

    return change
