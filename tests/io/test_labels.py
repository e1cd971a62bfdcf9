from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_metallography.calibration import Calibration
from napari_metallography.classes import (
    indices_to_layer,
    layer_to_indices,
    named_classes,
)
from napari_metallography.errors import InputError
from napari_metallography.io.labels import LabelImage, read_labels, write_labels
from napari_metallography.regions import Box, Field

CLASSES = named_classes(["matrix", "carbide network", "Karbid – fein"])


def _labels(shape: tuple[int, ...]) -> LabelImage:
    indices = np.random.default_rng(1).choice(np.array([0, 1, 2, 255], np.uint8), shape)
    return LabelImage(
        indices,
        CLASSES,
        Calibration(0.2, 0.21, "index.csv", 0.01),
        Field(shape[-2:], Box(30, 0, 40, 50), (((1.5, 2), (20, 2), (20, 30.25)),)),
        {"method": "model", "model_digest": "abc"},
    )


@pytest.mark.parametrize("shape", [(40, 50), (3, 40, 50), (1, 1)])
def test_labels_come_back_as_they_were_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    labels = _labels(shape)
    path = tmp_path / "Größe 鋼_labels.tif"
    write_labels(path, labels)
    read = read_labels(path)
    assert (read.indices == labels.indices).all()
    assert read.indices.shape == shape
    assert read.classes == labels.classes
    assert read.calibration == labels.calibration
    assert read.measured.to_dict() == labels.measured.to_dict()
    assert read.provenance == labels.provenance


def test_other_programs_see_colours_and_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a_labels.tif"
    write_labels(path, _labels((40, 50)))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        assert tuple(page.colormap[:, 1] // 257) == CLASSES[1].rgb
        numerator, denominator = page.tags["XResolution"].value
        assert 1e4 / (numerator / denominator) == pytest.approx(0.2, rel=1e-6)


def test_a_foreign_image_is_taken_as_class_indices(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    expected = np.array([[0, 1], [2, 255]], np.uint8)
    path.write_bytes(cv2.imencode(".png", expected)[1].tobytes())
    read = read_labels(path)
    assert (read.indices == expected).all()
    assert read.classes == ()
    assert read.calibration is None


@pytest.mark.parametrize(
    "pixels",
    [
        np.arange(256, dtype=np.uint8).reshape(16, 16),
        np.full((4, 4), 300, np.uint16),
        np.full((4, 4), -1, np.int16),
        np.ones((4, 4), np.float32),
    ],
)
def test_an_image_is_not_labels(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, pixels)
    with pytest.raises(InputError, match=r"labels|values"):
        read_labels(path)


@pytest.mark.parametrize("content", [b"", b"II*\0nonsense", b"hello"])
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("x.tif", "x.png"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_labels(path)


@given(arrays(np.uint8, (5, 6), elements=st.integers(0, 255)))
def test_layer_values_and_indices_are_inverse(indices: np.ndarray) -> None:
    layer = indices_to_layer(indices)
    assert (layer_to_indices(layer) == indices).all()
    assert ((layer == 0) == (indices == 255)).all()


def test_layer_values_of_instances_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        layer_to_indices(np.array([[300]]))
