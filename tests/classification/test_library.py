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
    known_name,
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
        ("a\x07bell", None, "no class can be called"),
        ("unsure", None, "no class can be called"),
    ],
)
def test_what_is_no_example_is_refused(name, outline, said) -> None:
    drawn = None if outline is None else np.array(outline, float)
    with pytest.raises(InputError, match=said) as refused:
        example_of(_plane(shape=(80, 90)), name, None, "", "m.tif", drawn)
    assert len(str(refused.value).splitlines()) == 1


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


def _opened(folder: Path) -> tuple[Library, list[str]]:
    """A library as it is read, and what is said of it."""
    events: list[object] = []
    library = drain(read_library(folder), events.append)
    return library, [event.message for event in events if isinstance(event, Notice)]


def _copied_by_hand(folder: Path) -> None:
    other = folder.parent / "other"
    write_library(other, Library().added(_example(7, "a")))
    for path in (other / "a").iterdir():
        path.rename(folder / "a" / path.name)


def _dragged(folder: Path) -> None:
    (path,) = (folder / "b").glob("image-1*.png")
    path.rename(folder / "a" / path.name)


def _saved_by_another(folder: Path) -> None:
    write_library(folder, drain(read_library(folder)).added(_example(8, "a")))


def _truncated(folder: Path) -> None:
    (path,) = (folder / "b").glob("image-1*.png")
    path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize("change", [_copied_by_hand, _dragged, _truncated])
def test_examples_that_cannot_be_read_are_told_and_stay(tmp_path, change) -> None:
    folder = tmp_path / "library"
    write_library(folder, Library().added(_example(0, "a"), _example(1, "b"), _example(2, "b")))
    change(folder)
    before = _files(folder)
    opened, said = _opened(folder)
    (lost,) = (one for one in before if one.endswith(".png") and not _knows(opened, one))
    for told in (said, opened.skipped):
        assert any(Path(lost).name in words for words in told)
    with pytest.raises(InputError, match="an example that is not in the library"):
        write_library(folder, opened.added(_example(3, "c")))
    assert _files(folder) == before


@pytest.mark.parametrize("change", [_copied_by_hand, _dragged, _saved_by_another])
def test_what_came_after_a_library_was_opened_stays(tmp_path, change) -> None:
    folder = tmp_path / "library"
    write_library(folder, Library().added(_example(0, "a"), _example(1, "b"), _example(2, "b")))
    opened, _ = _opened(folder)
    change(folder)
    before = _files(folder)
    with pytest.raises(InputError, match=r"that is not in the library|has changed since"):
        write_library(folder, opened.added(_example(3, "c")))
    assert _files(folder) == before


def _knows(library: Library, place: str) -> bool:
    return library.held is not None and place in library.held.files


def test_another_library_of_the_same_layers_is_not_overwritten(tmp_path) -> None:
    write_library(tmp_path, Library().added(_example(0, "a")))
    before = _files(tmp_path)
    mine = replace(_example(0, "a"), plane=_plane(99))
    elsewhere = Library().added(mine).kept_in(tmp_path / "elsewhere")
    for library in (Library().added(mine), elsewhere):
        with pytest.raises(InputError, match="holds another library"):
            write_library(tmp_path, library)
    assert _files(tmp_path) == before


def test_a_library_just_written_is_written_again(tmp_path) -> None:
    first = Library().added(_example(0, "a"), _example(1, "b"))
    write_library(tmp_path, first)
    known = first.kept_in(tmp_path)
    write_library(tmp_path, known.without(1).added(_example(2, "a")))
    assert drain(read_library(tmp_path)).counts == {"a": 2}
    assert len(_files(tmp_path)) == 3
    with pytest.raises(InputError, match="has changed since the library was opened"):
        write_library(tmp_path, known)


def test_an_index_from_a_spreadsheet_is_still_ours(tmp_path) -> None:
    write_library(tmp_path, Library().added(_example(0, "a", 0.25), _example(1, "b", 0.5)))
    index = tmp_path / "index.csv"
    text = index.read_text().replace(",", ";").replace("0.25", "0,25").replace("0.5", "0,5")
    index.write_text("\ufeff" + text, encoding="utf-8")
    opened = drain(read_library(tmp_path))
    assert [one.pixel_size_um for one in opened.examples] == [0.25, 0.5]
    write_library(tmp_path, opened.added(_example(2, "a", 0.5)))
    assert drain(read_library(tmp_path)).counts == {"a": 2, "b": 1}


def test_two_files_of_one_source_are_told_and_both_stay(tmp_path) -> None:
    write_library(tmp_path, Library().added(_example(0, "a")))
    write_library(tmp_path / "x", Library().added(replace(_example(0, "b"), plane=_plane(9))))
    (tmp_path / "index.csv").unlink()
    (tmp_path / "x" / "b").rename(tmp_path / "b")
    for path in (tmp_path / "x").iterdir():
        path.unlink()
    (tmp_path / "x").rmdir()
    before = _files(tmp_path)
    opened, said = _opened(tmp_path)
    assert len(opened) == 1
    assert "of the same image and part as a/" in said[0]
    with pytest.raises(InputError, match="an example that is not in the library"):
        write_library(tmp_path, opened)
    assert _files(tmp_path) == before


def test_names_that_differ_in_case_are_one_class(tmp_path) -> None:
    for name, seed in (("None", 0), ("Pearlite", 1), ("pearlite", 2)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "x.tif", _plane(seed))
    opened = drain(read_library(tmp_path))
    assert opened.counts == {"Pearlite": 2, OUTSIDERS: 1}
    write_library(tmp_path, opened)
    assert drain(read_library(tmp_path)).counts == opened.counts
    library = Library().added(_example(0, "Lath  martensite"), _example(1, "lath martensite "))
    assert library.names == ("Lath martensite",)
    assert known_name(None, library.names) == ""


def test_images_of_others_may_change_between_a_class_and_none(tmp_path) -> None:
    for name, seed in (("a", 0), ("none", 1), ("z", 2)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "x.tif", _plane(seed))
    opened = drain(read_library(tmp_path))
    changed = {"a/x.tif": OUTSIDERS, "none/x.tif": "z", "z/x.tif": "z"}
    others = (replace(one, name=changed[one.source]) for one in opened.examples)
    write_library(tmp_path, opened.added(*others))
    again = drain(read_library(tmp_path))
    assert {one.source: one.name for one in again.examples} == changed


def test_an_index_that_names_images_elsewhere_is_refused(tmp_path) -> None:
    away, data = tmp_path / "away.tif", tmp_path / "data"
    tifffile.imwrite(away, _plane())
    data.mkdir()
    (data / "index.csv").write_text(f"image,class\n{away.as_posix()},a\n")
    with pytest.raises(InputError, match=r"away\.tif, which lies elsewhere"):
        drain(read_library(data))


@given(st.text(), st.sampled_from(["Bainite", "lath martensite"]))
def test_blanks_and_case_tell_no_classes_apart(blank_or_not, name) -> None:
    blanks = "".join(" \t"[ord(c) % 2] for c in blank_or_not)
    typed = blanks + name.replace(" ", f" {blanks}").swapcase() + blanks
    assert known_name(typed, ("Bainite", "lath martensite")) == name
    assert known_name(name, ()) == name
    assert known_name(blanks, ("Bainite",)) == ""
