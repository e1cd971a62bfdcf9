import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_metallography.grains.grades import LINE_LENGTH
from napari_metallography.grains.line_network import KERNELS, LineNetwork, Stage, averaged, banded


@pytest.fixture(scope="module")
def network() -> LineNetwork:
    torch.manual_seed(0)
    made = LineNetwork()
    for stage in _stages(made):
        # As after a training: nothing is at its neutral value.
        nn.init.uniform_(stage.gamma, -1.5, 1.5)
        nn.init.uniform_(stage.beta, -1, 1)
        stage.running_mean.uniform_(0, 0.5)
        stage.running_var.uniform_(0.2, 2)
    return made


def _stages(network: LineNetwork) -> list[Stage]:
    return [module for module in network.modules() if isinstance(module, Stage)]


def _plain(network: LineNetwork, lines: Tensor) -> Tensor:
    """The network as it is written down: convolution, ReLU, batch normalisation, pooling."""
    pooled = []
    for subnet in network.subnets:
        values = lines[:, None]
        for stage in subnet.stages:
            values = functional.conv1d(values, stage.weight, padding=stage.weight.shape[2] // 2)
            values = functional.batch_norm(
                values.relu(),
                None if network.training else stage.running_mean,
                None if network.training else stage.running_var,
                stage.gamma,
                stage.beta,
                network.training,
            )
        pooled.append(functional.adaptive_avg_pool1d(values, 512))
    features = torch.cat(pooled, 1)
    gated = features * network.attention(features.mean(2))[:, :, None]
    return network.classifier(gated.flatten(1))


def test_it_has_the_parameters_of_the_paper(network) -> None:
    assert sum(p.numel() for p in network.parameters()) == 15_804_836
    convolutions = sum(stage.weight.numel() for stage in _stages(network))
    assert convolutions == 4 * (1 + 4 + 4) * sum(KERNELS)


@pytest.mark.parametrize("training", [False, True])
def test_it_computes_what_plain_convolutions_compute(network, training) -> None:
    lines = torch.randn(3, LINE_LENGTH)
    network.train(training)
    weights = [stage.weight for stage in _stages(network)]
    gradients = []
    for forward in (network, lambda given: _plain(network, given)):
        before = [stage.running_mean.clone() for stage in _stages(network)]
        logits = forward(lines)
        gradients.append((logits, torch.autograd.grad(logits[:, 0].sum(), weights)))
        for stage, mean in zip(_stages(network), before, strict=True):
            stage.running_mean.copy_(mean)
    (fast, of_fast), (plain, of_plain) = gradients
    torch.testing.assert_close(fast, plain, atol=2e-4, rtol=1e-3)
    for one, other in zip(of_fast, of_plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-2 * float(other.abs().max()), rtol=0)


def test_running_statistics_are_those_of_batch_normalisation() -> None:
    torch.manual_seed(1)
    stage, plain = Stage(1, 4, 5), nn.BatchNorm1d(4)
    blocks = torch.randn(2, 8, 16)
    stage(blocks, torch.ones(1), torch.zeros(1))
    places = blocks.transpose(1, 2).reshape(2, 1, 128)
    plain(functional.conv1d(places, stage.weight, padding=2).relu())
    torch.testing.assert_close(stage.running_mean, plain.running_mean)
    torch.testing.assert_close(stage.running_var, plain.running_var)


@pytest.mark.parametrize("kernel", [1, 3, 9, 17, 19])
def test_a_banded_kernel_convolves_blocks_as_places(kernel) -> None:
    weight, block, places = torch.randn(2, 3, kernel), 8, torch.randn(1, 3, 64)
    bands = banded(weight, block)
    folded = places.view(3, 8, block).transpose(1, 2).reshape(1, 3 * block, 8)
    found = functional.conv1d(folded, bands, padding=bands.shape[2] // 2)
    unfolded = found.view(2, block, 8).transpose(1, 2).reshape(1, 2, 64)
    expected = functional.conv1d(places, weight, padding=kernel // 2)
    torch.testing.assert_close(unfolded, expected, atol=1e-5, rtol=1e-4)


def test_the_average_is_that_of_adaptive_pooling() -> None:
    values = torch.randn(2, 3, LINE_LENGTH)
    torch.testing.assert_close(averaged(values), functional.adaptive_avg_pool1d(values, 512))


def test_a_dead_gain_hands_on_zero() -> None:
    """A gain of zero must neither divide nor spoil gradients."""
    stage = Stage(4, 4, 3)
    gain, offset = torch.zeros(4, requires_grad=True), torch.ones(4)
    values, _, _ = stage(torch.rand(2, 32, 6), gain, offset)
    inner = values.view(2, 4, 8, 6)[..., 1:-1]
    torch.testing.assert_close(inner, inner[:1, :, :1, :1].expand_as(inner))
    values.sum().backward()
    assert gain.grad is not None
    assert gain.grad.isfinite().all()
