from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from napari_metallography.classification.crops import Atlas
from napari_metallography.classification.few_shot_model import FewShotNetwork, SquareReader
from napari_metallography.classification.micrographs import ClassifiedMicrographs
from napari_metallography.evaluation.few_shot import interval
from napari_metallography.events import Progress, drain
from napari_metallography.models.card import FewShotInput
from napari_metallography.training.episodes import Episodes
from napari_metallography.training.tasks import Tasks, task_accuracies

CPU = torch.device("cpu")


@given(arrays(float, st.integers(2, 30), elements=st.floats(0.3, 0.7)))
def test_intervals_are_those_of_student(values) -> None:
    found = interval(values, 0, 1)
    assert found["mean"] == pytest.approx(values.mean())
    assert found["n_tasks"] == len(values)
    if values.std() > 1e-6:
        expected = stats.t.interval(
            0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values)
        )
        low, high = np.clip(expected, 0, 1)
        assert found["ci95"] == pytest.approx([low, high])


def test_one_task_has_no_interval() -> None:
    assert interval(np.array([0.4]), 0, 1) == {"mean": 0.4, "s": None, "ci95": None, "n_tasks": 1}


class _Brightness(FewShotNetwork):
    """Sees brightness alone, as an angle."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        angle = images.mean((1, 2, 3)) * torch.pi / 510
        return torch.stack([angle.cos(), angle.sin()], 1)


def _flat(greys) -> ClassifiedMicrographs:
    """Four images each of classes of one brightness."""
    classes = np.repeat(np.arange(len(greys)), 4)
    planes = tuple(np.full((32, 32), greys[number], np.uint8) for number in classes)
    files = tuple(f"{number}.tif" for number in range(len(classes)))
    names = tuple(f"grey {grey}" for grey in greys)
    return ClassifiedMicrographs(planes, classes, names, files, (None,) * len(files), files)


def _accuracies(greys, count: int = 6) -> np.ndarray:
    images = _flat(greys)
    atlas = Atlas(images.planes, CPU)
    sides = torch.full((len(images),), 32.0)
    reader = SquareReader(atlas, sides, FewShotInput(side=32), 0.0, 1.0)
    network = _Brightness("resnet18", "cosine")
    tasks = Tasks(3, 1, count)
    events = []
    running = task_accuracies(network, reader, Episodes(images, 3, 1), tasks, (0.0,), 0)
    found = drain(running, events.append)
    assert events[-1] == Progress(count, count, "tasks")
    return found


def test_what_the_features_tell_apart_is_named_rightly() -> None:
    assert (_accuracies([10, 90, 170, 250]) == 1).all()


def test_what_the_features_do_not_tell_apart_is_guessed() -> None:
    # Of three alike the first is named always, which is right for a third.
    assert _accuracies([120, 120, 120]).tolist() == [[pytest.approx(1 / 3)]] * 6
