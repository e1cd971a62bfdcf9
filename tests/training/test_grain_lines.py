from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.graded import read_graded_table
from napari_metallography.grains.grades import GRADES
from napari_metallography.training import grain_lines
from napari_metallography.training.grain_lines import (
    lines_of_images,
    synthetic_image,
    synthetic_lines,
)


@pytest.mark.parametrize("number", [0, 6, 13, 27])
def test_a_synthetic_image_has_a_grain_size_of_its_class(number) -> None:
    values, grain_size = synthetic_image(3, number)
    assert values.shape == (48, 1376)
    assert values.dtype == np.uint8
    assert abs(grain_size - GRADES[number % 14]) <= 0.25
    assert values.std() > 2


def test_finer_grains_change_the_lines_faster() -> None:
    """Crossings of a line's own mean after smoothing, of the coarsest and the finest class."""

    def crossings(number: int) -> float:
        images = [synthetic_image(0, number + 14 * turn)[0].astype(float) for turn in range(4)]
        lines = np.concatenate(images)
        smooth = np.apply_along_axis(np.convolve, 1, lines, np.ones(9) / 9, "valid")
        above = smooth > smooth.mean(1, keepdims=True)
        return float((above[:, 1:] != above[:, :-1]).mean())

    assert crossings(13) > 1.5 * crossings(0)


def test_the_same_number_gives_the_same_lines() -> None:
    first, again, other = (synthetic_image(*key)[0] for key in ((1, 5), (1, 5), (2, 5)))
    assert (first == again).all()
    assert (first != other).any()


def test_a_bank_that_was_stopped_goes_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(grain_lines, "_PART", 1)
    running = synthetic_lines(2, 0, tmp_path, processes=1)
    for event in running:
        if event.done:
            break
    running.close()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert kept
    found = drain(synthetic_lines(2, 0, tmp_path, processes=1))
    assert all((tmp_path / name).stat().st_mtime_ns == at for name, at in kept.items())
    assert len(found) == 2
    assert (found.values[1] == synthetic_image(0, 1)[0]).all()


def test_a_spoilt_part_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(grain_lines, "_PART", 1)
    drain(synthetic_lines(1, 0, tmp_path, processes=1))
    part = next(tmp_path.iterdir())
    part.write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a part of a line bank; delete it"):
        drain(synthetic_lines(1, 0, tmp_path, processes=1))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Images of lines that hold their place, so that rows and columns can be told apart."""
    rows = [("rows.png", 0.2, 8.0), ("small.png", 0.1, 8.0), ("far.png", 20.0, 8.0)]
    image = np.tile(np.arange(0, 250, dtype=np.uint8)[:, None], (1, 300))
    for name, _, _ in rows:
        io.imsave(tmp_path / name, image, check_contrast=False)
    with (tmp_path / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "pixel_size_um", "G"), *rows])
    return tmp_path / "index.csv"


def test_lines_of_images_have_the_grain_size_they_look_like(table) -> None:
    said: list[str] = []
    events = lines_of_images(read_graded_table(table))
    found, names = drain(
        events, lambda e: said.append(e.message) if isinstance(e, Notice) else None
    )
    assert len(names) == 2
    assert "far.png" not in names
    # Of half the pixel size, the same grains look as if they were two numbers coarser.
    assert found.grain_sizes.tolist() == [8.0, 6.5]
    assert found.values.shape == (2, 48, 1376)
    assert "far.png" in said[0]
    rows, columns = found.values[0, :24], found.values[0, 24:]
    assert (rows == rows[:, :1]).all()
    assert (columns.std(1) > 20).all()


def test_lines_of_paper_mode_take_no_account_of_scale(table) -> None:
    found, _ = drain(lines_of_images(read_graded_table(table), paper_mode=True))
    assert found.grain_sizes.tolist() == [8.0, 8.0, 8.0]
    assert (found.values[0] == found.values[2]).all()


def test_a_table_of_nothing_that_fits_is_refused(table) -> None:
    far = read_graded_table(table)[2:]
    with pytest.raises(InputError, match="no image has a G that the network knows"):
        drain(lines_of_images(far))
