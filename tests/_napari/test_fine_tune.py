from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_metallography._napari import training_round, worker
from napari_metallography._napari.fine_tune import FineTuneWidget
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.model_choice import model_file
from napari_metallography._napari.segment import SegmentWidget
from napari_metallography._napari.training_round import same_task
from napari_metallography._napari.training_set import Pair
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.events import Events
from napari_metallography.io import files
from napari_metallography.models import registry
from napari_metallography.models.card import DataSource, ModelCard, Network
from napari_metallography.models.file import read_card, read_model
from napari_metallography.segmentation.model import load_model, save_model
from napari_metallography.segmentation.networks import SegmentationNetwork
from napari_metallography.training.fine_tuning import Tuned, fine_tune, labelled
from napari_metallography.training.recipe import RECIPES
from napari_metallography.training.split import split

NAMES = ["matrix", "particles"]
SIDE = 96


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights in a folder of its own."""
    torch.manual_seed(0)
    network = Network(architecture="unet", encoder="efficientnet-lite0")
    card = ModelCard(
        name="random",
        task="segmentation",
        network=network,
        classes=named_classes(NAMES),
        data=DataSource(name="none", digest="0" * 64),
    )
    path = tmp_path_factory.mktemp("models") / "random.safetensors"
    save_model(path, card, SegmentationNetwork(network, len(NAMES)))
    return path


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own models."""
    folder = tmp_path / "models"
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(folder))
    return folder


@pytest.fixture
def opened(qtbot, parent, own_folder) -> Iterator[Callable[[Any], FineTuneWidget]]:
    """Makes the form for a viewer that holds one calibrated image, "steel"."""
    notification_manager.records.clear()
    forms = []

    def open_in(viewer: Any) -> FineTuneWidget:
        image = viewer.add_image(steel(), name="steel")
        calibrate_layer(image, Calibration.square(0.1, "test"))
        form = FineTuneWidget(viewer)
        forms.append(form)
        form.start.model.choose(str(parent))
        form.recipe.fields["iterations"].value = 20
        form.recipe.fields["crop"].value = 32
        form.recipe.fields["batch_size"].value = 2
        form.recipe.fields["validate_every"].value = 10
        form.recipe.fields["preview_every"].value = 10
        return form

    yield open_in
    for form in forms:
        form.abandon()
    let_end()


@pytest.fixture
def form(opened, qtbot) -> FineTuneWidget:
    form = opened(ViewerModel())
    qtbot.addWidget(form.native)
    return form


def steel() -> np.ndarray:
    """Dark matrix with bright squares."""
    image = np.full((SIDE, SIDE), 60, np.uint8)
    for row in range(8, SIDE, 24):
        for column in range(8, SIDE, 24):
            image[row : row + 12, column : column + 12] = 180
    return image + (np.indices(image.shape).sum(0) % 5).astype(np.uint8)


def let_end() -> None:
    until = time.monotonic() + 20
    while worker._under_way and time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.005)


def stroke(layer: Labels, label: int, rows: slice, columns: slice) -> None:
    where = np.zeros(layer.data.shape, bool)
    where[rows, columns] = True
    layer.data_setitem(np.nonzero(where), label)


def paint(form: FineTuneWidget) -> Labels:
    """A new labels layer with four strokes of each class."""
    form.set.new_button.native.click()
    layer = form.set.pairs[-1].labels
    for row in (8, 32, 56, 80):
        stroke(layer, 2, slice(row + 4, row + 8), slice(10, 18))
        stroke(layer, 1, slice(row + 4, row + 8), slice(22, 30))
    return layer


def wait_for_end(form: FineTuneWidget, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: not form.controls.is_running, timeout=60_000)


def wait_for_steps(form: FineTuneWidget, qtbot: Any, steps: int = 2) -> None:
    qtbot.waitUntil(lambda: done_steps(form) >= steps, timeout=60_000)


def done_steps(form: FineTuneWidget) -> int:
    running = form._round is not None and form.held_out.value
    return int(form.controls.progress.value) if running else 0


def train(form: FineTuneWidget, qtbot: Any) -> None:
    form.controls.run_button.native.click()
    wait_for_end(form, qtbot)


def train_for_long(form: FineTuneWidget, qtbot: Any, steps: int = 2) -> None:
    """Start a training that does not end by itself in a test."""
    form.recipe.fields["iterations"].value = 5000
    form.controls.run_button.native.click()
    wait_for_steps(form, qtbot, steps)


def save_as(form: FineTuneWidget, path: Path, qtbot: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), ""))
    form.training.save_button.native.click()
    wait_for_end(form, qtbot)


def names(form: FineTuneWidget) -> list[str]:
    return [layer.name for layer in form.viewer.layers]


