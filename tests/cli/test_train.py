"""Training on the command line: searches and several processes."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

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


def _train(squares: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "napari_metallography", "train", "segmentation"),
            *("--images", str(squares / "images"), "--labels", str(squares / "labels")),
            *("-o", str(output), *OPTIONS, *options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def _losses(model: Path) -> list[float]:
    with model.with_name("history.csv").open(encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_processes_share_each_batch(squares) -> None:
    one, two = squares / "one" / "m.safetensors", squares / "two" / "m.safetensors"
    for model, devices in ((one, "1"), (two, "2")):
        done = _train(squares, model, "--devices", devices, "--freeze-normalisation")
        assert done.returncode == 0, done.stderr
    # The steps depend on each other: equal losses mean equal gradients.
    assert len(_losses(two)) == 3
    assert _losses(two) == pytest.approx(_losses(one), rel=1e-4)


def test_a_search_trains_baseline_tricks_and_stack_once(squares) -> None:
    output = squares / "best.safetensors"
    done = _train(squares, output, "--search")
    assert done.returncode == 0, done.stderr
    with (squares / "best_search.csv").open(encoding="utf-8") as file:
        rows = {row["training"]: row for row in csv.DictReader(file)}
    assert list(rows)[:4] == [
        "baseline",
        "transfer",
        "strong-augmentation",
        "enlarged-receptive-field",
    ]
    base = float(rows["baseline"]["miou_percent"])
    for row in rows.values():
        assert float(row["gain_points"]) == pytest.approx(float(row["miou_percent"]) - base)
    assert "count_error_carbide" in rows["baseline"]
    assert output.exists()
    baseline = squares / "best_search" / "baseline" / "baseline.safetensors"
    made = baseline.stat().st_mtime_ns
    output.unlink()
    again = _train(squares, output, "--search")
    assert again.returncode == 0, again.stderr
    assert baseline.stat().st_mtime_ns == made


def test_a_search_starts_from_nothing(squares) -> None:
    done = _train(squares, squares / "m.safetensors", "--search", "--devices", "2")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("on one device, without --start-from")
