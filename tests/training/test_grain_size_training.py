from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.errors import InputError
from napari_metallography.events import Notice, TrainingStep, drain
from napari_metallography.grains.grades import GRADES
from napari_metallography.training import grain_size
from napari_metallography.training.grain_lines import Lines
from napari_metallography.training.grain_size import (
    GrainSizeJob,
    TrainedLines,
    class_shares,
    cross_entropy,
    focal,
    train_lines,
)
from napari_metallography.training.recipe import GRAIN_SIZE_PAPER, GrainSizeRecipe

RECIPE = GrainSizeRecipe(iterations=3, batch_size=4, validate_every=2, learning_rate=1e-3)


def _stripes(images: int, seed: int = 0) -> Lines:
    """Two lines an image, crossed as often as the coarsest or the finest class."""
    random = np.random.default_rng(seed)
    values = np.full((images, 2, 1376), 180.0)
    for number in range(images):
        period = 168 if number % 2 == 0 else 18
        for line in values[number]:
            line[(np.arange(1376) + random.integers(period)) % period < 5] = 60
    noisy = np.clip(values + random.normal(0, 6, values.shape), 0, 255)
    return Lines(noisy.astype(np.uint8), np.tile([6.5, 13.0], images)[:images])


@pytest.fixture
def job(tmp_path: Path) -> GrainSizeJob:
    checkpoint = tmp_path / "net.checkpoint.safetensors"
    return GrainSizeJob(_stripes(6), _stripes(2, 1), RECIPE, torch.device("cpu"), checkpoint)


def _same(one: TrainedLines, other: TrainedLines) -> bool:
    first, second = (trained.network.state_dict() for trained in (one, other))
    return all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_a_stopped_training_ends_with_the_weights_of_an_uninterrupted_one(job) -> None:
    whole = drain(train_lines(replace(job, checkpoint=None)))
    stopped = train_lines(job)
    for event in stopped:
        if isinstance(event, TrainingStep) and event.iteration == 2:
            break
    stopped.close()
    assert job.checkpoint.exists()
    resumed = drain(train_lines(job, resume=True))
    assert _same(whole, resumed)
    assert resumed.history == whole.history
    assert [row["iteration"] for row in whole.history if "accuracy" in row] == [2, 3]


def test_it_goes_on_with_the_same_data_and_recipe_only(job) -> None:
    running = train_lines(job)
    next(event for event in running if isinstance(event, TrainingStep))
    running.close()
    other = replace(job, lines=_stripes(6, 9))
    with pytest.raises(InputError, match="belongs to other data or another recipe"):
        drain(train_lines(other, resume=True))


def test_it_learns_to_tell_the_coarsest_from_the_finest(job) -> None:
    recipe = RECIPE.model_copy(
        update={"iterations": 14, "batch_size": 8, "validate_every": 14, "augmentation": "none"}
    )
    job = replace(job, lines=_stripes(8), validation=_stripes(8, 3), recipe=recipe, checkpoint=None)
    trained = drain(train_lines(job))
    losses = [row["loss"] for row in trained.history]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]


def test_nothing_to_learn_from_is_refused(job) -> None:
    empty = Lines(np.zeros((0, 2, 1376), np.uint8), np.zeros(0))
    with pytest.raises(InputError, match="no image to learn from"):
        drain(train_lines(replace(job, lines=empty)))


def test_a_loss_that_is_not_finite_ends_with_weights_that_worked(job, monkeypatch) -> None:
    calls = iter(range(9))

    def spoilt(logits: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits, shares) * (1.0 if next(calls) < 1 else float("nan"))

    monkeypatch.setitem(grain_size.LOSSES, "cross-entropy", spoilt)
    said: list[str] = []
    trained = drain(
        train_lines(job), lambda e: said.append(e.message) if isinstance(e, Notice) else None
    )
    assert trained.iteration == 1
    assert "not finite" in said[0]
    assert all(t.isfinite().all() for t in trained.network.state_dict().values())


def test_normalisation_is_that_of_the_training_lines(job) -> None:
    found = replace(job, validation=None).normalisation
    assert found == job.normalisation
    assert found.mean[0] == pytest.approx(float(job.lines.values.mean()), abs=1)
    assert found.std[0] == pytest.approx(float(job.lines.values.std()), abs=1)


@given(st.lists(st.floats(6.0, 13.5), min_size=1, max_size=5))
def test_shared_classes_have_the_grain_size_as_their_mean(sizes) -> None:
    shares = class_shares(torch.tensor(sizes), shared=True)
    assert shares.sum(1).numpy() == pytest.approx(1, abs=1e-5)
    means = (shares * torch.tensor(GRADES)).sum(1).numpy()
    assert means == pytest.approx(np.clip(sizes, 6.5, 13), abs=1e-4)


@given(st.floats(6.3, 13.2))
def test_the_nearest_class_takes_all(size) -> None:
    shares = class_shares(torch.tensor([size]), shared=False)[0]
    nearest = min(abs(g - size) for g in GRADES)
    assert shares.max() == shares.sum() == 1
    assert abs(GRADES[int(shares.argmax())] - size) == pytest.approx(nearest, abs=1e-5)


def test_focal_loss_is_the_cross_entropy_weighted_by_what_is_missing() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0]])
    shares = torch.tensor([[1.0, 0.0, 0.0]])
    missing = 1 - float(logits.softmax(1)[0, 0])
    assert float(focal(logits, shares)) == pytest.approx(
        missing * float(cross_entropy(logits, shares))
    )


def test_the_papers_rate_falls_by_three_tenths_at_each_tenth() -> None:
    every = GRAIN_SIZE_PAPER.iterations // 10
    rates = [GRAIN_SIZE_PAPER.learning_rate_at(n * every) for n in range(10)]
    assert rates == pytest.approx([1e-3 * 0.7**n for n in range(10)])
    assert GRAIN_SIZE_PAPER.learning_rate_at(every - 1) == pytest.approx(1e-3)