def refusal(form: FineTuneWidget) -> str:
    """The one line that the form shows."""
    text = str(form.controls.status.value)
    assert notification_manager.records[-1].message == text
    assert "\n" not in text
    return text


# --- the whole job ---------------------------------------------------------------------------


def test_paint_train_cancel_continue_correct_save_and_reload(
    opened, viewer, qtbot, parent, own_folder, monkeypatch
) -> None:
    form = opened(viewer)
    viewer.window.add_dock_widget(form, name="Fine-tune")
    layer = paint(form)
    form.controls.run_button.native.click()
    wait_for_steps(form, qtbot)
    form.controls.cancel_button.native.click()
    wait_for_end(form, qtbot)
    assert "cancelled" in form.controls.status.value
    stopped_at = len(form.docks.curve.losses)
    assert 2 <= stopped_at < 20

    form.training.continue_button.native.click()
    wait_for_end(form, qtbot)
    assert [i for i, _ in form.docks.curve.losses] == list(range(1, 21))
    # The last third of the twenty learns the held-out labels too, which judge no more.
    assert [i for i, _ in form.docks.curve.mious] == [10, 14]
    assert "held-out" in form.controls.status.value
    after = viewer.layers["steel after"]
    assert after.data.shape == (SIDE, SIDE)
    assert set(np.unique(after.data)) <= {1, 2}
    np.testing.assert_array_equal(after.scale, viewer.layers["steel"].scale)
    unsure = viewer.layers["steel where to paint next"]
    assert isinstance(unsure, Image)
    assert 0 <= unsure.data.min() < unsure.data.max() <= 1

    strokes = layer.data.copy()
    assert form.prediction.value is after
    form.to_paint.native.click()
    assert (layer.data > 0).all()
    np.testing.assert_array_equal(layer.data[strokes > 0], strokes[strokes > 0])
    stroke(layer, 2, slice(8, 20), slice(8, 20))

    form.recipe.fields["iterations"].value = 5
    form.training.continue_button.native.click()
    wait_for_end(form, qtbot)
    assert {"steel before", "steel after"} <= set(names(form))
    segment = SegmentWidget(viewer)
    save_as(form, own_folder / "mine.safetensors", qtbot, monkeypatch)
    model = own_folder / "mine" / "mine.safetensors"
    card = read_card(model)
    assert [phase.name for phase in card.classes] == NAMES
    assert card.parent == read_model(parent, "segmentation").digest
    assert [(one.iterations, one.recipe["iterations"]) for one in card.rounds] == [(20, 20), (5, 5)]
    assert card.rounds[1].painted_px > card.rounds[0].painted_px
    history = pd.read_csv(model.with_name("history.csv"))
    assert history["round"].tolist() == [1] * 20 + [2] * 5
    assert model.with_name("training.json").is_file()

    segment.image.value = viewer.layers["steel"]
    segment.by_model.model.choose("mine")
    assert segment.by_model.model.value == "mine"
    segment.controls.run_button.native.click()
    qtbot.waitUntil(lambda: not segment.controls.is_running, timeout=60_000)
    assert viewer.layers["steel phases"].metadata["provenance"]["model"] == "mine"


def test_a_stopped_training_goes_on_where_it_was(form, qtbot) -> None:
    paint(form)
    form.recipe.fields["iterations"].value = 5
    whole = trained_weights(form, qtbot)
    form.controls.run_button.native.click()
    wait_for_steps(form, qtbot)
    form.controls.cancel()
    wait_for_end(form, qtbot)
    assert form._stopped is not None
    form.training.continue_button.native.click()
    wait_for_end(form, qtbot)
    resumed = form._tuned.trained.network.state_dict()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def trained_weights(form: FineTuneWidget, qtbot: Any) -> dict[str, torch.Tensor]:
    train(form, qtbot)
    state = form._tuned.trained.network.state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.slow
def test_a_training_goes_on_after_napari_was_closed(opened, qtbot) -> None:
    form = opened(ViewerModel())
    assert not form.training.continue_button.enabled
    layer = paint(form)
    form.recipe.fields["iterations"].value = 5
    whole = trained_weights(form, qtbot)
    form.controls.run_button.native.click()
    wait_for_steps(form, qtbot)
    form.abandon()
    let_end()

    again = opened(ViewerModel())
    assert again.training.continue_button.enabled
    again.set.new_button.native.click()
    again.set.pairs[0].labels.data = layer.data
    again.recipe.fields["iterations"].value = 5
    steps: list[int] = []
    again.docks.add = lambda step: steps.append(step.iteration)
    again.training.continue_button.native.click()
    wait_for_end(again, qtbot)
    assert steps[0] > 1
    assert steps[-1] == 5
    resumed = again._tuned.trained.network.state_dict()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_other_paint_than_before_napari_was_closed_starts_anew(opened, qtbot) -> None:
    form = opened(ViewerModel())
    paint(form)
    train_for_long(form, qtbot)
    form.abandon()
    let_end()
    again = opened(ViewerModel())
    stroke(paint(again), 2, slice(0, 4), slice(0, 4))
    again.recipe.fields["iterations"].value = 1
    again.training.continue_button.native.click()
    wait_for_end(again, qtbot)
    messages = [record.message for record in notification_manager.records]
    assert any("training starts anew" in message for message in messages)
    assert again._tuned is not None


