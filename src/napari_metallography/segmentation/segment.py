"""Segmentation as the widget, the command line and recipes ask for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from .. import __version__
from ..calibration import Calibration
from ..classes import PhaseClass, named_classes
from ..devices import choose_device
from ..events import Event, Events, Notice, Progress, relayed
from ..models.card import ModelCard
from ..plane import ArrayLike, Plane, leading_shape, planes_of
from ..regions import Field
from .model import SegmentationModel, is_far_from_training, load_model, resampling_factor
from .prediction import Prediction, PredictionParameters, Predictor, predict
from .thresholding import ThresholdParameters, threshold

THRESHOLD_CLASSES = named_classes(["matrix", "phase"])


class SegmentParameters(BaseModel):
    """How phases are found.

    Attributes
    ----------
    method
        "model": by a network. "threshold": by grey value.
    model
        Name or file of a segmentation model.
    device
        "auto", "cpu" or "cuda".
    resample
        Bring the image to the pixel sizes the model was trained on.
    uncertainty
        Also compute where the network is unsure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["model", "threshold"] = "model"
    model: str = "uhcs-carbides"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    resample: bool = False
    uncertainty: bool = False
    prediction: PredictionParameters = PredictionParameters()
    threshold: ThresholdParameters = ThresholdParameters()


@dataclass(frozen=True)
class Segmentation:
    """Phases of an image or stack.

    Attributes
    ----------
    indices
        (Y, X) or (N, Y, X) uint8, class indices; 255 outside the field.
    uncertainty
        Shaped like `indices`, uint8, 255 = all classes equally likely; None unless asked for.
    classes
        By index.
    measured
        The field that was segmented.
    provenance
        Method, model and its digest, parameters, version: JSON.
    """

    indices: NDArray[np.uint8]
    uncertainty: NDArray[np.uint8] | None
    classes: tuple[PhaseClass, ...]
    measured: Field
    provenance: dict[str, Any]


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
    """Segment an image or every plane of a stack.

    Parameters
    ----------
    array
        (Y, X), (Y, X, 3), or with leading axes; NumPy, dask or zarr.
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
        return (yield from _by_threshold(planes, leading, measured, parameters))
    model = model or load_model(parameters.model)
    yield from _pixel_size_notices(model.card, calibration, parameters)
    return (yield from _by_model(planes, leading, measured, parameters, model, calibration))


def _by_threshold(
    planes: Iterator[Plane],
    leading: tuple[int, ...],
    measured: Field,
    parameters: SegmentParameters,
) -> Events[Segmentation]:
    indices, values = [], []
    total = math.prod(leading)
    yield Progress(0, total, "planes")
    for done, plane in enumerate(planes, start=1):
        result = threshold(plane, measured, parameters.threshold)
        indices.append(result.indices)
        values.append(result.value)
        yield Progress(done, total, "planes")
    provenance = {
        "method": "threshold",
        "parameters": parameters.threshold.model_dump(mode="json"),
        "grey_value_thresholds": values,
        "version": __version__,
    }
    stacked = _stacked(indices, leading)
    return Segmentation(stacked, None, THRESHOLD_CLASSES, measured, provenance)


def _by_model(
    planes: Iterator[Plane],
    leading: tuple[int, ...],
    measured: Field,
    parameters: SegmentParameters,
    model: SegmentationModel,
    calibration: Calibration | None,
) -> Events[Segmentation]:
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
    predictions: list[Prediction] = []
    for index, plane in enumerate(planes):
        events = predict(plane, measured, predictor, with_uncertainty=parameters.uncertainty)
        predictions.append((yield from relayed(events, _counted(index, math.prod(leading)))))
    provenance = _model_provenance(model, parameters, factor, predictions)
    uncertainties = [p.uncertainty for p in predictions if p.uncertainty is not None]
    return Segmentation(
        _stacked([p.indices for p in predictions], leading),
        _stacked(uncertainties, leading) if uncertainties else None,
        model.card.classes,
        measured,
        provenance,
    )


def _model_provenance(
    model: SegmentationModel,
    parameters: SegmentParameters,
    factor: float,
    predictions: list[Prediction],
) -> dict[str, Any]:
    return {
        "method": "model",
        "model": model.card.name,
        "model_digest": model.digest,
        "model_scores": model.card.metrics,
        "model_reliable_from_px": model.card.good_from_px,
        "parameters": parameters.prediction.model_dump(mode="json"),
        "largest_window_area_px": [p.largest_window_area for p in predictions],
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


def _stacked(planes: list[NDArray[np.uint8]], leading: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.stack(planes).reshape(*leading, *planes[0].shape)
