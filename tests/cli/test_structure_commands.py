from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import tifffile
import torch
from torchvision.models import resnet18

from napari_metallography.classification.structure_files import map_file
from napari_metallography.classification.structure_model import load_structure_model
from napari_metallography.classification.structure_parameters import SaliencyParameters
from napari_metallography.cli import train_structure as command
from napari_metallography.events import drain
from napari_metallography.inputs import PixelSizes
from napari_metallography.io.labels import read_labels
from napari_metallography.io.raster import read_raster
from napari_metallography.models.file import read_card, read_model, write_model
from napari_metallography.training.recipe import StructureRecipe

QUICK = ("--side", 32, "--smallest-crop", 48, "--iterations", 2, "--crops-per-class", 2)


@pytest.fixture
def data(run, tmp_path) -> Path:
    """Four images each of three classes, at two pixel sizes."""
    folder = tmp_path / "data"
    sizes = ("--pixel-size", 0.016, "--pixel-size", 0.032)
    names = ("network", "pearlite-fine", "spheroidite-fine")
    chosen = [part for name in names for part in ("--class", name)]
    shape = ("--height", 80, "--width", 96)
    done = run("synthesize", "structure", "-o", folder, "--count", 4, *chosen, *sizes, *shape)
    assert done.code == 0
    return folder


def test_a_model_is_trained_used_and_scored(run, data, tmp_path) -> None:
    model = tmp_path / "model" / "three.safetensors"
    done = run(
        "train", "structure", "--data", data, "-o", model, *QUICK, "--without", "spheroidite-fine"
    )
    assert done.code == 0, done.err
    assert {path.name for path in model.parent.iterdir()} == {
        "three.safetensors", "history.csv", "training.json",
    }  # fmt: skip
    report = json.loads((model.parent / "training.json").read_text())
    assert report["classes"] == ["network", "pearlite-fine"]
    assert len(report["training_images"]) == 6

    images = sorted((data / "network").iterdir())[:2]
    out = tmp_path / "out"
    again = images[0].parent / ".." / "network" / images[0].name
    done = run("classify", "structure", *images, again, "-o", out, "--model", model, "--crops", 8)
    assert done.code == 0, done.err
    table = pd.read_csv(out / "classes.csv")
    assert table["image"].tolist() == [path.name for path in images]
    assert table["pixel_size_um"].tolist() == pytest.approx([0.016, 0.032])
    shares = table[["probability_network", "probability_pearlite-fine", "probability_none"]]
    assert shares.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert set(table["answer"]) <= {"network", "pearlite-fine", "none"}
    assert (table["crops"] == 8).all()
    told = json.loads((out / "classes.json").read_text())
    assert len(told["model_digest"]) == 64
    assert [one["image"] for one in told["images"]] == table["image"].tolist()
    assert told["images"][0]["pixel_size_from"] == "resolution tags"
    assert told["skipped"] == []
    assert told["saliency"] is None
    assert (shares == shares.round(6)).all(axis=None)
    far = run(
        "classify", "structure", images[0], "-o", out, "--model", model, "--crops", 4,
        "--pixel-size", 9,
    )  # fmt: skip
    assert far.err.count("not trained on") == 1
    assert pd.read_csv(out / "classes.csv")["note"].tolist() == ["extrapolation: 100% of the crops"]
    assert (
        "100% of its crops" in json.loads((out / "classes.json").read_text())["images"][0]["note"]
    )

    windows = ("--saliency", "--window", 60, "--stride", 30, "--descriptor-map")
    done = run(
        "classify", "structure", images[0], "-o", out, "--model", model, "--crops", 2, *windows
    )
    assert done.code == 0, done.err
    labels = read_labels(out / f"{images[0].stem}_saliency.tif")
    assert labels.indices.shape == (80, 96)
    assert [one.name for one in labels.classes] == ["network", "pearlite-fine"]
    assert set(np.unique(labels.indices)) <= {0, 1, 255}
    assert labels.calibration is not None
    assert labels.calibration.mean_um == pytest.approx(0.016)
    assert labels.provenance["window_px"] == 60
    picture, _ = read_raster(out / f"{images[0].stem}_saliency.png")
    assert picture.shape[0] > 80
    assert picture.shape[1:] == (96, 3)
    drawn, _ = read_raster(out / f"{images[0].stem}_descriptors.png")
    assert min(drawn.shape[:2]) > 500
    told = json.loads((out / "classes.json").read_text())
    assert told["images"][0]["saliency_window_px"] == 60
    assert told["saliency"] == {"window_px": 60, "stride_px": 30}
    card, state = read_card(model), read_model(model, "structure").state
    shown = card.structure.model_copy(update={"most_strange": 0.0})
    strict = tmp_path / "strict.safetensors"
    write_model(strict, card.model_copy(update={"structure": shown}), state)
    done = run(
        "classify", "structure", images[0], "-o", out, "--model", strict, "--crops", 2, *windows
    )
    assert "none as a whole; its saliency map shows what comes nearest" in done.err
    assert read_raster(out / f"{images[0].stem}_saliency.png")[0].shape[0] > picture.shape[0]
    assert pd.read_csv(out / "classes.csv")["spread"].isna().all()
    assert read_labels(out / f"{images[0].stem}_saliency.tif").provenance["strange_planes"] == [0]
    bad = tmp_path / "bad"
    few = ("classify", "structure", "-o", bad, "--model", model, "--saliency", "--crops", 2)
    done = run(*few, images[0], "--stride", 0)
    assert done.code == 2
    assert "--stride: must" in done.err
    assert not bad.exists()
    # What was answered is kept where there can be no map.
    done = run(*few, images[0], "--window", 90)
    assert done.code == 2
    assert "do not fit" in done.err
    assert len(pd.read_csv(bad / "classes.csv")) == 1
    assert "do not fit" in json.loads((bad / "classes.json").read_text())["skipped"][0]
    assert not [*bad.glob("*saliency*")]
    # A plane of one grey value is skipped in both, and unlabelled.
    stack = np.stack([tifffile.imread(images[0])] * 3)
    stack[1] = 90
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    done = run(*few, tmp_path / "stack.tif", "--window", 70, "--pixel-size", 0.016)
    assert done.code == 0, done.err
    assert done.err.count("1 skipped") == 1
    assert pd.read_csv(bad / "classes.csv")["plane"].tolist() == [0, 2]
    planes = read_labels(bad / "stack_saliency.tif").indices
    assert (planes[1] == 255).all()
    assert (planes[0] == planes[2]).all()
    # The picture is of the first plane, and speaks of that one.
    heights = []
    loaded, windows = load_structure_model(str(model)), SaliencyParameters(window_px=70)
    for strange in ([], [2], [0]):
        given = (loaded, torch.device("cpu"), PixelSizes(0.016), windows)
        drain(map_file(tmp_path / "stack.tif", bad, *given, strange=strange))
        heights.append(read_raster(bad / "stack_saliency.png")[0].shape[0])
    assert heights[0] == heights[1] < heights[2]

    scores = tmp_path / "scores.json"
    options = ("--crops", 4, "--outsider", "spheroidite-fine")
    done = run("evaluate", "structure", "--model", model, "--data", data, "-o", scores, *options)
    assert done.code == 0, done.err
    found = json.loads(scores.read_text())
    assert found["n"] == 8
    assert found["outsiders"] == 4
    assert 0 <= found["outsiders_rejected"] <= 1
    assert found["mean_crops"] == 4
    assert sum(sum(row.values()) for row in found["confusion"].values()) == 8
    assert "8 of 12 images bear the names of images that the model learnt from" in done.err
    assert found["learnt_from"] == [one["image"] for one in found["images"][:8]]
    assert [one["truth"] for one in found["images"][7:9]] == ["pearlite-fine", "none"]
    assert all(0 <= one["p_none"] <= 1 for one in found["images"])
    assert found["options"] == {
        "crops": 4, "outsiders": ["spheroidite-fine"], "pixel_size_um": None,
    }  # fmt: skip
    done = run(
        "evaluate", "structure", "--model", model, "--data", data, "-o", scores, *options,
        "--outsider", "network",
    )  # fmt: skip
    assert done.code == 0, done.err
    said = "the model knows network: it is no outsider to this model"
    assert said in done.err
    found = json.loads(scores.read_text())
    assert found["notes"][1] == said
    assert found["classes_without_images"] == ["network"]


