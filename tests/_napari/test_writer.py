from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from npe2 import PluginManager

from napari_metallography._napari.layers import add_labels_layer, calibrate_layer, label_image
from napari_metallography._napari.quantify import QuantifyWidget
from napari_metallography._napari.reader import read_layers
from napari_metallography._napari.results import PARTICLES_OF, mark_computed
from napari_metallography._napari.segment import SegmentWidget
from napari_metallography._napari.writer import as_tiff, proposed_path, write_layer
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.cli import main
from napari_metallography.errors import InputError
from napari_metallography.io.labels import read_labels
from napari_metallography.regions import Box, Field

CLASSES = named_classes(["ferrite", "carbide"])
CALIBRATION = Calibration(0.5, 0.25, "objective 50×", 0.01)
FIELD = Field((40, 50), Box(30, 0, 40, 50), (((0.0, 0.0), (0.0, 40.0), (29.0, 20.5)),))


def indices(shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), shape)


def phases(shape: tuple[int, ...] = (40, 50)) -> Labels:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(shape, np.uint8), name="steel")
    calibrate_layer(image, CALIBRATION)
    stated = {"provenance": {"method": "test"}, "field": FIELD.to_dict()}
    return add_labels_layer(viewer, image, indices(shape), CLASSES, "steel phases", stated)


def save(layer: Layer, path: Path) -> Path:
    data, attributes, _ = layer.as_layer_data_tuple()
    (written,) = write_layer(str(path), data, attributes)
    return Path(written)


def opened(path: Path) -> Labels:
    (data,) = read_layers(str(path))
    layer = Layer.create(*data)
    assert isinstance(layer, Labels)
    return layer


@pytest.fixture
def quantified(monkeypatch, tmp_path: Path) -> Callable[[Path], pd.DataFrame]:
    """Tables of particles from the command line."""

    def call(path: Path) -> pd.DataFrame:
        out = tmp_path / "out"
        monkeypatch.setattr(
            sys, "argv", ["napari-metallography", "quantify", str(path), "-o", str(out)]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return pd.read_csv(out / "particles.csv")

    return call


@pytest.mark.parametrize("shape", [(40, 50), (3, 40, 50)])
def test_a_saved_layer_opens_as_it_was(shape: tuple[int, ...], tmp_path: Path) -> None:
    layer = phases(shape)
    again = opened(save(layer, tmp_path / "steel_labels.tif"))
    np.testing.assert_array_equal(again.data, layer.data)
    np.testing.assert_array_equal(again.scale, layer.scale)
    assert again.units == layer.units
    assert again.metadata == layer.metadata
    assert list(again.features["class"]) == list(layer.features["class"])
    for label in range(4):
        np.testing.assert_array_equal(again.get_color(label), layer.get_color(label))


def test_the_file_holds_indices_and_not_layer_values(tmp_path: Path) -> None:
    saved = read_labels(save(phases(), tmp_path / "steel_labels.tif"))
    np.testing.assert_array_equal(saved.indices, indices())
    assert saved.classes == CLASSES
    assert saved.calibration == CALIBRATION
    assert saved.measured == FIELD
    assert saved.provenance == {"method": "test"}


def test_a_scale_changed_in_napari_is_what_is_written(tmp_path: Path) -> None:
    layer = phases()
    layer.scale = (2, 2)
    saved = read_labels(save(layer, tmp_path / "steel_labels.tif"))
    assert saved.calibration == Calibration.square(2, "layer scale")


def test_corrections_are_noted_in_the_provenance() -> None:
    layer = phases()
    mark_computed(layer)
    assert label_image(layer).provenance == {"method": "test"}
    layer.data_setitem((np.array([3]), np.array([3])), 1 + layer.data[3, 3] % 2)
    assert label_image(layer).provenance == {"method": "test", "corrected_by_hand": True}


def test_single_particles_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    particles = Labels(np.arange(4).reshape(2, 2), name="grains", metadata={PARTICLES_OF: "steel"})
    many = Labels(np.arange(400).reshape(20, 20), name="grains")
    for layer in (particles, many):
        with pytest.raises(InputError, match=r"grains: .* not classes; choose a layer of classes"):
            save(layer, tmp_path / "grains.tif")
    assert list(tmp_path.iterdir()) == []


def test_paint_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    layer = phases()
    layer.data_setitem((np.array([0]), np.array([0])), 3)
    with pytest.raises(InputError, match="label 3 is painted"):
        save(layer, tmp_path / "steel_labels.tif")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.tif", "a.tif"), ("a.TIFF", "a.TIFF"), ("a", "a.tif"), ("v1.2", "v1.2.tif")],
)
def test_files_are_tiffs(name: str, expected: str) -> None:
    assert as_tiff(Path(name)) == Path(expected)


@pytest.mark.parametrize("name", ["steel phases", "steel", "steel_labels"])
def test_the_proposed_name_is_that_of_the_command_line(name: str) -> None:
    assert proposed_path(Labels(np.zeros((2, 2), int), name=name)) == Path("steel_labels.tif")


def test_napari_finds_the_writer(registered_plugin: None, tmp_path: Path) -> None:
    layer = phases()
    (written,) = layer.save(str(tmp_path / "steel_labels.tif"), plugin="napari-metallography")
    np.testing.assert_array_equal(read_labels(Path(written)).indices, indices())
    names = [
        writer.display_name
        for writer in PluginManager.instance().iter_compatible_writers(["labels"])
    ]
    assert "Phase labels (metallography)" in names


def test_a_corrected_result_counts_on_the_command_line(qtbot, tmp_path: Path, quantified) -> None:
    viewer = ViewerModel()
    pixels = np.full((64, 80), 60, np.uint8)
    pixels[10:30, 40:60] = 180
    pixels[40:50, 5:10] = 180
    calibrate_layer(viewer.add_image(pixels, name="steel"), Calibration.square(0.5, "test"))
    segment = SegmentWidget(viewer)
    qtbot.addWidget(segment.native)
    segment.method.value = "threshold"
    segment.controls.run_button.native.click()
    qtbot.waitUntil(lambda: not segment.controls.is_running, timeout=30_000)
    # By hand: the smaller object is no phase, and a row of the larger one is erased.
    layer = viewer.layers["steel phases"]
    layer.data_setitem(np.nonzero(np.pad(np.ones((10, 5)), ((40, 14), (5, 70)))), 1)
    layer.data_setitem((np.full(20, 10), np.arange(40, 60)), 0)
    form = QuantifyWidget(viewer)
    qtbot.addWidget(form.native)
    form.phase_layer.value = layer
    form.save_labels(tmp_path / "steel_labels.tif")
    qtbot.waitUntil(lambda: not form.controls.is_running, timeout=30_000)
    particles = quantified(tmp_path / "steel_labels.tif")
    assert list(particles["area_px"]) == [380]
    assert list(particles["area_um2"]) == [pytest.approx(95)]
    np.testing.assert_array_equal(opened(tmp_path / "steel_labels.tif").data, layer.data)