@pytest.mark.parametrize("ready", ["fine-tune", "adamw", "paper"])
def test_a_ready_recipe_fills_the_fields_that_then_count(form, ready) -> None:
    form.recipe.ready.value = "paper"
    form.recipe.ready.value = ready
    assert form.recipe.recipe() == RECIPES[ready]
    form.recipe.fields["iterations"].value = 7
    form.recipe.fields["optimiser"].value = "sgd"
    changed = {"iterations": 7, "optimiser": "sgd"}
    assert form.recipe.recipe() == RECIPES[ready].model_copy(update=changed)


def test_the_papers_recipe_trains_in_the_form(form, qtbot) -> None:
    paint(form)
    form.recipe.ready.value = "paper"
    for name, value in {"iterations": 3, "crop": 32, "batch_size": 2}.items():
        form.recipe.fields[name].value = value
    train(form, qtbot)
    recipe = form._tuned.job.recipe
    assert (recipe.loss, recipe.optimiser, recipe.schedule) == ("focal", "sgd", "poly")
    rates = [row["learning_rate"] for row in form._tuned.trained.history]
    np.testing.assert_allclose(rates, 1e-2 * (1 - np.arange(3) / 3) ** 0.9)


def test_changed_paint_starts_anew_from_the_last_weights(form, qtbot, parent) -> None:
    layer = paint(form)
    train_for_long(form, qtbot)
    form.controls.cancel()
    wait_for_end(form, qtbot)
    first = form._stopped.session.job
    stroke(layer, 2, slice(34, 38), slice(60, 66))
    form.training.continue_button.native.click()
    messages = [record.message for record in notification_manager.records]
    assert any("starts anew from the last weights" in message for message in messages)
    wait_for_steps(form, qtbot)
    job = form._round.session.job
    assert job.start.parent == read_model(parent, "segmentation").digest
    started = job.start.state
    assert any(not torch.equal(started[n], t) for n, t in first.start.state.items())
    form.controls.cancel()
    wait_for_end(form, qtbot)


def test_paint_added_during_a_pause_counts(form, qtbot) -> None:
    layer = paint(form)
    train_for_long(form, qtbot)
    form.training.pause_button.native.click()
    first = form._round
    stroke(layer, 1, slice(45, 48), slice(60, 66))
    form.training.continue_button.native.click()
    qtbot.waitUntil(lambda: form._round not in (None, first), timeout=20_000)
    wait_for_steps(form, qtbot)
    assert form._round.plan.painted[0].labels[46, 62] == 0
    form.controls.cancel()
    wait_for_end(form, qtbot)


def stop_at_once(form: FineTuneWidget, monkeypatch: Any) -> None:
    """Start a training and pause it before it has read the images."""
    may_begin = threading.Event()

    def late(*args: Any, **settings: Any) -> Events[Tuned]:
        may_begin.wait(20)
        return (yield from fine_tune(*args, **settings))

    monkeypatch.setattr(training_round, "fine_tune", late)
    form.controls.run_button.native.click()
    form.training.pause_button.native.click()
    may_begin.set()


def a_round_before(form: FineTuneWidget, how: str, qtbot: Any) -> None:
    """A round from the trained model; the next one is to start from a new network."""
    if how == "stopped":
        train_for_long(form, qtbot)
        form.controls.cancel()
        wait_for_end(form, qtbot)
    elif how == "finished":
        form.recipe.fields["iterations"].value = 1
        train(form, qtbot)
    form.start.kind.value = "new"
    form.start.weights.value = "random"
    form.recipe.fields["iterations"].value = 5000


