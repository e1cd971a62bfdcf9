from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Preview, Progress, TrainingStep, drain
from napari_metallography.labelled import LabelledImage
from napari_metallography.models.card import Network
from napari_metallography.models.file import read_card
from napari_metallography.regions import Box, Field
from napari_metallography.segmentation.model import save_model
from napari_metallography.training.fine_tuning import (
    Painted,
    Plan,
    Session,
    at_median_size,
    fine_tune,
    forget_old,
    held_out_words,
    kept_and_new,
    labelled,
    origin_of_model,
    origin_of_network,
    pixel_sizes_differ,
    require_two_classes,
    save_tuned,
    stopped_origin,
)
from napari_metallography.training.recipe import FINE_TUNE, SegmentationRecipe
from napari_metallography.training.split import Split, split

SHAPE = (64, 64)
CLASSES = named_classes(["matrix", "particles"])
SMALL = Network(architecture="unet", encoder="resnet18")


def painted(name: str = "steel", size_um: float | None = None) -> Painted:
    """A dark and a bright half with two strokes on each."""
    image = np.full(SHAPE, 60, np.uint8)
    image[:, 32:] = 180
    labels = np.full(SHAPE, UNLABELLED, np.uint8)
    for row in (10, 40):
        labels[row : row + 6, 8:20] = 0
        labels[row : row + 6, 40:52] = 1
    return Painted(name, image, labels, Field(SHAPE), size_um)


def plan(folder: Path, **changes: object) -> Plan:
    recipe = SegmentationRecipe(iterations=2, crop=32, batch_size=2, preview_every=1)
    made = Plan(
        painted=[painted()],
        classes=CLASSES,
        origin=partial(origin_of_network, SMALL, "random"),
        recipe=recipe,
        device=torch.device("cpu"),
        precision="32-true",
        checkpoints=folder,
    )
    return replace(made, **changes)


def test_a_round_gives_phases_previews_and_a_model(tmp_path: Path) -> None:
    seen = []
    session = Session(watch=lambda: np.indices((40, 48, 3)).sum(0).astype(np.uint8))
    tuned = drain(fine_tune(plan(tmp_path), session), seen.append)
    assert [type(e) for e in seen].count(TrainingStep) == 2
    previews = [e for e in seen if isinstance(e, Preview)]
    assert [p.indices.shape for p in previews] == [(40, 48)] * 2
    assert tuned.before == {}
    assert tuned.after["steel"].indices.shape == SHAPE
    assert tuned.after["steel"].uncertainty is not None
    assert not list(tmp_path.iterdir())
    assert session.split is not None

    path = tmp_path / "own" / "mine.safetensors"
    card = drain(save_tuned(path, tuned))
    assert read_card(path) == card
    assert card.classes == CLASSES
    with pytest.raises(InputError, match="exists already"):
        drain(save_tuned(path, tuned))


def test_the_next_round_goes_on_from_the_last_weights(tmp_path: Path) -> None:
    first = drain(fine_tune(plan(tmp_path), Session()))
    path = tmp_path / "first.safetensors"
    drain(save_tuned(path, first))
    parent = origin_of_model(str(path), ["matrix", "particles"])
    second = drain(fine_tune(plan(tmp_path, origin=partial(origin_of_model, str(path))), Session()))
    assert set(second.before) == {"steel"}
    onward = second.origin(["particles", "pores"])
    # The tuned network is no file yet: the next model still descends from the first one's.
    assert onward.start.parent == parent.start.parent is not None
    assert onward.start.rows == (1, None)
    trained = second.trained.network.state_dict()
    assert all(torch.equal(onward.start.state[n], t) for n, t in trained.items())


def more_paint(one: Painted) -> Painted:
    labels = one.labels.copy()
    labels[24:30, 8:20], labels[24:30, 40:52] = 0, 1
    return replace(one, labels=labels)


