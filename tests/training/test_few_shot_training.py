from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_metallography.classification.few_shot_model import FewShotNetwork
from napari_metallography.classification.micrographs import ClassifiedMicrographs
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, TrainingStep, drain
from napari_metallography.training.episodes import Episodes
from napari_metallography.training.few_shot import (
    FewShotJob,
    TrainedFewShot,
    doubts,
    train_few_shot,
)
from napari_metallography.training.recipe import FewShotRecipe
from napari_metallography.training.task_tuning import LEARNING_RATES, Tuning, tuned

CPU = torch.device("cpu")
RECIPE = FewShotRecipe(
    iterations=3, ways=2, queries=2, validate_every=2, validation_tasks=2, tuning_steps=1
)


def stripes(periods, seed: int = 0, size: float | None = None) -> ClassifiedMicrographs:
    """Three images each of classes of stripes, of so many pixels a period."""
    random = np.random.default_rng(seed)
    planes, classes, files = [], [], []
    for number, period in enumerate(periods):
        for one in range(3):
            phase = (np.arange(40) + random.integers(40)) / period
            plane = 120 + 60 * np.sin(2 * np.pi * phase) + random.normal(0, 6, (40, 40))
            planes.append(np.clip(plane, 0, 255).astype(np.uint8))
            classes.append(number)
            files.append(f"{period}/{seed}-{one}.tif")
    names = tuple(f"period {period}" for period in periods)
    sizes = (size,) * len(files)
    return ClassifiedMicrographs(
        tuple(planes), np.array(classes), names, tuple(files), sizes, tuple(files)
    )


@pytest.fixture
def job(tmp_path: Path) -> FewShotJob:
    checkpoint = tmp_path / "net.checkpoint.safetensors"
    training, validation = stripes((4, 8, 16)), stripes((6, 12), 1)
    return FewShotJob(training, validation, "resnet18", RECIPE, CPU, side=32, checkpoint=checkpoint)


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    second = other.state_dict()
    return all(torch.equal(second[name], tensor) for name, tensor in one.state_dict().items())


def _trained(job: FewShotJob) -> TrainedFewShot:
    return drain(train_few_shot(job))


def test_a_stopped_training_ends_with_the_weights_of_an_uninterrupted_one(job) -> None:
    whole = _trained(replace(job, checkpoint=None))
    running = train_few_shot(job)
    for event in running:
        if isinstance(event, TrainingStep) and event.iteration == 2:
            break
    running.close()
    assert job.checkpoint.exists()
    resumed = drain(train_few_shot(job, resume=True))
    assert _same(whole.network, resumed.network)
    assert resumed.history == whole.history
    assert resumed.shown == whole.shown
    assert [row["iteration"] for row in whole.history if "accuracy" in row] == [2, 3]
    assert replace(job, side=40).settings() != job.settings()


def test_the_rate_of_the_tuning_is_that_of_the_best_validation(job) -> None:
    trained = _trained(job)
    assert set(trained.by_rate) == set(LEARNING_RATES)
    best = max(trained.by_rate.values())
    assert trained.by_rate[trained.shown.tuning_rate] == best
    smaller = [rate for rate in LEARNING_RATES if rate < trained.shown.tuning_rate]
    assert all(trained.by_rate[rate] < best for rate in smaller)
    assert trained.shown.scale == trained.network.head.scale.item()
    assert trained.shown.pixel_um is None


def test_tuning_learns_the_examples_and_leaves_the_network(job) -> None:
    torch.manual_seed(0)
    network = FewShotNetwork("resnet18", "cosine").eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    reader = job.reader(job.images)
    task = Episodes(job.images, 3, 1).draw(torch.Generator().manual_seed(0))
    fitted = drain(tuned(network, reader, task.support, task.support_classes, Tuning(2, 1e-3)))
    running = tuned(network, reader, task.support, task.support_classes, Tuning(2, 1e-3))
    next(running)
    running.close()
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    changed = [name for name, t in fitted.state_dict().items() if not torch.equal(before[name], t)]
    own = {name for name, _ in network.backbone.named_parameters()}
    # The whole backbone, neither the scale nor the statistics of the normalisation.
    assert {name.removeprefix("backbone.") for name in changed} == own
    same = drain(tuned(network, reader, task.support, task.support_classes, Tuning(2, 0.0)))
    assert _same(same, network)


def test_images_of_known_pixel_sizes_are_compared_at_one(job) -> None:
    known = replace(job, images=stripes((4, 8), size=0.1), validation=stripes((6, 12), size=0.2))
    assert known.shown.pixel_um == pytest.approx(40 * 0.1 / 32)
    assert replace(known, scale_free=True).shown.pixel_um is None
    mixed = replace(known, validation=stripes((6, 12)))
    assert mixed.shown.pixel_um is None
    said = next(train_few_shot(mixed))
    assert isinstance(said, Notice)
    assert said.message.startswith("6 of 12 images have no pixel size: all are shown whole")


def test_an_image_that_shows_too_little_is_named(job) -> None:
    known = replace(job, images=stripes((4, 8), size=0.1), validation=stripes((6, 12), size=0.1))
    assert doubts(known) == []
    sizes = (0.1,) * 5 + (0.02,)
    narrow = replace(known, images=replace(known.images, pixel_sizes_um=sizes))
    (said,) = doubts(narrow)
    assert said.startswith("8/0-2.tif shows 0.8 µm, most images 4 µm or more")
    assert doubts(replace(narrow, scale_free=True)) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_and_tunes(job) -> None:
    trained = _trained(replace(job, device=torch.device("cuda"), checkpoint=None))
    assert [row["iteration"] for row in trained.history] == [1, 2, 3]
    assert all(0 <= accuracy <= 1 for accuracy in trained.by_rate.values())


def test_what_cannot_be_learnt_is_told_in_one_line(job) -> None:
    for changes, said in (
        ({"validation": stripes((8, 12))}, "'period 8' is in the training and in the validation"),
        ({"validation": stripes((12,))}, "^the validation: tasks of 2 classes need 2"),
        ({"recipe": RECIPE.model_copy(update={"shots": 3})}, "^the training: .* 4 images or more"),
        ({"weights": {"conv1.weight": torch.zeros(64, 3, 7, 7)}}, "^random: not the weights"),
    ):
        with pytest.raises(InputError, match=said):
            _trained(replace(job, **changes))
    assert not job.checkpoint.exists()


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    recipe = FewShotRecipe(iterations=100)
    rates = [recipe.learning_rate_at(number) for number in range(101)]
    assert 0 < rates[0] < rates[4] < rates[5] == recipe.learning_rate == max(rates)
    assert rates[100] == pytest.approx(0)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_training_lessens_the_loss(job) -> None:
    recipe = RECIPE.model_copy(
        update={"iterations": 12, "augmentation": "none", "learning_rate": 1e-3, "warm_up": 0.0}
    )
    learnt = _trained(replace(job, recipe=recipe, checkpoint=None))
    losses = [row["loss"] for row in learnt.history]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