@pytest.mark.parametrize("earlier", ["none", "stopped", "finished"])
@pytest.mark.parametrize("stop", ["pause", "cancel"])
def test_continue_keeps_the_start_of_a_round_that_had_not_begun(
    form, qtbot, monkeypatch, earlier, stop
) -> None:
    layer = paint(form)
    a_round_before(form, earlier, qtbot)
    stop_at_once(form, monkeypatch)
    first = form._round
    if stop == "pause":
        stroke(layer, 1, slice(45, 48), slice(60, 66))
    else:
        form.controls.cancel_button.native.click()
        wait_for_end(form, qtbot)
    form.training.continue_button.native.click()
    qtbot.waitUntil(lambda: form._round not in (None, first), timeout=20_000)
    wait_for_steps(form, qtbot, 1)
    assert form._round.session.job.start.parent is None
    assert form._round.session.job.start.encoder_weights == "random"
    form.controls.cancel()
    wait_for_end(form, qtbot)


def test_cancel_after_continue_does_not_start_anew(form, qtbot, monkeypatch) -> None:
    layer = paint(form)
    stop_at_once(form, monkeypatch)
    stroke(layer, 1, slice(45, 48), slice(60, 66))
    form.training.continue_button.native.click()
    form.controls.cancel_button.native.click()
    wait_for_end(form, qtbot)
    assert form.controls.status.value == "cancelled"
    assert form.training.continue_button.enabled


def test_a_round_that_fails_at_once_is_not_gone_on_with(form, qtbot) -> None:
    paint(form)
    form.recipe.fields["iterations"].value = 1
    train(form, qtbot)
    first = form._tuned
    form.training.search_button.native.click()
    wait_for_end(form, qtbot)
    assert "a search trains new networks" in refusal(form)
    form.training.continue_button.native.click()
    wait_for_end(form, qtbot)
    assert form._tuned is not first
    np.testing.assert_array_equal(form._tuned.before["steel"].indices, first.after["steel"].indices)


def test_a_changed_image_starts_anew(form, qtbot) -> None:
    paint(form)
    train_for_long(form, qtbot)
    form.training.pause_button.native.click()
    first = form._round
    form.viewer.layers["steel"].data = 255 - steel()
    form.training.continue_button.native.click()
    qtbot.waitUntil(lambda: form._round not in (None, first), timeout=20_000)
    messages = [record.message for record in notification_manager.records]
    assert any(message.startswith("images, labels or settings changed") for message in messages)
    np.testing.assert_array_equal(form._round.plan.painted[0].array, 255 - steel())
    form.controls.cancel()
    wait_for_end(form, qtbot)


def test_images_in_memory_are_told_apart_by_their_pixels(form) -> None:
    paint(form)
    image = form.viewer.layers["steel"]
    first = form._round_of(form.start.origin())
    image.data = image.data.copy()
    assert same_task(first, form._round_of(form.start.origin()))
    image.data[3, 4] += 1
    assert not same_task(first, form._round_of(form.start.origin()))


def test_images_on_disk_are_told_apart_without_reading_them(form, tmp_path) -> None:
    paint(form)
    np.save(tmp_path / "steel.npy", steel())
    image = form.viewer.layers["steel"]
    image.data = np.load(tmp_path / "steel.npy", mmap_mode="r")
    first = form._round_of(form.start.origin())
    assert same_task(first, form._round_of(form.start.origin()))
    image.data = np.load(tmp_path / "steel.npy", mmap_mode="r")
    assert not same_task(first, form._round_of(form.start.origin()))


def test_pause_stops_the_steps_and_continue_goes_on(form, qtbot) -> None:
    paint(form)
    train_for_long(form, qtbot)
    form.training.pause_button.native.click()
    assert not form.training.pause_button.enabled
    # The step under way ends first, on a busy machine after seconds.
    qtbot.wait(3000)
    at = form.controls.progress.value
    qtbot.wait(500)
    assert form.controls.progress.value == at
    form.training.continue_button.native.click()
    wait_for_steps(form, qtbot, at + 1)
    form.training.pause()
    form.controls.cancel()
    wait_for_end(form, qtbot)
    assert "cancelled" in form.controls.status.value


def test_previews_lie_on_what_is_in_view(form, qtbot) -> None:
    paint(form)
    form.recipe.fields["preview_every"].value = 2
    train_for_long(form, qtbot, 3)
    preview = form.viewer.layers["steel preview"]
    assert set(np.unique(preview.data)) <= {1, 2}
    assert preview.data.shape == (SIDE, SIDE)
    image = form.viewer.layers["steel"]
    np.testing.assert_allclose(preview.data_to_world((0, 0)), image.data_to_world((0, 0)))
    assert form.viewer.layers.selection.active is form.set.pairs[0].labels
    form.controls.cancel()
    wait_for_end(form, qtbot)
    assert "steel preview" not in names(form)


