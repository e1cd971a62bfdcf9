from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_metallography.classes import UNLABELLED
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Preview, Progress, TrainingStep, drain
from napari_metallography.labelled import LabelledImage
from napari_metallography.models.card import Network
from napari_metallography.training import loop, segmentation, step
from napari_metallography.training.checkpoint import (
    fingerprint,
    restore_checkpoint,
    write_checkpoint,
)
from napari_metallography.training.job import TrainingJob
from napari_metallography.training.losses import Across
from napari_metallography.training.recipe import PAPER, SegmentationRecipe
from napari_metallography.training.segmentation import several_devices, train
from napari_metallography.training.start import Start

RECIPE = SegmentationRecipe(
    iterations=4, batch_size=2, crop=32, zoom=1.2, validate_every=2, learning_rate=5e-3
)


def _two_phases(seed: int, side: int = 64) -> LabelledImage:
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.uint8)
    for row, column in rng.integers(4, side - 12, (6, 2)):
        labels[row : row + 8, column : column + 8] = 1
    grey = np.where(labels == 1, 190, 70) + rng.normal(0, 12, labels.shape)
    pixels = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return LabelledImage(f"image {seed}", pixels, labels, pixel_size_um=0.1)


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return TrainingJob(
        images=[_two_phases(1), _two_phases(2)],
        validation=[_two_phases(3)],
        start=Start(Network(architecture="unet", encoder="efficientnet-lite0")),
        classes=2,
        recipe=RECIPE,
        device=torch.device("cpu"),
        checkpoint=tmp_path / "model.checkpoint.safetensors",
    )


def _weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_training_reports_each_step_and_validates_when_due(job: TrainingJob) -> None:
    steps: list[TrainingStep] = []
    trained = drain(
        train(job), lambda event: steps.append(event) if isinstance(event, TrainingStep) else None
    )
    assert [step.iteration for step in steps] == [1, 2, 3, 4]
    assert [bool(step.metrics) for step in steps] == [False, True, False, True]
    assert set(trained.metrics) == {"miou", "iou_0", "iou_1"}
    assert len(trained.history) == 4


def test_the_same_seed_gives_the_same_weights(job: TrainingJob) -> None:
    first = drain(train(replace(job, checkpoint=None)))
    torch.manual_seed(99)
    second = drain(train(replace(job, checkpoint=None)))
    other = drain(
        train(replace(job, checkpoint=None, recipe=RECIPE.model_copy(update={"seed": 1})))
    )
    assert torch.equal(_weights(first.network), _weights(second.network))
    assert not torch.equal(_weights(first.network), _weights(other.network))


@pytest.mark.parametrize("architecture", ["unet", "deeplabv3plus"])
def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    job: TrainingJob, architecture: str
) -> None:
    # DeepLabV3+ has dropout: its draws must go on too, whatever else draws in between.
    network = Network(architecture=architecture, encoder="efficientnet-lite0")
    job = replace(job, start=Start(network))
    whole = drain(train(replace(job, checkpoint=None)))
    events = train(job)
    while not (isinstance(event := next(events), TrainingStep) and event.iteration == 2):
        torch.rand(3)
    events.close()
    assert job.checkpoint is not None
    assert job.checkpoint.exists()
    torch.manual_seed(1234)
    resumed = drain(train(job, resume=True))
    assert torch.equal(_weights(whole.network), _weights(resumed.network))
    assert [row["iteration"] for row in resumed.history] == [1, 2, 3, 4]


def test_the_weights_of_the_best_validation_are_kept(job: TrainingJob, monkeypatch) -> None:
    mious = iter([0.9, 0.2])
    seen: list[torch.Tensor] = []

    def judged(network, job, iteration):
        seen.append(_weights(network).clone())
        yield from ()
        return {"miou": next(mious)}

    monkeypatch.setattr(segmentation, "validate", judged)
    best = drain(train(replace(job, checkpoint=None)))
    assert torch.equal(_weights(best.network), seen[0])
    mious = iter([0.9, 0.2])
    last = job.recipe.model_copy(update={"keep": "last"})
    final = drain(train(replace(job, checkpoint=None, recipe=last)))
    assert torch.equal(_weights(final.network), seen[-1])
    assert not torch.equal(seen[0], seen[1])


