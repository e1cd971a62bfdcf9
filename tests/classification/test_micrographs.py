from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.calibration import Calibration
from napari_metallography.classification.images import OUTSIDER
from napari_metallography.classification.micrographs import (
    ClassifiedMicrographs,
    held_out_specimens,
    read_micrographs,
    require_square,
)
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.inputs import PixelSizes


def _write(folder: Path, name: str, shape=(60, 80), seed: int = 0) -> None:
    path = folder / f"{name}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb" if shape[-1] == 3 else "minisblack")


def _read(folder: Path, **more) -> ClassifiedMicrographs:
    return drain(read_micrographs(folder, smallest_px=40, **more))


def test_images_keep_their_pixels_scale_and_specimen(tmp_path) -> None:
    for name in ("fine/a", "fine/b", "coarse/c"):
        _write(tmp_path, name, seed=len(name))
    (tmp_path / "index.csv").write_text(
        "image,class,pixel_size_um,specimen\nfine/a.tif,fine,0.1,S1\n"
        "fine/b.tif,fine,0.2,S1\ncoarse/c.tif,coarse,0.4,\n"
    )
    found = _read(tmp_path)
    assert found.names == ("coarse", "fine")
    assert found.files == ("coarse/c.tif", "fine/a.tif", "fine/b.tif")
    assert found.pixel_sizes_um == (0.4, 0.1, 0.2)
    assert found.specimens == ("coarse/c.tif", "S1", "S1")
    assert (found.planes[1] == tifffile.imread(tmp_path / "fine" / "a.tif")).all()
    assert found.pixel_size_range_um() == (0.1, 0.4)
    assert found.pixel_size_range_um(1) == (0.1, 0.2)
    part = found.where(found.classes == 1)
    assert part.files == found.files[1:]
    assert part.digest() != found.digest()


def test_colours_become_grey_values(tmp_path) -> None:
    _write(tmp_path, "a/one", (60, 80, 3))
    _write(tmp_path, "b/two")
    rgb = tifffile.imread(tmp_path / "a" / "one.tif")
    luma = np.rint(rgb @ np.array([0.299, 0.587, 0.114], np.float32))
    assert np.abs(_read(tmp_path).planes[0] - luma).max() <= 1


def test_what_cannot_be_used_is_skipped_and_listed(tmp_path) -> None:
    for name in ("a/one", "b/two"):
        _write(tmp_path, name)
    _write(tmp_path, "b/small", (60, 30))
    _write(tmp_path, "b/stack", (3, 60, 80))
    (tmp_path / "a" / "broken.tif").write_bytes(b"II*\0")
    said: list[str] = []
    found = drain(
        read_micrographs(tmp_path, smallest_px=40),
        lambda event: said.append(event.message) if isinstance(event, Notice) else None,
    )
    assert found.files == ("a/one.tif", "b/two.tif")
    assert len(found.skipped) == 3
    assert "smallest crop of 40 px" in "".join(found.skipped)
    assert said[0].startswith("3 skipped: ")


def test_outsiders_and_classes_left_out(tmp_path) -> None:
    for name in ("a/1", "b/2", "c/3", "none/4"):
        _write(tmp_path, name)
    assert _read(tmp_path).classes.tolist() == [0, 1, 2, OUTSIDER]
    assert _read(tmp_path, without=["b"]).names == ("a", "c")
    found = _read(tmp_path, outsiders=["c"], names=("a", "b"))
    assert found.classes.tolist() == [0, 1, OUTSIDER, OUTSIDER]
    with pytest.raises(InputError, match="has no class 'd'; it has a, b, c, none"):
        _read(tmp_path, without=["d"])
    with pytest.raises(InputError, match="'c' is none of the model's"):
        _read(tmp_path, names=("a", "b"))


def test_a_folder_none_beside_an_index_holds_outsiders(tmp_path) -> None:
    for name in ("a/1", "b/2", "none/3", "none/4"):
        _write(tmp_path, name)
    (tmp_path / "index.csv").write_text(
        "image,class,pixel_size_um\na/1.tif,a,0.1\nb/2.tif,b,0.1\nnone/3.tif,none,0.3\n"
    )
    found = _read(tmp_path)
    assert found.files == ("a/1.tif", "b/2.tif", "none/3.tif", "none/4.tif")
    assert found.classes.tolist() == [0, 1, OUTSIDER, OUTSIDER]
    assert found.pixel_sizes_um == (0.1, 0.1, 0.3, None)


