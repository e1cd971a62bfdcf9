"""Fine-tuning on a GPU: the loop of the viewer, from the core alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.devices import Precision
from napari_metallography.events import Notice, Preview, TrainingStep, drain
from napari_metallography.models.card import Network
from napari_metallography.regions import Field
from napari_metallography.segmentation.model import load_model
from napari_metallography.segmentation.prediction import QUICK
from napari_metallography.segmentation.segment import SegmentParameters, segment
from napari_metallography.training import step
from napari_metallography.training.fine_tuning import (
    Painted,
    Plan,
    Session,
    fine_tune,
    origin_of_model,
    origin_of_network,
    save_tuned,
    stopped_origin,
)
from napari_metallography.training.painted_search import search_painted
from napari_metallography.training.recipe import SegmentationRecipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SHAPE = (128, 128)
NAMES = ["matrix", "particles"]
NETWORK = Network(architecture="unet", encoder="resnet18")


def truth() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for row in range(8, 128, 24):
        for column in range(8, 128, 24):
            labels[row : row + 12, column : column + 12] = 1
    return labels


def painted() -> Painted:
    """Bright squares on a dark matrix, with strokes on every other square and beside it."""
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    image = np.clip(np.where(truth() == 1, 180, 60) + noise, 0, 255).astype(np.uint8)
    labels = np.full(SHAPE, UNLABELLED, np.uint8)
    for row in range(8, 128, 24):
        labels[row + 3 : row + 9, 10:18] = 1
        labels[row + 3 : row + 9, 23:30] = 0
    return Painted("steel", image, labels, Field(SHAPE), 0.1)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        painted=[painted()],
        classes=named_classes(NAMES),
        origin=partial(origin_of_network, NETWORK, "random"),
        recipe=SegmentationRecipe(
            iterations=40, crop=64, batch_size=4, validate_every=10, preview_every=10
        ),
        device=torch.device("cuda"),
        precision="32-true",
        checkpoints=tmp_path / "trainings",
    )


def stopped_after(steps: int, plan: Plan) -> Session:
    """A training that was cancelled."""
    session = Session()
    events = fine_tune(plan, session)
    assert len(list(islice((e for e in events if isinstance(e, TrainingStep)), steps))) == steps
    events.close()
    return session


def test_paint_train_cancel_continue_predict_and_save(plan: Plan, tmp_path: Path) -> None:
    stopped = stopped_after(12, plan)
    assert stopped.kept.exists()
    seen = []
    session = Session(watch=lambda: session.images[0].pixels)
    tuned = drain(fine_tune(plan, session, resume=True), seen.append)
    steps = [e.iteration for e in seen if isinstance(e, TrainingStep)]
    assert steps == list(range(13, 41))
    assert [e.iteration for e in seen if isinstance(e, Preview)] == [20, 30, 40]
    assert not stopped.kept.exists()
    found = tuned.after["steel"]
    assert tuned.trained.metrics["miou"] > 0.8
    assert found.uncertainty is not None

    path = tmp_path / "own" / "mine.safetensors"
    card = drain(save_tuned(path, tuned))
    assert card.training["device"] == "cuda"
    # What was trained on a GPU serves where there is none.
    on_cpu = drain(
        segment(
            painted().array,
            rgb=False,
            calibration=None,
            measured=Field(SHAPE),
            parameters=SegmentParameters(device="cpu", prediction=QUICK),
            name="steel",
            model=load_model(str(path)),
        )
    )
    assert (on_cpu.indices == found.indices).mean() > 0.98
    onward = replace(plan, origin=partial(origin_of_model, str(path)))
    second = drain(fine_tune(onward, Session()))
    assert second.job.start.parent is not None
    assert set(second.before) == {"steel"}


def test_changed_paint_goes_on_from_the_last_weights(plan: Plan) -> None:
    session = stopped_after(5, plan)
    onward = stopped_origin(session.job, plan.classes, NAMES)
    assert all(tensor.device.type == "cpu" for tensor in onward.start.state.values())
    again = replace(plan, origin=lambda names: onward)
    assert drain(fine_tune(again, Session())).trained.metrics["miou"] > 0.5


@pytest.mark.parametrize("precision", get_args(Precision))
def test_each_arithmetic_learns(plan: Plan, precision: Precision) -> None:
    if precision == "bf16-mixed" and not torch.cuda.is_bf16_supported():
        pytest.skip("no bfloat16 on this device")
    tuned = drain(fine_tune(replace(plan, precision=precision), Session()))
    losses = [row["loss"] for row in tuned.trained.history]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert tuned.trained.metrics["miou"] > 0.8
    # Whatever it was computed in, the weights are those of a 32-bit network.
    state = tuned.trained.network.state_dict().values()
    assert {tensor.dtype for tensor in state} == {torch.float32, torch.int64}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_resumed_training_is_close_to_an_uninterrupted_one(
    plan: Plan, precision: Precision
) -> None:
    # Not bitwise: some of CUDA's sums are in no fixed order.
    plan = replace(plan, precision=precision)
    whole = drain(fine_tune(plan, Session()))
    stopped_after(20, plan)
    resumed = drain(fine_tune(plan, Session(), resume=True))
    first, second = (
        np.array([row["loss"] for row in tuned.trained.history]) for tuned in (whole, resumed)
    )
    assert len(second) == 40
    # The first of the resumed steps has its weights and its crops from the checkpoint alone.
    assert second[20] == pytest.approx(first[20], rel=0.05)
    assert np.median(np.abs(second - first) / first) < 0.1
    agreement = whole.after["steel"].indices == resumed.after["steel"].indices
    assert agreement.mean() > 0.95


def test_a_search_runs_on_the_device(plan: Plan) -> None:
    short = plan.recipe.model_copy(update={"iterations": 4})
    tuned = drain(search_painted(replace(plan, recipe=short), Session()))
    assert len(tuned.search.trained) >= 4
    assert tuned.job.device.type == "cuda"


def test_a_batch_too_large_for_the_memory_is_halved(plan: Plan, monkeypatch) -> None:
    tried: list[int] = []
    real = step.Step.run

    def scarce(self, state):
        tried.append(self.batch_size)
        if self.batch_size > 2:
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        return real(self, state)

    monkeypatch.setattr(step.Step, "run", scarce)
    seen = []
    tuned = drain(fine_tune(plan, Session()), seen.append)
    assert tried[:2] == [4, 2]
    assert tuned.trained.batch_size == 2
    assert any("batches of 2" in e.message for e in seen if isinstance(e, Notice))
