"""Training on the command line: searches, several processes, kills and full disks."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from napari_metallography.classes import named_classes
from napari_metallography.devices import precisions
from napari_metallography.io.labels import LabelImage, labels_path, read_labels, write_labels
from napari_metallography.labelled import LabelledImage
from napari_metallography.models.file import read_card
from napari_metallography.regions import Field
from napari_metallography.segmentation.model import load_model, save_model
from napari_metallography.training.fine_tuning import held_out_words
from napari_metallography.training.recipe import RECIPES
from napari_metallography.training.results import checkpoint_path
from napari_metallography.training.split import split

_TOLERANCE = 1e-4 if precisions(torch.device("cpu"))[0] == "32-true" else 5e-3
"""Half precision, where the processor has it, rounds otherwise in smaller batches."""

OPTIONS = (
    *("--encoder-weights", "random", "--recipe", "paper", "--iterations", "3"),
    *("--crop", "32", "--batch-size", "4", "--classes", "matrix,carbide", "--device", "cpu"),
)


@pytest.fixture
def squares(tmp_path) -> Path:
    """Four micrographs with bright squares, and their labels."""
    random = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(4):
        labels = np.zeros((64, 64), np.uint8)
        for row, column in random.integers(4, 50, (8, 2)):
            labels[row : row + 9, column : column + 9] = 1
        grey = np.where(labels == 1, 190, 70) + random.normal(0, 12, labels.shape)
        for folder, pixels in (("images", np.clip(grey, 0, 255)), ("labels", labels)):
            path = tmp_path / folder / f"steel{number}.png"
            path.write_bytes(cv2.imencode(".png", pixels.astype(np.uint8))[1].tobytes())
    return tmp_path


def _words(squares: Path, output: Path, *options: str) -> list[str]:
    return [
        *("train", "segmentation", "--images", str(squares / "images")),
        *("--labels", str(squares / "labels"), "-o", str(output), *OPTIONS, *options),
    ]


def _arguments(squares: Path, output: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "napari_metallography", *_words(squares, output, *options)]


def _train(squares: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _arguments(squares, output, *options), capture_output=True, text=True, check=False
    )


def _losses(model: Path) -> list[float]:
    with model.with_name("history.csv").open(encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_processes_share_each_batch(squares) -> None:
    one, two = squares / "one" / "m.safetensors", squares / "two" / "m.safetensors"
    for model, devices in ((one, "1"), (two, "2")):
        done = _train(squares, model, "--devices", devices, "--freeze-normalisation")
        assert done.returncode == 0, done.stderr
    # The steps depend on each other: equal losses mean equal gradients.
    assert len(_losses(two)) == 3
    assert _losses(two) == pytest.approx(_losses(one), rel=_TOLERANCE)


def test_a_search_trains_baseline_tricks_and_stack_once(squares, run) -> None:
    output = squares / "best.safetensors"
    done = run(*_words(squares, output, "--search"))
    assert done.code == 0, done.err
    with (squares / "best_search.csv").open(encoding="utf-8") as file:
        rows = {row["training"]: row for row in csv.DictReader(file)}
    assert list(rows)[:3] == ["baseline", "strong-augmentation", "enlarged-receptive-field"]
    assert "'transfer' is left out" in done.err
    base = float(rows["baseline"]["miou_percent"])
    for row in rows.values():
        assert float(row["gain_points"]) == pytest.approx(float(row["miou_percent"]) - base)
    assert "count_error_carbide" in rows["baseline"]
    best = max(rows.values(), key=lambda row: float(row["miou_percent"]))
    assert read_card(output).metrics["validation mIoU"] == pytest.approx(
        float(best["miou_percent"]) / 100
    )
    assert len(_losses(output)) == 3
    report = json.loads((squares / "training.json").read_text(encoding="utf-8"))
    assert report["kept_iteration"] == 3
    baseline = squares / "best_search" / "baseline" / "baseline.safetensors"
    made = baseline.stat().st_mtime_ns
    for left in (output, *(squares / name for name in ("history.csv", "training.json"))):
        left.unlink()
    refused = run(*_words(squares, output, "--search"))
    assert refused.code == 2
    assert "best_search.csv: exists already" in refused.err
    (squares / "best_search.csv").unlink()
    again = run(*_words(squares, output, "--search"))
    assert again.code == 0, again.err
    assert baseline.stat().st_mtime_ns == made


def test_it_says_that_nothing_is_held_out(run, squares) -> None:
    done = run(*_command(squares, squares / "labels", "--encoder-weights", "random"))
    assert done.code == 0, done.err
    assert done.err.count("nothing is held out") == 1


def test_one_painted_class_is_named_where_255_is_unlabelled(run, squares) -> None:
    for path in (squares / "labels").iterdir():
        path.write_bytes(cv2.imencode(".png", _strokes(path, [0]))[1].tobytes())
    given = ("--encoder-weights", "random", "--ignore", 255)
    done = run(*_command(squares, squares / "labels", *given))
    assert done.code == 2
    assert done.errors == [
        "error: only 'matrix' is painted; paint some strokes of another class too"
    ]


@pytest.mark.parametrize(
    ("recipe", "score"),
    [
        ("paper", "validation mIoU, before the held-out labels were learnt"),
        ("adamw", "validation mIoU"),
    ],
)
def test_strokes_on_one_image_are_held_out_as_in_the_window(run, squares, recipe, score) -> None:
    painted = squares / "painted/steel0.png"
    painted.parent.mkdir()
    strokes = _strokes(squares / "labels/steel0.png", [0, 1])
    painted.write_bytes(cv2.imencode(".png", strokes)[1].tobytes())
    given = ("--encoder-weights", "random", "--ignore", 255, "--recipe", recipe)
    done = run(*_command(squares, painted.parent, *given, "--iterations", 3))
    assert done.code == 0, done.err
    parts = split([LabelledImage("steel0", np.zeros((64, 64, 3), np.uint8), strokes)])
    assert parts.held_out == "strokes"
    assert f"note: {held_out_words(parts, RECIPES[recipe])}\n" in done.err
    assert score in read_card(squares / "out/m.safetensors").metrics


@pytest.mark.slow
def test_processes_share_partly_labelled_images_as_one_would(squares) -> None:
    for number, path in enumerate(sorted((squares / "labels").iterdir())):
        labels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        labels[:2, :8] = 1
        labels[4 + 12 * number :] = 255
        path.write_bytes(cv2.imencode(".png", labels)[1].tobytes())
    found = []
    for devices in ("1", "2"):
        model = squares / devices / "m.safetensors"
        done = _train(squares, model, "--devices", devices, "--freeze-normalisation")
        assert done.returncode == 0, done.stderr
        found.append(_losses(model))
    assert found[1] == pytest.approx(found[0], rel=_TOLERANCE)


def test_a_search_starts_from_nothing(squares, run) -> None:
    done = run(*_words(squares, squares / "m.safetensors", "--search", "--devices", "2"))
    assert done.code == 2
    assert done.err.strip().endswith("on one device, without --start-from")


def _named_labels(squares: Path, folder: str, *names: str) -> Path:
    """The labels again, in files that name their classes."""
    for path in sorted((squares / "labels").iterdir()):
        indices = read_labels(path).indices
        labels = LabelImage(indices, named_classes(names), None, Field(indices.shape))
        write_labels(labels_path(squares / folder, path), labels)
    return squares / folder


@pytest.fixture
def parent(squares, untrained) -> Path:
    """An untrained model of three classes."""
    made = untrained(["matrix", "carbide", "pore"], name="parent")
    path = squares / "parent.safetensors"
    save_model(path, made.card, made.network)
    return path


def _strokes(path: Path, classes: list[int]) -> np.ndarray:
    """Labels of the classes along every eighth row, 255 elsewhere."""
    truth = read_labels(path).indices
    painted = np.isin(truth, classes) & (np.arange(len(truth)) % 8 == 0)[:, None]
    return np.where(painted, truth, 255).astype(np.uint8)


def _command(squares: Path, labels: Path, *more: object) -> tuple[object, ...]:
    return (
        *("train", "segmentation", "--images", squares / "images", "--labels", labels),
        *("-o", squares / "out/m.safetensors", "--crop", 32, "--batch-size", 2, "--iterations", 1),
        *("--device", "cpu", *more),
    )


def test_labels_to_validate_on_name_the_same_classes(run, squares) -> None:
    labels = _named_labels(squares, "a", "matrix", "carbide")
    others = _named_labels(squares, "b", "carbide", "matrix")
    done = run(*_command(squares, labels, "--val-labels", others, "--encoder-weights", "random"))
    assert done.code == 2
    (error,) = done.errors
    assert "the classes differ" in error
    assert f"{labels}: matrix, carbide" in error
    assert f"{others}: carbide, matrix" in error


def test_names_of_the_labels_say_what_is_kept_of_a_parent(run, squares, parent) -> None:
    labels = _named_labels(squares, "a", "pore", "graphite")
    done = run(*_command(squares, labels, "--start-from", parent))
    assert done.code == 0, done.err
    assert "note: model parent: kept: pore; learnt anew: graphite; left out: matrix, carbide" in (
        done.err.splitlines()
    )
    card = read_card(squares / "out/m.safetensors")
    assert [phase.name for phase in card.classes] == ["pore", "graphite"]


def test_the_option_comes_before_the_names_of_the_labels(run, squares, parent) -> None:
    labels = _named_labels(squares, "a", "pore", "graphite")
    given = ("--start-from", parent, "--classes", "matrix,carbide,pore")
    done = run(*_command(squares, labels, *given))
    assert done.code == 0, done.err
    assert "model parent" not in done.err
    card = read_card(squares / "out/m.safetensors")
    assert [phase.name for phase in card.classes] == ["matrix", "carbide", "pore"]


def test_what_labels_without_names_mean_is_said(run, squares, parent) -> None:
    done = run(*_command(squares, squares / "labels", "--start-from", parent))
    assert done.code == 0, done.err
    assert "4 without class names taken as class indices: 0 = matrix, 1 = class 1" in done.err


def test_what_labels_without_names_mean_is_said_with_the_names_of_the_option(run, squares) -> None:
    given = ("--classes", "ferrite,pearlite", "--encoder-weights", "random")
    done = run(*_command(squares, squares / "labels", *given))
    assert done.code == 0, done.err
    assert "class indices: 0 = ferrite, 1 = pearlite, 255 = unlabelled" in done.err
    assert "class 1" not in done.err


@pytest.mark.parametrize("names", ["matrix,,carbide", "matrix,matrix", ","])
def test_classes_have_names_of_their_own(run, squares, names) -> None:
    given = ("--classes", names, "--encoder-weights", "random")
    done = run(*_command(squares, squares / "labels", *given))
    assert done.code == 2
    assert done.errors == [f"error: --classes {names}: give each class a name of its own"]


def test_too_few_classes_are_refused_before_weights_are_looked_for(squares, run) -> None:
    for path in (squares / "labels").iterdir():
        labels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        path.write_bytes(cv2.imencode(".png", labels * np.uint8(2))[1].tobytes())
    nowhere = ("--encoder-weights", str(squares / "nowhere.pt"))
    done = run(*_words(squares, squares / "m.safetensors", *nowhere))
    assert done.code == 2
    assert "label 2, but the 2 classes are 0 to 1" in done.err


@pytest.mark.slow
def test_after_a_kill_a_resumed_training_ends_with_the_same_weights(squares, tmp_path) -> None:
    options = ("--iterations", "60", "--batch-size", "2", "--validate-every", "20")
    whole, killed = tmp_path / "whole/m.safetensors", tmp_path / "killed/m.safetensors"
    assert _train(squares, whole, *options).returncode == 0
    checkpoint = checkpoint_path(killed)
    started = subprocess.Popen(
        _arguments(squares, killed, *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not checkpoint.exists():
        assert started.poll() is None, "ended before its first checkpoint"
        time.sleep(0.01)
    started.kill()
    assert started.wait() != 0
    assert not killed.exists()

    resumed = _train(squares, killed, *options, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "starting anew" not in resumed.stderr
    first, second = (load_model(str(path)).network.state_dict() for path in (whole, killed))
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())
    assert _losses(killed) == _losses(whole)
    assert len(_losses(whole)) == 60
    assert not checkpoint.exists()


@pytest.mark.parametrize("full", ["history.csv", "training.json", "m.safetensors"])
def test_a_full_disk_leaves_nothing_half_written(run, squares, monkeypatch, full) -> None:
    output = squares / "out/m.safetensors"
    given = ("--encoder-weights", "random", "--recipe", "paper")
    command = _command(squares, squares / "labels", *given)
    with monkeypatch.context() as small:
        small.setattr(Path, "write_bytes", _full_disk(full))
        small.setattr(pd.DataFrame, "to_csv", _full_disk_of_tables(full))
        done = run(*command)
    assert done.code == 2
    (error,) = done.errors
    assert f"{full}: cannot be written (No space left on device)" in error
    # The checkpoint is what the next call goes on from.
    assert [path.name for path in output.parent.iterdir()] == [checkpoint_path(output).name]
    again = run(*command, "--resume")
    assert again.code == 0, again.err
    names = {"m.safetensors", "history.csv", "training.json"}
    assert {path.name for path in output.parent.iterdir()} == names


def _full_disk_of_tables(name: str) -> Callable[..., None]:
    """`DataFrame.to_csv` that does so."""
    write = pd.DataFrame.to_csv

    def failing(frame: pd.DataFrame, path: Path, **options: Any) -> None:
        write(frame.head(len(frame) // 2), path, **options)
        if name in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(frame, path, **options)

    return failing


def _full_disk(name: str) -> Callable[[Path, bytes], int]:
    """`Path.write_bytes` that runs out of space half-way through files written as `name`."""
    write = Path.write_bytes

    def failing(path: Path, content: bytes) -> int:
        if name not in path.name:
            return write(path, content)
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    return failing
