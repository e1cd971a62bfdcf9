"""Large TIFFs that stay in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_metallography.errors import InputError
from napari_metallography.io import tiff_planes
from napari_metallography.io.images import read_micrograph
from napari_metallography.io.tiff_planes import TiffPlanes

RANDOM = np.random.default_rng(8)
GREY = RANDOM.integers(0, 256, (3, 75, 93), np.uint8)
COLOUR = RANDOM.integers(0, 256, (75, 93, 3), np.uint8)
TILES: list[dict[str, Any]] = [{"rowsperstrip": 7}, {"rowsperstrip": 75}, {"tile": (16, 32)}]


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_planes, "LARGE_BYTES", 100)


@pytest.mark.parametrize("segments", TILES)
@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (GREY[0], {"compression": "zlib"}),
        (GREY[0], {"compression": "zlib", "bigtiff": True}),
        (GREY, {"compression": "zlib", "photometric": "minisblack"}),
        (COLOUR, {"compression": "zlib", "photometric": "rgb"}),
        (GREY[0].astype(np.uint16) * 257, {"compression": "zlib", "predictor": True}),
        (GREY[0].astype(np.float32), {"compression": "zlib", "byteorder": ">"}),
        (GREY[0].astype(np.int32), {"byteorder": ">"}),
    ],
)
def test_pixels_are_those_of_the_file(tmp_path: Path, pixels, options, segments) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, **options, **segments)
    read = read_micrograph(path)
    if options.get("byteorder") != ">" or "compression" in options:
        assert isinstance(read.pixels, TiffPlanes)
    assert read.pixels.dtype == pixels.dtype
    assert read.pixels.dtype.isnative
    assert read.rgb == (options.get("photometric") == "rgb")
    np.testing.assert_array_equal(np.asarray(read.pixels), pixels)
    plane, expected = read.planes[-1], pixels if read.rgb or pixels.ndim == 2 else pixels[-1]
    np.testing.assert_array_equal(plane[10:60, 5:90:7], expected[10:60, 5:90:7])


def test_values_become_what_they_are_of_small_files(tmp_path: Path) -> None:
    inverted, half = tmp_path / "inverted.tif", tmp_path / "half.tif"
    tifffile.imwrite(inverted, GREY[0], photometric="miniswhite", compression="zlib")
    tifffile.imwrite(half, GREY[0].astype(np.float16), compression="zlib")
    for path, expected in ((inverted, 255 - GREY[0]), (half, GREY[0].astype(np.float32))):
        read = read_micrograph(path)
        assert isinstance(read.pixels, TiffPlanes)
        assert read.pixels.dtype == expected.dtype
        np.testing.assert_array_equal(np.asarray(read.pixels), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb", "planarconfig": "separate"},
        {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16) + 9},
    ],
)
def test_what_must_be_read_whole_is(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = np.moveaxis(COLOUR, -1, 0) if "planarconfig" in options else GREY[0]
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression="zlib", **options)
    read = read_micrograph(tmp_path / "a.tif").pixels
    assert isinstance(read, np.ndarray)
    assert read.shape == (COLOUR.shape if "planarconfig" in options else GREY[0].shape)


def test_small_files_are_read_into_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tiff_planes, "LARGE_BYTES", GREY[0].size + 1)
    tifffile.imwrite(tmp_path / "a.tif", GREY[0], compression="zlib")
    assert isinstance(read_micrograph(tmp_path / "a.tif").pixels, np.ndarray)


def test_the_file_is_not_held_open_and_damage_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY[0], compression="zlib", rowsperstrip=25)
    read = read_micrograph(path)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages.first.dataoffsets[2]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    np.testing.assert_array_equal(read.pixels[:50], GREY[0, :50])
    with pytest.raises(InputError, match=r"a\.tif: damaged, a part"):
        read.pixels[:]
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tif: cannot be read"):
        read.pixels[60:]
