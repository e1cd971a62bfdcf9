"""What a training starts from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_metallography.classes import named_classes
from napari_metallography.models.card import DataSource, ModelCard, Network
from napari_metallography.segmentation.model import SegmentationModel
from napari_metallography.segmentation.networks import ARCHITECTURES, HEAD, SegmentationNetwork
from napari_metallography.training.start import from_model


def _model(architecture: str) -> SegmentationModel:
    network = Network(architecture=architecture, encoder="efficientnet-lite0")
    card = ModelCard(
        name="parent",
        task="segmentation",
        network=network,
        classes=named_classes(["matrix", "carbide", "pore"]),
        data=DataSource(name="none", digest="0"),
    )
    torch.manual_seed(1)
    return SegmentationModel(card, SegmentationNetwork(network, 3), "d" * 64)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_known_classes_keep_what_the_parent_learnt(architecture: str) -> None:
    parent = _model(architecture)
    start = from_model(parent, ["pore", "matrix", "crack", "ferrite"])
    assert start.rows == (2, 0, None, None)
    network = SegmentationNetwork(parent.card.network, 4)
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start.apply(network)
    learnt = parent.network.state_dict()
    for name, tensor in network.state_dict().items():
        if name.startswith(HEAD):
            assert torch.equal(tensor[:2], learnt[name][[2, 0]])
            assert torch.equal(tensor[2:], fresh[name][2:])
        else:
            assert torch.equal(tensor, learnt[name])


def test_other_weights_of_the_same_name_are_another_start() -> None:
    start = from_model(_model("unet"))
    assert start.digest == from_model(_model("unet")).digest
    name, tensor = next(iter(start.state.items()))
    others = [
        replace(start, state=start.state | {name: tensor + 1}),
        replace(start, state=None, encoder_state=start.state),
        replace(start, state=None),
    ]
    assert len({start.digest, *(other.digest for other in others)}) == 4


def test_the_parents_own_classes_start_from_all_its_tensors() -> None:
    parent = _model("unet")
    start = from_model(parent, ["matrix", "carbide", "pore"])
    assert start.rows == ()
    network = SegmentationNetwork(parent.card.network, 3)
    start.apply(network)
    learnt = parent.network.state_dict()
    assert all(torch.equal(t, learnt[name]) for name, t in network.state_dict().items())
    assert start.parent == parent.digest
