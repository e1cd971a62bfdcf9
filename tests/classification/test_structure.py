from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.classification import structure
from napari_metallography.classification.crops import Atlas
from napari_metallography.classification.structure import (
    StructureAnswer,
    classify_plane,
    is_settled,
)
from napari_metallography.classification.structure_files import answer_row
from napari_metallography.classification.structure_model import (
    CropReader,
    StructureModel,
    StructureNetwork,
    load_structure_model,
    magnification_scale,
    save_structure_model,
)
from napari_metallography.classification.triplets import TEXTURES
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.models.card import DataSource, ModelCard, Network, StructureInput

CPU = torch.device("cpu")
PLANE = np.random.default_rng(0).integers(0, 255, (90, 100), np.uint8)


@pytest.fixture
def model() -> Callable[..., StructureModel]:
    """Makes a model of random weights, whose Gaussians lie where its descriptors do."""

    def make(**shown: Any) -> StructureModel:
        torch.manual_seed(0)
        stated = {"side": 32, "smallest_px": 40, "largest_px": 90, "px_per_um": (2.0, 20.0)}
        card = ModelCard(
            name="random",
            task="structure",
            network=Network(architecture="triplets", encoder="resnet18"),
            classes=named_classes(("pearlite", "ferrite")),
            structure=StructureInput(**{**stated, **shown}),
            pixel_size_um=(0.04, 0.4),
            data=DataSource(name="none", digest="0"),
        )
        assert card.structure is not None
        network = StructureNetwork(2, card.structure).eval()
        network.gaussians.means = torch.tensor([[0.0, 0.0], [30.0, 0.0]])
        network.gaussians.covariances = 100 * torch.eye(2).repeat(2, 1, 1)
        return StructureModel(card, network, "0")

    return make


def _answer(model: StructureModel, size: float | None = 0.1, **more) -> StructureAnswer:
    calibration = Calibration.square(size, "test") if size else None
    return drain(classify_plane(PLANE, calibration, model, CPU, **more))


def test_an_answer_is_the_mean_of_its_crops_and_the_same_each_time(model) -> None:
    one = _answer(model(), crops=24)
    assert one.probabilities.shape == (3,)
    assert one.probabilities.sum() == pytest.approx(1)
    assert one.crops == 24
    assert one.answer == 0
    other = _answer(model(), crops=24)
    assert (one.probabilities == other.probabilities).all()
    assert (one.spread == other.spread).all()


