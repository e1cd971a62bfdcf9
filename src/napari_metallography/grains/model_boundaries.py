"""Grain boundaries found by a segmentation network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import regions
from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Notice
from ..plane import Plane
from ..segmentation.model import (
    SegmentationModel,
    is_far_from_training,
    load_model,
    resampling_factor,
)
from ..segmentation.prediction import PredictionParameters, Predictor, predict
from .boundary_probability import BOUNDARY_CLASS, ModelBoundaryParameters
from .closing import Strength, closing
from .finding import Pixels
from .partition import Partition
from .stages import staged

_OTHER_SIZE = 1.01
_FARTHEST = 8.0
"""Beyond it nothing is left of boundaries when an image is shrunk, and blurs when enlarged."""


@dataclass(frozen=True)
class ByModel:
    """Boundaries found by a segmentation model that has a class "boundary"."""

    model: SegmentationModel
    device: torch.device
    parameters: ModelBoundaryParameters = field(default_factory=ModelBoundaryParameters)
    prediction: PredictionParameters = field(default_factory=PredictionParameters)

    def __post_init__(self) -> None:
        _boundary_index(self.model)

    def grains(self, pixels: Pixels, calibration: Calibration | None) -> Events[Partition]:
        """Grains between the crests of the probability of boundary.

        Without a calibration the image is taken to be of a scale the model knows.

        Yields
        ------
        Progress, Notice
            Of the windows, then of the closing of grains; when the image is resampled.

        Raises
        ------
        InputError
            When no boundary is found, or the pixel size is more than eight times as fine or coarse
            as those the model knows.
        DeviceError
            When the device fails.
        """
        rules = self.parameters
        size = calibration.mean_um if calibration else None
        factor = resampling_factor(self.model.card, size) if size else 1.0
        self._require_near(factor, size)
        yield from self._notices(factor, size)
        strength = yield from staged(self._probability(pixels, factor), 0, 2)
        smallest = max(1, round(rules.smallest_area_px / factor**2))
        running = closing(strength, rules.threshold, rules.shown, smallest)
        found = yield from staged(running, 1, 2)
        if found.n < 2:
            raise InputError(
                f"model {self.model.card.name} finds no grain boundary; lower the probability from "
                "which boundaries show, use another model or none, or paint them"
            )
        return found

    def provenance(self) -> dict[str, Any]:
        """Model, its digest, parameters and device."""
        return {
            "boundaries": "model",
            "boundaries_model": self.model.card.name,
            "boundaries_model_digest": self.model.digest,
            "model_boundaries": self.parameters.model_dump(),
            "prediction": self.prediction.model_dump(mode="json"),
            "device": self.device.type,
        }

    def _probability(self, pixels: Pixels, factor: float) -> Events[Strength]:
        card = self.model.card
        predictor = Predictor(
            self.model.network,
            card.normalisation,
            len(card.classes),
            self.device,
            self.prediction,
            factor,
        )
        measured, index = regions.Field(pixels.shape[:2]), _boundary_index(self.model)
        found = yield from predict(Plane(pixels, 0, 255), measured, predictor, probability_of=index)
        assert found.probability is not None
        return found.probability

    def _require_near(self, factor: float, size: float | None) -> None:
        if not 1 / _FARTHEST <= factor <= _FARTHEST:
            raise InputError(
                f"pixels of {size:.4g} µm are too {'coarse' if factor > 1 else 'fine'} for the "
                f"model {self.model.card.name}, trained on {self._trained_on()}; check the pixel "
                "size, or use another model or another magnification"
            )

    def _notices(self, factor: float, size: float | None) -> Iterator[Notice]:
        name = self.model.card.name
        if not 1 / _OTHER_SIZE < factor < _OTHER_SIZE:
            yield Notice(
                f"the image is resampled by {factor:.3g} to the pixel sizes that {name} was "
                "trained on"
            )
        if size is not None and is_far_from_training(self.model.card, size):
            yield Notice(
                f"{name} was trained on {self._trained_on()}, and pixels of {size:.4g} µm are far "
                "from it; look at the boundaries before you sign"
            )

    def _trained_on(self) -> str:
        finest, coarsest = self.model.card.pixel_size_um or (math.nan, math.nan)
        return f"{finest:.4g} to {coarsest:.4g} µm"


def load_boundary_model(name_or_file: str) -> SegmentationModel:
    """Load a segmentation model that finds grain boundaries, by name or path.

    Raises
    ------
    InputError
        When there is no such model, or it knows no class "boundary".
    """
    model = load_model(name_or_file)
    _boundary_index(model)
    return model


def _boundary_index(model: SegmentationModel) -> int:
    names = [phase.name for phase in model.card.classes]
    if BOUNDARY_CLASS not in names:
        raise InputError(
            f'model {model.card.name} finds no grain boundaries: it has no class "'
            f'{BOUNDARY_CLASS}" but {", ".join(names)}; choose another model'
        )
    return names.index(BOUNDARY_CLASS)
