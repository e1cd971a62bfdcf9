from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classification.backbone import Backbone
from napari_metallography.classification.crops import Atlas
from napari_metallography.errors import InputError
from napari_metallography.events import TrainingStep, drain
from napari_metallography.training import dino
from napari_metallography.training.dino import (
    BackboneJob,
    SelfTaught,
    cross_views,
    spread,
    train_backbone,
)
from napari_metallography.training.dino_results import write_backbone_results
from napari_metallography.training.recipe import BackboneRecipe
from napari_metallography.training.results import Description
from napari_metallography.training.unlabelled import Micrographs

CPU = torch.device("cpu")
RECIPE = BackboneRecipe(
    iterations=3, batch_size=3, local_crops=1, outputs=8, views=16, validate_every=2, warm_up=0.0
)


def _images(count: int = 4) -> Micrographs:
    random = np.random.default_rng(0)
    planes = tuple(random.integers(0, 255, (40, 48), np.uint8) for _ in range(count))
    return Micrographs(planes, tuple(f"{n}.tif" for n in range(count)), (None,) * count)


@pytest.fixture
def job(tmp_path: Path) -> BackboneJob:
    checkpoint = tmp_path / "net.checkpoint.safetensors"
    return BackboneJob(_images(), "resnet18", RECIPE, CPU, side=32, checkpoint=checkpoint)


def test_a_stopped_training_ends_with_the_weights_of_an_uninterrupted_one(job) -> None:
    whole = drain(train_backbone(replace(job, checkpoint=None)))
    running = train_backbone(job)
    for event in running:
        if isinstance(event, TrainingStep) and event.iteration == 2:
            break
    running.close()
    resumed = drain(train_backbone(job, resume=True))
    second = resumed.backbone.state_dict()
    assert all(torch.equal(second[k], t) for k, t in whole.backbone.state_dict().items())
    assert resumed.history == whole.history
    assert torch.equal(resumed.whitening.matrix, whole.whitening.matrix)
    assert [row["iteration"] for row in whole.history if "spread" in row] == [2, 3]
    assert replace(job, side=64).settings() != job.settings()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_a_backbone(job) -> None:
    trained = drain(train_backbone(replace(job, device=torch.device("cuda"), checkpoint=None)))
    assert [row["iteration"] for row in trained.history] == [1, 2, 3]
    assert trained.history[-1]["spread"] > 0


def test_the_teacher_follows_and_learns_nothing_by_itself() -> None:
    torch.manual_seed(0)
    network = SelfTaught("resnet18", 8)
    large, small = torch.randn(4, 1, 32, 32), torch.randn(6, 1, 32, 32)
    network.loss(large, small, RECIPE).backward()
    assert all(one.grad is None for one in network.teacher.parameters())
    assert all(one.grad is not None for one in network.student.parameters())
    assert float(network.centre.abs().max()) > 0
    student, teacher = network.student.directions, network.teacher.directions
    assert torch.equal(student, teacher)
    with torch.no_grad():
        student += 1
    before = teacher.clone()
    network.follow(0.75)
    assert torch.allclose(teacher, before + 0.25, atol=1e-6)
    network.follow(1.0)
    assert torch.allclose(teacher, before + 0.25, atol=1e-6)


@given(st.integers(0, 200), st.integers(0, 3))
def test_each_part_is_compared_with_the_other_large_ones(seed, small) -> None:
    random = torch.Generator().manual_seed(seed)
    targets = torch.rand(2, 3, 5, generator=random).softmax(2)
    answers = torch.rand(2 + small, 3, 5, generator=random).log_softmax(2)
    expected = [
        -float((targets[one, image] * answers[other, image]).sum())
        for one in range(2)
        for other in range(2 + small)
        for image in range(3)
        if one != other
    ]
    assert float(cross_views(targets, answers)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_spread_is_nothing_when_all_features_agree_and_one_when_all_differ() -> None:
    random = torch.Generator().manual_seed(0)
    same = torch.randn(1, 64, generator=random).expand(500, -1)
    assert spread(same * torch.rand(500, 1, generator=random)) == pytest.approx(0, abs=1e-3)
    assert spread(torch.randn(2000, 64, generator=random)) == pytest.approx(1, abs=0.02)


@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 50))
def test_every_image_has_its_turn_before_one_comes_again(count, wanted, seed) -> None:
    turns = dino._turns(count, wanted, torch.Generator().manual_seed(seed))
    counts = np.bincount(turns.numpy(), minlength=count)
    assert len(turns) == wanted
    assert counts.max() - counts.min() <= 1


def test_the_momentum_rises_to_one() -> None:
    recipe = BackboneRecipe(iterations=100)
    found = [recipe.momentum_at(number) for number in range(101)]
    assert found[0] == pytest.approx(recipe.teacher_momentum)
    assert found == sorted(found)
    assert found[100] == 1


