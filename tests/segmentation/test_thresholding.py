"""Thresholding against exact truth and against scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from pydantic import ValidationError
from skimage.draw import disk
from skimage.filters import gaussian, threshold_otsu

from napari_metallography.errors import InputError
from napari_metallography.plane import as_plane
from napari_metallography.regions import Box, Field
from napari_metallography.segmentation import thresholding
from napari_metallography.segmentation.thresholding import (
    ThresholdParameters,
    corrected,
    otsu,
    prepared,
    split,
    threshold,
)

MANUAL = ThresholdParameters(method="manual", value=100)


def discs(shape: tuple[int, int] = (200, 240), radius: int = 6) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for row in range(20, shape[0], 40):
        for column in range(20, shape[1], 40):
            mask[disk((row, column), radius, shape=shape)] = True
    return mask


def micrograph(mask: NDArray[np.bool_], scatter: float = 4, seed: int = 0) -> NDArray[np.float64]:
    return np.where(mask, 160.0, 80.0) + np.random.default_rng(seed).normal(0, scatter, mask.shape)


@given(npst.arrays(np.uint8, (9, 11)))
def test_otsu_of_8_bits_is_that_of_scikit_image(image: NDArray[np.uint8]) -> None:
    inside = np.ones(image.shape, bool)
    if image.min() == image.max():
        with pytest.raises(InputError, match="single grey value"):
            otsu(image.astype(np.float32), inside)
    else:
        assert _separation(image, otsu(image.astype(np.float32), inside)) == pytest.approx(
            _separation(image, threshold_otsu(image))
        )


def _separation(image: NDArray[np.integer], value: float) -> float:
    """Between-class variance, straight from its definition."""
    bright = image > value
    share = bright.mean()
    return share * (1 - share) * (image[bright].mean() - image[~bright].mean()) ** 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_otsu_of_whole_numbers_is_exact(dtype: type[np.integer]) -> None:
    image = (micrograph(discs(), 15) * (1 if dtype == np.uint8 else 100)).clip(0, 30000)
    image = image.astype(dtype)
    assert otsu(image.astype(np.float32), np.ones(image.shape, bool)) == threshold_otsu(image)


def test_otsu_of_fractions_agrees_within_the_other_bins() -> None:
    image = micrograph(discs(), 15) / 1000 - 3
    assert otsu(image, np.ones(image.shape, bool)) == pytest.approx(
        threshold_otsu(image, nbins=4096), abs=np.ptp(image) / 2048
    )


def test_otsu_looks_only_inside() -> None:
    image = micrograph(discs(), 15).astype(np.uint8)
    inside = np.ones(image.shape, bool)
    inside[150:] = False
    beside = image.astype(np.float32)
    beside[150:] = 1e6
    assert otsu(beside, inside) == threshold_otsu(image[:150])


@pytest.mark.parametrize("phase", ["bright", "dark"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_discs_are_found_to_the_pixel(phase: str, dtype: type[np.generic]) -> None:
    mask = discs()
    grey = micrograph(mask if phase == "bright" else ~mask)
    plane = as_plane((grey if dtype == np.uint8 else grey * 100).astype(dtype))
    result = threshold(plane, Field(mask.shape), ThresholdParameters(phase=phase))
    assert result.indices.dtype == np.uint8
    assert (result.indices == mask).all()


def test_the_result_turns_with_the_image_and_scales_with_its_grey_values() -> None:
    mask = discs()
    grey = micrograph(mask, 25).astype(np.uint8)
    field, turned = Field(mask.shape), Field(mask.shape[::-1])
    parameters = ThresholdParameters(shading_px=60, smoothing_px=1)
    plain = threshold(as_plane(grey), field, parameters)
    rotated = threshold(as_plane(np.rot90(grey)), turned, parameters)
    assert (np.rot90(plain.indices) != rotated.indices).mean() < 1e-3
    times_two = threshold(as_plane(grey.astype(np.float32) * 2), field, parameters)
    assert (times_two.indices == plain.indices).all()
    assert times_two.value == pytest.approx(2 * plain.value)


def test_the_manual_value_is_in_the_image_s_own_scale() -> None:
    ramp = np.arange(40_000, dtype=np.uint16).reshape(200, 200)
    parameters = ThresholdParameters(method="manual", value=29_999)
    result = threshold(as_plane(ramp), Field(ramp.shape), parameters)
    assert result.value == 29_999
    assert (result.indices == 1).sum() == 10_000


def test_otsu_ignores_a_value_left_over_from_manual() -> None:
    mask = discs()
    plane = as_plane(micrograph(mask).astype(np.uint8))
    left_over = ThresholdParameters(method="otsu", value=3)
    assert threshold(plane, Field(mask.shape), left_over).value == pytest.approx(120, abs=30)


def test_outside_the_field_is_unlabelled() -> None:
    mask = discs()
    square = ((9.5, 9.5), (9.5, 99.5), (99.5, 99.5), (99.5, 9.5))
    field = Field(mask.shape, Box(180, 0, 200, 240), (square,))
    indices = threshold(as_plane(micrograph(mask)), field, ThresholdParameters()).indices
    assert (indices[10:100, 10:100] == mask[10:100, 10:100]).all()
    assert ((indices == 255) == ~field.mask()).all()


@pytest.mark.parametrize("shading_px", [10, 25.5, 70, 5000])
def test_background_is_gaussian(shading_px: float) -> None:
    grey = micrograph(discs(), 10).astype(np.float32)
    background = gaussian(grey, shading_px, mode="reflect", truncate=4, preserve_range=True)
    expected = grey - background + background.mean()
    np.testing.assert_allclose(corrected(grey, shading_px), expected, atol=0.5)


def test_even_light_stays_as_it_is() -> None:
    even = np.full((50, 60), 77, np.float32)
    np.testing.assert_allclose(corrected(even, 20), even, rtol=1e-5)
    assert corrected(even, None) is even


def test_correction_finds_objects_that_shading_hides() -> None:
    mask = discs((400, 480), 5)
    shaded = micrograph(mask) + np.linspace(-120, 120, 480)
    field = Field(mask.shape)
    plain = threshold(as_plane(shaded), field, ThresholdParameters()).indices
    evened = threshold(as_plane(shaded), field, ThresholdParameters(shading_px=40)).indices
    assert (plain != mask).mean() > 0.2
    assert (evened != mask).mean() < 0.005


@pytest.mark.parametrize(("shading_px", "smoothing_px"), [(30, 0), (None, 2), (30, 2)])
def test_a_data_bar_does_not_leak_into_the_micrograph(
    shading_px: float | None, smoothing_px: float
) -> None:
    parameters = ThresholdParameters(shading_px=shading_px, smoothing_px=smoothing_px)
    field = Field((200, 240), Box(160, 0, 200, 240))
    results = []
    for value in (0, 255):
        image = micrograph(discs()).astype(np.uint8)
        image[160:] = value
        results.append(threshold(as_plane(image), field, parameters))
    assert (results[0].indices == results[1].indices).all()
    assert results[0].value == pytest.approx(results[1].value, abs=1e-3)


def test_smoothing_quietens_noise() -> None:
    mask = discs(radius=10)
    plane = as_plane(micrograph(mask, 40))
    noisy = threshold(plane, Field(mask.shape), ThresholdParameters()).indices
    smooth = threshold(plane, Field(mask.shape), ThresholdParameters(smoothing_px=1.5)).indices
    assert (smooth != mask).mean() < 0.1 * (noisy != mask).mean()


def test_small_objects_and_small_holes_go() -> None:
    image = np.zeros((20, 30), np.uint8)
    image[2:8, 2:8] = 200
    image[4, 4:6] = 0
    image[15, 20] = image[16, 21] = image[17, 20] = 200

    def area(**sizes: int) -> int:
        parameters = MANUAL.model_copy(update=sizes)
        return int(threshold(as_plane(image), Field(image.shape), parameters).indices.sum())

    assert area() == 34 + 3
    assert area(smallest_area_px=3) == 34 + 3
    assert area(smallest_area_px=4) == 34
    assert area(smallest_hole_px=2) == 34 + 3
    assert area(smallest_hole_px=3) == 36 + 3
    assert area(smallest_area_px=4, smallest_hole_px=3) == 36


def test_a_preview_shows_what_the_run_will_give() -> None:
    plane, field = as_plane(micrograph(discs(), 20)), Field((200, 240))
    parameters = ThresholdParameters(shading_px=50, smoothing_px=1, smallest_area_px=5)
    grey = prepared(plane, field.mask(), parameters)
    for value in (90.0, 110.0, 130.0):
        manual = parameters.model_copy(update={"method": "manual", "value": value})
        shown = split(grey, field.mask(), value, manual)
        assert (shown == threshold(plane, field, manual).indices).all()


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    shading=st.none() | st.floats(0.1, 1e4),
    smoothing=st.floats(0, 50),
    seed=st.integers(0, 99),
)
def test_any_size_gives_indices(
    shape: tuple[int, int], shading: float | None, smoothing: float, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    parameters = ThresholdParameters(
        method="manual", value=128, shading_px=shading, smoothing_px=smoothing
    )
    if image.min() < image.max():
        indices = threshold(as_plane(image), Field(shape), parameters).indices
        assert indices.shape == shape
        assert set(np.unique(indices)) <= {0, 1}


def test_fields_that_cannot_be_split_are_refused() -> None:
    image = np.zeros((40, 40), np.uint8)
    image[20:] = 9
    even = ((-1, -1), (-1, 50), (10, 50), (10, -1))
    beside = ((90, 90), (90, 99), (99, 99))
    for polygon, message in ((even, "single grey value"), (beside, "no pixel")):
        with pytest.raises(InputError, match=message):
            threshold(as_plane(image), Field((40, 40), None, (polygon,)), ThresholdParameters())


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "manual"},
        {"method": "manual", "value": float("nan")},
        {"shading_px": 0},
        {"smoothing_px": -1},
        {"smallest_area_px": -1},
        {"threshold": 12},
    ],
)
def test_parameters_without_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ThresholdParameters.model_validate(wrong)


def test_cementite_of_a_real_micrograph(shared_data: Path) -> None:
    """Spheroidite by Otsu: scikit-image's value, and a share of carbide that makes sense."""
    path = sorted((shared_data / "uhcs" / "images").glob("*.tif"))[0]
    image = tifffile.imread(path)
    image = image if image.ndim == 2 else image[..., 0]
    result = threshold(as_plane(image), Field(image.shape), ThresholdParameters())
    assert result.value == threshold_otsu(image)
    assert (result.indices == (image > result.value)).all()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"phase": "dark", "method": "manual", "value": 120},
        {"smoothing_px": 1.5},
        {"smoothing_px": 8},
        {"smoothing_px": 9},
        {"shading_px": 20},
        {"smallest_area_px": 9},
        {"smoothing_px": 2, "smallest_area_px": 5, "smallest_hole_px": 7},
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_large_planes_by_some_rows_are_as_small_ones_at_once(monkeypatch, change, dtype) -> None:
    noise = np.random.default_rng(3).normal(120, 40, (150, 90)).clip(0, 255).astype(dtype)
    noise[60:90, 20:50] //= 2
    field = Field(noise.shape, Box(140, 0, 150, 90), (((5, 5), (5, 80), (139, 60), (100, 3)),))
    parameters = ThresholdParameters(**change)
    plane = as_plane(noise, measured=field)
    once = threshold(plane, field, parameters)
    for name, value in {"_LARGEST_WHOLE": 100, "_ROWS_AT_ONCE": 7, "_PIXELS_AT_ONCE": 1}.items():
        monkeypatch.setattr(thresholding, name, value)
    by_rows = threshold(plane, field, parameters)
    assert by_rows.value == once.value
    np.testing.assert_array_equal(by_rows.indices, once.indices)
