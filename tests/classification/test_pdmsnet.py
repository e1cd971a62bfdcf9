from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import network_cost
from napari_metallography.classification.pdmsnet import (
    DESIGNS,
    FIRST_CENTRE,
    STRIDE,
    Fire,
    MixedDepthwise,
    PdmsNet,
    SeparableExpansion,
    Stem,
)

PAPER = {
    "squeezenet": (738_502, 743.53),
    "squeezenet-bn": (744_262, 749.61),
    "squeezenet-separable": (255_942, 360.57),
    "squeezenet-dms": (261_446, 366.27),
    "pdmsnet": (168_014, 272.00),
}


@pytest.mark.parametrize("name", PAPER)
def test_parameters_and_operations_are_those_of_the_papers_table(name) -> None:
    cost = network_cost.cost(PdmsNet(6, DESIGNS[name]))
    assert (cost["parameters"], cost["mflops"]) == PAPER[name]


@pytest.mark.parametrize(
    ("kernels", "mflops"), [((3, 5), 362.93), ((3, 5, 7), 366.27), ((3, 5, 7, 9), 371.03)]
)
def test_operations_with_other_kernels_are_those_of_the_papers_figure(kernels, mflops) -> None:
    design = replace(DESIGNS["squeezenet-dms"], kernels=kernels)
    assert network_cost.cost(PdmsNet(6, design))["mflops"] == mflops


@pytest.mark.parametrize("spliced", [(True, False), (False, True)])
def test_each_spliced_block_saves_parameters(spliced) -> None:
    partial = network_cost.parameters(PdmsNet(6, replace(DESIGNS["pdmsnet"], spliced=spliced)))
    assert PAPER["pdmsnet"][0] < partial < PAPER["squeezenet-dms"][0]


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("classes", [2, 9])
def test_logits_of_any_number_of_classes_are_the_mean_of_the_evidence(name, classes) -> None:
    torch.manual_seed(0)
    network = PdmsNet(classes, DESIGNS[name]).eval()
    images = torch.randn(2, 3, 64, 75)
    with torch.inference_mode():
        evidence = network.evidence(network.features(images))
        logits = network(images)
    assert logits.shape == (2, classes)
    assert (logits >= 0).all()
    torch.testing.assert_close(evidence.mean((2, 3)), logits)


def test_the_merged_kernels_do_what_separate_ones_do() -> None:
    torch.manual_seed(0)
    layer = MixedDepthwise(8, (3, 5, 7))
    for weight in layer.weights:
        nn.init.normal_(weight)
    values = torch.randn(2, 8, 9, 11)
    parts = values.split([4, 2, 2], 1)
    separate = [
        functional.conv2d(part, weight, padding=weight.shape[-1] // 2, groups=len(weight))
        for part, weight in zip(parts, layer.weights, strict=True)
    ]
    torch.testing.assert_close(layer(values), torch.cat(separate, 1))


def test_the_joint_expansion_is_two_branches_joined_and_shuffled() -> None:
    torch.manual_seed(0)
    layer = SeparableExpansion(6, 10, nn.Conv2d(6, 6, 3, padding=1, groups=6))
    values = torch.randn(2, 6, 7, 5)
    branches = torch.cat([layer.one(values), layer.point(layer.depthwise(values))], 1)
    torch.testing.assert_close(layer(values), functional.channel_shuffle(branches, 2))


def test_the_stem_is_convolution_then_relu_then_pooling() -> None:
    torch.manual_seed(0)
    stem, images = Stem(), torch.randn(2, 3, 61, 53)
    torch.testing.assert_close(stem(images), stem.pool(functional.relu(stem.convolution(images))))


def test_a_shortcut_stands_where_channels_agree() -> None:
    modules = [m for m in PdmsNet(6).modules() if isinstance(m, Fire)]
    assert [m.shortcut for m in modules] == [False, True] * 4
    original = PdmsNet(6, DESIGNS["squeezenet"]).modules()
    assert not any(m.shortcut for m in original if isinstance(m, Fire))


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    network = PdmsNet(3).to(memory_format=torch.channels_last)
    network.classifier.bias.data.fill_(1.0)
    loss = functional.cross_entropy(network(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 2, 0]))
    torch.autograd.backward(loss)
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_places_of_the_features_lie_where_they_look() -> None:
    torch.manual_seed(0)
    network = PdmsNet(3).eval()
    images = torch.randn(4, 3, 224, 224, requires_grad=True)
    # Nearer to the rim, what lies beyond it pulls the middle inwards.
    row, column = 5, 7
    seen = network.features(images)[:, :, row, column].square().sum()
    (gradient,) = torch.autograd.grad(seen, images)
    weight = gradient.abs().sum((0, 1))
    along = torch.arange(224.0)
    centre = [float((weight.sum(1 - axis) * along).sum() / weight.sum()) for axis in (0, 1)]
    expected = [FIRST_CENTRE + STRIDE * place for place in (row, column)]
    assert centre == pytest.approx(expected, abs=2)