def _with_answers(model: StructureModel, share: float) -> StructureModel:
    """Crops whose descriptors are random numbers, the first class for a share of them."""
    random = torch.Generator().manual_seed(1)

    def described(
        crops: torch.Tensor, magnifications: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        first = torch.rand(len(crops), generator=random) < share
        descriptors = torch.where(first, 0.0, 30.0)[:, None] * torch.tensor([[1.0, 0.0]])
        return descriptors, torch.zeros(len(crops), TEXTURES)

    model.network.core.described = described
    return model


def test_crops_are_added_until_the_answer_settles(model, monkeypatch) -> None:
    clear = _answer(model())
    assert clear.crops == 80
    assert clear.settled
    torn = _answer(_with_answers(model(), 0.55))
    assert 80 < torn.crops < 1000
    assert torn.settled
    monkeypatch.setattr(structure, "_ERROR", 0.001)
    monkeypatch.setattr(structure, "MOST_CROPS", 200)
    never = _answer(_with_answers(model(), 0.5))
    assert never.crops == 200
    assert not never.settled
    row = answer_row(never, 0.1, model().names)
    assert row["note"] == "not settled after 200 crops"
    assert answer_row(clear, 0.1, model().names)["note"] == ""
    assert _answer(_with_answers(model(), 0.5), crops=40).settled


def test_an_image_of_strange_textures_is_none_whatever_its_descriptors_say(model) -> None:
    known = _answer(model())
    assert known.answer == 0
    limit = known.strangeness
    for most, answer in ((1.01 * limit, 0), (0.99 * limit, 2)):
        found = _answer(model(most_strange=most))
        assert found.answer == answer
        assert found.is_strange == (answer == 2)
        row = answer_row(found, 0.1, ("a", "b", "none"))
        assert ("unlike the training images: strangeness" in row["note"]) == found.is_strange
        assert (row["spread"] is None) == found.is_strange
        assert row["strangeness_limit"] == pytest.approx(most, abs=1e-5)


def test_a_model_that_takes_the_magnification_needs_a_pixel_size(model) -> None:
    with pytest.raises(InputError, match="no pixel size is known"):
        _answer(model(), None)
    assert _answer(model(magnification=False, px_per_um=None), None, crops=8).outside == 0


def test_an_image_smaller_than_a_crop_is_refused(model) -> None:
    with pytest.raises(InputError, match="fewer than the smallest crop of 95 px"):
        _answer(model(smallest_px=95))


def test_magnifications_outside_the_trained_range_are_told(model) -> None:
    said: list[str] = []
    events = classify_plane(PLANE, Calibration.square(4.0, "test"), model(), CPU, crops=8)
    found = drain(events, lambda e: said.append(e.message) if isinstance(e, Notice) else None)
    assert found.outside == 1
    assert "100% of its crops are at magnifications the model was not trained on" in said[0]
    assert _answer(model(), 0.1, crops=8).outside == 0


def test_crops_keep_to_trained_magnifications_where_there_are_any() -> None:
    shown = StructureInput(side=64, smallest_px=40, largest_px=400, px_per_um=(2.0, 4.0))
    # In crops of 400 px the image shows 1.6 px/µm, in crops of 40 px 16.
    sizes = torch.tensor([0.1, 0.001], dtype=torch.float64)
    reader = CropReader(Atlas([np.zeros((500, 500), np.uint8)] * 2, CPU), sizes, shown, 0.0, 1.0)
    random = torch.Generator().manual_seed(0)
    images = torch.zeros(500, dtype=torch.int64)
    found = reader.px_per_um(images, reader.sides(images, random))
    assert (found >= 1.999).all()
    assert (found <= 4.001).all()
    # Where there are none, all sides are taken, and the answer says so.
    sides = reader.sides(images + 1, random)
    assert float(sides.min()) < 45
    assert float(sides.max()) > 350


@given(st.integers(0, 99), st.floats(0.05, 0.5))
def test_settled_answers_do_not_change_with_more_crops(seed, share) -> None:
    random = np.random.default_rng(seed)
    values = torch.from_numpy(random.random(1000) < share).double()
    probabilities = torch.stack([values, 1 - values], 1)
    first = next((n for n in range(80, 1001, 40) if is_settled(probabilities[:n])), 1000)
    error = abs(float(probabilities[:first, 0].mean()) - share)
    leads_right = (probabilities[:first].mean(0).argmax() == 1) == (share < 0.5)
    assert error < 0.09 or leads_right


def test_settled_is_clear_or_exact() -> None:
    clear = torch.tensor([[0.9, 0.1], [0.7, 0.3]]).repeat(40, 1).double()
    assert is_settled(clear)
    torn = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(40, 1).double()
    assert not is_settled(torn)
    assert is_settled(torn.repeat(10, 1))


@given(
    st.lists(st.tuples(st.integers(120, 900), st.floats(0.01, 1)), min_size=1, max_size=5),
)
def test_the_scale_of_magnifications_is_that_of_the_crops_drawn(images) -> None:
    shorter = torch.tensor([side for side, _ in images])
    sizes = torch.tensor([size for _, size in images], dtype=torch.float64)
    shown = magnification_scale(StructureInput(side=64), shorter, sizes)
    planes = [np.zeros((side, side), np.uint8) for side, _ in images]
    reader = CropReader(Atlas(planes, CPU), sizes, shown, 0.0, 1.0)
    random = torch.Generator().manual_seed(0)
    numbers = torch.arange(len(images)).repeat_interleave(3000)
    sides = reader.sides(numbers, random)
    drawn = reader.magnifications(numbers, sides)
    assert float(drawn.mean()) == pytest.approx(0, abs=0.08)
    assert float(drawn.std()) == pytest.approx(1, abs=0.08)
    assert shown.px_per_um is not None
    low, high = shown.px_per_um
    found = reader.px_per_um(numbers, sides)
    assert low * 0.999 < float(found.min()) < low * 1.3 or math.isclose(low, high, rel_tol=0.3)
    assert high / 1.3 < float(found.max()) < high * 1.001 or math.isclose(low, high, rel_tol=0.3)


def test_a_rescaled_image_with_a_rescaled_pixel_size_has_the_same_magnification() -> None:
    shown = StructureInput(side=64, mean=1.0, std=2.0)
    planes = [PLANE, np.kron(PLANE, np.ones((2, 2), np.uint8))]
    sizes = torch.tensor([0.4, 0.2], dtype=torch.float64)
    reader = CropReader(Atlas(planes, CPU), sizes, shown, 0.0, 1.0)
    one, other = reader.magnifications(torch.tensor([0, 1]), torch.tensor([50.0, 100.0]))
    assert float(one) == pytest.approx(float(other))
    assert float(one) == pytest.approx((math.log2(64 / 50 / 0.4) - 1) / 2)


def test_a_model_comes_back_from_its_file(model, tmp_path) -> None:
    made = model()
    path = tmp_path / "made.safetensors"
    save_structure_model(path, made.card, made.network)
    loaded = load_structure_model(str(path))
    assert loaded.card == made.card
    assert loaded.names == ("pearlite", "ferrite", "none")
    expected = _answer(made, crops=8).probabilities
    assert _answer(loaded, crops=8).probabilities == pytest.approx(expected, abs=1e-4)
    save_structure_model(tmp_path / "other.safetensors", model(crops=3).card, made.network)
    with pytest.raises(InputError, match="its tensors do not fit"):
        load_structure_model(str(tmp_path / "other.safetensors"))


def test_pixels_that_are_no_squares_are_refused(model) -> None:
    oblong = Calibration(0.1, 0.2, "test")
    with pytest.raises(InputError, match="resample it to square pixels first"):
        drain(classify_plane(PLANE, oblong, model(), CPU))
