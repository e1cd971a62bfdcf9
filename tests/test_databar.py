"""The data bar is found where there is one and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_metallography.databar import find_data_bar
from napari_metallography.regions import Box

# First row of the bar, read off the pixels by eye.
VENDOR_BARS = {
    "emelyanenko/Tescan_1.TIF": 1152,
    "emelyanenko/Tescan_3.TIF": 1152,
    "emelyanenko/Zeiss_1.tif": 699,
    "emelyanenko/Zeiss_3.tif": 699,
    "rosettasciio/FEI-Helios-Ebeam-8bits.tif": 442,
    "rosettasciio/test_tiff_Zeiss_SEM_1k.tif": 691,
    "rosettasciio/test_tiff_Zeiss_SEM_512pix.tif": 350,
}
MICROGRAPHS = ("uhcs/images", "nist_steel", "tbm/full_images", "nasa", "xsdd", "neu/val")


def micrograph(seed: int, height: int = 300, width: int = 400) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
    grey = 120 + 40 * texture / texture.std() + 6 * noise
    return np.clip(grey, 0, 255).astype(np.uint8)


def bar(height: int, width: int, background: int) -> NDArray[np.uint8]:
    text = 0 if background > 127 else 255
    band = np.full((height, width), background, np.uint8)
    middle = height // 2
    size = height / 60
    cv2.putText(band, "20 um", (8, middle + height // 6), 0, size, text, 1, cv2.LINE_AA)
    cv2.putText(band, "15 kV", (width // 2, middle + height // 6), 0, size, text, 1, cv2.LINE_AA)
    band[-height // 6 - 2 : -height // 6, 8 : width // 3] = text
    return band


def read(path: Path) -> NDArray[Any]:
    if path.suffix.lower() == ".tif":
        return np.asarray(tifffile.imread(path))
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(18, 90),
    background=st.sampled_from([0, 20, 60, 128, 200, 243, 255]),
    at_top=st.booleans(),
    width=st.integers(200, 700),
)
def test_synthetic_bar_is_found_and_only_it(
    seed: int, height: int, background: int, at_top: bool, width: int
) -> None:
    field = micrograph(seed, width=width)
    parts = [field, bar(height, width, background)]
    found = find_data_bar(np.concatenate(parts[::-1] if at_top else parts))
    assert found is not None
    expected = Box(0, 0, height, width) if at_top else Box(300, 0, 300 + height, width)
    assert found == expected
    assert find_data_bar(field) is None


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), height=st.integers(30, 90), quality=st.integers(75, 100))
def test_bar_survives_jpeg(seed: int, height: int, quality: int) -> None:
    image = np.concatenate([micrograph(seed), bar(height, 400, 0)])
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    found = find_data_bar(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))
    assert found is not None
    assert abs(found.top - 300) <= 4
    assert found.bottom == 300 + height


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_the_type_of_the_pixels_does_not_matter(dtype: type[np.generic]) -> None:
    image = np.concatenate([micrograph(1), bar(40, 400, 255)]).astype(np.float64) * 0.5
    found = find_data_bar((image * (1 if dtype == np.uint8 else 100)).astype(dtype))
    assert found == Box(300, 0, 340, 400)


def test_colours_and_transparency() -> None:
    grey = np.concatenate([micrograph(2), bar(40, 400, 0)])
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rgba = np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], axis=2)
    assert find_data_bar(rgb) == find_data_bar(rgba) == Box(300, 0, 340, 400)


def test_rows_of_micrograph_below_an_inset_bar_go_with_it() -> None:
    inset = np.concatenate([micrograph(3), bar(40, 400, 0), micrograph(4)[:2]])
    assert find_data_bar(inset) == Box(300, 0, 342, 400)


def test_a_dark_micrograph_keeps_its_rows_above_a_black_bar() -> None:
    dark = micrograph(5)
    dark[150:] = np.random.default_rng(5).normal(8, 3, (150, 400)).clip(0, 255).astype(np.uint8)
    assert find_data_bar(np.concatenate([dark, bar(40, 400, 0)])) == Box(300, 0, 340, 400)


@pytest.mark.parametrize("level", [0, 20, 128, 255])
@pytest.mark.parametrize("scatter", [0, 3])
def test_a_plain_region_is_no_bar(level: int, scatter: int) -> None:
    image = micrograph(6)
    noise = np.random.default_rng(6).normal(level, scatter, (80, 400))
    image[-80:] = noise.clip(0, 255).astype(np.uint8)
    assert find_data_bar(image) is None


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 1, 3), (16, 16), (20, 3000), (3000, 20), (2, 500), (300, 400)]
)
def test_constant_and_noisy_images_of_any_size_have_none(shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(7).integers(0, 256, shape).astype(np.uint8)
    assert find_data_bar(noise) is None
    assert find_data_bar(np.zeros(shape, np.uint8)) is None
    assert find_data_bar(np.full(shape, np.nan)) is None


def test_missing_values_in_the_micrograph_do_not_hide_the_bar() -> None:
    image = np.concatenate([micrograph(8), bar(40, 400, 0)]).astype(np.float32)
    image[10:20, 10:20] = np.nan
    assert find_data_bar(image) == Box(300, 0, 340, 400)


def test_vendor_images(shared_data: Path) -> None:
    """Those with a bar; the others hold dummies, noise, or (TVIPS) a scale bar in a corner."""
    folder = shared_data / "vendor"
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".tif"):
        pixels = read(path)
        box = find_data_bar(pixels[0] if pixels.ndim == 3 and pixels.shape[-1] > 4 else pixels)
        if box is not None:
            assert (box.left, box.bottom, box.right) == (0, *pixels.shape[:2])
            found[path.relative_to(folder).as_posix()] = box.top
    assert found == VENDOR_BARS


@pytest.mark.parametrize("folder", MICROGRAPHS)
def test_micrographs_without_a_bar(shared_data: Path, folder: str) -> None:
    paths = [
        path
        for path in sorted((shared_data / folder).rglob("*"))
        if path.suffix in (".tif", ".png", ".jpg") and "label" not in path.parent.name
    ]
    assert paths
    wrong = [path.name for path in paths[:: max(1, len(paths) // 100)] if find_data_bar(read(path))]
    assert wrong == []
