"""`train`, `evaluate` and `classify defects`, and `models export`, on the command line."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage import io

from napari_metallography.classification.images import prepared
from napari_metallography.io.labels import read_labels
from napari_metallography.models.file import read_card

FAST = ("--iterations", "48", "--batch-size", "8", "--validate-every", "48", "--side", "48")
RECIPE = ("--augmentation", "flips", "--learning-rate", "0.003", "--device", "cpu")


Striped = Callable[..., NDArray[np.uint8]]


def _folder(path: Path, striped: Striped, count: int, first: int = 0) -> Path:
    for name in ("upright", "lying"):
        (path / name).mkdir(parents=True)
        for seed in range(first, first + count):
            _save(path / name / f"{name}{seed}.png", striped(name, seed))
    return path


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    io.imsave(path, pixels, check_contrast=False)


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


@pytest.fixture(scope="module")
def data(tmp_path_factory, striped) -> Path:
    return _folder(tmp_path_factory.mktemp("data") / "patterns", striped, 12)


@pytest.fixture(scope="module")
def model(tmp_path_factory, data, call) -> Path:
    """Trained once for all tests."""
    path = tmp_path_factory.mktemp("model") / "patterns.safetensors"
    command = ["train", "defects", "--data", data, "-o", path, *FAST, *RECIPE, "--held-out", "0.25"]
    assert call(*command, "--pixel-size", "0.5") == 0
    return path


def test_a_folder_a_class_trains_a_model(model) -> None:
    assert {p.name for p in model.parent.iterdir()} == {
        "patterns.safetensors",
        "history.csv",
        "training.json",
    }
    card = read_card(model)
    assert card.task == "defects"
    assert [one.name for one in card.classes] == ["lying", "upright"]
    assert card.pixel_size_um == (0.5, 0.5)
    assert card.metrics["validation accuracy"] > 0.9
    assert card.defects is not None
    assert (card.defects.side, card.defects.window_px) == (48, 48)
    report = json.loads((model.parent / "training.json").read_text(encoding="utf-8"))
    assert len(report["training_images"]) == 18
    assert not set(report["training_images"]) & set(report["validation_images"])


def test_it_evaluates_with_outsiders_and_in_worse_light(run, model, striped, tmp_path) -> None:
    other = _folder(tmp_path / "other", striped, 5, first=100)
    (other / "none").mkdir()
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)
        _save(other / "none" / f"{seed}.png", noise)
    (other / "upright" / "broken.png").write_bytes(b"no image")
    scores = tmp_path / "scores.json"
    done = run(
        *("evaluate", "defects", "--model", model, "--data", other, "-o", scores),
        "--robustness",
    )
    assert done.code == 0, done.err
    assert "1 skipped" in done.err
    found = json.loads(scores.read_text(encoding="utf-8"))
    assert found["n"] == 10
    assert found["accuracy"] > 0.8
    assert set(found["confusion"]) == {"lying", "upright"}
    assert found["outsiders"] == 4
    assert found["outsiders_rejected"] == 1.0
    assert set(found["robustness"]) == set(found["robustness_answered"])
    assert len(found["robustness"]) == 4
    assert found["learnt_from"] == 0
    rows = {row["image"]: row for row in found["images"]}
    assert len(rows) == 14
    assert rows["none/0.png"]["class"] == "none"
    assert rows["none/0.png"]["answer"] == "unsure"
    assert rows["none/0.png"]["unsure_because"]
    right = [row["class"] == row["most_probable"] for row in rows.values()]
    assert sum(right) == round(found["accuracy"] * 10)
    assert found["provenance"]["data"] == str(other)


def test_images_that_were_learnt_from_are_told(run, model, data, tmp_path) -> None:
    scores = tmp_path / "scores.json"
    done = run("evaluate", "defects", "--model", model, "--data", data, "-o", scores)
    assert done.code == 0, done.err
    assert "18 of 24 images bear the names of images that the model learnt from" in done.err
    assert json.loads(scores.read_text(encoding="utf-8"))["learnt_from"] == 18


def test_the_same_image_of_other_depth_gets_the_same_answer(run, model, striped, tmp_path) -> None:
    grey = striped("upright", 60)
    kinds = {
        "8": grey,
        "12": grey.astype(np.uint16) * 16,
        "16": grey.astype(np.uint16) * 257,
        "unit": (grey / 255).astype(np.float32),
        "float": grey.astype(np.float32),
    }
    for name, image in kinds.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    files = [tmp_path / f"{name}.tif" for name in kinds]
    done = run("classify", "defects", *files, "-o", tmp_path / "out", "--model", model)
    assert done.code == 0, done.err
    rows = {
        row["image"]: float(row["probability_upright"])
        for row in _rows(tmp_path / "out" / "classes.csv")
    }
    assert len(rows) == 5
    for name, probability in rows.items():
        assert probability == pytest.approx(rows["8.tif"], abs=0.02), name


def test_files_that_cannot_be_used_are_listed(run, model, striped, tmp_path) -> None:
    _save(tmp_path / "good.png", striped("upright", 60))
    (tmp_path / "bad.jpg").write_text("no image")
    files = (tmp_path / "good.png", tmp_path / "bad.jpg")
    done = run("classify", "defects", *files, "-o", tmp_path / "out", "--model", model)
    assert done.code == 2
    told = json.loads((tmp_path / "out" / "classes.json").read_text(encoding="utf-8"))
    (skipped,) = told["skipped"]
    assert "bad.jpg" in skipped


def test_every_plane_of_a_stack_is_named(run, model, striped, tmp_path) -> None:
    stack = np.stack([striped(name, 50) for name in ("upright", "lying", "upright")])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    out = tmp_path / "out"
    done = run("classify", "defects", tmp_path / "stack.tif", "-o", out, "--model", model)
    assert done.code == 0, done.err
    rows = _rows(out / "classes.csv")
    assert [row["most_probable"] for row in rows] == ["upright", "lying", "upright"]
    assert [row["plane"] for row in rows] == ["0", "1", "2"]
    for row in rows:
        shares = [float(row[f"probability_{name}"]) for name in ("lying", "upright")]
        assert sum(shares) == pytest.approx(1)
        assert row["answer"] in (row["most_probable"], "unsure")
    assert "no pixel size is known" in done.err


def test_a_scanned_strip_gives_a_map_of_where_what_is(run, model, striped, tmp_path) -> None:
    strip = np.hstack([striped("upright", 60, (48, 192)), striped("lying", 61, (48, 192))])
    _save(tmp_path / "strip.png", strip)
    out = tmp_path / "out"
    done = run(
        *("classify", "defects", tmp_path / "strip.png", "-o", out, "--model", model),
        *("--scan", "--risk", "1", "--pixel-size", "0.5"),
    )
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} == {
        "classes.csv",
        "classes.json",
        "windows.csv",
        "strip_defects.tif",
        "strip_defects.png",
    }
    labels = read_labels(out / "strip_defects.tif")
    assert labels.indices.shape == strip.shape
    left, right = labels.indices[:, :150], labels.indices[:, -150:]
    assert np.isin(left, (1, 255)).all()
    assert np.isin(right, (0, 255)).all()
    assert (left == 1).mean() > 0.5
    assert (right == 0).mean() > 0.5


def test_the_onnx_file_gives_the_same_answers(run, model, data, tmp_path) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    file, out = tmp_path / "m.onnx", tmp_path / "out"
    assert run("models", "export", model, "-o", file).code == 0
    image = data / "lying" / "lying3.png"
    assert run("classify", "defects", image, "-o", out, "--model", model).code == 0
    (row,) = _rows(out / "classes.csv")
    card = read_card(model)
    grey = io.imread(image)
    shown = prepared(np.repeat(grey[..., None], 3, axis=2), (48, 48), card.defects.jpeg_quality)
    session = onnxruntime.InferenceSession(file)
    probabilities, strangeness = session.run(
        None, {"images": shown.transpose(2, 0, 1)[None].astype(np.float32)}
    )
    expected = [float(row["probability_lying"]), float(row["probability_upright"])]
    assert probabilities[0] == pytest.approx(expected, abs=1e-4)
    assert strangeness[0] == pytest.approx(float(row["strangeness"]), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--data", "missing"), "missing: no such folder"),
        (("--data", "DATA", "--kernels", "3,4"), "--kernels 3,4: give odd numbers"),
        (("--data", "DATA", "--spliced", "T"), "--spliced T: give T or F"),
        (("--data", "DATA", "--iterations", "0"), "iterations"),
        (("--data", "DATA", "--val-data", "DATA"), "are among those to learn from"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(run, data, tmp_path, options, says) -> None:
    arguments = [str(data) if option == "DATA" else option for option in options]
    done = run("train", "defects", "-o", tmp_path / "m.safetensors", *arguments)
    assert done.code == 2
    assert len(done.errors) == 1
    assert says in done.errors[0]
    assert not any(tmp_path.iterdir())


def test_another_models_classes_are_refused(run, model, striped, tmp_path) -> None:
    other = _folder(tmp_path / "other", striped, 1)
    (other / "upright").rename(other / "dents")
    done = run(
        *("evaluate", "defects", "--model", model, "--data", other),
        *("-o", tmp_path / "scores.json"),
    )
    assert done.code == 2
    assert "the class 'dents' is none of the model's" in done.errors[0]


def test_a_model_is_trained_further_on_other_classes(run, model, striped, tmp_path) -> None:
    other = _folder(tmp_path / "other", striped, 4, first=50)
    (other / "upright").rename(other / "dents")
    path = tmp_path / "further" / "m.safetensors"
    command = ("train", "defects", "--data", other, "-o", path, "--start-from", model)
    few = ("--iterations", "1", "--batch-size", "4", "--device", "cpu")
    done = run(*command, "--side", "96", *few)
    assert done.code == 2
    assert "--side cannot go with --start-from" in done.errors[0]
    done = run(*command, *few)
    assert done.code == 0, done.errors
    card = read_card(path)
    assert [one.name for one in card.classes] == ["dents", "lying"]
    assert card.parent == hashlib.sha256(model.read_bytes()).hexdigest()
    assert card.defects is not None
    assert card.defects.side == 48


def test_an_image_of_one_grey_value_is_unsure(run, model, tmp_path) -> None:
    _save(tmp_path / "black.png", np.zeros((48, 48), np.uint8))
    done = run("classify", "defects", tmp_path / "black.png", "-o", tmp_path, "--model", model)
    assert done.code == 0, done.errors
    (row,) = _rows(tmp_path / "classes.csv")
    assert row["answer"] == "unsure"


def test_images_of_one_name_are_told_apart_by_their_folders(run, model, striped, tmp_path) -> None:
    for folder in ("steel/a", "steel/b"):
        (tmp_path / folder).mkdir(parents=True)
        _save(tmp_path / folder / "1.png", striped("lying", 1))
    command = ("classify", "defects", "-o", tmp_path / "out", "--model", model)
    assert run(*command, tmp_path / "steel" / "a", tmp_path / "steel" / "b" / "1.png").code == 0
    assert [row["image"] for row in _rows(tmp_path / "out" / "classes.csv")] == [
        "a/1.png",
        "b/1.png",
    ]
    assert run(*command, tmp_path / "steel" / "a").code == 0
    assert [row["image"] for row in _rows(tmp_path / "out" / "classes.csv")] == ["1.png"]


def test_planes_that_cannot_be_used_are_skipped_and_listed(run, model, striped, tmp_path) -> None:
    stack = np.stack([striped("lying", seed).astype(np.float32) for seed in range(3)])
    stack[0, 5, 5] = np.nan
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    out = tmp_path / "out"
    command = ("classify", "defects", "-o", out, "--model", model, "--risk", "1")
    done = run(*command, tmp_path / "stack.tif", "--scan")
    assert done.code == 0, done.err
    assert "note: 1 skipped:" in done.err
    assert "plane 0: holds NaN" in done.err
    assert [row["plane"] for row in _rows(out / "classes.csv")] == ["1", "2"]
    (skipped,) = json.loads((out / "classes.json").read_text("utf-8"))["skipped"]
    assert "plane 0: holds NaN" in skipped
    labels = read_labels(out / "stack_defects.tif")
    assert (labels.indices[0] == 255).all()
    assert labels.indices.shape == stack.shape
    tifffile.imwrite(tmp_path / "bad.tif", stack[:1], photometric="minisblack")
    done = run(*command, tmp_path / "bad.tif")
    assert done.code == 2
    assert "holds NaN" in done.errors[0]
