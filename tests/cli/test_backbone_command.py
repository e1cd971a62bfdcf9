from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from torchvision.models import resnet18

from napari_metallography.classification.few_shot_model import load_few_shot_model
from napari_metallography.models.file import read_card, read_model
from napari_metallography.segmentation.encoders import encoder_state

SMALL = ("--side", 32, "--views", 16)
QUICK = (*SMALL, "--iterations", 2, "--batch-size", 2, "--local-crops", 1, "--outputs", 8)


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "many"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            random = np.random.default_rng(number)
            plane = random.integers(0, 255, (80, 80), np.uint8)
            tifffile.imwrite(folder / name / f"{number}.tif", plane)
    return folder


def test_a_backbone_is_trained_and_starts_other_networks(run, data, tmp_path) -> None:
    path = tmp_path / "backbone" / "mine.safetensors"
    done = run("train", "backbone", "--data", data, "-o", path, *QUICK, "--storage", "float16")
    assert done.code == 0, done.err
    assert {one.name for one in path.parent.iterdir()} == {
        "mine.safetensors", "history.csv", "training.json",
    }  # fmt: skip
    report = json.loads((path.parent / "training.json").read_text())
    assert len(report["training_images"]) == 6
    assert report["spread"] > 0
    card = read_card(path)
    assert card.task == "backbone"
    assert card.data.name == "many"
    assert card.metrics["spread of the features"] == report["spread"]
    assert encoder_state("resnet18", str(path))["conv1.weight"].shape == (64, 3, 7, 7)
    done = run("models", "info", path)
    assert json.loads(done.out)["network"]["encoder"] == "resnet18"

    tuned = tmp_path / "tuned" / "tuned.safetensors"
    quick = ("--side", 32, "--smallest-crop", 48, "--iterations", 1, "--crops-per-class", 2)
    given = ("--scale-free", "--held-out", 0, "--encoder-weights", path)
    done = run("train", "structure", "--data", data, "-o", tuned, *quick, *given)
    assert done.code == 0, done.err
    assert read_card(tuned).training["encoder_weights"] == "mine.safetensors"


def test_weights_are_kept_and_their_textures_whitened(run, data, tmp_path) -> None:
    kept, own = resnet18(weights=None), tmp_path / "resnet.pt"
    torch.save(kept.state_dict(), own)
    path = tmp_path / "kept" / "kept.safetensors"
    given = ("--encoder-weights", own, "--iterations", 0)
    done = run("train", "backbone", "--data", data, "-o", path, *SMALL, *given)
    assert done.code == 0, done.err
    found = read_model(path, "backbone").state
    # On grey images kernels for three colours answer as their mean does.
    assert torch.allclose(found["conv1.weight"].sum(1), kept.conv1.weight.sum(1), atol=1e-6)
    assert torch.equal(found["layer4.1.conv2.weight"], kept.layer4[1].conv2.weight)
    assert found["textures.matrix"].shape == (384, 384)
    assert load_few_shot_model(str(path)).network.features == 384
    report = json.loads((path.parent / "training.json").read_text())
    assert report["kept_iteration"] == 0
    assert pd.read_csv(path.parent / "history.csv").empty


def test_what_kept_weights_learnt_from_stays_told(run, data, tmp_path) -> None:
    dark = tmp_path / "dark"
    dark.mkdir()
    for number in range(2):
        random = np.random.default_rng(number)
        tifffile.imwrite(dark / f"d{number}.tif", random.integers(0, 60, (80, 80), np.uint8))
    first, second = tmp_path / "1" / "first.safetensors", tmp_path / "2" / "second.safetensors"
    told = ("--licence", "CC0", "--attribution", "us")
    done = run("train", "backbone", "--data", data, "-o", first, *QUICK, *told)
    assert done.code == 0, done.err
    again = ("--encoder-weights", first, "--iterations", 0, "--licence", "MIT", "--seed", 5)
    done = run("train", "backbone", "--data", dark, "-o", second, *SMALL, *again)
    assert done.code == 0, done.err
    parent, card = read_card(first), read_card(second)
    assert card.parent == read_model(first, "backbone").digest
    assert card.data.name == "many; textures: dark"
    assert (card.data.licence, card.data.attribution) == ("CC0; MIT", "us")
    assert set(card.data.images) == {*parent.data.images, "dark/d0.tif", "dark/d1.tif"}
    assert (card.training["iterations"], card.training["views_seed"]) == (2, 5)
    assert card.metrics == parent.metrics
    # The weights go on to get what they were trained on.
    assert card.normalisation == parent.normalisation
    images = torch.rand(2, 1, 32, 32)
    features = [load_few_shot_model(str(one)).network.backbone(images) for one in (first, second)]
    assert torch.equal(*features)


def test_bad_input_is_one_line(run, data, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    kept = ("--data", data, "--iterations", 0, "--encoder-weights", "microstructure-resnet18")
    for options, said in (
        (("--data", tmp_path / "nowhere"), "no such folder"),
        (("--data", data, "--batch-size", 1), "batch_size: must be 2 or more, not 1"),
        (("--data", data, "--iterations", 0), "random weights stay: give --encoder-weights"),
        ((*kept, "--resume"), "--resume"),
    ):
        done = run("train", "backbone", "-o", path, *options)
        assert done.code == 2, done.err
        assert len(done.errors) == 1
        assert said in done.err
        assert not path.exists()
