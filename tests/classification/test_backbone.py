from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18

from napari_metallography.classification.backbone import Backbone, encoder_named
from napari_metallography.classification.triplets import TripletNetwork
from napari_metallography.errors import InputError
from napari_metallography.models.card import Network
from napari_metallography.segmentation.networks import SegmentationNetwork, load_encoder


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone("resnet18").eval()


def _crops() -> torch.Tensor:
    return torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def test_features_survive_the_way_through_the_names_of_torchvision(backbone) -> None:
    other = Backbone("resnet18").eval()
    with torch.no_grad():
        expected = backbone(_crops())
        assert expected.shape == (2, backbone.features)
        assert not torch.allclose(other(_crops()), expected)
        other.take(backbone.tensors(), "it")
        assert torch.allclose(other(_crops()), expected, atol=1e-5)


def test_weights_of_three_colours_give_the_same_answer_on_grey(backbone) -> None:
    network = resnet18(weights=None).eval()
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = network(_crops().expand(-1, 3, -1, -1))
        backbone = Backbone("resnet18").eval()
        backbone.take(resnet18(weights=None).state_dict() | network.state_dict(), "it")
        assert torch.allclose(backbone(_crops()), expected, atol=1e-4)


def test_weights_start_triplets_and_segmentation(backbone) -> None:
    triplets = TripletNetwork(magnification=False).eval()
    triplets.encoder.take(backbone.tensors(), "it")
    network = SegmentationNetwork(Network(architecture="unet", encoder="resnet18"), 2).eval()
    load_encoder(network, backbone.tensors())
    with torch.no_grad():
        expected = backbone(_crops())
        assert torch.allclose(triplets.features(_crops()), expected, atol=1e-5)
        deepest = network.encoder(_crops().expand(-1, 3, -1, -1))[-1]
        assert torch.allclose(deepest.mean((2, 3)), expected, atol=1e-4)


def test_foreign_weights_are_refused(backbone) -> None:
    for tensors in (
        {"conv1.weight": torch.zeros(64, 3, 7, 7)},
        {"conv1.weight": torch.zeros(3)},
        Backbone("resnet50").tensors(),
    ):
        with pytest.raises(InputError, match=r"^w\.pt: not the weights of a ResNet"):
            backbone.take(tensors, "w.pt")
    with pytest.raises(InputError, match="unknown backbone 'vgg'; choose from resnet18, resnet50"):
        encoder_named("vgg")
