from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.layers import Image, Layer
from PIL import Image as iio

from napari_metallography._napari import reader
from napari_metallography._napari.layers import labels_as_indices, layer_calibration
from napari_metallography.calibration import Calibration
from napari_metallography.classes import PALETTE, named_classes
from napari_metallography.io.labels import LabelImage, write_labels
from napari_metallography.regions import Field

CLASSES = named_classes(["matrix", "carbide"])


def pixels(shape: tuple[int, ...] = (40, 50), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def image_file(path: Path, seed: int = 0, shape: tuple[int, ...] = (40, 50)) -> Path:
    tifffile.imwrite(path, pixels(shape, seed))
    return path


def labels_file(folder: Path) -> Path:
    path = folder / "steel_labels.tif"
    indices = np.random.default_rng(1).choice(np.array([0, 1, 255], np.uint8), (40, 50))
    labels = LabelImage(
        indices, CLASSES, Calibration(0.1, 0.2, "index.csv"), Field((40, 50)), {"method": "test"}
    )
    write_labels(path, labels)
    return path


def read(path: str | list[str]) -> list[Layer]:
    function = reader.get_reader(path)
    assert function is not None
    return [Layer.create(*data) for data in function(path)]


@pytest.mark.parametrize("name", ["a.tif", "A.TIFF", "b.png", "c.jpg", "d.JPEG", "e.bmp"])
def test_images_are_claimed_by_their_suffix(name: str) -> None:
    assert reader.get_reader(name) is not None


@pytest.mark.parametrize("name", ["a.csv", "a.zarr", "a", "", ["a.tif", "b.csv"], []])
def test_other_files_are_left_to_others(name: str | list[str]) -> None:
    assert reader.get_reader(name) is None


def test_folders_are_left_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "images.tif"
    folder.mkdir()
    assert reader.get_reader(str(folder)) is None


def test_image_without_scale_opens_in_pixels(tmp_path: Path) -> None:
    (layer,) = read(str(image_file(tmp_path / "steel.tif")))
    assert layer.name == "steel"
    assert np.array_equal(layer.data, pixels())
    assert layer_calibration(layer) is None


def test_pixel_size_and_specimen_come_from_the_index(tmp_path: Path) -> None:
    image_file(tmp_path / "steel.tif")
    (tmp_path / "index.csv").write_text("image,pixel_size_um,specimen\nsteel.tif,0.25,A7\n")
    (layer,) = read(str(tmp_path / "steel.tif"))
    assert layer_calibration(layer) == Calibration.square(0.25, "index.csv")
    assert layer.metadata["microscope"]["specimen"] == "A7"


def test_vendor_pixel_sizes_reach_the_layer(shared_data: Path) -> None:
    expected = json.loads((shared_data / "vendor" / "expected_um_per_px.json").read_text())
    name, size = next((n, s) for n, s in expected.items() if isinstance(s, float))
    path = next((shared_data / "vendor").rglob(name))
    (layer,) = read(str(path))
    calibration = layer_calibration(layer)
    assert calibration is not None
    assert calibration.x_um == pytest.approx(size, rel=1e-3)
    assert calibration.source != "layer scale"


def test_several_files_make_one_calibrated_stack(tmp_path: Path) -> None:
    paths = [str(image_file(tmp_path / f"s{n}.tif", seed=n)) for n in (2, 0, 1)]
    (tmp_path / "index.csv").write_text("image,pixel_size_um\ns0.tif,0.5\ns1.tif,0.5\ns2.tif,0.5\n")
    (layer,) = read(paths)
    assert np.array_equal(layer.data, np.stack([pixels(seed=n) for n in (2, 0, 1)]))
    assert tuple(layer.scale) == (1, 0.5, 0.5)
    assert [str(unit) for unit in layer.units] == ["pixel", "micrometer", "micrometer"]


def test_stack_of_unlike_sizes_is_refused(tmp_path: Path, told: list[str]) -> None:
    paths = [image_file(tmp_path / "a.tif"), image_file(tmp_path / "b.tif", shape=(41, 50))]
    assert reader.read_layers([str(path) for path in paths]) == [(None,)]
    assert "b.tif: its size differs from that of a.tif" in told[0]


def test_stack_of_unlike_pixel_sizes_is_refused(tmp_path: Path, told: list[str]) -> None:
    paths = [str(image_file(tmp_path / f"{name}.tif")) for name in "ab"]
    (tmp_path / "index.csv").write_text("image,pixel_size_um\na.tif,0.5\nb.tif,0.25\n")
    assert reader.read_layers(paths) == [(None,)]
    assert "its pixel size differs" in told[0]


def test_own_labels_open_as_a_labels_layer_of_classes(tmp_path: Path) -> None:
    (layer,) = read(str(labels_file(tmp_path)))
    indices, classes = labels_as_indices(layer)
    assert classes == CLASSES
    assert set(np.unique(indices)) == {0, 1, 255}
    assert layer_calibration(layer) == Calibration(0.1, 0.2, "index.csv")
    assert layer.metadata["provenance"] == {"method": "test"}
    assert Field.from_dict((40, 50), layer.metadata["field"]) == Field((40, 50))


def areas() -> np.ndarray:
    """Index mask of three classes, without unlabelled."""
    indices = np.zeros((40, 50), np.uint8)
    indices[5:20, 5:20], indices[25:35, 10:40] = 1, 2
    return indices


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_an_index_mask_opens_as_labels_and_keeps_its_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(reader, "show_info", said.append)
    path = tmp_path / f"steel{suffix}"
    iio.fromarray(areas()).save(path)
    (tmp_path / "index.csv").write_text(f"image,pixel_size_um\nsteel{suffix},0.25\n")
    (layer,) = read(str(path))
    indices, classes = labels_as_indices(layer)
    np.testing.assert_array_equal(indices, areas())
    assert [phase.name for phase in classes] == ["matrix", "class 1", "class 2"]
    assert layer_calibration(layer) == Calibration.square(0.25, "index.csv")
    assert "0 = matrix" in said[0]


def test_colours_of_the_palette_open_as_labels(tmp_path: Path) -> None:
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in PALETTE], np.uint8)
    iio.fromarray(colours[areas()]).save(tmp_path / "steel.png")
    (layer,) = read(str(tmp_path / "steel.png"))
    np.testing.assert_array_equal(labels_as_indices(layer)[0], areas())


