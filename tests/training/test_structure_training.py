from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.calibration import Calibration
from napari_metallography.classification.descriptors import (
    balanced_quantile,
    leave_one_specimen_out,
)
from napari_metallography.classification.micrographs import ClassifiedMicrographs
from napari_metallography.classification.structure import classify_plane
from napari_metallography.classification.structure_model import load_structure_model
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, TrainingStep, drain
from napari_metallography.models.card import StructureInput
from napari_metallography.training import structure
from napari_metallography.training.recipe import StructureRecipe
from napari_metallography.training.results import Description
from napari_metallography.training.structure import (
    StructureJob,
    TrainedStructure,
    doubts,
    most_strange,
    overlap,
    train_structure,
)
from napari_metallography.training.structure_results import write_structure_results

RECIPE = StructureRecipe(
    iterations=3, crops_per_class=3, validate_every=2, fitted_crops=8, learning_rate=1e-3
)


def _stripes(count: int, seed: int = 0, sizes=(0.1, 0.2)) -> ClassifiedMicrographs:
    """Fine and coarse stripes at two pixel sizes: the same in pixels, 2 and 4 µm apart."""
    random = np.random.default_rng(seed)
    planes, classes, pixel_sizes = [], [], []
    for number in range(count):
        coarse = number % 2
        size = sizes[number // 2 % 2]
        period = (4.0 if coarse else 2.0) / size / 2
        phase = (np.arange(60) + random.integers(60)) / period
        plane = 100 + 60 * np.sin(2 * np.pi * phase) + random.normal(0, 6, (60, 60))
        planes.append(np.clip(plane, 0, 255).astype(np.uint8))
        classes.append(coarse)
        pixel_sizes.append(size)
    files = tuple(f"{seed}-{number}.tif" for number in range(count))
    return ClassifiedMicrographs(
        tuple(planes), np.array(classes), ("fine", "coarse"), files, tuple(pixel_sizes), files
    )


@pytest.fixture
def job(tmp_path: Path) -> StructureJob:
    shown = StructureInput(side=32, smallest_px=40)
    checkpoint = tmp_path / "net.checkpoint.safetensors"
    device = torch.device("cpu")
    return StructureJob(_stripes(8), _stripes(4, 1), shown, RECIPE, device, checkpoint=checkpoint)


def _same(one: TrainedStructure, other: TrainedStructure) -> bool:
    first, second = (trained.network.state_dict() for trained in (one, other))
    return all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_a_stopped_training_ends_with_the_weights_of_an_uninterrupted_one(job) -> None:
    whole = drain(train_structure(replace(job, checkpoint=None)))
    running = train_structure(job)
    for event in running:
        if isinstance(event, TrainingStep) and event.iteration == 2:
            break
    running.close()
    assert job.checkpoint.exists()
    resumed = drain(train_structure(job, resume=True))
    assert _same(whole, resumed)
    assert resumed.history == whole.history
    assert [row["iteration"] for row in whole.history if "accuracy" in row] == [2, 3]
    other = replace(job, images=_stripes(8, 9))
    assert other.settings() != job.settings()


def test_descriptors_of_all_images_are_kept_with_the_model(job, tmp_path) -> None:
    trained = drain(train_structure(job))
    assert trained.shown.crops == 12 * 8
    assert trained.network.gaussians.descriptors.shape == (96, 2)
    assert np.bincount(trained.network.gaussians.classes.numpy()).tolist() == [48, 48]
    validation = replace(job.validation, pixel_sizes_um=(0.05, 0.2, 0.2, 0.4))
    job = replace(job, validation=validation)
    path = tmp_path / "out" / "stripes.safetensors"
    card = write_structure_results(path, job, trained, Description("stripes"))
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "history.csv", "stripes.safetensors", "training.json",
    ]  # fmt: skip
    loaded = load_structure_model(str(path))
    assert loaded.card == card
    # The Gaussians were learnt from those held out too.
    assert loaded.card.pixel_size_um == (0.05, 0.4)
    assert loaded.card.data.images == job.images.files + validation.files
    assert loaded.card.data.digest == job.images.joined(validation).digest()
    assert set(card.metrics) == {
        "validation accuracy without none", "validation macro F1 without none",
    }  # fmt: skip
    report = json.loads((path.parent / "training.json").read_text())
    assert report["validation_images"] == list(validation.files)
    assert report["roles"].keys() == {"training_images", "validation_images"}
    assert report["validated_on"] == 4
    assert report["notes"] == []
    assert report["metrics"]["accuracy_without_none"] == trained.metrics["accuracy"]
    assert report["refused"] == trained.refused
    assert 0 <= report["refused"]["coarse"] <= 0.02
    assert loaded.card.training["encoder_weights"] == "random"
    assert torch.equal(loaded.network.gaussians.means, trained.network.gaussians.means)


