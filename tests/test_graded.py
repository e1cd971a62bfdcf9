from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import io

from napari_metallography.errors import InputError
from napari_metallography.graded import GradedImage, held_out, read_graded_table
from napari_metallography.io.index import ImageIndex


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    for name in ("a.png", "b.png"):
        io.imsave(tmp_path / name, image, check_contrast=False)
    return tmp_path


def _table(folder: Path, text: str) -> Path:
    path = folder / "index.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_gives_images_with_grain_and_pixel_size(folder) -> None:
    table = _table(folder, "image,pixel_size_um,G,specimen\na.png,0.3,8.5,S1\nb.png,,9,\n")
    first, second = read_graded_table(table)
    assert (first.grain_size, first.specimen) == (8.5, "S1")
    pixels, calibration, field = first.read()
    assert pixels.shape == field.shape == (40, 50)
    assert calibration is not None
    assert calibration.x_um == 0.3
    assert second.read()[1] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,G\na.png,\n", "line 2: a.png has no G"),
        ("image,pixel_size_um\na.png,0.3\n", "has no G; the column G"),
        ("image,G\nc.png,8\n", "c.png is no file"),
        ("image,G\n", "names no image"),
        ("image,G\na.png,eight\n", "'eight' is not a number"),
    ],
)
def test_a_table_that_lacks_something_is_refused_in_a_line(folder, text, says) -> None:
    with pytest.raises(InputError) as refused:
        read_graded_table(_table(folder, text))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def _images(*specimens: str) -> list[GradedImage]:
    index = ImageIndex(Path("index.csv"), ())
    return [GradedImage(Path(f"{n}.png"), index, 8.0, s) for n, s in enumerate(specimens)]


@given(st.lists(st.sampled_from("ABCDEFGHIJ"), max_size=60))
def test_a_specimen_lies_on_one_side(specimens) -> None:
    chosen = held_out(_images(*specimens))
    for specimen in set(specimens):
        sides = {side for side, of in zip(chosen, specimens, strict=True) if of == specimen}
        assert len(sides) == 1


@given(st.integers(1, 100))
def test_images_without_specimens_are_held_out_in_part(count) -> None:
    chosen = held_out(_images(*("",) * count))
    assert sum(chosen) == 0 if count < 7 else 0.05 < sum(chosen) / count < 0.25


@pytest.mark.parametrize("order", [1, -1])
def test_every_grain_size_is_held_out_in_part_however_the_table_is_sorted(order) -> None:
    index = ImageIndex(Path("index.csv"), ())
    sizes = sorted([g for g in (7.0, 9.0, 11.0) for _ in range(14)])[::order]
    images = [GradedImage(Path(f"{n}.png"), index, g) for n, g in enumerate(sizes)]
    chosen = held_out(images)
    for size in (7.0, 9.0, 11.0):
        assert sum(held for held, g in zip(chosen, sizes, strict=True) if g == size) == 2
