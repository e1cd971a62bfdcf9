"""Pictures for reports, to the pixel."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.io import overlays
from napari_metallography.io.overlays import (
    error_map,
    overlay,
    scale_bar,
    with_frame,
    with_legend,
    with_scale_bar,
    write_png,
)
from napari_metallography.regions import Box

CLASSES = named_classes(["matrix", "carbide", "α-ferrite"])
CALIBRATION = Calibration.square(0.1, "test")


@given(
    edges=st.tuples(
        st.integers(0, 30), st.integers(31, 60), st.integers(0, 40), st.integers(41, 80)
    )
)
def test_a_frame_runs_around_its_region(edges: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = edges
    grey = np.full((60, 80, 3), 90, np.uint8)
    drawn = (with_frame(grey, [Box(top, left, bottom, right).corners]) != grey).any(axis=-1)
    places = np.argwhere(drawn)
    assert abs(places.min(axis=0) - (top, left)).max() <= 1
    assert abs(places.max(axis=0) - (bottom - 1, right - 1)).max() <= 1
    assert not drawn[top + 2 : bottom - 2, left + 2 : right - 2].any()


def grey(level: int, shape: tuple[int, int] = (60, 80)) -> NDArray[np.uint8]:
    return np.full((*shape, 3), level, np.uint8)


def count(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=2).sum())


def labels() -> NDArray[np.uint8]:
    indices = np.zeros((60, 80), np.uint8)
    indices[10:20, 10:30] = 1
    indices[30:40, 40:50] = 2
    indices[50:] = 255
    return indices


def test_overlay_tints_all_but_matrix_and_unlabelled() -> None:
    picture = overlay(grey(100), labels(), CLASSES, 0.4, contours=False)
    carbide = tuple(round(0.6 * 100 + 0.4 * value) for value in CLASSES[1].rgb)
    ferrite = tuple(round(0.6 * 100 + 0.4 * value) for value in CLASSES[2].rgb)
    assert count(picture, carbide) == 200
    assert count(picture, ferrite) == 100
    assert count(picture, (100, 100, 100)) == 60 * 80 - 300


def test_contours_are_the_outermost_pixels_in_full_colour() -> None:
    picture = overlay(grey(100), labels(), CLASSES)
    assert count(picture, CLASSES[1].rgb) == 2 * (10 + 20) - 4
    assert count(picture, CLASSES[2].rgb) == 4 * 10 - 4
    assert count(picture, (100, 100, 100)) == 60 * 80 - 300


@pytest.mark.parametrize(("opacity", "left"), [(0.0, 60 * 80), (1.0, 60 * 80 - 300)])
def test_opacity_from_nothing_to_everything(opacity: float, left: int) -> None:
    picture = overlay(grey(100), labels(), CLASSES, opacity, contours=False)
    assert count(picture, (100, 100, 100)) == left


def test_overlay_leaves_its_input_alone() -> None:
    pixels = grey(100)
    overlay(pixels, labels(), CLASSES)
    assert (pixels == 100).all()


def test_overlay_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(InputError, match="do not belong together"):
        overlay(grey(0, (5, 5)), labels(), CLASSES)
    with pytest.raises(InputError, match="class index 2 has no name"):
        overlay(grey(0), labels(), CLASSES[:2])


def test_error_map_has_the_paper_s_colours() -> None:
    truth = np.array([[1, 0, 1, 0, 255, 1]], np.uint8)
    found = np.array([[1, 0, 0, 1, 1, 255]], np.uint8)
    expected = ["TRUE_POSITIVE", "TRUE_NEGATIVE", "FALSE_NEGATIVE", "FALSE_POSITIVE"]
    expected += ["NOT_JUDGED"] * 2
    colours = [getattr(overlays, name) for name in expected]
    for class_index in (1, None):
        assert error_map(truth, found, class_index)[0].tolist() == [list(c) for c in colours]
    assert overlays.TRUE_POSITIVE == (255, 255, 255)
    assert overlays.TRUE_NEGATIVE == (0, 0, 0)


def test_error_map_of_one_class_counts_the_others_as_its_background() -> None:
    truth = np.array([[1, 2, 2, 0]], np.uint8)
    found = np.array([[2, 2, 1, 1]], np.uint8)
    picture = error_map(truth, found, 2)
    assert count(picture, overlays.FALSE_POSITIVE) == 1
    assert count(picture, overlays.TRUE_POSITIVE) == 1
    assert count(picture, overlays.FALSE_NEGATIVE) == 1
    assert count(picture, overlays.TRUE_NEGATIVE) == 1
    together = error_map(truth, found)
    assert count(together, overlays.WRONG_PHASE) == 2


@given(seed=st.integers(0, 999), class_index=st.sampled_from([None, 0, 1, 2]))
def test_errors_swap_when_truth_and_prediction_do(seed: int, class_index: int | None) -> None:
    generator = np.random.default_rng(seed)
    truth, found = generator.choice([0, 1, 2, 255], (2, 12, 13)).astype(np.uint8)
    forth, back = error_map(truth, found, class_index), error_map(found, truth, class_index)
    for one, other in (
        (overlays.FALSE_POSITIVE, overlays.FALSE_NEGATIVE),
        (overlays.TRUE_POSITIVE, overlays.TRUE_POSITIVE),
        (overlays.NOT_JUDGED, overlays.NOT_JUDGED),
    ):
        assert count(forth, one) == count(back, other)


def test_error_map_over_the_micrograph_colours_only_errors() -> None:
    truth, found = labels(), np.roll(labels(), 2, axis=1)
    picture = error_map(truth, found, 1, grey(77))
    assert count(picture, overlays.FALSE_POSITIVE) == 20
    assert count(picture, overlays.FALSE_NEGATIVE) == 20
    assert count(picture, (77, 77, 77)) == 60 * 80 - 40


def test_error_map_refuses_shapes_that_differ() -> None:
    with pytest.raises(InputError, match="do not belong together"):
        error_map(labels(), labels()[:-1], 1)


@given(width=st.integers(40, 20_000), pixel_um=st.floats(1e-5, 1e3))
def test_scale_bar_is_a_round_length_to_the_pixel(width: int, pixel_um: float) -> None:
    bar = scale_bar(width, Calibration.square(pixel_um, "test"))
    number, unit = bar.label.split()
    length_um = float(number) * {"mm": 1e3, "µm": 1, "nm": 1e-3, "pm": 1e-6}[unit]
    mantissa = length_um / 10 ** math.floor(math.log10(length_um * 1.0001))
    assert min(abs(mantissa - step) for step in (1, 2, 5)) < 1e-6
    assert abs(bar.pixels - length_um / pixel_um) <= 0.51
    assert width / 8 < bar.pixels <= width / 3 + 1


@pytest.mark.parametrize(
    ("pixel_um", "label"),
    [(0.1, "20 µm"), (0.002, "500 nm"), (20, "5 mm"), (1.5, "500 µm"), (3.1, "1 mm")],
)
def test_labels_of_scale_bars(pixel_um: float, label: str) -> None:
    assert scale_bar(1000, Calibration.square(pixel_um, "test")).label == label


@pytest.mark.parametrize("level", [0, 128, 255])
@settings(deadline=None, max_examples=20)
@given(width=st.integers(120, 900), height=st.integers(60, 700))
def test_the_burnt_in_bar_has_its_length(level: int, width: int, height: int) -> None:
    rgb = grey(level, (height, width))
    picture = with_scale_bar(rgb, CALIBRATION)
    bar = scale_bar(width, CALIBRATION)
    assert picture.shape == rgb.shape
    assert longest_black_run(picture[height // 2 :, :, 0], level) == bar.pixels


def longest_black_run(part: NDArray[np.uint8], level: int) -> int:
    """Of the rows whose black lies on white; a black picture's own rows are left out."""
    longest = 0
    for row in part:
        white = np.flatnonzero(row == 255)
        if white.size and white.size < row.size:
            ground = row[white[0] : white[-1] + 1] if level != 255 else row
            runs = "".join("1" if value == 0 else " " for value in ground).split()
            longest = max(longest, *map(len, runs), 0) if runs else longest
    return longest


