from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_metallography.classes import named_classes
from napari_metallography.classification.descriptor_map import (
    MOST_SHOWN,
    descriptor_figure,
    descriptor_map,
)
from napari_metallography.classification.structure_model import StructureModel, StructureNetwork
from napari_metallography.models.card import DataSource, ModelCard, Network, StructureInput

CENTRES = torch.tensor([[0.0, 0.0], [10.0, 0.0]])


@pytest.fixture(scope="module")
def model() -> StructureModel:
    """Two classes whose descriptors were drawn from circles around two points."""
    random = torch.Generator().manual_seed(0)
    classes = torch.arange(2).repeat(300)
    descriptors = CENTRES[classes] + torch.randn(600, 2, generator=random)
    card = ModelCard(
        name="drawn",
        task="structure",
        network=Network(architecture="triplets", encoder="resnet18"),
        classes=named_classes(("pearlite", "ferrite")),
        structure=StructureInput(crops=600),
        data=DataSource(name="none", digest="0"),
    )
    assert card.structure is not None
    network = StructureNetwork(2, card.structure)
    images = torch.arange(600) // 2 % 10 * 2 + classes
    network.gaussians.fit(descriptors, classes, images, 0.01)
    return StructureModel(card, network, "0")


def test_some_training_crops_of_each_class_are_shown(model) -> None:
    shown = descriptor_map(model)
    assert np.bincount(shown.known_classes).tolist() == [MOST_SHOWN, MOST_SHOWN]
    assert shown.known[shown.known_classes == 1].mean(0) == pytest.approx([10, 0], abs=0.3)
    assert (descriptor_map(model).known == shown.known).all()
    assert shown.probabilities is None
    for values, axis in zip(shown.known.T, (shown.x, shown.y), strict=True):
        assert axis[0] < values.min()
        assert values.max() < axis[-1]


def test_likelihoods_are_those_of_the_gaussians_and_fall_below_the_threshold_between(model) -> None:
    shown = descriptor_map(model)
    row, column = 17, 40
    place = torch.tensor([[shown.x[column], shown.y[row]]])
    expected = model.network.gaussians.log_likelihoods(place).max()
    assert shown.likelihoods[row, column] == pytest.approx(float(expected))
    middle = shown.likelihoods[np.abs(shown.y).argmin(), np.abs(shown.x - 5).argmin()]
    centre = shown.likelihoods[np.abs(shown.y).argmin(), np.abs(shown.x).argmin()]
    assert middle < shown.threshold < centre


def test_crops_of_an_image_are_answered_and_stay_in_the_picture(model) -> None:
    crops = np.array([[0, 0.2], [10, 0.1], [10, -0.3], [5, 0], [1e6, 0]], np.float32)
    shown = descriptor_map(model, crops)
    assert shown.answers.tolist() == [0, 1, 1, 2, 2]
    assert shown.probabilities == pytest.approx([0.2, 0.4, 0.4], abs=1e-6)
    assert shown.crops[:4] == pytest.approx(crops[:4].astype(float))
    assert 15 < shown.crops[4, 0] <= shown.x[-1] < 40


def test_the_figure_shows_classes_crops_and_the_threshold(model) -> None:
    shown = descriptor_map(model, np.array([[0, 0], [5, 0]], np.float32))
    figure = descriptor_figure(shown, "one.tif · random · 0.1 µm/px")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["limit to none", "pearlite 50%", "ferrite 0%", "crops", "none 50%"]
    assert figure.legends[0].get_title().get_text() == "mean of this image's crops"
    (axes,) = figure.axes
    assert axes.get_title("left") == "one.tif · random · 0.1 µm/px"
    points = [len(one.get_offsets()) for one in axes.collections if one.get_label() in labels]
    assert points == [MOST_SHOWN, MOST_SHOWN, 1, 1]
    figure.draw_without_rendering()


def test_a_model_without_training_crops_and_threshold_is_drawn_too(model) -> None:
    network = StructureNetwork(2, StructureInput())
    network.gaussians.means = CENTRES
    bare = StructureModel(model.card, network, "0")
    shown = descriptor_map(bare)
    assert len(shown.known) == 0
    assert shown.threshold == -np.inf
    descriptor_figure(shown).draw_without_rendering()