def test_before_and_after_are_shown_side_by_side(form, qtbot) -> None:
    paint(form)
    form.recipe.fields["iterations"].value = 2
    train(form, qtbot)
    before, after = (form.viewer.layers[f"steel {x}"] for x in ("before", "after"))
    assert (before.visible, after.visible) == (False, True)
    form.training.beside_button.native.click()
    assert (before.visible, after.visible) == (True, False)
    np.testing.assert_array_equal(form.viewer.layers["steel after (right)"].data, after.data)
    # The copies are neither micrographs nor predictions.
    assert [layer.name for layer in form.image.choices] == ["steel"]
    assert {layer.name for layer in form.prediction.choices if layer} == {before.name, after.name}
    form.training.beside_button.native.click()
    assert (before.visible, after.visible) == (False, True)
    assert not [name for name in names(form) if "(right)" in name]


def test_the_next_round_ends_side_by_side(form, qtbot) -> None:
    paint(form)
    form.recipe.fields["iterations"].value = 1
    train(form, qtbot)
    form.training.beside_button.native.click()
    train(form, qtbot)
    assert not [name for name in names(form) if "(right)" in name]
    assert form.viewer.layers["steel after"].visible


def test_side_by_side_needs_a_model_before(form, qtbot) -> None:
    form.start.kind.value = "new"
    form.start.weights.value = "random"
    form.recipe.fields["iterations"].value = 1
    paint(form)
    train(form, qtbot)
    form.training.beside_button.native.click()
    assert "nothing to put side by side" in refusal(form)


def test_any_model_can_be_tried_on_the_image(form, qtbot, parent) -> None:
    form.try_button.native.click()
    wait_for_end(form, qtbot)
    assert f"steel by {parent.stem}" in names(form)


def test_a_tried_model_lies_on_top_of_other_results(form, qtbot, parent) -> None:
    layer = paint(form)
    form.recipe.fields["iterations"].value = 1
    train(form, qtbot)
    form.try_button.native.click()
    wait_for_end(form, qtbot)
    assert names(form)[-1] == f"steel by {parent.stem}"
    assert form.viewer.layers.selection.active is layer


def test_a_new_network_learns_classes_of_its_own(form, qtbot) -> None:
    form.start.kind.value = "new"
    form.start.weights.value = "random"
    form.table.rows[1].name_edit.value = "pearlite"
    paint(form)
    form.recipe.fields["iterations"].value = 2
    train(form, qtbot)
    assert [phase.name for phase in form._tuned.after["steel"].classes] == ["matrix", "pearlite"]
    assert "steel before" not in names(form)
    assert form._tuned.job.start.parent is None


@pytest.mark.slow
def test_a_search_is_stopped_goes_on_and_its_best_is_saved(
    opened, viewer, qtbot, own_folder, monkeypatch
) -> None:
    form = opened(viewer)
    viewer.window.add_dock_widget(form, name="Fine-tune")
    form.start.kind.value = "new"
    form.start.weights.value = "random"
    form.recipe.fields["iterations"].value = 3
    paint(form)
    form.training.search_button.native.click()
    assert not form.training.search_button.enabled
    qtbot.waitUntil(
        lambda: "of 'strong-augmentation'" in form.controls.status.value, timeout=60_000
    )
    form.controls.cancel_button.native.click()
    wait_for_end(form, qtbot)
    assert form.docks.gains is None

    form.training.continue_button.native.click()
    wait_for_end(form, qtbot)
    found = form._tuned.search
    shown = form.docks.gains.table
    assert shown.shape[0] == len(found.trained) >= 3
    said = f"'{found.best.name}' is best: mean IoU {found.best.miou:.3f}"
    assert said in form.controls.status.value
    assert "efficientnet-lite0, weights: random" in form.controls.status.value
    # The curve is that of the last training alone.
    assert [i for i, _ in form.docks.curve.losses] == [1, 2, 3]
    assert set(np.unique(viewer.layers["steel after"].data)) <= {1, 2}
    save_as(form, own_folder / "best.safetensors", qtbot, monkeypatch)
    model = own_folder / "best" / "best.safetensors"
    assert read_card(model).training["encoder_weights"] == "random"
    assert len(pd.read_csv(model.with_name("best_search.csv"))) == len(found.trained)

    train(form, qtbot)
    assert form.docks.gains is None


def test_a_search_says_what_it_needs(form, qtbot) -> None:
    paint(form)
    form.training.search_button.native.click()
    wait_for_end(form, qtbot)
    assert "choose 'a new network'" in refusal(form)


