"""Zarr images in the viewer: with their pixel size, and read as far as they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.layers import Image, Layer
from napari.settings import get_settings
from npe2 import PluginManager

from napari_metallography._napari import reader
from napari_metallography._napari.layers import layer_calibration, pixels_of
from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.io.images import read_micrograph
from napari_metallography.io.ome_zarr import ZarrPlanes

zarr = pytest.importorskip("zarr")

PLUGIN = "napari-metallography"
PLANES = np.random.default_rng(4).integers(0, 250, (5, 1100, 1200), np.uint8)


def ome(path: Path, *levels: np.ndarray) -> Path:
    """An OME-Zarr image of 0.5 × 0.25 µm a pixel."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    leading = levels[0].ndim - 2
    for number, level in enumerate(levels):
        chunks = (*[1] * leading, 550, 600)
        made = group.create_array(str(number), shape=level.shape, dtype=level.dtype, chunks=chunks)
        made[:] = level
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"[-2 - leading :]]
    scale = [{"type": "scale", "scale": [*[1.0] * leading, 0.5, 0.25]}]
    datasets = [
        {"path": str(number), "coordinateTransformations": scale} for number in range(len(levels))
    ]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": datasets, "version": "0.4"}]
    return path


@pytest.fixture
def read_tiles(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], int]]:
    """Of each tile that is read: the shape of the array, and the plane."""
    found: list[tuple[tuple[int, ...], int]] = []
    whole = ZarrPlanes._tile

    def noted(planes: ZarrPlanes, number: int, row: int, column: int) -> Any:
        found.append((planes.shape, number))
        return whole(planes, number, row, column)

    monkeypatch.setattr(ZarrPlanes, "_tile", noted)
    return found


def opened(path: Path) -> Image:
    function = reader.get_reader(str(path))
    assert function is not None
    (layer,) = [Layer.create(*data) for data in function(str(path))]
    assert isinstance(layer, Image)
    return layer


# --- in a viewer ---------------------------------------------------------------------------------


def test_a_stack_opens_with_its_pixel_size_plane_by_plane(viewer, tmp_path, read_tiles) -> None:
    path = ome(tmp_path / "steel.zarr", PLANES)
    (layer,) = viewer.open(path, plugin=PLUGIN)
    assert (layer.name, layer.source.path) == ("steel", str(path))
    assert layer_calibration(layer) == Calibration(0.25, 0.5, "OME-Zarr metadata")
    assert [str(unit) for unit in layer.units] == ["pixel", "micrometer", "micrometer"]
    viewer.dims.set_current_step(0, 3)
    np.testing.assert_array_equal(np.asarray(layer._data_view), PLANES[3])
    # Of the five planes, that in view at first and that gone to.
    assert 3 in {plane for _, plane in read_tiles}
    assert len({plane for _, plane in read_tiles}) <= 3


def test_of_several_resolutions_that_which_will_do_is_read(viewer, tmp_path, read_tiles) -> None:
    whole = np.tile(PLANES[0], (3, 3))
    levels = [whole, whole[::4, ::4], whole[::8, ::8]]
    (layer,) = viewer.open(ome(tmp_path / "steel.zarr", *levels), plugin=PLUGIN)
    assert layer.multiscale
    assert layer_calibration(layer) == Calibration(0.25, 0.5, "OME-Zarr metadata")
    assert whole.shape not in {shape for shape, _ in read_tiles}
    pixels, rgb = pixels_of(layer)
    assert not rgb
    np.testing.assert_array_equal(np.asarray(pixels[1000:1100, 7:]), whole[1000:1100, 7:])


def test_a_preference_opens_zarr_images_unasked(viewer, tmp_path) -> None:
    # As Open Folder and a dropped folder do.
    offered = PluginManager.instance().iter_compatible_readers("*.zarr/")
    assert PLUGIN in {one.plugin_name for one in offered}
    get_settings().plugins.extension2reader = {"*.zarr/": PLUGIN}
    (image,) = viewer.open(ome(tmp_path / "steel.zarr", PLANES[0]), plugin=None)
    assert image.source.reader_plugin == PLUGIN


def test_what_is_no_image_is_told_in_one_line(viewer, tmp_path, told) -> None:
    (tmp_path / "empty.zarr").mkdir()
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    for name in ("empty.zarr", "group.zarr"):
        assert viewer.open(tmp_path / name, plugin=PLUGIN) == []
    assert len(viewer.layers) == 0
    assert [message.count("\n") for message in told] == [0, 0]
    assert "empty.zarr: not a Zarr folder" in told[0]
    assert "group.zarr: holds neither an array nor an OME-Zarr image" in told[1]


def test_other_folders_are_left_to_napari(viewer, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANES[0, :40, :50])
    with pytest.raises(ValueError, match="refused the file"):
        viewer.open(tmp_path, plugin=PLUGIN)
    (layer,) = viewer.open(tmp_path)
    assert layer.source.reader_plugin == "napari"


def test_a_damaged_part_leaves_the_viewer_as_it_was(viewer, tmp_path) -> None:
    path = ome(tmp_path / "steel.zarr", PLANES)
    for chunk in (path / "0").rglob("[0-9]*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"steel\.zarr: damaged"):
        viewer.open(path, plugin=PLUGIN)
    assert len(viewer.layers) == 0


# --- arrays --------------------------------------------------------------------------------------


def test_colours_of_a_plain_array_stay_colours(tmp_path) -> None:
    pixels = np.stack([PLANES[0, :60, :70]] * 3, axis=-1)
    zarr.create_array(tmp_path / "steel.zarr", data=pixels, chunks=(32, 32, 3))
    layer = opened(tmp_path / "steel.zarr")
    assert layer.rgb
    assert layer_calibration(layer) is None
    np.testing.assert_array_equal(np.asarray(layer.data), pixels)


def test_an_index_beside_the_folder_counts(tmp_path) -> None:
    path = ome(tmp_path / "steel.zarr", PLANES[0])
    (tmp_path / "index.csv").write_text("image,pixel_size_um,specimen\nsteel.zarr,0.125,A7\n")
    layer = opened(path)
    assert layer_calibration(layer) == Calibration.square(0.125, "index.csv")
    assert layer.metadata["microscope"]["specimen"] == "A7"


def test_a_large_plane_of_one_resolution_is_shown_thinned(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(reader, "LARGE_BYTES", PLANES[0].nbytes)
    zarr.create_array(tmp_path / "steel.zarr", data=PLANES[0], chunks=(550, 600))
    near, *far = opened(tmp_path / "steel.zarr").data
    np.testing.assert_array_equal(np.asarray(near), PLANES[0])
    for level, step in zip(far, (4, 16), strict=True):
        np.testing.assert_array_equal(level, PLANES[0, ::step, ::step])


@pytest.mark.parametrize("fault", ["missing", "of other planes"])
def test_lower_resolutions_that_do_not_fit_are_left_out(tmp_path, fault) -> None:
    small = PLANES[:, :60, :70]
    path = ome(tmp_path / "steel.zarr", small, small[::2, ::2, ::2])
    if fault == "missing":
        (path / "1" / ".zarray").unlink()
    layer = opened(path)
    assert not layer.multiscale
    np.testing.assert_array_equal(np.asarray(layer.data), small)
    assert read_micrograph(path).calibration == layer_calibration(layer)
