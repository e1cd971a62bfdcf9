from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from napari_metallography.classification.backbone import Backbone
from napari_metallography.models.card import DataSource, ModelCard, Network
from napari_metallography.models.file import write_model


def _stripes(period: float, seed: int, shape: tuple[int, ...] = (48, 48)) -> np.ndarray:
    random = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * (np.arange(shape[-1]) + random.integers(40)) / period)
    return np.clip(128 + 60 * wave + random.normal(0, 4, shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A backbone of random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "seen.safetensors"
    card = ModelCard(
        name="seen",
        task="backbone",
        network=Network(architecture="dino", encoder="resnet18"),
        classes=(),
        data=DataSource(name="none", digest="0"),
        training={"side": 48},
    )
    write_model(path, card, Backbone("resnet18").tensors())
    return path


@pytest.fixture
def examples(tmp_path) -> Path:
    for period in (4, 16):
        (tmp_path / "examples" / f"p{period}").mkdir(parents=True)
        for seed in range(3):
            path = tmp_path / "examples" / f"p{period}" / f"{seed}.tif"
            tifffile.imwrite(path, _stripes(period, seed))
    return tmp_path / "examples"


def test_images_and_stacks_are_named(run, model, examples, tmp_path) -> None:
    (examples / "p4" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    tifffile.imwrite(images / "a.tif", _stripes(4, 9))
    stack = np.stack([_stripes(period, 10) for period in (4, 16, 4)])
    tifffile.imwrite(images / "b.tif", stack, photometric="minisblack")
    (images / "c.tif").write_bytes(b"no image")
    tifffile.imwrite(images / "d.tif", _stripes(4, 9, (20, 48)))
    done = run("classify", "few-shot", images, "-o", out, "--model", model, "--examples", examples)
    assert done.code == 2
    assert len(done.errors) == 2
    assert "c.tif" in done.errors[0]
    assert "d.tif" in done.errors[1]
    assert "1 skipped: " in done.err
    assert "magnification is not taken into account" in done.err
    table = pd.read_csv(out / "classes.csv", keep_default_na=False)
    assert table["image"].tolist() == ["a.tif", *["b.tif"] * 3]
    assert table["plane"].tolist() == [0, 0, 1, 2]
    assert table["most_probable"].tolist() == ["p4", "p4", "p16", "p4"]
    strange = table["similarity"] < table["least_similarity"]
    assert (strange == (table["answer"] == "none")).all()
    assert table[["probability_p16", "probability_p4"]].sum(axis=1).tolist() == pytest.approx(
        [1] * 4
    )
    told = json.loads((out / "classes.json").read_text())
    assert told["examples"] == {"p16": 3, "p4": 3}
    assert "broken.png" in told["skipped"][0]
    assert ["c.tif" in told["failed"][0], "d.tif" in told["failed"][1]] == [True, True]
    assert len(told["model_digest"]) == 64


def test_one_scale_and_a_tuning(run, model, examples, tmp_path) -> None:
    rows = "".join(f"p{p}/{n}.tif,p{p},0.5\n" for p in (4, 16) for n in range(3))
    (examples / "index.csv").write_text(f"image,class,pixel_size_um\n{rows}")
    image, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(image, _stripes(16, 9))
    command = ("classify", "few-shot", image, "-o", out, "--model", model, "--examples", examples)
    refused = run(*command)
    assert refused.code == 2
    assert "a.tif: no pixel size is known" in refused.errors[0]
    assert not out.exists()
    done = run(*command, "--pixel-size", 0.5, "--steps", 1, "--rate", 0.0001)
    assert done.code == 0, done.err
    told = json.loads((out / "classes.json").read_text())["parameters"]
    assert (told["steps"], told["learning_rate"], told["pixel_um"]) == (1, 0.0001, 0.5)
    table = pd.read_csv(out / "classes.csv", keep_default_na=False)
    assert table["pixel_size_um"].tolist() == [0.5]


def test_what_cannot_be_learnt_from_is_refused(run, model, examples, tmp_path) -> None:
    image, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(image, _stripes(16, 9))
    (tmp_path / "empty").mkdir()
    for folder, with_model, said in (
        (tmp_path / "empty", model, "holds no folders"),
        (tmp_path / "missing", model, "no such folder"),
        (examples, "nothing", "no model 'nothing'"),
        (examples, "uhcs-carbides", "a model for segmentation, not for few-shot"),
    ):
        done = run(
            "classify", "few-shot", image, "-o", out, "--model", with_model, "--examples", folder
        )
        assert done.code == 2
        assert len(done.errors) == 1
        assert said in done.errors[0]
        assert not out.exists()