def test_encoder_weights_come_from_a_file(form, qtbot, tmp_path, own_folder, monkeypatch) -> None:
    network = SegmentationNetwork(Network(architecture="unet", encoder="efficientnet-lite0"), 2)
    ours = tmp_path / "micronet.safetensors"
    safetensors.torch.save_file(network.encoder.state_dict(), ours)
    form.start.kind.value = "new"
    form.start.weights.value = "file"
    form.recipe.fields["iterations"].value = 1
    paint(form)
    form.controls.run_button.native.click()
    assert "choose the file of the encoder's weights" in refusal(form)
    form.start.weights_file.value = ours
    train(form, qtbot)
    assert "efficientnet-lite0, weights: micronet.safetensors" in form.controls.status.value
    started = form._tuned.job.start.encoder_state
    assert all(torch.equal(started[n], t) for n, t in network.encoder.state_dict().items())
    save_as(form, own_folder / "mine.safetensors", qtbot, monkeypatch)
    card = read_card(own_folder / "mine" / "mine.safetensors")
    assert card.training["encoder_weights"] == "micronet.safetensors"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (safetensors.torch.save({"conv.weight": torch.zeros(3)}), "do not belong to this encoder"),
        (b"no tensors", "not a file of tensors"),
    ],
)
def test_encoder_weights_that_do_not_fit_are_refused(form, qtbot, tmp_path, content, said) -> None:
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    form.start.kind.value = "new"
    form.start.weights.value = "file"
    form.start.weights_file.value = path
    paint(form)
    train(form, qtbot)
    assert said in refusal(form)
    assert form._tuned is None


def test_painted_planes_of_a_colour_stack_are_trained_on(form, qtbot) -> None:
    planes = np.repeat(np.stack([steel(), steel()[::-1]])[..., None], 3, axis=3)
    form.image.value = form.viewer.add_image(planes, name="stack", rgb=True)
    form.set.new_button.native.click()
    layer = form.set.pairs[0].labels
    for label, columns in ((1, slice(22, 30)), (2, slice(10, 18))):
        where = np.zeros(layer.data.shape, bool)
        where[1, 12:16, columns] = True
        layer.data_setitem(np.nonzero(where), label)
    form.recipe.fields["iterations"].value = 1
    train(form, qtbot)
    after = form.viewer.layers["stack after"].data
    assert after.shape == (2, SIDE, SIDE)
    assert not after[0].any()
    assert after[1].all()
    assert form._tuned.job.images[0].name == "stack, plane 1"


def test_planes_of_one_stack_are_one_group_of_the_split(form) -> None:
    stack = np.stack([steel(), steel()[::-1]])
    other = form.viewer.add_image(stack, name="stack")
    for image in (other, form.viewer.layers["steel"]):
        form.image.value = image
        form.set.new_button.native.click()
    layer, single = (pair.labels for pair in form.set.pairs)
    for plane in (0, 1):
        for row in (8, 32, 56, 80):
            layer.data[plane, row : row + 8, 10:18], layer.data[plane, row : row + 8, 22:30] = 2, 1
    for row in (8, 32, 56, 80):
        single.data[row : row + 8, 10:18], single.data[row : row + 8, 22:30] = 2, 1
    found = form._round_of(form.start.origin()).plan.painted
    assert [(one.name, one.group) for one in found] == [
        ("stack, plane 0", "stack"),
        ("stack, plane 1", "stack"),
        ("steel", "steel"),
    ]
    parts = split([labelled(one) for one in found])
    held_out = {image.name for image in parts.validation}
    # The planes are on one side, whichever that is.
    assert held_out in ({"steel"}, {"stack, plane 0", "stack, plane 1"})
    assert held_out.isdisjoint(image.name for image in parts.training)


def test_the_window_stays_responsive(opened, viewer, qtbot) -> None:
    form = opened(viewer)
    viewer.window.add_dock_widget(form, name="Fine-tune")
    paint(form)
    # Steps long enough to be told from the frames.
    form.recipe.fields["crop"].value, form.recipe.fields["batch_size"].value = 64, 4
    train_for_long(form, qtbot)
    # A window that freezes does so each time; one on a machine busy with other things does not.
    draws = any(frame_share_of_step(form, qtbot) < 0.25 for _ in range(3))
    form.controls.cancel()
    wait_for_end(form, qtbot)
    assert draws


def test_the_window_stays_responsive_when_the_result_arrives(opened, viewer, qtbot) -> None:
    form = opened(viewer)
    viewer.window.add_dock_widget(form, name="Fine-tune")
    paint(form)
    form.recipe.fields["iterations"].value = 3
    added: list[float] = []
    ticks: list[float] = []
    viewer.layers.events.inserted.connect(lambda _: added.append(time.perf_counter()))
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(20)
    train(form, qtbot)
    timer.stop()
    assert {"steel before", "steel after", "steel where to paint next"} <= set(names(form))
    # Frames are drawn between the layers of the result.
    assert all(any(one < tick < other for tick in ticks) for one, other in pairwise(added[-3:]))


