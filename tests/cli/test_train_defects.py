"""What `train defects` tells and refuses of the images to validate on, and of its options."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from napari_metallography.models.file import read_card

FAST = ("--iterations", "2", "--batch-size", "4", "--side", "32", "--device", "cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return _folder(tmp_path / "data", 6)


def _folder(path: Path, count: int, first: int = 0) -> Path:
    for number, name in enumerate(("a", "b")):
        (path / name).mkdir(parents=True)
        for seed in range(first, first + count):
            image = np.random.default_rng([number, seed]).integers(0, 255, (40, 40), np.uint8)
            io.imsave(path / name / f"{name}{seed}.png", image, check_contrast=False)
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--kernels", "3,5,7,9,11,13,15,17,19"), "8 at most"),
        (("--variant", "squeezenet", "--kernels", "3,5"), "--kernels is for pdmsnet"),
        (("--variant", "squeezenet-bn", "--spliced", "T,F"), "--spliced is for pdmsnet"),
    ],
)
def test_options_that_would_do_nothing_are_refused(run, data, tmp_path, options, says) -> None:
    done = run("train", "defects", "--data", data, "-o", tmp_path / "m.safetensors", *options)
    assert done.code == 2
    assert says in done.errors[0]


def test_outsiders_alone_are_nothing_to_validate_on(run, data, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(data / "a", other / "none")
    for name in ("a", "b"):
        shutil.copytree(data / name, other / name)
    listed = tmp_path / "list.txt"
    listed.write_text("none/a1.png\n", encoding="utf-8")
    command = ("train", "defects", "--data", other, "-o", tmp_path / "m.safetensors", *FAST)
    done = run(*command, "--val-split", listed)
    assert done.code == 2
    assert "no image of a class to validate on" in done.errors[-1]


def test_one_image_a_class_trains_without_validation(run, tmp_path) -> None:
    data = _folder(tmp_path / "single", 1)
    path = tmp_path / "m" / "m.safetensors"
    done = run("train", "defects", "--data", data, "-o", path, *FAST)
    assert done.code == 0
    assert "nothing is held out" in done.err
    assert read_card(path).metrics == {}


def test_mirrored_images_to_validate_on_are_told(run, data, tmp_path) -> None:
    other = _folder(tmp_path / "other", 3, first=50)
    mirrored = io.imread(data / "a" / "a0.png")[:, ::-1]
    io.imsave(other / "a" / "mirrored.png", mirrored, check_contrast=False)
    path = tmp_path / "m" / "m.safetensors"
    done = run("train", "defects", "--data", data, "--val-data", other, "-o", path, *FAST)
    assert done.code == 0
    (told,) = [line for line in done.err.splitlines() if "nearly the same" in line]
    assert "1 of the images" in told
    assert "a/mirrored.png and a/a0.png" in told
