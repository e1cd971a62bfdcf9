"""Commands on Zarr images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

zarr = pytest.importorskip("zarr")


@pytest.fixture
def stack() -> np.ndarray:
    pixels = np.random.default_rng(1).normal(80, 5, (2, 90, 110))
    for row, column in np.ndindex(2, 3):
        pixels[:, 15 + 40 * row :, 12 + 35 * column :][:, :11, :12] += 100
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture
def images(stack: np.ndarray, tmp_path: Path) -> Path:
    """An OME-Zarr stack of 0.5 µm a pixel, and the same as a TIFF elsewhere."""
    folder = tmp_path / "images"
    group = zarr.open_group(folder / "steel.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=stack.shape, dtype="uint8", chunks=(1, 64, 64))[:] = stack
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    level = {"path": "0", "coordinateTransformations": scale}
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [level], "version": "0.4"}]
    return folder


def test_a_zarr_is_listed_segmented_and_measured_as_a_tiff(run, images, stack, tmp_path) -> None:
    told = json.loads(run("info", images).out)
    assert (told["shape"], told["dtype"]) == ([2, 90, 110], "uint8")
    assert told["pixel_size_um"] == 0.5
    assert told["calibration_source"] == "OME-Zarr metadata"
    (tmp_path / "tiff").mkdir()
    tifffile.imwrite(tmp_path / "tiff/steel.tif", stack, photometric="minisblack")
    tables = []
    for folder in (images, tmp_path / "tiff"):
        out = tmp_path / f"of_{folder.name}"
        made = run("segment", folder, "-o", out, "--method", "threshold", "--pixel-size", 0.5)
        assert made.code == 0, made.err
        measured = run("quantify", out, "-o", out / "tables", "--images", folder)
        assert measured.code == 0, measured.err
        tables.append(pd.read_csv(out / "tables/particles.csv").drop(columns="image"))
        np.testing.assert_array_equal(
            tifffile.imread(out / "steel_labels.tif"), (stack > 130).astype(np.uint8)
        )
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0]) > 0


def test_without_the_library_one_line_says_what_to_install(run, images, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    done = run("info", images / "steel.zarr")
    assert done.code == 2
    assert "pip install 'napari-metallography[zarr]'" in done.err.replace("\n", "")
