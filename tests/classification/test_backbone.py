from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18

from napari_metallography.classification.backbone import Backbone, encoder_named, texture_count
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


def test_textures_are_those_of_the_first_two_groups(backbone) -> None:
    core, crops = backbone.core, _crops()
    with torch.no_grad():
        first = core.layer1(core.maxpool(core.relu(core.bn1(core.conv1(crops)))))
        second = core.layer2(first)
        found = backbone.textures(crops)
    assert found.shape == (2, texture_count("resnet18"))
    expected = torch.cat([p for x in (first, second) for p in (x.mean((2, 3)), x.std((2, 3)))], 1)
    # What is never seen has a logarithm all the same.
    seen = expected > 0.01
    torch.testing.assert_close(found[seen].exp(), expected[seen], rtol=0.15, atol=0)
    assert torch.isfinite(backbone.textures(torch.zeros(1, 1, 32, 32))).all()


def test_textures_can_be_tuned_where_nothing_is_seen() -> None:
    backbone = Backbone("resnet18").eval()
    torch.nn.init.constant_(backbone.core.layer1[1].bn2.bias, -99)
    backbone.textures(_crops()).sum().backward()
    slopes = [one.grad for one in backbone.core.layer1.parameters()]
    assert all(torch.isfinite(slope).all() for slope in slopes)


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
