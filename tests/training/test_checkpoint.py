"""When checkpoints are written, and what happens when they cannot be."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_metallography.errors import InputError
from napari_metallography.events import Event, Notice, TrainingStep, drain
from napari_metallography.labelled import LabelledImage
from napari_metallography.models.card import Network
from napari_metallography.training import checkpoint
from napari_metallography.training.checkpoint import stopped_at
from napari_metallography.training.job import TrainingJob
from napari_metallography.training.recipe import SegmentationRecipe
from napari_metallography.training.segmentation import TrainedNetwork, train
from napari_metallography.training.start import Start

RECIPE = SegmentationRecipe(iterations=8, batch_size=2, crop=32, zoom=1.0, validate_every=100)


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    labels = np.zeros((48, 48), np.uint8)
    labels[:, 24:] = 1
    image = LabelledImage("halves", np.stack([60 + 120 * labels] * 3, axis=-1), labels)
    return TrainingJob(
        images=[image],
        validation=[],
        start=Start(Network(architecture="unet", encoder="efficientnet-lite0")),
        classes=2,
        recipe=RECIPE,
        device=torch.device("cpu"),
        checkpoint=tmp_path / "new" / "model.checkpoint.safetensors",
    )


def written_at(job: TrainingJob) -> Iterator[tuple[int, int | None]]:
    """After each step: its number, and that of the step in the checkpoint."""
    for event in train(job):
        if isinstance(event, TrainingStep):
            there = job.checkpoint.exists()
            yield event.iteration, len(stopped_at(job.checkpoint)[1]) if there else None


def same(one: TrainedNetwork, other: TrainedNetwork) -> bool:
    first, second = (trained.network.state_dict() for trained in (one, other))
    return all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_an_early_kill_loses_a_few_steps_only(job: TrainingJob) -> None:
    whole = drain(train(replace(job, checkpoint=None)))
    kept = dict(written_at(job))
    assert kept == {1: None, 2: None, 3: None, 4: None, 5: 5, 6: 5, 7: 5, 8: 8}
    events = train(job)
    while not (isinstance(event := next(events), TrainingStep) and event.iteration == 7):
        pass
    # As after a kill: what the generator writes when it is closed is not there.
    left = job.checkpoint.read_bytes()
    events.close()
    job.checkpoint.write_bytes(left)
    resumed = drain(train(job, resume=True))
    assert same(resumed, whole)
    assert [row["iteration"] for row in resumed.history] == list(range(1, 9))


def test_slow_steps_are_kept_by_the_clock(job: TrainingJob, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN", 0.0)
    assert dict(written_at(job)) == {i: i for i in range(1, 9)}


def test_a_full_disk_does_not_end_a_training(job: TrainingJob, monkeypatch) -> None:
    whole = drain(train(replace(job, checkpoint=None)))
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(Path, "write_bytes", full_until(Path.write_bytes, calls=3))
    seen: list[Event] = []
    trained = drain(train(job), seen.append)
    assert same(trained, whole)
    notices = [event.message for event in seen if isinstance(event, Notice)]
    assert notices == ["no checkpoint could be written: disk full; training goes on"]
    # Tried again, at last with success.
    assert len(stopped_at(job.checkpoint)[1]) == 8


def full_until(write, calls: int):
    """`Path.write_bytes` on a disk that is full for some calls, and then has room again."""
    left = iter(range(calls))

    def failing(path: Path, content: bytes) -> int:
        if next(left, None) is None:
            return write(path, content)
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    return failing


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(
    job: TrainingJob, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    job = replace(job, checkpoint=tmp_path / "file" / "model.checkpoint.safetensors")
    seen: list[Event] = []
    with pytest.raises(InputError, match=r"file: cannot be written \(.*choose another folder$"):
        drain(train(job), seen.append)
    assert seen == []