@pytest.mark.parametrize("values", [(0, 255), (0, 100, 200)])
def test_an_ambiguous_grey_image_stays_an_image(tmp_path: Path, values: tuple[int, ...]) -> None:
    grey = np.resize(np.array(values, np.uint8), 3)[areas()]
    iio.fromarray(grey).save(tmp_path / "steel.png")
    (layer,) = read(str(tmp_path / "steel.png"))
    assert isinstance(layer, Image)


def test_a_micrograph_that_mentions_labels_stays_an_image(tmp_path: Path) -> None:
    note = json.dumps({"note": {"napari_metallography": "labels"}})
    tifffile.imwrite(tmp_path / "steel.tif", pixels(), description=note)
    (layer,) = read(str(tmp_path / "steel.tif"))
    assert isinstance(layer, Image)


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"no image at all"])
def test_what_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, told: list[str], content: bytes
) -> None:
    path = tmp_path / "broken.tif"
    path.write_bytes(content)
    assert reader.read_layers(str(path)) == [(None,)]
    assert len(told) == 1
    assert "broken.tif" in told[0]
    assert "\n" not in told[0]


def test_a_viewer_opens_what_it_can_and_goes_on(viewer, tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "broken.tif").write_bytes(b"no image")
    paths = [image_file(tmp_path / "steel.tif"), tmp_path / "broken.tif", labels_file(tmp_path)]
    viewer.open(paths, plugin="napari-metallography")
    assert [layer.name for layer in viewer.layers] == ["steel", "steel_labels"]
    assert viewer.layers["steel"].source.path == str(tmp_path / "steel.tif")
    assert viewer.layers["steel"].source.reader_plugin == "napari-metallography"
    assert len(told) == 1