@pytest.mark.slow
def test_what_pixels_alone_cannot_tell_is_learnt_from_the_magnification(job) -> None:
    plain = _stripes(16, sizes=(0.1, 0.1))
    # The same stripes, at two magnifications: the classes differ in nothing else.
    images = replace(
        plain,
        planes=tuple(plain.planes[2 * (number // 2)] for number in range(16)),
        pixel_sizes_um=tuple(0.1 if number % 2 else 0.3 for number in range(16)),
    )
    accuracy = {}
    for magnification in (True, False):
        shown = StructureInput(side=32, smallest_px=56, largest_px=56, magnification=magnification)
        recipe = RECIPE.model_copy(update={"iterations": 8, "augmentation": "none"})
        learnt = replace(
            job, images=images, validation=images, shown=shown, recipe=recipe, checkpoint=None
        )
        accuracy[magnification] = drain(train_structure(learnt)).metrics["accuracy"]
    assert accuracy[True] == 1
    assert accuracy[False] < 0.8


def test_the_control_needs_no_scale_and_the_other_says_so(job) -> None:
    unknown = replace(job.images, pixel_sizes_um=(None,) * 8)
    with pytest.raises(InputError, match=r"0-0\.tif: no pixel size is known.*--scale-free"):
        drain(train_structure(replace(job, images=unknown)))
    shown = job.shown.model_copy(update={"magnification": False})
    trained = drain(train_structure(replace(job, images=unknown, validation=None, shown=shown)))
    assert trained.shown.px_per_um is None
    assert trained.metrics == {}


def test_the_threshold_is_that_of_crops_held_out(job) -> None:
    trained = drain(train_structure(replace(job, checkpoint=None)))
    gaussians = trained.network.gaussians
    known = torch.arange(12).repeat_interleave(8)
    without = leave_one_specimen_out(gaussians.descriptors, gaussians.classes, known, 2)
    judged = [without[(known >= 8) & (gaussians.classes == number)] for number in (0, 1)]
    expected = balanced_quantile(judged, RECIPE.quantile)
    assert float(gaussians.threshold) == pytest.approx(float(expected), rel=1e-5)


def test_an_image_of_other_textures_is_strange(job, tmp_path) -> None:
    job = replace(job, images=_stripes(16), checkpoint=None)
    path = tmp_path / "stripes.safetensors"
    write_structure_results(path, job, drain(train_structure(job)), Description("stripes"))
    model = load_structure_model(str(path))

    def is_strange(plane: np.ndarray) -> bool:
        size = Calibration.square(0.1, "test")
        return drain(classify_plane(plane, size, model, job.device, crops=16)).is_strange

    known = [is_strange(plane) for plane in _stripes(20, 2, sizes=(0.1, 0.1)).planes]
    assert sum(known) <= 4
    random = np.random.default_rng(3)
    noise = random.integers(0, 256, (60, 60), np.uint8)
    checks = (np.indices((60, 60)).sum(0) // 4 % 2 * 200).astype(np.uint8)
    assert is_strange(noise)
    assert is_strange(checks)


def test_the_limit_of_strangeness_lies_beyond_nearly_all_images() -> None:
    found = torch.linspace(1, 2, 41)
    assert most_strange(found) == pytest.approx(1.2 * 1.95)
    unknown = torch.full((5,), torch.nan)
    assert most_strange(torch.cat([found, unknown])) == most_strange(found)
    assert most_strange(found[:9]) is None
    assert most_strange(unknown) is None


def test_magnifications_that_hardly_overlap_and_classes_of_one_image_are_told() -> None:
    images, shown = _stripes(8), StructureInput(side=32, smallest_px=40)
    assert doubts(images, shown) == []
    apart = replace(images, pixel_sizes_um=tuple(0.1 * (1 + 4 * int(c)) for c in images.classes))
    (said,) = doubts(apart, shown)
    assert said.startswith(
        "crops of fine (5.33 to 8 px/µm) and coarse (1.07 to 1.6 px/µm) share 0% of their"
    )
    assert "--scale-free" in said
    # Crops of other sizes bring the magnifications together: from 32/60 to 32/16 px a pixel.
    assert doubts(apart, shown.model_copy(update={"smallest_px": 16})) != []
    near = replace(images, pixel_sizes_um=tuple(0.1 * (1 + int(c)) for c in images.classes))
    assert doubts(near, shown) != []
    assert doubts(near, shown.model_copy(update={"smallest_px": 16})) == []
    assert doubts(apart, shown.model_copy(update={"magnification": False})) == []
    (said,) = doubts(images.where(np.array([1, 1, 1, 0, 1, 0, 1, 0], bool)), shown)
    assert said.startswith("one specimen only of coarse: ")


@given(*[st.floats(0.1, 9)] * 4)
def test_the_overlap_is_a_share_of_the_narrower_range(a, b, c, d) -> None:
    one, other = (min(a, b), max(a, b)), (min(c, d), max(c, d))
    found = overlap(one, other)
    assert 0 <= found <= 1
    assert found == overlap(other, one)
    assert overlap(one, one) == 1
    assert overlap((1, 4), (2, 32)) == pytest.approx(0.5)
    assert overlap((1, 4), (8, 32)) == 0


def test_a_class_of_one_image_trains_with_a_notice(job) -> None:
    few = job.images.where(np.array([1, 1, 1, 0, 1, 0, 1, 0], bool))
    said: list[str] = []
    drain(
        train_structure(replace(job, images=few, checkpoint=None)),
        lambda event: said.append(event.message) if isinstance(event, Notice) else None,
    )
    assert "add images of a second one" in said[0]


def test_nothing_to_tell_apart_is_refused(job) -> None:
    for images in (
        job.images.where(job.images.classes == 0),
        replace(job.images, classes=np.where(job.images.classes == 1, -1, 0)),
    ):
        with pytest.raises(InputError, match="two classes at least"):
            drain(train_structure(replace(job, images=images)))


def test_a_loss_that_is_not_finite_ends_with_weights_that_worked(job, monkeypatch) -> None:
    calls = iter(range(9))
    whole = structure.LOSSES["all"]

    def spoilt(points: torch.Tensor, classes: torch.Tensor, margin: float) -> torch.Tensor:
        return whole(points, classes, margin) * (1.0 if next(calls) < 1 else float("nan"))

    monkeypatch.setitem(structure.LOSSES, "all", spoilt)
    said: list[str] = []
    trained = drain(
        train_structure(job),
        lambda event: said.append(event.message) if isinstance(event, Notice) else None,
    )
    assert trained.iteration == 1
    assert "not finite" in said[0]
    assert all(t.isfinite().all() for t in trained.network.state_dict().values())