def frame_share_of_step(form: FineTuneWidget, qtbot: Any) -> float:
    """Which share of a training's step passes between most ticks of a 20 ms timer."""
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(20)
    first, began = done_steps(form), time.perf_counter()
    wait_for_steps(form, qtbot, first + 3)
    step = (time.perf_counter() - began) / (done_steps(form) - first)
    timer.stop()
    return float(np.median(np.diff(ticks)) / step)


# --- ends ------------------------------------------------------------------------------------


def test_removing_a_layer_in_use_ends_training(form, qtbot) -> None:
    layer = paint(form)
    train_for_long(form, qtbot)
    form.viewer.layers.remove(layer)
    wait_for_end(form, qtbot)
    assert form.set.pairs == ()
    assert "steel labels was removed" in refusal(form)
    assert form._stopped is not None
    form.try_button.native.click()
    wait_for_end(form, qtbot)
    assert "was removed" not in form.controls.status.value


def test_removing_the_dock_ends_training(opened, viewer, qtbot) -> None:
    form = opened(viewer)
    dock = viewer.window.add_dock_widget(form, name="Fine-tune")
    paint(form)
    train_for_long(form, qtbot)
    viewer.window.remove_dock_widget(dock)
    let_end()
    assert not worker._under_way
    assert form.docks.curve is None
    assert "steel preview" not in names(form)


def test_closing_the_viewer_ends_training(opened, viewer, qtbot) -> None:
    form = opened(viewer)
    viewer.window.add_dock_widget(form, name="Fine-tune")
    paint(form)
    train_for_long(form, qtbot)
    viewer.close()
    let_end()
    assert not worker._under_way


# --- bad input -------------------------------------------------------------------------------


def test_an_empty_training_set_is_refused(form) -> None:
    form.controls.run_button.native.click()
    assert "New labels layer" in refusal(form)


def test_no_paint_is_refused(form, qtbot) -> None:
    form.set.new_button.native.click()
    train(form, qtbot)
    assert "nothing is painted" in refusal(form)


def test_one_class_alone_is_refused(form, qtbot) -> None:
    form.set.new_button.native.click()
    stroke(form.set.pairs[0].labels, 2, slice(0, 9), slice(0, 9))
    train(form, qtbot)
    assert "only 'particles' is painted" in refusal(form)


@pytest.mark.parametrize("typed", ["", " ", "matrix"])
def test_clashing_names_are_refused(form, typed: str) -> None:
    paint(form)
    form.table.rows[1].name_edit.value = typed
    form.controls.run_button.native.click()
    assert "class" in refusal(form)
    assert not form.controls.is_running


def test_labels_of_another_size_or_scale_are_refused(form) -> None:
    image = form.viewer.layers["steel"]
    smaller = form.viewer.add_labels(np.zeros((9, 9), np.uint8), name="small")
    form.viewer.layers.selection = {image, smaller}
    form.set.add_button.native.click()
    assert refusal(form).startswith("small: its size (9, 9)")
    other = form.viewer.add_labels(np.zeros((SIDE, SIDE), np.uint8), name="other", scale=(2, 2))
    form.viewer.layers.selection = {image, other}
    form.set.add_button.native.click()
    assert refusal(form).startswith("other: does not lie on steel")
    assert form.set.pairs == ()


def test_uncalibrated_labels_are_laid_on_their_image(form) -> None:
    image = form.viewer.layers["steel"]
    labels = form.viewer.add_labels(np.zeros((SIDE, SIDE), np.uint8), name="from a file")
    assert form.viewer.layers.extent.units is None
    form.viewer.layers.selection = {image, labels}
    form.set.add_button.native.click()
    assert form.set.pairs == (Pair(image, labels),)
    assert labels.units == image.units
    # With units that agree napari has nothing to warn of.
    assert form.viewer.layers.extent.units == image.units
    corner = (SIDE - 1, SIDE - 1)
    np.testing.assert_allclose(labels.data_to_world(corner), image.data_to_world(corner))
    assert labels.metadata["calibration"] == image.metadata["calibration"]


def test_a_label_without_a_class_is_refused(form) -> None:
    layer = paint(form)
    layer.data[0, 0] = 3
    form.controls.run_button.native.click()
    assert "only the classes 1 to 2" in refusal(form)