def test_a_checkpoint_of_another_recipe_is_refused(job: TrainingJob) -> None:
    events = train(job)
    next(event for event in events if isinstance(event, TrainingStep))
    events.close()
    other = replace(job, recipe=RECIPE.model_copy(update={"learning_rate": 1e-4}))
    with pytest.raises(InputError, match="another recipe"):
        drain(train(other, resume=True))


def test_a_damaged_checkpoint_is_refused(job: TrainingJob) -> None:
    assert job.checkpoint is not None
    job.checkpoint.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a checkpoint"):
        drain(train(job, resume=True))


def _never_finite(logits: torch.Tensor, labels: torch.Tensor, across: Across) -> torch.Tensor:
    return logits.sum() * float("nan")


def test_a_loss_that_is_not_finite_stops_training(job: TrainingJob, monkeypatch) -> None:
    monkeypatch.setitem(step.LOSSES, RECIPE.loss, _never_finite)
    with pytest.raises(InputError, match="not finite"):
        drain(train(job))


def test_labels_beyond_the_classes_are_refused(job: TrainingJob) -> None:
    with pytest.raises(InputError, match="label 1, but the"):
        drain(train(replace(job, classes=1)))


def test_labels_of_another_size_are_refused(job: TrainingJob) -> None:
    odd = replace(job.images[0], labels=np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match="differ in size"):
        drain(train(replace(job, images=[odd])))


def test_images_without_a_label_are_refused(job: TrainingJob) -> None:
    blank = replace(job.images[0], labels=np.full((64, 64), UNLABELLED, np.uint8))
    with pytest.raises(InputError, match="no pixel is labelled"):
        drain(train(replace(job, images=[blank])))


def test_it_learns_two_phases(job: TrainingJob) -> None:
    recipe = RECIPE.model_copy(update={"iterations": 30, "batch_size": 4, "validate_every": 30})
    trained = drain(train(replace(job, recipe=recipe, checkpoint=None)))
    assert trained.metrics["miou"] > 0.6


def test_the_papers_learning_rate_falls_to_zero() -> None:
    rates = [PAPER.learning_rate_at(i) for i in (0, 4000, 7999)]
    assert rates[0] == 1e-2
    assert rates[1] == pytest.approx(1e-2 * 0.5**0.9)
    assert 0 < rates[2] < 1e-5


def test_checkpoints_are_written_whole(job: TrainingJob, monkeypatch) -> None:
    state = segmentation.initial_state(job)
    assert job.checkpoint is not None
    job.checkpoint.write_bytes(b"the last good one")
    monkeypatch.setattr(Path, "replace", _disk_full)
    with pytest.raises(InputError):
        write_checkpoint(job.checkpoint, state, "settings")
    assert job.checkpoint.read_bytes() == b"the last good one"
    assert list(job.checkpoint.parent.iterdir()) == [job.checkpoint]


def _disk_full(self: Path, target: Path) -> Path:
    raise OSError(28, "No space left on device")


@pytest.fixture
def spoilt(monkeypatch):
    """Makes the loss, or its gradient alone, not finite after some steps."""

    def spoil(*, gradient: bool, after: int = 3, every: int = 2) -> None:
        plain = step.LOSSES[RECIPE.loss]
        calls = iter(range(100))

        def loss(logits: torch.Tensor, labels: torch.Tensor, across: Across) -> torch.Tensor:
            value = plain(logits, labels, across)
            if next(calls) < after:
                return value
            if not gradient:
                return value * float("inf")
            # The root of zero has a finite value and an infinite slope.
            return value + (logits - logits.detach()).square().sum().sqrt()

        monkeypatch.setitem(step.LOSSES, RECIPE.loss, loss)
        monkeypatch.setattr(loop, "CHECKPOINT_EVERY", every)

    return spoil


def _notices(seen: list[str]):
    return lambda event: seen.append(event.message) if isinstance(event, Notice) else None