def test_bad_input_is_one_line(run, data, tmp_path) -> None:
    model = tmp_path / "m.safetensors"
    for options, said in (
        (("--data", tmp_path / "nowhere"), "no such folder"),
        (("--data", data, "--without", "bainite"), "has no class 'bainite'"),
        (("--data", data, "--smallest-crop", 90), "no image of the class"),
        (("--data", data, "--largest-crop", 90), "--largest-crop 90: is smaller than"),
        (("--data", data, "--margin", 0), "margin: must be larger than 0, not 0"),
        (("--data", data, "--encoder-weights", tmp_path / "none.pt"), "none.pt"),
    ):
        done = run("train", "structure", "-o", model, *options)
        assert done.code == 2, done.err
        assert len(done.errors) == 1
        assert said in done.err
        assert not model.exists()
    weights = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, weights)
    done = run(
        "train", "structure", "-o", model, "--data", data, *QUICK, "--encoder-weights", weights
    )
    assert done.code == 2
    assert "not the weights of a ResNet18" in done.err
    done = run(
        "classify", "structure", data / "network", "-o", tmp_path / "out", "--model", "absent"
    )
    assert done.code == 2
    assert not (tmp_path / "out").exists()


def test_a_training_starts_from_the_weights_of_a_file(run, data, tmp_path) -> None:
    weights, model = tmp_path / "backbone.pt", tmp_path / "m" / "tuned.safetensors"
    torch.save(resnet18(weights=None).state_dict(), weights)
    done = run(
        "train", "structure", "--data", data, "-o", model, *QUICK, "--encoder-weights", weights,
        "--scale-free", "--held-out", 0,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "nothing is held out" in done.err
    assert read_card(model).training["encoder_weights"] == "backbone.pt"
    # Without a scale no pixel size is needed.
    image = tmp_path / "unknown.tif"
    tifffile.imwrite(image, tifffile.imread(next((data / "network").iterdir())))
    done = run(
        "classify", "structure", image, "-o", tmp_path / "out", "--model", model, "--crops", 2
    )
    assert done.code == 0, done.err


def test_choices_are_those_of_the_recipe() -> None:
    for choices, name in (
        (command.Triplets, "triplets"),
        (command.StructureAugmentation, "augmentation"),
    ):
        for choice in choices:
            assert getattr(StructureRecipe(**{name: choice.value}), name) == choice.value
