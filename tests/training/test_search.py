"""The paper's search for a recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_metallography.events import Events, Notice, drain
from napari_metallography.models.card import Network
from napari_metallography.training.job import TrainingJob
from napari_metallography.training.recipe import SegmentationRecipe
from napari_metallography.training.results import Score
from napari_metallography.training.search import paper_search
from napari_metallography.training.start import Start

MIOUS = {"baseline": 0.5, "transfer": 0.6, "strong-augmentation": 0.7}


@pytest.fixture
def job() -> TrainingJob:
    start = Start(
        Network(architecture="unet", encoder="resnet18"),
        encoder_weights="ours",
        encoder_state={"a": torch.ones(1)},
    )
    return TrainingJob([], [], start, 2, SegmentationRecipe(), torch.device("cpu"))


def _judged(name: str, job: TrainingJob) -> Events[Score]:
    yield Notice("trained")
    return {"miou": MIOUS.get(name, 0.4), "iou": {}, "particles": {}}


def test_the_job_of_the_best_has_its_tricks(job: TrainingJob) -> None:
    found, best = drain(paper_search(job, _judged))
    assert [one.name for one in found.trained] == [*MIOUS, "enlarged-receptive-field", "stack"]
    assert found.best.name == "strong-augmentation"
    assert best.recipe.augmentation == "strong"
    assert best.start.encoder_state is None


def test_random_weights_are_no_trick(job: TrainingJob) -> None:
    seen = []
    random = replace(job, start=replace(job.start, encoder_state=None))
    found, _ = drain(paper_search(random, _judged), seen.append)
    assert "transfer" not in [one.name for one in found.trained]
    assert "'transfer' is left out" in seen[0].message
