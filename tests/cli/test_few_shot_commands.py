from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from napari_metallography.cli import train_few_shot as command
from napari_metallography.models.file import read_card
from napari_metallography.training.recipe import FewShotRecipe

QUICK = (
    "--side", 32, "--ways", 2, "--iterations", 2, "--validation-tasks", 1, "--tuning-steps", 1,
    "--validate-every", 2,
)  # fmt: skip


def _folder(folder: Path, periods, count: int = 3) -> Path:
    """Images of stripes, a folder a period."""
    random = np.random.default_rng(0)
    for period in periods:
        (folder / f"period{period}").mkdir(parents=True)
        for number in range(count):
            phase = (np.arange(40) + random.integers(40)) / period
            plane = 120 + 60 * np.sin(2 * np.pi * phase) + random.normal(0, 6, (40, 40))
            path = folder / f"period{period}" / f"{number}.tif"
            tifffile.imwrite(path, np.clip(plane, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """To learn from, and to validate and test on."""
    return _folder(tmp_path / "a" / "train", (4, 8)), _folder(tmp_path / "b" / "val", (6, 12))


def test_a_model_is_trained_scored_and_starts_another(run, folders, tmp_path) -> None:
    data, val = folders
    more = _folder(tmp_path / "c" / "train", (3, 16))
    model = tmp_path / "model" / "stripes.safetensors"
    both = ("--data", data, "--data", more, "--val-data", val)
    done = run("train", "few-shot", *both, "-o", model, *QUICK)
    assert done.code == 0, done.err
    assert "18 of 18 images have no pixel size: all are shown whole" in done.err
    assert {path.name for path in model.parent.iterdir()} == {
        "stripes.safetensors", "history.csv", "training.json",
    }  # fmt: skip
    assert pd.read_csv(model.parent / "history.csv")["iteration"].tolist() == [1, 2]
    report = json.loads((model.parent / "training.json").read_text())
    assert report["classes"] == ["period16", "period3", "period4", "period8"]
    assert report["validation_classes"] == ["period12", "period6"]
    assert report["training_images"][0] == "train/period4/0.tif"
    assert "train 2/period3/0.tif" in report["training_images"]
    assert set(report["accuracy_by_tuning_rate"]) == {"0", "0.0001", "0.001", "0.01"}
    card = read_card(model)
    assert card.data.name == "train, train 2"
    assert card.few_shot.tuning_rate in (0, 1e-4, 1e-3, 1e-2)

    scores = tmp_path / "scores.json"
    options = ("--ways", 2, "--shots", 2, "--tasks", 3, "-o", scores)
    done = run("evaluate", "few-shot", "--model", model, "--data", val, *options)
    assert done.code == 0, done.err
    found = json.loads(scores.read_text())
    for name in ("accuracy_prototypes", "accuracy_finetuned"):
        low, high = found[name]["ci95"]
        assert 0 <= low <= found[name]["mean"] <= high <= 1
        assert found[name]["n_tasks"] == 3
    gain = found["accuracy_finetuned"]["mean"] - found["accuracy_prototypes"]["mean"]
    assert found["gain"]["mean"] == pytest.approx(gain)
    assert found["known"] == []
    assert len(found["provenance"]["model_digest"]) == 64
    done = run("evaluate", "few-shot", "--model", model, "--data", data, *options)
    assert "period4, period8: names of classes that the model learnt from" in done.err

    again = tmp_path / "again" / "again.safetensors"
    weights = ("--encoder-weights", model)
    done = run("train", "few-shot", *both, "-o", again, *QUICK, *weights)
    assert done.code == 0, done.err
    assert read_card(again).training["encoder_weights"] == "stripes.safetensors"


def test_bad_input_is_one_line(run, folders, tmp_path) -> None:
    data, val = folders
    model = tmp_path / "m.safetensors"
    weights = tmp_path / "w.pt"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, weights)
    given = ("--data", data, "--val-data", val, "--side", 32)
    for options, said in (
        (("--data", tmp_path / "nowhere", "--val-data", val), "no such folder"),
        (given, "the training: tasks of 5 classes need 5 at least, and the data hold 2"),
        ((*given, "--ways", 2, "--shots", 3), "need 2 classes of 4 images or more"),
        (("--data", data, "--val-data", data, "--ways", 2), "in the training and in the valid"),
        ((*given, "--ways", 1), "ways: must be 2 or more, not 1"),
        ((*given, *QUICK, "--encoder-weights", "nosuch"), "nosuch: no such file, and no backbone"),
        ((*given, *QUICK, "--encoder-weights", weights), "w.pt: not the weights of a ResNet"),
    ):
        done = run("train", "few-shot", "-o", model, *options)
        assert done.code == 2, done.err
        assert len(done.errors) == 1
        assert said in done.err
        assert not model.exists()


def test_a_model_of_one_scale_asks_for_pixel_sizes(run, folders, tmp_path) -> None:
    data, val = folders
    model, scores = tmp_path / "m" / "m.safetensors", tmp_path / "scores.json"
    known = ("--data", data, "--val-data", val, "--pixel-size", 0.1)
    done = run("train", "few-shot", *known, "-o", model, *QUICK)
    assert done.code == 0, done.err
    assert read_card(model).few_shot.pixel_um == pytest.approx(40 * 0.1 / 32)
    given = ("evaluate", "few-shot", "--model", model, "--data", val, "-o", scores)
    few = ("--ways", 2, "--tasks", 1)
    done = run(*given, *few)
    assert done.code == 2
    assert "6 of 6 images have no pixel size, and the model compares at one scale" in done.err
    done = run(*given, *few, "--pixel-size", 0.05)
    assert done.code == 0, done.err
    assert "6 images show less than the 4 µm that the model looks at" in done.err
    assert json.loads(scores.read_text())["accuracy_prototypes"]["ci95"] is None
    for rate, tuned in ((0, False), (0.01, True)):
        again = tmp_path / f"{rate}.json"
        done = run(*given[:-1], again, *few, "--pixel-size", 0.1, "--rate", rate, "--steps", 1)
        assert ("nothing tuned" in done.out) is not tuned
        assert json.loads(again.read_text())["tuned"] is tuned


def test_no_two_folders_have_one_name(tmp_path) -> None:
    folders = [tmp_path / "x" / "a", tmp_path / "y" / "a", tmp_path / "z" / "a 2"]
    assert command.folder_names(folders) == ["a", "a 2", "a 2 2"]


def test_choices_are_those_of_the_recipe() -> None:
    for choices, name in (
        (command.MetricChoice, "metric"),
        (command.TaskAugmentation, "augmentation"),
    ):
        for choice in choices:
            assert getattr(FewShotRecipe(**{name: choice.value}), name) == choice.value
