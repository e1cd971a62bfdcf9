"""Grading with a network that counts crossings: what is done around it must be exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.grains.grades import GRADES, LINE_LENGTH, REFERENCE_UM
from napari_metallography.grains.image_lines import LineParameters, lines_in
from napari_metallography.grains.line_grading import LineGrade, grade
from napari_metallography.grains.line_model import LineModel
from napari_metallography.grains.standards import intercept_g
from napari_metallography.models.card import DataSource, LineInput, ModelCard, Network
from napari_metallography.regions import Box, Field


class Counting(nn.Module):
    """Grades a line by the spacing of its dark runs, sharing between the two nearest classes."""

    def forward(self, lines: Tensor) -> Tensor:
        dark = lines < 0
        starts = [torch.nonzero(line).flatten() for line in dark[:, 1:] & ~dark[:, :-1]]
        spacings = [_spacing(np.diff(s)) if len(s) > 2 else LINE_LENGTH for s in starts]
        nominal = torch.tensor([intercept_g(px * REFERENCE_UM / 1000) for px in spacings])
        place = ((nominal - GRADES[0]) / 0.5).clamp(0, 13)
        shares = (1 - (place[:, None] - torch.arange(14)).abs()).clamp(min=0)
        return (shares + 1e-9).log()


def _spacing(differences: np.ndarray) -> float:
    """The mean, less the odd ones where a line goes on as its mirror image."""
    usual = np.median(differences)
    return float(differences[np.abs(differences - usual) <= 2].mean())


def counting_model(pixel_um: float | None = REFERENCE_UM) -> LineModel:
    card = ModelCard(
        name="counting",
        task="grain-size",
        network=Network(architecture="line-network", encoder="none"),
        classes=named_classes([f"G {g:g}" for g in GRADES]),
        lines=LineInput(pixel_um=pixel_um, grades=GRADES),
        data=DataSource(name="none", digest="0"),
    )
    network: Any = Counting()
    return LineModel(card, network, "0")


def grid(period: float, shape: tuple[int, int] = (1000, 1200), width: int = 4) -> np.ndarray:
    """Dark lines of a period along both axes; lines of the image that lie in them cross none."""
    y, x = (np.arange(n) % period < width for n in shape)
    return np.where(y[:, None] ^ x, 40, 200).astype(np.uint8)


def graded(image: np.ndarray, calibration: Calibration | None, **more: Any) -> LineGrade:
    return drain(grade(image, calibration, counting_model(), **more))


def square(size_um: float) -> Calibration:
    return Calibration.square(size_um, "test")


def test_the_grain_size_is_that_of_the_intercepts() -> None:
    found = graded(grid(50), square(0.2))
    assert found.grain_size == pytest.approx(intercept_g(50 * 0.2 / 1000), abs=0.03)
    assert found.most_probable == 10
    assert not found.outside
    assert len(found.votes.lines) == 128
    assert found.votes.probabilities.sum(1) == pytest.approx(1)
    assert found.mean_probabilities @ found.votes.grades == pytest.approx(found.grain_size)


@given(st.integers(-6, 10), st.floats(0.15, 0.25))
def test_pixels_of_any_size_change_g_by_what_they_are(octaves, size) -> None:
    image, few = grid(50, (300, 700)), LineParameters(rows=3, columns=1)
    sizes = square(size), square(size * 2.0**octaves)
    first, other = (graded(image, calibration, parameters=few) for calibration in sizes)
    assert other.grain_size == pytest.approx(first.grain_size - 2 * octaves, abs=1e-4)


@pytest.mark.parametrize("factor", [2, 4])
def test_pixels_and_pixel_size_scaled_together_change_nothing(factor) -> None:
    image = grid(50, (800, 800))
    larger = np.repeat(np.repeat(image, factor, 0), factor, 1)
    first, other = graded(image, square(0.2)), graded(larger, square(0.2 / factor))
    assert other.grain_size == pytest.approx(first.grain_size, abs=0.02)


@pytest.mark.parametrize(("period", "size_um"), [(420, 0.2), (12, 0.2)])
def test_grains_beyond_the_classes_are_shown_at_another_scale(period, size_um) -> None:
    few = LineParameters(rows=6, columns=2)
    found = graded(grid(period, (700, 2600), width=3), square(size_um), parameters=few)
    assert found.grain_size == pytest.approx(intercept_g(period * size_um / 1000), abs=0.25)
    assert not found.outside


def test_an_answer_at_the_end_is_said() -> None:
    events: list[str] = []
    image = grid(4, (600, 600), width=2)
    running = grade(image, square(0.2), counting_model())
    found = drain(running, lambda e: events.append(e.message) if isinstance(e, Notice) else None)
    assert found.outside
    assert "finer" in events[0]


def test_oblong_pixels_count_along_both_axes() -> None:
    square_image = grid(60, (900, 1200))
    found = graded(square_image[:, ::2], Calibration(0.4, 0.2, "test"))
    assert found.grain_size == pytest.approx(intercept_g(60 * 0.2 / 1000), abs=0.05)
    rows = [line.direction == "row" for line in found.votes.lines]
    expected = found.votes.expected
    assert expected[rows].mean() == pytest.approx(expected[np.invert(rows)].mean(), abs=0.1)


def test_lines_keep_out_of_the_data_bar_and_the_region() -> None:
    image = grid(50, (900, 900))
    image[800:] = 0
    field = Field((900, 900), Box(800, 0, 900, 900), (Box(100, 50, 900, 850).corners,))
    found = graded(image, square(0.2), field=field)
    for line in found.votes.lines:
        box = (100, 800) if line.direction == "column" else (50, 850)
        assert (line.first, line.last) == box
        low, high = (50, 850) if line.direction == "column" else (100, 800)
        assert low <= line.place < high
    assert found.grain_size == pytest.approx(intercept_g(0.01), abs=0.05)


def test_colours_count_by_their_luminance() -> None:
    image = grid(50)
    coloured = np.stack([image, image, image], -1)
    assert graded(coloured, square(0.2)).grain_size == graded(image, square(0.2)).grain_size


def test_lines_that_count_as_independent_lie_an_intercept_apart() -> None:
    found = graded(grid(100, (400, 1000)), square(0.2))
    apart = 100 * 0.2
    most = 400 * 0.2 / apart + 1 + 1000 * 0.2 / apart + 1
    assert 8 <= found.independent_lines <= most


def test_a_single_line_has_no_spread() -> None:
    found = graded(grid(50), square(0.2), parameters=LineParameters(rows=1, columns=0))
    assert len(found.votes.lines) == 1
    assert np.isnan(found.spread)


def test_without_a_scale_nothing_is_graded() -> None:
    with pytest.raises(InputError, match=r"no pixel size is known; give --pixel-size"):
        graded(grid(50), None)


@pytest.mark.parametrize("shape", [(12, 12), (0, 30)])
def test_an_image_too_small_is_refused(shape) -> None:
    with pytest.raises(InputError):
        graded(np.resize(np.arange(200, dtype=np.uint8), shape), square(0.2))


def test_no_lines_are_refused() -> None:
    with pytest.raises(InputError, match="no rows and no columns"):
        graded(grid(50), square(0.2), parameters=LineParameters(rows=0, columns=0))


def test_paper_mode_needs_no_scale_and_says_what_that_means() -> None:
    events: list[str] = []
    running = grade(grid(50, (1376, 1376)), None, counting_model(None))
    found = drain(running, lambda e: events.append(e.message) if isinstance(e, Notice) else None)
    assert found.grain_size == pytest.approx(intercept_g(50 * REFERENCE_UM / 1000), abs=0.05)
    assert "paper mode" in events[0]


@given(st.integers(16, 90), st.integers(16, 90), st.integers(1, 40))
def test_lines_are_spread_over_the_field_without_repeats(height, width, count) -> None:
    found = list(lines_in(Field((height, width)), LineParameters(rows=count, columns=count)))
    rows = [line.place for line in found if line.direction == "row"]
    assert len(set(rows)) == len(rows) == min(count, height)
    assert rows == sorted(rows)
    assert max(np.diff([-1, *rows, height])) <= height / len(rows) + 2


def test_the_networks_scale_lies_on_the_device_of_choice() -> None:
    image = grid(50, (300, 300))
    found = graded(image, square(0.2), device=torch.device("cpu"))
    assert found.votes.probabilities.dtype == np.float64