@pytest.mark.parametrize("gradient", [False, True])
def test_a_training_that_diverges_ends_with_weights_that_worked(job, spoilt, gradient) -> None:
    spoilt(gradient=gradient)
    notices: list[str] = []
    job = replace(job, recipe=RECIPE.model_copy(update={"keep": "last"}))
    trained = drain(train(job), _notices(notices))
    assert "weights of iteration 2;" in notices[0]
    assert trained.iteration == 2
    assert set(trained.metrics) == {"miou", "iou_0", "iou_1"}
    assert len(trained.history) == 3
    assert _weights(trained.network).isfinite().all()


@pytest.mark.parametrize(("after", "kept"), [(1, 1), (3, 2)])
def test_weights_of_an_early_step_outlast_a_training_that_diverges(job, spoilt, after, kept):
    spoilt(gradient=False, after=after, every=25)
    notices: list[str] = []
    trained = drain(train(job), _notices(notices))
    assert f"weights of iteration {kept};" in notices[0]
    assert trained.iteration == kept


def test_the_notice_of_divergence_names_the_weights_that_are_kept(job, spoilt, monkeypatch):
    spoilt(gradient=False, after=3)
    mious = iter([0.9, 0.2])

    def judged(network, job, iteration):
        yield from ()
        return {"miou": next(mious)}

    monkeypatch.setattr(segmentation, "validate", judged)
    recipe = RECIPE.model_copy(update={"keep": "best", "validate_every": 1})
    monkeypatch.setattr(segmentation, "_is_due", lambda iteration, _: iteration in (1, 3))
    notices: list[str] = []
    trained = drain(train(replace(job, recipe=recipe)), _notices(notices))
    assert trained.iteration == 1
    assert "weights of iteration 1;" in notices[0]


def test_a_batch_size_that_memory_allowed_outlasts_a_stop(job, monkeypatch) -> None:
    recipe = RECIPE.model_copy(update={"batch_size": 4})
    job = replace(job, recipe=recipe)
    state = segmentation.initial_state(job)
    state.batch_size, state.scale = 2, {"scale": 1024.0}
    write_checkpoint(job.checkpoint, state, fingerprint(job.settings()))
    again = segmentation.initial_state(job)
    assert again.batch_size == 4
    restore_checkpoint(job.checkpoint, again, fingerprint(job.settings()))
    assert (again.batch_size, again.scale) == (2, {"scale": 1024.0})
    assert drain(train(job, resume=True)).batch_size == 2


def test_processes_that_find_different_checkpoints_are_refused(job, monkeypatch) -> None:
    fabric = several_devices(job)
    monkeypatch.setattr(fabric, "all_gather", lambda found: torch.stack([found, found + 25]))
    with pytest.raises(InputError, match="folder that all machines share"):
        drain(train(job, resume=True, fabric=fabric))


def test_batches_that_cannot_be_shared_evenly_are_refused(job) -> None:
    odd = replace(job, recipe=RECIPE.model_copy(update={"batch_size": 4}))
    with pytest.raises(InputError, match="3 processes cannot share batches of 4 evenly"):
        several_devices(odd, 3)


def test_a_training_that_diverges_again_after_a_stop_still_ends(job, spoilt, monkeypatch) -> None:
    job = replace(job, recipe=RECIPE.model_copy(update={"keep": "last"}))
    events = train(job)
    while not (isinstance(event := next(events), TrainingStep) and event.iteration == 3):
        pass
    events.close()
    monkeypatch.setitem(step.LOSSES, RECIPE.loss, _never_finite)
    trained = drain(train(job, resume=True))
    assert trained.iteration == 3
    assert _weights(trained.network).isfinite().all()


def test_a_stop_while_validating_loses_nothing(job: TrainingJob) -> None:
    whole = drain(train(replace(job, checkpoint=None)))
    for due in (2, 4):
        events = train(job, resume=due == 4)
        # The first event of a validation repeats the progress of its step.
        while not (isinstance(event := next(events), Progress) and event.done == due):
            pass
        events.close()
    resumed = drain(train(job, resume=True))
    assert resumed.history == whole.history
    assert resumed.metrics == whole.metrics
    assert torch.equal(_weights(whole.network), _weights(resumed.network))