def test_the_card_and_the_history_tell_every_round(tmp_path: Path, untrained) -> None:
    made = untrained(["matrix", "particles"])
    parent = tmp_path / "parent.safetensors"
    save_model(parent, made.card, made.network)
    first = drain(fine_tune(plan(tmp_path, origin=partial(origin_of_model, parent)), Session()))

    longer = plan(tmp_path).recipe.model_copy(update={"iterations": 3, "seed": 5})
    painted_more = [more_paint(painted())]
    asked = plan(tmp_path, origin=first.origin, painted=painted_more, recipe=longer)
    stopped = Session()
    events = fine_tune(asked, stopped)
    while not isinstance(next(events), TrainingStep):
        pass
    events.close()
    # Stopped after one step, and trained further on other paint.
    onward = partial(stopped_origin, stopped.job, CLASSES)
    third = drain(fine_tune(plan(tmp_path, origin=onward), Session()))

    path = tmp_path / "own" / "mine.safetensors"
    card = drain(save_tuned(path, third))
    assert read_card(path).parent == origin_of_model(str(parent), ["matrix"]).start.parent
    assert read_card(path).rounds == card.rounds
    assert [one.iterations for one in card.rounds] == [2, 1, 2]
    pixels = [one.painted_px + one.held_out_px for one in card.rounds]
    assert pixels == [4 * 72, 6 * 72, 4 * 72]
    assert [one.recipe["seed"] for one in card.rounds] == [0, 5, 0]
    assert card.rounds[0].data_digest == card.rounds[2].data_digest == card.data.digest
    assert card.rounds[1].data_digest != card.data.digest
    history = pd.read_csv(path.with_name("history.csv"))
    assert history["round"].tolist() == [1, 1, 2, 3, 3]
    assert history["iteration"].tolist() == [1, 2, 1, 1, 2]
    assert history["loss"].tolist()[:2] == [row["loss"] for row in first.trained.history]


def test_a_model_of_a_file_begins_its_rounds_anew(tmp_path: Path) -> None:
    path = tmp_path / "first.safetensors"
    drain(save_tuned(path, drain(fine_tune(plan(tmp_path), Session()))))
    assert origin_of_model(str(path), ["matrix", "particles"]).start.rounds == ()


def test_a_stopped_round_goes_on_or_lends_its_weights(tmp_path: Path) -> None:
    session = Session()
    asked = plan(tmp_path)
    events = fine_tune(asked, session)
    while not isinstance(next(events), TrainingStep):
        pass
    events.close()
    (checkpoint,) = tmp_path.iterdir()
    assert session.job.checkpoint == checkpoint
    onward = stopped_origin(session.job, CLASSES, ["matrix", "particles"])
    assert onward.start.parent is None
    seen = []
    drain(fine_tune(asked, Session(), resume=True), seen.append)
    assert [e.iteration for e in seen if isinstance(e, TrainingStep)] == [2]
    assert not checkpoint.exists()
    with pytest.raises(InputError, match="not a checkpoint"):
        stopped_origin(session.job, CLASSES, ["matrix", "particles"])


def test_paint_outside_the_field_is_ignored() -> None:
    one = replace(painted(), measured=Field(SHAPE, Box(32, 0, 64, 64)))
    image = labelled(one)
    assert (image.labels[32:] == UNLABELLED).all()
    np.testing.assert_array_equal(image.labels[:32], one.labels[:32])


def test_labels_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="differ in size"):
        labelled(replace(painted(), labels=np.zeros((9, 9), np.uint8)))


def test_two_classes_are_needed() -> None:
    image = labelled(painted())
    require_two_classes([image], CLASSES)
    nothing = replace(image, labels=np.full(SHAPE, UNLABELLED, np.uint8))
    with pytest.raises(InputError, match="nothing is painted"):
        require_two_classes([nothing], CLASSES)
    with pytest.raises(InputError, match="only 'particles'"):
        require_two_classes([replace(image, labels=np.ones(SHAPE, np.uint8))], CLASSES)


def test_different_pixel_sizes_are_told(tmp_path: Path) -> None:
    images = [painted("fine", 0.1), painted("coarse", 0.2)]
    seen = []
    drain(fine_tune(plan(tmp_path, painted=images), Session()), seen.append)
    assert any("pixel sizes" in e.message for e in seen if isinstance(e, Notice))
    seen.clear()
    drain(fine_tune(plan(tmp_path, painted=images, resample=True), Session()), seen.append)
    assert not [e for e in seen if isinstance(e, Notice)]


@pytest.mark.parametrize(
    ("sizes", "differ"),
    [([], False), ([None], False), ([0.1, 0.15], False), ([0.1, None, 0.16], True)],
)
def test_which_pixel_sizes_differ_much(sizes: list[float | None], differ: bool) -> None:
    assert pixel_sizes_differ(sizes) is differ


@given(factor=st.floats(0.3, 3))
def test_resampling_keeps_what_is_painted_where(factor: float) -> None:
    image = labelled(painted(size_um=0.1))
    other = replace(image, name="other", pixel_size_um=0.1 * factor)
    mean = 0.1 * (1 + factor) / 2
    for one in at_median_size([image, other]):
        assert one.pixel_size_um == pytest.approx(mean)
        assert one.pixels.shape == (*one.labels.shape, 3)
        assert set(np.unique(one.labels)) == {0, 1, UNLABELLED}
        grey = one.pixels[..., 0]
        assert np.median(grey[one.labels == 0]) == 60
        assert np.median(grey[one.labels == 1]) == 180