def test_a_single_class_and_a_class_without_usable_images_are_refused(tmp_path) -> None:
    _write(tmp_path, "a/1")
    with pytest.raises(InputError, match="one class only, a; two are needed"):
        _read(tmp_path)
    _write(tmp_path, "b/2", (30, 30))
    with pytest.raises(InputError, match="no image of the class 'b' can be used"):
        _read(tmp_path)


def test_specimens_are_those_of_the_index_that_has_the_pixel_sizes(tmp_path) -> None:
    for name in ("fine/a", "fine/b", "coarse/c"):
        _write(tmp_path, name)
    (tmp_path / "fine" / "index.csv").write_text(
        "image,pixel_size_um,specimen\na.tif,0.1,S1\nb.tif,0.2,S1\n"
    )
    (tmp_path / "coarse" / "index.csv").write_text("image,pixel_size_um,specimen\nc.tif,0.4,S2\n")
    found = _read(tmp_path)
    assert found.pixel_sizes_um == (0.4, 0.1, 0.2)
    assert found.specimens == ("S2", "S1", "S1")
    stated = _read(tmp_path, sizes=PixelSizes(0.3))
    assert stated.pixel_sizes_um == (0.3,) * 3
    assert stated.specimens == found.specimens


def test_a_stated_pixel_size_leaves_the_index_its_specimens(tmp_path) -> None:
    for name in ("fine/a", "coarse/c"):
        _write(tmp_path, name)
    (tmp_path / "index.csv").write_text(
        "image,class,specimen\nfine/a.tif,fine,S1\ncoarse/c.tif,coarse,S1\n"
    )
    found = _read(tmp_path, sizes=PixelSizes(0.3))
    assert found.specimens == ("S1", "S1")
    assert found.pixel_sizes_um == (0.3, 0.3)


def test_pixels_that_are_no_squares_are_refused() -> None:
    require_square(Calibration(0.1, 0.104, "test"), "one.tif")
    with pytest.raises(InputError, match=r"one\.tif: its pixels are 0\.1 × 0\.2 µm.*resample"):
        require_square(Calibration(0.1, 0.2, "test"), "one.tif")


def _of(pairs: list[tuple[int, str]]) -> ClassifiedMicrographs:
    """Images of classes and specimens."""
    count = len(pairs)
    return ClassifiedMicrographs(
        (np.zeros((2, 2), np.uint8),) * count,
        np.array([number for number, _ in pairs], np.int64),
        ("a", "b", "c"),
        tuple(map(str, range(count))),
        (None,) * count,
        tuple(specimen for _, specimen in pairs),
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_specimen_of_two_classes_is_on_one_side(seed) -> None:
    images = _of([(0, "s1"), (0, "s2"), (0, "s3"), (1, "s1"), (1, "s1")])
    chosen = held_out_specimens(images, 0.34, seed)
    # The second class has no other specimen: the first gives one of its own.
    assert chosen.tolist() in ([False, True, *[False] * 3], [False, False, True, False, False])


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=30),
    st.booleans(),
    st.floats(0, 0.9),
    st.integers(0, 99),
)
def test_no_specimen_is_on_both_sides_and_no_class_loses_all(pairs, shared, share, seed) -> None:
    images = _of([(n, str(s) if shared else f"{n}-{s}") for n, s in pairs])
    chosen = held_out_specimens(images, share, seed)
    specimens = np.array(images.specimens)
    assert not {*specimens[chosen]} & {*specimens[~chosen]}
    left = {n: {*specimens[~chosen & (images.classes == n)]} for n, _ in pairs}
    for number, kept in left.items():
        own = images.classes == number
        assert kept
        if share == 0:
            assert not chosen.any()
        elif not chosen[own].any():
            assert all({specimen} in left.values() for specimen in kept)
