"""`train grain-size` and `evaluate grain-size` on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from napari_metallography.grains.line_model import load_line_model
from napari_metallography.models.file import read_card

FAST = ("--iterations", "2", "--batch-size", "4", "--validate-every", "1", "--device", "cpu")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Stripes as coarse as their G says, eight specimens of one image each."""
    rows = []
    for number in range(8):
        period = (40, 80)[number % 2]
        grain_size = (10.64, 8.64)[number % 2]
        y, x = (np.arange(n) + 5 * number for n in (300, 320))
        dark = (y % period < 3)[:, None] | (x % period < 3)
        noise = np.random.default_rng(number).normal(0, 5, dark.shape)
        image = np.clip(np.where(dark, 60, 170) + noise, 0, 255).astype(np.uint8)
        io.imsave(tmp_path / f"{number}.png", image, check_contrast=False)
        rows.append((f"{number}.png", 0.2, grain_size, f"S{number}"))
    path = tmp_path / "index.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "pixel_size_um", "G", "specimen"), *rows])
    return path


def test_a_table_trains_a_model_that_evaluates(run, table, tmp_path) -> None:
    model = tmp_path / "out" / "lines.safetensors"
    done = run("train", "grain-size", "--data", table, "-o", model, "--storage", "int8", *FAST)
    assert done.code == 0, done.err
    assert {path.name for path in model.parent.iterdir()} == {
        "lines.safetensors",
        "history.csv",
        "training.json",
    }
    card = read_card(model)
    assert card.task == "grain-size"
    assert card.lines is not None
    assert card.lines.pixel_um == 0.2
    assert model.stat().st_size < 16 * 2**20
    report = json.loads((model.parent / "training.json").read_text(encoding="utf-8"))
    assert (report["training_images"], report["validation_images"]) == (7, 1)

    scores = tmp_path / "scores.json"
    done = run(
        *("evaluate", "grain-size", "--model", model, "--data", table, "-o", scores),
        *("--rows", "2", "--columns", "1"),
    )
    assert done.code == 0, done.err
    found = json.loads(scores.read_text(encoding="utf-8"))
    assert found["n"] == 8
    assert set(found["by_lines"]) == {"1", "3"}
    assert set(found["by_grade"]) == {"8.5", "10.5"}
    assert 0 <= found["accuracy"] <= found["within_one_class"] <= 1
    assert found["provenance"]["model_digest"] == load_line_model(str(model)).digest


def test_synthetic_images_train_a_model(run, tmp_path) -> None:
    model = tmp_path / "lines.safetensors"
    done = run(
        *("train", "grain-size", "--synthetic", 14, "-o", model, "--processes", 1),
        *("--recipe", "paper", "--loss", "cross-entropy", *FAST),
    )
    assert done.code == 0, done.err
    assert {path.name for path in tmp_path.iterdir()} == {
        "lines.safetensors",
        "history.csv",
        "training.json",
    }
    assert read_card(model).training["loss"] == "cross-entropy"


def test_paper_mode_is_kept_on_the_card(run, table, tmp_path) -> None:
    model = tmp_path / "out" / "lines.safetensors"
    done = run("train", "grain-size", "--data", table, "--paper-mode", "-o", model, *FAST)
    assert done.code == 0, done.err
    card = read_card(model)
    assert card.lines is not None
    assert card.lines.pixel_um is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "give the images by --data"),
        (("--data", "x.csv", "--synthetic", "20"), "give the images by --data"),
        (("--synthetic", "20", "--paper-mode"), "--paper-mode needs images of one magnification"),
        (("--data", "missing.csv"), "missing.csv: no such file"),
        (("--synthetic", "20", "--iterations", "0"), "iterations"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(run, tmp_path, options, says) -> None:
    done = run("train", "grain-size", "-o", tmp_path / "m.safetensors", *options)
    assert done.code == 2
    assert len(done.errors) == 1
    assert says in done.errors[0]
    assert not any(tmp_path.iterdir())


def test_a_segmentation_model_grades_nothing(run, table, tmp_path) -> None:
    done = run(
        *("evaluate", "grain-size", "--model", "uhcs-carbides", "--data", table),
        *("-o", tmp_path / "scores.json"),
    )
    assert done.code == 2
    assert "a model for segmentation, not for grain-size" in done.errors[0]


def test_a_folder_of_lines_that_was_there_is_kept(run, tmp_path) -> None:
    kept = tmp_path / "grain.lines" / "my_bank.npz"
    kept.parent.mkdir()
    kept.write_bytes(b"hours of work")
    done = run("train", "grain-size", "--synthetic", 14, "-o", tmp_path / "grain.safetensors")
    assert done.code == 2
    assert "exists already; use its lines with --lines" in done.err
    assert kept.read_bytes() == b"hours of work"
