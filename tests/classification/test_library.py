from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from napari_metallography.classification import library as module
from napari_metallography.classification.images import OUTSIDER, OUTSIDERS
from napari_metallography.classification.library import (
    Example,
    Library,
    example_of,
    largest_rectangle,
    read_library,
    write_library,
)
from napari_metallography.classification.micrographs import read_micrographs
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.io.index import UNKNOWN


def _plane(seed: int = 0, shape: tuple[int, int] = (40, 60)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _example(seed: int, name: str, size: float | None = None, specimen: str = "") -> Example:
    return example_of(_plane(seed), name, size, specimen, f"image {seed}.tif")


def _brute(mask: NDArray[np.bool_]) -> int:
    """Area of the largest rectangle, every one of them looked at."""
    rows, columns = mask.shape
    return max(
        (
            (bottom - top) * (right - left)
            for top in range(rows)
            for bottom in range(top + 1, rows + 1)
            for left in range(columns)
            for right in range(left + 1, columns + 1)
            if mask[top:bottom, left:right].all()
        ),
        default=0,
    )


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@given(arrays(bool, st.tuples(st.integers(0, 7), st.integers(0, 7))))
def test_no_rectangle_is_larger(mask) -> None:
    box = largest_rectangle(mask)
    assert mask[box.slices].all()
    assert box.shape[0] * box.shape[1] == _brute(mask)


def test_a_large_mask_takes_no_time() -> None:
    mask = np.ones((2000, 3000), bool)
    mask[900, 1000] = False
    # To the right of the gap there are more columns than rows below it.
    assert largest_rectangle(mask).to_list() == [0, 1001, 2000, 3000]


def test_an_example_is_the_largest_rectangle_inside_an_outline() -> None:
    plane = _plane(shape=(100, 140))
    # A rectangle that napari draws around rows 10 to 59 and columns 20 to 99, and one cut off.
    for outline, (rows, columns) in (
        ([[9.5, 19.5], [9.5, 99.5], [59.5, 99.5], [59.5, 19.5]], (slice(10, 60), slice(20, 100))),
        ([[-50, -50], [-50, 49.5], [49.5, 49.5], [49.5, -50]], (slice(0, 50), slice(0, 50))),
        ([[0, 0], [0, 139], [99, 139], [99, 0]], (slice(0, 100), slice(0, 140))),
    ):
        found = example_of(plane, "a", 0.5, "", "m.tif", np.array(outline))
        assert np.array_equal(found.plane, plane[rows, columns])
        assert found.source == (
            f"m.tif, rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop}"
        )
        assert found.specimen == "m.tif"
    triangle = np.array([[0, 0], [0, 120], [90, 0]])
    inside = example_of(plane, "a", None, "S 1", "m.tif", triangle)
    # Of a right triangle it is a quarter of the sides' product.
    assert np.prod(inside.plane.shape) == pytest.approx(90 * 120 / 4, rel=0.05)
    assert inside.specimen == "S 1"


@pytest.mark.parametrize(
    ("name", "outline", "said"),
    [
        ("a", [[0, 0], [0, 20], [20, 20], [20, 0]], "21 × 21 px are too few"),
        ("a", [[200, 0], [200, 90], [290, 90], [290, 0]], "lies outside the image"),
        ("a", [[-90, -90], [-90, -9], [-9, -9], [-9, -90]], "lies outside the image"),
        (" ", None, "no class can be called ''"),
        ("N/A", None, "no class can be called"),
        ("None", None, "no class can be called"),
        ("two\nlines", None, "no class can be called"),
        ("unsure", None, "no class can be called"),
    ],
)
def test_what_is_no_example_is_refused(name, outline, said) -> None:
    drawn = None if outline is None else np.array(outline, float)
    with pytest.raises(InputError, match=said) as refused:
        example_of(_plane(shape=(80, 90)), name, None, "", "m.tif", drawn)
    assert len(str(refused.value).splitlines()) == (2 if "\n" in name else 1)


def test_a_part_of_one_grey_value_is_refused() -> None:
    with pytest.raises(InputError, match="the same value"):
        example_of(np.full((50, 50), 7, np.uint8), "a", None, "", "m.tif")


def test_a_library_grows_and_shrinks() -> None:
    first = Library().added(_example(0, "b"), _example(1, "a"), _example(2, "none"))
    assert first.names == ("a", "b")
    assert first.counts == {"a": 1, "b": 1, OUTSIDERS: 1}
    corrected = first.added(_example(0, "a"))
    assert [one.name for one in corrected.examples] == ["a", "a", "none"]
    assert len(first.without(1)) == 2
    images = corrected.micrographs()
    assert images.names == ("a",)
    assert images.classes.tolist() == [0, 0, OUTSIDER]
    assert images.specimens == ("image 0.tif", "image 1.tif", "image 2.tif")


def _is_a_name(text: str) -> bool:
    return text.isprintable() and text.strip().casefold() not in {*UNKNOWN, "unsure"}


_NAMES = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=8).filter(_is_a_name)