def test_a_thin_stroke_outlasts_a_coarser_image() -> None:
    fine = replace(labelled(painted(size_um=0.1)), labels=np.full(SHAPE, UNLABELLED, np.uint8))
    fine.labels[4:12, 40:60], fine.labels[33, 4:28] = 1, 0
    one, _, _ = at_median_size([fine, *[replace(fine, pixel_size_um=0.4)] * 2])
    assert one.labels.shape == (16, 16)
    assert (one.labels[8, 1:7] == 0).all()
    assert set(np.unique(one.labels)) == {0, 1, UNLABELLED}


def test_paint_lost_in_a_coarser_image_is_refused(tmp_path: Path) -> None:
    labels = np.full(SHAPE, UNLABELLED, np.uint8)
    labels[32, 32], labels[33, 33] = 0, 1
    images = [replace(painted(size_um=0.1), labels=labels), painted("other", 0.4)]
    images[1].labels[:] = UNLABELLED
    asked = plan(tmp_path, painted=[*images, replace(images[1], name="third")], resample=True)
    with pytest.raises(InputError, match=r"too fine to be seen at 0\.4 µm"):
        drain(fine_tune(asked, Session()))


def test_results_are_made_at_the_scale_of_the_training(tmp_path: Path, untrained) -> None:
    made = untrained(["matrix", "particles"])
    path = tmp_path / "parent.safetensors"
    save_model(path, made.card, made.network)
    images = [painted("fine", 0.1), painted("coarse", 0.3), painted("unknown")]
    asked = plan(tmp_path, painted=images, resample=True, origin=partial(origin_of_model, path))
    session = Session()
    tuned = drain(fine_tune(asked, session))
    assert [image.labels.shape for image in session.images] == [(32, 32), (96, 96), SHAPE]
    for found in (tuned.before, tuned.after):
        factors = [found[one.name].provenance["resampled_by"] for one in images]
        assert factors == pytest.approx([0.5, 1.5, 1])
        assert all(found[one.name].indices.shape == SHAPE for one in images)
        assert all(found[one.name].uncertainty.shape == SHAPE for one in images)


def test_what_an_earlier_run_left_is_not_this_ones(tmp_path: Path) -> None:
    asked, session = plan(tmp_path), Session()
    events = fine_tune(asked, session)
    while not isinstance(next(events), TrainingStep):
        pass
    events.close()
    assert session.kept.exists()
    anew = fine_tune(asked, Session())
    while not isinstance(event := next(anew), Progress) or event.message != "iterations":
        pass
    assert not session.kept.exists()
    anew.close()


def test_planes_of_a_stack_keep_their_group() -> None:
    assert labelled(replace(painted(), group="stack")).group == "stack"


def test_images_without_a_pixel_size_stay_as_they_are() -> None:
    images = [labelled(painted())]
    assert at_median_size(images) == images


def test_classes_of_the_parent_are_kept_by_name() -> None:
    assert kept_and_new(["matrix", "network"], ["pores", "matrix"]) == (["matrix"], ["pores"])


def test_what_is_held_out_is_said_in_words() -> None:
    image = labelled(painted())
    strokes = np.full(SHAPE, UNLABELLED, np.uint8)
    strokes[0:2, 0:5] = 0
    strokes[10:12, 0:5] = 1
    one = LabelledImage("a", image.pixels, strokes)
    words = "held out: 2 strokes of the same images (20 pixels)"
    strokes_only = Split((image,), (one,), "strokes")
    assert held_out_words(strokes_only, FINE_TUNE) == f"{words}, learnt too in the last third"
    assert held_out_words(strokes_only, FINE_TUNE.model_copy(update={"keep": "best"})) == words
    images = Split((image,), (one,), "images")
    assert held_out_words(images, FINE_TUNE) == "held out: one image (20 pixels)"
    nothing = held_out_words(Split((image,), (), "nothing"), FINE_TUNE)
    assert "nothing" in nothing
    image.labels[32:] = UNLABELLED
    assert held_out_words(split([image]), FINE_TUNE) == nothing
    blocks = held_out_words(Split((image,), (one,), "blocks"), FINE_TUNE)
    assert blocks.startswith("held out: 2 patches of the same images (20 pixels)")


def test_only_the_latest_checkpoints_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / f"{number}.checkpoint.safetensors"
        path.write_bytes(b"x")
        os.utime(path, (number, number))
    forget_old(tmp_path, "*.safetensors")
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["2", "3", "4"]
    forget_old(tmp_path / "not there", "*")
