from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_metallography.classification.crops import Atlas
from napari_metallography.classification.few_shot_model import FewShotNetwork, SquareReader
from napari_metallography.errors import DeviceError
from napari_metallography.events import drain
from napari_metallography.models.card import FewShotInput
from napari_metallography.training import task_tuning
from napari_metallography.training.task_tuning import Tuning, tuned

CPU = torch.device("cpu")


class _Recorder(nn.Module):
    """Features of squares by one matrix; remembers what is made to prototypes of what."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(16, 3, bias=False)
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images.flatten(1))

    def logits(self, support: Tensor, classes: Tensor, queries: Tensor, ways: int) -> Tensor:
        self.asked.append((support, classes, queries))
        centres = torch.stack([support[classes == one].mean(0) for one in range(ways)])
        return -torch.cdist(queries, centres).square()


def _reader(count: int = 3) -> SquareReader:
    random = np.random.default_rng(0)
    planes = [random.integers(0, 255, (4, 4), np.uint8) for _ in range(count)]
    return SquareReader(
        Atlas(planes, CPU), torch.full((count,), 4.0), FewShotInput(side=32), 120.0, 70.0
    )


def test_varied_examples_are_named_by_prototypes_of_the_plain_ones() -> None:
    network, random = _Recorder(), torch.Generator().manual_seed(1)
    clean = torch.randn(3, 1, 4, 4, generator=random)
    varied = torch.randn(3, 1, 4, 4, generator=random)
    targets = torch.tensor([0, 0, 1])
    found = task_tuning._loss(network, clean, varied, targets)
    known, seen = network(clean), network(varied)
    centres = torch.stack([known[:2].mean(0), known[2]])
    logits = -torch.cdist(seen, centres).square()
    expected = functional.cross_entropy(logits, targets)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    (asked,) = network.asked
    assert torch.allclose(asked[0], known)
    assert torch.allclose(asked[2], seen)


def test_every_step_tunes_a_copy() -> None:
    torch.manual_seed(0)
    network = FewShotNetwork("resnet18", "cosine").eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    support, classes = torch.arange(3), torch.tensor([0, 0, 1])
    found = [
        drain(tuned(network, _reader(), support, classes, Tuning(steps, 0.01))).state_dict()
        for steps in (0, 1, 2)
    ]
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())
    moved = [
        float((one["backbone.core.conv1.weight"] - before["backbone.core.conv1.weight"]).norm())
        for one in found
    ]
    assert moved[0] == 0
    assert 0 < moved[1] < moved[2]


def test_of_many_examples_each_step_takes_some_of_each_class(monkeypatch) -> None:
    sizes: list[int] = []

    def loss(network: nn.Module, clean: Tensor, varied: Tensor, targets: Tensor) -> Tensor:
        assert len(clean) == len(varied) == len(targets)
        sizes.append(len(targets))
        assert set(targets.tolist()) == {0, 1}
        return (network(clean) * 0).sum()

    monkeypatch.setattr(task_tuning, "_loss", loss)
    network = FewShotNetwork("resnet18", "cosine").eval()
    classes = torch.tensor([0] * 70 + [1])
    drain(tuned(network, _reader(71), torch.arange(71), classes, Tuning(2, 0.01)))
    assert sizes == [task_tuning._AT_MOST + 1] * 2


def test_a_device_that_fails_is_told(monkeypatch) -> None:
    def fail(self: SquareReader, images: Tensor) -> Tensor:
        raise torch.cuda.OutOfMemoryError("no memory")

    monkeypatch.setattr(SquareReader, "clean", fail)
    network = FewShotNetwork("resnet18", "cosine").eval()
    with pytest.raises(DeviceError):
        drain(tuned(network, _reader(), torch.arange(3), torch.zeros(3).long(), Tuning(1, 0.1)))