def test_very_different_pixel_sizes_are_told_and_resampling_is_offered(form, qtbot) -> None:
    paint(form)
    assert not form.resample.visible
    coarse = form.viewer.add_image(steel(), name="coarse")
    calibrate_layer(coarse, Calibration.square(0.2, "test"))
    form.image.value = coarse
    paint(form)
    form.native.show()
    assert form.resample.visible
    form.recipe.fields["iterations"].value = 1
    train(form, qtbot)
    messages = [record.message for record in notification_manager.records]
    assert any("pixel sizes differ" in message for message in messages)
    form.resample.value = True
    notification_manager.records.clear()
    train(form, qtbot)
    assert not any("pixel sizes" in r.message for r in notification_manager.records)
    sizes = [image.pixel_size_um for image in form._tuned.job.images]
    assert sizes == pytest.approx([0.15] * len(sizes))
    assert form.viewer.layers["coarse after"].data.shape == (SIDE, SIDE)


@pytest.mark.parametrize("full", ["history.csv", "training.json", "mine.safetensors"])
def test_a_full_disk_loses_nothing(form, qtbot, own_folder, tmp_path, monkeypatch, full) -> None:
    paint(form)
    form.recipe.fields["iterations"].value = 2
    train(form, qtbot)
    with monkeypatch.context() as small:
        small.setattr(files.Path, "replace", full_disk(full))
        save_as(form, own_folder / "mine.safetensors", qtbot, small)
    assert f"{full}: cannot be written (No space left on device)" in refusal(form)
    assert not list((own_folder / "mine").iterdir())
    # The network is still there, for another place and for the same one.
    save_as(form, tmp_path / "elsewhere" / "mine.safetensors", qtbot, monkeypatch)
    save_as(form, own_folder / "mine.safetensors", qtbot, monkeypatch)
    assert "mine" in registry.model_paths()
    assert same_weights(tmp_path / "elsewhere" / "mine.safetensors", form)
    assert same_weights(own_folder / "mine" / "mine.safetensors", form)


def full_disk(name: str) -> Callable[[Path, Path], Path]:
    """`Path.replace` that finds no space for the file of that name."""
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if target.name == name:
            raise OSError(28, "No space left on device")
        return replace(path, target)

    return failing


def same_weights(path: Path, form: FineTuneWidget) -> bool:
    tuned, saved = (
        network.state_dict()
        for network in (form._tuned.trained.network, load_model(str(path)).network)
    )
    return all(torch.equal(saved[name], tensor) for name, tensor in tuned.items())


# --- small things ----------------------------------------------------------------------------


def test_the_form_says_what_is_learnt_anew(form) -> None:
    form.table.rows[1].name_edit.value = "pearlite"
    assert "Learnt anew:</b> pearlite" in form.start.classes_kept.value
    assert "Known to the model:</b> matrix" in form.start.classes_kept.value


def test_classes_follow_the_model_until_they_are_edited(form, parent) -> None:
    assert form.table.names == NAMES
    form.start.kind.value = "new"
    assert form.table.names == ["matrix", "phase"]
    form.table.add_button.native.click()
    form.start.kind.value = "model"
    assert form.table.names == ["matrix", "phase", "class 3"]


def test_edited_classes_show_on_the_layer(form) -> None:
    layer = paint(form)
    form.table.rows[1].name_edit.value = "pearlite"
    assert list(layer.features["class"]) == ["unlabelled", "matrix", "pearlite"]
    form.table.rows[1].paint("#ff0000")
    form.table._edited()
    np.testing.assert_allclose(layer.colormap.map(2), [1, 0, 0, 1], atol=0.01)


def test_a_labels_layer_of_other_classes_is_refused(form) -> None:
    paint(form)
    other = form.viewer.add_image(steel(), name="other")
    labels = form.viewer.add_labels(np.zeros((SIDE, SIDE), np.uint8), name="theirs")
    labels.metadata = {"classes": [c.model_dump() for c in named_classes(["ferrite", "pearlite"])]}
    form.viewer.layers.selection = {other, labels}
    form.set.add_button.native.click()
    assert "the classes differ" in refusal(form)


def test_paint_on_the_data_bar_does_not_count(form) -> None:
    layer = paint(form)
    bar = np.array([[79.5, -0.5], [79.5, 95.5], [95.5, 95.5], [95.5, -0.5]])
    form.viewer.add_shapes(
        [bar], shape_type="rectangle", name="steel data bar", scale=(0.1, 0.1), units=("um", "um")
    )
    stroke(layer, 2, slice(90, 96), slice(0, 96))
    (painted,) = form._round_of(form.start.origin()).plan.painted
    assert painted.measured.data_bar.top == 80


def test_own_models_have_a_folder_each() -> None:
    own = Path("/own")
    assert model_file(own / "steel", own) == own / "steel" / "steel.safetensors"
    elsewhere = Path("/data/a.safetensors")
    assert model_file(elsewhere, own) == elsewhere


def test_a_pair_is_added_once(form) -> None:
    layer = paint(form)
    with pytest.raises(Exception, match="in the training set already"):
        form.add_pair(Pair(form.viewer.layers["steel"], layer))
