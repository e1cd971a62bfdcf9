from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_metallography.classes import named_classes
from napari_metallography.classification.few_shot_model import (
    FewShotNetwork,
    features_of,
    load_few_shot_model,
    save_few_shot_model,
    square_reader,
)
from napari_metallography.classification.whitening import Whitening
from napari_metallography.errors import InputError
from napari_metallography.models.card import DataSource, FewShotInput, ModelCard, Network
from napari_metallography.models.file import write_model


def _card(**changes) -> ModelCard:
    stated = {
        "name": "m",
        "task": "few-shot",
        "network": Network(architecture="prototypes", encoder="resnet18"),
        "classes": named_classes(["a", "b"]),
        "few_shot": FewShotInput(side=32, scale=12.5, tuning_rate=1e-3),
        "data": DataSource(name="none", digest="0"),
    }
    return ModelCard(**{**stated, **changes})


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    torch.manual_seed(0)
    found = FewShotNetwork("resnet18", "cosine").eval()
    found.head.scale.data.fill_(12.5)
    return found


def test_a_model_answers_alike_after_it_was_written_and_read(network, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    save_few_shot_model(path, _card(), network)
    loaded = load_few_shot_model(str(path))
    assert loaded.shown == _card().few_shot
    assert len(loaded.digest) == 64
    random = np.random.default_rng(0)
    planes = [random.integers(0, 255, (40, 50), np.uint8) for _ in range(5)]
    grey = loaded.card.normalisation
    reader = square_reader(planes, [None] * 5, loaded.shown, grey, torch.device("cpu"))
    classes = torch.tensor([0, 1, 0])
    found, expected = (
        one.logits(seen[:3], classes, seen[3:], 2)
        for one in (loaded.network, network)
        for seen in [features_of(one, reader, torch.arange(5))]
    )
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_backbone_compares_its_whitened_textures(network, tmp_path) -> None:
    path, whitening = tmp_path / "seen.safetensors", Whitening(384)
    whitening.fit(torch.randn(40, 3, 384, generator=torch.Generator().manual_seed(0)))
    tensors = {f"textures.{name}": t for name, t in whitening.state_dict().items()}
    card = _card(task="backbone", classes=(), few_shot=None, training={"side": 48})
    write_model(path, card, network.backbone.tensors() | tensors)
    loaded = load_few_shot_model(str(path))
    assert loaded.shown.side == 48
    images = torch.randn(3, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = whitening(network.backbone.textures(images))
        assert torch.allclose(loaded.network(images), expected, atol=1e-3)
    for wrong in ({"textures.mean": torch.zeros(384)}, {n: t[:10] for n, t in tensors.items()}):
        write_model(path, card, network.backbone.tensors() | wrong)
        with pytest.raises(InputError, match="its textures do not fit those of a resnet18"):
            load_few_shot_model(str(path))
    # One of an earlier version has none, and compares its features.
    write_model(path, card, network.backbone.tensors())
    with torch.no_grad():
        found = load_few_shot_model(str(path)).network(images)
        assert torch.allclose(found, network.backbone(images), atol=1e-4)


def test_models_that_do_not_fit_are_refused(network, tmp_path: Path) -> None:
    for name, card, said in (
        ("silent", _card(few_shot=None), "its card does not say what images it takes"),
        (
            "deep",
            _card(network=Network(architecture="prototypes", encoder="resnet50")),
            "not the weights of a ResNet",
        ),
        (
            "odd",
            _card(network=Network(architecture="prototypes", encoder="vgg")),
            "unknown backbone 'vgg'",
        ),
        ("other", _card(task="structure"), "a model for structure, not for few-shot"),
    ):
        path = tmp_path / f"{name}.safetensors"
        write_model(path, card, network.backbone.tensors())
        with pytest.raises(InputError, match=said):
            load_few_shot_model(str(path))


def test_only_a_backbone_has_no_classes(network) -> None:
    assert _card(task="backbone", classes=()).classes == ()
    with pytest.raises(ValueError, match="two classes"):
        _card(classes=())
