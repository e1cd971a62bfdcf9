from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_metallography.classification.images import OUTSIDER, ClassifiedImages
from napari_metallography.classification.inference import pooled_and_logits
from napari_metallography.classification.model import load_defect_model, normalised
from napari_metallography.errors import InputError
from napari_metallography.events import TrainingStep, drain
from napari_metallography.models.card import DefectInput, Network
from napari_metallography.training.defect_results import write_defect_results
from napari_metallography.training.defects import (
    DefectJob,
    TrainedDefects,
    shown_of,
    train_defects,
)
from napari_metallography.training.recipe import DefectRecipe
from napari_metallography.training.results import Description

RECIPE = DefectRecipe(iterations=3, batch_size=4, validate_every=2)


def _stripes(count: int, seed: int = 0, side: int = 32) -> ClassifiedImages:
    """Upright and lying stripes in noise, in turn."""
    random = np.random.default_rng(seed)
    pixels = random.normal(110, 8, (count, side, side, 3))
    for number, image in enumerate(pixels):
        stripes = (np.arange(side) + random.integers(8)) % 8 < 3
        image[stripes if number % 2 else slice(None), :] += 0 if number % 2 == 0 else 80
        image[:, stripes] += 80 if number % 2 == 0 else 0
    return ClassifiedImages(
        np.clip(pixels, 0, 255).astype(np.uint8),
        np.arange(count) % 2,
        ("upright", "lying"),
        tuple(f"{n}.png" for n in range(count)),
        (0.5,) * count,
        np.full((count, 2), 32),
    )


@pytest.fixture
def job(tmp_path: Path) -> DefectJob:
    shown = DefectInput(side=32, window_px=32)
    network = Network(architecture="pdmsnet", encoder="none")
    checkpoint = tmp_path / "net.checkpoint.safetensors"
    parts = _stripes(8), _stripes(6, 1)
    return DefectJob(*parts, network, shown, RECIPE, torch.device("cpu"), checkpoint)


def _same(one: TrainedDefects, other: TrainedDefects) -> bool:
    first, second = (trained.network.state_dict() for trained in (one, other))
    return all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_a_stopped_training_ends_with_the_weights_of_an_uninterrupted_one(job) -> None:
    whole = drain(train_defects(replace(job, checkpoint=None)))
    stopped = train_defects(job)
    for event in stopped:
        if isinstance(event, TrainingStep) and event.iteration == 2:
            break
    stopped.close()
    resumed = drain(train_defects(job, resume=True))
    assert _same(whole, resumed)
    assert resumed.history == whole.history
    assert [row["iteration"] for row in whole.history if "macro_f1" in row] == [2, 3]


def test_it_learns_and_its_model_comes_back(job, tmp_path) -> None:
    recipe = RECIPE.model_copy(
        update={"iterations": 30, "batch_size": 8, "validate_every": 30, "augmentation": "flips"}
    )
    shown = job.shown.model_copy(update={"side": 48})
    job = replace(
        job,
        images=_stripes(16, side=48),
        validation=_stripes(12, 1, side=48),
        recipe=recipe,
        shown=shown,
    )
    trained = drain(train_defects(job))
    assert trained.metrics["accuracy"] > 0.9
    path = tmp_path / "out" / "m.safetensors"
    card = write_defect_results(path, job, trained, Description("stripes"))
    loaded = load_defect_model(str(path))
    assert loaded.card == card
    assert loaded.names == ("upright", "lying")
    assert loaded.card.pixel_size_um == (0.5, 0.5)
    assert loaded.input.temperature == trained.temperature
    assert loaded.input.risks == trained.risks
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)
    assert {p.name for p in path.parent.iterdir()} == {
        "m.safetensors",
        "history.csv",
        "training.json",
    }


@pytest.mark.parametrize("change", [{"balance": "weights"}, {"balance": "none"}])
@pytest.mark.parametrize("augmentation", ["flips", "strong"])
def test_every_recipe_trains_with_outsiders(job, change, augmentation) -> None:
    images = job.images
    classes = images.classes.copy()
    classes[-1] = OUTSIDER
    recipe = RECIPE.model_copy(update={**change, "augmentation": augmentation, "iterations": 1})
    job = replace(job, images=replace(images, classes=classes), recipe=recipe, checkpoint=None)
    trained = drain(train_defects(job))
    assert np.isfinite(trained.history[0]["loss"])
    assert trained.most_strange is not None
    assert trained.most_strange > 0


def test_a_class_without_images_is_refused(job) -> None:
    images = job.images.where(job.images.classes == 0)
    with pytest.raises(InputError, match="no image of the class 'lying' to learn from"):
        drain(train_defects(replace(job, images=images)))


def test_without_validation_nothing_is_calibrated_and_new_images_are_familiar(job) -> None:
    trained = drain(train_defects(replace(job, validation=None, checkpoint=None)))
    assert (trained.temperature, trained.risks, trained.metrics) == (1.0, (), {})
    assert job.validation is not None
    network = trained.network
    ready = normalised(job.validation.pixels, job.normalisation, torch.device("cpu"))
    pooled, _ = pooled_and_logits(network.core, ready)
    assert trained.most_strange is not None
    assert (network.familiarity.strangeness(pooled) <= trained.most_strange).float().mean() > 0.7


def test_a_handful_of_images_does_not_tell_what_is_strange(job) -> None:
    first = [np.flatnonzero(job.images.classes == number)[:2] for number in (0, 1)]
    few = job.images.where(np.isin(np.arange(len(job.images)), first))
    told = []
    job = replace(job, images=few, validation=None, checkpoint=None)
    trained = drain(train_defects(job), told.append)
    assert trained.most_strange is None
    assert any("too few images" in str(event) for event in told)


@pytest.mark.parametrize(
    ("shapes", "square"),
    [([(32, 32)] * 4, True), ([(32, 32)] * 19 + [(32, 90)], True), ([(20, 60)] * 4, False)],
)
def test_only_squares_of_one_size_have_a_scale(shapes, square) -> None:
    images = replace(_stripes(len(shapes)), shapes=np.array(shapes))
    shown = shown_of(DefectInput(side=32), images)
    assert shown.square is square
    assert shown.window_px == pytest.approx(np.sqrt(np.prod(shapes[0])))


def test_outsiders_do_not_decide_on_the_scale() -> None:
    images = _stripes(8)
    outsiders = np.arange(8) > 5
    mixed = replace(
        images,
        classes=np.where(outsiders, OUTSIDER, images.classes),
        shapes=np.where(outsiders[:, None], (300, 900), (32, 32)),
    )
    shown = shown_of(DefectInput(side=32), mixed)
    assert (shown.square, shown.window_px) == (True, 32)


def test_images_without_a_common_scale_are_told(job) -> None:
    told = []
    recipe = RECIPE.model_copy(update={"iterations": 1})
    shown = job.shown.model_copy(update={"square": False})
    drain(train_defects(replace(job, shown=shown, recipe=recipe, checkpoint=None)), told.append)
    assert any("no squares of one size" in str(event) for event in told)
