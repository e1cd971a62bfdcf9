"""What the options offer is what there is."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from napari_metallography.cli import options, quantify, segment, train, training
from napari_metallography.devices import Precision, choose_device
from napari_metallography.models.card import ModelCard
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.segmentation.networks import ARCHITECTURES
from napari_metallography.segmentation.prediction import PredictionParameters
from napari_metallography.segmentation.segment import SegmentParameters
from napari_metallography.segmentation.thresholding import ThresholdParameters
from napari_metallography.training.recipe import RECIPES, DefectRecipe, StructureRecipe


def _values(choices: type[StrEnum]) -> set[str]:
    return {choice.value for choice in choices}


def _literals(model: type[BaseModel], name: str) -> set[Any]:
    return set(get_args(model.model_fields[name].annotation))


def test_networks_recipes_and_precisions_are_those_there_are() -> None:
    assert _values(train.Architecture) == set(ARCHITECTURES)
    assert _values(train.Recipe) == set(RECIPES)
    assert _values(train.PrecisionName) == {"auto", *get_args(Precision)}


@pytest.mark.parametrize(
    ("choices", "model", "name"),
    [
        (quantify.EdgeRule, QuantifyParameters, "edge_rule"),
        (segment.Method, SegmentParameters, "method"),
        (segment.Phase, ThresholdParameters, "phase"),
        (options.Mode, PredictionParameters, "mode"),
        (training.Kept, DefectRecipe, "keep"),
        (training.Kept, StructureRecipe, "keep"),
        (training.StorageName, ModelCard, "storage"),
    ],
)
def test_choices_are_those_of_the_parameters(
    choices: type[StrEnum], model: type[BaseModel], name: str
) -> None:
    assert _values(choices) == _literals(model, name)


@pytest.mark.parametrize("name", options.DeviceName)
def test_every_device_is_known(monkeypatch, name: options.DeviceName) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    expected = "cpu" if name is options.DeviceName.cpu else "cuda"
    assert choose_device(name.value).type == expected
