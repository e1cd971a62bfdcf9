"""Zarr folders as micrographs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_metallography.errors import InputError
from napari_metallography.io.images import is_image_file, read_micrograph
from napari_metallography.io.ome_zarr import coarser_levels, is_zarr

zarr = pytest.importorskip("zarr")

STACK = np.random.default_rng(4).integers(0, 60_000, (3, 70, 90), np.uint16)


def plain(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    made = zarr.create_array(path, shape=pixels.shape, dtype=pixels.dtype, **options)
    made[:] = pixels
    return path


def ome(
    path: Path,
    pixels: np.ndarray,
    axes: str,
    *,
    version: str = "0.5",
    units: str | None = "nanometer",
    scales: tuple[list[float], ...] = (),
) -> Path:
    kinds = {"t": "time", "c": "channel"}
    named: list[dict[str, str]] = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    for axis in named:
        if axis["type"] == "space" and units is not None:
            axis["unit"] = units
    scales = scales or ([1.0] * (len(axes) - 2) + [20.0, 10.0],)
    steps = [[{"type": "scale", "scale": scale}] for scale in scales]
    image = {
        "axes": named,
        "datasets": [
            {"path": "full", "coordinateTransformations": steps[0]},
            {"path": "half", "coordinateTransformations": steps[0]},
        ],
        "coordinateTransformations": steps[1] if len(steps) > 1 else [],
        "version": version,
    }
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    for name, level in (("full", pixels), ("half", pixels[..., ::2, ::2])):
        array = group.create_array(name, shape=level.shape, dtype=level.dtype, chunks=level.shape)
        array[:] = level
    told = {"multiscales": [image]}
    group.attrs.update(told if version == "0.4" else {"ome": {"version": version, **told}})
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int32", "float16", "float32", "bool"])
def test_a_plain_array_is_an_image_without_a_pixel_size(tmp_path, zarr_format, dtype) -> None:
    # Format 3 keeps the byte order to itself.
    pixels = (STACK[0] % 200).astype(dtype)
    read = read_micrograph(
        plain(tmp_path / "a.zarr", pixels, chunks=(32, 50), zarr_format=zarr_format)
    )
    expected = {"float16": np.float32, "bool": np.uint8}.get(
        dtype, np.dtype(dtype).newbyteorder("=")
    )
    assert read.pixels.dtype == expected
    scale = 255 if dtype == "bool" else 1
    np.testing.assert_array_equal(np.asarray(read.pixels), pixels.astype(expected) * scale)
    assert (read.rgb, read.calibration, read.shape) == (False, None, (70, 90))
    json.dumps(read.metadata)


@pytest.mark.parametrize("chunks", [(1, 70, 90), (2, 13, 17), (3, 70, 1)])
def test_a_stack_is_read_plane_by_plane_whatever_its_chunks(tmp_path, chunks) -> None:
    read = read_micrograph(plain(tmp_path / "a.zarr", STACK, chunks=chunks))
    assert len(read.planes) == 3
    for number, plane in enumerate(read.planes):
        np.testing.assert_array_equal(plane[5:66, 3:80], STACK[number, 5:66, 3:80])


@pytest.mark.parametrize("shape", [(40, 50, 3), (2, 40, 50, 4)])
def test_three_or_four_columns_are_colours(tmp_path, shape) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    read = read_micrograph(plain(tmp_path / "a.zarr", pixels))
    assert read.rgb
    assert read.shape == (40, 50)
    np.testing.assert_array_equal(np.asarray(read.pixels), pixels)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_first_level_of_an_ome_zarr_is_read_with_its_pixel_size(tmp_path, version) -> None:
    read = read_micrograph(ome(tmp_path / "a.ome.zarr", STACK[0], "yx", version=version))
    np.testing.assert_array_equal(np.asarray(read.pixels), STACK[0])
    assert read.calibration is not None
    assert (read.calibration.x_um, read.calibration.y_um) == (0.01, 0.02)
    assert read.calibration.source == "OME-Zarr metadata"


def test_lower_resolutions_are_had_apart(tmp_path) -> None:
    (half,) = coarser_levels(ome(tmp_path / "a.ome.zarr", STACK, "zyx"))
    np.testing.assert_array_equal(np.asarray(half), STACK[:, ::2, ::2])
    assert coarser_levels(plain(tmp_path / "b.zarr", STACK)) == []


def test_scales_of_a_level_and_of_the_image_are_multiplied(tmp_path) -> None:
    path = ome(
        tmp_path / "a.zarr", STACK[0], "yx", units="micrometer", scales=([0.5, 0.5], [2.0, 4.0])
    )
    calibration = read_micrograph(path).calibration
    assert calibration is not None
    assert (calibration.x_um, calibration.y_um) == (2.0, 1.0)


@pytest.mark.parametrize("units", [None, "second", "pixel"])
def test_without_a_unit_of_length_there_is_no_pixel_size(tmp_path, units) -> None:
    assert (
        read_micrograph(ome(tmp_path / "a.zarr", STACK[0], "yx", units=units)).calibration is None
    )


@pytest.mark.parametrize(
    ("axes", "shape", "kept"),
    [
        ("tczyx", (1, 1, 1, 70, 90), (70, 90)),
        ("czyx", (1, 3, 70, 90), (3, 70, 90)),
        ("tzyx", (3, 1, 70, 90), (3, 70, 90)),
        ("tzyx", (2, 3, 70, 90), (6, 70, 90)),
    ],
)
def test_axes_of_length_one_are_dropped_and_others_count_planes(
    tmp_path, axes, shape, kept
) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, shape, np.uint8)
    read = read_micrograph(ome(tmp_path / "a.zarr", pixels, axes))
    assert read.pixels.shape == kept
    np.testing.assert_array_equal(np.asarray(read.pixels), pixels.reshape(kept))


def test_several_channels_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"a\.zarr: 3 channels of one area; save the one"):
        read_micrograph(ome(tmp_path / "a.zarr", STACK, "cyx"))


def test_rows_and_columns_must_come_last(tmp_path) -> None:
    with pytest.raises(InputError, match="axes x, y, z of an array"):
        read_micrograph(ome(tmp_path / "a.zarr", STACK, "xyz"))


def test_an_index_beside_the_folder_counts(tmp_path) -> None:
    path = ome(tmp_path / "steel.zarr", STACK[0], "yx")
    (tmp_path / "index.csv").write_text("image,pixel_size_um,specimen\nsteel.zarr,0.5,S1\n")
    read = read_micrograph(path)
    assert read.calibration is not None
    assert read.calibration.x_um == 0.5
    assert read.metadata["specimen"] == "S1"


def test_what_holds_no_image_is_refused(tmp_path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match=r"empty\.zarr: not a Zarr folder"):
        read_micrograph(tmp_path / "empty.zarr")
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    with pytest.raises(InputError, match="neither an array nor an OME-Zarr image"):
        read_micrograph(tmp_path / "group.zarr")
    old = zarr.open_group(tmp_path / "old.zarr", mode="w")
    old.attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
    with pytest.raises(InputError, match=r"damaged or older than version 0\.4"):
        read_micrograph(tmp_path / "old.zarr")
    for shape in ((5,), (2, 2, 5, 5)):
        path = plain(tmp_path / f"{len(shape)}.zarr", np.zeros(shape, np.uint8))
        with pytest.raises(InputError, match="neither an image nor a stack"):
            read_micrograph(path)
    with pytest.raises(InputError, match="complex64 are not grey values"):
        read_micrograph(plain(tmp_path / "c.zarr", np.zeros((5, 6), np.complex64)))


def test_a_damaged_chunk_is_told_when_it_is_read(tmp_path) -> None:
    path = plain(tmp_path / "a.zarr", STACK[0], chunks=(70, 90))
    (path / "c" / "0" / "0").write_bytes(b"damaged")
    read = read_micrograph(path)
    with pytest.raises(InputError, match=r"a\.zarr: damaged"):
        np.asarray(read.pixels)


def test_a_missing_library_is_named(tmp_path, monkeypatch) -> None:
    path = plain(tmp_path / "a.zarr", STACK[0])
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"pip install 'napari-metallography\[zarr\]'"):
        read_micrograph(path)


def test_only_a_folder_of_that_name_is_a_zarr_image(tmp_path) -> None:
    path = plain(tmp_path / "a.ZARR", STACK[0])
    assert is_zarr(path)
    assert is_image_file(path)
    (tmp_path / "b.zarr").write_text("a file")
    for other in (tmp_path / "b.zarr", tmp_path / "c.zarr", tmp_path):
        assert not is_zarr(other)
    with pytest.raises(InputError, match="no such file"):
        read_micrograph(tmp_path / "c.zarr")
