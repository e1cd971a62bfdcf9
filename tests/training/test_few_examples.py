from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from napari_metallography.classes import named_classes
from napari_metallography.classification.few_shot_model import (
    FewShotNetwork,
    load_few_shot_model,
    save_few_shot_model,
)
from napari_metallography.classification.library import Library, example_of
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Progress, drain
from napari_metallography.models.card import DataSource, FewShotInput, ModelCard, Network
from napari_metallography.models.file import write_model
from napari_metallography.training.few_examples import FewShotAnswer, learn, name_planes

CPU = torch.device("cpu")
SIGMAS = {"fine": 0.7, "coarse": 4.0}


def _texture(sigma: float, seed: int, shape: tuple[int, int] = (64, 64)) -> NDArray[np.uint8]:
    """Smooth noise of one contrast, as fine as sigma (px)."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    return np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)


def _checks(seed: int) -> NDArray[np.uint8]:
    """Neither of them: large squares, black and white."""
    rows, columns = np.indices((64, 64)) + np.random.default_rng(seed).integers(0, 16, (2, 1, 1))
    return np.where((rows // 16 + columns // 16) % 2, 250, 5).astype(np.uint8)


def _library(count: int, names=("fine", "coarse"), size: float | None = None) -> Library:
    return Library().added(
        *(
            example_of(_texture(SIGMAS[name], seed), name, size, "", f"{name} {seed}")
            for name in names
            for seed in range(count)
        )
    )


def _card(**changes) -> ModelCard:
    stated = {
        "name": "m",
        "task": "few-shot",
        "network": Network(architecture="prototypes", encoder="resnet18"),
        "classes": named_classes(["a", "b"]),
        "few_shot": FewShotInput(side=64, scale=10.0),
        "data": DataSource(name="none", digest="0"),
    }
    return ModelCard(**{**stated, **changes})


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    """Of random weights: what it sees still tells textures of different fineness."""
    torch.manual_seed(0)
    return FewShotNetwork("resnet18", "cosine").eval()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_few_shot_model(path, _card(), network)
    return str(path)


def _named(learnt, planes, sizes=None) -> list[FewShotAnswer]:
    return drain(name_planes(learnt, planes, sizes or [None] * len(planes)))


def test_textures_are_named_and_others_are_none(model) -> None:
    events: list[object] = []
    learnt = drain(learn(model, _library(4), CPU), events.append)
    assert learnt.names == ("coarse", "fine")
    said = [event.message for event in events if isinstance(event, Notice)]
    assert len(said) == 1
    assert "magnification is not taken into account" in said[0]
    for name, sigma in SIGMAS.items():
        found = _named(learnt, [_texture(sigma, seed) for seed in range(100, 110)])
        best = [learnt.names[one.probabilities.argmax()] for one in found]
        # The weights are random, and of every five images one is the least alike.
        assert best.count(name) >= 8
        assert sum(one.answer == name for one in found) >= 6
        assert all(one.probabilities.sum() == pytest.approx(1) for one in found)
        assert all(one.answer == "none" for one in found if not one.familiar)
    strangers = _named(learnt, [_checks(seed) for seed in range(10)])
    assert sum(one.answer == "none" for one in strangers) >= 7


def test_an_example_itself_is_always_familiar(model) -> None:
    for count in (1, 3):
        library = _library(count)
        learnt = drain(learn(model, library, CPU))
        found = _named(learnt, [one.plane for one in library.examples])
        assert [one.answer for one in found] == [one.name for one in library.examples]


def test_an_image_like_an_example_of_none_is_none(model) -> None:
    library = _library(1)
    between = _texture(2.0, 0)
    loose = drain(learn(model, library, CPU))
    (before,) = _named(loose, [between])
    stranger = example_of(between, "none", None, "", "between")
    learnt = drain(learn(model, library.added(stranger), CPU))
    (after,) = _named(learnt, [between])
    assert learnt.names == loose.names
    assert after.answer == "none"
    assert after.similarity == pytest.approx(before.similarity)


def test_one_class_is_that_or_none(model) -> None:
    events: list[object] = []
    learnt = drain(learn(model, _library(3, ["fine"]), CPU, steps=2, rate=0.01), events.append)
    said = " ".join(event.message for event in events if isinstance(event, Notice))
    assert "every answer is fine or none" in said
    # There is nothing to tell apart: the network is not tuned.
    assert learnt.network is learnt.model.network
    assert {one.answer for one in _named(learnt, [_checks(0), _texture(4.0, 3)])} == {"none"}
    (own,) = _named(learnt, [_texture(0.7, 0)])
    assert own.answer == "fine"
    assert own.probabilities.tolist() == [1]


def test_one_scale_is_compared_where_pixel_sizes_are_known(model) -> None:
    learnt = drain(learn(model, _library(3, size=0.5), CPU))
    assert learnt.needs_pixel_size
    assert learnt.shown.pixel_um == pytest.approx(0.5)
    # Seen at four times the magnification, what is fine looks coarse.
    enlarged = zoom(_texture(0.7, 50), 4, order=1)
    (right,) = _named(learnt, [enlarged], [0.125])
    (wrong,) = _named(learnt, [enlarged], [0.5])
    best = [learnt.names[one.probabilities.argmax()] for one in (right, wrong)]
    assert best == ["fine", "coarse"]
    with pytest.raises(InputError, match="1 of 2 images have no pixel size, and the examples"):
        _named(learnt, [enlarged, enlarged], [0.5, None])


def test_a_missing_pixel_size_is_told(model) -> None:
    mixed = _library(2, size=0.5).added(example_of(_texture(4, 9), "coarse", None, "", "x"))
    events: list[object] = []
    learnt = drain(learn(model, mixed, CPU), events.append)
    assert not learnt.needs_pixel_size
    assert any(isinstance(e, Notice) and "1 of 5 examples have no" in e.message for e in events)


def test_all_of_a_large_image_counts(model) -> None:
    """Its middle is coarse, and all else of it is fine."""
    learnt = drain(learn(model, _library(3, size=0.5), CPU))
    large = _texture(0.7, 1, (192, 192))
    (fine,) = _named(learnt, [large], [0.5])
    large[64:128, 64:128] = _texture(4.0, 2)
    (mixed,) = _named(learnt, [large], [0.5])
    fine_place = learnt.names.index("fine")
    assert mixed.probabilities.argmax() == fine_place
    assert mixed.probabilities[fine_place] < fine.probabilities[fine_place]


def test_tuning_is_reproducible_and_leaves_the_model(model) -> None:
    events: list[object] = []
    first = drain(learn(model, _library(2), CPU, steps=2, rate=0.01), events.append)
    again = drain(learn(model, _library(2), CPU, steps=2, rate=0.01))
    assert sum(isinstance(e, Progress) and e.message == "steps" for e in events) == 2
    assert torch.allclose(first.features, again.features, atol=1e-4)
    plain = drain(learn(model, _library(2), CPU))
    assert not torch.allclose(first.features, plain.features, atol=1e-3)
    told = first.provenance()
    assert json.loads(json.dumps(told)) == told
    assert told["examples"] == {"coarse": 2, "fine": 2}
    assert told["parameters"]["steps"] == 2
    assert set(told["parameters"]["least_similarity"]) == {"coarse", "fine"}


def test_a_library_without_classes_is_refused(model) -> None:
    with pytest.raises(InputError, match="holds no example of a class"):
        drain(learn(model, Library(), CPU))


def test_a_backbone_is_a_few_shot_model(network, tmp_path: Path) -> None:
    path = tmp_path / "seen.safetensors"
    card = _card(task="backbone", classes=(), few_shot=None, training={"side": 96})
    write_model(path, card, network.backbone.tensors())
    loaded = load_few_shot_model(str(path))
    assert (loaded.shown.side, loaded.shown.metric, loaded.shown.scale) == (96, "cosine", 10.0)
    assert loaded.shown.tuning_rate == 0
    learnt = drain(learn(str(path), _library(2), CPU))
    (found,) = _named(learnt, [_texture(4.0, 0)])
    assert found.answer == "coarse"