def test_pixels_that_are_not_square_are_measured_along_the_bar() -> None:
    bar = scale_bar(1000, Calibration(0.1, 0.7, "test"))
    assert (bar.pixels, bar.label) == (200, "20 µm")


def test_a_picture_too_small_for_a_bar_stays_as_it_is() -> None:
    for shape in ((1, 1), (20, 20), (4, 500)):
        assert (with_scale_bar(grey(90, shape), CALIBRATION) == 90).all()


def test_legend_shows_every_class_below_the_picture() -> None:
    picture = grey(100, (200, 300))
    with_names = with_legend(picture, CLASSES)
    strip = with_names[200:]
    assert (with_names[:200] == picture).all()
    assert with_names.shape[1:] == (300, 3)
    counts = {count(strip, phase.rgb) for phase in CLASSES}
    assert min(counts) > 20
    assert (strip[-1] == 255).all()


def test_legend_of_a_narrow_picture_has_more_lines() -> None:
    narrow = with_legend(grey(0, (200, 90)), CLASSES)
    wide = with_legend(grey(0, (200, 600)), CLASSES)
    assert narrow.shape[0] > wide.shape[0]
    for phase in CLASSES:
        assert count(narrow[200:], phase.rgb) > 20


def test_legend_cuts_names_longer_than_the_picture() -> None:
    long = with_legend(grey(0, (100, 100)), named_classes(["proeutectoid cementite network"]))
    assert (long[100:, -2:] == 255).all()


def test_no_classes_no_legend() -> None:
    assert with_legend(grey(7), ()).shape == (60, 80, 3)


def test_png_says_its_resolution(tmp_path: Path) -> None:
    path = tmp_path / "übersicht µm.png"
    picture = with_legend(grey(100), CLASSES)
    write_png(path, picture, Calibration(0.25, 0.5, "test"))
    with Image.open(path) as image:
        assert (np.asarray(image) == picture).all()
        x, y = image.info["dpi"]
    assert (x / 0.0254, y / 0.0254) == pytest.approx((4e6, 2e6), rel=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("calibration", [None, Calibration.square(1e-5, "test")])
def test_png_without_a_resolution(tmp_path: Path, calibration: Calibration | None) -> None:
    write_png(tmp_path / "a.png", grey(3), calibration)
    with Image.open(tmp_path / "a.png") as image:
        assert "dpi" not in image.info


def test_a_png_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_png(tmp_path / "taken", grey(3))
    with pytest.raises(TypeError):
        write_png(tmp_path / "b.png", grey(3).astype(np.complex64))  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