@settings(max_examples=12)
@given(st.lists(st.tuples(_NAMES, st.none() | st.floats(1e-3, 1e3)), min_size=1, max_size=4))
def test_what_was_written_is_read(tmp_path_factory, stated) -> None:
    folder = tmp_path_factory.mktemp("library") / "new"
    written = Library().added(
        *(_example(seed, name, size, f"S{seed}") for seed, (name, size) in enumerate(stated))
    )
    paths = write_library(folder, written)
    assert {path.relative_to(folder).as_posix() for path in paths} == set(_files(folder))
    found = drain(read_library(folder))
    assert found.skipped == ()
    assert found.folder == folder
    _assert_alike(found, written)


def test_outsiders_are_written_and_read(tmp_path) -> None:
    written = Library().added(_example(0, "none!", 0.5, "S"), _example(1, "none", 0.25, "S"))
    write_library(tmp_path / "a", written)
    _assert_alike(drain(read_library(tmp_path / "a")), written)


def _assert_alike(one: Library, other: Library) -> None:
    for own, others in zip(
        *(sorted(each.examples, key=lambda e: e.source) for each in (one, other)), strict=True
    ):
        assert replace(own, plane=others.plane) == others or others.name == OUTSIDERS
        assert (own.name, own.pixel_size_um) == (others.name, others.pixel_size_um)
        assert np.array_equal(own.plane, others.plane)


def test_other_trainings_read_a_library(tmp_path) -> None:
    write_library(tmp_path, Library().added(_example(0, "a/b", 0.5), _example(1, "c", 0.25)))
    found = drain(read_micrographs(tmp_path, smallest_px=32))
    assert found.names == ("a/b", "c")
    assert found.pixel_sizes_um == (0.5, 0.25)
    assert found.specimens == ("image 0.tif", "image 1.tif")


def test_an_opened_library_is_replaced_and_others_images_stay(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    tifffile.imwrite(tmp_path / "a" / "own.tif", _plane(5))
    (tmp_path / "a" / "broken.tif").write_bytes(b"no image")
    events: list[object] = []
    opened = drain(read_library(tmp_path), events.append)
    assert [event for event in events if isinstance(event, Notice)]
    assert "broken.tif" in opened.skipped[0]
    before = _files(tmp_path)
    more = opened.added(_example(0, "b"), _example(1, "a"))
    write_library(tmp_path, more)
    after = _files(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 3
    again = drain(read_library(tmp_path))
    assert again.counts == {"a": 2, "b": 1}
    fewer = again.without([one.name for one in again.examples].index("b"))
    write_library(tmp_path, fewer)
    assert drain(read_library(tmp_path)).counts == {"a": 2}
    assert not (tmp_path / "b").exists()
    assert before.items() <= _files(tmp_path).items()


def test_a_corrected_class_moves_its_example(tmp_path) -> None:
    write_library(tmp_path, Library().added(_example(0, "a"), _example(1, "b")))
    opened = drain(read_library(tmp_path))
    write_library(tmp_path, opened.added(_example(0, "b")))
    assert drain(read_library(tmp_path)).counts == {"b": 2}
    assert len(_files(tmp_path)) == 3


def test_what_others_put_there_is_not_touched(tmp_path) -> None:
    mine = Library().added(_example(0, "a"))
    foreign, other, listed = tmp_path / "foreign", tmp_path / "other", tmp_path / "listed"
    (foreign / "a").mkdir(parents=True)
    tifffile.imwrite(foreign / "a" / "x.tif", _plane(3))
    write_library(other, Library().added(_example(7, "z")))
    (listed / "a").mkdir(parents=True)
    tifffile.imwrite(listed / "a" / "x.tif", _plane(3))
    (listed / "index.csv").write_text("image,class,G\na/x.tif,a,7\n")
    for folder, library, said in (
        (foreign, mine, "no library of this program"),
        (other, mine, "holds another library"),
        (listed, drain(read_library(listed)).added(*mine.examples), "has other columns than"),
        (tmp_path / "new", Library(), "holds no example of a class"),
    ):
        before = _files(folder)
        with pytest.raises(InputError, match=said):
            write_library(folder, library)
        assert _files(folder) == before


def test_a_failure_leaves_the_folder_as_it_was(tmp_path, monkeypatch) -> None:
    write_library(tmp_path, Library().added(_example(0, "a")))
    before = _files(tmp_path)
    opened = drain(read_library(tmp_path)).without(0).added(_example(1, "b"), _example(2, "c"))

    def fail(path: Path, content: bytes) -> None:
        if path.parent.name == "c":
            raise InputError("the disk is full")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(module, "write_bytes", fail)
    with pytest.raises(InputError, match="disk is full"):
        write_library(tmp_path, opened)
    assert _files(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"a", "index.csv"}


def test_one_class_and_one_image_are_a_library(tmp_path) -> None:
    write_library(tmp_path, Library().added(_example(0, "a")))
    assert drain(read_library(tmp_path)).names == ("a",)
    with pytest.raises(InputError, match="no such folder"):
        drain(read_library(tmp_path / "missing"))
    (tmp_path / "only" / "none").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "only" / "none" / "x.tif", _plane())
    with pytest.raises(InputError, match="holds no image of a class"):
        drain(read_library(tmp_path / "only"))
