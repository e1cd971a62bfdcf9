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


@pytest.fixture(scope="module")
def data(call, tmp_path_factory) -> Path:
    """Four images each of three classes, at two pixel sizes."""
    folder = tmp_path_factory.mktemp("structures") / "data"
    sizes = ("--pixel-size", 0.016, "--pixel-size", 0.032)
    names = ("network", "pearlite-fine", "spheroidite-fine")
    chosen = [part for name in names for part in ("--class", name)]
    shape = ("--height", 80, "--width", 96)
    assert call("synthesize", "structure", "-o", folder, "--count", 4, *chosen, *sizes, *shape) == 0
    return folder


@pytest.fixture(scope="module")
def model(call, data, tmp_path_factory) -> Path:
    """A model of two of the classes, trained once."""
    path = tmp_path_factory.mktemp("model") / "two.safetensors"
    left = ("--without", "spheroidite-fine")
    assert call("train", "structure", "--data", data, "-o", path, *QUICK, *left) == 0
    return path


@pytest.fixture
def images(data) -> list[Path]:
    return sorted((data / "network").iterdir())[:2]


def test_a_training_leaves_a_model_its_history_and_a_report(model) -> None:
    files = {path.name for path in model.parent.iterdir()}
    assert files == {"two.safetensors", "history.csv", "training.json"}
    report = json.loads((model.parent / "training.json").read_text())
    assert report["classes"] == ["network", "pearlite-fine"]
    assert len(report["training_images"]) == 6


def test_images_are_named_once_each(run, model, images, tmp_path) -> None:
    out = tmp_path / "out"
    again = images[0].parent / ".." / "network" / images[0].name
    done = run("classify", "structure", *images, again, "-o", out, "--model", model, "--crops", 8)
    assert done.code == 0, done.err
    table = pd.read_csv(out / "classes.csv")
    assert table["image"].tolist() == [path.name for path in images]
    assert table["pixel_size_um"].tolist() == pytest.approx([0.016, 0.032])
    shares = table[["probability_network", "probability_pearlite-fine", "probability_none"]]
    assert shares.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert (shares == shares.round(6)).all(axis=None)
    assert set(table["answer"]) <= {"network", "pearlite-fine", "none"}
    assert (table["crops"] == 8).all()
    told = json.loads((out / "classes.json").read_text())
    assert len(told["model_digest"]) == 64
    assert [one["image"] for one in told["images"]] == table["image"].tolist()
    assert told["images"][0]["pixel_size_from"] == "resolution tags"
    assert told["skipped"] == []
    assert told["saliency"] is None


def test_an_extrapolation_is_told(run, model, images, tmp_path) -> None:
    out = tmp_path / "out"
    few = ("--crops", 4, "--pixel-size", 9)
    done = run("classify", "structure", images[0], "-o", out, "--model", model, *few)
    assert done.err.count("not trained on") == 1
    assert pd.read_csv(out / "classes.csv")["note"].tolist() == ["extrapolation: 100% of the crops"]
    told = json.loads((out / "classes.json").read_text())
    assert "100% of its crops" in told["images"][0]["note"]


def _mapped(run, image: Path, model: Path, out: Path, *options: object):
    """Classified with a saliency map; the options come last."""
    few = ("--model", model, "--crops", 2, "--saliency")
    return run("classify", "structure", image, "-o", out, *few, *options)


def test_maps_are_written_beside_the_answers(run, model, images, tmp_path) -> None:
    out = tmp_path / "out"
    windows = ("--window", 60, "--stride", 30, "--descriptor-map")
    done = _mapped(run, images[0], model, out, *windows)
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


def test_a_saliency_map_says_what_is_none_as_a_whole(run, model, images, tmp_path) -> None:
    out, strict = tmp_path / "out", tmp_path / "strict.safetensors"
    card, state = read_card(model), read_model(model, "structure").state
    shown = card.structure.model_copy(update={"most_strange": 0.0})
    write_model(strict, card.model_copy(update={"structure": shown}), state)
    picture = out / f"{images[0].stem}_saliency.png"
    _mapped(run, images[0], model, out, "--window", 60)
    plain = read_raster(picture)[0].shape[0]
    done = _mapped(run, images[0], strict, out, "--window", 60)
    assert "none as a whole; its saliency map shows what comes nearest" in done.err
    assert read_raster(picture)[0].shape[0] > plain
    assert pd.read_csv(out / "classes.csv")["spread"].isna().all()
    assert read_labels(picture.with_suffix(".tif")).provenance["strange_planes"] == [0]