def test_other_validation_images_are_another_training(job: TrainingJob) -> None:
    events = train(job)
    next(event for event in events if isinstance(event, TrainingStep))
    events.close()
    with pytest.raises(InputError, match="other data"):
        drain(train(replace(job, validation=[_two_phases(9)]), resume=True))


def test_batches_halve_when_memory_runs_out(job: TrainingJob, monkeypatch) -> None:
    sizes: list[int] = []
    batch = step.CropSampler.batch

    def hungry(self, size, random, part):
        sizes.append(size)
        if size > 2:
            torch.empty(10**15)
        return batch(self, size, random, part)

    monkeypatch.setattr(step.CropSampler, "batch", hungry)
    notices: list[str] = []
    recipe = RECIPE.model_copy(update={"batch_size": 8, "iterations": 2})
    trained = drain(
        train(replace(job, recipe=recipe, checkpoint=None)),
        lambda event: notices.append(event.message) if isinstance(event, Notice) else None,
    )
    assert sizes == [8, 4, 2, 2]
    assert notices[-1] == "memory ran out; going on with batches of 2"
    assert len(trained.history) == 2


def test_what_is_watched_is_predicted_while_training(job: TrainingJob) -> None:
    previews: list[Preview] = []
    recipe = RECIPE.model_copy(update={"preview_every": 2})
    watched = job.images[0].pixels[:40, :50]
    drain(
        train(replace(job, recipe=recipe, checkpoint=None, watch=lambda: watched)),
        lambda event: previews.append(event) if isinstance(event, Preview) else None,
    )
    assert [preview.iteration for preview in previews] == [2, 4]
    assert previews[0].indices.shape == (40, 50)
    assert set(np.unique(previews[0].indices)) <= {0, 1}
    assert previews[0].uncertainty is not None
    assert previews[0].uncertainty.max() > 0


def test_watching_changes_nothing(job: TrainingJob) -> None:
    plain = drain(train(replace(job, checkpoint=None)))
    watched = job.images[0].pixels
    looked_at = drain(train(replace(job, checkpoint=None, watch=lambda: watched)))
    assert torch.equal(_weights(plain.network), _weights(looked_at.network))


def test_held_out_labels_are_learnt_in_the_end_and_judge_until_then(job: TrainingJob) -> None:
    plain = job.recipe.model_copy(update={"keep": "last"})
    job = replace(job, recipe=plain, checkpoint=None)
    never, late, soon = (
        drain(train(replace(job, all_labels_from=start))) for start in (None, 2, 1)
    )
    assert [row["iteration"] for row in never.history if "miou" in row] == [2, 4]
    assert [row["iteration"] for row in late.history if "miou" in row] == [2]
    assert [row["iteration"] for row in soon.history if "miou" in row] == [1]
    assert late.metrics["miou"] == never.history[1]["miou"]
    losses = [[row["loss"] for row in trained.history] for trained in (never, late)]
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2] != losses[1][2]
    assert (late.iteration, never.iteration) == (4, 4)


def test_a_training_that_learns_all_labels_in_the_end_resumes_there(job: TrainingJob) -> None:
    job = replace(job, all_labels_from=2, recipe=job.recipe.model_copy(update={"keep": "last"}))
    whole = drain(train(replace(job, checkpoint=None)))
    events = train(job)
    while not (isinstance(event := next(events), TrainingStep) and event.iteration == 3):
        pass
    events.close()
    resumed = drain(train(job, resume=True))
    assert torch.equal(_weights(whole.network), _weights(resumed.network))
    assert resumed.metrics == whole.metrics


def test_frozen_batch_statistics_stay(job: TrainingJob) -> None:
    recipe = RECIPE.model_copy(update={"freeze_normalisation": True, "iterations": 2})
    trained = drain(train(replace(job, recipe=recipe, checkpoint=None)))
    before = segmentation.initial_state(job).network.state_dict()
    after = trained.network.state_dict()
    statistics = [name for name in after if name.endswith("running_mean")]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
