"""The second generator, which tests what no training has seen: its own truth must be exact."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import other_polycrystals as other

SCRIPT = Path(other.__file__)


def test_it_shares_no_code_with_the_first_generator() -> None:
    imported = {
        name
        for node in ast.walk(ast.parse(SCRIPT.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
        if name
    }
    assert not any(name.startswith("napari_metallography") for name in imported)


@pytest.mark.parametrize("number", [0, 5, 13, 20])
def test_the_truth_lies_within_the_class(number) -> None:
    made = other.other_polycrystal(number, shape=(300, 420))
    assert made.image.shape == (300, 420)
    assert made.image.dtype == np.uint8
    assert abs(made.grain_size - other.GRADES[number % 14]) <= 0.25
    assert made.pixel_size_um in other.PIXEL_SIZES_UM


def test_boundaries_drawn_are_as_long_as_the_truth_says() -> None:
    """Crossings of rows and columns with the cells that were drawn, against the vector truth."""
    rng, shape = np.random.default_rng(5), (400, 500)
    vertices, edges, cells = other._cells(shape, 12.0, rng)
    length = other.clipped_lengths(vertices[edges], shape).sum()
    assert math.pi * shape[0] * shape[1] / (2 * length) == pytest.approx(12.0, rel=0.02)
    labels = np.zeros(shape, int)
    for number, cell in enumerate(cells, start=1):
        y, x = other._bounded(vertices[cell], shape).T
        labels[other.draw.polygon(y, x, shape)] = number
    crossings = (labels[:, 1:] != labels[:, :-1]).sum() + (labels[1:] != labels[:-1]).sum()
    per_pixel = crossings / (2 * labels.size)
    assert 1 / per_pixel == pytest.approx(12.0, rel=0.06)


def test_the_same_number_gives_the_same_image() -> None:
    first, again = (other.other_polycrystal(3, shape=(200, 240)) for _ in range(2))
    assert (first.image == again.image).all()
    different = other.other_polycrystal(3, seed=1, shape=(200, 240))
    assert (first.image != different.image).any()


@given(st.lists(st.floats(-30, 60), min_size=4, max_size=4))
def test_clipped_lengths_are_those_of_the_points_inside(ends) -> None:
    shape = (20, 30)
    segment = np.array(ends).reshape(1, 2, 2)
    steps = np.linspace(0, 1, 20_001)[:, None]
    points = segment[0, 0] + steps * (segment[0, 1] - segment[0, 0])
    inside = ((points >= 0) & (points <= shape)).all(1).mean()
    whole = np.hypot(*(segment[0, 1] - segment[0, 0]))
    assert other.clipped_lengths(segment, shape)[0] == pytest.approx(inside * whole, abs=0.02)


def test_a_folder_that_was_begun_goes_on(tmp_path, monkeypatch) -> None:
    made: list[int] = []
    small = other.other_polycrystal

    def noted(number: int, seed: int):
        made.append(number)
        if len(made) == 3:
            raise KeyboardInterrupt
        return small(number, seed, (120, 150))

    monkeypatch.setattr(other, "other_polycrystal", noted)
    with pytest.raises(KeyboardInterrupt):
        other.write(4, 0, tmp_path)
    assert not (tmp_path / "index.csv").exists()
    other.write(4, 0, tmp_path)
    assert made == [0, 1, 2, 2, 3]
    lines = (tmp_path / "index.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [f"other0000{n}.png" for n in range(4)]