def test_windows_that_cannot_be_are_refused(run, model, images, tmp_path) -> None:
    out = tmp_path / "out"
    done = _mapped(run, images[0], model, out, "--stride", 0)
    assert done.code == 2
    assert "--stride: must" in done.err
    done = _mapped(run, images[0], model, out, "--window", 60, "--no-saliency")
    assert done.code == 2
    assert "--window: for the saliency map; add --saliency" in done.err
    assert not out.exists()


def test_answers_are_kept_where_there_can_be_no_map(run, model, images, tmp_path) -> None:
    done = _mapped(run, images[0], model, tmp_path, "--window", 90)
    assert done.code == 2
    assert "do not fit" in done.err
    assert len(pd.read_csv(tmp_path / "classes.csv")) == 1
    assert "do not fit" in json.loads((tmp_path / "classes.json").read_text())["skipped"][0]
    assert not [*tmp_path.glob("*saliency*")]


def test_a_plane_of_one_grey_value_is_skipped_and_unlabelled(run, model, images, tmp_path) -> None:
    path = _stack(images[0], tmp_path)
    done = _mapped(run, path, model, tmp_path, "--window", 70, "--pixel-size", 0.016)
    assert done.code == 0, done.err
    assert done.err.count("1 skipped") == 1
    assert pd.read_csv(tmp_path / "classes.csv")["plane"].tolist() == [0, 2]
    planes = read_labels(tmp_path / "stack_saliency.tif").indices
    assert (planes[1] == 255).all()
    assert (planes[0] == planes[2]).all()


def test_the_picture_of_a_stack_speaks_of_its_first_plane(model, images, tmp_path) -> None:
    path, windows = _stack(images[0], tmp_path), SaliencyParameters(window_px=70)
    given = (load_structure_model(str(model)), torch.device("cpu"), PixelSizes(0.016), windows)
    heights = []
    for strange in ([], [2], [0]):
        drain(map_file(path, tmp_path, *given, strange=strange))
        heights.append(read_raster(tmp_path / "stack_saliency.png")[0].shape[0])
    assert heights[0] == heights[1] < heights[2]


def _stack(image: Path, folder: Path) -> Path:
    """Of three planes, the second of one grey value."""
    planes = np.stack([tifffile.imread(image)] * 3)
    planes[1] = 90
    tifffile.imwrite(folder / "stack.tif", planes, photometric="minisblack")
    return folder / "stack.tif"


def _evaluated(run, data: Path, model: Path, scores: Path, *outsiders: str):
    """Scores and what was said, four crops an image."""
    chosen = [part for name in outsiders for part in ("--outsider", name)]
    options = ("--model", model, "--data", data, "-o", scores, "--crops", 4, *chosen)
    done = run("evaluate", "structure", *options)
    assert done.code == 0, done.err
    return json.loads(scores.read_text()), done


def test_a_model_is_scored_with_outsiders(run, data, model, tmp_path) -> None:
    found, done = _evaluated(run, data, model, tmp_path / "scores.json", "spheroidite-fine")
    assert found["n"] == 8
    assert found["outsiders"] == 4
    assert 0 <= found["outsiders_rejected"] <= 1
    assert found["mean_crops"] == 4
    assert sum(sum(row.values()) for row in found["confusion"].values()) == 8
    assert "8 of 12 images bear the names of images that the model learnt from" in done.err
    assert found["learnt_from"] == [one["image"] for one in found["images"][:8]]
    assert [one["truth"] for one in found["images"][7:9]] == ["pearlite-fine", "none"]
    assert all(0 <= one["p_none"] <= 1 for one in found["images"])
    options = {"crops": 4, "outsiders": ["spheroidite-fine"], "pixel_size_um": None}
    assert found["options"] == options


def test_an_outsider_that_the_model_knows_is_told(run, data, model, tmp_path) -> None:
    outsiders = ("spheroidite-fine", "network")
    found, done = _evaluated(run, data, model, tmp_path / "scores.json", *outsiders)
    said = "the model knows network: it is no outsider to this model"
    assert said in done.err
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