def test_a_start_that_cannot_be_is_told(job) -> None:
    with pytest.raises(InputError, match="from two images at least"):
        drain(train_backbone(replace(job, images=_images(1))))
    foreign = Backbone("resnet50").tensors()
    with pytest.raises(InputError, match=r"^w\.pt: not the weights of a ResNet"):
        drain(train_backbone(replace(job, weights=foreign, weights_name="w.pt")))


def test_student_and_teacher_start_from_given_weights(job) -> None:
    weights = Backbone("resnet18").tensors()
    network = dino.initial_state(replace(job, weights=weights)).network
    for part in (network.student, network.teacher):
        found = part.backbone.tensors()
        assert all(torch.allclose(found[name], tensor) for name, tensor in weights.items())


def _linear(weight: float) -> torch.nn.Module:
    """Outputs of parts: their mean times some numbers."""

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(weight * torch.tensor([1.0, -2.0, 0.5]))

        def forward(self, *parts: torch.Tensor) -> torch.Tensor:
            means = torch.cat([part.mean((1, 2, 3)) for part in parts])
            return means[:, None] * self.weights + torch.tensor([0.0, 0.3, -0.1])

    return Linear()


def test_the_loss_is_that_of_the_paper() -> None:
    """Written out: algorithm 1 of Caron et al., with one small part of each of two images."""
    network = SelfTaught("resnet18", 3)
    network.student, network.teacher = _linear(0.4), _linear(0.7)
    centre = torch.tensor([0.2, -0.1, 0.4])
    network.centre.copy_(centre)
    recipe = RECIPE.model_copy(
        update={"temperature": 0.5, "teacher_temperature": 0.2, "centre_momentum": 0.75}
    )
    random = torch.Generator().manual_seed(0)
    large = torch.randn(4, 1, 8, 8, generator=random) + torch.arange(4).view(4, 1, 1, 1)
    small = torch.randn(2, 1, 4, 4, generator=random)
    found = float(network.loss(large, small, recipe).detach())
    with torch.no_grad():
        taught = network.teacher(large)
        answered = [network.student(large[:2]), network.student(large[2:]), network.student(small)]
    targets = ((taught - centre) / 0.2).softmax(1).split(2)
    entropies = [
        -(targets[one] * (answered[other] / 0.5).log_softmax(1)).sum(1).mean()
        for one in range(2)
        for other in range(3)
        if one != other
    ]
    assert found == pytest.approx(float(torch.stack(entropies).mean()), rel=1e-5)
    assert torch.allclose(network.centre, 0.75 * centre + 0.25 * taught.mean(0), atol=1e-6)


def test_parts_have_the_shares_of_the_area_that_dino_takes(job, monkeypatch) -> None:
    cuts: list[tuple[int, torch.Tensor]] = []
    cut = Atlas.cut

    def recorded(self, crops, size, warp=None):
        areas = crops.sides.square() / self.shapes[crops.images].amin(1).square()
        cuts.append((size, areas))
        return cut(self, crops, size, warp)

    monkeypatch.setattr(Atlas, "cut", recorded)
    torch.manual_seed(0)
    wide = replace(job, recipe=RECIPE.model_copy(update={"batch_size": 32}), side=96)
    state = dino.initial_state(wide)
    dino._Task(wide).loss(state)
    (large_side, large), (small_side, small) = cuts
    assert (large_side, small_side) == (96, 32)
    assert (len(large), len(small)) == (64, 32)
    assert 0.14 <= large.min() < 0.25
    assert 0.85 < large.max() <= 1
    # Drawn evenly, as shares of the area.
    assert float(large.mean()) == pytest.approx(0.57, abs=0.1)
    assert 0.05 <= small.min() < 0.07
    assert 0.12 < small.max() <= 0.14


def test_the_kept_iteration_is_that_whose_weights_are_kept(job, monkeypatch, tmp_path) -> None:
    real = SelfTaught.loss
    calls = []

    def fails_in_the_third(self, large, small, recipe):
        calls.append(1)
        loss = real(self, large, small, recipe)
        return loss * float("nan") if len(calls) == 3 else loss

    monkeypatch.setattr(SelfTaught, "loss", fails_in_the_third)
    recipe = RECIPE.model_copy(update={"iterations": 5, "validate_every": 4})
    nan = replace(job, recipe=recipe, checkpoint=None)
    trained = drain(train_backbone(nan))
    # After the first and every 25th step the weights are kept.
    assert (len(trained.history), trained.iteration) == (2, 1)
    path = tmp_path / "out" / "b.safetensors"
    write_backbone_results(path, nan, trained, Description("some"))
    told = json.loads((path.parent / "training.json").read_text())
    assert told["kept_iteration"] == 1
